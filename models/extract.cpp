// extract.cpp - activations at named points, for rows that come one after another and are not held.
#include <future>
#include "session.h"

namespace {

struct Name { const char* name; Point point; bool per_layer; };
constexpr Name points[] = {{"embed", Point::embed, false},       {"resid_pre", Point::resid_pre, true},
                           {"q", Point::q, true},                 {"z", Point::z, true},
                           {"attn_out", Point::attn_out, true},   {"mlp_out", Point::mlp_out, true},
                           {"resid_post", Point::resid_post, true}, {"final", Point::final, false},
                           {"logits", Point::final, false}};

bool of_heads(const Name& n) { return n.point == Point::q || n.point == Point::z; }

int width_of(const Model& m, const Name& n, int layer) {
    if (of_heads(n)) return m.blocks[layer].heads * m.blocks[layer].head_size;
    return std::string(n.name) == "logits" ? m.vocabulary : m.dim;
}

}  // namespace

std::vector<Tap> parse_points(const Model& m, const std::string& list) {
    std::vector<Tap> taps;
    for (size_t at = 0; at <= list.size();) {
        size_t end = std::min(list.find(',', at), list.size());
        std::string one = list.substr(at, end - at), base = one.substr(0, one.find('.'));
        std::string layer = one.find('.') == std::string::npos ? "" : one.substr(one.find('.') + 1);
        at = end + 1;
        const Name* name = nullptr;
        for (const Name& n : points)
            if (base == n.name) name = &n;
        if (!name || name->per_layer == layer.empty())
            fail(Exit::usage,
                 "--points %s: there are embed, resid_pre.B, q.B, z.B, attn_out.B, mlp_out.B, resid_post.B, final, "
                 "logits; B = 0 to %d, or * for all",
                 one.c_str(), m.layers - 1);
        int first = 0, last = name->per_layer ? m.layers : 1;
        if (name->per_layer && layer != "*") {
            char* rest;
            long l = strtol(layer.c_str(), &rest, 10);
            if (*rest || l < 0 || l >= m.layers)
                fail(Exit::usage, "--points %s: blocks are 0 to %d, or *", one.c_str(), m.layers - 1);
            first = int(l), last = first + 1;
            if (of_heads(*name) && !m.blocks[l].heads)
                fail(Exit::usage, "--points %s: block %ld is %s; blocks with heads are %s", one.c_str(), l,
                     m.blocks[l].kind.c_str(), blocks_with_heads(m).c_str());
        }
        for (int l = first; l < last; l++) {
            Tap tap{base + (name->per_layer ? "." + std::to_string(l) : ""), name->point, name->per_layer ? l : -1,
                    width_of(m, *name, l), base == std::string("logits")};
            auto same = [&](const Tap& t) { return t.name == tap.name; };       // as in z.*,z.3
            if ((!of_heads(*name) || m.blocks[l].heads) && std::none_of(taps.begin(), taps.end(), same))
                taps.push_back(tap);
        }
    }
    return taps;
}

namespace {

// Rows put together as they come, up to what a pass of prompts takes: what is taken from a larger one is more memory to
// walk through.
struct Groups {
    RowSource& rows;
    size_t most;
    std::vector<int> ahead;                     // read, and too long for the group before
    bool more;
    Groups(RowSource& rows, int most) : rows(rows), most(size_t(most)) {
        rows.rewind();
        more = rows.next(ahead);
    }
    bool next(Batch& b) {
        b.clear();
        while (more && (b.tokens() == 0 || b.ids.size() + ahead.size() <= most)) {
            b.add(ahead.data(), int(ahead.size()), 0, b.sequences());
            more = rows.next(ahead);
        }
        return b.tokens() > 0;
    }
};

struct Held : RowSource {
    const std::vector<Row>& rows;
    size_t at = 0;
    explicit Held(const std::vector<Row>& rows) : rows(rows) {}
    void rewind() override { at = 0; }
    bool next(std::vector<int>& ids) override {
        if (at == rows.size()) return false;
        ids = rows[at++].ids;
        return true;
    }
};

}  // namespace

