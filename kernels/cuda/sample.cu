// sample.cu - a token drawn for each row of logits, where the logits are: what ref_sample.cpp says, to the bit.
//
// All sums are of whole numbers, so a row may be cut anywhere: many blocks a row go through it, a stretch of ids each,
// and leave their sums; between two such passes one block a row judges them. A cut (top_k, top_p) is found by the
// digits of its logit, four bits at a time, as a radix sort would; the draw by going down to where the sum crosses.
// What is drawn from may have been penalised here before: tokens so far stay on the device too.
#include <climits>
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

constexpr int threads = 256, span = threads * 4;        // ids a block goes through
constexpr int open_threads = 1024;
constexpr int digits = 16;
constexpr uint64_t one = uint64_t(1) << 42;

// One row, between the passes.
struct Row {
    float top;
    uint32_t key;               // may be drawn: what has a greater key, and of those that have this one
    int last;                   // the ids up to this
    uint32_t found;             // the digits found so far of the next cut's key
    uint64_t rest;              // what is still to be crossed: of the count, or of the sum
    bool tied;                  // not all that have the found key may be drawn
};

// As whole numbers, in the order of the numbers. -0 is 0.
__device__ __forceinline__ uint32_t key_of(float z) {
    uint32_t b = bits(z + 0.0f);
    return b >> 31 ? ~b : b | 0x80000000u;
}
__device__ __forceinline__ float of_key(uint32_t key) { return from_bits(key >> 31 ? key ^ 0x80000000u : ~key); }

__device__ __forceinline__ uint64_t weight(float z, float top, float scale) {
    if (z == top) return one;
    float x = (z - top) * scale;
    return x == x ? uint64_t(exact_exp2(x) * float(one)) : 0;
}
__device__ __forceinline__ bool within(const Row& r, uint32_t key, int id) {
    return key > r.key || (key == r.key && id <= r.last);
}

__device__ __forceinline__ uint64_t warp_sum_whole(uint64_t x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(all_lanes, x, step);
    return x;
}

// The first block to see a row. One block a row.
__global__ void __launch_bounds__(open_threads) open_kernel(Row* rows, Numbers z) {
    size_t row = size_t(blockIdx.x) * z.cols;
    float top = -INFINITY;
    for (int j = int(threadIdx.x) * 4; j < z.cols; j += open_threads * 4) {
        Four f = read4(z, row + j, z.cols - j);
        for (int n = 0; n < 4; n++)
            if (j + n < z.cols) top = fmaxf(top, f.v[n]);       // which passes over NaN
    }
    top = block_max<open_threads, 0>(top);
    if (threadIdx.x == 0) rows[blockIdx.x] = {top, 0, INT_MAX, 0, 0, false};
}

// Of a stretch, how much each value of a digit brings, among those whose digits above are the ones found. Block
// (part, row).
struct DigitShared {
    uint64_t part[digits][threads / warp];
};
template <bool counted>
__global__ void __launch_bounds__(threads)
    digits_kernel(uint64_t* sums, const Row* rows, Numbers z, float scale, int shift) {
    auto& part = static_shared<DigitShared>().part;
    const Row r = rows[blockIdx.y];
    size_t row = size_t(blockIdx.y) * z.cols;
    int first = int(blockIdx.x) * span + int(threadIdx.x) * 4;
    uint64_t mine[digits] = {};
    if (first < z.cols) {
        Four f = read4(z, row + first, z.cols - first);
        for (int n = 0; n < 4; n++) {
            uint32_t key = key_of(f.v[n]);
            uint64_t w = first + n < z.cols && within(r, key, first + n) ? weight(f.v[n], r.top, scale) : 0;
            if (shift < 28 && (key ^ r.found) >> (shift + 4)) w = 0;
            if (counted) w = w > 0;
#pragma unroll
            for (uint32_t d = 0; d < digits; d++)
                if ((key >> shift) % digits == d) mine[d] += w;
        }
    }
#pragma unroll
    for (int d = 0; d < digits; d++) {
        uint64_t sum = warp_sum_whole(mine[d]);
        if (threadIdx.x % warp == 0) part[d][threadIdx.x / warp] = sum;
    }
    __syncthreads(); // every warp's sums are there
    if (threadIdx.x >= digits) return;
    uint64_t sum = 0;
    for (uint64_t of_warp : part[threadIdx.x]) sum += of_warp;
    sums[(size_t(blockIdx.y) * gridDim.x + blockIdx.x) * digits + threadIdx.x] = sum;
}

