// ref.cpp - the scalar reference. Slow on purpose: this file and the other ref_*.cpp say what each kernel
// of list.h means, to the bit.
#include "ref.h"
#include <cstring>
#include <vector>
#include "../random.h"

namespace ref {

// ---- moving

void zero(Tensor y) { memset(y.data, 0, y.bytes()); }

void copy(Tensor y, Tensor x) {
    if (y.type == x.type) memcpy(y.data, x.data, x.bytes());
    else for (size_t i = 0; i < x.count(); i++) write(y, i, read(x, i));
}

void add(Tensor y, Tensor a, Tensor b) {
    for (size_t i = 0; i < y.count(); i++) write(y, i, read(a, i) + read(b, i));
}

void add_to(Tensor dx, Tensor dy, float s) {
    if (dx) for (size_t i = 0; i < dx.count(); i++) give(dx, i, s * read(dy, i));
}

void gather(Tensor y, Tensor table, const int* ids, float s) {
    std::vector<float> row(table.cols);
    for (int i = 0; i < y.rows; i++) {
        dequantize(table.type, (char*)table.data + ids[i] * row_bytes(table.type, table.cols), row.data(), row.size());
        for (int j = 0; j < y.cols; j++) write(y, size_t(i) * y.cols + j, s * row[j]);
    }
}

void gather_back(Tensor dtable, Tensor dy, const int* ids, float s, int pad) {
    if (!dtable) return;
    for (int i = 0; i < dy.rows; i++)
        for (int j = 0; j < dy.cols && ids[i] != pad; j++)
            dtable.f()[size_t(ids[i]) * dy.cols + j] += s * read(dy, size_t(i) * dy.cols + j);
}

void select(Tensor y, Tensor x, const int* rows) {
    for (int i = 0; i < y.rows; i++) copy(y.slice(i, 1), x.slice(rows[i], 1));
}

void select_back(Tensor dx, Tensor dy, const int* rows, const float* s) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    for (int i = 0; i < dy.rows; i++)
        for (int j = 0; j < dy.cols; j++) {
            size_t at = size_t(rows[i]) * dx.cols + j;
            write(dx, at, std::fmaf(s ? s[i] : 1, read(dy, size_t(i) * dy.cols + j), read(dx, at)));
        }
}

void columns(Tensor y, Tensor x, int first) {
    for (int i = 0; i < y.rows; i++)
        for (int j = 0; j < y.cols; j++) write(y, size_t(i) * y.cols + j, read(x, size_t(i) * x.cols + first + j));
}

void columns_back(Tensor dx, Tensor dy, int first) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    for (int i = 0; i < dy.rows; i++)
        for (int j = 0; j < dy.cols; j++) {
            size_t at = size_t(i) * dx.cols + first + j;
            write(dx, at, read(dx, at) + read(dy, size_t(i) * dy.cols + j));
        }
}

void follow(int* ids, int* pos, const int* next, int n) {
    for (int i = 0; i < n; i++) ids[i] = next[i], pos[i]++;
}

// ---- rows

void rms_norm(Tensor y, Tensor r, Tensor x, Tensor w, float eps) {
    int c = w.cols;
    for (int i = 0; i < r.rows; i++) {
        size_t at = size_t(i) * c;
        Lanes squares;
        for (int j = 0; j < c; j++) squares.fma(j, read(x, at + j), read(x, at + j));
        float s = r.f()[i] = 1 / std::sqrt(squares.sum() / c + eps);
        for (int j = 0; j < c; j++) write(y, at + j, read(x, at + j) * s * w.f()[j]);
    }
}

void rms_norm_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor r) {
    int c = w.cols;
    for (int i = 0; i < r.rows; i++) {
        size_t at = size_t(i) * c;
        float s = r.f()[i];
        Lanes dot;
        for (int j = 0; j < c; j++) dot.fma(j, read(dy, at + j) * w.f()[j], read(x, at + j));
        float back = -(s * s * s * dot.sum() / c);
        for (int j = 0; j < c; j++) {
            if (dw) dw.f()[j] = std::fmaf(read(dy, at + j), read(x, at + j) * s, dw.f()[j]);
            if (dx) give(dx, at + j, std::fmaf(read(dy, at + j) * w.f()[j], s, read(x, at + j) * back));
        }
    }
}

