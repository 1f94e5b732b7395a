// kernels.cpp - every kernel of list.h at the shapes of one training step of SmolLM2-135M (4 rows of 512 tokens) and,
// where decoding calls it otherwise, of one token; as GFLOP/s or GB/s and as a share of what a probe reads beside it.
// Refuses to start when a kernel of the list is not among them.
#include <benchmark/benchmark.h>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>
#include "../kernels/kernels.h"
#include "../kernels/parallel.h"
#include "../kernels/probe.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"

namespace {

constexpr int tokens = 2048, sequences = 4, dim = 576, hidden = 1536, heads = 9, kv_heads = 3, head = 64, rank = 16;
constexpr int vocabulary = 49152, head_rows = 256;

struct Case {
    const char* kernel;
    std::string shape;
    double flops, bytes;            // counted from the shapes; one of them says what the share is of
    std::function<void()> run;
    bool exact = false;             // in f32 whatever the operands are
};
std::deque<Case> cases;
Arena memory(size_t(8) << 30);
const Kernels& k = cpu();
const Type operand = k.bf16 ? Type::bf16 : Type::f32;

Tensor tensor(int rows, int cols, Type type = Type::f32) {
    Tensor t = memory.make(rows, cols, type);
    Random random(7, memory.used);
    std::vector<float> row(size_t(cols), 0.0f);
    for (int i = 0; i < rows; i++) {
        for (float& v : row) v = random.normal() * 0.1f;
        quantize(type, row.data(), t.slice(i, 1).data, row.size());
    }
    return t;
}
Tensor fresh(Tensor t) {
    t.fresh = true;
    return t;
}
Matrix& matrix(int out, int in, Type type = Type::bf16) {
    static std::deque<Matrix> all;
    Matrix& m = all.emplace_back();
    m.out = out, m.in = in, m.w = tensor(out, in, type), m.operand = operand;
    k.pack(m);
    if (m.panel_bytes) m.panels = memory.take(m.panel_bytes);
    k.pack(m);
    return m;
}
const int* numbers(int n, int below) {
    int* p = (int*)memory.take(size_t(n) * 4);
    Random random(3, uint64_t(n));
    for (int i = 0; i < n; i++) p[i] = int(random.below(uint32_t(below)));
    return p;
}
const int* counting(int n, int from = 0) {
    int* p = (int*)memory.take(size_t(n) * 4);
    for (int i = 0; i < n; i++) p[i] = from + i % (n / (n >= tokens ? sequences : 1));
    return p;
}
// The training batch, or one token of each of `seqs` sequences at position `at`.
Rows training_rows() {
    int* first = (int*)memory.take(64);
    for (int s = 0; s <= sequences; s++) first[s] = s * tokens / sequences;
    return {tokens, sequences, nullptr, counting(tokens), first, counting(16)};
}
Rows decoding_rows(int seqs, int at) {
    int *first = (int*)memory.take(4 * size_t(seqs + 1)), *pos = (int*)memory.take(4 * size_t(seqs)),
        *slot = (int*)memory.take(4 * size_t(seqs));
    for (int s = 0; s <= seqs; s++) first[s] = s;
    for (int s = 0; s < seqs; s++) pos[s] = at, slot[s] = s;
    return {seqs, seqs, nullptr, pos, first, slot};
}

void moving() {
    Tensor x = tensor(tokens, dim), y = tensor(tokens, dim), o = tensor(tokens, dim, operand);
    double n = double(x.bytes());
    cases.push_back({"zero", "2048 x 576", 0, n, [=] { k.zero(y); }});
    cases.push_back({"copy", "2048 x 576, to operands", 0, n + double(o.bytes()), [=] { k.copy(o, x); }});
    cases.push_back({"add", "2048 x 576, in place", 0, 3 * n, [=] { k.add(y, x, y); }});
    cases.push_back({"add_to", "2048 x 576", 0, 3 * n, [=] { k.add_to(y, x, 1e-3f); }});
    Tensor table = tensor(vocabulary, dim, Type::bf16), dtable = tensor(vocabulary, dim);
    const int *ids = numbers(tokens, vocabulary), *rows = counting(tokens);
    const float* s = tensor(1, tokens).f();
    cases.push_back({"gather", "2048 of 49152 x 576, bf16", 0, n * 1.5, [=] { k.gather(y, table, ids, 1); }});
    cases.push_back({"gather_back", "2048 into 49152 x 576", 0, 3 * n, [=] { k.gather_back(dtable, x, ids, 1, -1); }});
    cases.push_back({"select", "2048 x 576", 0, 2 * n, [=] { k.select(y, x, rows); }});
    cases.push_back({"select_back", "2048 x 576", 0, 3 * n, [=] { k.select_back(y, x, rows, s); }});
    Tensor part = tensor(tokens, dim / 2);
    cases.push_back({"columns", "288 of 576, 2048 rows", 0, n, [=] { k.columns(part, x, dim / 2); }});
    cases.push_back({"columns_back", "288 into 576, 2048 rows", 0, 1.5 * n, [=] { k.columns_back(y, part, dim / 2); }});
    int *next = (int*)memory.take(128), *pos = (int*)memory.take(128), *id = (int*)memory.take(128);
    cases.push_back({"follow", "32 sequences", 0, 5 * 32 * 4, [=] { k.follow(id, pos, next, 32); }});
}

void product(const std::string& what, int n, int out, int in, Type type, bool adapted) {
    Matrix& w = matrix(out, in, type);
    Product p{tensor(n, out), &w, {}, nullptr};
    double flops = 2.0 * n * out * in;
    if (adapted) p.u = tensor(n, rank, operand), p.b = &matrix(out, rank), flops += 2.0 * n * out * rank;
    Tensor x = tensor(n, in, operand);
    double bytes = n < 8 ? double(w.w.bytes()) : 0;             // few rows: reading the weights is the work
    cases.push_back({"matmul", what, bytes > 0 ? 0 : flops, bytes, [=] { k.matmul(&p, 1, x); }});
}

void products() {
    Matrix& w = matrix(hidden, dim);
    static Matrix unpacked = w;
    cases.push_back({"pack", "1536 x 576, bf16", 0, double(w.w.bytes() + w.panel_bytes), [] { k.pack(unpacked); }});
    product("2048 x 576 -> 1536", tokens, hidden, dim, Type::bf16, false);
    product("2048 x 576 -> 1536, adapter of rank 16", tokens, hidden, dim, Type::bf16, true);
    product("2048 x 1536 -> 576", tokens, dim, hidden, Type::bf16, false);
    product("2048 x 1536 -> 576, Q4_1", tokens, dim, hidden, Type::q4_1, false);
    product("2048 x 576 -> 16, an adapter's", tokens, rank, dim, Type::bf16, false);
    product("256 x 576 -> 49152, the head", head_rows, vocabulary, dim, Type::bf16, false);
    product("32 x 576 -> 49152, the head, Q8_0", 32, vocabulary, dim, Type::q8_0, false);
    for (Type t : {Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1})
        product(std::string("1 x 576 -> 49152, the head, ") + info(t).name, 1, vocabulary, dim, t, false);
    Tensor dy = tensor(tokens, hidden, operand), dx = fresh(tensor(tokens, dim)), x = tensor(tokens, dim, operand);
    Product back{dy, &w, {}, nullptr};
    double flops = 2.0 * tokens * hidden * dim;
    cases.push_back({"matmul_dx", "2048 x 1536 -> 576", flops, 0, [=] { k.matmul_dx(dx, &back, 1); }});
    Matrix& a = matrix(dim, rank);
    Product adapted{dy, &w, tensor(tokens, rank, operand), &a};
    cases.push_back({"matmul_dx", "2048 x 1536 -> 576, adapter of rank 16", flops + 2.0 * tokens * dim * rank, 0,
                     [=] { k.matmul_dx(dx, &adapted, 1); }});
    Tensor dw = tensor(hidden, dim), db = tensor(hidden, rank), u = tensor(tokens, rank, operand);
    cases.push_back({"matmul_dw", "1536 x 576 from 2048", flops, 0, [=] { k.matmul_dw(dw, dy, x, 1e-3f); }});
    cases.push_back({"matmul_dw", "1536 x 16 from 2048, an adapter's", 2.0 * tokens * hidden * rank, 0,
                     [=] { k.matmul_dw(db, dy, u, 1e-3f); }});
}

void rows() {
    Tensor x = tensor(tokens, dim), w = tensor(1, dim), y = tensor(tokens, dim, operand), r = tensor(tokens, 1);
    Tensor dx = tensor(tokens, dim), dy = tensor(tokens, dim, operand), dw = tensor(1, dim);
    double n = double(x.bytes()), o = double(y.bytes());
    cases.push_back({"rms_norm", "2048 x 576", 0, n + o, [=] { k.rms_norm(y, r, x, w, 1e-5f); }});
    cases.push_back({"rms_norm_back", "2048 x 576", 0, 3 * n + o, [=] { k.rms_norm_back(dx, dw, dy, x, w, r); }});
    auto wide = [] { return tensor(tokens, hidden, operand); };
    Tensor g = wide(), u = wide(), z = wide(), dg = fresh(wide()), du = fresh(wide()), dz = wide();
    double w3 = double(g.bytes());
    for (Gate f : {Gate::silu, Gate::gelu_tanh}) {
        const char* name = f == Gate::silu ? "2048 x 1536, silu" : "2048 x 1536, gelu";
        cases.push_back({"gated", name, 0, 3 * w3, [=] { k.gated(z, g, u, f); }});
        cases.push_back({"gated_back", name, 0, 5 * w3, [=] { k.gated_back(dg, du, dz, g, u, f); }});
    }
    Tensor t = tensor(tokens, head);
    const int* pos = counting(tokens);
    const float* freq = tensor(1, head / 2).f();
    cases.push_back(
        {"rotations", "2048 x 32 pairs", 0, double(t.bytes()), [=] { k.rotations(t, pos, freq, head / 2); }});
    cases.push_back(
        {"rope", "2048 x 9 heads of 64", 0, 2 * o + double(t.bytes()), [=] { k.rope(dy, dy, t, head, 1); }});
    cases.push_back({"dropout", "2048 x 576", 0, 2 * n, [=] { k.dropout(dx, x, 0.1f, 1, 1); }});
}

KeyValues key_values(int panels, int room) {
    KeyValues kv{nullptr, nullptr, operand, kv_heads, head, room};
    kv.k = tensor(panels, int(key_panel(head)) * kv_heads, operand).data;
    kv.v = tensor(panels, int(value_panel(head)) * kv_heads, operand).data;
    return kv;
}

void attention() {
    Rows b = training_rows();
    KeyValues kv = key_values(tokens / 16 + sequences, 0);
    auto wide = [] { return tensor(tokens, dim, operand); };
    auto narrow = [] { return tensor(tokens, kv_heads * head, operand); };
    Tensor q = wide(), key = narrow(), v = narrow(), y = wide(), l = tensor(heads, tokens), dy = wide();
    Tensor dq = fresh(wide()), dk = fresh(narrow()), dv = fresh(narrow());
    int each = tokens / sequences;
    double pairs = double(sequences) * each * (each + 1) / 2 * heads;
    cases.push_back(
        {"store_kv", "2048 x 3 heads of 64", 0, 3 * double(key.bytes()), [=] { k.store_kv(kv, key, v, b); }});
    cases.push_back({"attend", "4 x 512, causal, 9/3 heads of 64", 4 * head * pairs, 0,
                     [=] { k.attend(y, l, q, kv, b, 0.125f, 0); }});
    cases.push_back({"attend_back", "4 x 512, causal, 9/3 heads of 64", 10 * head * pairs, 0,
                     [=] { k.attend_back(dq, dk, dv, dy, y, l, q, key, v, b, head, 0.125f, 0); }});
    constexpr int seqs = 32, at = 511;
    KeyValues cache = key_values(seqs * 32, 32);
    Rows one = decoding_rows(seqs, at);
    Tensor q1 = tensor(seqs, dim, operand), y1 = tensor(seqs, dim, operand);
    double read = double(seqs) * (at + 1) * kv_heads * head * 2 * info(operand).bytes;
    cases.push_back({"attend", "32 tokens, 512 positions each in the cache", 0, read,
                     [=] { k.attend(y1, {}, q1, cache, one, 0.125f, 0); }});
}

// A linear attention layer of Qwen3.5-0.8B: 16 heads of 128 by 128, on one sequence; and one token each of 32.
void linear_attention() {
    constexpr int n = 512, channels = 6144, seqs = 32;
    int* first = (int*)memory.take(64);
    first[0] = 0, first[1] = n;
    Rows b{n, 1, nullptr, counting(n), first, counting(16)};
    DeltaRule r{16, 16, 128, 128};
    auto wide = [](int rows) { return tensor(rows, channels, operand); };
    auto few = [](int rows) { return tensor(rows, 16, operand); };
    Tensor x = wide(n), y = wide(n), dx = fresh(wide(n)), w = tensor(1, 4 * channels), dw = tensor(1, 4 * channels);
    double bytes = double(x.bytes());
    cases.push_back({"convolve", "512 x 6144, 4 taps", 0, 2 * bytes, [=] { k.convolve(y, x, w, {}, b); }});
    cases.push_back({"convolve_back", "512 x 6144, 4 taps", 0, 3 * bytes,
                     [=] { k.convolve_back(dx, dw, y, x, w, b); }});
    Tensor a = few(n), beta = few(n), rate = tensor(1, 16), bias = tensor(1, 16), o = tensor(n, 2048, operand);
    Tensor da = fresh(few(n)), db = fresh(few(n));
    // Of a chunk's row: the state read twice and written, its keys met twice, u twice; back: see delta_back.inl.
    double state = 128 * 128, there = 2 * (3 * state + 2 * 16 * 128 + 16 * 128) * 16 * n;
    double back = there + 2 * (7 * state + 9 * 16 * 128) * 16 * n;
    cases.push_back(
        {"delta", "512 tokens", there, 0, [=] { k.delta(o, x, a, beta, rate, bias, r, b); }, true});
    cases.push_back({"delta_back", "512 tokens", back, 0, [=] {
                         k.delta_back(dx, da, db, {}, {}, o, x, a, beta, rate, bias, r, b);
                     }, true});
    DeltaRule cached = r;
    cached.state = tensor(seqs * 16, int(r.state_size())).f(), cached.open = tensor(seqs * 16, int(r.open_size())).f();
    Tensor x1 = wide(seqs), a1 = few(seqs), o1 = tensor(seqs, 2048, operand);
    for (int at : {100, 111}) {                 // the last row of a chunk writes the state
        Rows one = decoding_rows(seqs, at);
        bool last = at % 16 == 15;
        double moved = seqs * 16 * state * 4 * (last ? 2 : 1);
        cases.push_back({"delta", last ? "32 tokens, last of their chunks" : "32 tokens, of 32 sequences", 0, moved,
                         [=] { k.delta(o1, x1, a1, a1, rate, bias, cached, one); }});
    }
}

void the_rest() {
    Tensor z = tensor(head_rows, vocabulary), dz = tensor(head_rows, vocabulary, operand), logp = tensor(head_rows, 1);
    const int* want = numbers(head_rows, vocabulary);
    double n = double(z.bytes());
    cases.push_back({"softcap", "256 x 49152", 0, 2 * n, [=] { k.softcap(z, 30); }});
    cases.push_back({"pick", "256 x 49152", 0, n, [=] { k.pick(logp, {}, z, want, nullptr, 0); }});
    cases.push_back({"pick", "256 x 49152, with its gradient", 0, 1.5 * n,
                     [=] { k.pick(logp, dz, z, want, nullptr, 0); }});
    int* best = (int*)memory.take(head_rows * 4);
    cases.push_back({"argmax", "256 x 49152", 0, n, [=] { k.argmax(best, z); }});
    Draw draw{1.44269504f, 50, 0.9};
    draw.stream = (const uint64_t*)memory.take(head_rows * 8), draw.pos = draw.row = counting(head_rows);
    cases.push_back({"sample", "256 x 49152, of the best 50 and of 0.9", 0, n, [=] { k.sample(best, z, draw); }});
    Tensor x = tensor(tokens, dim), y = tensor(tokens, dim), v = tensor(1, dim);
    Tensor s = tensor(1, heads), ds = tensor(1, heads);
    double m = double(x.bytes());
    cases.push_back({"scale_heads", "2048 x 9 heads of 64", 0, 2 * m, [=] { k.scale_heads(y, x, s); }});
    cases.push_back({"scale_heads_back", "2048 x 9 heads of 64", 0, 4 * m,
                     [=] { k.scale_heads_back(y, ds, x, x, s); }});
    cases.push_back({"add_row", "2048 x 576", 0, 2 * m, [=] { k.add_row(y, x, v, 1); }});
    cases.push_back({"sum_rows", "2048 x 576", 0, m, [=] { k.sum_rows(v, x, 1e-3f); }});
    cases.push_back({"project_out", "2048 x 576", 0, 2 * m, [=] { k.project_out(y, x, v); }});
    Tensor w = tensor(1, 4884480), g = tensor(1, 4884480), m1 = tensor(1, 4884480), m2 = tensor(1, 4884480);
    k.zero(m2);
    double parameters = double(w.bytes());
    cases.push_back({"sum_squares", "4,884,480 numbers", 0, parameters, [=] {
                         double sum = 0;
                         k.sum_squares(&sum, g);
                         benchmark::DoNotOptimize(sum);
                     }});
    cases.push_back({"adamw", "4,884,480 numbers", 0, 7 * parameters,
                     [=] { k.adamw(w, m1, m2, g, 1, {1e-6f, 0.9f, 0.999f, 1e-8f, 0, 10}); }});
}

void measure(benchmark::State& state, const Case& c) {
    static const bool wide = std::string(k.name).starts_with("avx512");
    bool bf16 = k.bf16 && !c.exact;
    probe::Limit limit = c.flops == 0 ? probe::bandwidth : bf16 ? probe::bf16 : wide ? probe::f32 : probe::f32_256;
    double before = limit(), start = probe::now();
    for (auto _ : state) c.run();
    double seconds = (probe::now() - start) / double(state.iterations()), after = limit();
    double reached = (c.flops > 0 ? c.flops : c.bytes) / seconds * 1e-9;
    state.counters[c.flops > 0 ? "GFLOP/s" : "GB/s"] = reached;
    state.counters["share"] = reached / ((before + after) / 2);
    state.counters["disturbed"] = before < 0.9 * after || after < 0.9 * before;
}

}  // namespace

int main(int argc, char** argv) {
    moving(), products(), rows(), attention(), linear_attention(), the_rest();
    std::set<std::string> here, missing;
    for (const Case& c : cases) here.insert(c.kernel);
#define K(name, args) if (!here.count(#name)) missing.insert(#name);
    DD_KERNELS(K)
#undef K
    for (const std::string& name : missing) fprintf(stderr, "bench: the kernel %s is not among these\n", name.c_str());
    if (!missing.empty()) return 1;
    for (const Case& c : cases)
        benchmark::RegisterBenchmark((std::string(c.kernel) + "/" + c.shape).c_str(),
                                     [&c](benchmark::State& s) { measure(s, c); })->UseRealTime()->MinTime(0.02);
    benchmark::AddCustomContext("kernels", k.name);
    benchmark::AddCustomContext("threads", std::to_string(threads()));
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
