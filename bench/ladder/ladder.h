// ladder.h - matmul and attention, each from what first comes to mind to the kernel that dd ships, a file a rung.
// Read them in order: every file begins with why it is faster than the one before. README.md has the numbers.
#pragma once
#include "../../kernels/cuda/device.h"

namespace DD_CUDA::ladder {

// y = x w^T: x [n, in], w [out, in], y [n, out], bf16 with sums in f32; all sizes multiples of 64.
struct Matmul {
    bf16* y;
    const bf16 *x, *w;
    int n, out, in;
};
void matmul_1_naive(const Matmul&);
void matmul_2_shared(const Matmul&);
void matmul_3_registers(const Matmul&);
void matmul_4_tensor_cores(const Matmul&);
void matmul_5_ldmatrix(const Matmul&);
void matmul_6_pipeline(const Matmul&);
void matmul_7_shipped(const Matmul&);

// y = softmax(scale q k^T) v, causal, of one sequence: [n, heads * 64] each, bf16; n a multiple of 64.
struct Attention {
    bf16* y;
    const bf16 *q, *k, *v;
    int n, heads;
    float scale;
};
constexpr int head_size = 64;
void attention_1_naive(const Attention&);
void attention_2_online(const Attention&);
void attention_3_shared(const Attention&);
void attention_4_tensor_cores(const Attention&);
void attention_5_causal(const Attention&);
void attention_6_pipeline(const Attention&);
void attention_7_shipped(const Attention&);

template <class Task> struct Rung {
    const char* name;
    void (*run)(const Task&);
};
inline constexpr Rung<Matmul> matmuls[] = {
    {"matmul_1_naive", matmul_1_naive},         {"matmul_2_shared", matmul_2_shared},
    {"matmul_3_registers", matmul_3_registers}, {"matmul_4_tensor_cores", matmul_4_tensor_cores},
    {"matmul_5_ldmatrix", matmul_5_ldmatrix},   {"matmul_6_pipeline", matmul_6_pipeline},
    {"matmul_7_shipped", matmul_7_shipped},
};
inline constexpr Rung<Attention> attentions[] = {
    {"attention_1_naive", attention_1_naive},   {"attention_2_online", attention_2_online},
    {"attention_3_shared", attention_3_shared}, {"attention_4_tensor_cores", attention_4_tensor_cores},
    {"attention_5_causal", attention_5_causal}, {"attention_6_pipeline", attention_6_pipeline},
    {"attention_7_shipped", attention_7_shipped},
};

} // namespace DD_CUDA::ladder
