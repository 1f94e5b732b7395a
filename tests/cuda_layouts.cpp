// cuda_layouts.cpp - the instructions themselves, against formulations of their own. on_cpu/instructions.h computes
// fragment positions with the row and column formulas of the PTX ISA; here they come from a second published source,
// the (thread, value) strides that CuTe gives for the same instructions (MMA_Traits<SM80_16x8x16_F32BF16BF16F32_TN>
// and <SM80_16x8x8_F32TF32TF32F32_TN>, Copy_Traits<SM75_U32x4_LDSM_N> and <SM75_U16x8_LDSM_T>). scripts/layouts.py asks
// ptxas as a third.
#include <gtest/gtest.h>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>
#include "../kernels/cuda/ptx.h"

namespace {

using std::vector;

// ---- mma.sync

__global__ void mma_kernel(float* d, const uint32_t* a, const uint32_t* b) {
    int lane = int(threadIdx.x);
    float fd[4];
    uint32_t fa[4], fb[2];
    for (int i = 0; i < 4; i++) fa[i] = a[lane * 4 + i], fd[i] = d[lane * 4 + i];
    for (int i = 0; i < 2; i++) fb[i] = b[lane * 2 + i];
    mma_bf16(fd, fa, fb);
    for (int i = 0; i < 4; i++) d[lane * 4 + i] = fd[i];
}

void set_element(uint32_t* registers, int i, float x) {
    bf16 value = to_bf16(x);
    memcpy((char*)registers + 2 * i, &value, 2);
}

TEST(CudaLayouts, MmaHasTheFragmentsOfCute) {
    // Column-major positions, as CuTe counts: A and D are 16 rows high, B^T is 8 rows (n) high.
    auto a_at = [](int t, int v) { return t % 4 * 32 + t / 4 + v % 2 * 16 + v / 2 % 2 * 8 + v / 4 * 128; };
    auto b_at = [](int t, int v) { return t % 4 * 16 + t / 4 + v % 2 * 8 + v / 2 * 64; };
    auto d_at = [](int t, int v) { return t % 4 * 32 + t / 4 + v % 2 * 16 + v / 2 * 8; };
    std::mt19937 random(3);
    auto whole = [&] { return float(int(random() % 255) - 127); }; // every sum is exact
    for (int round = 0; round < 8; round++) {
        vector<uint32_t> a(128), b(64);
        vector<float> d(128), ma(16 * 16), mb(8 * 16), md(16 * 8);
        for (vector<float>* m : {&ma, &mb, &md})
            for (float& x : *m) x = whole();
        for (int t = 0; t < 32; t++) {
            for (int v = 0; v < 8; v++) set_element(&a[t * 4], v, ma[a_at(t, v)]);
            for (int v = 0; v < 4; v++) set_element(&b[t * 2], v, mb[b_at(t, v)]);
            for (int v = 0; v < 4; v++) d[t * 4 + v] = md[d_at(t, v)];
        }
        launch<mma_kernel>(1, 32, 0, d.data(), a.data(), b.data());
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++)
                for (int k = 0; k < 16; k++) md[m + 16 * n] += ma[m + 16 * k] * mb[n + 8 * k];
        for (int t = 0; t < 32; t++)
            for (int v = 0; v < 4; v++) ASSERT_EQ(d[t * 4 + v], md[d_at(t, v)]) << "lane " << t << ", value " << v;
    }
}

__global__ void mma_tf32_kernel(float* d, const float* a, const float* b) {
    int lane = int(threadIdx.x);
    float fd[4];
    uint32_t fa[4], fb[2];
    for (int i = 0; i < 4; i++) fa[i] = bits(a[lane * 4 + i]), fd[i] = d[lane * 4 + i];
    for (int i = 0; i < 2; i++) fb[i] = bits(b[lane * 2 + i]);
    mma_tf32(fd, fa, fb);
    for (int i = 0; i < 4; i++) d[lane * 4 + i] = fd[i];
}

