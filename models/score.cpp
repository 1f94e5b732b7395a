// score.cpp - log-probabilities of given text.
#include <cmath>
#include "session.h"

namespace {

// Rows [first, last) that go together.
size_t group_end(const std::vector<Row>& rows, size_t first, size_t most) {
    size_t last = first, tokens = 0;
    do tokens += rows[last++].ids.size();
    while (last < rows.size() && tokens + rows[last].ids.size() <= most);
    return last;
}

struct Group { size_t first, last; };

std::vector<Group> groups_of(const std::vector<Row>& rows, size_t most) {
    std::vector<Group> groups;
    for (size_t first = 0; first < rows.size();) {
        size_t last = group_end(rows, first, most);
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
    size_t logit_chunk = size_t(256 + 16) * (s.model->vocabulary + 64) * 4, need;
    std::vector<Group> groups;
    for (int most = std::max(scored_a_pass, s.k.tokens_a_pass);; most = std::max(scored_a_pass, most / 2)) {
        groups = groups_of(rows, size_t(most));
        need = most_scratch(s, rows, groups) + logit_chunk + (size_t(1) << 20);
        if (most == scored_a_pass || s.fits(need + need / 8)) break;
    }
    need_memory(*s.k.memory, need, "activations of a pass", "shorter rows");
    Arena scratch(need + need / 8, *s.k.memory);
    std::vector<float> numbers;
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
        Targets targets{int(at.size()), scratch.put(at), scratch.put(want)};
        const float* logp = get(*s.k.memory, log_probs(p, h, s.model->head(), targets), numbers);
        size_t next = 0;
        for (size_t r = g.first; r < g.last; r++) {
            std::vector<float> out(rows[r].ids.size() - 1, NAN);
            for (size_t i = 0; i < out.size(); i++) {
                if (rows[r].labels[i + 1] < 0) continue;
                out[i] = logp[next++];
                if (std::isnan(out[i]))
                    fail(Exit::numerics, "row %zu: the log-probability of token %zu is not a number; the weights, an "
                         "adapter or an edit is broken", r, i + 1);
            }
            done(r, out);
        }
    }
}
