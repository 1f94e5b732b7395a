// tokenizer.cpp - text to ids and back, once it is known what the tokenizer is made of.
//
// Encoding, in the order of Hugging Face's library: added tokens are cut out, what lies between is normalised, cut into
// words, and each word merged. Decoding joins the texts of tokens.
#include "tokenizer.h"
#include <algorithm>
#include <map>
#include "bpe_tokenizer.h"
#include "reader.h"
#include "unicode.h"

uint32_t letter_of_byte(unsigned char b) {
    // Printable Latin-1 stands for itself; the other 68 bytes follow from U+0100 on.
    if ((b >= 33 && b <= 126) || (b >= 161 && b != 173)) return b;
    return b <= 32 ? 256u + b : b <= 160 ? 256u + 33 + (b - 127u) : 256u + 67;
}

int byte_of_letter(uint32_t c) {
    if (c < 256) return letter_of_byte((unsigned char)c) == c ? int(c) : -1;
    if (c <= 256 + 32) return int(c - 256);
    if (c <= 256 + 66) return int(c - 256 - 33 + 127);
    return c == 256 + 67 ? 173 : -1;
}

int byte_of_token(std::string_view s) {
    if (s.size() != 6 || s.substr(0, 3) != "<0x" || s[5] != '>') return -1;
    int value = 0;
    for (const char c : s.substr(3, 2)) {
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

namespace {

// Consecutive parts as one valid text.
Marked join(std::span<const Part> parts) {
    Marked joined;
    for (const Part& p : parts) joined.add(p.text, char((p.special ? may_be_special : 0) | (p.target ? is_target : 0)));
    if (valid_utf8(joined.text) == joined.text.size()) return joined;
    Marked valid;
    for (size_t i = 0; i < joined.text.size();) {
        const Char c = char_at(joined.text, i);
        std::string s;
        append_utf8(s, c.code);
        valid.add(s, joined.marks[i]);
        i += c.bytes;
    }
    return valid;
}

bool behind_space(std::string_view s, size_t at) { return at >= 3 && s.substr(at - 3, 3) == low_line; }

class BpeTokenizer : public Tokenizer {
public:
    explicit BpeTokenizer(BpeRecipe recipe) : r_(std::move(recipe)) {
        take_added_tokens();
        find_smallest_symbols();
        find_cuts();
    }
    std::vector<int> encode(std::span<const Part> parts, std::vector<char>* targets) const override;
    std::string piece(int id) const override;
    int id_of(std::string_view token) const override {
        const int id = beside_.find(token);
        return id >= 0 ? id : r_.vocabulary.find(token);
    }
    bool is_special(int id) const override { return id >= 0 && size_t(id) < special_.size() && special_[size_t(id)]; }
    int pieces() const override { return r_.vocabulary.size(); }
    int size() const override { return std::max(r_.vocabulary.size(), beside_.size()); }
    int bos() const override { return r_.bos; }
    bool bos_is_forced() const override { return r_.bos_is_forced; }
    int eos() const override { return r_.eos; }
    std::string kind() const override {
        return format("%s BPE, %zu entries, %zu merges", r_.byte_level ? "byte-level" : "SentencePiece-like",
                      r_.vocabulary.count() + beside_.count(), r_.merges.count());
    }
    void decode_step(int id, std::string& pending, std::string& text) const override;
    void decode_rest(std::string& pending, std::string& text) const override;

private:
    // One call of encode: what it has so far, and the memory that it uses again from word to word.
    struct Work {
        std::vector<int>& ids;
        std::vector<char>* targets;
        Merger merger;
        std::vector<Symbol> symbols;
        std::vector<std::string_view> pieces, cut;
        void emit(int id, char mark) {
            ids.push_back(id);
            if (targets) targets->push_back((mark & is_target) != 0);
        }
    };
    void take_added_tokens();
    void find_smallest_symbols();
    void find_cuts();
    template <class Between>
    void around(const AddedTokens&, std::string_view text, std::string_view marks, Work&, Between) const;
    void segment(std::string_view text, std::string_view marks, Work&) const;
    void words(std::string_view text, std::string_view marks, Work&) const;
    void cut_at_spaces(std::string_view piece, std::vector<std::string_view>& out) const;
    void spell(std::string_view word, std::vector<Symbol>&) const;
    void spell_unknown(size_t at, std::vector<Symbol>&) const;
    std::string_view written(int id) const {
        const auto it = respelled_.find(id);
        return it != respelled_.end() ? it->second : beside_.has(id) ? beside_[id] : r_.vocabulary[id];
    }
    bool has(int id) const { return beside_.has(id) || r_.vocabulary.has(id); }
    std::string spelled(int id) const;

    BpeRecipe r_;
    Vocabulary beside_;                 // added tokens that the vocabulary lacks
    AddedTokens raw_, normalized_;
    std::map<int, std::string> respelled_;      // the normalised ones, as they are found and decoded
    std::vector<bool> special_;
    int byte_ids_[256];                 // of single bytes
    int ascii_ids_[128];                // of single code points
    bool cuts_ = false;                 // may text be cut before U+2581, and ...
    bool joins_[256] = {};              // ... behind which bytes not
};

void BpeTokenizer::take_added_tokens() {
    std::vector<AddedToken> raw, normalized;
    Vocabulary seen;
    for (AddedToken& t : r_.added) {
        const char* who = r_.who.c_str();
        if (t.text.empty() || valid_utf8(t.text) != t.text.size())
            fail(Exit::bad_input, "%s: added token %d has no valid text", who, t.id);
        const int known = r_.vocabulary.find(t.text);
        const auto added = known == t.id ? Vocabulary::added : beside_.add(t.id, t.text);
        if ((known >= 0 && known != t.id) || (known < 0 && r_.vocabulary.has(t.id)) || added != Vocabulary::added ||
            seen.add(t.id, t.text) != Vocabulary::added)
            fail(Exit::bad_input, "%s: added token %s cannot have id %d: the id or the text stands for another token, "
                 "or the id is beyond the limit of %d", who, shown(t.text, 40).c_str(), t.id, Vocabulary::max_size - 1);
        if (size_t(t.id) >= special_.size()) special_.resize(size_t(t.id) + 1);
        special_[size_t(t.id)] = t.special;
        if (t.normalized) {
            t.text = normalize(r_.normalizers, t.text, t.text).text;
            respelled_[t.id] = t.text;
        }
        if (!t.text.empty()) (t.normalized ? normalized : raw).push_back(t);
    }
    for (const int role : {r_.bos, r_.eos})
        if (role >= 0 && !has(role))
            fail(Exit::bad_input, "%s: BOS or EOS is %d, which is no token", r_.who.c_str(), role);
    raw_ = AddedTokens(std::move(raw));
    normalized_ = AddedTokens(std::move(normalized));
}

void BpeTokenizer::find_smallest_symbols() {
    for (int b = 0; b < 256; b++) {
        std::string letter;
        append_utf8(letter, letter_of_byte((unsigned char)b));
        byte_ids_[b] = r_.vocabulary.find(r_.byte_level ? letter : format("<0x%02X>", b));
        if (b < 128) ascii_ids_[b] = r_.vocabulary.find(std::string(1, char(b)));
    }
}

// A text may be cut before U+2581 behind any byte that no entry of the vocabulary has there, unless symbols in between
// may be dropped, or whole words are looked up.
void BpeTokenizer::find_cuts() {
    const bool drops = r_.unknown < 0 && !(r_.byte_fallback && *std::min_element(byte_ids_, byte_ids_ + 256) >= 0);
    cuts_ = !r_.byte_level && !r_.ignore_merges && !drops && r_.vocabulary.find(low_line) >= 0;
    for (int id = 0; cuts_ && id < r_.vocabulary.size(); id++) {
        if (!r_.vocabulary.has(id)) continue;
        const std::string_view s = r_.vocabulary[id];
        for (size_t at = s.find(low_line, 1); at != s.npos; at = s.find(low_line, at + 1))
            if (!behind_space(s, at)) joins_[(unsigned char)s[at - 1]] = true;
    }
}

// Calls between(text, marks) for what lies around added tokens.
template <class Between>
void BpeTokenizer::around(const AddedTokens& tokens, std::string_view text, std::string_view marks, Work& work,
                          Between between) const {
    size_t done = 0;
    for (AddedTokens::Found f; tokens.next(text, marks, done, f); done = f.end) {
        if (f.begin > done) between(text.substr(done, f.begin - done), marks.substr(done, f.begin - done));
        work.emit(f.id, marks[f.begin]);
    }
    if (done < text.size()) between(text.substr(done), marks.substr(done));
}

std::vector<int> BpeTokenizer::encode(std::span<const Part> parts, std::vector<char>* targets) const {
    const Marked all = join(parts);
    if (all.text.size() > size_t(1) << 30)
        fail(Exit::bad_input, "a text of %zu bytes: at most 1 GiB can be tokenized at once", all.text.size());
    std::vector<int> ids;
    if (targets) targets->clear();
    Work work{ids, targets, Merger(r_.merges), {}, {}, {}};
    around(raw_, all.text, all.marks, work, [&](auto text, auto marks) { segment(text, marks, work); });
    return ids;
}

void BpeTokenizer::segment(std::string_view text, std::string_view marks, Work& work) const {
    if (r_.normalizers.empty() && normalized_.empty()) return words(text, marks, work);
    const Marked n = normalize(r_.normalizers, text, marks);
    around(normalized_, n.text, n.marks, work, [&](auto t, auto m) { words(t, m, work); });
}

void BpeTokenizer::words(std::string_view text, std::string_view marks, Work& work) const {
    work.pieces.assign(1, text);
    for (const Splitter& s : r_.splitters) {
        work.cut.clear();
        for (const std::string_view piece : work.pieces) s.split(piece, work.cut);
        work.pieces.swap(work.cut);
    }
    if (cuts_) {
        work.cut.clear();
        for (const std::string_view piece : work.pieces) cut_at_spaces(piece, work.cut);
        work.pieces.swap(work.cut);
    }
    for (const std::string_view word : work.pieces) {
        work.symbols.clear();
        spell(word, work.symbols);
        work.merger.merge(work.symbols, 0);
        const size_t begin = size_t(word.data() - text.data());
        for (const Symbol& s : work.symbols) work.emit(s.id, marks[begin + s.at]);
    }
}

// Nothing may have cut the text into words, as with Gemma, where a whole document is one. No merge crosses the place
// before a U+2581 if no entry of the vocabulary holds what would meet there: to cut there changes nothing but speed.
void BpeTokenizer::cut_at_spaces(std::string_view piece, std::vector<std::string_view>& out) const {
    size_t done = 0;
    for (size_t at = piece.find(low_line, 1); at != piece.npos; at = piece.find(low_line, at + 3)) {
        if (behind_space(piece, at) || joins_[(unsigned char)piece[at - 1]]) continue;
        out.push_back(piece.substr(done, at - done));
        done = at;
    }
    if (done < piece.size()) out.push_back(piece.substr(done));
}

// The smallest symbols of a word.
void BpeTokenizer::spell(std::string_view word, std::vector<Symbol>& symbols) const {
    if (r_.ignore_merges) {
        std::string letters;
        if (r_.byte_level)
            for (const char c : word) append_utf8(letters, letter_of_byte((unsigned char)c));
        const int id = r_.vocabulary.find(r_.byte_level ? letters : word);
        if (id >= 0) return symbols.push_back({id, 0});
    }
    for (size_t i = 0; i < word.size();) {
        const auto byte = (unsigned char)word[i];
        size_t n = 1;
        int id = r_.byte_level ? byte_ids_[byte] : byte < 128 ? ascii_ids_[byte] : -1;
        if (!r_.byte_level && byte >= 128) {
            n = char_at(word, i).bytes;
            id = r_.vocabulary.find(word.substr(i, n));
        }
        if (id >= 0) {
            symbols.push_back({id, uint32_t(i)});
        } else {
            const std::string_view bytes = word.substr(i, n);
            const auto known = [&](char c) { return byte_ids_[(unsigned char)c] >= 0; };
            if (r_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), known))
                for (size_t k = 0; k < n; k++)
                    symbols.push_back({byte_ids_[(unsigned char)bytes[k]], uint32_t(i + k)});
            else
                spell_unknown(i, symbols);
        }
        i += n;
    }
}

void BpeTokenizer::spell_unknown(size_t at, std::vector<Symbol>& symbols) const {
    if (r_.unknown < 0) return;
    if (r_.fuse_unknown && !symbols.empty() && symbols.back().id == r_.unknown) return;
    symbols.push_back({r_.unknown, uint32_t(at)});
}

// The text of a token as the decoder writes it.
std::string BpeTokenizer::spelled(int id) const {
    const std::string_view s = written(id);
    return r_.spelling.empty() ? std::string(s) : normalize(r_.spelling, s, s).text;
}

std::string BpeTokenizer::piece(int id) const {
    if (!has(id)) return "";
    const std::string s = spelled(id);
    if (!r_.byte_level) {
        const int byte = r_.byte_fallback ? byte_of_token(s) : -1;
        return byte >= 0 ? std::string(1, char(byte)) : s;
    }
    std::string bytes;
    for (size_t i = 0; i < s.size();) {
        const Char c = char_at(s, i);
        const int byte = c.state == Char::good ? byte_of_letter(c.code) : -1;
        if (byte < 0) return s;         // a token that is not written in the alphabet is meant as it stands
        bytes += char(byte);
        i += c.bytes;
    }
    return bytes;
}

void BpeTokenizer::decode_step(int id, std::string& pending, std::string& text) const {
    if (id < 0) fail(Exit::bad_input, "token id %d: ids are not negative", id);
    if (!has(id)) return;
    if (r_.byte_level) {
        pending += piece(id);
        const size_t end = unfinished(pending);
        text += to_utf8(std::string_view(pending).substr(0, end));
        pending.erase(0, end);
        return;
    }
    const std::string s = spelled(id);
    const int byte = r_.byte_fallback ? byte_of_token(s) : -1;
    if (byte >= 0) {
        pending += char(byte);
    } else {
        decode_rest(pending, text);
        text += s;
    }
}

void BpeTokenizer::decode_rest(std::string& pending, std::string& text) const {
    // A run of byte tokens is text as a whole, or none of it is.
    if (r_.byte_level || valid_utf8(pending) == pending.size()) text += to_utf8(pending);
    else for (size_t i = 0; i < pending.size(); i++) append_utf8(text, 0xfffd);
    pending.clear();
}

}  // namespace