TEST(CudaLayouts, MmaOfTf32HasTheFragmentsOfCute) {
    auto a_at = [](int t, int v) { return t % 4 * 16 + t / 4 + v % 2 * 8 + v / 2 * 64; };
    auto b_at = [](int t, int v) { return t % 4 * 8 + t / 4 + v * 32; };
    auto d_at = [](int t, int v) { return t % 4 * 32 + t / 4 + v % 2 * 16 + v / 2 * 8; };
    std::mt19937 random(3);
    auto whole = [&] { return float(int(random() % 2047) - 1023); }; // eleven bits, and every sum is exact
    for (int round = 0; round < 8; round++) {
        vector<float> a(128), b(64), d(128), ma(16 * 8), mb(8 * 8), md(16 * 8);
        for (vector<float>* m : {&ma, &mb, &md})
            for (float& x : *m) x = whole();
        for (int t = 0; t < 32; t++) {
            for (int v = 0; v < 4; v++) a[t * 4 + v] = ma[a_at(t, v)], d[t * 4 + v] = md[d_at(t, v)];
            for (int v = 0; v < 2; v++) b[t * 2 + v] = mb[b_at(t, v)];
        }
        launch<mma_tf32_kernel>(1, 32, 0, d.data(), a.data(), b.data());
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++)
                for (int k = 0; k < 8; k++) md[m + 16 * n] += ma[m + 16 * k] * mb[n + 8 * k];
        for (int t = 0; t < 32; t++)
            for (int v = 0; v < 4; v++) ASSERT_EQ(d[t * 4 + v], md[d_at(t, v)]) << "lane " << t << ", value " << v;
    }
}

// A tensor core cuts its sums off: towards zero, and products that lie under the largest one's last bit are not seen.
TEST(CudaMachine, SumsOfTf32AreCutOff) {
    vector<float> a(128), b(64), d(128);
    auto sum = [&](float start, float first, float second) {
        for (float& x : a) x = 0;
        for (int t = 0; t < 32; t++) b[t * 2] = b[t * 2 + 1] = 1, d[t * 4] = start;
        for (int g = 0; g < 8; g++) a[g * 16] = first, a[g * 16 + 4] = second; // of every row, numbers 0 and 1
        launch<mma_tf32_kernel>(1, 32, 0, d.data(), a.data(), b.data());
        return d[0];
    };
    EXPECT_EQ(sum(0, 1, 0x1p-23f), 1 + 0x1p-23f);
    EXPECT_EQ(sum(1, 0x1.8p-24f, 0), 1);                       // the nearest is 1 + 2^-23
    EXPECT_EQ(sum(-1, -0x1.8p-24f, 0), -1);
    EXPECT_EQ(sum(1, 0x1p-24f, 0x1p-24f), 1 + 0x1p-23f);       // one bit under the last is kept
    EXPECT_EQ(sum(1, 0x1p-25f, 0x1.8p-24f), 1);                // two are not
    EXPECT_TRUE(std::isnan(sum(1, NAN, 0)));
    EXPECT_EQ(sum(0, INFINITY, 1), INFINITY);
}

// ---- ldmatrix

struct Rows64 {
    uint16_t element[64][8];
};

// Kind 1, 2, 4: x1, x2, x4. Kind 5: x4.trans. rows[lane] is the row (of 8 elements) whose address the lane gives.
__global__ void ldmatrix_kernel(uint32_t* result, const int* rows, int kind) {
    Rows64& shared = dynamic_shared<Rows64>();
    int lane = int(threadIdx.x);
    for (int i = lane; i < 512; i += 32) shared.element[i / 8][i % 8] = uint16_t(i);
    __syncwarp();
    const void* row = shared.element[rows[lane]];
    uint32_t r[4] = {}, two[2], one[1];
    if (kind == 1) ldmatrix_x1(one, row), r[0] = one[0];
    if (kind == 2) ldmatrix_x2(two, row), r[0] = two[0], r[1] = two[1];
    if (kind == 4) ldmatrix_x4(r, row);
    if (kind == 5) ldmatrix_x4_trans(r, row);
    for (int i = 0; i < 4; i++) result[lane * 4 + i] = r[i];
}

