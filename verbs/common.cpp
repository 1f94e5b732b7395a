#include "common.h"
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include "../engine/file.h"
#include "../engine/reader.h"
#include "../engine/safetensors.h"
#include "../kernels/quant.h"

void ModelFlags::declare(Flags& f) {
    f.add("model", &session.model, "PATH", "a Hugging Face directory, or a .gguf file");
    f.add("adapter", &session.adapters, "DIR[:SCALE]", "a PEFT LoRA directory; repeatable");
    f.add("device", &session.device, "cpu|cuda[:N]|auto", "where to compute");
    f.add("deterministic", &session.deterministic, "",
          "on a GPU too, numbers do not depend on the batch; eval and score always, and a CPU");
    f.choice("precision", &session.precision, {"auto", "f32", "bf16"},
             "operands of products; auto: bf16 where the processor has bf16 dot products");
    f.number("threads", &session.threads, "N", 0, 256, "threads; 0: every core we may run on");
    f.add("chat-format", &session.chat_format, "NAME",
          "smollm2, qwen3, qwen3_5, gemma3, gemma4, chatml; default: by the model's own template");
    f.add("quiet", &session.quiet, "", "no talk on stderr");
}

void ModelFlags::declare_edits(Flags& f) {
    f.add("edits", &edits, "FILE", "interventions, as JSON");
    f.add("temper", &temper, "B.H=F,..", "multiply head H of block B by F, at the input of o_proj");
    f.add("ablate", &ablate, "B.H,..", "the same with factor 0");
    f.add("ablate-to", &ablate_to, "mean:FILE", "put recorded means there instead");
    f.add("steer", &steer, "B=FILE#NAME*S",
          "add S times a vector to resid_post of block B, at every token; repeatable");
    f.add("project-out", &project_out, "B=FILE#NAME", "remove the component along a vector; repeatable");
}

std::unique_ptr<Session> ModelFlags::open(const std::function<void(Session&)>& read) {
    if (session.model.empty()) fail(Exit::usage, "--model is missing: a Hugging Face directory or a .gguf file");
    SessionOptions unpacked = session;
    unpacked.pack = false;
    auto s = std::make_unique<Session>(unpacked);
    s->edits = read_edits(*this, *s);
    if (read) read(*s);
    if (session.pack) s->pack();
    if (!session.quiet) fprintf(stderr, "dd: %s\n", s->header().c_str());
    return s;
}

bool on_terminal(int fd) { return isatty(fd); }

void Progress::show(const std::string& line) {
    if (!on_terminal(2)) return;
    fprintf(stderr, "\r\033[K%s", line.c_str());
    fflush(stderr);
    shown_ = true;
}
void Progress::clear() {
    if (shown_) fprintf(stderr, "\r\033[K");
    shown_ = false;
}

void put(const std::string& text) {
    const std::string out = on_terminal(1) ? printable(text, true) : text;
    if (fwrite(out.data(), 1, out.size(), stdout) != out.size()) flush_output();
    stop_if_interrupted();
}

void flush_output() {
    if (!fflush(stdout) && !ferror(stdout)) return;
    if (errno == EPIPE) throw NobodyReads();
    fail(Exit::no_resource, "standard output: %s", strerror(errno));
}

std::string duration(double s) {
    if (s < 10) return format("%.1f s", s);
    if (s < 90) return format("%.0f s", s);
    int minutes = int(s / 60 + 0.5);
    if (s < 3600) return format("%d min %02d s", int(s) / 60, int(s) % 60);
    return format("%d h %02d min", minutes / 60, minutes % 60);
}

// Set by a signal's handler, read by whichever thread writes.
static std::atomic<int> stops{0};
static_assert(std::atomic<int>::is_always_lock_free);

void watch_interrupts() {
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction now = {}, a = {};
        if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
        a.sa_handler = [](int) {
            if (stops) {
                remove_unfinished_files();
                _exit(int(Exit::interrupted));
            }
            stops = 1;
        };
        sigaction(signal, &a, nullptr);
    }
}
bool interrupted() { return stops > 0; }

void need_same_run(const Json& before, const Json& now, const std::vector<std::string>& may_differ) {
    for (const auto& [flag, value] : before["flags"].items()) {
        if (std::find(may_differ.begin(), may_differ.end(), flag) != may_differ.end()) continue;
        if (now["flags"].contains(flag) && now["flags"][flag] != value)
            fail(Exit::usage, "--resume: this run was started with --%s %s, not %s; give the same, or begin a new run",
                 flag.c_str(), value.dump().c_str(), now["flags"][flag].dump().c_str());
    }
    for (const auto& [what, hash] : before["hashes"].items())
        if (now["hashes"].contains(what) && now["hashes"][what] != hash)
            fail(Exit::usage, "--resume: %s has changed since this run was started; begin a new run", what.c_str());
}

void stop_if_interrupted() {
    if (interrupted()) fail(Exit::interrupted, "interrupted");
}
