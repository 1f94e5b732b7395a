#include "edits.h"
#include <algorithm>
#include "../engine/file.h"
#include "../engine/safetensors.h"

std::vector<Parameter> create_edits(Session& s, const std::string& kind, const std::vector<int>& wanted, Arena& mem) {
    const Model& m = *s.model;
    bool gains = kind == "gains";
    std::vector<int> blocks = wanted;
    if (blocks.empty() && gains)
        for (int b = 0; b < m.layers; b++)
            if (m.blocks[b].heads) blocks.push_back(b);
    if (blocks.empty()) blocks.push_back(m.layers / 2);
    size_t first = s.edits.size();
    for (int b : blocks) {
        if (b < 0 || b >= m.layers)
            fail(Exit::usage, "--edit-blocks %d: this model has blocks 0 to %d", b, m.layers - 1);
        if (gains && !m.blocks[b].heads)
            fail(Exit::usage, "--edit-blocks %d: this block is %s; blocks with heads are %s", b,
                 m.blocks[b].kind.c_str(), blocks_with_heads(m).c_str());
        if (std::count(blocks.begin(), blocks.end(), b) > 1)
            fail(Exit::usage, "--edit-blocks: block %d stands twice", b);
    }
    for (int b : blocks) {
        int n = gains ? m.blocks[b].heads : m.dim;
        Tensor v = mem.copy(std::vector<float>(size_t(n), gains ? 1.0f : 0.0f), 1, n);
        s.edits.push_back({gains ? Point::z : Point::resid_post, b, gains ? Edit::scale_heads : Edit::add, v});
    }
    std::vector<Parameter> trained;
    for (size_t i = first; i < s.edits.size(); i++)
        trained.push_back({(gains ? "z." : "resid_post.") + std::to_string(s.edits[i].layer), &s.edits[i].v, false});
    return trained;
}

void write_edits(const std::string& folder, const std::vector<Parameter>& trained, const Memory& memory) {
    make_folders(folder);
    std::vector<SafetensorsWriter::Item> items;
    std::vector<std::vector<float>> vectors;
    Json list = Json::array();
    for (const Parameter& p : trained) {
        size_t dot = p.name.rfind('.');
        std::string point = p.name.substr(0, dot);
        int block = std::stoi(p.name.substr(dot + 1));
        std::vector<float> numbers = get(memory, *p.w);
        for (size_t h = 0; point == "z" && h < numbers.size(); h++)
            list.push_back({{"point", point}, {"block", block}, {"head", h}, {"scale", numbers[h]}});
        if (point == "z") continue;
        list.push_back({{"point", point}, {"block", block}, {"add", "edits.safetensors#" + p.name}, {"scale", 1}});
        items.push_back({p.name, Type::f32, {p.w->cols}});
        vectors.push_back(numbers);
    }
    if (!items.empty()) {
        SafetensorsWriter file(folder + "/edits.safetensors", items, {{"format", "pt"}});
        for (size_t i = 0; i < items.size(); i++) file.write(i, 0, vectors[i].data(), int64_t(vectors[i].size()));
        file.commit();
    }
    write_file(folder + "/edits.json", Json({{"edits", list}}).dump(2) + "\n");
}
