// tokenizer_json.cpp - Hugging Face's tokenizer.json, as far as the models of this house use it; whatever else a file
// asks for is refused by name.
#include <algorithm>
#include "bpe_tokenizer.h"
#include "file.h"
#include "json.h"
#include "json_stream.h"
#include "reader.h"

namespace {

// Takes the vocabulary and the merges out of the stream as they come, without a tree of a million values. They are
// tables; all the rest is small, and is read as a tree from the text without them.
class Tables : public JsonEvents {
public:
    Tables(const std::string& who, BpeRecipe& to) : who_(who), to_(to) {}

    void open(bool object) override {
        if (inside_ == none && depth_ == 2 && coming_ != none) {
            inside_ = coming_ == vocabulary && !object ? other : coming_;   // Unigram's vocabulary is a list: skipped
            begin_ = at - 1;
        } else if (inside_ == vocabulary) {
            refuse(who_, at, "the vocabulary holds something that is not a token with its id");
        } else if (inside_ == merges) {
            if (object || depth_ != 3) refuse(who_, at, "the list of merges holds something that is not a merge");
            begin_merge();
        }
        coming_ = none;
        depth_++;
    }
    void close() override {
        depth_--;
        if (inside_ == merges && depth_ == 3 && ends_.back().parts != 2)
            refuse(who_, at, "merge %zu has %d parts, not two", ends_.size() - 1, ends_.back().parts);
        if (inside_ != none && depth_ == 2) {
            cuts_.push_back({begin_, at});
            inside_ = none;
        }
    }
    void key(std::string& name) override {
        if (depth_ == 1) in_model_ = name == "model";
        if (depth_ == 2 && in_model_) coming_ = name == "vocab" ? vocabulary : name == "merges" ? merges : none;
        if (inside_ == vocabulary) name_ = std::move(name);
    }
    void string(std::string& text) override {
        if (inside_ == vocabulary) refuse(who_, at, "the id of token %s is not a number", shown(name_, 40).c_str());
        if (inside_ == merges && depth_ == 3) whole_merge(text);
        else if (inside_ == merges) part_of_merge(text);
        coming_ = none;
    }
    void scalar(Json value) override {
        if (inside_ == vocabulary) token(value);
        if (inside_ == merges) refuse(who_, at, "merge %zu is not made of strings", ends_.size());
        coming_ = none;
    }

    std::string rest(std::string_view text) const;      // the text with null where the tables were
    void resolve();             // gives the merges their ids

private:
    enum What { none, vocabulary, merges, other };
    struct Merge { size_t middle, end; int parts; };    // in parts_

    void token(const Json& id) {
        if (!id.is_number_unsigned())
            refuse(who_, at, "the id of token %s is not a whole number", shown(name_, 40).c_str());
        switch (to_.vocabulary.add(int64_t(std::min<uint64_t>(id.get<uint64_t>(), Vocabulary::max_size)), name_)) {
            case Vocabulary::added: return;
            case Vocabulary::string_taken: refuse(who_, at, "token %s stands twice", shown(name_, 40).c_str());
            case Vocabulary::id_taken:
                refuse(who_, at, "token %s has the id of another, %s", shown(name_, 40).c_str(), dump(id).c_str());
            case Vocabulary::id_too_large:
                refuse(who_, at, "the id of token %s is %s, beyond the limit of %d", shown(name_, 40).c_str(),
                       dump(id).c_str(), Vocabulary::max_size - 1);
        }
    }
    void begin_merge() { ends_.push_back({parts_.size(), parts_.size(), 0}); }
    void part_of_merge(const std::string& text) {
        Merge& m = ends_.back();
        parts_ += text;
        (m.parts++ ? m.end : m.middle) = parts_.size();
    }
    // The older form, both parts in one string.
    void whole_merge(const std::string& text) {
        const size_t space = text.find(' ');
        if (space == text.npos || text.find(' ', space + 1) != text.npos)
            refuse(who_, at, "merge %zu is %s, not two parts with one space between", ends_.size(),
                   shown(text, 40).c_str());
        begin_merge();
        part_of_merge(text.substr(0, space));
        part_of_merge(text.substr(space + 1));
    }