TEST(CudaLayouts, LdmatrixHasTheFragmentsOfCute) {
    std::mt19937 random(5);
    vector<uint32_t> result(128);
    vector<int> rows(32);
    for (int round = 0; round < 8; round++)
        for (int kind : {1, 2, 4, 5}) {
            for (int& r : rows) r = int(random() % 64);
            launch<ldmatrix_kernel>(1, 32, sizeof(Rows64), result.data(), rows.data(), kind);
            // The lanes' rows end to end are one string of 16-bit elements, 8 a row.
            auto string = [&](int i) { return uint32_t(rows[i / 8] * 8 + i % 8); };
            for (int t = 0; t < 32; t++)
                for (int j = 0; j < (kind == 5 ? 4 : kind); j++) {
                    int first = kind == 5 ? t % 4 * 16 + t / 4 + j * 64 : t * 2 + j * 64;
                    int second = first + (kind == 5 ? 8 : 1);
                    ASSERT_EQ(result[t * 4 + j], string(first) | string(second) << 16)
                        << "kind " << kind << ", lane " << t;
                }
        }
}

// A 16 x 16 by 16 x 8 product from row-major shared memory: the two instructions together, with B both ways.
struct ProductTiles {
    bf16 a[16][16], b[16][8], bt[8][16];
};
__global__ void product_kernel(float* d, const bf16* a, const bf16* b, const bf16* b_turned) {
    ProductTiles& shared = dynamic_shared<ProductTiles>();
    int lane = int(threadIdx.x);
    for (int i = lane; i < 256; i += 32) shared.a[i / 16][i % 16] = a[i];
    for (int i = lane; i < 128; i += 32) shared.b[i / 8][i % 8] = b[i], shared.bt[i / 16][i % 16] = b_turned[i];
    __syncwarp();
    uint32_t fa[4], fb[2], four[4];
    float plain[4] = {}, turned[4] = {};
    ldmatrix_x4(fa, &shared.a[lane % 16][lane / 16 * 8]);
    ldmatrix_x2(fb, &shared.bt[lane % 8][lane / 8 % 2 * 8]);
    mma_bf16(plain, fa, fb);
    ldmatrix_x4_trans(four, &shared.b[lane % 16][0]);
    fb[0] = four[0], fb[1] = four[1];
    mma_bf16(turned, fa, fb);
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
        d[row * 8 + col] = plain[i] == turned[i] ? plain[i] : NAN;
    }
}

TEST(CudaLayouts, LdmatrixFeedsMma) {
    std::mt19937 random(11);
    auto whole = [&] { return to_bf16(float(int(random() % 255) - 127)); };
    vector<bf16> a(256), b(128), bt(128);
    vector<float> d(128);
    for (bf16& x : a) x = whole();
    for (size_t i = 0; i < 128; i++) b[i] = bt[i % 8 * 16 + i / 8] = whole();
    launch<product_kernel>(1, 32, sizeof(ProductTiles), d.data(), a.data(), b.data(), bt.data());
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += to_float(a[m * 16 + k]) * to_float(b[k * 8 + n]);
            ASSERT_EQ(d[m * 8 + n], sum) << m << ", " << n;
        }
}

// ---- warps, votes, bytes and atomics

