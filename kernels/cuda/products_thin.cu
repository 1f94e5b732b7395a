// products_thin.cu - x w^T for up to eight rows of x: decoding. What counts is to read w once, in whole sectors, with
// enough loads in flight.
//
// mma.sync with w as its A: sixteen outputs of a matrix by the eight rows of x. A block's eight warps take groups of 32
// numbers of the reduction by turns; their shares are added in order. Within a group the order of the numbers is free
// as long as w and x agree, so a lane takes neighbours: eight of floats and bytes, two fours of nibbles.
#include "products.h"

namespace DD_CUDA {
namespace {

constexpr int thin_warps = 8, thin_outputs = 16, thin_rows = 8;

struct ThinShared {
    float part[thin_warps][thin_outputs * thin_rows];
};

struct ThinProduct {
    Stored w;
    Output out;
    Source u, b;
    int rank, tiles;
};
struct ThinWork {
    ThinProduct products[4];
    const bf16* x;
    int rows, in;
};

// Two bytes of a word, from byte j on, less `zero`, as two bf16: exact, by way of 2^23 + byte.
__device__ __forceinline__ uint32_t two_bytes(uint32_t word, int j, float zero) {
    float u = from_bits(__byte_perm(word, 0x4b000000u, 0x7440u | uint32_t(j))) - (0x1p23f + zero);
    float v = from_bits(__byte_perm(word, 0x4b000000u, 0x7440u | uint32_t(j + 1))) - (0x1p23f + zero);
    return __byte_perm(bits(u), bits(v), 0x7632u);
}

// A lane's eight codes of a group of 32 (at number `at` of the matrix), as bf16. Registers 0 and 1 are for the first
// product, 2 and 3 for the second.
template <Type type> __device__ __forceinline__ void lane_codes(const Stored& w, size_t at, int t, uint32_t (&r)[4]) {
    auto word = [](const uint8_t* p) { return *reinterpret_cast<const uint32_t*>(p); };
    if constexpr (type == Type::bf16) {
        move<uint4>(r, w.codes + (at + size_t(t) * 8) * 2);
    } else if constexpr (type == Type::q8_0) {
        alignas(8) uint32_t c[2];
        move<uint2>(c, w.codes + at + size_t(t) * 8);
        for (int i = 0; i < 4; i++) r[i] = two_bytes(c[i / 2] ^ 0x80808080u, i % 2 * 2, 128);
    } else {
        size_t block = at / block_of(type);
        int g = int(at % block_of(type)) / 32;
        uint32_t low[2]; // codes 4 t .. +3 and 16 + 4 t .. +3, a byte each
        float zero = type == Type::q4_0 ? 8 : type == Type::q5_0 ? 16 : type == Type::q6_k ? 32 : 0;
        if constexpr (block_of(type) == 32) {
            uint32_t c = word(w.codes + block * 16 + t * 4);
            low[0] = c & 0x0f0f0f0fu, low[1] = c >> 4 & 0x0f0f0f0fu;
            if (parts(type).high) {
                uint32_t h = word(w.high + block * 4) >> (t * 4);
                for (int i = 0; i < 2; i++, h >>= 16) // bit j of h to bit 4 of byte j
                    low[i] |= (h & 1) << 4 | (h & 2) << 11 | (h & 4) << 18 | (h & 8) << 25;
            }
        } else if constexpr (type == Type::q6_k) {
            const uint8_t* c = w.codes + block * 128 + g / 4 * 64 + g % 2 * 32 + t * 4;
            const uint8_t* h = w.high + block * 64 + g / 4 * 32 + t * 4;
            for (int i = 0; i < 2; i++)
                low[i] = (word(c + i * 16) >> (g % 4 / 2 * 4) & 0x0f0f0f0fu) |
                         (word(h + i * 16) >> (g % 4 * 2) & 0x03030303u) << 4;
        } else {
            const uint8_t* c = w.codes + block * 128 + g / 2 * 32 + t * 4;
            const uint8_t* h = w.high + block * 32 + t * 4;
            for (int i = 0; i < 2; i++) {
                low[i] = word(c + i * 16) >> (g % 2 * 4) & 0x0f0f0f0fu;
                if (type == Type::q5_k) low[i] |= (word(h + i * 16) >> g & 0x01010101u) << 4;
            }
        }
        for (int i = 0; i < 4; i++) r[i] = two_bytes(low[i / 2], i % 2 * 2, zero);
    }
}

// The same numbers of x, as the B of both products. The lane's row of x is lane / 4.
template <Type type> __device__ __forceinline__ void lane_x(const bf16* x, bool there, int t, uint32_t (&r)[4]) {
    if (!there) {
        for (uint32_t& v : r) v = 0;
    } else if constexpr (type == Type::bf16 || type == Type::q8_0) {
        move<uint4>(r, x + t * 8);
    } else {
        move<uint2>(&r[0], x + t * 4);
        move<uint2>(&r[2], x + 16 + t * 4);
    }
}

// One group: sum += (codes of 16 outputs) (x of 8 rows), scaled.
template <Type type>
__device__ __forceinline__ void add_group(float (&sum)[4], const Stored& w, size_t at_g, size_t at_g8, const bf16* x,
                                          bool there, int t) {
    uint32_t low[4], high[4], fx[4];
    lane_codes<type>(w, at_g, t, low);
    lane_codes<type>(w, at_g8, t, high);
    lane_x<type>(x, there, t, fx);
    uint32_t a[2][4] = {{low[0], high[0], low[1], high[1]}, {low[2], high[2], low[3], high[3]}};
    uint32_t b[2][2] = {{fx[0], fx[1]}, {fx[2], fx[3]}};
    if constexpr (type == Type::bf16) {
        mma_bf16(sum, a[0], b[0]);
        mma_bf16(sum, a[1], b[1]);
    } else {
        float part[2][4] = {}, ones[4] = {}, d, d8, m, m8;
        constexpr bool halves = type == Type::q6_k; // a scale for each product
        mma_bf16(part[0], a[0], b[0]);
        mma_bf16(part[halves], a[1], b[1]);
        if (has_low(type)) {
            constexpr uint32_t one = 0x3f803f80u;
            uint32_t all[4] = {one, one, one, one};
            mma_bf16(ones, all, b[0]);
            mma_bf16(ones, all, b[1]);
        }
        for (int i = 0; i <= halves; i++) {
            scale_at<type>(w, at_g + i * 16, d, m);
            scale_at<type>(w, at_g8 + i * 16, d8, m8);
            for (int n = 0; n < 4; n++) {
                sum[n] = fmaf(part[i][n], n < 2 ? d : d8, sum[n]);
                if (has_low(type)) sum[n] = fmaf(ones[n], n < 2 ? m : m8, sum[n]);
            }
        }
    }
}

template <Type type> __global__ void __launch_bounds__(thin_warps* warp, 1) thin_kernel(ThinWork work) {
    ThinShared& shared = static_shared<ThinShared>();
    int tile = int(blockIdx.x), which = 0;
    while (tile >= work.products[which].tiles) tile -= work.products[which++].tiles;
    const ThinProduct& p = work.products[which];
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, g = lane / 4, t = lane % 4;
    int first = tile * thin_outputs, last = p.out.cols - 1, in = work.in;
    size_t row_g = size_t(min(first + g, last)), row_g8 = size_t(min(first + g + 8, last));
    bool there = g < work.rows;

    float sum[4] = {};
#pragma unroll 4
    for (int k = mine * 32; k < in; k += thin_warps * 32) {
        if (type == Type::bf16 && k + t * 8 >= in) { // the last group may be short of eights
            uint32_t none[4] = {}, zero[2] = {};
            mma_bf16(sum, none, zero), mma_bf16(sum, none, zero);
            continue;
        }
        add_group<type>(sum, p.w, row_g * in + k, row_g8 * in + k, work.x + size_t(g) * in + k, there, t);
    }
    for (int k = mine * 32; k < p.rank; k += thin_warps * 32) { // the adapter's share
        bool inside = k + t * 8 < p.rank;
        uint32_t low[4] = {}, high[4] = {}, fx[4] = {};
        if (inside) {
            move<uint4>(low, p.b.data + row_g * p.rank + k + t * 8);
            move<uint4>(high, p.b.data + row_g8 * p.rank + k + t * 8);
            if (there) move<uint4>(fx, p.u.data + size_t(g) * p.rank + k + t * 8);
        }
        uint32_t a[2][4] = {{low[0], high[0], low[1], high[1]}, {low[2], high[2], low[3], high[3]}};
        uint32_t b[2][2] = {{fx[0], fx[1]}, {fx[2], fx[3]}};
        mma_bf16(sum, a[0], b[0]);
        mma_bf16(sum, a[1], b[1]);
    }

    for (int n = 0; n < 4; n++) shared.part[mine][(g + n / 2 * 8) * thin_rows + t * 2 + n % 2] = sum[n];
    __syncthreads(); // every warp's share is there
    int i = int(threadIdx.x), output = first + i % thin_outputs, row = i / thin_outputs;
    if (row >= work.rows || output > last) return;
    float total = 0;
    for (int v = 0; v < thin_warps; v++) total += shared.part[v][i % thin_outputs * thin_rows + row];
    finish(p.out, size_t(row) * p.out.cols + output, total);
}

bool fits(const Product& p, const Tensor& x) {
    Type type = blocks_of(*p.w) ? p.w->w.type : Type::bf16;
    auto aligned = [](const void* at, int cols) { return size_t(at) % 16 == 0 && cols % 8 == 0; };
    bool good = aligned(x.data, x.cols) && (in_blocks(type) || aligned(panel_data(*p.w), p.w->in));
    return good && (!p.u || (aligned(p.u.data, p.u.cols) && aligned(panel_data(*p.b), p.b->in)));
}

} // namespace

// One launch for all products whose weights have the same type.
bool thin_products(const Product* ps, int n, const Tensor& x) {
    if (x.rows > thin_rows) return false;
    for (int i = 0; i < n; i++)
        if (!fits(ps[i], x)) return false;
    bool done[4] = {};
    for (int i = 0; i < n; i++) {
        if (done[i]) continue;
        Type type = blocks_of(*ps[i].w) ? ps[i].w->w.type : Type::bf16;
        ThinWork w{};
        w.x = static_cast<const bf16*>(x.data), w.rows = x.rows, w.in = x.cols;
        int count = 0, tiles = 0;
        for (int j = i; j < n; j++) {
            const Product& p = ps[j];
            if (done[j] || (blocks_of(*p.w) ? p.w->w.type : Type::bf16) != type) continue;
            done[j] = true;
            ThinProduct& t = w.products[count++];
            t.w = blocks_of(*p.w) ? stored(p.w->w) : Stored{static_cast<const uint8_t*>(panel_data(*p.w))};
            t.out = {numbers(p.y), Output::write, 1, p.w->out, 0, 0};
            t.tiles = int(groups_of(size_t(p.w->out), thin_outputs)), tiles += t.tiles;
            if (p.u) t.u = source(p.u.data, p.u.cols), t.b = source(panel_data(*p.b), p.b->in), t.rank = p.u.cols;
        }
        for_type(type, [&]<Type type>() {
            if constexpr (in_blocks(type) || type == Type::bf16)
                launch<thin_kernel<type>>(unsigned(tiles), thin_warps * warp, 0, w);
        });
    }
    return true;
}

} // namespace DD_CUDA
