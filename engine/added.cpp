#include "added.h"
#include <algorithm>
#include "unicode.h"

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    std::sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
    for (const AddedToken& t : tokens_) begins_[(unsigned char)t.text[0]] = true;
}

// Tokens that agree with the text so far are neighbours in the sorted list: every byte narrows the stretch of them.
const AddedToken* AddedTokens::longest(std::string_view text, std::string_view marks, size_t at) const {
    const AddedToken* best = nullptr;
    auto first = tokens_.begin(), last = tokens_.end();
    bool may = true;
    for (size_t n = 0; at + n < text.size() && first != last; n++) {
        const auto byte = [&](const AddedToken& t) { return t.text.size() > n ? (unsigned char)t.text[n] : -1; };
        const int wanted = (unsigned char)text[at + n];
        may = may && marks[at + n] & may_be_special;
        first = std::partition_point(first, last, [&](const auto& t) { return byte(t) < wanted; });
        last = std::partition_point(first, last, [&](const auto& t) { return byte(t) == wanted; });
        if (first != last && first->text.size() == n + 1 && (may || !first->special)) best = &*first;
    }
    return best;
}

bool AddedTokens::next(std::string_view text, std::string_view marks, size_t from, Found& found) const {
    if (tokens_.empty()) return false;
    for (size_t i = from; i < text.size(); i++) {
        if (!begins_[(unsigned char)text[i]]) continue;
        const AddedToken* t = longest(text, marks, i);
        if (!t) continue;
        size_t begin = i, end = i + t->text.size();
        const bool word_before = begin > 0 && is_word(char_at(text, char_before(text, begin)).code);
        const bool word_after = end < text.size() && is_word(char_at(text, end).code);
        if (t->single_word && (word_before || word_after)) {
            i = end - 1;
            continue;
        }
        while (t->lstrip && begin > from && is_white_space(char_at(text, char_before(text, begin)).code))
            begin = char_before(text, begin);
        while (t->rstrip && end < text.size() && is_white_space(char_at(text, end).code))
            end += char_at(text, end).bytes;
        found = {begin, end, t->id};
        return true;
    }
    return false;
}