// The digit in which the sum, from the largest on, reaches what is wanted. One warp a row.
struct JudgeShared {
    uint64_t of[digits];
};
template <bool counted>
__global__ void __launch_bounds__(warp)
    judge_kernel(Row* rows, const uint64_t* sums, int parts, float scale, int shift, double wanted) {
    auto& of = static_shared<JudgeShared>().of;
    int half = int(threadIdx.x) / digits, digit = int(threadIdx.x) % digits;
    uint64_t sum = 0;
    for (int p = half; p < parts; p += 2) sum += sums[(size_t(blockIdx.x) * parts + p) * digits + digit];
    sum += __shfl_xor_sync(all_lanes, sum, digits);
    if (half == 0) of[digit] = sum;
    __syncwarp(); // every digit's sum is there
    if (threadIdx.x) return;
    Row r = rows[blockIdx.x];
    if (shift == 28) {
        uint64_t all = 0;
        for (int d = 0; d < digits; d++) all += of[d];
        r.found = 0;
        r.rest = max(uint64_t(1), min(all, uint64_t(counted ? wanted : wanted * double(all))));
    }
    int d = digits - 1;
    while (d > 0 && of[d] < r.rest) r.rest -= of[d--];
    r.found |= uint32_t(d) << shift;
    if (shift == 0) {
        uint64_t each = counted ? 1 : max(uint64_t(1), weight(of_key(r.found), r.top, scale));
        uint64_t kept = (r.rest + each - 1) / each;
        r.tied = kept < of[d] / each;
        r.rest = kept - 1;
        if (r.found != r.key) r.key = r.found, r.last = INT_MAX;
    }
    rows[blockIdx.x] = r;
}

// What an id adds to the sum whose crossing is sought: of those with the key of the cut 1; or its weight.
struct Tied {
    __device__ uint64_t operator()(const Row& r, float z, int id) const { return key_of(z) == r.key && id <= r.last; }
};
struct Drawn {
    float scale;
    uint64_t least;
    __device__ uint64_t operator()(const Row& r, float z, int id) const {
        uint64_t w = within(r, key_of(z), id) ? weight(z, r.top, scale) : 0;
        return w >= least ? w : 0;
    }
};

// Four ids' share of a sum, and each one's.
template <class F>
__device__ uint64_t four_of(uint64_t (&own)[4], F f, const Row& r, const Numbers& z, int row, int first) {
    uint64_t sum = 0;
    if (first >= z.cols) return 0;
    Four v = read4(z, size_t(row) * z.cols + first, z.cols - first);
    for (int n = 0; n < 4; n++) sum += own[n] = first + n < z.cols ? f(r, v.v[n], first + n) : 0;
    return sum;
}

