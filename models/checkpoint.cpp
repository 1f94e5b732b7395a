#include "checkpoint.h"
#include <algorithm>
#include <cstring>
#include "../engine/gguf.h"
#include "../engine/reader.h"
#include "../engine/safetensors.h"
#include "gguf_names.h"

namespace {

// Parts of multimodal checkpoints that text does not use.
constexpr const char* other_parts[] = {"vision_tower.", "multi_modal_projector.", "visual.", "audio_tower.",
                                       "embed_vision.", "embed_audio.",           "mtp.",    "rotary_emb.inv_freq"};

constexpr const char* other_parts_of_gguf[] = {"v.", "a.", "mm."};      // as Ollama packs them into the same file

// The part that a tensor belongs to; empty: none of these.
std::string other_part(const std::string& name, bool gguf) {
    for (const char* p : other_parts)
        if (name.starts_with(p) || name.find(std::string(".") + p) != std::string::npos) {
            std::string part = p;
            return part.ends_with('.') ? part.substr(0, part.size() - 1) : part;
        }
    for (const char* p : other_parts_of_gguf)
        if (gguf && name.starts_with(p)) return std::string(p).substr(0, strlen(p) - 1);
    return "";
}

const Architecture& architecture_of(const std::string& kind, const std::string& who, bool gguf) {
    std::string known;
    for (const Architecture& a : architectures()) {
        if (gguf ? a.gguf == kind : std::find(a.model_types.begin(), a.model_types.end(), kind) != a.model_types.end())
            return a;
        known += (known.empty() ? "" : ", ") + (gguf ? a.gguf : a.model_types[0]);
    }
    fail(Exit::bad_input, "%s: architecture %s is not known; known: %s", who.c_str(), shown(kind, 40).c_str(),
         known.c_str());
}

}  // namespace

Checkpoint::Checkpoint(const std::string& path) : path(path), generation(Json::object()) {
    if (is_folder(path)) open_folder();
    else if (!exists(path))
        fail(Exit::bad_input, "%s: no such model; expected a Hugging Face directory or a .gguf file", path.c_str());
    else open_gguf_file();
    tie();
}

Checkpoint::~Checkpoint() = default;

Json text_config(const Json& config, const std::string& who) {
    const Json* text = ::find(config, "text_config");
    if (!text) return config;
    Json inner = *text;
    if (!inner.is_object()) fail(Exit::bad_input, "%s: text_config is not an object", who.c_str());
    for (const char* key : {"model_type", "tie_word_embeddings", "eos_token_id"})
        if (!::find(inner, key) && ::find(config, key)) inner[key] = config[key];
    return inner;
}

void Checkpoint::open_folder() {
    who = path + "/config.json";
    if (!exists(who))
        fail(Exit::bad_input, "%s: no config.json in this folder; expected a Hugging Face model directory",
             path.c_str());
    config = text_config(read_json_file(who), who);
    architecture = &architecture_of(get_string(config, "model_type", who), who, false);
    if (std::string file = path + "/generation_config.json"; exists(file)) {
        generation = read_json_file(file);
        if (!generation.is_object()) fail(Exit::bad_input, "%s: one object was expected", file.c_str());
    }
    std::string index = path + "/model.safetensors.index.json", single = path + "/model.safetensors";
    if (!exists(index) && !exists(single))
        fail(Exit::bad_input,
             "%s: neither model.safetensors nor model.safetensors.index.json is here (weights in .bin files are not "
             "read: they may run code; convert them to safetensors)",
             path.c_str());
    file_ = open_safetensors(exists(single) ? single : index);
    for (const char* p : {"model.", "model.language_model.", "language_model.model."})
        if (file_->find(std::string(p) + "embed_tokens.weight") || file_->find(std::string(p) + "norm.weight"))
            prefix_ = p;
}

void Checkpoint::open_gguf_file() {
    who = path;
    auto gguf = open_gguf(path);
    gguf_ = gguf.get();
    file_ = std::move(gguf);
    architecture = &architecture_of(std::string(gguf_->string("general.architecture")), who, true);
    config = config_of_gguf(*gguf_, *architecture);
}

