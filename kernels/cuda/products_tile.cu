// products_tile.cu - products of bf16 by mma.sync, a tile of the output a block.
//
// Every output is one chain of mma.sync along the reduction, sixteen numbers at a time, whatever the tile and the
// number of rows: the same row gives the same bits in every batch. While one stage is multiplied, the next two are on
// their way.
#include "products.h"

namespace DD_CUDA {
namespace {

constexpr int stages = 3;

// Tiles of rows x cols outputs; each of a block's down x across warps computes an equal part.
template <int tile_rows, int tile_columns, int warps_down, int warps_across, bool a_is_turned> struct Plan {
    static constexpr int rows = tile_rows, cols = tile_columns, across = warps_across;
    static constexpr int threads = warps_down * warps_across * warp;
    static constexpr int warp_rows = rows / warps_down, warp_cols = cols / warps_across;
    static constexpr int high = warp_rows / 16, wide = warp_cols / 8; // fragments of a warp
    static constexpr bool turned_a = a_is_turned;
    struct Shared {
        bf16 a[stages][rows * tile_cols], b[stages][cols * tile_cols];
    };
};

// Where a block is in its reduction: numbers k .. of a segment.
struct Cursor {
    int segment, k;
    __device__ void advance(const Work& w) {
        if ((k += tile_cols) >= w.segments[segment].k) segment++, k = 0;
    }
};

// b's tile of numbers k .. +63, stored as (k, columns), out of blocks.
template <class P>
__device__ void load_blocks(bf16* to, const Segment& s, int k, int col, int cols, int k_left, int cols_left) {
    for (int i = int(threadIdx.x); i < square / 4; i += P::threads) {
        int r = i / 16, c = i % 16 * 4;
        Four f{};
        if (r < k_left && c < cols_left) f = weights4_of(s.type, s.blocks, size_t(k + r) * cols + col + c);
        uint2 pairs{two_bf16(f.v[0], f.v[1]), two_bf16(f.v[2], f.v[3])};
        move<uint2>(to + at_number(r, c), &pairs);
    }
}

// Starts both tiles of a stage on their way; `left` numbers of the reduction exist.
template <class P>
__device__ void fetch(typename P::Shared& to, int stage, const Segment& s, int k, int left, int row, int col, int rows,
                      int cols) {
    bf16 *a = to.a[stage], *b = to.b[stage];
    if (P::turned_a)
        for (int i = 0; i < P::rows; i += tile_cols)
            load_tile<tile_cols, P::threads>(a + i * tile_cols, s.a, k, row + i, left, rows - row - i);
    else load_tile<P::rows, P::threads>(a, s.a, row, k, rows - row, left);
    if (!s.turned) return load_tile<P::cols, P::threads>(b, s.b, col, k, cols - col, left);
    for (int i = 0; i < P::cols; i += tile_cols)
        if (s.type == Type::bf16)
            load_tile<tile_cols, P::threads>(b + i * tile_cols, s.b, k, col + i, left, cols - col - i);
        else load_blocks<P>(b + i * tile_cols, s, k, col + i, cols, left, cols - col - i);
}

// Multiplies a stage's tiles, 16 numbers of the reduction at a time.
template <class P>
__device__ __forceinline__ void multiply(float (&sum)[P::high][P::wide][4], const bf16* a, const bf16* b, bool turned_b,
                                         int left) {
    int mine = int(threadIdx.x) / warp, row = mine / P::across * P::warp_rows, col = mine % P::across * P::warp_cols;
#pragma unroll
    for (int k = 0; k < tile_cols / 16; k++) {
        if (k * 16 >= left) continue;
        uint32_t fa[P::high][4], fb[P::wide][2];
#pragma unroll
        for (int i = 0; i < P::high; i++) {
            int r = row + i * 16;
            if (P::turned_a) load_a_turned(fa[i], a + r / tile_cols * square, r % tile_cols, k);
            else load_a(fa[i], a, r, k);
        }
#pragma unroll
        for (int j = 0; j < P::wide; j += 2) {
            uint32_t two[2][2];
            int c = col + j * 8;
            if (turned_b) load_b_turned(two, b + c / tile_cols * square, c % tile_cols, k);
            else load_b(two, b, c, k);
            for (int i = 0; i < 2; i++) fb[j + i][0] = two[i][0], fb[j + i][1] = two[i][1];
        }
#pragma unroll
        for (int i = 0; i < P::high; i++)
#pragma unroll
            for (int j = 0; j < P::wide; j++) mma_bf16(sum[i][j], fa[i], fb[j]);
    }
}

// Bands of four rows of tiles are taken column by column, so that what neighbouring blocks read stays in the L2.
constexpr int band = 4;
struct Place {
    int row, col, output;
};
template <class P> __device__ Place place(const Work& w, int row_tiles, int col_tiles) {
    int id = int(blockIdx.x), top = id / (band * col_tiles) * band, tall = min(band, row_tiles - top);
    int rest = id % (band * col_tiles), tile = rest / tall, output = 0;
    for (;; output++) {
        int tiles = (w.outputs[output].cols + P::cols - 1) / P::cols;
        if (tile < tiles) break;
        tile -= tiles;
    }
    return {(top + rest % tall) * P::rows, tile * P::cols, output};
}

template <class P>
__global__ void __launch_bounds__(P::threads, 1) tile_kernel(Work work, int row_tiles, int col_tiles) {
    auto& shared = dynamic_shared<typename P::Shared>();
    Place p = place<P>(work, row_tiles, col_tiles);
    const Output& out = work.outputs[p.output];
    int begin = int(blockIdx.y) * work.split, end = INT_MAX, steps = 0;
    if (work.split)
        end = min(begin + work.split, work.segments[0].k), steps = (end - begin + tile_cols - 1) / tile_cols;
    else
        for (int s = out.first; s < out.last; s++) steps += (work.segments[s].k + tile_cols - 1) / tile_cols;

    Cursor next{out.first, begin}, now = next;
    auto start_next = [&](int step) {
        const Segment& s = work.segments[next.segment];
        fetch<P>(shared, step % stages, s, next.k, min(end, s.k) - next.k, p.row, p.col, work.rows, out.cols);
        next.advance(work);
    };
    float sum[P::high][P::wide][4] = {};
    for (int step = 0; step < stages - 1; step++) {
        if (step < steps) start_next(step);
        cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        cp_async_wait<stages - 2>();
        __syncthreads(); // this stage has landed, and everybody has done with the one before it
        if (step + stages - 1 < steps) start_next(step + stages - 1);
        cp_async_commit(); // at the end empty groups: "all but the last have landed" stays the right question
        const Segment& s = work.segments[now.segment];
        multiply<P>(sum, shared.a[step % stages], shared.b[step % stages], s.turned, s.k - now.k);
        now.advance(work);
    }

    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp;
    int row = p.row + mine / P::across * P::warp_rows + lane / 4, col = p.col + mine % P::across * P::warp_cols;
    size_t plane = size_t(blockIdx.y) * work.rows; // of a split reduction
#pragma unroll
    for (int i = 0; i < P::high * 2; i++)
#pragma unroll
        for (int j = 0; j < P::wide; j++) {
            const float* pair = sum[i / 2][j] + i % 2 * 2;
            if (row + i * 8 < work.rows)
                finish2(out, plane + row + i * 8, col + j * 8 + lane % 4 * 2, pair[0], pair[1]);
        }
}

// The planes of a split reduction, one after another.
struct Planes {
    Output out;
    const float* sums;
    size_t n;
    int planes;
    __device__ void operator()(size_t i, int left) const {
        for (int j = 0; j < left; j++) {
            float sum = 0;
            for (int p = 0; p < planes; p++) sum += sums[p * n + i + j];
            finish(out, i + j, sum);
        }
    }
};

template <class P> void start(const Work& w, size_t planes = 1) {
    unsigned row_tiles = groups_of(size_t(w.rows), P::rows), col_tiles = 0;
    for (int i = 0; i < w.n; i++) col_tiles += groups_of(size_t(w.outputs[i].cols), P::cols);
    launch<tile_kernel<P>>(dim3(row_tiles * col_tiles, unsigned(planes)), P::threads, sizeof(typename P::Shared), w,
                           int(row_tiles), int(col_tiles));
}

} // namespace

void tile_products(const Work& w) {
    if (w.rows <= 32) start<Plan<32, 64, 2, 2, false>>(w);
    else if (w.rows <= 256) start<Plan<64, 64, 2, 2, false>>(w);
    else start<Plan<128, 128, 2, 4, false>>(w);
}

// Few tiles and a long reduction (an adapter's gradient): split into planes, by the shape alone.
void turned_product(const Work& work) {
    using P = Plan<64, 64, 2, 2, true>;
    Work w = work;
    Output out = w.outputs[0];
    size_t tiles = size_t(groups_of(size_t(w.rows), P::rows)) * groups_of(size_t(out.cols), P::cols);
    size_t k = size_t(w.segments[0].k), n = size_t(w.rows) * size_t(out.cols);
    size_t planes = std::min(256 / tiles + 1, (k + 511) / 512);
    if (planes <= 1) return start<P>(w);
    w.split = int((k + planes - 1) / planes + tile_cols - 1) / tile_cols * tile_cols;
    planes = (k + size_t(w.split) - 1) / size_t(w.split);
    float* sums = static_cast<float*>(workspace(planes * n * 4));
    w.outputs[0].y = {sums, out.cols, false, true, true}, w.outputs[0].how = Output::write;
    start<P>(w, planes);
    each(n, Planes{out, sums, n, int(planes)});
}

} // namespace DD_CUDA
