// pass.h - one walk of a model over some tokens, and what that walk may carry.
//
// A model is written once. What a walk is for is not a flag: it is which of these is present.
//
//   tape    remember the way back                          training
//   cache   keys and values of the tokens so far, states   decoding
//   edits   what to change or copy, and where              steering, ablation, tempering, taps
#pragma once
#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <type_traits>
#include <utility>
#include <vector>
#include "../kernels/kernels.h"

// The named places that a model offers: in every layer, and for the whole (embed, final).
enum class Point { embed, resid_pre, q, z, attn_out, mlp_out, resid_post, final };

struct Pass;

// An edit is an op: gradients flow through it, and to its own numbers v where they want one.
struct Edit {
    enum What { scale_heads, add, project_out, tap };
    Point at;
    int layer;                  // -1 for embed and final
    What what;
    Tensor v;                   // [1, heads] factors; [1, width] vector; tap: [rows, width], receives a copy as f32
    float strength = 1;         // of add
};

// Memory for gradients of activations. A gradient lives from the first who adds to it until the op that made its
// tensor has taken its step back; buffers of one size serve the next of that size.
class GradientPool {
public:
    template <class How> GradientPool(size_t size, How&& how) : arena_(size, how) {}      // how: as Arena has it
    void* take(size_t bytes);
    void give(void* p, size_t bytes) { free_[bytes].push_back(p); }
    void reset() { free_.clear(), arena_.rewind(0); }
    size_t peak() const { return arena_.peak; }

private:
    Arena arena_;
    std::map<size_t, std::vector<void*>> free_;
};

// The way back. Each step undoes one op; steps run in reverse.
struct Tape {
    explicit Tape(size_t gradient_bytes) : Tape(gradient_bytes, host_memory) {}
    template <class How> Tape(size_t gradient_bytes, How&& how)
        : gradients(gradient_bytes, how), closures(size_t(64) << 20) {}

    bool recompute = false;         // keep only what enters each layer; make the rest again on the way back
    uint64_t dropout_seed = 0;      // of this walk: dropout masks depend on it and on the site alone

    // Walks back from y, whose gradient is dy, down to the first op. Empties the tape.
    void backward(Pass&, Tensor y, Tensor dy);

    struct Step {
        void (*run)(void* closure, Pass&);
        void* closure;
        std::array<Tensor, 4> made;     // their gradients are over after this step
    };
    std::vector<Step> steps;
    GradientPool gradients;
    Arena closures;
};

// What a model remembers of the tokens so far, for a number of sequences at once: each has a slot. Per layer whatever
// tensors that layer's ops ask for by name (a number); made, and zeroed, at the first asking.
class Cache {
public:
    // room: positions a slot; chunk: the most tokens of one sequence that a pass brings (0: as many as there is room).
    Cache(Arena& mem, int slots, int room, int chunk = 0)
        : slots(slots), room(room), chunk(chunk ? chunk : room), mem_(mem) {}
    Tensor state(const Kernels&, int layer, int name, int rows, int cols, Type type);
    // Panels of 16 positions that a slot needs for a layer that looks back at `window` positions (0: at all): a ring.
    // A pass stores its tokens before the first of them looks back, so the ring holds a chunk beside the window.
    int panels(int window) const {
        int all = (room + 15) / 16;
        return window ? std::min(all, (window - 1 + chunk + 14) / 16 + 1) : all;
    }
    const int slots, room, chunk;

private:
    Arena& mem_;
    std::map<std::pair<int, int>, Tensor> states_;
};

struct Pass {
    const Kernels& k;
    Arena& mem;                     // scratch of this walk
    Rows rows;
    Type operand;                   // of products: f32 or bf16

    Tape* tape = nullptr;
    Cache* cache = nullptr;
    const std::vector<Edit>* edits = nullptr;
    int layer = -1;

