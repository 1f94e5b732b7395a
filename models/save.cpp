#include "save.h"
#include <filesystem>
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../kernels/quant.h"

namespace {

struct Saved { std::string name; Type type; Tensor t; const Lora* lora; float offset; std::vector<int64_t> shape; };

struct Collect : Visit {
    const Checkpoint& from;
    bool merge;
    std::vector<Saved> all;
    Collect(const Checkpoint& from, bool merge) : from(from), merge(merge) {}
    Type type_of(const std::string& name) const {
        const Stored* s = from.find(name);
        return s && s->type <= Type::bf16 ? s->type : Type::f32;
    }
    void matrix(const std::string& name, Weight& w, int, int) override {
        all.push_back({name, type_of(name), w.m.w, merge ? w.lora : nullptr, 0, {w.m.w.rows, w.m.w.cols}});
    }
    void table(const std::string& name, Weight& w, int, int) override {
        all.push_back({name, type_of(name), w.m.w, nullptr, 0, {w.m.w.rows, w.m.w.cols}});
    }
    void vector(const std::string& name, Tensor& w, int, float offset) override {
        all.push_back({name, type_of(name), w, nullptr, offset, {w.cols}});
    }
    void filter(const std::string& name, Tensor& w, int channels, int taps) override {
        all.push_back({name, type_of(name), w, nullptr, 0, {channels, 1, taps}});
    }
};

// Row i as it will be stored: in f32, merged and rounded once, with the family's offset taken off.
void row_of(const Saved& s, int i, std::vector<float>& row) {
    dequantize(s.t.type, s.t.slice(i, 1).data, row.data(), row.size());
    if (s.lora) {
        std::vector<double> sum(row.begin(), row.end());
        for (int r = 0; r < s.lora->a.rows; r++) {
            const double b = double(s.lora->scale) * s.lora->b.f()[size_t(i) * s.lora->b.cols + r];
            for (size_t j = 0; j < row.size(); j++) sum[j] += b * s.lora->a.f()[size_t(r) * row.size() + j];
        }
        for (size_t j = 0; j < row.size(); j++) row[j] = float(sum[j]);
    }
    for (float& v : row) v -= s.offset;
}

void write(const std::string& folder, Session& s, bool merge) {
    if (get_bool(s.checkpoint.config, "linear_value_heads_tiled", s.checkpoint.who, false))
        fail(Exit::bad_input, "%s: its value heads stand in GGUF's order, which a Hugging Face directory cannot say; "
             "merge the original", s.checkpoint.who.c_str());
    Collect collect(s.checkpoint, merge);
    s.model->weights(collect);
    make_folders(folder);
    std::vector<SafetensorsWriter::Item> items;
    for (const Saved& t : collect.all) items.push_back({t.name, t.type, t.shape});
    SafetensorsWriter file(folder + "/model.safetensors", items, {{"format", "pt"}});
    std::vector<float> row, numbers;
    std::vector<char> stored;
    for (size_t i = 0; i < collect.all.size(); i++) {
        Saved& t = collect.all[i];
        if (!s.k.memory->host) {                        // trained there, every one of them
            require(t.t.type == Type::f32 && !t.lora, "save: %s is on the device as it was stored", t.name.c_str());
            t.t.data = (void*)get(*s.k.memory, t.t, numbers);
        }
        row.resize(t.t.cols);
        stored.resize(row_bytes(t.type, row.size()));
        bool flat = t.t.rows == 1;
        for (int r = 0; r < t.t.rows; r++) {
            row_of(t, r, row);
            quantize(t.type, row.data(), stored.data(), row.size());
            file.write(i, flat ? 0 : r, stored.data(), flat ? t.shape[0] : 1);
        }
    }
    file.commit();
    if (!s.checkpoint.is_gguf())
        for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                 "generation_config.json", "chat_template.jinja"})
            if (exists(s.checkpoint.path + "/" + name))
                write_file(folder + "/" + name, read_file(s.checkpoint.path + "/" + name));
    write_file(folder + "/config.json", s.checkpoint.config.dump(2) + "\n");
}

}  // namespace

void write_model(const std::string& folder, Session& s) { write(folder, s, false); }
void write_merged(const std::string& folder, Session& s) { write(folder, s, true); }