void extract(Session& s, const std::vector<Row>& rows, const std::vector<Tap>& taps, bool last,
             const std::function<void(size_t, int64_t, const float*, int64_t)>& out) {
    Held held(rows);
    extract(s, held, taps, last, out);
}

// While a group is computed, what was taken from the one before is given out by a thread of its own. Logits, which are
// too many to keep, are made and given out between two groups; so are the few rows of --tokens last.
void extract(Session& s, RowSource& rows, const std::vector<Tap>& taps, bool last,
             const std::function<void(size_t, int64_t, const float*, int64_t)>& out) {
    Batch b;
    auto weight = [](const Batch& g) { return g.tokens() + 16 * g.sequences(); };
    constexpr int chunk = 256;                  // rows of logits at a time
    int a_pass = s.k.tokens_a_pass;
    size_t need, taken;
    for (;; a_pass = std::max(least_a_pass, a_pass / 2)) {
        Batch heaviest;                         // the group that needs the most scratch: its tokens, and 16 a sequence
        size_t most = 0;
        for (Groups groups(rows, a_pass); groups.next(b); most = std::max(most, b.ids.size()))
            if (weight(b) > weight(heaviest)) heaviest = b;
        need = s.plan(heaviest, false, false) + (size_t(1) << 20) +
               size_t(chunk + 16) * (s.model->vocabulary + s.model->dim + 64) * 4, taken = size_t(1) << 16;
        for (const Tap& t : taps)
            if (!t.logits) taken += (most + 16) * t.width * 4;
        if (a_pass <= least_a_pass || s.fits(need + need / 8 + 2 * taken)) break;
    }
    need_memory(*s.k.memory, need + 2 * taken, "activations and what is taken from them",
                "fewer --points, or shorter rows");
    Arena scratch(need + need / 8, *s.k.memory), first(taken, *s.k.memory), second(taken, *s.k.memory);
    std::vector<float> numbers;

    std::future<void> giving;                   // of the group before; last, since it must end before what it reads
    int64_t row = 0;
    bool even = true;
    for (Groups groups(rows, a_pass); groups.next(b); even = !even) {
        scratch.rewind(0);
        Arena& mine = even ? first : second;    // the other is being given out
        mine.rewind(0);
        std::vector<Edit> with_taps = s.edits;
        std::vector<Tensor> into(taps.size());
        for (size_t t = 0; t < taps.size(); t++)
            if (!taps[t].logits) {
                into[t] = mine.make(b.tokens(), taps[t].width);
                with_taps.push_back({taps[t].point, taps[t].layer, Edit::tap, into[t]});
            }
        Pass p = s.pass(scratch, b);
        p.edits = &with_taps;
        Tensor h = s.model->forward(p);

        std::vector<int> which;
        for (int q = 0; last && q < b.sequences(); q++) which.push_back(b.first[q + 1] - 1);
        const int n = last ? int(which.size()) : b.tokens();
        if (giving.valid()) giving.get();
        for (size_t t = 0; t < taps.size(); t++) {
            if (!taps[t].logits && !last) continue;
            for (int i = 0; i < n; i += chunk) {
                size_t mark = scratch.used;
                int m = std::min(chunk, n - i);
                Tensor x = taps[t].logits ? h : into[t];
                x = last ? select(p, x, scratch.put(which.data() + i, size_t(m)), m) : x.slice(i, m);
                if (taps[t].logits) x = logits(p, x, s.model->head());
                out(t, row + i, get(*s.k.memory, x, numbers), m);
                scratch.rewind(mark);
            }
        }
        // Of a device's memory this thread itself takes it, when its turn comes.
        const std::launch how = s.k.memory->host ? std::launch::async : std::launch::deferred;
        if (!last)
            giving = std::async(how, [&, into, row, n] {
                for (size_t t = 0; t < taps.size(); t++)
                    if (!taps[t].logits) out(t, row, get(*s.k.memory, into[t], numbers), n);
            });
        row += n;
    }
    if (giving.valid()) giving.get();
}
