// cli.cpp - the program as its users run it: what it says, where, and with which exit code; what it leaves behind when
// it fails, is interrupted or is killed.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <thread>
#include "../train/run_folder.h"
#include "tiny.h"

namespace {

using Args = std::vector<std::string>;

class Cli : public testing::Test {
protected:
    void SetUp() override {
        if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
        write_file(rows, tiny_rows(23));
    }
    const TempFolder t;
    const std::string rows = t / "rows.jsonl", model = have_dd() ? tiny_model() : "", run = t / "run";

    Args train(const Args& more = {}) const {
        Args a{"train", "--model", model, "--train-file", rows, "--out", run, "--lora-rank", "4", "--batch-size", "3",
               "--steps", "6", "--lr", "0.003", "--quiet"};
        a.insert(a.end(), more.begin(), more.end());
        return a;
    }
    std::string result(const std::string& folder) const {
        return sha256_of_file(folder + "/adapter/adapter_model.safetensors");
    }
};

size_t lines_in(const std::string& s) { return size_t(std::count(s.begin(), s.end(), '\n')); }

// Nothing on stdout, one printable line on stderr that says `phrase`, and this exit code.
void expect_error(const Args& args, Exit code, const std::string& phrase, const How& how = {}) {
    std::string command;
    for (const std::string& a : args) command += " " + printable(a);
    SCOPED_TRACE("dd" + command.substr(0, 500));
    const Ran r = run_dd(args, how);
    EXPECT_EQ(r.signal, 0);
    EXPECT_EQ(r.code, int(code)) << r.err;
    EXPECT_EQ(r.out, "");
    EXPECT_EQ(lines_in(r.err), 1u) << r.err;
    EXPECT_TRUE(r.err.starts_with("dd: ")) << r.err;
    EXPECT_NE(r.err.find(phrase), r.err.npos) << r.err << "  should say: " << phrase;
    EXPECT_EQ(r.err, printable(r.err, true));
}

// Everything below a folder, hidden files too.
std::set<std::string> files_in(const std::string& folder) {
    std::set<std::string> all;
    if (!exists(folder)) return all;
    for (const auto& e : std::filesystem::recursive_directory_iterator(folder))
        all.insert(std::filesystem::relative(e.path(), folder));
    return all;
}

Args verbs_of(const std::string& overview) {
    Args verbs;
    const std::regex line("\n  dd ([a-z]+) ");
    for (std::sregex_iterator i(overview.begin(), overview.end(), line), end; i != end; ++i) verbs.push_back((*i)[1]);
    return verbs;
}

// ---- help, verbs and flags

TEST_F(Cli, NoVerbShowsTheVerbsWithAnExampleEach) {
    const Ran r = run_dd({});
    EXPECT_EQ(r.code, int(Exit::usage));
    EXPECT_EQ(r.err, "");
    const Args verbs = verbs_of(r.out);
    EXPECT_GE(verbs.size(), 11u);
    for (const std::string& v : verbs) EXPECT_NE(r.out.find("                 dd " + v), r.out.npos) << v;
    for (const char* help : {"--help", "-h", "help"}) {
        const Ran h = run_dd({help});
        EXPECT_EQ(h.code, 0);
        EXPECT_EQ(h.out, r.out);
    }
}

TEST_F(Cli, HelpOfEveryVerbHasFlagsDefaultsAndAnExample) {
    for (const std::string& v : verbs_of(run_dd({}).out)) {
        for (const char* help : {"--help", "-h"}) {
            const Ran r = run_dd({v, help});
            EXPECT_EQ(r.code, 0) << v;
            EXPECT_EQ(r.err, "") << v;
            EXPECT_TRUE(r.out.starts_with("dd " + v)) << r.out;
            EXPECT_NE(r.out.find("\nExample: dd " + v), r.out.npos) << v;
            EXPECT_NE(r.out.find("\n  --config FILE"), r.out.npos) << v;
            std::istringstream text(r.out);
            for (std::string line; std::getline(text, line);) EXPECT_LE(line.size(), 120u) << line;
        }
    }
    const std::string help = run_dd({"train", "--help"}).out;
    for (const char* part : {"--lora-rank R                 rank of the adapter [16]", "learning rate [0.0002]",
                             "[cosine]", "[all]", "no talk on stderr [off]", "[42]"})
        EXPECT_NE(help.find(part), help.npos) << part;
    EXPECT_NE(run_dd({"tokenize", "--help"}).out.find("[on]"), help.npos);
    EXPECT_NE(run_dd({"completion", "--help"}).out.find("dd completion bash|zsh|fish"), help.npos);
}

TEST_F(Cli, MistypedVerbsAndFlagsAreAnsweredWithTheNearest) {
    EXPECT_EQ(run_dd({"--version"}).out, "dd " + build_description()["version"].get<std::string>() + "\n");
    expect_error({"trian"}, Exit::usage, "'trian': unknown verb; did you mean train?");
    expect_error({"generat"}, Exit::usage, "did you mean generate?");
    expect_error({"\x1b[2J\n"}, Exit::usage, "'\\x1b[2J\\x0a': unknown verb");
    expect_error({"train", "--lora-rnk", "3"}, Exit::usage, "'--lora-rnk': unknown flag; did you mean --lora-rank?");
    expect_error({"train", "--batchsize=3"}, Exit::usage, "'--batchsize': unknown flag; did you mean --batch-size?");
    expect_error({"train", "--grad_acum", "3"}, Exit::usage, "did you mean --grad-accum?");
    expect_error({"train", "-lr", "3"}, Exit::usage, "'-lr': unknown flag");
    expect_error({"score", "--hepl"}, Exit::usage, "did you mean --help?");
    expect_error({"score", "--\x1b\n"}, Exit::usage, "'--\\x1b\\x0a': unknown flag");
    expect_error({"score", "rows.jsonl"}, Exit::usage, "'rows.jsonl': unexpected; flags are written --name value");
    expect_error({"score", "--model"}, Exit::usage, "--model: PATH was expected after it");
    expect_error({"score", "--model", "--json"}, Exit::usage, "not the flag --json");
    expect_error({"score", "--no-model"}, Exit::usage, "'--no-model': unknown flag");
    expect_error({"completion", "tcsh"}, Exit::usage, "shell 'tcsh': known are bash|zsh|fish; did you mean bash?");
    expect_error({"completion", "bash", "zsh"}, Exit::usage, "'zsh': unexpected");
}

TEST_F(Cli, ValuesAreChecked) {
    const std::tuple<const char*, const char*, const char*> bad[] = {
        {"--lr", "abc", "--lr 'abc': a number from 0 to 10 was expected"},
        {"--lr", "nan", "a number from 0 to 10"},
        {"--lr", "inf", "a number from 0 to 10"},
        {"--lr", "-1e-9", "a number from 0 to 10"},
        {"--lr", "1e", "a number from 0 to 10"},
        {"--lr", "", "--lr '': a number"},
        {"--lr", "1 ", "a number from 0 to 10"},
        {"--steps", "1.5", "--steps '1.5': a whole number from 0 to 1000000000 was expected"},
        {"--steps", "0x10", "a whole number"},
        {"--steps", "1e3", "a whole number"},
        {"--steps", "-1", "a whole number"},
        {"--steps", "99999999999999999999", "a whole number"},
        {"--steps", "1000000001", "a whole number"},
        {"--steps", "", "a whole number"},
        {"--steps", "-", "a whole number"},
        {"--seed", "-1", "a whole number"},
        {"--seed", "9223372036854775807", "a whole number"},
        {"--keep", "1", "a whole number from 2"},
        {"--threads", "257", "a whole number from 0 to 256"},
        {"--method", "spo", "--method 'spo': known are sft|dpo; did you mean dpo?"},
        {"--schedule", "cosin", "did you mean cosine?"},
        {"--precision", "f23", "did you mean f32?"},
    };
    for (const auto& [flag, value, says] : bad) {
        expect_error({"train", flag, value}, Exit::usage, says);
        expect_error({"train", std::string(flag) + "=" + value}, Exit::usage, says);
    }
    expect_error({"train", "--quiet=maybe"}, Exit::usage, "--quiet 'maybe': true or false was expected");
    expect_error(train({"--device", "tpu"}), Exit::usage, "--device tpu: cpu, cuda, cuda:N or auto was expected");
    expect_error(train({"--lora-targets", "("}), Exit::usage, "--lora-targets (: not a regular expression");
    expect_error(train({"--lora-targets", "c_attn"}), Exit::usage, "no matrix of this model is called so");
    EXPECT_FALSE(exists(run));
}

TEST_F(Cli, TheLastValueCountsAndListsGrow) {
    Args a = train({"--lr", "1", "--steps", "2", "--lr=0.5", "--lora-targets", "q_proj", "--lora_targets=v_proj"});
    ASSERT_EQ(run_dd(a).code, 0);
    const Json flags = read_json_file(run + "/run.json")["flags"];
    EXPECT_EQ(flags["lr"], 0.5);
    EXPECT_EQ(flags["steps"], 2);
    EXPECT_EQ(flags["lora-targets"], (Json{"q_proj", "v_proj"}));
    // Brackets, commas and signs in a value are its own.
    const Args say{"generate", "--model", model, "--raw", "--prompt", "--- [a,b]", "--max-tokens", "3", "--json",
                   "--stop", "[END]", "--quiet"};
    const Ran r = run_dd(say);
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(parse_json(r.out, "t")["prompt_ids"].size(), 9u);
}

// ---- where values come from

TEST_F(Cli, FlagThenEnvironmentThenFileThenDefault) {
    const std::string json = t.put("c.json", R"({"max_tokens":5,"ignore-eos":true,"prompt":"[x] # y"})");
    const std::string toml = t.put("c.toml",
        "# comment\nmax-tokens = 6   # six\nignore_eos = true\nprompt = \"[x] # y\"\n"
                                             "stop = [\n  'a#b', # one\n  \"c\\\"d\",\n]\n");
    const Args base{"generate", "--model", model, "--raw", "--json", "--quiet"};
    const auto tokens = [&](const Args& more, const Args& environment) {
        Args a = base;
        a.insert(a.end(), more.begin(), more.end());
        const Ran r = run_dd(a, {.environment = environment});
        EXPECT_EQ(r.code, 0) << r.err;
        return r.code ? size_t(0) : parse_json(r.out, "t")["ids"].size();
    };
    EXPECT_EQ(tokens({"--config", json}, {}), 5u);
    EXPECT_EQ(tokens({"--config=" + toml}, {}), 6u);
    EXPECT_EQ(tokens({}, {"DD_CONFIG=" + json}), 5u);
    EXPECT_EQ(tokens({"--config", json}, {"DD_MAX_TOKENS=4"}), 4u);
    EXPECT_EQ(tokens({"--config", toml}, {"DD_MAX_TOKENS="}), 6u) << "an empty variable says nothing";
    EXPECT_EQ(tokens({"--config", json, "--max-tokens", "3"}, {"DD_MAX_TOKENS=4"}), 3u);
    EXPECT_EQ(tokens({"--config", json, "--max_tokens=3"}, {"DD_MAX_TOKENS=4"}), 3u);
    // A switch that is turned off beats one that the environment turns on.
    Args a = train({"--steps", "1", "--no-recompute"});
    ASSERT_EQ(run_dd(a, {.environment = {"DD_RECOMPUTE=1", "DD_RSLORA=yes", "DD_LORA_TARGETS=q_proj"}}).code, 0);
    const Json flags = read_json_file(run + "/run.json")["flags"];
    EXPECT_EQ(flags["recompute"], false);
    EXPECT_EQ(flags["rslora"], true);
    EXPECT_EQ(flags["lora-targets"], Json{"q_proj"});
    EXPECT_EQ(flags["beta"], 0.1);
    // What may stand without its name is not looked for in the environment.
    EXPECT_NE(run_dd({"completion", "bash"}, {.environment = {"DD_SHELL=fish"}}).out.find("complete -o"),
              std::string::npos);
}

TEST_F(Cli, ConfigurationFilesAreCheckedToo) {
    struct Bad { const char *name, *text; Exit code; const char* says; };
    const Bad table[] = {
        {"c.json", "", Exit::bad_input, "c.json: byte 1: not valid JSON"},
        {"c.json", "[]", Exit::bad_input, "one object of flags and their values was expected"},
        {"c.json", "{\"lr\":1,\"lr\":2}", Exit::bad_input, "'lr' stands twice"},
        {"c.json", "{\"learning_rate\":1}", Exit::usage,
         "c.json: 'learning_rate' is no flag of this verb; did you mean"},
        {"c.json", "{\"lr\":\"fast\"}", Exit::usage, "c.json: 'lr' 'fast': a number from 0 to 10 was expected"},
        {"c.json", "{\"lr\":null}", Exit::usage, "'lr' is 'null'; X was expected"},
        {"c.json", "{\"lr\":{\"x\":1}}", Exit::usage, "X was expected"},
        {"c.json", "{\"lr\":[1]}", Exit::usage, "'lr' is '[1]'; X was expected"},
        {"c.json", "{\"steps\":1.5}", Exit::usage, "'steps' '1.5': a whole number"},
        {"c.json", "{\"quiet\":\"x\"}", Exit::usage, "true or false was expected"},
        {"c.json", "{\"quiet\":[]}", Exit::usage, "'quiet' is '[]'; true or false was expected"},
        {"c.json", "{\"lora-targets\":[[1]]}", Exit::usage, ""},
        {"c.toml", "lr", Exit::bad_input, "c.toml:1: key = value was expected"},
        {"c.toml", "\n\nlr = ", Exit::bad_input, "c.toml:3: a value is missing"},
        {"c.toml", "lr = fast", Exit::bad_input, "c.toml:1: 'fast' is no value; texts stand in quotes"},
        {"c.toml", "lr = 1 2", Exit::bad_input, "c.toml:1: something follows the value"},
        {"c.toml", "lr = 0x1p3", Exit::bad_input, "is no value"},
        {"c.toml", "lr = nan", Exit::bad_input, "'nan' is no value"},
        {"c.toml", "lr = 1e999", Exit::bad_input, "is no value"},
        {"c.toml", "steps = 99999999999999999999", Exit::bad_input, "is too large"},
        {"c.toml", "lr = 1\nlr = 2", Exit::bad_input, "c.toml:2: the key 'lr' stands twice"},
        {"c.toml", "[train]\nlr = 1", Exit::bad_input, "c.toml:1: sections are not known here"},
        {"c.toml", "model = \"a", Exit::bad_input, "c.toml:1: a string does not end on its line"},
        {"c.toml", "model = \"a\nb\"", Exit::bad_input, "c.toml:1: a string does not end on its line"},
        {"c.toml", "model = \"\\q\"", Exit::bad_input, "an unknown escape"},
        {"c.toml", "model = 'a' 'b'", Exit::bad_input, "something follows"},
        {"c.toml", "lora-targets = [\"a\" \"b\"]", Exit::bad_input, "a list needs a comma"},
        {"c.toml", "lora-targets = [\"a\",\n", Exit::bad_input, "a value is missing"},
        {"c.toml", "lora-targets = [[]]", Exit::bad_input, "a list in a list"},
        {"c.toml", "= 5", Exit::bad_input, "the name of a flag was expected"},
        {"c.toml", "lr = \xff", Exit::bad_input, "is not UTF-8 text"},
        {"c.toml", "lr = \x1b[2J", Exit::bad_input, "'\\x1b[2J' is no value"},
        {"c.toml", "learning-rate = 1", Exit::usage, "'learning-rate' is no flag of this verb"},
    };
    for (const Bad& bad : table) {
        SCOPED_TRACE(bad.text);
        expect_error({"train", "--config", t.put(bad.name, bad.text)}, bad.code, bad.says);
    }
    expect_error({"train"}, Exit::usage, "DD_LR 'fast': a number", {.environment = {"DD_LR=fast"}});
    expect_error({"train", "--config", t / "none.json"}, Exit::bad_input, "none.json: cannot be read: No such file");
    expect_error({"train", "--config", t.path}, Exit::bad_input, "it is a folder");
}

// ---- stdout is data

TEST_F(Cli, StdoutCarriesDataOnly) {
    const std::string chats = t.put("chats.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n");
    const std::string texts = t.put("texts.jsonl", "{\"id\":\"a\",\"text\":\"one\"}\n\n{\"text\":\"two\"}\r\n");
    const std::pair<Args, size_t> runs[] = {
        {{"score", "--model", model, "--input", rows, "--json"}, 24},
        {{"tokenize", "--model", model, "--input", texts, "--json"}, 2},
        {{"render", "--chat-format", "chatml", "--input", chats, "--json"}, 1},
        {{"info", "--model", model, "--json"}, 1},
        {{"env", "--json"}, 1},
    };
    for (const auto& [args, n] : runs) {
        SCOPED_TRACE(args[0]);
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        EXPECT_EQ(lines_in(r.out), n);
        std::istringstream text(r.out);
        for (std::string line; std::getline(text, line);) EXPECT_TRUE(parse_json(line, "stdout").is_object());
        Args quiet = args;
        if (args[0] != "tokenize" && args[0] != "render" && args[0] != "env") quiet.push_back("--quiet");
        const Ran again = run_dd(quiet);
        EXPECT_EQ(again.err, "");
        auto steady = [](const std::string& out) {          // without the time and the free memory
            return out.substr(0, std::min(out.find("\"seconds\""), out.find("\"memory_available_bytes\"")));
        };
        EXPECT_EQ(steady(again.out), steady(r.out));
    }
    // Every device that --device takes is among those of env; where there is no GPU, it says why.
    const Json env = parse_json(run_dd({"env", "--json"}).out, "env");
    EXPECT_EQ(env["devices"][0], "cpu");
    EXPECT_EQ(env["gpus"].empty(), !env["no_gpus"].get<std::string>().empty()) << env;
    EXPECT_LE(env["devices"].size(), 1 + env["gpus"].size());
    if (env["gpus"].empty())
        expect_error({"score", "--quiet", "--model", model, "--input", rows, "--device", "cuda"}, Exit::no_resource,
                     "--device cuda: " + env["no_gpus"].get<std::string>());
    for (const Json& gpu : env["gpus"]) EXPECT_GT(gpu["memory_bytes"], 1u << 30) << gpu;
    EXPECT_EQ(run_dd({"env"}).out.find("version "), 0u);
    // Standard input, and rows of ids, text and prompts beside each other.
    const Ran r = run_dd({"score", "--model", model, "--input", "-", "--json", "--quiet"},
                         {.input = "{\"text\":\"abc\",\"id\":7}\n{\"input_ids\":[1,2,3]}"});
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(lines_in(r.out), 3u);
    EXPECT_EQ(parse_json(r.out.substr(0, r.out.find('\n')), "t")["id"], 7);
    expect_error({"score", "--model", model, "--input", "-", "--quiet"}, Exit::bad_input,
                 "standard input:2: byte 9: not valid JSON", {.input = "{\"text\":\"abc\"}\n{\"text\":"});
}

TEST_F(Cli, OutputThatCannotBeWrittenIsAnError) {
    Args score{"score", "--model", model, "--input", rows, "--json", "--quiet"};
    if (exists("/dev/full")) expect_error(score, Exit::no_resource, "standard output: No space left",
        {.output = "/dev/full"});
    expect_error(score, Exit::no_resource, "standard output: Bad file descriptor", {.closed = {1}});
    for (const char* verb : {"env", "completion"})
        expect_error({verb, verb == std::string("env") ? "--json" : "bash"}, Exit::no_resource, "standard output:",
                     {.closed = {1}});
    expect_error({}, Exit::no_resource, "standard output:", {.closed = {1}});
}

TEST_F(Cli, ClosedStreamsDoNotEndUpInFiles) {
    const Args args{"extract", "--model", model, "--input", rows, "--points", "resid_post.*", "--out"};
    const auto to = [&](const std::string& out) {
        Args a = args;
        a.push_back(t / out);
        return a;
    };
    ASSERT_EQ(run_dd(to("plain.safetensors")).code, 0);
    for (const std::vector<int>& closed : std::vector<std::vector<int>>{{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}}) {
        const Ran r = run_dd(to("closed.safetensors"), {.closed = closed});
        const bool out_closed = std::count(closed.begin(), closed.end(), 1);
        EXPECT_EQ(r.signal, 0);
        EXPECT_EQ(r.code, out_closed ? 0 : 0) << r.err;
        EXPECT_EQ(read_file(t / "closed.safetensors"), read_file(t / "plain.safetensors"));
        std::filesystem::remove(t / "closed.safetensors");
    }
    expect_error({"score", "--model", model, "--input", "-", "--quiet"}, Exit::bad_input,
                 "standard input: cannot be read: Bad file descriptor", {.closed = {0}});
}

// A reader that has gone ends the program as it ends every filter: by SIGPIPE, without a word.
TEST_F(Cli, EndsQuietlyWhenNobodyReads) {
    write_file(rows, tiny_rows(2000));
    const std::string pipe = t / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    std::thread reader([&] {
        char byte;
        const int fd = open(pipe.c_str(), O_RDONLY);
        EXPECT_EQ(read(fd, &byte, 1), 1);
        close(fd);
    });
    const Ran r = run_dd({"score", "--model", model, "--input", rows, "--json", "--quiet"}, {.output = pipe});
    reader.join();
    EXPECT_EQ(r.signal, SIGPIPE) << r.code << r.err;
    EXPECT_EQ(r.err, "");
}

TEST_F(Cli, ATerminalGetsNoControlCharacters) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) GTEST_SKIP() << "no terminals here";
    const std::string chats = t.put("chats.jsonl",
        R"({"messages":[{"role":"user","content":"a\u001b[2J\u0007\u009b\tb\u007f"}]})");
    const Args args{"render", "--chat-format", "chatml", "--input", chats};
    const Ran piped = run_dd(args);
    EXPECT_NE(piped.out.find("a\x1b[2J\x07\xc2\x9b\tb\x7f"), piped.out.npos) << "data are data";
    char name[100];
    ASSERT_EQ(ptsname_r(terminal, name, sizeof name), 0);
    const int other = open(name, O_RDWR | O_NOCTTY);        // so that what was written can be read after the end
    ASSERT_EQ(run_dd(args, {.output = name}).code, 0);
    char seen[1000];
    const ssize_t n = read(terminal, seen, sizeof seen);
    const std::string text(seen, size_t(std::max<ssize_t>(n, 0)));
    EXPECT_NE(text.find("a\\x1b[2J\\x07\\xc2\\x9b\tb\\x7f"), text.npos) << printable(text);
    close(other);
    close(terminal);
}

// ---- files that are missing, wrong or in the way

TEST_F(Cli, OfNoTokenThereIsNoPerplexity) {
    const std::string one = t.put("one.jsonl", "{\"input_ids\":[5]}");
    const std::string out = run_dd({"score", "--quiet", "--json", "--model", model, "--input", one}).out;
    const Json summary = parse_json(out.substr(out.find('\n') + 1), "summary")["summary"];
    EXPECT_EQ(summary["tokens"], 0);
    EXPECT_TRUE(summary["perplexity"].is_null() && summary["nll_per_token"].is_null()) << out;
}

TEST_F(Cli, AnAnswerEndsAtTheFirstOfItsStops) {
    const auto text = [&](int seed, const Args& stops) {
        Args a{"generate", "--quiet", "--json", "--raw", "--ignore-eos", "--model", model, "--prompt", "a", "--temp",
               "1", "--max-tokens", "8", "--seed", std::to_string(seed)};
        for (const std::string& s : stops) a.insert(a.end(), {"--stop", s});
        return std::string(parse_json(run_dd(a).out, "answer")["text"]);
    };
    const auto apart = [](const std::string& s) {
        for (int i = 0; i < 3; i++)
            if (s.size() < 3 || !isalnum((unsigned char)s[size_t(i)])) return false;
        return s[0] != s[1] && s[0] != s[2] && s[1] != s[2];
    };
    int seed = 0;
    while (seed < 200 && !apart(text(seed, {}))) seed++;
    const std::string whole = text(seed, {});
    ASSERT_TRUE(apart(whole)) << whole;
    EXPECT_EQ(text(seed, {whole.substr(2, 1)}), whole.substr(0, 2));
    // Its last letter completes both; the longer one begins before the other.
    EXPECT_EQ(text(seed, {whole.substr(2, 1), whole.substr(1, 2)}), whole.substr(0, 1));
    EXPECT_EQ(text(seed, {whole.substr(1, 2), whole.substr(2, 1)}), whole.substr(0, 1));
    expect_error({"generate", "--model", model, "--prompt", "a", "--stop", ""}, Exit::usage, "an empty text");
}

TEST_F(Cli, WrongFilesAreNamedInOneLine) {
    const Args score{"score", "--quiet", "--model"};
    const auto with = [](Args a, const Args& more) {
        a.insert(a.end(), more.begin(), more.end());
        return a;
    };
    expect_error({"score"}, Exit::usage, "--input is missing");
    expect_error({"score", "--input", rows}, Exit::usage, "--model is missing");
    expect_error(with(score, {t / "none", "--input", rows}), Exit::bad_input, "no such model; expected a Hugging Face");
    expect_error(with(score, {t.path, "--input", rows}), Exit::bad_input, "no config.json in this folder");
    expect_error(with(score, {rows, "--input", rows}), Exit::bad_input, "expected 'GGUF': not a GGUF file");
    expect_error(with(score, {model, "--input", t / "none"}), Exit::bad_input, "none: cannot be read: No such file");
    expect_error(with(score, {model, "--input", t.path}), Exit::bad_input, "it is a folder, a file is expected");
    expect_error(with(score, {model, "--input", t / "a\nb\x1b"}), Exit::bad_input, "a\\x0ab\\x1b: cannot be read");
    const std::string bad = t.put("bad.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\"\n");
    expect_error(with(score, {model, "--input", bad}), Exit::bad_input, "bad.jsonl:3");
    const std::string empty = t.put("empty.jsonl", "");
    expect_error(with(score, {model, "--input", empty}), Exit::bad_input, "empty.jsonl: no rows");

    const std::string copy = copy_of_tiny(t);
    std::filesystem::remove(copy + "/tokenizer.json");
    EXPECT_EQ(run_dd(with(score, {copy, "--input", rows})).code, 0) << "rows of ids need no tokenizer";
    const std::string text = t.put("text.jsonl", "{\"text\":\"a\"}");
    expect_error(with(score, {copy, "--input", text}), Exit::bad_input,
                 "text.jsonl:1: a row of text, but the model has no");
    expect_error({"generate", "--model", copy, "--prompt", "a", "--raw", "--quiet"}, Exit::bad_input,
                 "has no tokenizer");
    for (const char* verb : {"generate", "tokenize"})
        expect_error({verb, "--model", model, "--prompt", "a", "--input", text}, Exit::usage, "one of");
    expect_error({"generate", "--model", model, "--prompt", "", "--raw", "--quiet"}, Exit::bad_input, "no tokens");
    expect_error({"generate", "--model", copy, "--prompt", "a", "--chat", "--quiet"}, Exit::usage,
                 "no known chat format");
    Json config = tiny_config("llama");
    config["model_type"] = "rwkv7";
    write_file(copy + "/config.json", dump(config));
    expect_error(with(score, {copy, "--input", rows}), Exit::bad_input, "architecture 'rwkv7' is not known; known: ");
    expect_error({"init", "--config-json", copy + "/config.json", "--out", t / "new"}, Exit::bad_input, "rwkv7");
    expect_error({"init", "--out", t / "new"}, Exit::usage, "--config-json FILE or --preset NAME");
    expect_error({"init", "--config-json", rows, "--out", t / "new"}, Exit::bad_input, "rows.jsonl");
    expect_error({"init", "--config-json", model + "/config.json", "--out", model}, Exit::usage,
                 "there is a model already");
    EXPECT_FALSE(exists(t / "new"));
    expect_error({"score", "--quiet", "--model", model, "--input", rows, "--device", "cuda"}, Exit::no_resource,
                 "--device cuda");
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--out", t / "x.bin"}, Exit::usage,
                 "a name ending in .safetensors or .npz was expected");
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--out", "/proc/none/x.npz"},
                 Exit::bad_input,
                 "/proc/none/x.npz");
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--points", "z.2", "--out", t / "x.npz"},
                 Exit::usage, "blocks are 0 to 1");
}

