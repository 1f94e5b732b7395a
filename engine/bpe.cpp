#include "bpe.h"
#include <algorithm>
#include <functional>

namespace {

size_t slots_for(size_t n) {            // at most half full
    size_t slots = 16;
    while (slots < 2 * n) slots *= 2;
    return slots;
}

}  // namespace

void Vocabulary::reserve(size_t strings, size_t bytes) {
    text_.reserve(bytes);
    entries_.reserve(strings);
    grow(slots_for(strings));
}

void Vocabulary::grow(size_t slots) {
    slots_.assign(slots, -1);
    for (int id = 0; id < size(); id++) {
        if (!has(id)) continue;
        size_t i = std::hash<std::string_view>()((*this)[id]) & (slots - 1);
        while (slots_[i] >= 0) i = (i + 1) & (slots - 1);
        slots_[i] = id;
    }
}

Vocabulary::Added Vocabulary::add(int64_t id, std::string_view s) {
    if (id < 0 || id >= max_size || text_.size() + s.size() >= absent) return id_too_large;
    if (has(int(id))) return id_taken;
    if (2 * (count_ + 1) > slots_.size()) grow(slots_for(2 * count_ + 1));
    size_t i = std::hash<std::string_view>()(s) & (slots_.size() - 1);
    for (; slots_[i] >= 0; i = (i + 1) & (slots_.size() - 1))
        if ((*this)[slots_[i]] == s) return string_taken;
    if (id >= size()) entries_.resize(size_t(id) + 1);
    slots_[i] = int(id);
    entries_[size_t(id)] = {uint32_t(text_.size()), uint32_t(s.size())};
    text_ += s;
    count_++;
    return added;
}

int Vocabulary::find(std::string_view s) const {
    if (slots_.empty()) return -1;
    size_t i = std::hash<std::string_view>()(s) & (slots_.size() - 1);
    for (; slots_[i] >= 0; i = (i + 1) & (slots_.size() - 1))
        if ((*this)[slots_[i]] == s) return slots_[i];
    return -1;
}

void Merges::reserve(size_t pairs) {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(slots_for(pairs), Slot());
    shift_ = 64 - __builtin_ctzll(slots_.size());
    for (const Slot& s : old)
        if (~s.pair) slots_[place(s.pair)] = s;
}

// Fibonacci hashing: the high bits of the product depend on all bits of the pair.
size_t Merges::place(uint64_t pair) const {
    size_t i = (pair * 0x9e3779b97f4a7c15u) >> shift_;
    while (slots_[i].pair != pair && ~slots_[i].pair) i = (i + 1) & (slots_.size() - 1);
    return i;
}

void Merges::set(int left, int right, Merge merge) {
    if (2 * (count_ + 1) > slots_.size()) reserve(2 * count_ + 1);
    const uint64_t pair = uint64_t(unsigned(left)) << 32 | unsigned(right);
    Slot& slot = slots_[place(pair)];
    count_ += !~slot.pair;
    slot = {pair, merge};
}

const Merges::Merge* Merges::find(int left, int right) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(uint64_t(unsigned(left)) << 32 | unsigned(right))];
    return ~slot.pair ? &slot.merge : nullptr;
}

// Considers the pair that begins with link `left`.
void Merger::offer(const Symbol* symbols, uint32_t left) {
    const uint32_t right = links_[left].after;
    if (right == links_.size()) return;
    if (const Merges::Merge* m = merges_.find(symbols[left].id, symbols[right].id)) {
        heap_.push_back({m->rank, left, links_[right].after, m->id});
        std::push_heap(heap_.begin(), heap_.end());
    }
}

void Merger::merge(std::vector<Symbol>& all, size_t from) {
    Symbol* symbols = all.data() + from;
    const uint32_t n = uint32_t(all.size() - from);
    links_.resize(n);
    heap_.clear();
    for (uint32_t i = 0; i < n; i++) links_[i] = {i ? i - 1 : n, i + 1};
    for (uint32_t i = 0; i + 1 < n; i++)
        if (const Merges::Merge* m = merges_.find(symbols[i].id, symbols[i + 1].id))
            heap_.push_back({m->rank, i, i + 2, m->id});
    std::make_heap(heap_.begin(), heap_.end());
    constexpr int gone = -1;
    while (!heap_.empty()) {
        const Candidate c = heap_.front();
        std::pop_heap(heap_.begin(), heap_.end());
        heap_.pop_back();
        // A symbol only ever grows to the right, so a pair that still begins and ends where it did is still this pair.
        const uint32_t right = links_[c.at].after;
        if (symbols[c.at].id == gone || right == n || links_[right].after != c.end) continue;
        symbols[c.at].id = c.id;
        symbols[right].id = gone;
        links_[c.at].after = c.end;
        if (c.end < n) links_[c.end].before = c.at;
        if (links_[c.at].before < n) offer(symbols, links_[c.at].before);
        offer(symbols, c.at);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i = links_[i].after) symbols[kept++] = symbols[i];
    all.resize(from + kept);
}
