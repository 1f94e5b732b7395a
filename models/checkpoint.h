// checkpoint.h - a model as users have it: a Hugging Face directory, or a .gguf file; seen alike from here on.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>
#include "../engine/file.h"
#include "../engine/json.h"
#include "../engine/tokenizer.h"
#include "model.h"

struct Gguf;

class Checkpoint {
public:
    // Exit::bad_input for a path that is neither, an unknown architecture (the known ones are named), a broken file.
    explicit Checkpoint(const std::string& path);
    ~Checkpoint();

    std::string path, who;              // who: the file that config was read from, for messages
    Json config;                        // of the text model, in config.json's spelling, also for GGUF
    Json generation;                    // generation_config.json; empty object when there is none
    const Architecture* architecture = nullptr;

    // A tensor by its Hugging Face name, whatever the file calls it; null: not there.
    const Stored* find(const std::string& name) const;
    // Every tensor of the file that `used` does not name: parts of other modalities (counted: "vision_tower" x 658),
    // and mistakes.
    struct Unused { std::map<std::string, int> other_parts; std::vector<std::string> names; };
    Unused unused(const std::set<std::string>& used) const;
    const std::vector<Stored>& tensors() const;
    bool is_gguf() const { return gguf_ != nullptr; }
    const std::string& prefix() const { return prefix_; }       // what stands in the file for "model."

    bool has_tokenizer() const;
    // Exit::bad_input when there is none. Rows of ids need none.
    std::unique_ptr<Tokenizer> tokenizer() const;
    std::string chat_template() const;          // Jinja; empty: none
    std::vector<int> stop_ids() const;          // eos ids of generation_config, config and GGUF metadata
    std::string file_of_weights() const;        // what to hash, or its index
    void drop_pages() const;                    // the weights have been packed: their pages may go

private:
    void open_folder();
    void open_gguf_file();
    void tie();
    std::string stored_name(const std::string& name) const;

    std::unique_ptr<TensorFile> file_;
    Gguf* gguf_ = nullptr;
    std::string prefix_ = "model.";
};

// What config.json says of the text model, with what stands beside it that concerns text.
Json text_config(const Json& config, const std::string& who);

// The model with its weights in place (views into the file; vectors and what must be turned, copies in `mem`).
// Missing, unknown or misshapen tensors are Exit::bad_input, counted and named.
std::unique_ptr<Model> load_model(const Checkpoint&, Arena& mem);

// Every matrix packed for products with operands of this type.
void pack_weights(Model&, const Kernels&, Type operand, Arena& mem);
size_t packed_bytes(Model&, const Kernels&, Type operand);      // that this will take
size_t parameter_count(Model&);
// What pack_weights will take.
size_t packed_bytes(Model&, const Kernels&, Type operand);
