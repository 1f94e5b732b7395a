// gemma4.cpp - Gemma 4, text: E2B, E4B (google/gemma-4-E2B-it; there is no paper).
//
// Gemma 3's sandwich of norms, with whole gains; scores that are not scaled; wider heads where a layer sees everything;
// later layers look at keys and values of the last of their kind with its own; every layer has an embedding of its own.
//
//   x  = sqrt(dim) E[ids];  p_l = (norm((x Wp / sqrt(dim))_l) + sqrt(ple) P[ids]_l) / sqrt(2)
//   h  = norm(x);  q = rope(norm(h Wq));  k, v = rope(norm(h Wk)), rms(h Wv), or those of the layer's keeper
//   x += norm(softmax(q k^T) v Wo)
//   h  = norm(x);  x += norm((gelu(h Wg) * (h Wu)) Wd)
//   x += norm((gelu(x Wi) * p_l) Wj);  x *= s_l
//   logits = c tanh(norm(x) E / c)
#include <cmath>
#include "model.h"

namespace {

struct Layer {
    Tensor attn_norm, q_norm, k_norm, attn_post, mlp_norm, mlp_post, ple_post, scalar;
    Weight q, k, v, o, gate, up, down, ple_gate, ple_proj;
    int head, hidden, window;               // window 0: sees everything
};

struct Gemma4 : Model {
    Sizes c;
    int ple, own, keeper[2] = {-1, -1};     // width of the layers' embeddings; layers below `own` have their own keys,
                                            // keeper[sliding] is the last of these of its kind
    float cap, over_root_dim = 1 / std::sqrt(float(c.dim)), over_root_two = std::sqrt(0.5f);
    Weight table, out, ple_table, ple_model;
    Tensor norm, ple_norm;
    std::vector<Layer> w;
    std::vector<float> freq[2], ones;       // [sliding]; the gain of a plain rms

    Gemma4(const Json& config, const std::string& who) : c(config, who, true, 256), w(c.layers) {
        refuse(config, who, {"enable_moe_block", "attention_k_eq_v", "use_bidirectional_attention"});
        get_int(config, "vocab_size_per_layer_input", who, c.vocabulary, c.vocabulary, c.vocabulary);
        ple = int(get_int(config, "hidden_size_per_layer_input", who, 2, 1 << 14, 256));
        own = c.layers - int(get_int(config, "num_kv_shared_layers", who, 0, c.layers - 1, 0));
        cap = float(get_number(config, "final_logit_softcapping", who, 0));
        architecture = "gemma4", layers = c.layers, dim = c.dim, vocabulary = c.vocabulary, context = c.context;
        int window = int(get_int(config, "sliding_window", who, 1, 1 << 24, 512));
        int doubled = 1 + get_bool(config, "use_double_wide_mlp", who, false);
        std::vector<bool> sliding = sliding_layers(config, who, c.layers, true);
        int wide = head_dim_of_kind(config, who, sliding, false, "global_head_dim", 512);
        int narrow = head_dim_of_kind(config, who, sliding, true, "head_dim", c.head);
        for (int l = 0; l < c.layers; l++) {
            bool s = sliding[l];
            w[l].head = s ? narrow : wide, w[l].window = s ? window : 0;
            w[l].hidden = c.hidden * (l < own ? 1 : doubled);
            if (l < own) keeper[s] = l;
            if (keeper[s] < 0)
                fail(Exit::bad_input, "%s: layer %d shares keys, but no layer below %d is %s", who.c_str(), l, own,
                     s ? "sliding" : "full");
            blocks.push_back({c.heads, c.kv_heads, w[l].head, w[l].window});
        }
        freq[0] = frequencies(read_rope(config, who, "full_attention", {1e6, 1, 0.25}), wide / 2);
        freq[1] = frequencies(read_rope(config, who, "sliding_attention", {1e4}), narrow / 2);
        ones.assign(std::max(narrow, wide), 1);
    }

