// cuda_attention.cpp - CUDA attention, executed on the CPU.
#include "cuda.h"

namespace {

constexpr Type both[] = {Type::f32, Type::bf16};
struct Heads {
    int q, kv, size;
};
constexpr Heads every_head[] = {{3, 1, 64}, {4, 2, 128}, {2, 1, 256}, {2, 1, 512}, {9, 3, 8}, {2, 2, 12}, {8, 1, 40}};

// Shares are rounded to bf16 before they meet the values: one that falls to the other side is 2^-8 of itself away.
double near(Type type) { return type == Type::f32 ? 2e-5 : 1.5e-2; }

// Where the device keeps number j of head h of a panel, and where the reference does.
size_t device_at(Type, int size, bool value, int pos, int j) {
    return size_t(pos % 16) * size_t(value ? (size + 15) / 16 * 16 : size) + size_t(j);
}
size_t reference_at(Type type, int size, bool value, int pos, int j) {
    size_t lane = size_t(pos % 16), wide = size_t(size + 15) / 16 * 16, k = size_t(j);
    if (type == Type::f32) return value ? lane * wide + k : k * 16 + lane;
    return value ? lane / 2 * 2 * wide + k * 2 + lane % 2 : k / 2 * 32 + lane * 2 + k % 2;
}

TEST(CudaKernel, store_kv) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int room : {0, 2})
                expect_cuda(
                    format("%s, head %d, room %d", info(type).name, h.size, room), exactly,
                    [&](const Kernels& k, Bench& b) {
                        Tokens t{{0, 37}, {0, 1}, {0, 16}}, more{{37, 3}, {1, 17}, {16, 1}};
                        KeyValues kv = panels(b, type, h.kv, h.size, t.n(), 3, room);
                        Tensor x = b.in(t.n(), h.kv * h.size, type), y = b.in(t.n(), h.kv * h.size, type);
                        k.store_kv(kv, x, y, t.rows());
                        if (room) k.store_kv(kv, x, y, more.rows());
                        if (&k != &reference) return;
                        // The reference's panels, as the device lays them.
                        for (Tensor all : b.outputs()) {
                            bool value = all.data == kv.v;
                            size_t panel = value ? value_panel(h.size) : key_panel(h.size), bytes = info(type).bytes;
                            for (size_t p = 0; p < all.count() / panel; p++) {
                                char* to = (char*)all.data + p * panel * bytes;
                                std::vector<char> from(to, to + panel * bytes);
                                memset(to, 0, from.size());
                                for (int pos = 0; pos < 16; pos++)
                                    for (int j = 0; j < h.size; j++)
                                        memcpy(to + device_at(type, h.size, value, pos, j) * bytes,
                                               from.data() + reference_at(type, h.size, value, pos, j) * bytes, bytes);
                            }
                        }
                    });
}

// Of these outputs the panels are not compared: each backend has its own.
void forget_panels(const Kernels& k, const KeyValues& kv, Bench& b) {
    wait_for(k);
    for (Tensor t : b.outputs())
        if (t.data == kv.k || t.data == kv.v) memset(t.data, 0, t.bytes());
}

TEST(CudaKernel, attend) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int window : {0, 5, 70}) {
                if (window == 70 && h.size != 64 && h.size != 8) continue;
                expect_cuda(
                    format("%s, %d/%d heads of %d, window %d", info(type).name, h.q, h.kv, h.size, window), near(type),
                    [&](const Kernels& k, Bench& b) {
                        Tokens t{{0, h.size > 128 ? 35 : h.size == 128 ? 70 : 130}, {0, 1}, {0, 13}, {0, 2}};
                        KeyValues kv = panels(b, type, h.kv, h.size, t.n(), t.seqs(), 0);
                        Tensor y = b.fresh(t.n(), h.q * h.size, type), l = b.fresh(h.q, t.n());
                        Tensor q = b.in(t.n(), h.q * h.size, type), x = b.in(t.n(), h.kv * h.size, type);
                        k.store_kv(kv, x, b.in(t.n(), h.kv * h.size, type), t.rows());
                        k.attend(y, l, q, kv, t.rows(), 0.3f, window);
                        forget_panels(k, kv, b);
                    },
                    2);
            }
    // Several chunks of keys, and a token a sequence on top of them.
    for (int window : {0, 300})
        expect_cuda(
            format("long, window %d", window), near(Type::bf16),
            [&](const Kernels& k, Bench& b) {
                Tokens t{{0, 600}, {0, 20}, {0, 256}}, next{{600, 1}, {20, 1}, {256, 1}};
                KeyValues kv = panels(b, Type::bf16, 1, 64, t.n(), 3, 40);
                auto pass = [&](const Tokens& t) {
                    Tensor y = b.fresh(t.n(), 3 * 64, Type::bf16), l = b.fresh(3, t.n());
                    Tensor q = b.in(t.n(), 3 * 64, Type::bf16), x = b.in(t.n(), 64, Type::bf16);
                    k.store_kv(kv, x, b.in(t.n(), 64, Type::bf16), t.rows());
                    k.attend(y, l, q, kv, t.rows(), 0.3f, window);
                };
                pass(t);
                pass(next);
                forget_panels(k, kv, b);
            },
            2);
}

