// model.h - what every model offers: its weights, listed once, one forward, and a line that registers it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>
#include "../engine/json.h"
#include "../engine/ops.h"
#include "../kernels/random.h"

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
    // A vector that belongs to the model but is never trained.
    virtual void constant(const std::string& name, Tensor& w, int n) { vector(name, w, n); }
    // A tensor that files may hold although nothing reads it.
    virtual void spare(const std::string&) {}
    // A short convolution: so many taps for each channel, stored as [channels, 1, taps].
    virtual void filter(const std::string& name, Tensor& w, int channels, int taps) {
        vector(name, w, channels * taps);
    }
};

struct Model {
    virtual ~Model() = default;
    virtual void weights(Visit&) = 0;
    virtual Tensor forward(Pass&) = 0;          // the final hidden states, one row a token
    virtual Head head() = 0;
    // Fills w as a new model has it and answers true where that is not the rule: normal numbers, for a vector ones.
    virtual bool begin(const std::string& /*name*/, float* /*w*/, int /*n*/, Random&) { return false; }

    // What others ask about. Blocks count from 0. window: 0 = all positions. A block without heads (no z, no q) is
    // something else: `kind` says what, and `state` how many numbers (f32) it keeps of a sequence, however long.
    struct Block { int heads, kv_heads, head_size, window; std::string kind = "attention"; size_t state = 0; };
    std::string architecture;                   // "llama"
    int layers = 0, dim = 0, vocabulary = 0, context = 0;
    std::vector<Block> blocks;
};

std::string blocks_with_heads(const Model&);        // "3, 7, 11", for messages

// The sizes that the families here share, from config.json (Hugging Face's spelling). `who` names the file.
struct Sizes {
    int layers, dim, hidden, heads, kv_heads, head, vocabulary, context, pad;
    float eps;
    bool tied;
    Sizes(const Json& config, const std::string& who, bool tied_by_default, int head_by_default = 0);
};
// rope_theta in any of its places (rope_parameters, per layer kind or flat; top level); the scaling factor where a kind
// of layer has one; the share of the pairs that turn where the type is proportional. Any other rope type is
// Exit::bad_input.
// `otherwise`: what holds where the config says nothing. narrow: a family whose heads turn in their first columns only,
// with frequencies of their own: `partial` is the share of these (of the default type).
struct Rope { double theta, factor = 1, partial = 1; bool narrow = false; };
Rope read_rope(const Json& config, const std::string& who, const char* layer_kind = nullptr, Rope otherwise = {0});
std::vector<float> frequencies(const Rope&, int pairs);     // of the pairs of a head, for rotations
// Features that a family's config.json can ask for and that are not built: each must be false, null or absent.
void refuse(const Json& config, const std::string& who, std::initializer_list<const char*> features);
// Exit::bad_input where a configuration asks for another activation, or for part of a head to be rotated.
void refuse_variants(const Json& config, const std::string& who, const char* activation);
// Which layers see a sliding window only: layer_types, or else all but every n-th (sliding_window_pattern, 6); the last
// one sees everything where the family wants it, whatever the file says.
std::vector<bool> sliding_layers(const Json& config, const std::string& who, int layers, bool last_sees_all = false);
// The head size of the layers of one kind: as per_layer_config has it (transformers 5), else head_dim; without a
// per_layer_config as the older `key` has it. It must be one.
int head_dim_of_kind(const Json& config, const std::string& who, const std::vector<bool>& sliding, bool kind,
                     const char* key, int otherwise);
// layer_types, each of two kinds; empty where the config has none.
std::vector<std::string> layer_types(const Json& config, const std::string& who, int layers, const std::string& one,
                                     const std::string& other);

struct Architecture {
    std::vector<std::string> model_types;       // of config.json
    std::string gguf;                           // general.architecture
    std::unique_ptr<Model> (*make)(const Json& config, const std::string& who);
    // Where its GGUF names differ from models/names.cpp's: {"post_attention_layernorm", "post_attention_norm"}
    std::vector<std::pair<std::string, std::string>> gguf_names = {};
    bool gguf_turns_pairs = false;              // rows of q and k interleaved for the other kind of rotary embedding
    bool gguf_gains_whole = false;              // norms stored as gains although config.json's family stores offsets
    Json gguf_defaults = {};                    // what its GGUF leaves unsaid
    void (*gguf_vector)(const std::string& name, float* w, int n) = nullptr;    // undoes what it did to a vector
};
const std::vector<Architecture>& architectures();
template <class M> std::unique_ptr<Model> make(const Json& config, const std::string& who) {
    return std::make_unique<M>(config, who);
}
struct Register { explicit Register(Architecture); };