// Which head it is: tied although both are stored when they are the same numbers, untied when they differ; the table
// alone, or the head alone, serves for both.
void Checkpoint::tie() {
    const Stored* table = find("model.embed_tokens.weight");
    const Stored* head = find("lm_head.weight");
    if (table && head && get_bool(config, "tie_word_embeddings", who, true)) {
        bool same =
            table->bytes == head->bytes && table->dtype == head->dtype && !memcmp(table->data, head->data, head->bytes);
        config["tie_word_embeddings"] = same;
    }
    if (gguf_ && !head) config["tie_word_embeddings"] = true;
}

std::string Checkpoint::stored_name(const std::string& name) const {
    if (gguf_) return gguf_name(name, *architecture);
    if (name.starts_with("model.")) return prefix_ + name.substr(6);
    return prefix_ == "language_model.model." ? "language_model." + name : name;
}

const Stored* Checkpoint::find(const std::string& name) const {
    const Stored* s = file_->find(stored_name(name));
    if (!s && name == "model.embed_tokens.weight") s = file_->find(stored_name("lm_head.weight"));
    return s;
}

Checkpoint::Unused Checkpoint::unused(const std::set<std::string>& used) const {
    std::set<std::string> mine;
    for (const std::string& name : used) mine.insert(stored_name(name));
    mine.insert(stored_name("lm_head.weight"));         // tied, and compared in tie()
    Unused u;
    for (const Stored& s : file_->tensors()) {
        if (mine.count(s.name)) continue;
        std::string part = other_part(s.name, gguf_);
        // GGUF counts heads that predict further tokens as blocks behind the last.
        if (gguf_ && s.name.starts_with("blk.") && atoi(s.name.c_str() + 4) >= config["num_hidden_layers"].get<int>() &&
            gguf_->has(architecture->gguf + ".nextn_predict_layers"))
            part = s.name.substr(0, s.name.find('.', 4));
        if (!part.empty()) u.other_parts[part]++;
        else if (!gguf_ || s.name != "rope_freqs.weight") u.names.push_back(s.name);     // config_of_gguf reads it
    }
    return u;
}

const std::vector<Stored>& Checkpoint::tensors() const { return file_->tensors(); }

bool Checkpoint::has_tokenizer() const {
    return gguf_ ? gguf_->has("tokenizer.ggml.tokens") : exists(path + "/tokenizer.json");
}

std::unique_ptr<Tokenizer> Checkpoint::tokenizer() const {
    if (!has_tokenizer())
        fail(Exit::bad_input, "%s: no %s here; text needs one (rows of \"input_ids\" do not)", path.c_str(),
             gguf_ ? "tokenizer.ggml.tokens" : "tokenizer.json");
    return gguf_ ? read_tokenizer(*gguf_) : read_tokenizer(path + "/tokenizer.json");
}

std::string Checkpoint::chat_template() const {
    if (gguf_)
        return gguf_->has("tokenizer.chat_template") ? std::string(gguf_->string("tokenizer.chat_template")) : "";
    if (exists(path + "/chat_template.jinja")) return read_file(path + "/chat_template.jinja");
    if (!exists(path + "/tokenizer_config.json")) return "";
    Json c = read_json_file(path + "/tokenizer_config.json");
    const Json* t = ::find(c, "chat_template");
    return t && t->is_string() ? t->get<std::string>() : "";
}

std::vector<int> Checkpoint::stop_ids() const {
    std::vector<int> ids;
    auto add = [&](const Json& from, const std::string& name) {
        const Json* eos = ::find(from, "eos_token_id");
        if (!eos) return;
        for (const Json& id : eos->is_array() ? *eos : Json::array({*eos})) {
            if (!id.is_number_integer() || id < 0 || id >= (1 << 21))
                fail(Exit::bad_input, "%s: eos_token_id %s; one id or a list of ids was expected", name.c_str(),
                     shown(dump(id), 40).c_str());
            ids.push_back(id.get<int>());
        }
    };
    add(generation, path + "/generation_config.json");
    if (ids.empty()) add(config, who);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

std::string Checkpoint::file_of_weights() const { return file_->path(); }

void Checkpoint::drop_pages() const { file_->drop(); }
