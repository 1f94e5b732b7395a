// products.h - matrix products as the kernels of products_*.cu take them: outputs, each a sum of segments.
#pragma once
#include <climits>
#include "blocks.h"
#include "tiles.h"

namespace DD_CUDA {

// One segment of a reduction: a(rows, k) times b, which lies as (columns, k) or, `turned`, as (k, columns); `type` is
// b's: bf16, or blocks that are made into bf16 on the way.
struct Segment {
    Source a, b;
    Stored blocks;
    Type type;
    bool turned;
    int k;
};

// What becomes of a sum: written, given to a gradient, or (scaled) added to f32.
struct Output {
    Numbers y;
    enum { write, give, add } how;
    float s;
    int cols, first, last; // segments first .. last - 1
};

struct Work {
    Segment segments[8];
    Output outputs[4];
    int n, rows, split; // outputs; rows of each; numbers of the (one) reduction a block takes, 0: all
};

__device__ __forceinline__ void finish(const Output& o, size_t at, float v) {
    if (o.how == Output::give && !o.y.fresh) v = read(o.y, at) + v;
    if (o.how == Output::add) v = fmaf(o.s, v, read(o.y, at));
    write(o.y, at, v);
}
// Two neighbours of a row, from an even column on.
__device__ __forceinline__ void finish2(const Output& o, size_t row, int col, float u, float v) {
    size_t at = row * o.cols + col;
    if (col + 1 < o.cols && o.cols % 2 == 0 && o.y.whole && (o.how == Output::write || o.y.fresh)) {
        if (o.y.narrow) {
            uint32_t pair = two_bf16(u, v);
            move<uint32_t>(static_cast<bf16*>(o.y.data) + at, &pair);
        } else {
            alignas(8) float pair[2] = {u, v};
            move<uint2>(static_cast<float*>(o.y.data) + at, pair);
        }
    } else {
        if (col < o.cols) finish(o, at, u);
        if (col + 1 < o.cols) finish(o, at + 1, v);
    }
}

// The numbers of a matrix as a product with operands of its type reads them.
inline const void* panel_data(const Matrix& m) { return m.panels ? m.panels : m.w.data; }
inline bool blocks_of(const Matrix& m) { return !m.panels && in_blocks(m.w.type); }

void tile_products(const Work&);                             // products_tile.cu: bf16
void turned_product(const Work&);                            // the same, one output and segment, a as (k, rows)
void block_product(const Product&, const Tensor& x);         // products_blocks.cu: bf16 x, w in blocks
bool thin_products(const Product*, int n, const Tensor& x);  // products_thin.cu: few rows; false: not this shape
void plain_products(const Product*, int n, const Tensor& x); // products_f32.cu
void plain_dx(const Tensor& dx, const Product*, int n);
void plain_dw(const Tensor& dw, const Tensor& dy, const Tensor& x, float s);

} // namespace DD_CUDA