TEST_F(Cli, WrongAdaptersAreCounted) {
    const std::string good = t / "adapter", bad = t / "bad";
    write_tiny_adapter(good);
    const Args score{"score", "--model", model, "--input", rows, "--json"};
    const auto with = [&](const std::string& adapter) {
        Args a = score;
        a.insert(a.end(), {"--adapter", adapter});
        return a;
    };
    EXPECT_NE(run_dd(with(good)).err.find("28 of 28 adapter tensors applied"), std::string::npos);
    EXPECT_NE(run_dd(with(good)).out, run_dd(score).out);
    std::filesystem::copy(good, bad);
    std::string bytes = read_file(good + "/adapter_model.safetensors");
    for (size_t at; (at = bytes.find("base_model.model.model.")) != bytes.npos;)
        bytes.replace(at, 23, "base_model.modal.modal.");
    write_file(bad + "/adapter_model.safetensors", bytes);
    const auto quietly = [&](const std::string& adapter) {
        Args a = with(adapter);
        a.push_back("--quiet");
        return a;
    };
    expect_error(quietly(bad), Exit::bad_input, "0 of 28 keys match this model");
    expect_error(quietly(t / "none"), Exit::bad_input, "no adapter_config.json here");
    expect_error(quietly(good + ":x"), Exit::usage, "DIR or DIR:SCALE was expected");
    expect_error({"merge", "--quiet", "--model", model, "--adapter", bad, "--out", t / "merged"}, Exit::bad_input,
                 "0 of 28");
    EXPECT_FALSE(exists(t / "merged"));
    expect_error(train({"--adapter-init", bad}), Exit::bad_input, "0 of 28");
    EXPECT_FALSE(exists(run)) << "a run that never began leaves nothing";
    EXPECT_EQ(run_dd(train({"--adapter-init", good, "--steps", "1"})).code, 0);
}

