// kernels.cpp - every kernel of list.h at the shapes of one training step and, where decoding calls it otherwise, of
// one token; as GFLOP/s or GB/s and as a share of what a probe reads beside it. Refuses to start when a kernel of the
// list is not among them. On the CPU the shapes are SmolLM2-135M's, 4 rows of 512 tokens; `--device cuda[:N]`:
// Qwen3-1.7B's, 4 rows of 2048, every product of bf16 once by cuBLASLt (where there is one) and once by our own tiles.
#include <benchmark/benchmark.h>
#include <chrono>
#include <cmath>
#include <cstring>
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
#ifdef DD_PLAYED
#include "../kernels/cuda/families.h"
#endif

namespace {

struct Sizes {
    int tokens = 2048, sequences = 4, dim = 576, hidden = 1536, heads = 9, kv_heads = 3, head = 64, rank = 16;
    int vocabulary = 49152, head_rows = 256, positions = 512, delta_tokens = 512, parameters = 4884480, many = 32;
};
constexpr Sizes for_a_device = {8192, 4, 2048, 6144, 16, 8, 128, 16, 151936, 256, 2048, 2048, 17432576, 32};
constexpr Sizes for_a_test = {64, 2, 64, 96, 2, 1, 64, 8, 256, 16, 32, 32, 4096, 2};
int tokens, sequences, dim, hidden, heads, kv_heads, head, rank, vocabulary, head_rows, positions, delta_tokens,
    parameters, many;
void use(const Sizes& s) {
    tokens = s.tokens, sequences = s.sequences, dim = s.dim, hidden = s.hidden, heads = s.heads;
    kv_heads = s.kv_heads, head = s.head, rank = s.rank, vocabulary = s.vocabulary, head_rows = s.head_rows;
    positions = s.positions, delta_tokens = s.delta_tokens, parameters = s.parameters, many = s.many;
}

struct Case {
    const char* kernel;
    std::string shape;
    double flops, bytes;            // counted from the shapes; one of them says what the share is of
    std::function<void()> run;
    bool exact = false;             // in f32 whatever the operands are
};
std::deque<Case> cases;
Arena* memory;
Kernels k, own;                     // own: of a device, without the library
Type operand;
bool device() { return !k.memory->host; }
void wait() {
    if (device()) k.memory->download(nullptr, nullptr, 0);
}

// Bytes of a row of random numbers; K blocks, which nothing here makes, of random codes and small scales.
std::vector<char> random_numbers(Type type, size_t n, Random& random) {
    std::vector<char> bytes(row_bytes(type, n));
    if (info(type).block < 256) {
        std::vector<float> row(n);
        for (float& v : row) v = random.normal() * 0.1f;
        quantize(type, row.data(), bytes.data(), n);
        return bytes;
    }
    for (char& b : bytes) b = char(random.below(256));
    uint16_t small = f32_to_f16(0x1p-12f);
    for (size_t at = 0; at < bytes.size(); at += size_t(info(type).bytes))
        for (size_t half : {type == Type::q6_k ? 208 : 0, type == Type::q6_k ? 208 : 2})
            memcpy(&bytes[at + half], &small, 2);
    return bytes;
}
// The same million numbers again and again, from where the memory stands.
Tensor tensor(int rows, int cols, Type type = Type::f32) {
    Random random(7, memory->used);
    size_t row = row_bytes(type, size_t(cols)), some = std::min(size_t(rows), (size_t(1) << 20) / size_t(cols) + 1);
    std::vector<char> once = random_numbers(type, some * size_t(cols), random), all(row * size_t(rows));
    for (size_t at = 0; at < all.size(); at += once.size())
        memcpy(&all[at], once.data(), std::min(once.size(), all.size() - at));
    Tensor t = memory->make(rows, cols, type);
    k.memory->hold(t.data, {all.data(), rows, cols, type});
    wait();
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
    if (m.panel_bytes) m.panels = memory->take(m.panel_bytes);
    k.pack(m);
    return m;
}
const int* ints(std::vector<int> v) {
    static std::deque<std::vector<int>> all;
    return memory->put(all.emplace_back(std::move(v)));
}
int* room(size_t n) { return (int*)memory->take(n * 4); }
const int* numbers(int n, int below) {
    std::vector<int> v;
    Random random(3, uint64_t(n));
    for (int i = 0; i < n; i++) v.push_back(int(random.below(uint32_t(below))));
    return ints(v);
}
const int* counting(int n, int each) {
    std::vector<int> v;
    for (int i = 0; i < n; i++) v.push_back(i % each);
    return ints(v);
}
// `seqs` sequences of so many tokens from position `from` on.
Rows some_rows(int seqs, int each, int from = 0) {
    std::vector<int> first, pos, slot;
    for (int s = 0; s <= seqs; s++) first.push_back(s * each);
    for (int i = 0; i < seqs * each; i++) pos.push_back(from + i % each);
    for (int s = 0; s < seqs; s++) slot.push_back(s);
    return {seqs * each, seqs, nullptr, ints(pos), ints(first), ints(slot), each};
}
Rows training_rows() { return some_rows(sequences, tokens / sequences); }
template <class... T> void add(const char* kernel, const std::string& shape, double flops, double bytes, T... run) {
    cases.push_back({kernel, shape, flops, bytes, run...});
}

void moving() {
    Tensor x = tensor(tokens, dim), y = tensor(tokens, dim), o = tensor(tokens, dim, operand);
    double n = double(x.bytes());
    std::string shape = format("%d x %d", tokens, dim);
    add("zero", shape, 0, n, [=] { k.zero(y); });
    add("copy", shape + ", to operands", 0, n + double(o.bytes()), [=] { k.copy(o, x); });
    add("add", shape + ", in place", 0, 3 * n, [=] { k.add(y, x, y); });
    add("add_to", shape, 0, 3 * n, [=] { k.add_to(y, x, 1e-3f); });
    Tensor table = tensor(vocabulary, dim, Type::bf16), dtable = tensor(vocabulary, dim);
    const int *ids = numbers(tokens, vocabulary), *rows = counting(tokens, tokens / sequences);
    const float* s = tensor(1, tokens).f();
    add("gather", format("%d of %d x %d, bf16", tokens, vocabulary, dim), 0, n * 1.5,
        [=] { k.gather(y, table, ids, 1); });
    add("gather_back", format("%d into %d x %d", tokens, vocabulary, dim), 0, 3 * n,
        [=] { k.gather_back(dtable, x, ids, 1, -1); });
    add("select", shape, 0, 2 * n, [=] { k.select(y, x, rows); });
    add("select_back", shape, 0, 3 * n, [=] { k.select_back(y, x, rows, s); });
    Tensor part = tensor(tokens, dim / 2);
    std::string half = format("%d of %d, %d rows", dim / 2, dim, tokens);
    add("columns", half, 0, n, [=] { k.columns(part, x, dim / 2); });
    add("columns_back", half, 0, 1.5 * n, [=] { k.columns_back(y, part, dim / 2); });
    int *next = room(size_t(many)), *pos = room(size_t(many)), *id = room(size_t(many));
    add("follow", format("%d sequences", many), 0, 5 * many * 4, [=] { k.follow(id, pos, next, many); });
}

// On a device with a library once by it and once without.
template <class F> void add_product(const char* kernel, const std::string& what, double flops, double bytes, F run) {
    add(kernel, what, flops, bytes, [=] { run(k); });
    if (own.name) add(kernel, what + ", own tiles", flops, bytes, [=] { run(own); });
}

void product(int n, int out, int in, Type type, int adapter, const char* of = "") {
    std::string what = format("%d x %d -> %d%s", n, in, out, of);
    if (adapter) what += format(", adapter of rank %d", adapter);
    if (type != Type::bf16 || n == 1) what += std::string(", ") + info(type).name;
    Matrix& w = matrix(out, in, type);
    Product p{tensor(n, out, device() && out != vocabulary ? operand : Type::f32), &w, {}, nullptr};
    double flops = 2.0 * n * out * in;
    if (adapter) p.u = tensor(n, adapter, operand), p.b = &matrix(out, adapter), flops += 2.0 * n * out * adapter;
    Tensor x = tensor(n, in, operand);
    double bytes = n <= 8 ? double(w.w.bytes()) : 0; // few rows: reading the weights is the work
    auto run = [=](const Kernels& k) { k.matmul(&p, 1, x); };
    if (n <= 8 || type != Type::bf16) add("matmul", what, bytes > 0 ? 0 : flops, bytes, [=] { run(k); });
    else add_product("matmul", what, flops, 0, run);
}

void products() {
    Matrix& w = matrix(hidden, dim);
    static Matrix unpacked; // on a device only what no product can read as it is
    unpacked = device() ? matrix(hidden, dim, Type::f32) : w;
    add("pack", format("%d x %d, %s", hidden, dim, info(unpacked.w.type).name), 0,
        double(unpacked.w.bytes() + unpacked.panel_bytes), [] { k.pack(unpacked); });
    product(tokens, hidden, dim, Type::bf16, 0);
    product(tokens, hidden, dim, Type::bf16, rank);
    product(tokens, dim, hidden, Type::bf16, 0);
    product(tokens, dim, hidden, Type::q4_1, 0);
    product(tokens, rank, dim, Type::bf16, 0, ", an adapter's");
    product(head_rows, vocabulary, dim, Type::bf16, 0, ", the head");
    product(32, vocabulary, dim, Type::q8_0, 0, ", the head");
    if (device()) {
        for (int n : {32, 128, 512}) product(n, hidden, dim, Type::bf16, 0);
        product(8, vocabulary, dim, Type::bf16, 0, ", the head");
    }
    std::vector<Type> types = {Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1};
    if (device() && dim % 256 == 0) types.insert(types.end(), {Type::q4_k, Type::q6_k});
    for (Type t : types) product(1, vocabulary, dim, t, 0, ", the head");
    Tensor dy = tensor(tokens, hidden, operand), dx = fresh(tensor(tokens, dim, device() ? operand : Type::f32));
    Tensor x = tensor(tokens, dim, operand);
    Product back{dy, &w, {}, nullptr};
    double flops = 2.0 * tokens * hidden * dim;
    std::string shape = format("%d x %d -> %d", tokens, hidden, dim);
    add_product("matmul_dx", shape, flops, 0, [=](const Kernels& k) { k.matmul_dx(dx, &back, 1); });
    Product adapted{dy, &w, tensor(tokens, rank, operand), &matrix(dim, rank)};
    add_product("matmul_dx", shape + format(", adapter of rank %d", rank), flops + 2.0 * tokens * dim * rank, 0,
                [=](const Kernels& k) { k.matmul_dx(dx, &adapted, 1); });
    Tensor dw = tensor(hidden, dim), db = tensor(hidden, rank), u = tensor(tokens, rank, operand);
    add_product("matmul_dw", format("%d x %d from %d", hidden, dim, tokens), flops, 0,
                [=](const Kernels& k) { k.matmul_dw(dw, dy, x, 1e-3f); });
    add_product("matmul_dw", format("%d x %d from %d, an adapter's", hidden, rank, tokens),
                2.0 * tokens * hidden * rank, 0, [=](const Kernels& k) { k.matmul_dw(db, dy, u, 1e-3f); });
}

void rows() {
    Tensor x = tensor(tokens, dim), w = tensor(1, dim), y = tensor(tokens, dim, operand), r = tensor(tokens, 1);
    Tensor dx = tensor(tokens, dim), dy = tensor(tokens, dim, operand), dw = tensor(1, dim);
    double n = double(x.bytes()), o = double(y.bytes());
    std::string shape = format("%d x %d", tokens, dim);
    add("rms_norm", shape, 0, n + o, [=] { k.rms_norm(y, r, x, w, 1e-5f); });
    add("rms_norm_back", shape, 0, 3 * n + o, [=] { k.rms_norm_back(dx, dw, dy, x, w, r); });
    auto wide = [] { return tensor(tokens, hidden, operand); };
    Tensor g = wide(), u = wide(), z = wide(), dg = fresh(wide()), du = fresh(wide()), dz = wide();
    double w3 = double(g.bytes());
    for (Gate f : {Gate::silu, Gate::gelu_tanh}) {
        std::string name = format("%d x %d, %s", tokens, hidden, f == Gate::silu ? "silu" : "gelu");
        add("gated", name, 0, 3 * w3, [=] { k.gated(z, g, u, f); });
        add("gated_back", name, 0, 5 * w3, [=] { k.gated_back(dg, du, dz, g, u, f); });
    }
    Tensor t = tensor(tokens, head);
    const int* pos = counting(tokens, tokens / sequences);
    static std::vector<float> freq;
    for (int i = 0; i < head / 2; i++) freq.push_back(1.0f / float(i + 1));
    add("rotations", format("%d x %d pairs", tokens, head / 2), 0, double(t.bytes()),
        [=] { k.rotations(t, pos, freq.data(), head / 2); });
    int turned = dim / head; // heads of a row
    add("rope", format("%d x %d heads of %d", tokens, turned, head), 0, 2 * o + double(t.bytes()),
        [=] { k.rope(dy, dy, t, head, 1); });
    add("dropout", shape, 0, 2 * n, [=] { k.dropout(dx, x, 0.1f, 1, 1); });
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
    auto wide = [] { return tensor(tokens, heads * head, operand); };
    auto narrow = [] { return tensor(tokens, kv_heads * head, operand); };
    Tensor q = wide(), key = narrow(), v = narrow(), y = wide(), l = tensor(heads, tokens), dy = wide();
    Tensor dq = fresh(wide()), dk = fresh(narrow()), dv = fresh(narrow());
    int each = tokens / sequences;
    double pairs = double(sequences) * each * (each + 1) / 2 * heads;
    float scale = 1 / std::sqrt(float(head));
    add("store_kv", format("%d x %d heads of %d", tokens, kv_heads, head), 0, 3 * double(key.bytes()),
        [=] { k.store_kv(kv, key, v, b); });
    std::string shape = format("%d x %d, causal, %d/%d heads of %d", sequences, each, heads, kv_heads, head);
    add("attend", shape, 4 * head * pairs, 0, [=] { k.attend(y, l, q, kv, b, scale, 0); });
    add("attend_back", shape, 10 * head * pairs, 0,
        [=] { k.attend_back(dq, dk, dv, dy, y, l, q, key, v, b, head, scale, 0); });
    for (int seqs : std::set<int>{device() ? 1 : many, many}) {
        KeyValues cache = key_values(seqs * positions / 16, positions / 16);
        Rows one = some_rows(seqs, 1, positions - 1);
        Tensor q1 = tensor(seqs, heads * head, operand), y1 = tensor(seqs, heads * head, operand);
        double read = double(seqs) * positions * kv_heads * head * 2 * info(operand).bytes;
        add("attend", format("%d tokens, %d positions each in the cache", seqs, positions), 0, read,
            [=] { k.attend(y1, {}, q1, cache, one, scale, 0); });
    }
}

// A linear attention layer of Qwen3.5-0.8B: 16 heads of 128 by 128, on one sequence; and one token of each of many.
void linear_attention() {
    constexpr int channels = 6144;
    int n = delta_tokens, seqs = many;
    Rows b = some_rows(1, n);
    DeltaRule r{16, 16, 128, 128};
    auto wide = [](int rows) { return tensor(rows, channels, operand); };
    auto few = [](int rows) { return tensor(rows, 16, operand); };
    Tensor x = wide(n), y = wide(n), dx = fresh(wide(n)), w = tensor(1, 4 * channels), dw = tensor(1, 4 * channels);
    double bytes = double(x.bytes());
    std::string shape = format("%d x %d, 4 taps", n, channels), length = format("%d tokens", n);
    add("convolve", shape, 0, 2 * bytes, [=] { k.convolve(y, x, w, {}, b); });
    add("convolve_back", shape, 0, 3 * bytes, [=] { k.convolve_back(dx, dw, y, x, w, b); });
    Tensor a = few(n), beta = few(n), rate = tensor(1, 16), bias = tensor(1, 16), o = tensor(n, 2048, operand);
    Tensor da = fresh(few(n)), db = fresh(few(n));
    // Of a chunk's row: the state read twice and written, its keys met twice, u twice; back: see delta_back.inl.
    double state = 128 * 128, there = 2 * (3 * state + 2 * 16 * 128 + 16 * 128) * 16 * n;
    double back = there + 2 * (7 * state + 9 * 16 * 128) * 16 * n;
    add("delta", length, there, 0, [=] { k.delta(o, x, a, beta, rate, bias, r, b); }, true);
    add("delta_back", length, back, 0,
        [=] { k.delta_back(dx, da, db, {}, {}, o, x, a, beta, rate, bias, r, b); }, true);
    DeltaRule cached = r;
    cached.state = tensor(seqs * 16, int(r.state_size())).f(), cached.open = tensor(seqs * 16, int(r.open_size())).f();
    Tensor x1 = wide(seqs), a1 = few(seqs), o1 = tensor(seqs, 2048, operand);
    for (int at : {100, 111}) { // the last row of a chunk writes the state
        Rows one = some_rows(seqs, 1, at);
        bool last = at % 16 == 15;
        double moved = seqs * 16 * state * 4 * (last ? 2 : 1);
        add("delta", format(last ? "%d tokens, last of their chunks" : "%d tokens, one of each sequence", seqs), 0,
            moved, [=] { k.delta(o1, x1, a1, a1, rate, bias, cached, one); });
    }
}

void the_rest() {
    Tensor z = tensor(head_rows, vocabulary), dz = tensor(head_rows, vocabulary, operand), logp = tensor(head_rows, 1);
    const int* want = numbers(head_rows, vocabulary);
    double n = double(z.bytes());
    std::string logits = format("%d x %d", head_rows, vocabulary), shape = format("%d x %d", tokens, dim);
    add("softcap", logits, 0, 2 * n, [=] { k.softcap(z, 30); });
    add("pick", logits, 0, n, [=] { k.pick(logp, {}, z, want, nullptr, 0); });
    add("pick", logits + ", with its gradient", 0, 1.5 * n, [=] { k.pick(logp, dz, z, want, nullptr, 0); });
    int* best = room(size_t(head_rows));
    add("argmax", logits, 0, n, [=] { k.argmax(best, z); });
    Draw draw{1.44269504f, 50, 0.9};
    draw.stream = (const uint64_t*)room(2 * size_t(head_rows)), draw.pos = draw.row = numbers(head_rows, head_rows);
    add("sample", logits + ", of the best 50 and of 0.9", 0, n, [=] { k.sample(best, z, draw); });
    Rows one = some_rows(many, 1, positions - 1);
    one.ids = numbers(many, vocabulary);
    Tensor seen{(void*)counting(many * positions, positions), many, positions, Type::i32}, few = z.slice(0, many);
    Tensor from = tensor(many, vocabulary);
    add("penalise", format("%d sequences of %d tokens", many, positions), 0, 3.0 * double(seen.bytes()),
        [=] { k.penalise(from, few, seen, one, one.slot, 1.1f); });
    Tensor x = tensor(tokens, dim), y = tensor(tokens, dim), v = tensor(1, dim);
    Tensor s = tensor(1, dim / head), ds = tensor(1, dim / head);
    double m = double(x.bytes());
    std::string by_head = format("%d x %d heads of %d", tokens, dim / head, head);
    add("scale_heads", by_head, 0, 2 * m, [=] { k.scale_heads(y, x, s); });
    add("scale_heads_back", by_head, 0, 4 * m, [=] { k.scale_heads_back(y, ds, x, x, s); });
    add("add_row", shape, 0, 2 * m, [=] { k.add_row(y, x, v, 1); });
    add("sum_rows", shape, 0, m, [=] { k.sum_rows(v, x, 1e-3f); });
    add("project_out", shape, 0, 2 * m, [=] { k.project_out(y, x, v); });
    auto row = [] { return tensor(1, parameters); };
    Tensor w = row(), g = row(), m1 = row(), m2 = row(), sum = tensor(1, 2);
    k.zero(m2), k.zero(sum);
    double all = double(w.bytes());
    std::string count = format("%d numbers", parameters);
    add("sum_squares", count, 0, all, [=] { k.sum_squares((double*)sum.data, g); });
    add("adamw", count, 0, 7 * all, [=] { k.adamw(w, m1, m2, g, 1, {1e-6f, 0.9f, 0.999f, 1e-8f, 0, 10}); });
}

probe::Limit limit_of(const Case& c) {
    static const bool wide = std::string(k.name).starts_with("avx512");
    bool bf16 = k.bf16 && !c.exact;
    if (k.limits) return c.flops == 0 ? k.limits->bandwidth : bf16 ? k.limits->bf16 : k.limits->f32;
    return c.flops == 0 ? &probe::bandwidth : bf16 ? &probe::bf16 : wide ? &probe::f32 : &probe::f32_256;
}

// A device is asked for many runs at once, and waited for: 5 ms of work between two looks at the clock.
void measure(benchmark::State& state, const Case& c) {
    probe::Limit limit = limit_of(c);
    int batch = 1;
    auto now = [] {
        auto wall = std::chrono::steady_clock::now().time_since_epoch();
        return device() ? std::chrono::duration<double>(wall).count() : probe::now();
    };
    c.run(), wait(); // finds its scratch, and touches it for the first time
    if (device()) {
        double start = now();
        c.run(), wait();
        batch = std::max(1, std::min(200, int(5e-3 / (now() - start))));
    }
    double before = limit->read(), start = now();
    while (state.KeepRunningBatch(batch)) {
        for (int i = 0; i < batch; i++) c.run();
        wait();
    }
    double seconds = (now() - start) / double(state.iterations()), after = limit->read();
    double reached = (c.flops > 0 ? c.flops : c.bytes) / seconds * 1e-9;
    state.counters[c.flops > 0 ? "GFLOP/s" : "GB/s"] = reached;
    state.counters["share"] = reached / ((before + after) / 2);
    state.counters["disturbed"] = before < 0.9 * after || after < 0.9 * before;
}

// "--device cuda[:N]" among the words, which is taken out of them: the number, or -1.
int take_device(int& argc, char** argv) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--device") != 0) continue;
        const char* name = argv[i + 1];
        std::copy(argv + i + 2, argv + argc, argv + i);
        argc -= 2;
        if (!strcmp(name, "cpu")) return -1;
        if (strncmp(name, "cuda", 4) || (name[4] && name[4] != ':'))
            fail(Exit::usage, "--device %s: cpu, cuda or cuda:N was expected", name);
        return name[4] ? atoi(name + 5) : 0;
    }
    return -1;
}

void choose(int& argc, char** argv) {
    int number = take_device(argc, argv);
#ifdef DD_PLAYED // by the CPU that plays a GPU: whether each case runs, not how fast
    (void)number;
    k = DD_CUDA::table("cuda on the CPU", false, true), own = DD_CUDA::table("own tiles", true);
    use(for_a_test);
#else
    k = number < 0 ? cpu() : cuda(number);
    if (number >= 0 && std::string(k.name).find("cuBLASLt") != std::string::npos) own = cuda(number, true);
    use(number < 0 ? Sizes{} : for_a_device);
#endif
    operand = k.bf16 ? Type::bf16 : Type::f32;
    memory = new Arena(size_t(device() ? 64 : 8) << 30, *k.memory); // kept while the process lives
}

int run(int argc, char** argv) {
    choose(argc, argv);
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
    if (k.limits) benchmark::AddCustomContext("bf16 limit", (k.limits->bf16->read(), k.limits->bf16->name));
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const Error& e) {
        fprintf(stderr, "bench: %s\n", e.what());
        return int(e.code);
    }
}
