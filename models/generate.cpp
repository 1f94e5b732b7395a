// generate.cpp - many prompts at once: each has a slot of the cache until it ends, and the slot is refilled at once.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include "../engine/replay.h"
#include "session.h"

const char* name(Stop s) { return s == Stop::eos ? "eos" : s == Stop::stop_string ? "stop_string" : "length"; }

namespace {

struct Live {                       // a request that holds a slot
    size_t request = 0;
    int seen = 0;                   // positions in the cache
    bool active = false;
    std::vector<int> ids;           // prompt, then what was generated
    Answer answer;
    std::unique_ptr<StreamDecoder> decoder;
    std::string pending;            // text not yet given out: it may be the beginning of a stop string
};

// One pass over all slots that have something to do.
struct Step {
    std::vector<int> last, who;     // the last rows of those whose next token is wanted, and their slots
    std::vector<size_t> requests;   // of these slots
    std::vector<uint64_t> streams;  // whose random numbers they draw
    bool decoding = false;          // every sequence brings one token, and wants one
    Rows rows;                      // where the kernels read them
    const int* at = nullptr;
    const uint64_t* stream = nullptr;
    size_t end = 0;                 // of the scratch that they take
};

struct Generator {
    Session& s;
    const std::vector<Request>& requests;
    const GenerateOptions& o;
    std::vector<int> stops;
    const Tokenizer* tokenizer;
    int room, slots;
    int a_pass, longest = 0;        // tokens of all prompts in a pass; of the longest of them
    std::vector<Live> live;
    std::deque<size_t> waiting;
    GenerateStats stats;
    const Memory& memory;
    std::vector<float> numbers;
    Tensor seen;                    // tokens so far [slots, room], for a repeat penalty

    Generator(Session& s, const std::vector<Request>& requests, const GenerateOptions& o)
        : s(s),
          requests(requests),
          o(o),
          stops(o.ignore_eos ? std::vector<int>{} : s.stops()),
          tokenizer(s.tokenizer()),
          memory(*s.k.memory) {
        int context = o.context ? o.context : s.model->context;
        room = 1;
        size_t prompts = 0;
        for (size_t r = 0; r < requests.size(); r++) {
            size_t n = requests[r].prompt.size();
            if (n == 0) fail(Exit::bad_input, "request %zu: the prompt has no tokens", r);
            if (n >= size_t(context))
                fail(Exit::bad_input, "request %zu: the prompt has %zu tokens; this model's context is %d", r, n,
                     context);
            for (int id : requests[r].prompt)
                if (id < 0 || id >= s.model->vocabulary)
                    fail(Exit::bad_input, "request %zu: token id %d, but the model has %d embeddings", r, id,
                         s.model->vocabulary);
            room = std::max(room, std::min(context, int(n) + o.max_tokens));
            longest = std::max(longest, int(n)), prompts += n;
            waiting.push_back(r);
        }
        slots = std::min<int>(o.slots, int(requests.size()));
        a_pass = int(std::min(prompts, size_t(s.k.tokens_a_pass)));
    }

    bool fill(Live& l) {
        if (waiting.empty()) return false;
        l = Live{};
        l.request = waiting.front();
        waiting.pop_front();
        l.active = true;
        l.ids = requests[l.request].prompt;
        if (tokenizer) l.decoder = std::make_unique<StreamDecoder>(*tokenizer);
        return true;
    }

    // Gives out text that can no longer become a stop string; true when one has been completed.
    bool give_text(Live& l, const std::string& text, bool end) {
        l.pending += text;
        size_t first = std::string::npos;                   // of all that one token may have completed
        for (const std::string& stop : o.stop_strings) first = std::min(first, l.pending.find(stop));
        if (first != std::string::npos) {
            l.pending.resize(first);
            flush(l, first);
            return true;
        }
        size_t hold = 0;
        for (const std::string& stop : o.stop_strings)
            for (size_t n = 1; n < stop.size() && !end; n++)
                if (l.pending.size() >= n && l.pending.ends_with(stop.substr(0, n))) hold = std::max(hold, n);
        flush(l, l.pending.size() - hold);
        return false;
    }
    void flush(Live& l, size_t n) {
        std::string out = l.pending.substr(0, n);
        l.pending.erase(0, n);
        l.answer.text += out;
        if (o.on_text && !out.empty()) o.on_text(l.request, out);
    }