    void weights(Visit& see) override {
        if (c.tied) see.matrix("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        else see.table("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        see.table("model.embed_tokens_per_layer.weight", ple_table, c.vocabulary, c.layers * ple);
        see.matrix("model.per_layer_model_projection.weight", ple_model, c.layers * ple, c.dim);
        see.vector("model.per_layer_projection_norm.weight", ple_norm, ple);
        for (int l = 0; l < c.layers; l++) {
            Layer& y = w[l];
            std::string at = "model.layers." + std::to_string(l) + ".";
            see.vector(at + "input_layernorm.weight", y.attn_norm, c.dim);
            see.matrix(at + "self_attn.q_proj.weight", y.q, c.heads * y.head, c.dim);
            see.vector(at + "self_attn.q_norm.weight", y.q_norm, y.head);
            if (l < own) {
                see.matrix(at + "self_attn.k_proj.weight", y.k, c.kv_heads * y.head, c.dim);
                see.matrix(at + "self_attn.v_proj.weight", y.v, c.kv_heads * y.head, c.dim);
                see.vector(at + "self_attn.k_norm.weight", y.k_norm, y.head);
            }
            for (auto part : {"k_proj", "v_proj", "k_norm"})
                if (l >= own) see.spare(at + "self_attn." + part + ".weight");
            see.matrix(at + "self_attn.o_proj.weight", y.o, c.dim, c.heads * y.head);
            see.vector(at + "post_attention_layernorm.weight", y.attn_post, c.dim);
            see.vector(at + "pre_feedforward_layernorm.weight", y.mlp_norm, c.dim);
            see.matrix(at + "mlp.gate_proj.weight", y.gate, y.hidden, c.dim);
            see.matrix(at + "mlp.up_proj.weight", y.up, y.hidden, c.dim);
            see.matrix(at + "mlp.down_proj.weight", y.down, c.dim, y.hidden);
            see.vector(at + "post_feedforward_layernorm.weight", y.mlp_post, c.dim);
            see.matrix(at + "per_layer_input_gate.weight", y.ple_gate, ple, c.dim);
            see.matrix(at + "per_layer_projection.weight", y.ple_proj, c.dim, ple);
            see.vector(at + "post_per_layer_input_norm.weight", y.ple_post, c.dim);
            see.constant(at + "layer_scalar", y.scalar, 1);
        }
        see.vector("model.norm.weight", norm, c.dim);
        if (!c.tied) see.matrix("lm_head.weight", out, c.vocabulary, c.dim);
    }

    Head head() override { return {c.tied ? &table : &out, cap}; }

    // What every token brings to every layer: p_0 | p_1 | ...
    Tensor per_layer(Pass& p, Tensor x) {
        Tensor b = scale(p, linear(p, x, ple_model), {&over_root_dim, 1, 1});
        Tensor a = lookup(p, ple_table, std::sqrt(float(ple)), c.pad);
        return scale(p, add(p, rms_norm(p, b, ple_norm, c.eps), a), {&over_root_two, 1, 1});
    }

    // x after layer l, and the layer's keys and values; lent: those of its keeper.
    std::array<Tensor, 3> block(Pass& p, int l, Tensor x, Tensor turn, Tensor each, std::array<Tensor, 2> lent) {
        Layer& y = w[l];
        x = p.at(Point::resid_pre, x);

        Tensor h = rms_norm(p, x, y.attn_norm, c.eps);
        auto [q, k, v] = l < own ? linear(p, h, {&y.q, &y.k, &y.v})
                                 : std::array{linear(p, h, {&y.q})[0], lent[0], lent[1]};
        q = p.at(Point::q, rope(p, rms_norm(p, q, y.q_norm, c.eps), turn, y.head));
        if (l < own) k = rope(p, rms_norm(p, k, y.k_norm, c.eps), turn, y.head);
        if (l < own) v = rms_norm(p, v, {ones.data(), 1, y.head}, c.eps);
        Tensor z = attention(p, q, k, v, y.head, 1, y.window, l < own ? -1 : keeper[y.window > 0]);
        Tensor a = rms_norm(p, linear(p, p.at(Point::z, z), y.o), y.attn_post, c.eps);
        x = add(p, x, p.at(Point::attn_out, a));

        h = rms_norm(p, x, y.mlp_norm, c.eps);
        auto [g, u] = linear(p, h, {&y.gate, &y.up});
        Tensor m = rms_norm(p, linear(p, gated(p, g, u, Gate::gelu_tanh), y.down), y.mlp_post, c.eps);
        x = add(p, x, p.at(Point::mlp_out, m));

        Tensor i = linear(p, x, {&y.ple_gate})[0], e = columns(p, each, l * ple, ple);
        x = add(p, x, rms_norm(p, linear(p, gated(p, i, e, Gate::gelu_tanh), y.ple_proj), y.ple_post, c.eps));
        x = p.at(Point::resid_post, scale(p, x, y.scalar));
        return l == keeper[y.window > 0] ? std::array{x, k, v} : std::array{x, Tensor{}, Tensor{}};
    }

    Tensor forward(Pass& p) override {
        Tensor x = embed(p, table, std::sqrt(float(c.dim)), c.pad), each = per_layer(p, x);
        Tensor turns[] = {rotations(p, freq[0]), rotations(p, freq[1])};
        std::array<Tensor, 2> kept[2];
        for (int l = 0; l < c.layers; l++) {
            bool s = w[l].window > 0;
            auto body = [&p, this, l, each, turn = turns[s], lent = kept[s]](std::array<Tensor, 1> in) {
                return block(p, l, in[0], turn, each, lent);
            };
            auto [y, k, v] = p.run<3>(l, std::array{x}, body);
            x = y;
            if (l == keeper[s]) kept[s] = {k, v};
        }
        return p.at(Point::final, rms_norm(p, x, norm, c.eps));
    }
};

Register gemma4({{"gemma4_text", "gemma4"}, "gemma4", make<Gemma4>,
                 {{"post_attention_layernorm", "post_attention_norm"}, {"pre_feedforward_layernorm", "ffn_norm"}}});

}  // namespace
