// attention_7_shipped.cu - the attention that dd ships (kernels/cuda/attention.cu): rung 6 for everything a model asks.
//
// Query heads that share keys go through them together, so that a tile of keys serves several heads; sequences of any
// length lie one after another without padding; windows begin where they begin; heads have up to 512 numbers; keys and
// values stand in the cache's panels of sixteen positions. Every 256 keys are summed on their own and joined in order,
// which costs a little here and buys two things: a decoding step may give each 256 keys to a block of its own, and the
// result is the same to the bit whether a token comes alone or with its whole prompt.
#include "../../kernels/cuda/families.h"
#include "../../kernels/cuda/runtime.h"
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

__global__ void __launch_bounds__(256) count_kernel(int* pos, int* first, int n) {
    int i = int(blockIdx.x * 256 + threadIdx.x);
    if (i < n) pos[i] = i;
    if (i < 2) first[i] = i * n;
}

} // namespace

void attention_7_shipped(const Attention& a) {
    static const Kernels k = table("ladder", true);
    size_t panels = size_t(a.n / 16 + 1) * size_t(a.heads), bytes = panels * 16 * head_size * 2;
    char* room = static_cast<char*>(workspace(2 * bytes + size_t(a.n + 2) * 4));
    int *pos = reinterpret_cast<int*>(room + 2 * bytes), *first = pos + a.n;
    launch<count_kernel>(groups_of(size_t(a.n), 256), 256, 0, pos, first, a.n);
    KeyValues kv{room, room + bytes, Type::bf16, a.heads, head_size};
    Rows rows{a.n, 1, nullptr, pos, first};
    auto tensor = [&](const bf16* data) { return Tensor{(void*)data, a.n, a.heads * head_size, Type::bf16}; };
    k.store_kv(kv, tensor(a.k), tensor(a.v), rows);
    k.attend(tensor(a.y), {}, tensor(a.q), kv, rows, a.scale, 0);
}

} // namespace DD_CUDA::ladder