void add_merge(BpeRecipe& r, uint32_t rank, std::string_view left, std::string_view right) {
    const int a = r.vocabulary.find(left), b = r.vocabulary.find(right);
    const int whole = a < 0 || b < 0 ? -1 : r.vocabulary.find(std::string(left) += right);
    if (whole < 0)
        fail(Exit::bad_input, "%s: merge %u, %s and %s: the vocabulary lacks %s", r.who.c_str(), rank,
             shown(left, 40).c_str(), shown(right, 40).c_str(),
             a < 0 ? "the first" : b < 0 ? "the second" : "what they make");
    r.merges.set(a, b, {rank, whole});
}

std::unique_ptr<Tokenizer> make_tokenizer(BpeRecipe recipe) {
    return std::make_unique<BpeTokenizer>(std::move(recipe));
}

void Tokenizer::add_bos(std::vector<int>& ids) const {
    bool there = bos_is_forced() && !ids.empty() && ids[0] == bos();
    if (bos() >= 0 && !there) ids.insert(ids.begin(), bos());
}

std::vector<int> Tokenizer::encode(std::string_view text, bool special, bool bos) const {
    const Part part{std::string(text), special};
    std::vector<int> ids = encode(std::span(&part, 1));
    if (bos) add_bos(ids);
    return ids;
}

std::string Tokenizer::decode(std::span<const int> ids, bool skip_special) const {
    std::string pending, text;
    for (const int id : ids)
        if (!skip_special || !is_special(id)) decode_step(id, pending, text);
    decode_rest(pending, text);
    return text;
}

std::string StreamDecoder::push(int id) {
    std::string text;
    if (!skip_special_ || !t_.is_special(id)) t_.decode_step(id, pending_, text);
    return text;
}

std::string StreamDecoder::finish() {
    std::string text;
    t_.decode_rest(pending_, text);
    return text;
}
