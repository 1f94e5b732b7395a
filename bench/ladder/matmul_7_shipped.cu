// matmul_7_shipped.cu - the product that dd ships (kernels/cuda/products_tile.cu), which goes on where rung 6 ends.
//
// Larger tiles where there are rows enough for them, 128 x 128 in eight warps: a number that has reached shared memory
// serves twice as many outputs, and one in registers too. What else it adds is not speed but use: shapes of any size,
// several products of one x in one launch (q, k and v; gate and up), an adapter's product continued in the same sums,
// gradients (operands turned by ldmatrix.trans, so that nobody makes a transposed copy), and weights in blocks of four
// to eight bits, which become bf16 on their way to shared memory. Up to eight rows take products_thin.cu instead, which
// has no use for tiles: there the reading of w is all, and every byte of it is read once. What is left to win on an
// H100 is wgmma with TMA, which feeds the tensor cores from shared memory without passing registers.
#include "../../kernels/cuda/families.h"
#include "ladder.h"

namespace DD_CUDA::ladder {

void matmul_7_shipped(const Matmul& m) {
    static const Kernels k = table("ladder", true);
    Matrix w{m.out, m.in, {(void*)m.w, m.out, m.in, Type::bf16}};
    Product p{{m.y, m.n, m.out, Type::bf16}, &w};
    k.matmul(&p, 1, {(void*)m.x, m.n, m.in, Type::bf16});
}

} // namespace DD_CUDA::ladder
