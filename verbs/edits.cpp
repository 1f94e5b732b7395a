// edits.cpp - interventions, from the command line or a file, to ops of the pass.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../kernels/quant.h"
#include "common.h"

namespace {

struct Reader {
    Session& s;
    std::vector<Edit> edits;
    std::string beside = "";                // the folder of an edits file: its vectors lie there, or where we are
    std::deque<std::vector<float>> numbers;     // of the edits, until they are all known

    Tensor make(int cols) { return {numbers.emplace_back(size_t(cols)).data(), 1, cols}; }

    const Model& model() { return *s.model; }

    int block(long b, const std::string& flag) {
        if (b < 0 || b >= model().layers)
            fail(Exit::usage, "%s: this model has blocks 0 to %d", flag.c_str(), model().layers - 1);
        return int(b);
    }
    // Factors of one block's heads: one edit a block and point, so that several heads of a block share it.
    Tensor factors(int b, const std::string& flag) {
        if (model().blocks[b].heads == 0)
            fail(Exit::usage, "%s: block %d is %s and has no heads at z; blocks with heads are %s", flag.c_str(), b,
                 model().blocks[b].kind.c_str(), blocks_with_heads(model()).c_str());
        for (Edit& e : edits)
            if (e.what == Edit::scale_heads && e.layer == b) return e.v;
        Tensor v = make(model().blocks[b].heads);
        std::fill_n(v.f(), v.cols, 1.0f);
        edits.push_back({Point::z, b, Edit::scale_heads, v});
        return v;
    }
    void scale(long b, long h, double factor, const std::string& flag) {
        int l = block(b, flag);
        Tensor v = factors(l, flag);
        if (h < 0 || h >= v.cols) fail(Exit::usage, "%s: block %d has heads 0 to %d", flag.c_str(), l, v.cols - 1);
        if (!std::isfinite(factor)) fail(Exit::usage, "%s: the factor must be a finite number", flag.c_str());
        v.f()[h] = float(factor);
    }
    // "3.1" -> block, head
    std::pair<long, long> block_and_head(const std::string& text, const std::string& flag) {
        char *dot, *end;
        long b = strtol(text.c_str(), &dot, 10);
        if (*dot != '.' || dot == text.c_str())
            fail(Exit::usage, "%s: BLOCK.HEAD was expected, as in 3.1", flag.c_str());
        long h = strtol(dot + 1, &end, 10);
        if (*end || end == dot + 1) fail(Exit::usage, "%s: BLOCK.HEAD was expected, as in 3.1", flag.c_str());
        return {b, h};
    }
    // "file.safetensors#name"
    Tensor vector(const std::string& where, int width, const std::string& flag) {
        size_t hash = where.rfind('#');
        if (hash == std::string::npos) fail(Exit::usage, "%s: FILE#NAME was expected", flag.c_str());
        std::string path = where.substr(0, hash);
        if (!beside.empty() && !path.starts_with('/') && exists(beside + path)) path = beside + path;
        auto file = open_safetensors(path);
        const Stored* t = file->find(where.substr(hash + 1));
        if (!t)
            fail(Exit::bad_input, "%s: no tensor \"%s\" in it; there are %zu, the first \"%s\"", file->path().c_str(),
                 where.substr(hash + 1).c_str(), file->tensors().size(),
                 file->tensors().empty() ? "" : file->tensors()[0].name.c_str());
        if (t->type > Type::bf16 || t->bytes != row_bytes(t->type, size_t(width)))
            fail(Exit::usage, "%s: the vector has %zu bytes of type %s; %d numbers of F32, F16 or BF16 were expected",
                 flag.c_str(), t->bytes, t->dtype.c_str(), width);
        Tensor v = make(width);
        dequantize(t->type, t->data, v.f(), width);
        for (int i = 0; i < width; i++)
            if (!std::isfinite(v.f()[i]))
                fail(Exit::bad_input, "%s: number %d of the vector is not finite", flag.c_str(), i);
        return v;
    }
    // "12=FILE#NAME" -> block and the rest
    std::pair<int, std::string> at_block(const std::string& text, const std::string& flag) {
        char* eq;
        long b = strtol(text.c_str(), &eq, 10);
        if (*eq != '=' || eq == text.c_str()) fail(Exit::usage, "%s: BLOCK=FILE#NAME was expected", flag.c_str());
        return {block(b, flag), eq + 1};
    }
    void steer(const std::string& text) {
        std::string flag = "--steer " + text;
        auto [b, rest] = at_block(text, flag);
        double by = 1;
        if (size_t star = rest.rfind('*'); star != std::string::npos && star > rest.rfind('#')) {
            char* end;
            by = strtod(rest.c_str() + star + 1, &end);
            if (*end || end == rest.c_str() + star + 1 || !std::isfinite(by))
                fail(Exit::usage, "%s: a number was expected after *", flag.c_str());
            rest.resize(star);
        }
        edits.push_back({Point::resid_post, b, Edit::add, vector(rest, model().dim, flag), float(by)});
    }
    void project(const std::string& text) {
        std::string flag = "--project-out " + text;
        auto [b, rest] = at_block(text, flag);
        Tensor v = vector(rest, model().dim, flag);
        if (std::all_of(v.f(), v.f() + v.cols, [](float x) { return x == 0; }))
            fail(Exit::usage, "%s: the vector is zero: it has no direction", flag.c_str());
        edits.push_back({Point::resid_post, b, Edit::project_out, v});
    }
    // The recorded mean of z, in the slices of the heads that were set to 0.
    void put_means(const std::string& where) {
        if (!where.starts_with("mean:")) fail(Exit::usage, "--ablate-to %s: mean:FILE was expected", where.c_str());
        std::vector<Edit> means;
        for (const Edit& e : edits) {
            if (e.what != Edit::scale_heads) continue;
            const Model::Block& b = model().blocks[e.layer];
            if (std::count(e.v.f(), e.v.f() + b.heads, 0.0f) == 0) continue;
            Tensor v = vector(where.substr(5) + "#z." + std::to_string(e.layer), b.heads * b.head_size,
                              "--ablate-to " + where);
            for (int h = 0; h < b.heads; h++)
                if (e.v.f()[h] != 0) std::fill_n(v.f() + h * b.head_size, b.head_size, 0.0f);
            means.push_back({Point::z, e.layer, Edit::add, v});
        }
        if (means.empty()) fail(Exit::usage, "--ablate-to %s: no head is ablated; --ablate names them", where.c_str());
        edits.insert(edits.end(), means.begin(), means.end());
    }
    void file(const std::string& path) {
        Json all = read_json_file(path);
        beside = path.substr(0, path.rfind('/') + 1);
        const Json* list = find(all, "edits");
        if (!list || !list->is_array()) fail(Exit::bad_input, "%s: {\"edits\": [...]} was expected", path.c_str());
        for (size_t i = 0; i < list->size(); i++) {
            const Json& e = (*list)[i];
            std::string who = path + ": edit " + std::to_string(i), point = get_string(e, "point", who);
            int64_t b = get_int(e, "block", who, 0, 1 << 20);
            if (point == "z" && find(e, "scale")) {
                scale(b, get_int(e, "head", who, 0, 1 << 20), get_number(e, "scale", who), who);
            } else if (point == "resid_post" && find(e, "add")) {
                Tensor v = vector(get_string(e, "add", who), model().dim, who);
                edits.push_back(
                    {Point::resid_post, block(b, who), Edit::add, v, float(get_number(e, "scale", who, 1))});
            } else if (point == "resid_post" && find(e, "project_out")) {
                project(std::to_string(b) + "=" + get_string(e, "project_out", who));
            } else {
                fail(Exit::usage,
                     "%s: known are point z with head and scale, and point resid_post with add or project_out",
                     who.c_str());
            }
        }
        beside.clear();
    }
};

}  // namespace