// f(g) and its derivative.
static void gate(float g, Gate kind, float* f, float* df) {
    float s = sigmoid(g);
    if (kind == Gate::silu) {
        *f = g * s;
        *df = s * (1 + g * (1 - s));
    } else if (kind == Gate::sigmoid) {
        *f = s;
        *df = s * (1 - s);
    } else {                // x (1 + tanh(k (x + 0.044715 x^3))) / 2
        float cube = 0.044715f * g * g, t = tanh(0.79788456f * (g * (1 + cube)));
        *f = 0.5f * g * (1 + t);
        *df = 0.5f * (1 + t) + 0.5f * g * (1 - t * t) * (0.79788456f * (1 + 3 * cube));
    }
}

void gated(Tensor y, Tensor g, Tensor u, Gate kind) {
    for (size_t i = 0; i < y.count(); i++) {
        float f, df;
        gate(read(g, i), kind, &f, &df);
        write(y, i, f * read(u, i));
    }
}

void gated_back(Tensor dg, Tensor du, Tensor dy, Tensor g, Tensor u, Gate kind) {
    for (size_t i = 0; i < dy.count(); i++) {
        float f, df, d = read(dy, i);
        gate(read(g, i), kind, &f, &df);
        if (dg) give(dg, i, d * read(u, i) * df);
        if (du) give(du, i, d * f);
    }
}

void rotations(Tensor t, const int* pos, const float* freq, int pairs) {
    for (int i = 0; i < t.rows; i++)
        for (int j = 0; j < pairs; j++) {
            float angle = float(pos[i]) * freq[j];
            t.f()[size_t(i) * t.cols + j] = std::cos(angle);
            t.f()[size_t(i) * t.cols + pairs + j] = std::sin(angle);
        }
}

void rope(Tensor y, Tensor x, Tensor t, int head, int sign) {
    int pairs = t.cols / 2;
    if (y.data != x.data) copy(y, x);               // what no pair covers stays
    for (int i = 0; i < x.rows; i++)
        for (int h = 0; h < x.cols; h += head)
            for (int j = 0; j < pairs; j++) {
                size_t a = size_t(i) * x.cols + h + j, b = a + pairs, c = size_t(i) * t.cols + j;
                float u = read(x, a), v = read(x, b), cosine = t.f()[c], sine = sign * t.f()[c + pairs];
                write(y, a, std::fmaf(-v, sine, u * cosine));
                write(y, b, std::fmaf(u, sine, v * cosine));
            }
}

void dropout(Tensor y, Tensor x, float rate, uint64_t seed, uint64_t site) {
    uint32_t bound = uint32_t(double(rate) * 0x1p32);
    float keep = 1 / (1 - rate);
    for (size_t i = 0; i < x.count(); i++) {
        auto random = philox({uint32_t(i / 4), uint32_t(i / 4 >> 32), uint32_t(site), uint32_t(site >> 32)},
                             {uint32_t(seed), uint32_t(seed >> 32)});
        write(y, i, random[i % 4] < bound ? 0 : read(x, i) * keep);
    }
}

// ---- the loss head

void softcap(Tensor y, float c) {
    for (size_t i = 0; i < y.count(); i++) write(y, i, c * tanh(read(y, i) / c));
}

void pick(Tensor logp, Tensor dz, Tensor z, const int* want, const float* s, float c) {
    for (int i = 0; i < z.rows; i++) {
        const float* row = z.f() + size_t(i) * z.cols;
        float top = row[0];
        for (int j = 1; j < z.cols; j++) top = row[j] > top ? row[j] : top;
        Lanes sum;
        for (int j = 0; j < z.cols; j++) sum.add(j, exp2((row[j] - top) * log2e));
        float total = sum.sum(), inverse = 1 / total;
        logp.f()[i] = (row[want[i]] - top) - std::log(total);
        for (int j = 0; j < z.cols && dz; j++) {
            float d = float(j == want[i]) - exp2((row[j] - top) * log2e) * inverse;
            if (c > 0) d *= 1 - (row[j] / c) * (row[j] / c);
            write(dz, size_t(i) * z.cols + j, s ? s[i] * d : d);
        }
    }
}

