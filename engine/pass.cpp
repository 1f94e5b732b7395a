#include "pass.h"

void* GradientPool::take(size_t bytes) {
    std::vector<void*>& same = free_[bytes];
    if (same.empty()) return arena_.take(bytes);
    void* p = same.back();
    same.pop_back();
    return p;
}

Tensor Cache::state(const Kernels& k, int layer, int name, int rows, int cols, Type type) {
    Tensor& t = states_[{layer, name}];
    if (!t) k.zero(t = mem_.make(rows, cols, type));
    require(t.rows == rows && t.cols == cols && t.type == type, "cache: layer %d asks for state %d in two shapes",
            layer, name);
    return t;
}

Tensor Pass::want(Tensor t, std::initializer_list<Tensor> from) {
    t.grad = nullptr;
    bool wanted = false;
    for (const Tensor& f : from) wanted |= f.grad != nullptr;
    if (tape && wanted) t.grad = new (tape->closures.take(sizeof(Grad))) Grad;
    return t;
}

Tensor Pass::d(Tensor y) const {
    Tensor d = y;
    d.data = y.grad ? y.grad->data : nullptr;
    d.grad = nullptr;
    return d;
}

Tensor Pass::grad(Tensor x) {
    if (!x.grad) return {};
    Grad& g = *x.grad;
    Tensor d = this->d(x);
    if (d && (!g.holders || *g.holders == 1)) return d;
    if (d) --*g.holders;                                // others still read it: from here on x has its own
    g.data = tape->gradients.take(d.bytes());
    g.holders = new (tape->closures.take(sizeof(int))) int(1);
    Tensor mine = this->d(x);
    if (d) k.copy(mine, d);
    else mine.fresh = true;
    return mine;
}

void Pass::pass_on(Tensor x, Tensor y) {
    Tensor d = this->d(y);
    if (!x.grad || !d) return;
    Grad &to = *x.grad, &from = *y.grad;
    if (!to.data && from.holders && x.type == y.type) {
        to = from;
        ++*from.holders;
    } else {
        k.add_to(grad(x), d, 1);
    }
}

// Runs the steps from the last down to `from`, giving back after each the gradients of what it had made.
void Pass::walk_back(size_t from) {
    while (tape->steps.size() > from) {
        Tape::Step step = tape->steps.back();
        tape->steps.pop_back();
        size_t mark = mem.used;
        step.run(step.closure, *this);
        mem.rewind(mark);
        for (Tensor& t : step.made)
            if (t.grad && t.grad->data) {
                if (--*t.grad->holders == 0) tape->gradients.give(t.grad->data, t.bytes());
                *t.grad = {};
            }
    }
}

void Tape::backward(Pass& p, Tensor y, Tensor dy) {
    if (y.grad) {
        p.k.copy(p.grad(y), dy);
        p.walk_back(0);
    }
    steps.clear();
    closures.rewind(0);
    gradients.reset();
}

// Outputs lie anywhere above the mark: they move above everything first, then down together.
void Pass::keep(size_t mark, Tensor* t, size_t n) {
    size_t all = mem.used;
    for (size_t i = 0; i < n; i++) {
        Tensor up = make(t[i].rows, t[i].cols, t[i].type);
        k.copy(up, t[i]);
        t[i] = up;
    }
    size_t moved = mem.used - all;
    mem.used = mark;
    for (size_t i = 0; i < n; i++) {
        Tensor down = make(t[i].rows, t[i].cols, t[i].type);
        if (moved <= all - mark) {
            k.copy(down, t[i]);
            t[i] = down;
        }
    }
    if (moved > all - mark) mem.used = all + moved;     // no room below: they stay where they are
    else mem.used = mark + moved;
}

Tensor Pass::edit(Point where, Tensor x) {
    for (const Edit& e : *edits) {
        if (e.at != where || e.layer != layer) continue;
        Tensor in = x, v = e.v;
        float s = e.strength;
        if (e.what == Edit::tap) {
            k.copy(v, x);
            continue;
        }
        x = make(in.rows, in.cols, in.type, {in, v});
        Tensor y = x;
        switch (e.what) {
            case Edit::scale_heads:
                k.scale_heads(y, in, v);
                back({y}, [=](Pass& p) { p.k.scale_heads_back(p.grad(in), p.grad(v), p.d(y), in, v); });
                break;
            case Edit::add:
                k.add_row(y, in, v, s);
                back({y}, [=](Pass& p) {
                    p.k.sum_rows(p.grad(v), p.d(y), s);
                    p.pass_on(in, y);
                });
                break;
            default:
                k.project_out(y, in, v);
                back({y}, [=](Pass& p) {
                    if (!in.grad) return;
                    Tensor t = p.make(y.rows, y.cols, y.type);
                    p.k.project_out(t, p.d(y), v);
                    p.k.add_to(p.grad(in), t, 1);
                });
        }
    }
    return x;
}