TEST_F(Cli, ARowThatIsTooLongIsAnErrorOrCounted) {
    std::string text = tiny_rows(3), ids = "[0";
    for (int i = 0; i < 299; i++) ids += ",1";
    write_file(rows, text + "{\"input_ids\":" + ids + "]}\n");
    expect_error(train(), Exit::bad_input, "rows.jsonl:4: 300 tokens, --max-length is 256");
    expect_error(train({"--max-length", "2048"}), Exit::usage, "--max-length 2048: this model's context is 256");
    expect_error({"score", "--quiet", "--model", model, "--input", rows}, Exit::bad_input,
                 "rows.jsonl:4: 300 tokens; this model's context leaves room for 256");
    EXPECT_FALSE(exists(run));
    Args a = train({"--truncate", "--no-quiet"});
    const Ran r = run_dd(a);
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_NE(r.err.find("1 rows cut to --max-length"), r.err.npos) << r.err;
}

// ---- run folders

TEST_F(Cli, ARunFolderIsMadeOnlyForARun) {
    expect_error(train({"--model", t / "none"}), Exit::bad_input, "no such model");
    expect_error(train({"--train-file", t / "none"}), Exit::bad_input, "No such file");
    expect_error(train({"--train-file", "-"}), Exit::usage, "must be files");
    expect_error(train({"--resume"}), Exit::usage, "holds no run");
    EXPECT_FALSE(exists(run));
    const Ran dry = run_dd(train({"--dry-run", "--no-quiet"}));
    EXPECT_EQ(dry.code, 0) << dry.err;
    EXPECT_NE(dry.out.find("row 0: "), dry.out.npos) << dry.out;
    EXPECT_NE(dry.err.find("GB in all"), dry.err.npos) << dry.err;
    EXPECT_NE(dry.err.find("6 steps"), dry.err.npos) << dry.err;
    EXPECT_FALSE(exists(run)) << "a dry run writes nothing";

    make_folders(run);
    EXPECT_EQ(run_dd(train({"--dry-run"})).code, 0);
    EXPECT_TRUE(files_in(run).empty());
    EXPECT_EQ(run_dd(train()).code, 0) << "an empty folder may become a run";
    const std::set<std::string> whole = files_in(run);
    for (const char* f : {"adapter/adapter_model.safetensors", "log.jsonl", "run.json"}) EXPECT_TRUE(whole.count(f));
    for (const std::string& f : whole) EXPECT_EQ(f.find(".tmp"), f.npos) << f;
    expect_error(train(), Exit::usage, "there is something already; choose another folder, or --resume");
    expect_error(train({"--dry-run"}), Exit::usage, "there is something already");
    EXPECT_EQ(files_in(run), whole);
    const std::string file = t.put("file", "x");
    expect_error(train({"--out", file}), Exit::usage, "there is something already");
    expect_error(train({"--out", file + "/run"}), Exit::bad_input, file);
    expect_error(train({"--out", "/proc/none/run"}), Exit::bad_input, "/proc/none/run");
    expect_error(train({"--out", "/sys/run"}), Exit::bad_input, "/sys/run");
    expect_error({"train", "--model", model, "--train-file", rows, "--quiet"}, Exit::usage, "--out is missing");

    expect_error(train({"--resume", "--lr", "0.1"}), Exit::usage, "this run was started with --lr 0.003, not 0.1");
    write_file(rows, tiny_rows(22));
    expect_error(train({"--resume"}), Exit::usage, "train_file has changed since this run was started");
    EXPECT_EQ(run_dd(train({"--resume", "--resume-force"})).code, 0);
    EXPECT_EQ(files_in(run), whole);
}

