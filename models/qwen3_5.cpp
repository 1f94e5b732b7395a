// qwen3_5.cpp - Qwen3.5, text (huggingface.co/Qwen/Qwen3.5-0.8B; there is no paper).
//
// Three layers of four are a Gated DeltaNet (Yang, Kautz and Hatamizadeh 2025, arXiv:2412.06464): a state of fixed size
// in place of keys and values. The fourth is attention whose output a gate scales and whose heads turn in part. Gains
// are stored as offsets from 1, but for that of the delta rule's norm.
//
//   x  = E[ids]
//   h  = norm(x)
//   x += (norm(delta(conv(h Wqkv), h Wa, h Wb)) * silu(h Wz)) Wo                                   linear attention
//   q, g = h Wq;  k, v = h Wk, h Wv;  q, k = rope(norm(q)), rope(norm(k))
//   x += (softmax(q k^T / sqrt d) v * sigmoid(g)) Wo                                               full attention
//   h  = norm(x);  x += (silu(h Wg) * (h Wu)) Wd
//   logits = norm(x) H,  H = E where the embeddings are tied
#include <cmath>
#include "model.h"

namespace {

struct Layer {
    bool linear;
    Tensor mixer_norm, mlp_norm, q_norm, k_norm, conv, rate, bias, delta_norm;
    Weight q, k, v, o, qkv, z, b, a, out, gate, up, down;
};

struct Qwen3_5 : Model {
    Sizes c;
    DeltaRule delta;
    int taps, turning;                  // of the convolution; columns of a head that turn
    Weight table, out;
    Tensor norm;
    std::vector<Layer> w;
    std::vector<float> freq;

    Qwen3_5(const Json& config, const std::string& who) : c(config, who, false, 256), w(c.layers) {
        Rope rope = read_rope(config, who, nullptr, {10000, 1, 0.25, true});
        turning = int(c.head * rope.partial) / 2 * 2;
        freq.resize(turning / 2);
        rope_frequencies(freq.data(), turning / 2, rope.theta, rope.factor);
        auto size = [&](const char* key, int otherwise) { return int(get_int(config, key, who, 1, 1024, otherwise)); };
        delta = {size("linear_num_key_heads", 16), size("linear_num_value_heads", 32),
                 size("linear_key_head_dim", 128), size("linear_value_head_dim", 128)};
        delta.tiled = get_bool(config, "linear_value_heads_tiled", who, false);        // as GGUF has them
        taps = int(get_int(config, "linear_conv_kernel_dim", who, 2, 16, 4));
        if (delta.value_heads % delta.key_heads || delta.value_heads * delta.value % 2)
            fail(Exit::bad_input, "%s: %d value heads of %d for %d key heads; whole groups and an even width expected",
                 who.c_str(), delta.value_heads, delta.value, delta.key_heads);
        std::vector<std::string> kinds = layer_types(config, who, c.layers, "linear_attention", "full_attention");
        architecture = "qwen3_5", layers = c.layers, dim = c.dim, vocabulary = c.vocabulary, context = c.context;
        for (int l = 0, period = size("full_attention_interval", 4); l < c.layers; l++) {
            w[l].linear = kinds.empty() ? (l + 1) % period != 0 : kinds[l] == "linear_attention";
            if (w[l].linear) blocks.push_back({0, 0, 0, 0, "linear attention", delta.value_heads * delta.state_size()});
            else blocks.push_back({c.heads, c.kv_heads, c.head, 0});
        }
    }