    // Scratch, of which nobody wants the gradient.
    Tensor make(int rows, int cols, Type type) { return mem.make(rows, cols, type); }
    // What an op computes from `from`: it wants a gradient when we are recording and one of them does.
    Tensor make(int rows, int cols, Type type, std::initializer_list<Tensor> from) {
        return want(mem.make(rows, cols, type), from);
    }
    // t, computed from `from` into memory that it takes over.
    Tensor want(Tensor t, std::initializer_list<Tensor> from);

    // `made` have been computed; where one wants a gradient, remember the step back. What the step captures it keeps
    // by value, so that recording allocates nothing.
    template <class F> void back(std::initializer_list<Tensor> made, F step) {
        static_assert(std::is_trivially_copyable_v<F> && std::is_trivially_destructible_v<F>);
        bool wanted = false;
        for (const Tensor& t : made) wanted |= t.grad != nullptr;
        if (!tape || !wanted) return;
        Tape::Step s{[](void* f, Pass& p) { (*(F*)f)(p); }, new (tape->closures.take(sizeof(F))) F(step), {}};
        size_t n = 0;
        for (const Tensor& t : made) s.made[n++] = t;
        tape->steps.push_back(s);
    }

    // On the way back. d(y): the gradient of what the op made, to read; absent when nothing came. grad(x): the gradient
    // of what it was made from, to write (see Tensor::fresh); absent when nobody wants it.
    Tensor d(Tensor y) const;
    Tensor grad(Tensor x);
    // The gradient of y becomes (part of) that of x: handed over without a copy where x has none yet.
    void pass_on(Tensor x, Tensor y);

    Tensor at(Point where, Tensor x) { return edits ? edit(where, x) : x; }

    // One layer. `body(in)` returns what the layer hands on: first what in[0] became, of the same shape, then whatever
    // later layers want besides. Its scratch is given back, or its inside recomputed on the way back.
    template <size_t N, size_t M, class F> std::array<Tensor, N> run(int l, std::array<Tensor, M> in, F body);
    template <class F> Tensor run(int l, Tensor x, F body) {
        return run<1, 1>(l, {x}, [body](std::array<Tensor, 1> in) { return std::array<Tensor, 1>{body(in[0])}; })[0];
    }

private:
    Tensor edit(Point where, Tensor x);
    void keep(size_t mark, Tensor* t, size_t n);        // rewind to mark, but for these
    void walk_back(size_t from);
    friend struct Tape;
};

template <size_t N, size_t M, class F> std::array<Tensor, N> Pass::run(int l, std::array<Tensor, M> in, F body) {
    layer = l;
    if (tape && !tape->recompute) {
        std::array<Tensor, N> out = body(in);
        layer = -1;
        return out;
    }

    Tape* recording = std::exchange(tape, nullptr);
    Tensor first = make(in[0].rows, in[0].cols, in[0].type);
    size_t mark = mem.used;
    std::array<Tensor, N> out = body(in);
    k.copy(first, out[0]);
    out[0] = first;
    keep(mark, out.data() + 1, N - 1);
    tape = recording;
    layer = -1;
    if (!tape) return out;

    std::array<Tensor, 4> made{};
    for (size_t i = 0; i < N; i++) {                    // something inside may be trained even where in[0] is constant
        out[i].grad = new (tape->closures.take(sizeof(Grad))) Grad;
        made[i] = out[i];
    }
    back({made[0], made[1], made[2], made[3]}, [l, in, out, body](Pass& p) {
        size_t mark = p.mem.used, first = p.tape->steps.size();
        bool recompute = std::exchange(p.tape->recompute, false);
        p.layer = l;
        std::array<Tensor, N> again = body(in);
        for (size_t i = 0; i < N; i++) p.pass_on(again[i], out[i]);
        p.walk_back(first);
        p.tape->recompute = recompute;
        p.layer = -1;
        p.mem.rewind(mark);
    });
    return out;
}
