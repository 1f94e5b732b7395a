// families.h - the files of kernels: each puts its entries into the table.
#pragma once
#include "../kernels.h"
#include "grid.h"

namespace DD_CUDA {

void moving(Kernels&);
void rows(Kernels&);
void head(Kernels&);
void sampling(Kernels&);
void edits(Kernels&);
void optimizer(Kernels&);
void products(Kernels&, bool one_order, bool library);
void attention(Kernels&);
void convolution(Kernels&);
void linear_attention(Kernels&);
void delta_back(Kernels&);

// Every entry of list.h; what no family has put in says so when it is called. one_order: a row's numbers do not depend
// on how many go together, which costs time when there are few. library: products of bf16 go to cuBLASLt (library.h),
// those that it has and that are of more than eight rows; never in one order.
Kernels table(const char* name, bool one_order, bool library = false);
bool missing(const Kernels&, const char* kernel);

// A weight as a file stores it, into the planes of blocks.h; both in the process's memory.
void to_planes(void* planes, const Tensor& stored);

} // namespace DD_CUDA