// Block (part, row).
struct WarpSums {
    uint64_t part[threads / warp];
};
template <class F>
__global__ void __launch_bounds__(threads) sum_kernel(uint64_t* sums, const Row* rows, Numbers z, F f) {
    auto& part = static_shared<WarpSums>().part;
    int first = int(blockIdx.x) * span + int(threadIdx.x) * 4;
    uint64_t own[4], sum = warp_sum_whole(four_of(own, f, rows[blockIdx.y], z, int(blockIdx.y), first));
    if (threadIdx.x % warp == 0) part[threadIdx.x / warp] = sum;
    __syncthreads(); // every warp's sum is there
    if (threadIdx.x) return;
    sum = 0;
    for (uint64_t of_warp : part) sum += of_warp;
    sums[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

// The first of n in which the running sum exceeds `left`, which becomes what of it is left there.
__device__ __forceinline__ int crossed(const uint64_t* sums, int n, uint64_t& left) {
    int i = 0;
    while (i < n - 1 && left >= sums[i]) left -= sums[i++];
    return i;
}

// The id at which the running sum exceeds `left`; returned by one thread of the block, -1 by the others.
template <class F>
__device__ int crossing(const uint64_t* sums, int parts, F f, const Row& r, const Numbers& z, int row, uint64_t left) {
    auto& part = static_shared<WarpSums>().part;
    int first = crossed(sums, parts, left) * span + int(threadIdx.x) * 4;
    uint64_t own[4] = {}, mine = four_of(own, f, r, z, row, first), sum = warp_sum_whole(mine);
    if (threadIdx.x % warp == 0) part[threadIdx.x / warp] = sum;
    __syncthreads(); // every warp's sum is there
    if (crossed(part, threads / warp, left) != int(threadIdx.x) / warp) return -1;
    uint64_t until = mine;
#pragma unroll
    for (int step = 1; step < warp; step *= 2) {
        uint64_t before = __shfl_up_sync(all_lanes, until, unsigned(step));
        if (int(threadIdx.x) % warp >= step) until += before;
    }
    if (left >= until || left < until - mine) return -1;
    left -= until - mine;
    return first + crossed(own, 4, left);
}

// The last of the ids with the key of the cut that may be drawn, where not all may. One block a row.
__global__ void __launch_bounds__(threads) tied_kernel(Row* rows, const uint64_t* sums, int parts, Numbers z) {
    const Row r = rows[blockIdx.x];
    if (!r.tied) return;
    int id = crossing(sums + size_t(blockIdx.x) * parts, parts, Tied{}, r, z, int(blockIdx.x), r.rest);
    if (id >= 0) rows[blockIdx.x].last = id;
}

// The draw. One block a row.
__global__ void __launch_bounds__(threads)
    draw_kernel(int* next, const Row* rows, const uint64_t* sums, int parts, Numbers z, Drawn f, uint64_t seed,
                const uint64_t* stream, const int* pos, const int* row) {
    const Row r = rows[blockIdx.x];
    sums += size_t(blockIdx.x) * parts;
    uint64_t all = 0, s = stream[blockIdx.x];
    for (int p = 0; p < parts; p++) all += sums[p];
    if (r.top == -INFINITY) all = 0;
    if (!all) {
        if (threadIdx.x == 0) next[blockIdx.x] = 0;
        return;
    }
    uint32_t c[4] = {0, uint32_t(pos[row[blockIdx.x]] + 1), uint32_t(s), uint32_t(s >> 32)};
    philox4(c, uint32_t(seed), uint32_t(seed >> 32));
    int id = crossing(sums, parts, f, r, z, int(blockIdx.x), __umul64hi(uint64_t(c[0]) << 32 | c[1], all));
    if (id >= 0) next[blockIdx.x] = id;
}

template <bool counted>
void cut(Row* rows, uint64_t* sums, const Numbers& z, dim3 grid, float scale, double wanted) {
    for (int shift = 28; shift >= 0; shift -= 4) {
        launch<digits_kernel<counted>>(grid, threads, 0, sums, rows, z, scale, shift);
        launch<judge_kernel<counted>>(grid.y, warp, 0, rows, sums, int(grid.x), scale, shift, wanted);
    }
    launch<sum_kernel<Tied>>(grid, threads, 0, sums, rows, z, Tied{});
    launch<tied_kernel>(grid.y, threads, 0, rows, sums, int(grid.x), z);
}

void sample(int* next, Tensor logits, const Draw& d) {
    if (!logits.rows) return;
    require(logits.cols <= 1 << 21, "cuda: sample from %d tokens", logits.cols);
    Numbers z = numbers(logits, true);
    dim3 grid(groups_of(size_t(z.cols), span), unsigned(logits.rows));
    Row* rows = (Row*)workspace(size_t(grid.y) * (sizeof(Row) + size_t(grid.x) * digits * 8));
    uint64_t* sums = (uint64_t*)(rows + grid.y);
    launch<open_kernel>(grid.y, open_threads, 0, rows, z);
    if (d.top_k > 0 && d.top_k < z.cols) cut<true>(rows, sums, z, grid, d.scale, double(d.top_k));
    if (d.top_p < 1) cut<false>(rows, sums, z, grid, d.scale, d.top_p);
    Drawn drawn{d.scale, uint64_t(d.min_p * double(one))};
    launch<sum_kernel<Drawn>>(grid, threads, 0, sums, rows, z, drawn);
    launch<draw_kernel>(grid.y, threads, 0, next, rows, sums, int(grid.x), z, drawn, d.seed, d.stream, d.pos, d.row);
}

// ---- a repeat penalty

// A row's token, to those of its sequence so far: which are in `seen`, and of this pass in b. One block a row.
__global__ void __launch_bounds__(threads) remember_kernel(int* seen, int room, Rows b) {
    int i = int(blockIdx.x), s = sequence_of(b, i), place = b.pos[i], begun = b.pos[b.first[s]], id = b.ids[i];
    int* tokens = seen + size_t(b.slot[s]) * room;
    bool before = false;
    for (int p = int(threadIdx.x); p < place; p += threads)
        before |= (p < begun ? tokens[p] : b.ids[b.first[s] + p - begun]) == id;
    before = __syncthreads_or(before);
    if (threadIdx.x == 0) tokens[place] = before ? -1 : id;
}

// One block a row of logits.
__global__ void __launch_bounds__(threads)
    penalise_kernel(float* y, const float* z, int cols, const int* seen, int room, Rows b, const int* row,
                    float penalty) {
    size_t logits = size_t(blockIdx.x) * cols;
    int i = row[blockIdx.x];
    const int* tokens = seen + size_t(b.slot[sequence_of(b, i)]) * room;
    for (int p = int(threadIdx.x); p <= b.pos[i]; p += threads) {
        int t = tokens[p];
        if (t < 0) continue;
        float v = z[logits + t];
        y[logits + t] = v > 0 ? v / penalty : v * penalty;
    }
}

void penalise(Tensor y, Tensor z, Tensor seen, const Rows& b, const int* row, float penalty) {
    int* tokens = (int*)seen.data;
    if (b.n) launch<remember_kernel>(unsigned(b.n), threads, 0, tokens, seen.cols, b);
    if (z.rows)
        launch<penalise_kernel>(unsigned(z.rows), threads, 0, y.f(), z.f(), z.cols, tokens, seen.cols, b, row, penalty);
}

} // namespace

void sampling(Kernels& k) { k.sample = sample, k.penalise = penalise; }

} // namespace DD_CUDA
