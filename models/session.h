// session.h - a model ready to be used: opened, packed, adapted, edited. Text in, text out; what eval and the verbs
// see.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>
#include "../engine/rows.h"
#include "adapter.h"
#include "checkpoint.h"
#include "memory.h"

struct SessionOptions {
    std::string model;
    std::vector<std::string> adapters;          // DIR or DIR:SCALE
    std::string device = "auto", precision = "auto", chat_format;
    int threads = 0;                            // 0: every core we may run on
    bool quiet = false;
    bool deterministic = false;                 // on a GPU too: a row's numbers do not depend on what goes with it
    bool pack = true;                           // false: pack() comes later, or the weights will be replaced
    const Kernels* kernels = nullptr;           // null: the best of this machine
};

// The tokens of one pass: consecutive positions of some sequences.
struct Batch {
    std::vector<int> ids, pos, first{0}, slot;
    void add(const int* tokens, int n, int position, int slot_of_it);
    void clear();
    int tokens() const { return int(ids.size()); }
    int sequences() const { return int(slot.size()); }
    Rows rows() const;
    Rows rows(Arena&) const;                    // where the kernels of that memory read them
};

class Session {
public:
    explicit Session(const SessionOptions&);
    void pack();                                // the weights, for products: what takes memory and time

    Checkpoint checkpoint;
    const Kernels& k;
    Type operand;                               // what --precision came to
    Arena weights;
    std::unique_ptr<Model> model;
    Adapters adapters;
    std::vector<Edit> edits;
    size_t adapter_tensors = 0;

    // Null: the model has none. Read at the first asking; Exit::bad_input where its vocabulary is larger than the
    // embedding (single added tokens may lie beyond: as in Gemma 3's).
    const Tokenizer* tokenizer();
    const Tokenizer& need_tokenizer();          // Exit::bad_input where there is none
    const ChatFormat* chat();                   // null: none known, and none chosen
    std::vector<int> stops();                   // ids that end an answer
    RowReader reader();                         // for rows of this model

    // A walk over a batch with this session's edits.
    Pass pass(Arena& scratch, const Batch&);
    // Scratch that a forward of this batch needs, by walking it with kernels that do nothing.
    size_t plan(const Batch&, bool cached, bool with_logits);
    // Whether so much can be had, and a tenth besides for what is not planned.
    bool fits(size_t bytes) const { return bytes <= available_memory(*k.memory) / 10 * 9; }
    std::string header() const;                 // one line: model, precision, kernel path, threads, adapters, edits

private:
    SessionOptions options_;
    std::unique_ptr<Tokenizer> tokenizer_;
    bool looked_ = false;
    const ChatFormat* chat_ = nullptr;
    bool chosen_ = false;
};

// ---- score: log-probabilities of given text

constexpr int scored_a_pass = 2048;             // at least (Kernels::tokens_a_pass may be more, as far as there is
                                                // memory): rows are put together up to here; a longer one goes alone

// For each row, logp[i] = log p(labels[i + 1] | ids[0 .. i]) where labels[i + 1] counts, NaN where it does not; size
// ids - 1. Rows go many at a time; `done` is called in order.
void score(Session&, const std::vector<Row>&,
           const std::function<void(size_t row, const std::vector<float>& logp)>& done);

// ---- generate: continuous batching

// A pass takes in Kernels::tokens_a_pass of all prompts together or of one; where they do not fit into a device's
// memory, fewer, down to these.
constexpr int least_a_pass = 512;

struct Sampling {
    double temperature = 0, top_p = 1, min_p = 0, repeat_penalty = 1;
    int top_k = 0;                              // 0: all
    uint64_t seed = 0;
};
struct Request {
    std::vector<int> prompt;
    uint64_t stream = 0;                        // random numbers are keyed by (seed, stream, position)
};
enum class Stop { eos, stop_string, length };
struct Answer {
    std::vector<int> ids;                       // including the stop token
    std::vector<float> logprobs;                // of each, under the model itself (temperature 1, no penalty)
    std::string text;                           // of ids, without the stop token; empty if the model has no tokenizer
    Stop stop = Stop::length;
};
struct GenerateOptions {
    int max_tokens = 512, slots = 32, context = 0;      // context: positions a sequence may reach; 0: the model's
    Sampling sampling;
    std::vector<std::string> stop_strings;
    bool ignore_eos = false;
    std::function<void(size_t request, const std::string& text)> on_text;      // as it becomes certain
    std::function<void(size_t request, const Answer&)> on_done;                 // as each ends, in any order
    std::function<bool()> interrupted = [] { return false; };
};
struct GenerateStats {
    size_t prompt_tokens = 0, new_tokens = 0, passes = 0, prompt_passes = 0;
    double seconds = 0, prompt_seconds = 0;     // prompt_*: of the passes that took in prompts
};
GenerateStats generate(Session&, const std::vector<Request>&, const GenerateOptions&);
const char* name(Stop);

// ---- extract: activations

// logits: exactly what the head makes of the numbers at `final`: the same product kernel on operands of the same
// precision (with bf16 operands the numbers at `final` are bf16 numbers already), and the family's softcap after it.
struct Tap { std::string name; Point point; int layer, width; bool logits; };
// "resid_post.*", "final", "logits" ...: Exit::usage naming what exists.
std::vector<Tap> parse_points(const Model&, const std::string& list);
// Rows of ids that are not held in memory: they come one after another, and again after a rewind.
struct RowSource {
    virtual ~RowSource() = default;
    virtual void rewind() = 0;
    virtual bool next(std::vector<int>& ids) = 0;       // false: there are no more
};
// Calls `rows(tap, first row of the output, data, n)` for every tap of every batch; last: one row a sequence.
void extract(Session&, RowSource&, const std::vector<Tap>&, bool last,
             const std::function<void(size_t tap, int64_t first, const float* data, int64_t n)>& rows);
void extract(Session&, const std::vector<Row>&, const std::vector<Tap>&, bool last,
             const std::function<void(size_t tap, int64_t first, const float* data, int64_t n)>& rows);
