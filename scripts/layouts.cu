// What layout.py reads: one warp's 16 x 16 x 16 product by wmma, whose fragments ptxas lays out itself, and the
// wrappers of ptx.h, whose operands must reach the same instructions in the same order.
#include "../kernels/cuda/ptx.h"

#define LOAD(which, layout, space, r, from)                                                                         \
    asm volatile("wmma.load." which ".sync.aligned." layout ".m16n16k16" space ".bf16 {%0, %1, %2, %3}, [%4], 16;"  \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : from)
#define PRODUCT(layouts)                                                                                            \
    asm volatile("wmma.mma.sync.aligned." layouts ".m16n16k16.f32.bf16.bf16.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, " \
                 "{%8, %9, %10, %11}, {%12, %13, %14, %15}, {%16, %16, %16, %16, %16, %16, %16, %16};"              \
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7])   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "f"(0.f))
#define STORE(to)                                                                                                   \
    asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8}, 16;"   \
                 :: "l"(to), "f"(d[0]), "f"(d[1]), "f"(d[2]), "f"(d[3]), "f"(d[4]), "f"(d[5]), "f"(d[6]), "f"(d[7]) \
                 : "memory")

extern "C" __global__ void wmma_global(float* out, const void* from_a, const void* from_b) {
    uint32_t a[4], b[4];
    float d[8];
    LOAD("a", "row", ".global", a, "l"(from_a));
    LOAD("b", "col", ".global", b, "l"(from_b));
    PRODUCT("row.col");
    STORE(out);
}
extern "C" __global__ void wmma_shared(float* out) {  // a row-major at 0, b^T row-major at 512
    uint32_t a[4], b[4];
    float d[8];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(&dynamic_shared<int>()));
    LOAD("a", "row", ".shared", a, "r"(base));
    LOAD("b", "col", ".shared", b, "r"(base + 512));
    PRODUCT("row.col");
    STORE(out);
}
extern "C" __global__ void wmma_shared_trans(float* out) {  // both the other way round: this needs ldmatrix.trans
    uint32_t a[4], b[4];
    float d[8];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(&dynamic_shared<int>()));
    LOAD("a", "col", ".shared", a, "r"(base));
    LOAD("b", "row", ".shared", b, "r"(base + 512));
    PRODUCT("col.row");
    STORE(out);
}
// The same of tf32, 16 x 16 x 8: a row-major, b^T row-major, eight numbers a row.
extern "C" __global__ void wmma_tf32(float* out, const void* from_a, const void* from_b) {
    uint32_t a[4], b[4];
    float d[8];
    asm volatile("wmma.load.a.sync.aligned.row.m16n16k8.global.tf32 {%0, %1, %2, %3}, [%4], 8;"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "l"(from_a));
    asm volatile("wmma.load.b.sync.aligned.col.m16n16k8.global.tf32 {%0, %1, %2, %3}, [%4], 8;"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3]) : "l"(from_b));
    asm volatile("wmma.mma.sync.aligned.row.col.m16n16k8.f32.tf32.tf32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "
                 "{%8, %9, %10, %11}, {%12, %13, %14, %15}, {%16, %16, %16, %16, %16, %16, %16, %16};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "f"(0.f));
    STORE(out);
}
extern "C" __global__ void wrapper_mma_tf32(float4* out, const uint4* from_a, const uint2* from_b) {
    const uint4 a4 = from_a[threadIdx.x];
    const uint2 b2 = from_b[threadIdx.x];
    const uint32_t a[4] = {a4.x, a4.y, a4.z, a4.w}, b[2] = {b2.x, b2.y};
    float d[4] = {};
    mma_tf32(d, a, b);
    out[threadIdx.x] = make_float4(d[0], d[1], d[2], d[3]);
}
extern "C" __global__ void wrapper_mma(float4* out, const uint4* from_a, const uint2* from_b) {
    const uint4 a4 = from_a[threadIdx.x];
    const uint2 b2 = from_b[threadIdx.x];
    const uint32_t a[4] = {a4.x, a4.y, a4.z, a4.w}, b[2] = {b2.x, b2.y};
    float d[4] = {};
    mma_bf16(d, a, b);
    out[threadIdx.x] = make_float4(d[0], d[1], d[2], d[3]);
}
extern "C" __global__ void wrapper_ldmatrix(uint4* out) {
    uint32_t r[4];
    ldmatrix_x4(r, &dynamic_shared<uint4>() + threadIdx.x);
    out[threadIdx.x] = make_uint4(r[0], r[1], r[2], r[3]);
}
extern "C" __global__ void wrapper_ldmatrix_trans(uint4* out) {
    uint32_t r[4];
    ldmatrix_x4_trans(r, &dynamic_shared<uint4>() + threadIdx.x);
    out[threadIdx.x] = make_uint4(r[0], r[1], r[2], r[3]);
}
