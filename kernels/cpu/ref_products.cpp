// ref_products.cpp - what a product is.
//
// One chain of fused multiply-adds an output, along the reduction from its first element to its last, continued by
// the adapter's. With bf16 operands two elements go at a time, the second first: what vdpbf16ps does (numbers below
// 2^-126 aside, which it takes for zero). Quantised weights with bf16 operands: one chain for each group of exact
// integers, from group to group a chain of these by their scales, another of the groups' sums of x by their minima, and
// the two added. With f32 operands the weight's value enters as it is. Where a weight's value itself is an operand in
// bf16 (floats; any type on the way back) it is
// rounded to nearest even.
#include "ref.h"
#include <vector>
#include "groups.h"

namespace ref {

// w(o, 0..in) as numbers, scaled and rounded to the operand's type.
static void weight_row(const Matrix& m, Type operand, int o, std::vector<float>& row) {
    row.resize(m.in);
    if (m.transposed)
        for (int i = 0; i < m.in; i++) row[i] = read(m.w, size_t(i) * m.out + o);
    else
        dequantize(m.w.type, (char*)m.w.data + o * row_bytes(m.w.type, m.in), row.data(), m.in);
    for (float& v : row) v = round_to(operand, m.scale * v);
}

// acc continued over n elements of a and b, at strides sa and sb.
static float chain(float acc, Tensor a, size_t ia, size_t sa, const float* b, size_t sb, int n) {
    if (a.type == Type::f32) {
        for (int k = 0; k < n; k++) acc = std::fmaf(read(a, ia + k * sa), b[k * sb], acc);
        return acc;
    }
    for (int k = 0; k < n; k += 2) {
        if (k + 1 < n) acc = std::fmaf(read(a, ia + (k + 1) * sa), b[(k + 1) * sb], acc);
        acc = std::fmaf(read(a, ia + k * sa), b[k * sb], acc);
    }
    return acc;
}

static float group_sum(Tensor x, size_t at, int n) {
    Lanes sum;
    for (int j = 0; j < n; j++) sum.add(j, read(x, at + j));
    return sum.sum();
}

static float quantized_product(Tensor x, int i, const Matrix& w, int o) {
    Type t = w.w.type;
    const char* row = (const char*)w.w.data + o * row_bytes(t, w.in);
    int size = group_size(t);
    float acc = 0, low = 0;
    for (int g = 0; g < w.in / size; g++) {
        int8_t codes[32];
        float q[32], d, m;
        read_group(t, row, g, codes, &d, &m);
        for (int j = 0; j < size; j++) q[j] = codes[j];
        size_t at = size_t(i) * w.in + g * size;
        acc = std::fmaf(chain(0, x, at, 1, q, 1, size), d, acc);
        if (has_minimum(t)) low = std::fmaf(group_sum(x, at, size), m, low);
    }
    return acc + low;
}

void pack(Matrix& m) { m.panel_bytes = 0; }     // the reference reads w

void matmul(const Product* ps, int n, Tensor x) {
    std::vector<float> w, b;
    for (const Product* p = ps; p < ps + n; p++)
        for (int o = 0; o < p->w->out; o++) {
            bool in_groups = quantized(p->w->w.type) && x.type == Type::bf16;
            if (!in_groups) weight_row(*p->w, x.type, o, w);
            if (p->u) weight_row(*p->b, x.type, o, b);
            for (int i = 0; i < x.rows; i++) {
                float acc = in_groups ? quantized_product(x, i, *p->w, o)
                                      : chain(0, x, size_t(i) * x.cols, 1, w.data(), 1, x.cols);
                if (p->u) acc = chain(acc, p->u, size_t(i) * p->u.cols, 1, b.data(), 1, p->u.cols);
                write(p->y, size_t(i) * p->w->out + o, acc);
            }
        }
}

void matmul_dx(Tensor dx, const Product* ps, int n) {
    if (!dx) return;
    int cols = dx.cols;
    std::vector<float> acc(dx.count()), row, w;
    for (const Product* p = ps; p < ps + n; p++) {
        w.resize(size_t(p->w->out) * cols);
        for (int o = 0; o < p->w->out; o++) {
            weight_row(*p->w, p->y.type, o, row);
            std::copy(row.begin(), row.end(), w.begin() + size_t(o) * cols);
        }
        for (int j = 0; j < cols; j++) {
            if (p->u) weight_row(*p->b, p->u.type, j, row);
            for (int i = 0; i < dx.rows; i++) {
                float& a = acc[size_t(i) * cols + j];
                a = chain(a, p->y, size_t(i) * p->y.cols, 1, w.data() + j, cols, p->y.cols);
                if (p->u) a = chain(a, p->u, size_t(i) * p->u.cols, 1, row.data(), 1, p->u.cols);
            }
        }
    }
    for (size_t i = 0; i < acc.size(); i++) give(dx, i, acc[i]);
}

void matmul_dw(Tensor dw, Tensor dy, Tensor x, float s) {
    if (!dw) return;
    std::vector<float> column(x.rows);
    for (int j = 0; j < x.cols; j++) {
        for (int i = 0; i < x.rows; i++) column[i] = read(x, size_t(i) * x.cols + j);
        for (int o = 0; o < dy.cols; o++) {
            float& d = dw.f()[size_t(o) * x.cols + j];
            d = std::fmaf(s, chain(0, dy, o, dy.cols, column.data(), 1, x.rows), d);
        }
    }
}

}  // namespace ref