    void weights(Visit& see) override {
        if (c.tied) see.matrix("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        else see.table("model.embed_tokens.weight", table, c.vocabulary, c.dim);
        int keys = delta.key_heads * delta.key, values = delta.value_heads * delta.value;
        for (int l = 0; l < c.layers; l++) {
            Layer& y = w[l];
            std::string at = "model.layers." + std::to_string(l) + ".", mixer = at + "linear_attn.";
            see.vector(at + "input_layernorm.weight", y.mixer_norm, c.dim, 1);
            if (y.linear) {
                see.matrix(mixer + "in_proj_qkv.weight", y.qkv, 2 * keys + values, c.dim);
                see.matrix(mixer + "in_proj_z.weight", y.z, values, c.dim);
                see.matrix(mixer + "in_proj_b.weight", y.b, delta.value_heads, c.dim);
                see.matrix(mixer + "in_proj_a.weight", y.a, delta.value_heads, c.dim);
                see.filter(mixer + "conv1d.weight", y.conv, 2 * keys + values, taps);
                see.vector(mixer + "dt_bias", y.bias, delta.value_heads);
                see.vector(mixer + "A_log", y.rate, delta.value_heads);
                see.vector(mixer + "norm.weight", y.delta_norm, delta.value);
                see.matrix(mixer + "out_proj.weight", y.out, c.dim, values);
            } else {
                see.matrix(at + "self_attn.q_proj.weight", y.q, 2 * c.heads * c.head, c.dim);
                see.matrix(at + "self_attn.k_proj.weight", y.k, c.kv_heads * c.head, c.dim);
                see.matrix(at + "self_attn.v_proj.weight", y.v, c.kv_heads * c.head, c.dim);
                see.vector(at + "self_attn.q_norm.weight", y.q_norm, c.head, 1);
                see.vector(at + "self_attn.k_norm.weight", y.k_norm, c.head, 1);
                see.matrix(at + "self_attn.o_proj.weight", y.o, c.dim, c.heads * c.head);
            }
            see.vector(at + "post_attention_layernorm.weight", y.mlp_norm, c.dim, 1);
            see.matrix(at + "mlp.gate_proj.weight", y.gate, c.hidden, c.dim);
            see.matrix(at + "mlp.up_proj.weight", y.up, c.hidden, c.dim);
            see.matrix(at + "mlp.down_proj.weight", y.down, c.dim, c.hidden);
        }
        see.vector("model.norm.weight", norm, c.dim, 1);
        if (!c.tied) see.matrix("lm_head.weight", out, c.vocabulary, c.dim);
    }

    bool begin(const std::string& name, float* x, int n, Random& random) override {
        if (!name.ends_with("A_log")) return false;
        for (int i = 0; i < n; i++) x[i] = std::log(0.01f + 15.99f * random.uniform());
        return true;
    }

    Head head() override { return {c.tied ? &table : &out}; }

    Tensor linear_attention(Pass& p, Layer& y, Tensor h) {
        auto [x, z, b, a] = linear(p, h, {&y.qkv, &y.z, &y.b, &y.a});
        Tensor o = delta_rule(p, convolution(p, x, y.conv), a, b, y.rate, y.bias, delta);
        return linear(p, gated(p, z, rms_norm(p, o, y.delta_norm, c.eps), Gate::silu), y.out);
    }

    Tensor full_attention(Pass& p, Layer& y, Tensor h, Tensor turn) {
        auto [both, k, v] = linear(p, h, {&y.q, &y.k, &y.v});
        Tensor pairs = by_heads(both, 2 * c.head);                     // of every head: query, gate
        Tensor q = by_heads(columns(p, pairs, 0, c.head), c.heads * c.head);
        Tensor gate = by_heads(columns(p, pairs, c.head, c.head), c.heads * c.head);
        q = p.at(Point::q, rope(p, rms_norm(p, q, y.q_norm, c.eps), turn, c.head));
        k = rope(p, rms_norm(p, k, y.k_norm, c.eps), turn, c.head);
        Tensor z = attention(p, q, k, v, c.head, 1 / std::sqrt(float(c.head)));
        return linear(p, p.at(Point::z, gated(p, gate, z, Gate::sigmoid)), y.o);
    }

    Tensor block(Pass& p, Layer& y, Tensor x, Tensor turn) {
        x = p.at(Point::resid_pre, x);

        Tensor h = rms_norm(p, x, y.mixer_norm, c.eps);
        x = add(p, x, p.at(Point::attn_out, y.linear ? linear_attention(p, y, h) : full_attention(p, y, h, turn)));

        h = rms_norm(p, x, y.mlp_norm, c.eps);
        auto [g, u] = linear(p, h, {&y.gate, &y.up});
        x = add(p, x, p.at(Point::mlp_out, linear(p, gated(p, g, u, Gate::silu), y.down)));

        return p.at(Point::resid_post, x);
    }

    Tensor forward(Pass& p) override {
        Tensor x = embed(p, table, 1, c.pad), turn = rotations(p, freq.data(), turning / 2);
        for (int l = 0; l < c.layers; l++)
            x = p.run(l, x, [&p, this, l, turn](Tensor x) { return block(p, w[l], x, turn); });
        return p.at(Point::final, rms_norm(p, x, norm, c.eps));
    }
};

Register qwen3_5({{"qwen3_5_text", "qwen3_5"},
                  "qwen35",
                  [](const Json& config, const std::string& who) -> std::unique_ptr<Model> {
                      return std::make_unique<Qwen3_5>(config, who);
                  },
                  {{"post_attention_layernorm", "post_attention_norm"}}, false, true, {},
                  [](const std::string& name, float* x, int n) {       // it has -exp(A_log)
                      for (int i = 0; i < n && name.ends_with("A_log"); i++) x[i] = std::log(-x[i]);
                  }});

}  // namespace
