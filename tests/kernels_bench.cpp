#include "kernels.h"
#include <cstdlib>

#ifndef DD_ON_GPU
void* touched(size_t bytes) { return malloc(bytes); }
void untouched(void* p) { free(p); }
#endif

Tensor Bench::take(int rows, int cols, Type type, bool output) {
    auto b = std::make_unique<Block>();
    size_t size = rows * row_bytes(type, size_t(cols));
    b->bytes.assign(size + 2 * guard + 64, char(0xa5));
    char* base = b->bytes.data() + guard;
    base += (64 - size_t(base) % 64) % 64;
    b->size = size, b->output = output;
    b->t = {base, rows, cols, type};
    blocks_.push_back(std::move(b));
    return blocks_.back()->t;
}

// A full mantissa, so that every rounding shows, and an exponent of -6 .. 1, so that nothing is subnormal.
float Bench::number() {
    uint32_t bits = random_.u32();
    bits = (bits & 0x807fffff) | (121 + (bits >> 23 & 7)) << 23;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

void Bench::fill(Tensor t, float scale, float shift) {
    for (size_t i = 0; i < t.count(); i++) {
        float v = shift + scale * number();
        if (t.type == Type::bf16) t.h()[i] = f32_to_bf16(v);
        else t.f()[i] = v;
    }
}

// Codes are random bytes; scales and minima f16 numbers of some 2^-11 to 2^-4.
Tensor Bench::quantized(int rows, int cols, Type type) {
    Tensor t = take(rows, cols, type, false);
    if (info(type).block == 1) {
        std::vector<float> row(t.count());
        for (float& v : row) v = number() / 4;
        if (type == Type::f32) std::copy(row.begin(), row.end(), t.f());
        else ::quantize(type, row.data(), t.data, row.size());
        return t;
    }
    auto* bytes = (uint8_t*)t.data;
    for (size_t i = 0; i < t.bytes(); i++) bytes[i] = uint8_t(random_.below(256));
    for (size_t b = 0; b < t.bytes(); b += size_t(info(type).bytes)) {
        auto half = [&](size_t where) {
            uint16_t h = f32_to_f16(number() / 32);
            memcpy(bytes + b + where, &h, 2);
        };
        half(type == Type::q6_k ? 208 : 0);
        if (type == Type::q4_1 || type == Type::q5_1 || type == Type::q4_k || type == Type::q5_k) half(2);
    }
    return t;
}

void Bench::pack(const Kernels& k, Matrix& m) {
    k.pack(m);
    if (!m.panel_bytes) return;
    wait_for(k);            // the GPU may be at work on memory that the process goes on to fill
    m.panels = take(1, int(m.panel_bytes), Type::u8, true).data;
    memset(m.panels, 0xff, m.panel_bytes);
    blocks_.back()->output = false;
    k.pack(m);
}

bool Bench::guards_intact() const {
    for (const auto& b : blocks_) {
        const char *first = b->bytes.data(), *last = first + b->bytes.size(), *data = (const char*)b->t.data;
        for (const char* p = first; p < last; p++)
            if ((p < data || p >= data + b->size) && *p != char(0xa5)) return false;
    }
    return true;
}

std::vector<Tensor> Bench::outputs() const {
    std::vector<Tensor> all;
    for (const auto& b : blocks_)
        if (b->output) all.push_back(b->t);
    return all;
}

std::string Bench::differs(const Bench& other) const {
    std::vector<const Block*> a, b;
    for (const auto& x : blocks_)
        if (x->output) a.push_back(x.get());
    for (const auto& x : other.blocks_)
        if (x->output) b.push_back(x.get());
    if (a.size() != b.size() || a.empty()) return "a different number of outputs, or none";
    for (size_t o = 0; o < a.size(); o++) {
        const Tensor &x = a[o]->t, &y = b[o]->t;
        for (size_t i = 0; i < x.count() && (x.type == Type::f32 || x.type == Type::bf16); i++) {
            float u = at(x, i), v = at(y, i);
            if (!(memcmp(&u, &v, 4) == 0 && u == u))
                return "output " + std::to_string(o) + ", row " + std::to_string(i / x.cols) + ", column " +
                       std::to_string(i % x.cols) + ": " + std::to_string(u) + " instead of " + std::to_string(v);
        }
        if (memcmp(x.data, y.data, a[o]->size)) return "output " + std::to_string(o);
    }
    return "";
}

KeyValues panels(Bench& b, Type type, int heads, int size, int n, int seqs, int room) {
    int count = room ? room * seqs : n / 16 + seqs;
    KeyValues kv{nullptr, nullptr, type, heads, size, room};
    kv.k = b.zeros(count, int(key_panel(size)) * heads, type).data;
    kv.v = b.zeros(count, int(value_panel(size)) * heads, type).data;
    return kv;
}

std::vector<const Kernels*> fast_kernels() {
    std::vector<const Kernels*> all;
    for (const char* isa : {"avx2", "avx512", "avx512+bf16"}) {
        try {
            all.push_back(&cpu(isa));
        } catch (const Error&) {
        }
    }
    return all;
}
