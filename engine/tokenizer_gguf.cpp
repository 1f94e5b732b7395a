// tokenizer_gguf.cpp - the tokenizer inside a GGUF file. Its metadata name a pre-tokenizer instead of describing one,
// and keep SentencePiece's scores instead of merges; what is made of them gives the ids of the model's tokenizer.json.
#include <algorithm>
#include <cmath>
#include "bpe_tokenizer.h"
#include "gguf.h"
#include "reader.h"
#include "unicode.h"

namespace {

enum TokenType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Known {
    const char* name;       // tokenizer.ggml.pre
    bool nfc, digits;       // digits: every number alone, before the pattern
    const char* pattern;
};

constexpr char qwen2[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char qwen35[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                          R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const Known known[] = {
    {"gpt-2", false, false, Splitter::gpt2},
    {"smollm", false, true, Splitter::gpt2},
    {"qwen2", true, false, qwen2},
    {"qwen35", true, false, qwen35},
};

class GgufTokenizer {
public:
    explicit GgufTokenizer(const Gguf& g)
        : g_(g), tokens_(g.strings("tokenizer.ggml.tokens")), types_(g.integers("tokenizer.ggml.token_type")) {
        r_.who = g.path();
        model_ = g.string("tokenizer.ggml.model");
        pre_ = g.has("tokenizer.ggml.pre") ? g.string("tokenizer.ggml.pre") : "default";
        if (types_.size() != tokens_.size())
            fail(Exit::bad_input, "%s: %zu tokens and %zu token types", r_.who.c_str(), tokens_.size(), types_.size());
    }
    BpeRecipe read() {
        if (model_ == "gpt2") byte_level();
        else if (model_ == "llama" || model_ == "gemma4") sentencepiece();
        else not_built("tokenizer.ggml.model", model_);
        for (const char* key : {"add_eos_token", "add_sep_token", "remove_extra_whitespaces"})
            if (flag(key, false)) not_built((std::string("tokenizer.ggml.") + key).c_str(), "true");
        r_.eos = token_id("eos_token_id");
        // Gemma 4 needs BOS; its first GGUF files said false.
        r_.bos_is_forced = gemma4();
        if (gemma4() || flag("add_bos_token", model_ == "llama")) r_.bos = token_id("bos_token_id");
        return std::move(r_);
    }

private:
    [[noreturn]] void not_built(const char* key, std::string_view value) const {
        fail(Exit::bad_input, "%s: %s is %s, which is not built", r_.who.c_str(), key, shown(value, 40).c_str());
    }
    bool gemma4() const { return model_ == "gemma4" || pre_ == "gemma4"; }
    bool flag(std::string key, bool otherwise) const {
        key = "tokenizer.ggml." + key;
        return g_.has(key) ? g_.boolean(key) : otherwise;
    }
    int token_id(std::string key) const {
        key = "tokenizer.ggml." + key;
        return g_.has(key) ? int(g_.integer(key, 0, int64_t(tokens_.size()) - 1)) : -1;
    }
    void byte_level();
    void sentencepiece();
    void vocabulary(bool spaces);
    void merges();
    void merges_from_scores();

    const Gguf& g_;
    const std::vector<std::string_view> tokens_;
    const std::vector<int64_t> types_;
    std::string_view model_, pre_;
    BpeRecipe r_;
};

// spaces: spaces in tokens are written U+2581 (converters write those of user-defined tokens back).
void GgufTokenizer::vocabulary(bool spaces) {
    r_.vocabulary.reserve(tokens_.size(), tokens_.size() * 8);
    for (size_t id = 0; id < tokens_.size(); id++) {
        if (types_[id] == unused) continue;
        std::string text(tokens_[id]);
        for (size_t at = 0; spaces && (at = text.find(' ', at)) != text.npos;) text.replace(at, 1, low_line);
        if (r_.vocabulary.add(int64_t(id), text) != Vocabulary::added)
            fail(Exit::bad_input, "%s: token %zu, %s, stands twice, or there are more than %d tokens", r_.who.c_str(),
                 id, shown(text, 40).c_str(), Vocabulary::max_size);
        const bool special = types_[id] == control || types_[id] == unknown;
        if (special || types_[id] == user_defined) {
            AddedToken t;
            t.id = int(id);
            t.text = std::move(text);
            t.special = special || gemma4();    // Gemma 4's are all special; user-defined only so that parsers see them
            r_.added.push_back(std::move(t));
        } else if (types_[id] != normal && types_[id] != byte) {
            fail(Exit::bad_input, "%s: token %zu has type %lld, which is none", r_.who.c_str(), id,
                 (long long)types_[id]);
        }
    }
}

void GgufTokenizer::merges() {
    const std::vector<std::string_view> list = g_.strings("tokenizer.ggml.merges");
    r_.merges.reserve(list.size());
    for (size_t k = 0; k < list.size(); k++) {
        const size_t space = list[k].find(' ', 1);
        if (space == list[k].npos)
            fail(Exit::bad_input, "%s: merge %zu is %s, not two parts with a space between", r_.who.c_str(), k,
                 shown(list[k], 40).c_str());
        add_merge(r_, uint32_t(k), list[k].substr(0, space), list[k].substr(space + 1));
    }
}

void GgufTokenizer::byte_level() {
    const auto it = std::find_if(std::begin(known), std::end(known), [&](const Known& k) { return pre_ == k.name; });
    if (it == std::end(known)) not_built("tokenizer.ggml.pre (gpt-2, smollm, qwen2 and qwen35 are)", pre_);
    if (it->nfc) r_.normalizers.push_back({});
    if (it->digits) r_.splitters.emplace_back(Splitter::number, Splitter::isolated, false, r_.who);
    r_.splitters.emplace_back(it->pattern, Splitter::isolated, false, r_.who);
    r_.byte_level = true;       // and no unknown token: bytes that the vocabulary lacks are dropped
    vocabulary(false);
    merges();
}

void GgufTokenizer::sentencepiece() {
    if (flag("add_space_prefix", true)) not_built("tokenizer.ggml.add_space_prefix", "true (which it is if absent)");
    r_.normalizers.push_back({Normalizer::replace, " ", low_line});
    r_.spelling.push_back({Normalizer::replace, low_line, " "});
    r_.byte_fallback = r_.fuse_unknown = true;
    vocabulary(true);
    r_.unknown = token_id("unknown_token_id");
    if (g_.has("tokenizer.ggml.merges")) merges();
    else merges_from_scores();
}

// SentencePiece merges the pair that makes the token with the best score. As a list: tokens from the best score on,
// each with all the ways to make it out of two others, the longest left part first: the order of transformers'
// converter, and so of tokenizer.json. Runs of U+2581 are user-defined tokens, whose scores say nothing: they come
// before all others, the longest first.
void GgufTokenizer::merges_from_scores() {
    const std::vector<float> scores = g_.floats("tokenizer.ggml.scores");
    if (scores.size() != tokens_.size())
        fail(Exit::bad_input, "%s: %zu tokens and %zu scores", r_.who.c_str(), tokens_.size(), scores.size());
    std::vector<int> runs, made;
    for (int id = 0; id < int(tokens_.size()); id++) {
        const std::string_view s = r_.vocabulary.has(id) ? r_.vocabulary[id] : "";
        if (std::isnan(scores[size_t(id)]))
            fail(Exit::bad_input, "%s: the score of token %d is NaN", r_.who.c_str(), id);
        if (s.size() > 1024)        // all ways to halve it are tried
            fail(Exit::bad_input, "%s: token %d has %zu bytes, more than 1024", r_.who.c_str(), id, s.size());
        bool run = types_[size_t(id)] == user_defined && !s.empty();
        for (size_t i = 0; run && i < s.size(); i += 3) run = s.substr(i, 3) == low_line;
        if (run) runs.push_back(id);
        else if (types_[size_t(id)] == normal) made.push_back(id);
    }
    const auto longer = [&](int a, int b) { return r_.vocabulary[a].size() > r_.vocabulary[b].size(); };
    const auto better = [&](int a, int b) { return scores[size_t(a)] > scores[size_t(b)]; };
    std::stable_sort(runs.begin(), runs.end(), longer);
    std::stable_sort(made.begin(), made.end(), better);
    uint32_t rank = 0;
    for (const std::vector<int>* list : {&runs, &made})
        for (const int id : *list) {
            const std::string_view s = r_.vocabulary[id];
            for (size_t at = s.size(); at > 1;) {
                at = char_before(s, at);
                if (at == 0) break;
                const int right = r_.vocabulary.find(s.substr(at));
                const int left = right < 0 ? -1 : r_.vocabulary.find(s.substr(0, at));
                if (left >= 0) r_.merges.set(left, right, {rank++, id});
            }
        }
}

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer(const Gguf& g) { return make_tokenizer(GgufTokenizer(g).read()); }
