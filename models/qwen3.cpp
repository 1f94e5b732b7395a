// qwen3.cpp - Qwen3 dense (Yang et al. 2025, arXiv:2505.09388).
//
// A llama-shaped decoder with two changes: queries and keys are RMS-normalised per head before the rotary embedding,
// and the head size is free of dim / heads.
//
//   x  = E[ids]
//   h  = norm(x);  q, k, v = h Wq, h Wk, h Wv;  q, k = rope(norm(q)), rope(norm(k))
//   x += softmax(q k^T / sqrt d) v Wo
//   h  = norm(x);  x += (silu(h Wg) * (h Wu)) Wd
//   logits = norm(x) H,  H = E where the embeddings are tied
#include <cmath>
#include "model.h"

namespace {

struct Layer {
    Tensor attn_norm, q_norm, k_norm, mlp_norm;
    Weight q, k, v, o, gate, up, down;
};

struct Qwen3 : Model {
    Sizes c;
    Weight table, out;
    Tensor norm;
    std::vector<Layer> w;
    std::vector<float> freq;

    Qwen3(const Json& config, const std::string& who) : c(config, who, false, 128), w(c.layers), freq(c.head / 2) {
        refuse_variants(config, who, "silu");
        Rope rope = read_rope(config, who);
        rope_frequencies(freq.data(), c.head / 2, rope.theta, rope.factor, rope.partial);
        refuse(config, who, {"use_sliding_window"});
        architecture = "qwen3", layers = c.layers, dim = c.dim, vocabulary = c.vocabulary, context = c.context;
        blocks.assign(c.layers, {c.heads, c.kv_heads, c.head, 0});
    }

    void weights(Visit& see) override {
        if (c.tied) see.matrix("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        else see.table("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        for (int l = 0; l < c.layers; l++) {
            Layer& y = w[l];
            std::string at = "model.layers." + std::to_string(l) + ".";
            see.vector(at + "input_layernorm.weight", y.attn_norm, c.dim);
            see.matrix(at + "self_attn.q_proj.weight", y.q, c.heads * c.head, c.dim);
            see.matrix(at + "self_attn.k_proj.weight", y.k, c.kv_heads * c.head, c.dim);
            see.matrix(at + "self_attn.v_proj.weight", y.v, c.kv_heads * c.head, c.dim);
            see.vector(at + "self_attn.q_norm.weight", y.q_norm, c.head);
            see.vector(at + "self_attn.k_norm.weight", y.k_norm, c.head);
            see.matrix(at + "self_attn.o_proj.weight", y.o, c.dim, c.heads * c.head);
            see.vector(at + "post_attention_layernorm.weight", y.mlp_norm, c.dim);
            see.matrix(at + "mlp.gate_proj.weight", y.gate, c.hidden, c.dim);
            see.matrix(at + "mlp.up_proj.weight", y.up, c.hidden, c.dim);
            see.matrix(at + "mlp.down_proj.weight", y.down, c.dim, c.hidden);
        }
        see.vector("model.norm.weight", norm, c.dim);
        if (!c.tied) see.matrix("lm_head.weight", out, c.vocabulary, c.dim);
    }

    Head head() override { return {c.tied ? &table : &out}; }

    Tensor block(Pass& p, Layer& y, Tensor x, Tensor turn) {
        x = p.at(Point::resid_pre, x);

        Tensor h = rms_norm(p, x, y.attn_norm, c.eps);
        auto [q, k, v] = linear(p, h, {&y.q, &y.k, &y.v});
        q = p.at(Point::q, rope(p, rms_norm(p, q, y.q_norm, c.eps), turn, c.head));
        k = rope(p, rms_norm(p, k, y.k_norm, c.eps), turn, c.head);
        Tensor z = attention(p, q, k, v, c.head, 1 / std::sqrt(float(c.head)));
        x = add(p, x, p.at(Point::attn_out, linear(p, p.at(Point::z, z), y.o)));

        h = rms_norm(p, x, y.mlp_norm, c.eps);
        auto [g, u] = linear(p, h, {&y.gate, &y.up});
        x = add(p, x, p.at(Point::mlp_out, linear(p, gated(p, g, u, Gate::silu), y.down)));

        return p.at(Point::resid_post, x);
    }

    Tensor forward(Pass& p) override {
        Tensor x = embed(p, table, 1, c.pad), turn = rotations(p, freq.data(), c.head / 2);
        for (int l = 0; l < c.layers; l++)
            x = p.run(l, x, [&p, this, l, turn](Tensor x) { return block(p, w[l], x, turn); });
        return p.at(Point::final, rms_norm(p, x, norm, c.eps));
    }
};

Register qwen3({{"qwen3"}, "qwen3", [](const Json& config, const std::string& who) -> std::unique_ptr<Model> {
                    return std::make_unique<Qwen3>(config, who);
                }});

}  // namespace
