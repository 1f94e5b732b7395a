// score.cpp - log-probabilities of given text, and activations on the way.
#include <cmath>
#include "session.h"

namespace {

constexpr int tokens_a_pass = 2048;         // rows are put together up to here; a longer row goes alone

// Rows [first, last) that go together.
size_t group_end(const std::vector<Row>& rows, size_t first) {
    size_t last = first, tokens = 0;
    do tokens += rows[last++].ids.size();
    while (last < rows.size() && tokens + rows[last].ids.size() <= tokens_a_pass);
    return last;
}

struct Group { size_t first, last; };

std::vector<Group> groups_of(const std::vector<Row>& rows) {
    std::vector<Group> groups;
    for (size_t first = 0; first < rows.size();) {
        size_t last = group_end(rows, first);
        groups.push_back({first, last});
        first = last;
    }
    return groups;
}

Batch batch_of(const std::vector<Row>& rows, Group g) {
    Batch b;
    for (size_t r = g.first; r < g.last; r++) b.add(rows[r].ids.data(), int(rows[r].ids.size()), 0, int(r - g.first));
    return b;
}

// The largest group decides the scratch.
size_t most_scratch(Session& s, const std::vector<Row>& rows, const std::vector<Group>& groups) {
    size_t most = 0, at = 0;
    for (size_t i = 0; i < groups.size(); i++) {
        size_t tokens = 0;
        for (size_t r = groups[i].first; r < groups[i].last; r++) tokens += rows[r].ids.size() + 16;
        if (tokens > most) most = tokens, at = i;
    }
    return s.plan(batch_of(rows, groups[at]), false, false);
}

}  // namespace

void score(Session& s, const std::vector<Row>& rows,
           const std::function<void(size_t, const std::vector<float>&)>& done) {
    std::vector<Group> groups = groups_of(rows);
    size_t logit_chunk = size_t(256 + 16) * (s.model->vocabulary + 64) * 4;
    size_t need = most_scratch(s, rows, groups) + logit_chunk + (size_t(1) << 20);
    need_memory(need, "activations of a pass", "shorter rows");
    Arena scratch(need + need / 8);
    for (Group g : groups) {
        Batch b = batch_of(rows, g);
        std::vector<int> at, want;
        for (size_t r = g.first; r < g.last; r++)
            for (size_t i = 0; i + 1 < rows[r].ids.size(); i++)
                if (rows[r].labels[i + 1] >= 0) {
                    at.push_back(b.first[r - g.first] + int(i));
                    want.push_back(rows[r].labels[i + 1]);
                }
        scratch.rewind(0);
        Pass p = s.pass(scratch, b);
        Tensor h = s.model->forward(p);
        Tensor logp = log_probs(p, h, s.model->head(), {int(at.size()), at.data(), want.data()});
        size_t next = 0;
        for (size_t r = g.first; r < g.last; r++) {
            std::vector<float> out(rows[r].ids.size() - 1, NAN);
            for (size_t i = 0; i < out.size(); i++) {
                if (rows[r].labels[i + 1] < 0) continue;
                out[i] = logp.f()[next++];
                if (std::isnan(out[i]))
                    fail(Exit::numerics, "row %zu: the log-probability of token %zu is not a number; the weights, an "
                         "adapter or an edit is broken", r, i + 1);
            }
            done(r, out);
        }
    }
}

// ---- extract

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
        for (int l = first; l < last; l++)
            if (!of_heads(*name) || m.blocks[l].heads)
                taps.push_back({base + (name->per_layer ? "." + std::to_string(l) : ""), name->point,
                                name->per_layer ? l : -1, width_of(m, *name, l), base == std::string("logits")});
    }
    return taps;
}

void extract(Session& s, const std::vector<Row>& rows, const std::vector<Tap>& taps, bool last,
             const std::function<void(size_t, int64_t, const float*, int64_t)>& out) {
    std::vector<Group> groups = groups_of(rows);
    size_t most = 0;
    for (Group g : groups) {
        size_t n = 0;
        for (size_t r = g.first; r < g.last; r++) n += rows[r].ids.size();
        most = std::max(most, n);
    }
    constexpr int chunk = 256;                  // rows of logits at a time
    size_t need = most_scratch(s, rows, groups) + size_t(chunk + 16) * (s.model->vocabulary + s.model->dim + 64) * 4 +
                  (size_t(1) << 20);
    for (const Tap& t : taps)
        if (!t.logits) need += (most + 16) * t.width * 4;
    need_memory(need, "activations and what is taken from them", "fewer --points, or shorter rows");
    Arena scratch(need + need / 8);

    int64_t row = 0;
    std::vector<Edit> all = s.edits;
    for (Group g : groups) {
        Batch b = batch_of(rows, g);
        scratch.rewind(0);
        std::vector<Edit> with_taps = all;
        std::vector<Tensor> into(taps.size());
        for (size_t t = 0; t < taps.size(); t++)
            if (!taps[t].logits) {
                into[t] = scratch.make(b.tokens(), taps[t].width);
                with_taps.push_back({taps[t].point, taps[t].layer, Edit::tap, into[t]});
            }
        Pass p = s.pass(scratch, b);
        p.edits = &with_taps;
        Tensor h = s.model->forward(p);

        std::vector<int> which;
        if (last) for (int q = 0; q < b.sequences(); q++) which.push_back(b.first[q + 1] - 1);
        else for (int i = 0; i < b.tokens(); i++) which.push_back(i);
        int n = int(which.size());
        for (size_t t = 0; t < taps.size(); t++) {
            size_t mark = scratch.used;
            for (int i = 0; i < n; i += chunk) {
                int m = std::min(chunk, n - i);
                Tensor x = select(p, taps[t].logits ? h : into[t], which.data() + i, m);
                if (taps[t].logits) x = logits(p, x, s.model->head());
                out(t, row + i, x.f(), m);
                scratch.rewind(mark);
            }
        }
        row += n;
    }
}
