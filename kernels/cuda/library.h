// library.h - products that cuBLASLt does instead of our own kernels: which, and how it is asked.
//
// To the library a matrix lies column after column. What lies here row after row, (rows, cols), is to it a (cols, rows)
// with a leading dimension of cols, so it is asked for the transpose of every product: y = x w^T as y^T = w x^T.
//
// Its order of sums differs with the shape: a row's numbers depend on how many go with it, and the table of one order
// does without. The same shapes on the same card give the same bits again.
#pragma once
#include "../kernels.h"
#include "grid.h"

namespace DD_CUDA {

// c (m, n) = alpha op(a) op(b) + beta c, with op(a) (m, k) and op(b) (k, n), column after column; op turns or does not.
// a and b are bf16, sums f32, c bf16 or f32.
struct Gemm {
    bool a_turned, b_turned;
    int m, n, k;
    const void *a, *b;
    void* c;
    int a_stride, b_stride, c_stride; // numbers from one column to the next
    Type c_type;
    float alpha, beta;
};

// The products of list.h as such, `to` with room for eight; how many, or 0 where one of them is not for the library:
// operands that are not bf16 or in blocks, addresses or rows that are not whole 16 bytes. What an adapter adds comes
// first, then the weight on top of it (beta = 1), so that where y is bf16 the small part is the one rounded twice.
int gemms_of_matmul(Gemm* to, const Product& p, const Tensor& x);
int gemms_of_dx(Gemm* to, const Tensor& dx, const Product* ps, int n);
int gemms_of_dw(Gemm* to, const Tensor& dw, const Tensor& dy, const Tensor& x, float s);

// "" or what the library calls itself, if it can be had. Two implementations: gpu/library.cu asks cuBLASLt, which is
// looked for at the first call; on_cpu/device.cpp is a plain triple loop over the same description.
const char* library_name();
bool library_takes(const Gemm&); // whether it has a way to do this one
void library_run(const Gemm&);

// Whether the library did it.
bool library_matmul(const Product& p, const Tensor& x);
bool library_dx(const Tensor& dx, const Product* ps, int n);
bool library_dw(const Tensor& dw, const Tensor& dy, const Tensor& x, float s);

} // namespace DD_CUDA