    const std::string& who_;
    BpeRecipe& to_;
    int depth_ = 0;
    bool in_model_ = false;
    What coming_ = none, inside_ = none;
    size_t begin_ = 0;
    std::string name_, parts_;
    std::vector<Merge> ends_;
    std::vector<std::pair<size_t, size_t>> cuts_;
};

std::string Tables::rest(std::string_view text) const {
    std::string rest;
    size_t done = 0;
    for (const auto& [begin, end] : cuts_) {
        rest += text.substr(done, begin - done);
        rest += "null";
        done = end;
    }
    return rest += text.substr(done);
}

void Tables::resolve() {
    to_.merges.reserve(ends_.size());
    const std::string_view parts = parts_;
    size_t begin = 0;
    for (size_t k = 0; k < ends_.size(); begin = ends_[k++].end)
        add_merge(to_, uint32_t(k), parts.substr(begin, ends_[k].middle - begin),
                  parts.substr(ends_[k].middle, ends_[k].end - ends_[k].middle));
}

// Reads the parts of the file that say what is done to a text. Every function takes the object that it reads.
class Steps {
public:
    Steps(const std::string& who, BpeRecipe& to) : who_(who), to_(to) {}

    void model(const Json& m);
    void added_token(const Json& t);
    void normalizer(const Json& n);
    void pre_tokenizer(const Json& p);
    void post_processor(const Json& p);
    void decoder(const Json& d);
    void finish();

private:
    [[noreturn]] void not_built(const char* part, const std::string& what) const {
        fail(Exit::bad_input, "%s: its %s asks for %s, which is not built", who_.c_str(), part, what.c_str());
    }
    std::string type(const Json& j) const { return get_string(j, "type", who_); }
    // {"String": "x"} or {"Regex": "x"}
    std::pair<bool, std::string> pattern(const Json& j, const char* part) const;
    const Json& list(const Json& j, const char* key) const;
    Normalizer replacement(const Json& j, const char* part) const;

