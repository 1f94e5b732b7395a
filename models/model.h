// model.h - what every model offers: its weights, listed once, one forward, and a line that registers it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>
#include "../engine/json.h"
#include "../engine/ops.h"

// Walks the weights by their names in the checkpoint. Loading, saving, counting, initialising, training, packing and
// adapting are each a Visit; none is written twice, none by a model.
struct Visit {
    virtual ~Visit() = default;
    virtual void matrix(const std::string& name, Weight& w, int out,
                        int in) = 0; // products: quantised, decayed, adapted
    virtual void table(const std::string& name, Weight& w, int rows,
                       int cols) = 0; // its rows are gathered, nothing else
    // Norms and biases. Some families store a gain as its offset from 1: in memory it is the gain itself.
    virtual void vector(const std::string& name, Tensor& w, int n, float offset = 0) = 0;
};

struct Model {
    virtual ~Model() = default;
    virtual void weights(Visit&) = 0;
    virtual Tensor forward(Pass&) = 0;          // the final hidden states, one row a token
    virtual Head head() = 0;

    // What others ask about. Blocks count from 0.
    struct Block { int heads, kv_heads, head_size, window; };       // window: 0 = all positions
    std::string architecture;                   // "llama"
    int layers = 0, dim = 0, vocabulary = 0, context = 0;
    std::vector<Block> blocks;
};

// The sizes that the families here share, from config.json (Hugging Face's spelling). `who` names the file.
struct Sizes {
    int layers, dim, hidden, heads, kv_heads, head, vocabulary, context, pad;
    float eps;
    bool tied;
    Sizes(const Json& config, const std::string& who, bool tied_by_default, int head_by_default = 0);
};
// rope_theta in any of its places (rope_parameters, per layer kind or flat; top level); the scaling factor where a kind
// of layer has a linear one. Any other rope type is Exit::bad_input.
struct Rope { double theta, factor; };
Rope read_rope(const Json& config, const std::string& who, const char* layer_kind = nullptr);
// Exit::bad_input where a configuration asks for another activation, or for part of a head to be rotated.
void refuse_variants(const Json& config, const std::string& who, const char* activation);

struct Architecture {
    std::vector<std::string> model_types;       // of config.json
    std::string gguf;                           // general.architecture
    std::unique_ptr<Model> (*make)(const Json& config, const std::string& who);
    // Where its GGUF names differ from models/names.cpp's: {"post_attention_layernorm", "post_attention_norm"}
    std::vector<std::pair<std::string, std::string>> gguf_names = {};
    bool gguf_turns_pairs = false;              // rows of q and k interleaved for the other kind of rotary embedding
    bool gguf_gains_whole = false;              // norms stored as gains although config.json's family stores offsets
    Json gguf_defaults = {};                    // what its GGUF leaves unsaid
};
const std::vector<Architecture>& architectures();
struct Register { explicit Register(Architecture); };
