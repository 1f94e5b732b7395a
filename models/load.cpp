// load.cpp - weights put into a model: each wish of checkpoint.h a Visit.
#include <cstring>
#include "../engine/reader.h"
#include "../kernels/quant.h"
#include "checkpoint.h"

namespace {

std::string shape_of(const std::vector<int64_t>& shape) {
    std::string s = "[";
    for (size_t i = 0; i < shape.size(); i++) s += (i ? "," : "") + std::to_string(shape[i]);
    return s + "]";
}

struct Load : Visit {
    const Checkpoint& from;
    Arena& mem;
    const Model& model;
    std::set<std::string> used;
    std::vector<std::string> missing;
    size_t wanted = 0;

    Load(const Checkpoint& from, Arena& mem, const Model& model) : from(from), mem(mem), model(model) {}

    const Stored* take(const std::string& name, const std::vector<int64_t>& shape, bool squeezed = false) {
        const Stored* s = from.find(name);
        used.insert(name), wanted++;
        if (!s) {
            missing.push_back(name);
            return nullptr;
        }
        if (s->type == Type::other || s->type > Type::q6_k)
            fail(Exit::bad_input, "%s: tensor %s has type %s, which no weight can have here", from.path.c_str(),
                 shown(s->name).c_str(), s->dtype.c_str());
        std::vector<int64_t> stored = s->shape;
        if (squeezed && stored.size() == 3 && stored[1] == 1) stored.erase(stored.begin() + 1);
        if (stored != shape)
            fail(Exit::bad_input, "%s: tensor %s has shape %s, the configuration says %s", from.path.c_str(),
                 shown(s->name).c_str(), shape_of(s->shape).c_str(), shape_of(shape).c_str());
        return s;
    }

    void matrix(const std::string& name, Weight& w, int out, int in) override {
        w.name = name;
        w.m.out = out, w.m.in = in;
        const Stored* s = take(name, {out, in});
        if (!s) return;
        Tensor stored = {(void*)s->data, out, in, s->type};
        bool q = name.find(".q_proj.") != std::string::npos, k = name.find(".k_proj.") != std::string::npos;
        if (from.is_gguf() && from.architecture->gguf_turns_pairs && (q || k))
            w.m.w = turned(stored, model.blocks[0].head_size);
        else w.m.w = mem.hold(stored);
    }

    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }

    void vector(const std::string& name, Tensor& w, int n, float offset) override {
        if (const Stored* s = take(name, {n})) read(name, w, *s, n, offset);
    }

    void filter(const std::string& name, Tensor& w, int channels, int taps) override {
        if (const Stored* s = take(name, {channels, taps}, true)) read(name, w, *s, channels * taps, 0);
    }

    void read(const std::string& name, Tensor& w, const Stored& s, int n, float offset) {
        std::vector<float> numbers(size_t(n), 0.0f);
        dequantize(s.type, s.data, numbers.data(), numbers.size());
        if (from.is_gguf() && from.architecture->gguf_vector) from.architecture->gguf_vector(name, numbers.data(), n);
        if (!(from.is_gguf() && from.architecture->gguf_gains_whole))
            for (int i = 0; i < n && offset != 0; i++) numbers[size_t(i)] += offset;
        w = mem.copy(numbers, 1, n);
    }

    void spare(const std::string& name) override { used.insert(name); }

    // GGUF's llama keeps the rows of each head of q and k as pairs (2i + s); ours are halves (s d / 2 + i).
    Tensor turned(Tensor w, int d) {
        Tensor t = mem.make(w.rows, w.cols, w.type);
        std::vector<char> rows(w.bytes());
        size_t bytes = row_bytes(w.type, w.cols);
        for (int row = 0; row < w.rows; row++) {
            int head = row / d * d, i = row % d % (d / 2), s = row % d / (d / 2);
            memcpy(rows.data() + row * bytes, w.slice(head + 2 * i + s, 1).data, bytes);
        }
        w.data = rows.data();
        mem.memory.hold(t.data, w);
        return t;
    }
};

struct Pack : Visit {
    const Kernels& k;
    Type operand;
    Arena& mem;
    Pack(const Kernels& k, Type operand, Arena& mem) : k(k), operand(operand), mem(mem) {}
    void matrix(const std::string&, Weight& w, int, int) override { pack(k, w.m, operand, mem); }
    void table(const std::string&, Weight&, int, int) override {}
    void vector(const std::string&, Tensor&, int, float) override {}
};

struct PackedBytes : Visit {
    const Kernels& k;
    Type operand;
    size_t n = 0;
    PackedBytes(const Kernels& k, Type operand) : k(k), operand(operand) {}
    void matrix(const std::string&, Weight& w, int, int) override {
        Matrix m = w.m;
        m.operand = operand, m.panels = nullptr;
        k.pack(m);                              // without panels: only their size
        n += m.panel_bytes;
    }
    void table(const std::string&, Weight&, int, int) override {}
    void vector(const std::string&, Tensor&, int, float) override {}
};

struct Count : Visit {
    size_t n = 0;
    void matrix(const std::string&, Weight&, int out, int in) override { n += size_t(out) * in; }
    void table(const std::string&, Weight&, int rows, int cols) override { n += size_t(rows) * cols; }
    void vector(const std::string&, Tensor&, int cols, float) override { n += cols; }
};

}  // namespace

std::unique_ptr<Model> load_model(const Checkpoint& from, Arena& mem) {
    std::unique_ptr<Model> model = from.architecture->make(from.config, from.who);
    Load load(from, mem, *model);
    model->weights(load);
    Checkpoint::Unused rest = from.unused(load.used);
    if (!load.missing.empty())
        fail(Exit::bad_input, "%s: %zu of %zu tensors are missing, the first %s", from.path.c_str(),
             load.missing.size(), load.wanted, load.missing[0].c_str());
    if (!rest.names.empty())
        fail(Exit::bad_input, "%s: %zu tensors belong to no part of a %s model, the first %s", from.path.c_str(),
             rest.names.size(), model->architecture.c_str(), shown(rest.names[0]).c_str());
    return model;
}

void pack_weights(Model& model, const Kernels& k, Type operand, Arena& mem) {
    Pack pack(k, operand, mem);
    model.weights(pack);
}

size_t packed_bytes(Model& model, const Kernels& k, Type operand) {
    PackedBytes bytes(k, operand);
    model.weights(bytes);
    return bytes.n;
}

size_t parameter_count(Model& model) {
    Count count;
    model.weights(count);
    return count.n;
}
