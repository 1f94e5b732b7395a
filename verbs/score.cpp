// score - log-probabilities of given text.
#include <chrono>
#include <cmath>
#include "common.h"
#include "verbs.h"

namespace {
struct {
    ModelFlags model;
    std::string input;
    bool json = false, raw = false;
} o;
}  // namespace

void verb::score_flags(Flags& f) {
    o.model.declare(f);
    o.model.declare_edits(f);
    f.add("input", &o.input, "F.jsonl", "rows; - is standard input");
    f.add("raw", &o.raw, "", "prompts are plain text, not conversations");
    f.add("json", &o.json, "", "one JSON object a row, then a summary");
}

void verb::score(const Flags&) {
    if (o.input.empty()) fail(Exit::usage, "--input is missing: a file of JSON lines, or - for standard input");
    o.model.session.deterministic = true;
    std::vector<Row> rows;
    auto s = o.model.open([&](Session& s) {
        RowReader reader = s.reader();
        reader.raw = o.raw;
        rows = read_rows(o.input, reader);
    });
    watch_interrupts();
    auto start = std::chrono::steady_clock::now();
    double all = 0;
    size_t tokens = 0;
    Progress progress;
    ::score(*s, rows, [&](size_t r, const std::vector<float>& logp) {
        Json out = {{"id", rows[r].id}, {"ids", rows[r].ids}};
        Json list = Json::array();
        double nll = 0;
        size_t n = 0;
        for (float p : logp) {
            list.push_back(std::isnan(p) ? Json(nullptr) : Json(p));
            if (!std::isnan(p)) nll -= p, n++;
        }
        all += nll, tokens += n;
        out["logprobs"] = list, out["nll"] = nll, out["tokens"] = n;
        double mean = n ? nll / double(n) : NAN;        // of no token there is none: null in JSON
        put(o.json ? dump(out) + "\n"
                   : format("%s\t%zu tokens\tnll %.6f\tper token %.6f\tperplexity %.4f\n", dump(rows[r].id).c_str(), n,
                            nll, mean, std::exp(mean)));
        progress.show(format("score: %zu of %zu rows", r + 1, rows.size()));
    });
    progress.clear();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double mean = tokens ? all / double(tokens) : NAN;
    Json summary = {{"rows", rows.size()},          {"tokens", tokens},  {"nll", all}, {"nll_per_token", mean},
                    {"perplexity", std::exp(mean)}, {"seconds", seconds}};
    put(o.json ? dump({{"summary", summary}}) + "\n"
               : format("all\t%zu rows\t%zu tokens\tper token %.6f\tperplexity %.4f\n", rows.size(), tokens, mean,
                        std::exp(mean)));
}