    void take(Live& l, int id, float logp) {
        stats.new_tokens++;
        l.ids.push_back(id);
        l.answer.ids.push_back(id);
        l.answer.logprobs.push_back(logp);
        bool eos = std::binary_search(stops.begin(), stops.end(), id), over = false;
        if (eos) l.answer.stop = Stop::eos, over = true;
        else if (l.decoder && give_text(l, l.decoder->push(id), false)) l.answer.stop = Stop::stop_string, over = true;
        if (!over && (int(l.answer.ids.size()) >= o.max_tokens || int(l.ids.size()) > room))
            l.answer.stop = Stop::length, over = true;
        if (!over) return;
        if (l.decoder && l.answer.stop != Stop::stop_string) give_text(l, l.decoder->finish(), true);
        if (o.on_done) o.on_done(l.request, l.answer);
        l.active = false;
    }

    size_t cache_bytes(int n) {
        Arena counting(size_t(1) << 42, true), states(size_t(1) << 42, true);
        Cache cache(states, n, room, std::min(longest, a_pass));
        Batch b;
        b.add(requests[0].prompt.data(), 1, 0, 0);
        Pass p{nothing, counting, b.rows(), s.operand};
        p.cache = &cache;
        s.model->forward(p);
        if (penalises()) states.make(n, room, Type::i32);
        return states.peak;
    }

    // Scratch for the widest pass: as many tokens of one prompt as a pass takes, one of each other sequence, and what
    // the next tokens are drawn from.
    size_t pass_bytes() {
        Batch widest;
        const std::vector<int> zeros(size_t(a_pass), 0);
        for (int i = 0; i < slots; i++) widest.add(zeros.data(), i == 0 ? a_pass : 1, 0, i);
        return s.plan(widest, true, true) + size_t(slots) * (s.model->vocabulary + 64) * 4 + (size_t(1) << 20);
    }

    void run() {
        using Clock = std::chrono::steady_clock;
        auto since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
        auto start = Clock::now();
        size_t scratch_bytes = pass_bytes();
        while (!s.fits(cache_bytes(slots) + scratch_bytes) && (a_pass > least_a_pass || slots > 1)) {
            if (a_pass > least_a_pass) a_pass = std::max(least_a_pass, a_pass / 2);
            else slots /= 2;
            scratch_bytes = pass_bytes();
        }
        size_t state_bytes = cache_bytes(slots);
        need_memory(memory, state_bytes + scratch_bytes, format("keys and values of %d tokens", room),
                    "a smaller --max-tokens");
        live.resize(slots);
        Arena states(state_bytes + (size_t(1) << 16), memory), scratch(scratch_bytes, memory);
        Cache cache(states, slots, room, std::min(longest, a_pass));
        if (penalises()) seen = states.make(slots, room, Type::i32);

        Replays replays(s.k, scratch);
        const bool follows = !memory.host;

        Batch b;
        Step step, before;
        for (;;) {
            b.clear();
            std::swap(step, before);
            step = {};
            int budget = a_pass;
            bool prompts = false;
            for (int i = 0; i < slots; i++) {
                Live& l = live[i];
                if (!l.active && !fill(l)) continue;
                int left = int(l.ids.size()) - l.seen, n = std::min(left, left > 1 ? budget : 1);
                if (n <= 0) continue;                   // this pass is full of other prompts
                if (left > 1) budget -= n, prompts = true;
                if (n > 1) stats.prompt_tokens += n;
                b.add(l.ids.data() + l.seen, n, l.seen, i);
                l.seen += n;
                if (n == left) {
                    step.last.push_back(b.tokens() - 1);
                    step.who.push_back(i), step.requests.push_back(l.request);
                    step.streams.push_back(requests[l.request].stream);
                }
            }
            if (b.tokens() == 0) break;
            if (o.interrupted()) fail(Exit::interrupted, "interrupted");
            auto begun = Clock::now();
            step.decoding = b.tokens() == int(step.who.size());
            if (follows && step.decoding && before.decoding && step.requests == before.requests) {
                step.rows = before.rows, step.at = before.at, step.stream = before.stream;
                step.end = before.end;                      // they have followed
                scratch.used = step.end;
            } else {
                scratch.rewind(0);
                step.rows = b.rows(scratch), step.at = scratch.put(step.last);
                step.stream = scratch.put(step.streams), step.end = scratch.used;
            }
            auto walk = [&] { return walk_of(step, scratch, cache); };
            Tensor out = step.decoding ? replays(int(step.who.size()), walk) : walk();
            if (out) choose(out, step.who);
            stats.passes++;
            if (prompts) stats.prompt_seconds += since(begun), stats.prompt_passes++;
        }
        stats.seconds = since(start);
    }

