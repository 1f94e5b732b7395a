// ops.h - the words models are written in. Each computes, and remembers its own way back.
//
// Rows are tokens. In --precision bf16 what feeds a product (norms, gates, attention's q, k, v and output) is kept in
// bf16, the operand's type; the residual stream and what is added to it are f32. No model mentions either.
#pragma once
#include <array>
#include <string>
#include "pass.h"

// A low-rank update that rides on a matrix (Hu et al. 2021, eq. 3): y = x w^T + scale (x a^T) b^T.
struct Lora {
    Tensor a, b;                    // a(rank, in), b(out, rank), f32
    float scale = 1;                // alpha / rank, or alpha / sqrt(rank)
    float dropout = 0;              // on x, before a; only when recording
    uint64_t site = 0;              // which of the model's updates this is: dropout masks differ by it
    // The copies that products read, scale folded into b's: x a^T, (..) b^T, and on the way back dy b, (..) a.
    Matrix down, up, back_up, back_down;
};

// What a linear layer multiplies by. An adapter rides on it; where the weight itself is trained, m.w is f32 with a
// Grad.
struct Weight {
    std::string name;
    Matrix m;
    Lora* lora = nullptr;
};

struct Head {                       // from the final hidden state to logits
    Weight* w = nullptr;            // (vocabulary, dim)
    float softcap = 0;              // logits = c tanh(logits / c); 0: none
};

// Cosines | sines of the angle that pair j of a head turns by at each row's position: angle = position * freq[j].
// freq: pairs numbers that outlive the pass; constant for a model and a kind of layer.
Tensor rotations(Pass&, const float* freq, int pairs);
inline Tensor rotations(Pass& p, const std::vector<float>& f) { return rotations(p, f.data(), int(f.size())); }
// theta^(-j / pairs) / factor; only the first `partial` of the pairs turn (frequency 0: the others stay).
void rope_frequencies(float* freq, int pairs, double theta, double factor = 1, double partial = 1);

Tensor lookup(Pass&, Weight& table, float scale = 1, int pad = -1); // a row a token, f32; `pad` has no gradient
Tensor embed(Pass&, Weight& table, float scale = 1, int pad = -1);  // the lookup that is the residual stream's start
Tensor columns(Pass&, Tensor x, int first, int n);                  // a copy of columns first .. first + n - 1
Tensor scale(Pass&, Tensor x, Tensor s);                            // the s.cols equal chunks of columns, each by its s
Tensor rms_norm(Pass&, Tensor x, Tensor w, float eps);                  // by chunks of w: whole rows, or every head
Tensor linear(Pass&, Tensor x, Weight&);                                // x w^T and the adapter's share; f32
template <size_t N> std::array<Tensor, N> linear(Pass&, Tensor x, Weight* const (&w)[N]); // several, of one x; operands
Tensor rope(Pass&, Tensor x, Tensor rotations, int head);               // takes over x's memory
// softmax(scale q k^T) v over all that a token may see, or the last `window` positions. Where k and v are those of an
// earlier layer, `keeper` is that layer: the cache holds them there, once.
Tensor attention(Pass&, Tensor q, Tensor k, Tensor v, int head, float scale, int window = 0, int keeper = -1);
Tensor gated(Pass&, Tensor g, Tensor u, Gate);
Tensor by_heads(Tensor x, int head);                                    // the same numbers, a row a head of a token
// silu of each channel's causal convolution; w: [taps] of every channel, its last tap meets the token itself.
Tensor convolution(Pass&, Tensor x, Tensor w);
// The gated delta rule over x = q | k | v of all heads; a and b: a number a value head, of decay and of writing; rate
// and bias, [1, value heads], turn a into a decay (DeltaRule and the kernel `delta` in list.h).
Tensor delta_rule(Pass&, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, DeltaRule);
Tensor add(Pass&, Tensor x, Tensor a);                                  // f32; takes over a's memory if that is f32

Tensor logits(Pass&, Tensor h, const Head&);                            // f32; of every row of h: choose rows first
Tensor select(Pass&, Tensor h, const int* rows, int n);                 // rows of h

// log p(want[i] | everything up to row[i]), [n, 1], in chunks: logits never exist whole.
struct Targets { int n; const int *rows, *want; };
Tensor log_probs(Pass&, Tensor h, const Head&, Targets);

// Packs a matrix for products with operands of this type into memory of its own.
void pack(const Kernels&, Matrix&, Type operand, Arena&);
void pack(const Kernels&, Lora&, Type operand, Arena&);        // all four copies; again after a and b have changed

namespace detail {
void linear(Pass&, Tensor x, Weight* const* w, Tensor* y, int n, Type type);
}
template <size_t N> std::array<Tensor, N> linear(Pass& p, Tensor x, Weight* const (&w)[N]) {
    std::array<Tensor, N> y;
    detail::linear(p, x, w, y.data(), N, p.operand);
    return y;
}