TEST_F(Cli, ANewModelToTrainLeavesNothingWhenItFails) {
    const std::string sizes = t.put("sizes.json", dump(tiny_config("llama")));
    const Args fresh{"train", "--full", "--init", "random", "--config-json", sizes, "--train-file", rows, "--steps",
                     "2", "--quiet"};
    const auto with = [&](const Args& more) {
        Args a = fresh;
        a.insert(a.end(), more.begin(), more.end());
        return a;
    };
    const std::string here = t / "here";
    make_folders(here);
    expect_error(with({"--dry-run"}), Exit::usage, "--init random needs --out", {.folder = here});
    EXPECT_TRUE(files_in(here).empty());
    EXPECT_EQ(run_dd(with({"--dry-run", "--out", run})).code, 0);
    EXPECT_FALSE(exists(run));
    expect_error(with({"--out", run, "--max-length", "1024"}), Exit::usage, "this model's context is 256");
    EXPECT_FALSE(exists(run));
    EXPECT_EQ(run_dd(with({"--out", run})).code, 0);
    EXPECT_TRUE(exists(run + "/model/model.safetensors"));
}

// ---- disk and memory

TEST_F(Cli, AFullDiskLeavesNothingHalfWritten) {
    const std::string out = t / "out";
    make_folders(out);
    const How full{.file_size = 20'000};
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--points", "resid_post.*", "--out",
                  out + "/h.safetensors"}, Exit::no_resource, "h.safetensors", full);
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--points", "resid_post.*", "--out",
                  out + "/h.npz"}, Exit::no_resource, "h.npz", full);
    EXPECT_TRUE(files_in(out).empty());
    expect_error({"init", "--config-json", model + "/config.json", "--out", out + "/new"}, Exit::no_resource,
                 "model.safetensors", full);
    EXPECT_FALSE(exists(out + "/new/model.safetensors"));
    expect_error(train(), Exit::no_resource, "state.safetensors", {.file_size = 30'000});
    for (const std::string& f : files_in(run)) EXPECT_EQ(f.find("/.", 0), f.npos) << f;
    // Room again: the run goes on to the end of one that never stopped.
    EXPECT_EQ(run_dd(train({"--resume"})).code, 0);
    EXPECT_EQ(run_dd(train({"--out", t / "straight"})).code, 0);
    EXPECT_EQ(result(run), result(t / "straight"));
}

TEST_F(Cli, AFullFileSystemToo) {
    const std::string disk = t / "disk";
    make_folders(disk);
    if (mount("none", disk.c_str(), "tmpfs", 0, "size=64k")) GTEST_SKIP() << "not allowed to mount here";
    struct Unmount {
        std::string path;
        ~Unmount() { umount2(path.c_str(), MNT_DETACH); }
    } unmount{disk};
    expect_error({"extract", "--quiet", "--model", model, "--input", rows, "--points", "resid_post.*", "--out",
                  disk + "/h.safetensors"}, Exit::no_resource, "make room or write elsewhere");
    EXPECT_TRUE(files_in(disk).empty());
    expect_error(train({"--out", disk + "/run", "--save-every", "1"}), Exit::no_resource,
                 "make room or write elsewhere");
    expect_error({"init", "--config-json", model + "/config.json", "--out", disk + "/new"}, Exit::no_resource,
                 "free; make");
}

TEST_F(Cli, TooLittleMemoryIsSaidBeforeWork) {
    Json config = tiny_config("llama");
    config["hidden_size"] = 512, config["intermediate_size"] = 1024, config["vocab_size"] = 8192;
    const std::string sizes = t.put("sizes.json", dump(config)), large = t / "large";
    ASSERT_EQ(run_dd({"init", "--config-json", sizes, "--out", large}).code, 0);
    Ran r = run_dd({"score", "--quiet", "--model", large, "--input", rows}, {.address_space = size_t(40) << 20});
    if (r.signal) GTEST_SKIP() << "this build cannot start in 40 MiB";
    EXPECT_EQ(r.code, int(Exit::no_resource)) << r.err;
    EXPECT_NE(r.err.find("memory"), r.err.npos) << r.err;
    EXPECT_EQ(r.out, "");
    // The plan of a run is more than there is: refused with its parts, and no folder.
    std::string row = "{\"input_ids\":[0";
    for (int i = 0; i < 255; i++) row += ",1";
    std::ofstream many(rows);
    for (int i = 0; i < 64; i++) many << row << "]}\n";
    many.close();
    const How limited{.address_space = size_t(700) << 20};
    const Args a{"train", "--model", large, "--train-file", rows, "--out", run, "--batch-size", "64", "--quiet",
        "--steps", "1"};
    expect_error(a, Exit::no_resource, "not enough memory: this run (weights ", limited);
    EXPECT_FALSE(exists(run));
    Args dry = a;
    dry.push_back("--dry-run");
    r = run_dd(dry, limited);
    EXPECT_EQ(r.code, int(Exit::no_resource)) << r.err;
    EXPECT_NE(r.err.find("--recompute, a smaller --batch-size or --max-length would make it fit"), r.err.npos) << r.err;
    Args small = a;
    small.insert(small.end(), {"--batch-size", "1", "--lora-rank", "1"});
    EXPECT_EQ(run_dd(small, limited).code, 0);
}

// ---- interrupted and killed

TEST_F(Cli, AnInterruptedRunGoesOnToTheSameBytes) {
    Args long_run = train({"--steps", "400"});
    ASSERT_EQ(run_dd(train({"--steps", "400", "--out", t / "straight"})).code, 0);
    const std::string log = run + "/log.jsonl";
    for (const int signal : {SIGINT, SIGTERM}) {
        std::filesystem::remove_all(run);
        Running r(long_run, {}, t);
        for (int i = 0; i < 5000 && (!exists(log) || read_file(log).empty()); i++) usleep(1000);
        r.signal(signal);
        const Ran ended = r.wait();
        EXPECT_EQ(ended.code, int(Exit::interrupted)) << ended.err;
        EXPECT_NE(ended.err.find("--resume --out " + run + " goes on from there"), ended.err.npos) << ended.err;
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(run + "/checkpoints"), {}), 1);
        EXPECT_FALSE(exists(run + "/adapter"));
        Args again = long_run;
        again.push_back("--resume");
        const Ran rest = run_dd(again);
        EXPECT_EQ(rest.code, 0) << rest.err;
        EXPECT_EQ(result(run), result(t / "straight"));
        // Every step once, the same losses.
        std::vector<double> losses[2];
        for (const int which : {0, 1}) {
            std::istringstream lines(read_file((which ? run : t / "straight") + "/log.jsonl"));
            for (std::string line; std::getline(lines, line);) {
                const Json j = parse_json(line, "log");
                losses[which].push_back(j["loss"]);
                EXPECT_EQ(j["step"], losses[which].size());
            }
        }
        EXPECT_EQ(losses[0].size(), 400u);
        EXPECT_EQ(losses[0], losses[1]);
    }
}