void argmax(int* best, Tensor z) {
    for (int i = 0; i < z.rows; i++) {
        float top = -INFINITY;
        best[i] = 0;
        for (int j = 0; j < z.cols; j++)
            if (float v = read(z, size_t(i) * z.cols + j); v > top) top = v, best[i] = j;
    }
}

// ---- edits

void scale_heads(Tensor y, Tensor x, Tensor s) {
    int head = x.cols / s.cols;
    for (size_t i = 0; i < x.count(); i++) write(y, i, read(x, i) * s.f()[i / head % s.cols]);
}

void scale_heads_back(Tensor dx, Tensor ds, Tensor dy, Tensor x, Tensor s) {
    int head = x.cols / s.cols;
    for (size_t i = 0; i < dy.count(); i++) {
        size_t h = i / head % s.cols;
        if (dx) give(dx, i, read(dy, i) * s.f()[h]);
    }
    for (size_t h = 0; h < dy.count() / head && ds; h++) {
        Lanes dot;
        for (int j = 0; j < head; j++) dot.fma(j, read(dy, h * head + j), read(x, h * head + j));
        ds.f()[h % s.cols] += dot.sum();
    }
}

void add_row(Tensor y, Tensor x, Tensor v, float s) {
    for (size_t i = 0; i < x.count(); i++) write(y, i, std::fmaf(s, v.f()[i % x.cols], read(x, i)));
}

void sum_rows(Tensor dv, Tensor dy, float s) {
    for (size_t i = 0; i < dy.count() && dv; i++)
        dv.f()[i % dy.cols] = std::fmaf(s, read(dy, i), dv.f()[i % dy.cols]);
}

void project_out(Tensor y, Tensor x, Tensor v) {
    Lanes norm;
    for (int j = 0; j < v.cols; j++) norm.fma(j, v.f()[j], v.f()[j]);
    for (int i = 0; i < x.rows; i++) {
        size_t at = size_t(i) * x.cols;
        Lanes dot;
        for (int j = 0; j < x.cols; j++) dot.fma(j, read(x, at + j), v.f()[j]);
        float along = dot.sum() / norm.sum();
        for (int j = 0; j < x.cols; j++) write(y, at + j, std::fmaf(-along, v.f()[j], read(x, at + j)));
    }
}

// ---- optimizer

// In shares of 65536 numbers, one after another; each in double, in 16 lanes and their tree.
void sum_squares(double* sum, Tensor x) {
    for (size_t first = 0; first < x.count(); first += 65536) {
        double lane[16] = {};
        for (size_t i = first; i < x.count() && i < first + 65536; i++)
            lane[i % 16] += double(x.f()[i]) * double(x.f()[i]);
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++) lane[i] += lane[i + half];
        *sum += lane[0];
    }
}

// Loshchilov and Hutter 2019, as torch.optim.AdamW computes it: decay apart from the gradient, eps outside the root.
void adamw(Tensor w, Tensor m, Tensor v, Tensor g, float gs, const AdamW& a) {
    float keep = 1 - a.lr * a.decay, rate = float(a.lr / (1 - std::pow(double(a.beta1), a.step)));
    float root = float(1 / std::sqrt(1 - std::pow(double(a.beta2), a.step)));
    for (size_t i = 0; i < w.count(); i++) {
        float d = gs * g.f()[i];
        m.f()[i] = std::fmaf(a.beta1, m.f()[i], (1 - a.beta1) * d);
        v.f()[i] = std::fmaf(a.beta2, v.f()[i], (1 - a.beta2) * d * d);
        w.f()[i] = keep * w.f()[i] - rate * (m.f()[i] / (std::sqrt(v.f()[i]) * root + a.eps));
    }
}

}  // namespace ref

const Kernels reference = {
    "scalar", false, &host_memory, nullptr, nullptr,
#define K(name, args) ref::name,
    DD_KERNELS(K)
#undef K
};