__global__ void warp_kernel(int* result, float* float_total, int* int_total) {
    __shared__ int last[2]; // CUDA's own spelling works as well
    int lane = int(threadIdx.x) % 32, id = int(threadIdx.y * blockDim.x + threadIdx.x);
    int* mine = result + id * 9;
    mine[0] = __shfl_sync(~0u, lane, 5, 8);
    mine[1] = __shfl_xor_sync(~0u, lane, 9);
    mine[2] = __shfl_down_sync(~0u, lane, 3, 16);
    mine[3] = __shfl_up_sync(~0u, lane, 3, 16);
    mine[4] = int(__ballot_sync(~0u, lane % 3 == 0));
    mine[5] = __any_sync(~0u, lane == 31) * 2 + __all_sync(~0u, lane >= 1);
    mine[6] = lane < 16 ? int(__ballot_sync(0xffffu, 1)) : int(__ballot_sync(0xffff0000u, lane > 20));
    if (lane == 31) last[threadIdx.y] = id;
    __syncthreads();
    mine[7] = last[1 - threadIdx.y];
    mine[8] = (__syncthreads_or(id == 40) != 0) * 2 + (__syncthreads_or(id == 99) != 0);
    atomicAdd(float_total, 0.5f);
    atomicAdd(int_total, id);
}

TEST(CudaLayouts, WarpsVotesAndAtomics) {
    vector<int> result(64 * 9);
    int int_total = 0;
    float float_total = 0;
    launch<warp_kernel>(3, dim3(32, 2), 0, result.data(), &float_total, &int_total);
    for (int id = 0; id < 64; id++) {
        int lane = id % 32, *r = &result[id * 9];
        EXPECT_EQ(r[0], lane / 8 * 8 + 5) << "__shfl_sync " << id;
        EXPECT_EQ(r[1], lane ^ 9) << "__shfl_xor_sync " << id;
        EXPECT_EQ(r[2], lane % 16 < 13 ? lane + 3 : lane) << "__shfl_down_sync " << id;
        EXPECT_EQ(r[3], lane % 16 >= 3 ? lane - 3 : lane) << "__shfl_up_sync " << id;
        EXPECT_EQ(r[4], 0x49249249) << "__ballot_sync " << id;
        EXPECT_EQ(r[5], 2) << "__any_sync and __all_sync " << id;
        EXPECT_EQ(uint32_t(r[6]), lane < 16 ? 0xffffu : 0xffe00000u) << "a ballot of half a warp " << id;
        EXPECT_EQ(r[7], 63 - id / 32 * 32) << "__shared__ and __syncthreads " << id;
        EXPECT_EQ(r[8], 2) << "__syncthreads_or " << id;
    }
    EXPECT_EQ(float_total, 96);
    EXPECT_EQ(int_total, 3 * 2016);
}

TEST(CudaLayouts, BytePermAndExp2) {
    EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7610u), 0x77661100u);
    EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7632u), 0x77663322u);
    EXPECT_EQ(fast_exp2(0.0f), 1.0f);
    EXPECT_EQ(fast_exp2(-INFINITY), 0.0f);
    EXPECT_EQ(fast_exp2(-127.0f), 0.0f);
    EXPECT_EQ(fast_exp2(3.0f), 8.0f);
    EXPECT_TRUE(std::isnan(fast_exp2(NAN)));
}

// ---- what only the machine does: poison, delay, rounding, and the errors it must find

struct Sixteen {
    unsigned char bytes[4][16];
};

__global__ void copies_kernel(int* landed, int* poisoned, const unsigned char* from) {
    Sixteen& shared = dynamic_shared<Sixteen>();
    poisoned[0] = shared.bytes[0][0] == 0xff && shared.bytes[3][15] == 0xff;
    auto count = [&](int i) {
        landed[i] = 0;
        for (auto& b : shared.bytes) landed[i] += b[3] == 7;
    };
    for (int i = 0; i < 3; i++) cp_async16(shared.bytes[i], from), cp_async_commit();
    cp_async16(shared.bytes[3], from, 4);
    count(0);
    cp_async_wait<1>();
    count(1);
    cp_async_wait<0>();
    count(2);
    cp_async_commit();
    cp_async_wait<0>();
    count(3);
    poisoned[1] = shared.bytes[3][4] == 0 && shared.bytes[3][15] == 0;
}

