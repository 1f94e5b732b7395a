// library.cu - cuBLASLt, loaded when it is first asked for: the binary neither links against it nor needs it.
//
// Thin on purpose, since no test without a GPU runs it: what to multiply is decided in products_library.cu, which the
// tests do run. Descriptors and the heuristics' first choice are kept per shape; all work is in the process's one
// stream and in its one workspace, so that a walk can be recorded.
#include <dlfcn.h>
#include <cstdlib>
#include <map>
#include <tuple>
#include "../device.h"
#include "../library.h"
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace DD_CUDA {
namespace {

constexpr size_t room = size_t(32) << 20; // what NVIDIA advises for Hopper

// The functions used, by name.
#define LT_FUNCTIONS(F) \
    F(cublasLtCreate) F(cublasLtGetVersion) F(cublasLtMatmul) F(cublasLtMatmulAlgoGetHeuristic) \
    F(cublasLtMatmulDescCreate) F(cublasLtMatmulDescSetAttribute) F(cublasLtMatrixLayoutCreate) \
    F(cublasLtMatmulPreferenceCreate) F(cublasLtMatmulPreferenceSetAttribute)

struct Library {
    std::string name;
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulPreference_t preference = nullptr;
#define F(f) decltype(&::f) f = nullptr;
    LT_FUNCTIONS(F)
#undef F
};

void check(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS) fail(Exit::failed, "cuda: cuBLASLt: %s: status %d", what, int(status));
}

// Null where there is none, or one that does not start. DD_CUBLASLT: a file to load instead, "" for none.
Library* open_library() {
    const char* chosen = getenv("DD_CUBLASLT");
    const char* names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so"};
    void* file = nullptr;
    if (chosen) file = *chosen ? dlopen(chosen, RTLD_LAZY | RTLD_LOCAL) : nullptr;
    else
        for (const char* name : names)
            if (!file) file = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (!file) return nullptr;
    auto* l = new Library; // kept while the process lives
#define F(f) \
    if (!(l->f = reinterpret_cast<decltype(&::f)>(dlsym(file, #f)))) return nullptr;
    LT_FUNCTIONS(F)
#undef F
    if (l->cublasLtCreate(&l->handle) != CUBLAS_STATUS_SUCCESS) return nullptr;
    check(l->cublasLtMatmulPreferenceCreate(&l->preference), "a preference");
    auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const void* value, size_t bytes) {
        check(l->cublasLtMatmulPreferenceSetAttribute(l->preference, what, value, bytes), "a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);
    uint32_t split = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; // a reduction that is split is joined in f32, or not split
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &split, sizeof split);
    uint32_t aligned = 16;
    for (auto what : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        prefer(what, &aligned, sizeof aligned);
    workspace(room); // before anything is recorded
    size_t version = l->cublasLtGetVersion();
    l->name = format("cuBLASLt %zu.%zu", version / 10000, version / 100 % 100);
    return l;
}
Library* library() {
    static Library* found = open_library();
    return found;
}

// How one shape is done.
struct Plan {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    bool found = false;
};
using Shape = std::tuple<bool, bool, int, int, int, int, int, int, Type, bool>;

Plan make_plan(Library& l, const Gemm& g) {
    Plan p;
    check(l.cublasLtMatmulDescCreate(&p.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    int32_t a_op = g.a_turned ? CUBLAS_OP_T : CUBLAS_OP_N, b_op = g.b_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(l.cublasLtMatmulDescSetAttribute(p.product, CUBLASLT_MATMUL_DESC_TRANSA, &a_op, sizeof a_op), "a product");
    check(l.cublasLtMatmulDescSetAttribute(p.product, CUBLASLT_MATMUL_DESC_TRANSB, &b_op, sizeof b_op), "a product");
    auto layout = [&](cublasLtMatrixLayout_t* to, cudaDataType_t type, int rows, int cols, bool turned, int stride) {
        if (turned) std::swap(rows, cols); // as it lies
        check(l.cublasLtMatrixLayoutCreate(to, type, uint64_t(rows), uint64_t(cols), stride), "a layout");
    };
    layout(&p.a, CUDA_R_16BF, g.m, g.k, g.a_turned, g.a_stride);
    layout(&p.b, CUDA_R_16BF, g.k, g.n, g.b_turned, g.b_stride);
    layout(&p.c, g.c_type == Type::bf16 ? CUDA_R_16BF : CUDA_R_32F, g.m, g.n, false, g.c_stride);
    cublasLtMatmulHeuristicResult_t best{};
    int results = 0;
    cublasStatus_t status = l.cublasLtMatmulAlgoGetHeuristic(l.handle, p.product, p.a, p.b, p.c, p.c, l.preference, 1,
                                                             &best, &results);
    p.found = status == CUBLAS_STATUS_SUCCESS && results == 1 && best.state == CUBLAS_STATUS_SUCCESS;
    p.algorithm = best.algo;
    return p;
}
const Plan& plan_of(const Gemm& g) {
    static std::map<Shape, Plan> plans;
    Shape shape{g.a_turned, g.b_turned, g.m, g.n, g.k, g.a_stride, g.b_stride, g.c_stride, g.c_type, g.beta != 0};
    auto [at, is_new] = plans.try_emplace(shape);
    if (is_new) at->second = make_plan(*library(), g);
    return at->second;
}

} // namespace

const char* library_name() { return library() ? library()->name.c_str() : ""; }
bool library_takes(const Gemm& g) { return library() && plan_of(g).found; }
void library_run(const Gemm& g) {
    const Plan& p = plan_of(g);
    check(library()->cublasLtMatmul(library()->handle, p.product, &g.alpha, g.a, p.a, g.b, p.b, &g.beta, g.c, p.c, g.c,
                                    p.c, &p.algorithm, workspace(room), room, work),
          "a product");
}

} // namespace DD_CUDA

#else // a toolkit without it

namespace DD_CUDA {
const char* library_name() { return ""; }
bool library_takes(const Gemm&) { return false; }
void library_run(const Gemm&) {}
} // namespace DD_CUDA

#endif
