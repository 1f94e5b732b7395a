#include "data.h"
#include <algorithm>
#include <numeric>
#include "../kernels/random.h"

int Sequence::targets() const {
    return int(std::count_if(labels.begin() + 1, labels.end(), [](int l) { return l >= 0; }));
}
size_t Example::tokens() const {
    size_t n = 0;
    for (const Sequence& s : sequences) n += s.ids.size();
    return n;
}
int Example::targets() const {
    int n = 0;
    for (const Sequence& s : sequences) n += s.targets();
    return n;
}
size_t Dataset::tokens() const {
    size_t n = 0;
    for (const Example& e : examples) n += e.tokens();
    return n;
}
size_t Dataset::targets() const {
    size_t n = 0;
    for (const Example& e : examples) n += size_t(e.targets());
    return n;
}

static bool cut(Sequence& s, LengthRule rule, const std::string& path, int line) {
    if (s.ids.size() <= size_t(rule.max_length)) return false;
    if (!rule.truncate)
        fail(Exit::bad_input,
             "%s:%d: %zu tokens, --max-length is %d; raise it, or --truncate cuts such rows and counts them",
             path.c_str(), line, s.ids.size(), rule.max_length);
    s.ids.resize(rule.max_length);
    s.labels.resize(rule.max_length);
    return true;
}

static void need_examples(const Dataset& d) {
    if (d.examples.empty()) fail(Exit::bad_input, "%s: no row has a token that counts in the loss", d.path.c_str());
}

Dataset read_sft(const std::string& path, const RowReader& reader, LengthRule rule) {
    Dataset d;
    d.path = path, d.kind = "sft";
    for (Row& row : read_rows(path, reader)) {
        Sequence s{std::move(row.ids), std::move(row.labels)};
        d.truncated += cut(s, rule, path, row.line);
        if (s.targets() == 0) {
            d.without_targets++;
            continue;
        }
        d.examples.push_back({{std::move(s)}, row.id, row.line});
    }
    need_examples(d);
    return d;
}

Dataset read_preferences(const std::string& path, const RowReader& reader, LengthRule rule) {
    Dataset d;
    d.path = path, d.kind = "preferences";
    for (Pair& pair : read_pairs(path, reader)) {
        Example e{{}, pair.id, pair.line};
        bool was_cut = false;
        for (const std::vector<int>* answer : {&pair.chosen, &pair.rejected}) {
            Sequence s{pair.prompt, std::vector<int>(pair.prompt.size(), -100)};
            s.ids.insert(s.ids.end(), answer->begin(), answer->end());
            s.labels.insert(s.labels.end(), answer->begin(), answer->end());
            was_cut |= cut(s, rule, path, pair.line);
            if (s.targets() == 0)
                fail(Exit::bad_input,
                     "%s:%d: --truncate leaves nothing of an answer after a prompt of %zu tokens; raise --max-length",
                     path.c_str(), pair.line, pair.prompt.size());
            e.sequences.push_back(std::move(s));
        }
        if (e.sequences[0].ids == e.sequences[1].ids)
            fail(Exit::bad_input, "%s:%d: --truncate makes chosen and rejected equal; raise --max-length", path.c_str(),
                 pair.line);
        d.truncated += was_cut;
        d.examples.push_back(std::move(e));
    }
    need_examples(d);
    return d;
}

size_t Order::at(uint64_t position) {
    uint64_t epoch = position / n_;
    if (!shuffle_) return position % n_;
    if (epoch != epoch_) {                  // Fisher and Yates, with numbers named by (seed, epoch)
        epoch_ = epoch;
        permutation_.resize(n_);
        std::iota(permutation_.begin(), permutation_.end(), 0u);
        Random random(seed_, epoch, 0x6f726472);        // "ordr"
        for (size_t i = n_; i > 1; i--) std::swap(permutation_[i - 1], permutation_[random.below(uint32_t(i))]);
    }
    return permutation_[position % n_];
}