    bool penalises() const { return o.sampling.repeat_penalty != 1; }

    // The token that follows each row of logits, wherever they are.
    void next(const Kernels& k, int* chosen, Tensor z, const uint64_t* stream, const int* pos, const int* row) {
        const Sampling& by = o.sampling;
        if (by.temperature <= 0) return k.argmax(chosen, z);
        k.sample(chosen, z, {float(std::min(1.4426950408889634 / by.temperature, 1e30)), by.top_k, by.top_p, by.min_p,
                             by.seed, stream, pos, row});
    }

    // The tokens that follow the sequences whose next one is wanted, and their log-probabilities [2, n]. Where every
    // sequence is decoding, ids and positions become the next pass's.
    Tensor walk_of(const Step& step, Arena& scratch, Cache& cache) {
        Pass p{s.k, scratch, step.rows, s.operand};
        p.edits = s.edits.empty() ? nullptr : &s.edits;
        p.cache = &cache;
        Tensor h = s.model->forward(p), z, from;
        const int n = int(step.who.size());
        if (n) from = z = logits(p, select(p, h, step.at, n), s.model->head());
        if (penalises()) {                              // logprobs stay the model's own
            if (n) s.k.copy(from = p.make(n, z.cols, Type::f32), z);
            s.k.penalise(from, z, seen, step.rows, step.at, float(o.sampling.repeat_penalty));
        }
        if (!n) return {};
        Tensor both = p.make(2, n, Type::f32);
        int* chosen = (int*)both.data;
        next(s.k, chosen, from, step.stream, step.rows.pos, step.at);
        s.k.pick(both.slice(1, 1), {}, z, chosen, nullptr, 0);
        if (step.decoding && !memory.host) s.k.follow((int*)step.rows.ids, (int*)step.rows.pos, chosen, n);
        return both;
    }

    void choose(Tensor out, const std::vector<int>& who) {
        const size_t n = who.size();
        const float* both = get(memory, out, numbers);
        for (size_t i = 0; i < n; i++) took(who[i], ((const int*)both)[i], both[n + i]);
    }

    void took(int slot, int id, float logp) {
        Live& l = live[slot];
        if (std::isnan(logp))
            fail(Exit::numerics,
                 "request %zu: the logits at position %zu are not numbers; the weights, an adapter or an edit is "
                 "broken",
                 l.request, l.ids.size());
        take(l, id, logp);
    }
};

}  // namespace

GenerateStats generate(Session& s, const std::vector<Request>& requests, const GenerateOptions& o) {
    if (requests.empty() || o.max_tokens <= 0) return {};
    Generator g(s, requests, o);
    g.run();
    return g.stats;
}
