#include "tiny.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <chrono>
#include <filesystem>
#include <csignal>
#include <fstream>
#include <map>
#include <thread>
#include "../engine/gguf.h"
#include "../kernels/random.h"
#include "../models/gguf_names.h"
#include "../verbs/init.h"

Json tiny_config(const std::string& architecture) {
    Json c = {{"model_type", architecture == "gemma3" ? "gemma3_text" : architecture},
              {"hidden_size", 32},
              {"intermediate_size", 48},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"head_dim", 8},
              {"vocab_size", 300},
              {"max_position_embeddings", 256},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", 10000.0},
              {"tie_word_embeddings", true},
              {"initializer_range", 0.1}};
    if (architecture == "gemma3") {
        c["sliding_window"] = 64;
        c["layer_types"] = {"sliding_attention", "full_attention"};
        c["query_pre_attn_scalar"] = 8;
        c["rope_local_base_freq"] = 1000.0;
    }
    return c;
}

const std::string& tiny_model(const std::string& architecture) {
    static TempFolder all;
    static std::map<std::string, std::string> made;
    std::string& folder = made[architecture];
    if (folder.empty()) {
        const std::string json = all.put(architecture + ".json", dump(tiny_config(architecture)));
        folder = all / architecture;
        init_model(json, folder, 3, "f32", "");
    }
    return folder;
}

std::string copy_of_tiny(const TempFolder& to, const std::string& architecture) {
    const std::string folder = to / architecture;
    std::filesystem::copy(tiny_model(architecture), folder, std::filesystem::copy_options::recursive);
    return folder;
}

void write_tiny_gguf(const std::string& path) {
    const Checkpoint from(tiny_model());
    const Json& c = from.config;
    GgufWriter w;
    const auto whole = [&](const char* key, const char* member) { w.add(key, c[member].get<uint32_t>()); };
    w.add("general.architecture", "llama");
    whole("llama.block_count", "num_hidden_layers");
    whole("llama.embedding_length", "hidden_size");
    whole("llama.feed_forward_length", "intermediate_size");
    whole("llama.attention.head_count", "num_attention_heads");
    whole("llama.attention.head_count_kv", "num_key_value_heads");
    whole("llama.attention.key_length", "head_dim");
    whole("llama.context_length", "max_position_embeddings");
    w.add("llama.attention.layer_norm_rms_epsilon", c["rms_norm_eps"].get<float>());
    w.add("llama.rope.freq_base", c["rope_theta"].get<float>());
    const Json tokenizer = read_json_file(tiny_model() + "/tokenizer.json");
    std::vector<std::string> tokens;
    std::vector<int32_t> types;
    for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) {
        tokens.push_back(token);
        types.push_back(tokens.size() <= 3 ? 3 : 1);
    }
    w.add("tokenizer.ggml.model", "gpt2");
    w.add("tokenizer.ggml.pre", "smollm");
    w.add("tokenizer.ggml.tokens", tokens);
    w.add("tokenizer.ggml.token_type", types);
    w.add("tokenizer.ggml.merges", std::vector<std::string>{});
    w.add("tokenizer.ggml.eos_token_id", uint32_t(2));
    for (const Stored& t : from.tensors())
        w.add(gguf_name(t.name, *from.architecture), t.type, t.shape, t.data, t.bytes);
    w.write(path);
}

void write_tiny_adapter(const std::string& folder, int rank) {
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.threads = 1;
    Session s(o);
    LoraConfig config;
    config.rank = rank, config.targets = {"all"};
    Arena memory(size_t(16) << 20);
    Adapters adapters(memory);
    adapters.create(*s.model, config, 5);
    adapters.attach(*s.model, s.k, s.operand);
    Random random(11);
    for (Adapters::Entry& e : adapters.entries())
        for (size_t i = 0; i < e.lora.b.count(); i++) e.lora.b.f()[i] = 0.1f * random.normal();
    adapters.write(folder);
}

std::string tiny_rows(int n) {
    std::string rows;
    for (int i = 0; i < n; i++) {
        Json ids = Json::array();
        for (int k = 0; k < 6 + i * 7 % 19; k++) ids.push_back((i * 31 + k * k * 7 + 3) % 259);
        rows += dump({{"input_ids", ids}}) + "\n";
    }
    return rows;
}

// ---- the program

bool have_dd() { return exists(DD_BINARY); }

namespace {

void limit(int resource, size_t bytes) {
    if (!bytes) return;
    const rlimit l{bytes, bytes};
    setrlimit(resource, &l);
}

void redirect(int fd, const std::string& path, int flags) {
    const int file = open(path.c_str(), flags, 0600);
    if (file < 0 || dup2(file, fd) < 0) _exit(126);
    close(file);
}

int start(const std::vector<std::string>& arguments, const How& how, const TempFolder& folder) {
    folder.put("input", how.input);
    const int pid = fork();
    if (pid) return pid;
    redirect(0, folder / "input", O_RDONLY);
    redirect(1, how.output.empty() ? folder / "output" : how.output, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(2, folder / "error", O_WRONLY | O_CREAT | O_TRUNC);
    for (int fd : how.closed) close(fd);
    if (!how.folder.empty() && chdir(how.folder.c_str())) _exit(126);
    for (int s : {SIGINT, SIGTERM, SIGHUP}) signal(s, SIG_DFL);     // whoever started the tests may ignore them
    limit(RLIMIT_AS, how.address_space);
    limit(RLIMIT_FSIZE, how.file_size);
    std::vector<char*> argv{const_cast<char*>("dd")}, env;
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    for (const std::string& e : how.environment) env.push_back(const_cast<char*>(e.c_str()));
    static char path[] = "PATH=/usr/bin:/bin";
    env.push_back(path);
    argv.push_back(nullptr), env.push_back(nullptr);
    execve(DD_BINARY, argv.data(), env.data());
    _exit(127);
}

}  // namespace

Running::Running(const std::vector<std::string>& arguments, const How& how, const TempFolder& folder)
    : pid(start(arguments, how, folder)), folder_(folder) {}

Running::~Running() {
    if (waited_) return;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

void Running::signal(int s) const { kill(pid, s); }

// The most that has been resident of the program that this process has become; 0: it has not yet.
static size_t peak_of(int pid) {
    const std::string proc = "/proc/" + std::to_string(pid);
    std::error_code none;
    if (std::filesystem::read_symlink(proc + "/exe", none) != DD_BINARY) return 0;
    std::ifstream status(proc + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return size_t(std::stoul(line.substr(6))) << 10;
    return 0;
}

Ran Running::wait(double seconds) {
    using Clock = std::chrono::steady_clock;
    int status = 0;
    size_t peak = 0;
    for (const auto begun = Clock::now(); waitpid(pid, &status, WNOHANG) == 0;) {
        if (Clock::now() - begun > std::chrono::duration<double>(seconds)) {
            ADD_FAILURE() << "still running after " << seconds << " s";
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        peak = std::max(peak, peak_of(pid));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    waited_ = true;
    Ran r;
    r.peak = peak;
    if (WIFSIGNALED(status)) r.signal = WTERMSIG(status);
    else r.code = WEXITSTATUS(status);
    if (exists(folder_ / "output")) r.out = read_file(folder_ / "output");
    r.err = read_file(folder_ / "error");
    return r;
}

Ran run_dd(const std::vector<std::string>& arguments, const How& how) {
    const TempFolder folder;
    return Running(arguments, how, folder).wait(how.seconds);
}