    const std::string& who_;
    BpeRecipe& to_;
    bool decoder_seen_ = false, byte_level_decoder_ = false, fallback_decoder_ = false, fused_ = false;
};

const Json& Steps::list(const Json& j, const char* key) const {
    const Json* items = find(j, key);
    if (!items || !items->is_array()) fail(Exit::bad_input, "%s: \"%s\" is not a list", who_.c_str(), key);
    return *items;
}

std::pair<bool, std::string> Steps::pattern(const Json& j, const char* part) const {
    const Json* p = find(j, "pattern");
    if (!p || !p->is_object() || p->size() != 1) not_built(part, "a pattern that is neither String nor Regex");
    const bool regex = find(*p, "Regex");
    std::string text = get_string(*p, regex ? "Regex" : "String", who_);
    if (text.empty()) not_built(part, "an empty pattern");
    return {regex, std::move(text)};
}

Normalizer Steps::replacement(const Json& j, const char* part) const {
    auto [regex, from] = pattern(j, part);
    if (regex) not_built(part, "Replace by a regular expression");
    return {Normalizer::replace, std::move(from), get_string(j, "content", who_)};
}

void Steps::model(const Json& m) {
    const std::string kind = get_string(m, "type", who_, "BPE");
    if (kind != "BPE") not_built("model", "type " + shown(kind, 40));
    if (to_.vocabulary.count() == 0) fail(Exit::bad_input, "%s: its model has no vocabulary", who_.c_str());
    const char* const known[] = {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                                 "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"};
    for (const auto& [key, value] : m.items())
        if (std::find(std::begin(known), std::end(known), key) == std::end(known)) not_built("model", shown(key, 40));
    if (get_number(m, "dropout", who_, 0) != 0) not_built("model", "dropout");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (!get_string(m, affix, who_, "").empty()) not_built("model", affix);
    to_.fuse_unknown = get_bool(m, "fuse_unk", who_, false);
    to_.byte_fallback = get_bool(m, "byte_fallback", who_, false);
    to_.ignore_merges = get_bool(m, "ignore_merges", who_, false);
    const std::string unknown = get_string(m, "unk_token", who_, "");
    if (unknown.empty()) return;
    to_.unknown = to_.vocabulary.find(unknown);
    if (to_.unknown < 0)
        fail(Exit::bad_input, "%s: unk_token %s is not in the vocabulary", who_.c_str(), shown(unknown, 40).c_str());
}

void Steps::added_token(const Json& t) {
    AddedToken a;
    a.id = int(get_int(t, "id", who_, 0, Vocabulary::max_size - 1));
    a.text = get_string(t, "content", who_);
    a.special = get_bool(t, "special", who_, false);
    a.normalized = get_bool(t, "normalized", who_, !a.special);
    a.lstrip = get_bool(t, "lstrip", who_, false);
    a.rstrip = get_bool(t, "rstrip", who_, false);
    a.single_word = get_bool(t, "single_word", who_, false);
    to_.added.push_back(std::move(a));
}

void Steps::normalizer(const Json& n) {
    const std::string kind = type(n);
    if (kind == "NFC") to_.normalizers.push_back({});
    else if (kind == "Replace") to_.normalizers.push_back(replacement(n, "normalizer"));
    else if (kind == "Sequence") for (const Json& step : list(n, "normalizers")) normalizer(step);
    else not_built("normalizer", shown(kind, 40));
}

void Steps::pre_tokenizer(const Json& p) {
    const std::string kind = type(p);
    if (to_.byte_level && kind != "Sequence") not_built("pre_tokenizer", "a step after ByteLevel");
    if (kind == "Sequence") {
        for (const Json& step : list(p, "pretokenizers")) pre_tokenizer(step);
    } else if (kind == "Split") {
        const auto [regex, text] = pattern(p, "pre_tokenizer");
        const std::string name = get_string(p, "behavior", who_);
        const char* const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
        const auto behavior = std::find(std::begin(names), std::end(names), name) - std::begin(names);
        if (behavior == std::ssize(names)) not_built("pre_tokenizer", "Split with behavior " + shown(name, 40));
        to_.splitters.emplace_back(regex ? text : Splitter::literal(text), Splitter::Behavior(behavior),
                                   get_bool(p, "invert", who_, false), who_);
    } else if (kind == "Digits") {
        const bool each = get_bool(p, "individual_digits", who_, false);
        to_.splitters.emplace_back(Splitter::number, each ? Splitter::isolated : Splitter::contiguous, false, who_);
    } else if (kind == "ByteLevel") {
        if (get_bool(p, "add_prefix_space", who_, true)) not_built("pre_tokenizer", "ByteLevel with add_prefix_space");
        if (get_bool(p, "use_regex", who_, true))
            to_.splitters.emplace_back(Splitter::gpt2, Splitter::isolated, false, who_);
        to_.byte_level = true;
    } else {
        not_built("pre_tokenizer", shown(kind, 40));
    }
}

void Steps::post_processor(const Json& p) {
    const std::string kind = type(p);
    if (kind == "ByteLevel") return;        // trims offsets; ids stay as they are
    if (kind == "Sequence") {
        for (const Json& step : list(p, "processors")) post_processor(step);
        return;
    }
    if (kind != "TemplateProcessing") not_built("post_processor", shown(kind, 40));
    bool text_seen = false;
    for (const Json& item : list(p, "single")) {
        if (find(item, "Sequence") && !text_seen) {
            text_seen = true;
            continue;
        }
        const Json* token = find(item, "SpecialToken");
        if (!token || text_seen || to_.bos >= 0)
            not_built("post_processor", "more than one token in front of the text");
        const std::string name = get_string(*token, "id", who_);
        const Json* tokens = find(p, "special_tokens");
        const Json* entry = tokens ? find(*tokens, name.c_str()) : nullptr;
        const Json* ids = entry ? find(*entry, "ids") : nullptr;
        if (!ids || !ids->is_array() || ids->size() != 1)
            not_built("post_processor", "not one id for " + shown(name, 40));
        if (!(*ids)[0].is_number_unsigned() || (*ids)[0] >= Vocabulary::max_size)
            fail(Exit::bad_input, "%s: %s of its post_processor has no token's id", who_.c_str(),
                 shown(name, 40).c_str());
        to_.bos = (*ids)[0].get<int>();
    }
    if (!text_seen) not_built("post_processor", "a template without the text");
}

void Steps::decoder(const Json& d) {
    const std::string kind = type(d);
    decoder_seen_ = true;
    if (fused_) not_built("decoder", "a step after Fuse");
    if (byte_level_decoder_ || (fallback_decoder_ && kind != "Fuse" && kind != "Sequence"))
        not_built("decoder", shown(kind, 40) + " behind ByteLevel or ByteFallback");
    if (kind == "Sequence") for (const Json& step : list(d, "decoders")) decoder(step);
    else if (kind == "Replace") to_.spelling.push_back(replacement(d, "decoder"));
    else if (kind == "ByteFallback") fallback_decoder_ = true;
    else if (kind == "Fuse") fused_ = true;
    else if (kind == "ByteLevel") byte_level_decoder_ = true;
    else not_built("decoder", shown(kind, 40));
}

void Steps::finish() {
    if (!decoder_seen_) not_built("decoder", "none at all, so that spaces stand between tokens");
    if (to_.byte_level != byte_level_decoder_)
        not_built("decoder", "other than ByteLevel in the same places as its pre_tokenizer");
    if (to_.byte_fallback != fallback_decoder_)
        not_built("decoder", "ByteFallback without byte_fallback in the model, or the other way round");
    if (to_.byte_level && to_.byte_fallback) not_built("model", "byte_fallback below ByteLevel");
}

BpeRecipe read_recipe(std::string_view json, const std::string& who) {
    BpeRecipe recipe;
    recipe.who = who;
    Tables tables(who, recipe);
    stream_json(json, who, 64, tables);
    const Json j = parse_json(tables.rest(json), who);
    const Json* model = find(j, "model");
    if (!model || !model->is_object())
        fail(Exit::bad_input, "%s: no \"model\": this is no tokenizer.json", who.c_str());
    Steps steps(who, recipe);
    steps.model(*model);
    tables.resolve();
    // "truncation" and "padding" are about batches, not about text: transformers sets its own in their place.
    if (const Json* added = find(j, "added_tokens")) {
        if (!added->is_array()) fail(Exit::bad_input, "%s: \"added_tokens\" is not a list", who.c_str());
        for (const Json& t : *added) steps.added_token(t);
    }
    if (const Json* n = find(j, "normalizer")) steps.normalizer(*n);
    if (const Json* p = find(j, "pre_tokenizer")) steps.pre_tokenizer(*p);
    if (const Json* p = find(j, "post_processor")) steps.post_processor(*p);
    if (const Json* d = find(j, "decoder")) steps.decoder(*d);
    steps.finish();
    return recipe;
}

// Gemma 4 degenerates without BOS, and the files of its chat models do not ask for it. Its tokens tell it.
void force_bos(BpeRecipe& recipe) {
    int bos = -1;
    bool gemma4 = false;
    for (const AddedToken& a : recipe.added) {
        if (a.text == "<bos>") bos = a.id;
        gemma4 |= a.text == "<|turn>";
    }
    if (gemma4 && bos >= 0) recipe.bos = bos, recipe.bos_is_forced = true;
}

// What tokenizer_config.json adds: which token ends a text, and whether BOS goes in front, overruling tokenizer.json.
void read_roles(const Json& config, const std::string& who, BpeRecipe& recipe) {
    const auto id = [&](const char* role) {
        const Json* token = find(config, role);
        if (!token) return -1;
        const bool described = token->is_object();
        const std::string text = described ? get_string(*token, "content", who) : get_string(config, role, who);
        const auto is_it = [&](const AddedToken& a) { return a.text == text; };
        const auto it = std::find_if(recipe.added.begin(), recipe.added.end(), is_it);
        const int found = it != recipe.added.end() ? it->id : recipe.vocabulary.find(text);
        if (found < 0)
            fail(Exit::bad_input, "%s: %s %s is not in %s", who.c_str(), role, shown(text, 40).c_str(),
                 recipe.who.c_str());
        return found;
    };
    recipe.eos = id("eos_token");
    if (find(config, "add_bos_token"))
        recipe.bos = get_bool(config, "add_bos_token", who, false) ? id("bos_token") : -1;
}

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& who) {
    BpeRecipe recipe = read_recipe(json, who);
    force_bos(recipe);
    return make_tokenizer(std::move(recipe));
}

std::unique_ptr<Tokenizer> read_tokenizer(const std::string& path) {
    const bool folder = is_folder(path);
    const std::string file = folder ? path + "/tokenizer.json" : path, config = path + "/tokenizer_config.json";
    const Mapped text(file);
    BpeRecipe recipe = read_recipe({text.data, text.size}, file);
    if (folder && exists(config)) read_roles(read_json_file(config), config, recipe);
    force_bos(recipe);
    return make_tokenizer(std::move(recipe));
}