std::vector<Edit> read_edits(const ModelFlags& f, Session& s) {
    Reader r{s};
    if (!f.edits.empty()) r.file(f.edits);
    if (!f.temper.empty())
        for (const std::string& one : split_at(f.temper, ',')) {
            size_t eq = one.find('=');
            char* end = nullptr;
            double factor = eq == std::string::npos ? NAN : strtod(one.c_str() + eq + 1, &end);
            if (!end || *end || eq + 1 == one.size())
                fail(Exit::usage, "--temper %s: BLOCK.HEAD=FACTOR was expected", one.c_str());
            auto [b, h] = r.block_and_head(one.substr(0, eq), "--temper " + one);
            r.scale(b, h, factor, "--temper " + one);
        }
    if (!f.ablate.empty())
        for (const std::string& one : split_at(f.ablate, ',')) {
            auto [b, h] = r.block_and_head(one, "--ablate " + one);
            r.scale(b, h, 0, "--ablate " + one);
        }
    if (!f.ablate_to.empty()) r.put_means(f.ablate_to);
    for (const std::string& one : f.steer) r.steer(one);
    for (const std::string& one : f.project_out) r.project(one);
    for (Edit& e : r.edits) e.v = s.weights.copy({e.v.f(), e.v.f() + e.v.cols}, 1, e.v.cols);
    return r.edits;
}