TEST_F(Cli, InterruptedWorkLeavesNoTemporaryFiles) {
    write_file(rows, tiny_rows(20'000));
    const std::string out = t / "out";
    make_folders(out);
    for (const int signal : {SIGINT, SIGHUP}) {
        Running r({"extract", "--quiet", "--model", model, "--input", rows, "--points", "resid_post.*,z.*,q.*", "--out",
                   out + "/h.safetensors"}, {}, t);
        for (int i = 0; i < 20'000 && files_in(out).empty(); i++) usleep(500);
        r.signal(signal);
        EXPECT_EQ(r.wait().code, int(Exit::interrupted));
        EXPECT_TRUE(files_in(out).empty());
    }
    // The same where nobody watches: one that waits for its input is ended at once.
    const std::string pipe = t / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    Running waits({"score", "--quiet", "--model", model, "--input", pipe}, {}, t);
    const int writer = open(pipe.c_str(), O_WRONLY);
    waits.signal(SIGINT);
    EXPECT_EQ(waits.wait(5).code, int(Exit::interrupted));
    close(writer);
    // And a job in the background, for which interrupts are ignored, goes on.
    const std::string quoted = "trap '' INT; '" + std::string(DD_BINARY) + "' env --json & wait $!";
    EXPECT_EQ(system((quoted + " >/dev/null").c_str()), 0);
}

// Killed at any moment, the run that is taken up again ends with the bytes of the run never killed.
TEST_F(Cli, ARunKilledAnywhereEndsWithTheSameBytes) {
    using Clock = std::chrono::steady_clock;
    const Args args = train({"--steps", "12", "--save-every", "2"});
    const auto begun = Clock::now();
    ASSERT_EQ(run_dd(train({"--steps", "12", "--save-every", "2", "--out", t / "straight"})).code, 0);
    const double whole = std::chrono::duration<double>(Clock::now() - begun).count();
    const std::string expected = result(t / "straight");
    std::set<std::string> files = files_in(t / "straight");
    files.erase("speed.txt");           // of the process that took the last step, if it lived to write it
    int killed = 0, with_checkpoint = 0;
    for (int round = 0; round < 400 && (killed < 20 || with_checkpoint < 5); round++) {
        std::filesystem::remove_all(run);
        Running r(args, {}, t);
        usleep(unsigned(1e6 * whole * (0.05 + 0.9 * (round * 7 % 25) / 25)));
        r.signal(SIGKILL);
        killed += r.wait().signal == SIGKILL;
        with_checkpoint += exists(run + "/checkpoints");
        Args again = args;
        if (exists(run + "/run.json")) again.push_back("--resume");
        const Ran rest = run_dd(again);
        ASSERT_EQ(rest.code, 0) << rest.err;
        EXPECT_EQ(result(run), expected) << "round " << round;
        std::set<std::string> left = files_in(run);
        left.erase("speed.txt");
        EXPECT_EQ(left, files) << "nothing half-written is left";
    }
    EXPECT_GE(killed, 15);
    EXPECT_GE(with_checkpoint, 5);
}

// ---- numbers that are none

TEST_F(Cli, WeightsThatAreNotNumbersEndARun) {
    const std::string copy = copy_of_tiny(t), weights = copy + "/model.safetensors";
    std::string bytes = read_file(weights);
    const auto file = open_safetensors(weights);
    const Stored* w = file->find("model.layers.1.mlp.down_proj.weight");
    const uint32_t nan = 0x7fc00000;
    memcpy(bytes.data() + bytes.size() - (file->tensors().back().data + file->tensors().back().bytes - w->data), &nan,
        4);
    std::ofstream(weights, std::ios::binary) << bytes;
    expect_error(train({"--model", copy}), Exit::numerics,
                 "the first tensor that is not finite is the activation mlp_out.1");
    EXPECT_EQ(files_in(run), (std::set<std::string>{"run.json"}));
    expect_error({"score", "--quiet", "--model", copy, "--input", rows}, Exit::numerics,
                 "is not a number; the weights");
    for (const char* temperature : {"0", "1"})
        expect_error({"generate", "--quiet", "--raw", "--prompt", "a", "--json", "--model", copy, "--temp", temperature,
                      "--max-tokens", "4"}, Exit::numerics, "are not numbers; the weights");
}

// ---- memory that may be taken

TEST(Memory, OfControlGroupsIsTheLeastOnTheWayUp) {
    const TempFolder t;
    const auto put = [&](const std::string& path, const std::string& text) {
        make_folders((t / path).substr(0, (t / path).rfind('/')));
        std::ofstream(t / path) << text;
    };
    put("memory.max", "max\n");
    put("a/memory.max", "1000000\n");
    put("a/memory.current", "700000\n");
    put("a/memory.stat", "anon 1\nfile 500000\ninactive_file 200000\n");
    put("a/b/memory.max", "900000\n");
    put("a/b/memory.current", "100000\n");
    put("a/b/memory.stat", "inactive_file 0\n");
    EXPECT_EQ(cgroup_memory("0::/a/b\n", t.path), 500'000u);
    EXPECT_EQ(cgroup_memory("0::/a/b/none\n", t.path), 500'000u);
    EXPECT_EQ(cgroup_memory("0::/\n", t.path), SIZE_MAX);
    EXPECT_EQ(cgroup_memory("", t.path), SIZE_MAX);
    EXPECT_EQ(cgroup_memory("nonsense\n::\n0:", t.path), SIZE_MAX);
    put("memory/x/memory.limit_in_bytes", "5000\n");
    put("memory/x/memory.usage_in_bytes", "6000\n");
    put("memory/x/memory.stat", "inactive_file 9\ntotal_inactive_file 0\n");
    put("memory/y/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/y/memory.usage_in_bytes", "6000\n");
    EXPECT_EQ(cgroup_memory("9:cpu:/\n4:memory:/x\n0::/\n", t.path), 0u);
    EXPECT_EQ(cgroup_memory("4:cpu,memory:/y\n0::/\n", t.path), SIZE_MAX);
    EXPECT_GT(available_memory(), size_t(1) << 20);
    std::string text;
    EXPECT_EQ(error_of([] { need_memory(host_memory, size_t(1) << 60, "the weights", "less"); }, &text),
              Exit::no_resource);
    EXPECT_NE(text.find("the weights need 1152921504.61 GB"), text.npos) << text;
}

}  // namespace
