// products.cu - the products of list.h: which kernel takes which, and the copies of weights that they read.
//
// A weight stays as it is stored, in planes where it is in blocks. A second copy is made only of what no product can
// read: floats of another type than the operand's, turned or scaled ones (adapters). It is (out, in), row after row.
#include "families.h"
#include "library.h"
#include "products.h"

namespace DD_CUDA {
namespace {

struct Pack {
    Numbers to;
    Stored from;
    Type type;
    int out, in;
    bool transposed;
    float scale;
    __device__ void operator()(size_t i, int left) const {
        Four f{};
        for (int j = 0; j < left; j++) {
            size_t o = (i + j) / in, k = (i + j) % in;
            f.v[j] = scale * weights4_of(type, from, transposed ? k * out + o : i + j, 1).v[0];
        }
        write4(to, i, f, left);
    }
};
void pack(Matrix& m) {
    Type operand = m.operand == Type::bf16 ? Type::bf16 : Type::f32;
    bool blocks = in_blocks(m.w.type), as_is = !m.transposed && m.scale == 1;
    require(!blocks || as_is, "cuda: a transposed or scaled matrix of type %s", info(m.w.type).name);
    if (blocks || (as_is && m.w.type == operand)) {
        m.panel_bytes = 0;
        return;
    }
    size_t n = size_t(m.out) * size_t(m.in);
    m.panel_bytes = n * row_bytes(operand, 1);
    if (m.panels)
        each(n, Pack{numbers({m.panels, m.out, m.in, operand}), stored(m.w), m.w.type, m.out, m.in, m.transposed,
                     m.scale});
}

// y w^T or, turned, y w; continued by u b^T.
void add_segments(Work& w, Output& o, const Product& p, const Tensor& a, bool turned) {
    int& n = o.last;
    require(n + 2 <= 8, "cuda: a product of more than eight segments");
    Segment& s = w.segments[n++] = {};
    s.a = source(a.data, a.cols), s.b = source(panel_data(*p.w), p.w->in), s.k = a.cols, s.turned = turned;
    s.type = blocks_of(*p.w) ? p.w->w.type : Type::bf16;
    if (blocks_of(*p.w)) s.blocks = stored(p.w->w);
    if (p.u) {
        Segment& t = w.segments[n++] = {};
        t.a = source(p.u.data, p.u.cols), t.b = source(panel_data(*p.b), p.b->in), t.k = p.u.cols, t.type = Type::bf16;
    }
}

struct Ways {
    bool thin, library; // beside tiles
};

void multiply(const Product* ps, int n, const Tensor& x, Ways ways) {
    if (!x.rows) return;
    require(n <= 4, "cuda: %d products at once", n);
    if (x.type == Type::f32) return plain_products(ps, n, x);
    if (ways.thin && thin_products(ps, n, x)) return;
    Work w{};
    w.rows = x.rows;
    int segments = 0;
    for (const Product* p = ps; p < ps + n; p++) {
        if (blocks_of(*p->w)) {
            block_product(*p, x);
            continue;
        }
        if (ways.library && library_matmul(*p, x)) continue;
        Output& o = w.outputs[w.n++];
        o = {numbers(p->y), Output::write, 1, p->w->out, segments, segments};
        add_segments(w, o, *p, x, false);
        segments = o.last;
    }
    if (w.n) tile_products(w);
}
template <bool thin, bool library> void matmul(const Product* ps, int n, Tensor x) {
    multiply(ps, n, x, {thin, library});
}

template <bool library> void matmul_dx(Tensor dx, const Product* ps, int n) {
    if (!dx || !dx.rows || !n) return;
    if (ps[0].y.type == Type::f32) return plain_dx(dx, ps, n);
    if (library && library_dx(dx, ps, n)) return;
    Work w{};
    w.n = 1, w.rows = dx.rows;
    w.outputs[0] = {numbers(dx), Output::give, 1, dx.cols, 0, 0};
    for (const Product* p = ps; p < ps + n; p++) add_segments(w, w.outputs[0], *p, p->y, true);
    tile_products(w);
}

template <bool library> void matmul_dw(Tensor dw, Tensor dy, Tensor x, float s) {
    if (!dw || !x.rows) return;
    if (x.type == Type::f32) return plain_dw(dw, dy, x, s);
    if (library && library_dw(dw, dy, x, s)) return;
    Work w{};
    w.n = 1, w.rows = dy.cols;
    w.outputs[0] = {numbers(dw), Output::add, s, x.cols, 0, 1};
    Segment& t = w.segments[0];
    t.a = source(dy.data, dy.cols), t.b = source(x.data, x.cols), t.k = x.rows, t.turned = true, t.type = Type::bf16;
    turned_product(w);
}

} // namespace

void products(Kernels& k, bool one_order, bool library) {
    k.pack = pack;
    k.matmul = library ? matmul<true, true> : one_order ? matmul<false, false> : matmul<true, false>;
    k.matmul_dx = library ? matmul_dx<true> : matmul_dx<false>;
    k.matmul_dw = library ? matmul_dw<true> : matmul_dw<false>;
}

} // namespace DD_CUDA
