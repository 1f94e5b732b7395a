// bpe.h - byte-pair encoding: a vocabulary, a list of merges, and words merged by it.
//
// Sennrich et al. 2016 (arXiv:1508.07909): a word begins as its smallest symbols; of all neighbouring pairs that the
// list knows, the one that stands first in it is merged, the leftmost where it occurs twice, until none is left.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Ids and the strings they stand for. Strings lie one behind the other in one block; looking one up is one hash.
class Vocabulary {
public:
    static constexpr int max_size = 1 << 21;
    enum Added { added, string_taken, id_taken, id_too_large };
    Added add(int64_t id, std::string_view);            // added, or why not (nothing is changed then)
    void reserve(size_t strings, size_t bytes);

    int find(std::string_view) const;                   // the id; -1: none
    bool has(int id) const { return size_t(unsigned(id)) < entries_.size() && entries_[id].length != absent; }
    std::string_view operator[](int id) const { return {text_.data() + entries_[id].begin, entries_[id].length}; }
    int size() const { return int(entries_.size()); }   // one more than the largest id
    size_t count() const { return count_; }             // strings

private:
    static constexpr uint32_t absent = ~0u;
    struct Entry { uint32_t begin = 0, length = absent; };
    void grow(size_t slots);
    std::string text_;
    std::vector<Entry> entries_;
    std::vector<int> slots_;                            // open addressing: ids, -1 for empty; a power of two
    size_t count_ = 0;
};

// What a pair of ids becomes. Pairs merge in the order of their ranks.
class Merges {
public:
    struct Merge { uint32_t rank; int id; };
    void reserve(size_t pairs);
    void set(int left, int right, Merge);               // a pair that comes again takes its last meaning
    const Merge* find(int left, int right) const;       // null: these two do not merge
    size_t count() const { return count_; }

private:
    struct Slot {
        uint64_t pair = ~0ull;
        Merge merge{};
    };
    size_t place(uint64_t pair) const;
    std::vector<Slot> slots_;                           // open addressing, a power of two
    size_t count_ = 0;
    int shift_ = 64;
};

// A piece of a word: its id and the byte of the word where it begins.
struct Symbol {
    int id;
    uint32_t at;
};

// Merges words. Holds the memory that this takes, so that a text needs it only once; for one thread at a time.
class Merger {
public:
    explicit Merger(const Merges& merges) : merges_(merges) {}
    // Merges symbols[from ...] in place. O(n log n) for n symbols, whatever they are.
    void merge(std::vector<Symbol>& symbols, size_t from);

private:
    struct Candidate {
        uint32_t rank, at;              // the pair begins with link `at` ...
        uint32_t end;                   // ... and ends with link `end`: if not, it has merged with others since
        int id;
        bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
    };
    struct Link { uint32_t before, after; };
    void offer(const Symbol* symbols, uint32_t left);

    const Merges& merges_;
    std::vector<Candidate> heap_;
    std::vector<Link> links_;
};
