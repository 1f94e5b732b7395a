// products_library.cu - the products of list.h as cuBLASLt is asked for them (library.h).
#include "library.h"
#include "products.h"

namespace DD_CUDA {
namespace {

// c = s op(a) op(b), added to what c holds unless that is fresh.
struct Operand {
    const void* data;
    int stride;
    bool turned;
};
bool whole(const void* data, int stride, size_t size) { return size_t(data) % 16 == 0 && stride * size % 16 == 0; }

bool add_gemm(Gemm& g, const Tensor& c, const Operand& a, const Operand& b, int k, float s, bool fresh) {
    bool narrow = c.type == Type::bf16;
    g = {a.turned, b.turned, c.cols, c.rows, k, a.data, b.data, c.data, a.stride, b.stride, c.cols, c.type, s,
         fresh ? 0.0f : 1.0f};
    return (narrow || c.type == Type::f32) && k > 0 && whole(a.data, a.stride, 2) && whole(b.data, b.stride, 2) &&
           whole(c.data, c.cols, narrow ? 2 : 4);
}

// A matrix (out, in) lies as (in, out): turned it is what y^T = w x^T wants, as it is what dx^T = w^T dy^T does.
Operand weight(const Matrix& m, bool turned) { return {panel_data(m), m.in, turned}; }
Operand rows_of(const Tensor& t) { return {t.data, t.cols, false}; }

bool run(const Gemm* gs, int n) {
    for (int i = 0; i < n; i++)
        if (!library_takes(gs[i])) return false;
    for (int i = 0; i < n; i++) library_run(gs[i]);
    return n > 0;
}

} // namespace

int gemms_of_matmul(Gemm* to, const Product& p, const Tensor& x) {
    if (x.type != Type::bf16 || blocks_of(*p.w)) return 0;
    int n = 0;
    if (p.u && !add_gemm(to[n++], p.y, weight(*p.b, true), rows_of(p.u), p.u.cols, 1, true)) return 0;
    if (!add_gemm(to[n], p.y, weight(*p.w, true), rows_of(x), x.cols, 1, n == 0)) return 0;
    return n + 1;
}

int gemms_of_dx(Gemm* to, const Tensor& dx, const Product* ps, int n) {
    int made = 0;
    for (const Product* p = ps; p < ps + n; p++) {
        if (!p->u) continue;
        bool first = dx.fresh && made == 0;
        if (!add_gemm(to[made++], dx, weight(*p->b, true), rows_of(p->u), p->u.cols, 1, first)) return 0;
    }
    for (const Product* p = ps; p < ps + n; p++) {
        if (p->y.type != Type::bf16 || blocks_of(*p->w)) return 0;
        bool first = dx.fresh && made == 0;
        if (!add_gemm(to[made++], dx, weight(*p->w, false), rows_of(p->y), p->y.cols, 1, first)) return 0;
    }
    return made;
}

int gemms_of_dw(Gemm* to, const Tensor& dw, const Tensor& dy, const Tensor& x, float s) {
    Operand turned{dy.data, dy.cols, true};
    return x.type == Type::bf16 && add_gemm(to[0], dw, rows_of(x), turned, x.rows, s, false) ? 1 : 0;
}

bool library_matmul(const Product& p, const Tensor& x) {
    Gemm gs[8];
    return run(gs, gemms_of_matmul(gs, p, x));
}
bool library_dx(const Tensor& dx, const Product* ps, int n) {
    Gemm gs[8];
    require(n <= 4, "cuda: %d products at once", n);
    return run(gs, gemms_of_dx(gs, dx, ps, n));
}
bool library_dw(const Tensor& dw, const Tensor& dy, const Tensor& x, float s) {
    Gemm gs[8];
    return run(gs, gemms_of_dw(gs, dw, dy, x, s));
}

} // namespace DD_CUDA
