// products_f32.cu - products of f32, for --precision f32: one chain of fused multiply-adds an output along the whole
// reduction, which is the reference's, to the bit.
#include "products.h"

namespace DD_CUDA {
namespace {

// a(rows, k), or (k, rows) if turned; b(columns, k), or (k, columns), of any type. Each with its rows' length.
struct PlainSegment {
    Stored a, b;
    Type b_type;
    int a_cols, b_cols, k;
    bool a_turned, b_turned;
};
struct PlainWork {
    PlainSegment segments[8];
    int n, rows;
    Output out;
};

constexpr int side = 32, depth = 16, plain_threads = 256;
struct PlainShared {
    float a[depth][side + 4], b[depth][side + 4];
};

// A tile: `side` outer numbers by `depth` numbers of the reduction, four neighbours in memory at a time.
__device__ void load_plain(float (&to)[depth][side + 4], Type type, const Stored& from, int cols, bool turned,
                           int outer, int k, int outers, int ks) {
    int quads = side * depth / 4, i = int(threadIdx.x);
    if (i >= quads) return;
    int along = turned ? side / 4 : depth / 4, r = i / along, c = i % along * 4; // row and column in memory
    int row = (turned ? k : outer) + r, col = (turned ? outer : k) + c, rows = turned ? ks : outers;
    Four f{};
    if (row < rows && col < cols) f = weights4_of(type, from, size_t(row) * cols + col, cols - col);
    for (int j = 0; j < 4; j++)
        if (turned) to[r][c + j] = f.v[j];
        else to[c + j][r] = f.v[j];
}

__global__ void __launch_bounds__(plain_threads) plain_kernel(PlainWork work) {
    PlainShared& shared = static_shared<PlainShared>();
    int row = int(blockIdx.x) * side, col = int(blockIdx.y) * side, mine = int(threadIdx.x) / 16,
        other = int(threadIdx.x) % 16;
    float sum[2][2] = {};
    for (int s = 0; s < work.n; s++) {
        const PlainSegment& g = work.segments[s];
        for (int k = 0; k < g.k; k += depth) {
            __syncthreads(); // everybody has done with the tiles before
            load_plain(shared.a, Type::f32, g.a, g.a_cols, g.a_turned, row, k, work.rows, g.k);
            load_plain(shared.b, g.b_type, g.b, g.b_cols, g.b_turned, col, k, work.out.cols, g.k);
            __syncthreads(); // the tiles are there
            for (int j = 0; j < min(depth, g.k - k); j++)
                for (int u = 0; u < 2; u++)
                    for (int v = 0; v < 2; v++)
                        sum[u][v] = fmaf(shared.a[j][mine + u * 16], shared.b[j][other + v * 16], sum[u][v]);
        }
    }
    for (int u = 0; u < 2; u++)
        for (int v = 0; v < 2; v++) {
            int r = row + mine + u * 16, c = col + other + v * 16;
            if (r < work.rows && c < work.out.cols) finish(work.out, size_t(r) * work.out.cols + c, sum[u][v]);
        }
}

void start(const PlainWork& w) {
    launch<plain_kernel>(dim3(groups_of(size_t(w.rows), side), groups_of(size_t(w.out.cols), side)), plain_threads, 0,
                         w);
}

Stored numbers_of(const void* data) { return {static_cast<const uint8_t*>(data), nullptr, nullptr, nullptr}; }

void add_plain(PlainWork& w, const Product& p, const Tensor& a, bool turned) {
    require(w.n + 2 <= 8, "cuda: a product of more than eight segments");
    Type type = p.w->panels ? Type::f32 : p.w->w.type;
    Stored b = p.w->panels ? numbers_of(p.w->panels) : stored(p.w->w);
    w.segments[w.n++] = {numbers_of(a.data), b, type, a.cols, p.w->in, a.cols, false, turned};
    if (p.u)
        w.segments[w.n++] = {
            numbers_of(p.u.data), numbers_of(panel_data(*p.b)), Type::f32, p.u.cols, p.b->in, p.u.cols, false, false};
}

} // namespace

void plain_products(const Product* ps, int n, const Tensor& x) {
    for (const Product* p = ps; p < ps + n; p++) {
        PlainWork w{};
        w.rows = x.rows, w.out = {numbers(p->y), Output::write, 1, p->w->out, 0, 0};
        add_plain(w, *p, x, false);
        start(w);
    }
}

void plain_dx(const Tensor& dx, const Product* ps, int n) {
    PlainWork w{};
    w.rows = dx.rows, w.out = {numbers(dx), Output::give, 1, dx.cols, 0, 0};
    for (const Product* p = ps; p < ps + n; p++) add_plain(w, *p, p->y, true);
    start(w);
}

void plain_dw(const Tensor& dw, const Tensor& dy, const Tensor& x, float s) {
    PlainWork w{};
    w.rows = dy.cols, w.out = {numbers(dw), Output::add, s, x.cols, 0, 0};
    w.segments[w.n++] = {numbers_of(dy.data), numbers_of(x.data), Type::f32, dy.cols, x.cols, x.rows, true, true};
    start(w);
}

} // namespace DD_CUDA
