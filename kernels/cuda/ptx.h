// ptx.h - the only inline PTX: tensor-core products, their fragment loads, and asynchronous copies.
//
// To add an instruction: its PTX here; in on_cpu/instructions.h a struct with a lane's operands and a warp_operation
// over all 32; a check in tests/cuda_layouts.cpp from a second source; a mutant that uses it wrongly.
#pragma once
#include "grid.h"
#include "numbers.h"

#ifndef __CUDACC__
#include "on_cpu/instructions.h"
#define PTX_WHERE , cuda_cpu::Where where = cuda_cpu::Where::current()
#define PTX(device, host) host
#else
#define PTX_WHERE
#define PTX(device, host) device
#endif

// 2^x, within 2^-22; exactly 1 of 0 and 0 of -infinity. Subnormal results are 0.
__device__ __forceinline__ float fast_exp2(float x) {
    PTX(float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y, return cuda_cpu::exp2_ftz(x));
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] PTX_WHERE) {
    PTX(asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])),
        cuda_cpu::mma_m16n8k16(d, a, b, where));
}

// Operands are f32 whose last thirteen bits are zero.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] PTX_WHERE) {
    PTX(asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])),
        cuda_cpu::mma_m16n8k8(d, a, b, where));
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row PTX_WHERE) {
    PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                     : "memory"),
        (cuda_cpu::ldmatrix<4, false>(r, row, where)));
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row PTX_WHERE) {
    PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                     : "memory"),
        (cuda_cpu::ldmatrix<4, true>(r, row, where)));
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row PTX_WHERE) {
    PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                     : "memory"),
        (cuda_cpu::ldmatrix<2, false>(r, row, where)));
}
__device__ __forceinline__ void ldmatrix_x1(uint32_t (&r)[1], const void* row PTX_WHERE) {
    PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                     : "=r"(r[0])
                     : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                     : "memory"),
        (cuda_cpu::ldmatrix<1, false>(r, row, where)));
}

// Copies 16 bytes from global to shared memory, past the registers and L1; only the first `valid`, zeros for the rest.
__device__ __forceinline__ void cp_async16(void* to, const void* from, unsigned valid = 16) {
    PTX(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :
                     : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(__cvta_generic_to_global(from)),
                       "r"(valid)
                     : "memory"),
        cuda_cpu::copy_async(to, from, 16, valid));
}
__device__ __forceinline__ void cp_async_commit() {
    PTX(asm volatile("cp.async.commit_group;" ::: "memory"), ++cuda_cpu::machine().current->groups);
}
// Returns when at most the last `pending` committed groups of this thread are still in flight. Others' copies, and this
// thread's to others, are ordered by a barrier only.
template <int pending> __device__ __forceinline__ void cp_async_wait() {
    PTX(asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory"), cuda_cpu::wait_async(pending));
}
