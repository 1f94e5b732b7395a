// gemma3.cpp - Gemma 3, text (Gemma Team 2025, arXiv:2503.19786).
//
// Norms before and after each branch; five layers look at a sliding window, the sixth at everything, each kind with a
// rotary base of its own; queries and keys normalised per head; gains are stored as offsets from 1.
//
//   x  = sqrt(dim) E[ids]
//   h  = norm(x);  q, k, v = h Wq, h Wk, h Wv;  q, k = rope(norm(q)), rope(norm(k))
//   x += norm(softmax(q k^T s) v Wo)
//   h  = norm(x);  x += norm((gelu(h Wg) * (h Wu)) Wd)
//   logits = norm(x) E
#include <cmath>
#include "model.h"

namespace {

struct Layer {
    Tensor attn_norm, q_norm, k_norm, attn_post, mlp_norm, mlp_post;
    Weight q, k, v, o, gate, up, down;
    int window;                         // 0: sees everything
};

struct Gemma3 : Model {
    Sizes c;
    float scale, cap;
    Weight table, out;
    Tensor norm;
    std::vector<Layer> w;
    std::vector<float> freq[2];         // of full and of sliding layers

    Gemma3(const Json& config, const std::string& who) : c(config, who, true, 256), w(c.layers) {
        refuse_variants(config, who, "gelu_pytorch_tanh");
        scale = 1 / std::sqrt(float(get_number(config, "query_pre_attn_scalar", who, 1e-6, 1e6, 256)));
        cap = float(get_number(config, "final_logit_softcapping", who, 0, 1e6, 0));
        refuse(config, who, {"use_bidirectional_attention", "attn_logit_softcapping"});
        int window = int(get_int(config, "sliding_window", who, 1, 1 << 24, 4096));
        std::vector<bool> sliding = sliding_layers(config, who, c.layers);
        architecture = "gemma3", layers = c.layers, dim = c.dim, vocabulary = c.vocabulary, context = c.context;
        for (int l = 0; l < c.layers; l++) {
            w[l].window = sliding[l] ? window : 0;
            blocks.push_back({c.heads, c.kv_heads, c.head, w[l].window});
        }
        for (int local : {0, 1}) {
            Rope rope = read_rope(config, who, local ? "sliding_attention" : "full_attention");
            freq[local].resize(c.head / 2);
            rope_frequencies(freq[local].data(), c.head / 2, rope.theta, rope.factor, rope.partial);
        }
    }

    void weights(Visit& see) override {
        if (c.tied) see.matrix("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        else see.table("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        for (int l = 0; l < c.layers; l++) {
            Layer& y = w[l];
            std::string at = "model.layers." + std::to_string(l) + ".";
            see.vector(at + "input_layernorm.weight", y.attn_norm, c.dim, 1);
            see.matrix(at + "self_attn.q_proj.weight", y.q, c.heads * c.head, c.dim);
            see.matrix(at + "self_attn.k_proj.weight", y.k, c.kv_heads * c.head, c.dim);
            see.matrix(at + "self_attn.v_proj.weight", y.v, c.kv_heads * c.head, c.dim);
            see.vector(at + "self_attn.q_norm.weight", y.q_norm, c.head, 1);
            see.vector(at + "self_attn.k_norm.weight", y.k_norm, c.head, 1);
            see.matrix(at + "self_attn.o_proj.weight", y.o, c.dim, c.heads * c.head);
            see.vector(at + "post_attention_layernorm.weight", y.attn_post, c.dim, 1);
            see.vector(at + "pre_feedforward_layernorm.weight", y.mlp_norm, c.dim, 1);
            see.matrix(at + "mlp.gate_proj.weight", y.gate, c.hidden, c.dim);
            see.matrix(at + "mlp.up_proj.weight", y.up, c.hidden, c.dim);
            see.matrix(at + "mlp.down_proj.weight", y.down, c.dim, c.hidden);
            see.vector(at + "post_feedforward_layernorm.weight", y.mlp_post, c.dim, 1);
        }
        see.vector("model.norm.weight", norm, c.dim, 1);
        if (!c.tied) see.matrix("lm_head.weight", out, c.vocabulary, c.dim);
    }

    Head head() override { return {c.tied ? &table : &out, cap}; }

    Tensor block(Pass& p, Layer& y, Tensor x, Tensor turn) {
        x = p.at(Point::resid_pre, x);

        Tensor h = rms_norm(p, x, y.attn_norm, c.eps);
        auto [q, k, v] = linear(p, h, {&y.q, &y.k, &y.v});
        q = p.at(Point::q, rope(p, rms_norm(p, q, y.q_norm, c.eps), turn, c.head));
        k = rope(p, rms_norm(p, k, y.k_norm, c.eps), turn, c.head);
        Tensor z = attention(p, q, k, v, c.head, scale, y.window);
        Tensor a = rms_norm(p, linear(p, p.at(Point::z, z), y.o), y.attn_post, c.eps);
        x = add(p, x, p.at(Point::attn_out, a));

        h = rms_norm(p, x, y.mlp_norm, c.eps);
        auto [g, u] = linear(p, h, {&y.gate, &y.up});
        Tensor m = rms_norm(p, linear(p, gated(p, g, u, Gate::gelu_tanh), y.down), y.mlp_post, c.eps);
        x = add(p, x, p.at(Point::mlp_out, m));

        return p.at(Point::resid_post, x);
    }

    Tensor forward(Pass& p) override {
        Tensor x = embed(p, table, std::sqrt(float(c.dim)), c.pad);
        Tensor turn[] = {rotations(p, freq[0].data(), c.head / 2), rotations(p, freq[1].data(), c.head / 2)};
        for (int l = 0; l < c.layers; l++) {
            Tensor t = turn[w[l].window > 0];
            x = p.run(l, x, [&p, this, l, t](Tensor x) { return block(p, w[l], x, t); });
        }
        return p.at(Point::final, rms_norm(p, x, norm, c.eps));
    }
};

Register gemma3({{"gemma3_text", "gemma3"},
                 "gemma3",
                 [](const Json& config, const std::string& who) -> std::unique_ptr<Model> {
                     return std::make_unique<Gemma3>(config, who);
                 },
                 {{"post_attention_layernorm", "post_attention_norm"}, {"pre_feedforward_layernorm", "ffn_norm"}},
                 false,
                 true,
                 {{"sliding_window_pattern", 6}, {"rope_local_base_freq", 10000.0}}});

}  // namespace