TEST(CudaMachine, CopiesAreEarlyOrLate) {
    alignas(16) unsigned char from[16];
    memset(from, 7, 16);
    int late = 0, early = 0;
    for (cuda_cpu::seed = 1; cuda_cpu::seed <= 64; cuda_cpu::seed++) {
        int landed[4], poisoned[2];
        launch<copies_kernel>(1, 1, sizeof(Sixteen), landed, poisoned, from);
        late += landed[0]<4, early += landed[0]> 0;
        EXPECT_TRUE(poisoned[0] && poisoned[1]) << "poison before, zeros after";
        EXPECT_TRUE(landed[1] >= 2 && landed[2] >= 3 && landed[3] == 4) << "cp.async.wait_group";
    }
    EXPECT_GT(late, 48);
    EXPECT_GT(early, 16);
}

template <class Float16, class To> void check_rounding(To to, int exponent_mask) {
    auto value = [](int b) { return double(to_float(Float16{uint16_t(b)})); };
    for (int b = 0; b < 65536; b++) {
        bool special = (b & exponent_mask) == exponent_mask;
        if (!std::isnan(value(b))) {
            ASSERT_EQ(to(float(value(b))).bits, b);
        }
        if (special || ((b + 1) & exponent_mask) == exponent_mask) continue;
        // Between neighbours: the nearer one, and from the middle the even one. The middle is exact in float.
        float middle = float((value(b) + value(b + 1)) / 2);
        ASSERT_EQ(to(middle).bits, b + b % 2);
        ASSERT_EQ(to(std::nextafter(middle, float(value(b)))).bits, b);
        ASSERT_EQ(to(std::nextafter(middle, float(value(b + 1)))).bits, b + 1);
    }
    EXPECT_TRUE(std::isnan(to_float(to(NAN))));
    EXPECT_TRUE(std::isinf(to_float(to(INFINITY))) && to_float(to(-INFINITY)) < 0);
}

TEST(CudaMachine, RoundsToNearestEven) {
    check_rounding<bf16>(to_bf16, 0x7f80);
    check_rounding<half>(to_half, 0x7c00);
    EXPECT_EQ(to_half(65519.0f).bits, 0x7bff);
    EXPECT_EQ(to_half(65520.0f).bits, 0x7c00);
    EXPECT_EQ(to_bf16(3.4e38f).bits, 0x7f80);
}

struct One {
    int x[8];
};
__global__ void faulty_kernel(int kind, float* result) {
    One& shared = dynamic_shared<One>();
    int lane = int(threadIdx.x) % 32;
    if (kind == 0 && threadIdx.x < 32) __syncthreads();
    if (kind == 1 && lane < 16) *result = __shfl_sync(~0u, 1.0f, 0);
    if (kind == 2) *result = __shfl_sync(0xffffu, 1.0f, 0);
    if (kind == 3) shared.x[8 + threadIdx.x % 8] = 1;
    if (kind == 4) move<uint4>(result, reinterpret_cast<char*>(shared.x) + 4);
    if (kind == 5) ldmatrix_x1(reinterpret_cast<uint32_t(&)[1]>(*result), &shared.x[1]);
    if (kind == 6) {
        float d[4] = {};
        uint32_t a[4] = {bits(1 + 0x1p-11f)}, b[2] = {};
        mma_tf32(d, a, b);
    }
}

TEST(CudaMachine, FindsWhatCudaLeavesUndefined) {
    const char* said[] = {"divergence",    "deadlock|divergence", "not in its mask",
                          "out of bounds", "misaligned",          "not a multiple of 16", "more bits than tf32"};
    alignas(16) float result[4] = {};
    for (int kind = 0; kind < 7; kind++) {
        std::string error = "nothing";
        try {
            launch<faulty_kernel>(1, 64, sizeof(One), kind, result);
        } catch (const cuda_cpu::LaunchError& e) { error = e.what(); }
        EXPECT_NE(error.find(kind == 1 ? "diverge" : said[kind]), std::string::npos) << kind << ": " << error;
        if (kind != 3) {
            EXPECT_NE(error.find("faulty_kernel, block (0,0,0)"), std::string::npos) << error;
        }
    }
}

} // namespace