// One token a sequence has a kernel of its own, of every size of heads.
TEST(Cuda, EveryHeadIsDecoded) {
    for (Heads h : {Heads{3, 1, 64}, {4, 2, 128}, {2, 1, 256}, {3, 1, 512}})
        expect_cuda(
            format("%d/%d heads of %d", h.q, h.kv, h.size), near(Type::bf16),
            [&](const Kernels& k, Bench& b) {
                Tokens t{{0, 21}, {0, 3}}, next{{21, 1}, {3, 1}};
                KeyValues kv = panels(b, Type::bf16, h.kv, h.size, t.n(), t.seqs(), 3);
                int wide = h.q * h.size, narrow = h.kv * h.size;
                k.store_kv(kv, b.in(t.n(), narrow, Type::bf16), b.in(t.n(), narrow, Type::bf16), t.rows());
                k.store_kv(kv, b.in(2, narrow, Type::bf16), b.in(2, narrow, Type::bf16), next.rows());
                k.attend(b.fresh(2, wide, Type::bf16), {}, b.in(2, wide, Type::bf16), kv, next.rows(), 0.3f, 0);
                forget_panels(k, kv, b);
            },
            2);
}

TEST(CudaKernel, attend_back) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int window : {0, 5, 90}) {
                if (window == 90 && h.size != 64 && h.size != 8) continue;
                expect_cuda(
                    format("%s, %d/%d heads of %d, window %d", info(type).name, h.q, h.kv, h.size, window), near(type),
                    [&](const Kernels& k, Bench& b) {
                        Tokens t{{0, h.size <= 64 ? 130 : h.size == 128 ? 70 : 35}, {0, 1}, {0, 13}};
                        int n = t.n(), wide = h.q * h.size, narrow = h.kv * h.size;
                        bool fresh = window == 5;
                        Tensor dq = b.gradient(fresh, n, wide, type), dk = b.gradient(fresh, n, narrow, type);
                        Tensor dv = b.gradient(fresh, n, narrow, type), l = b.room(h.q, n, Type::f32);
                        Tensor q = b.in(n, wide, type), x = b.in(n, narrow, type), v = b.in(n, narrow, type);
                        Tensor dy = b.in(n, wide, type), y = b.room(n, wide, type);
                        KeyValues kv = panels(b, type, h.kv, h.size, n, t.seqs(), 0);
                        reference.store_kv(kv, x, v, t.rows());
                        reference.attend(y, l, q, kv, t.rows(), 0.1f, window);
                        k.attend_back(dq, dk, dv, dy, y, l, q, x, v, t.rows(), h.size, 0.1f, window);
                        if (h.size >= 64) return;
                        Tensor only = b.gradient(fresh, n, narrow, type);
                        k.attend_back({}, {}, only, dy, y, l, q, x, v, t.rows(), h.size, 0.1f, window);
                    },
                    window == 5 ? 1 : 2);
            }
}

