// extract - activations at named points, streamed to disk.
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../models/spool.h"
#include "common.h"
#include "verbs.h"

namespace {
struct {
    ModelFlags model;
    std::string input, points = "final", tokens = "all", out;
    bool raw = false;
} o;

// Either format behind one face.
struct Writer {
    std::unique_ptr<SafetensorsWriter> safetensors;
    std::unique_ptr<NpzWriter> npz;
    void write(size_t item, int64_t first, const void* data, int64_t rows) {
        if (npz) npz->write(item, first, data, rows);
        else safetensors->write(item, first, data, rows);
    }
    void commit() { npz ? npz->commit() : safetensors->commit(); }
};

// The ids of all rows, and where each row begins.
void write_rows(Writer& to, Spool& rows) {
    std::vector<int> row;
    std::vector<int64_t> ids, offsets{0};
    int64_t written = 0, begun = 0, at = 0;     // rows of either tensor that are on disk; tokens so far
    auto flush = [&] {
        to.write(0, written, ids.data(), int64_t(ids.size()));
        to.write(1, begun, offsets.data(), int64_t(offsets.size()));
        written += int64_t(ids.size()), begun += int64_t(offsets.size());
        ids.clear(), offsets.clear();
    };
    for (rows.rewind(); rows.next(row);) {
        ids.insert(ids.end(), row.begin(), row.end());
        offsets.push_back(at += int64_t(row.size()));
        if (ids.size() + offsets.size() > 65536) flush();
    }
    flush();
}
}  // namespace

void verb::extract_flags(Flags& f) {
    o.model.declare(f);
    o.model.declare_edits(f);
    f.add("input", &o.input, "F.jsonl", "rows; - is standard input");
    f.add("points", &o.points, "P,..",
          "embed, resid_pre.B, q.B, z.B, attn_out.B, mlp_out.B, resid_post.B, final, logits; * for all B");
    f.choice("tokens", &o.tokens, {"all", "last"}, "every token, or the last of each row");
    f.add("out", &o.out, "F.safetensors|F.npz", "where to write");
    f.add("raw", &o.raw, "", "prompts are plain text, not conversations");
}

void verb::extract(const Flags&) {
    if (o.input.empty() || o.out.empty()) fail(Exit::usage, "--input and --out are needed");
    bool npz = o.out.ends_with(".npz");
    if (!npz && !o.out.ends_with(".safetensors"))
        fail(Exit::usage, "--out %s: a name ending in .safetensors or .npz was expected", o.out.c_str());
    std::vector<Tap> taps;
    Spool rows(o.out);                          // formats want their sizes first, and memory is not to grow with rows
    auto s = o.model.open([&](Session& s) {
        taps = parse_points(*s.model, o.points);
        RowReader reader = s.reader();
        reader.raw = o.raw;
        for_each_line(o.input,
                      [&](const Json& line, const std::string& who, int) { rows.add(reader.row(line, who).ids); });
        if (!rows.rows) fail(Exit::bad_input, "%s: no rows", o.input.c_str());
    });
    watch_interrupts();
    bool last = o.tokens == "last";
    int64_t n = last ? rows.rows : rows.tokens;
    std::vector<SafetensorsWriter::Item> items{{"ids", Type::i64, {rows.tokens}},
                                               {"offsets", Type::i64, {rows.rows + 1}}};
    for (const Tap& t : taps) items.push_back({t.name, Type::f32, {n, t.width}});
    Json adapters = o.model.session.adapters, edits = Json::object();
    for (auto [flag, value] : {std::pair{"edits", &o.model.edits}, {"temper", &o.model.temper},
                               {"ablate", &o.model.ablate}, {"ablate_to", &o.model.ablate_to}})
        if (!value->empty()) edits[flag] = *value;
    if (!o.model.steer.empty()) edits["steer"] = o.model.steer;
    if (!o.model.project_out.empty()) edits["project_out"] = o.model.project_out;
    if (!o.model.edits.empty()) edits["edits_sha256"] = sha256_of_file(o.model.edits);
    std::map<std::string, std::string> metadata = {
        {"model", o.model.session.model}, {"model_sha256", sha256_of_file(s->checkpoint.file_of_weights())},
        {"adapters", adapters.dump()},    {"edits", edits.dump()},
        {"input", o.input},               {"input_sha256", o.input == "-" ? "" : sha256_of_file(o.input)},
        {"precision", s->operand == Type::f32 ? "f32" : "bf16"}, {"tokens", o.tokens}};
    Writer writer;
    if (npz) writer.npz = std::make_unique<NpzWriter>(o.out, items);
    else writer.safetensors = std::make_unique<SafetensorsWriter>(o.out, items, metadata);
    write_rows(writer, rows);
    Progress progress;
    ::extract(*s, rows, taps, last, [&](size_t tap, int64_t first, const float* data, int64_t count) {
        stop_if_interrupted();
        writer.write(2 + tap, first, data, count);
        progress.show(format("extract: %lld of %lld rows", (long long)(first + count), (long long)n));
    });
    writer.commit();
    progress.clear();
    if (!o.model.session.quiet)
        fprintf(stderr, "dd: %s: %zu points of %lld tokens, %lld rows\n", o.out.c_str(), taps.size(), (long long)n,
                (long long)rows.rows);
}
