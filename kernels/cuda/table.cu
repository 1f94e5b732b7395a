// table.cu - the families put together.
#include <cstring>
#include "families.h"
#include "runtime.h"

namespace DD_CUDA {
namespace none {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define K(name, args) \
    void name args { fail(Exit::no_resource, "there is no CUDA kernel \"" #name "\" yet; use --device cpu"); }
DD_KERNELS(K)
#undef K
#pragma GCC diagnostic pop

} // namespace none

Kernels table(const char* name, bool one_order, bool library) {
    Kernels k = {name, true, &memory, &recorder, &collective,
#define K(name, args) none::name,
                 DD_KERNELS(K)
#undef K
    };
    moving(k), rows(k), head(k), sampling(k), edits(k), optimizer(k), products(k, one_order, library && !one_order);
    attention(k), convolution(k), linear_attention(k);
    k.limits = &limits;
    k.tokens_a_pass = 8192;
    return k;
}

bool missing(const Kernels& k, const char* kernel) {
#define K(name, args) \
    if (!strcmp(kernel, #name)) return k.name == none::name;
    DD_KERNELS(K)
#undef K
    return true;
}

} // namespace DD_CUDA