// Any heads, sequences and windows: a prompt into a cache, one more token of each sequence on top of it, and back.
TEST(CudaRandom, attention) {
    for (int shape = 0; shape < random_shapes; shape++) {
        Random r(99, uint64_t(shape));
        auto from_to = [&](int low, int high) { return low + int(r.below(uint32_t(high - low + 1))); };
        constexpr int sizes[] = {4, 8, 12, 20, 40, 64, 64, 72, 96, 128, 128, 192, 256, 512};
        Type type = r.below(4) ? Type::bf16 : Type::f32;
        Heads h{0, from_to(1, 3), sizes[r.below(std::size(sizes))]};
        h.q = h.kv * from_to(1, 8);
        int most = std::clamp(int(std::sqrt(2.0 * random_budget / (h.q * h.size))), 2, 300);
        Tokens t{}, next{};
        for (int s = from_to(1, 4), left = most; s > 0 && left > 0; s--) {
            int n = s == 1 ? left : from_to(1, left);
            t.add({0, n}), next.add({n, 1}), left -= n;
        }
        int window = r.below(2) ? 0 : from_to(1, most + 20), room = (most + 16) / 16 + 1;
        expect_cuda(
            format("shape %d: %s, %d/%d heads of %d, %d tokens of %d sequences, window %d", shape, info(type).name, h.q,
                   h.kv, h.size, t.n(), t.seqs(), window),
            near(type),
            [&](const Kernels& k, Bench& b) {
                int n = t.n(), wide = h.q * h.size, narrow = h.kv * h.size;
                KeyValues kv = panels(b, type, h.kv, h.size, n, t.seqs(), room), own = panels(b, type, h.kv, h.size, n,
                                                                                              t.seqs(), 0);
                Tensor q = b.in(n, wide, type), x = b.in(n, narrow, type), v = b.in(n, narrow, type);
                k.store_kv(kv, x, v, t.rows());
                k.attend(b.fresh(n, wide, type), b.fresh(h.q, n), q, kv, t.rows(), 0.2f, window);
                int m = next.n();
                k.store_kv(kv, b.in(m, narrow, type), b.in(m, narrow, type), next.rows());
                k.attend(b.fresh(m, wide, type), {}, b.in(m, wide, type), kv, next.rows(), 0.2f, window);
                Tensor y = b.room(n, wide, type), l = b.room(h.q, n, Type::f32), dy = b.in(n, wide, type);
                reference.store_kv(own, x, v, t.rows());
                reference.attend(y, l, q, own, t.rows(), 0.2f, window);
                bool fresh = shape % 2;
                k.attend_back(b.gradient(fresh, n, wide, type), b.gradient(fresh, n, narrow, type),
                              b.gradient(fresh, n, narrow, type), dy, y, l, q, x, v, t.rows(), h.size, 0.2f, window);
                forget_panels(k, kv, b);
                forget_panels(k, own, b);
            },
            random_orders);
        if (HasFailure()) return;
    }
}

// The promise: a token decoded alone, within a chunk of prompt, or with the whole prompt gives the same bits.
TEST(Cuda, ATokensAttentionDoesNotDependOnWhatGoesWithIt) {
    const Kernels& k = cuda_kernels();
    for (int window : {0, 300})
        for (Heads h : {Heads{3, 1, 64}, {4, 2, 128}}) {
            constexpr int n = 600;
            Bench b(7);
            Tokens all{{0, n}};
            KeyValues kv = panels(b, Type::bf16, h.kv, h.size, n, 1, 40);
            Tensor y = b.fresh(n, h.q * h.size, Type::bf16), q = b.in(n, h.q * h.size, Type::bf16);
            Tensor x = b.in(n, h.kv * h.size, Type::bf16), v = b.in(n, h.kv * h.size, Type::bf16);
            k.store_kv(kv, x, v, all.rows());
            k.attend(y, {}, q, kv, all.rows(), 0.3f, window);
            for (Sequence part : {Sequence{599, 1}, {255, 1}, {256, 1}, {301, 1}, {3, 1}, {310, 30}}) {
                Tokens few{part};
                Tensor again = b.fresh(part.n, h.q * h.size, Type::bf16);
                k.attend(again, {}, q.slice(part.from, part.n), kv, few.rows(), 0.3f, window);
                wait_for(k);
                EXPECT_EQ(memcmp(again.data, y.slice(part.from, part.n).data, again.bytes()), 0)
                    << "position " << part.from << ", " << part.n << " tokens, window " << window;
            }
        }
}

} // namespace
