// loss.cpp - how well a model predicts given text. Two arms are compared row by row: the mean over rows of the
// difference of their nll per token, with a bootstrap interval and a sign-flip p value; rows are the units, because
// tokens of one row are not independent of each other.
#include <cmath>
#include "stats.h"
#include "task.h"

namespace {

struct Loss : Task {
    std::vector<Row> rows;

    Loss(Session& s, const TaskOptions& o) {
        if (o.data.empty()) fail(Exit::usage, "--data is missing: the rows whose loss is measured");
        RowReader reader = s.reader();
        reader.raw = o.raw;
        size_t bare = 0;
        for (Row& row : read_rows(o.data, reader)) {
            bool counts = false;
            for (size_t i = 1; i < row.labels.size(); i++) counts |= row.labels[i] >= 0;
            if (counts) rows.push_back(std::move(row));
            else bare++;
        }
        if (rows.empty()) fail(Exit::bad_input, "%s: no row has a token that counts in the loss", o.data.c_str());
        if (bare) fprintf(stderr, "dd: %s: %zu rows left out: no token of theirs counts\n", o.data.c_str(), bare);
    }

    size_t items() const override { return rows.size(); }

    Walked walked(size_t item, const Json& answer) const override {
        return {std::ssize(rows[item].ids), answer["tokens"]};
    }

    void run(Session& s, const std::set<size_t>& done, const std::function<void(size_t, Json)>& keep) override {
        std::vector<Row> left;
        std::vector<size_t> number;
        for (size_t i = 0; i < rows.size(); i++)
            if (!done.count(i)) left.push_back(rows[i]), number.push_back(i);
        if (left.empty()) return;
        score(s, left, [&](size_t r, const std::vector<float>& logp) {
            double nll = 0;
            int64_t n = 0;
            for (float p : logp)
                if (!std::isnan(p)) nll -= p, n++;
            keep(number[r], {{"nll", nll}, {"tokens", n}});
        });
    }

    Json row(size_t item, const Json& answer) const override {
        double nll = answer["nll"];
        int64_t tokens = answer["tokens"];
        return {{"id", rows[item].id},
                {"nll", nll},
                {"tokens", tokens},
                {"nll_per_token", nll / double(tokens)},
                {"perplexity", std::exp(nll / double(tokens))}};
    }

    TaskReport report(const std::vector<TaskArm>& arms) const override {
        TaskReport r;
        std::vector<std::vector<double>> by_row(arms.size());
        r.json = {{"rows", rows.size()}, {"arms", Json::array()}};
        r.table = format("%-24s %10s %12s %12s\n", "arm", "tokens", "nll/token", "perplexity");
        for (size_t a = 0; a < arms.size(); a++) {
            double nll = 0;
            int64_t tokens = 0;
            for (const Json& answer : arms[a].answers) {
                double one = answer["nll"];
                int64_t n = answer["tokens"];
                nll += one, tokens += n;
                by_row[a].push_back(one / double(n));
            }
            double mean = nll / double(tokens);
            r.json["arms"].push_back({{"name", arms[a].name}, {"tokens", tokens}, {"nll", nll},
                                      {"nll_per_token", mean}, {"perplexity", std::exp(mean)},
                                      {"mean_over_rows", ::mean(by_row[a])}});
            r.table += format("%-24s %10lld %12.4f %12.3f\n", arms[a].name.c_str(), (long long)tokens, mean,
                              std::exp(mean));
        }
        if (arms.size() == 2) {
            PairedMeans p = paired_means(by_row[0], by_row[1], 1);
            double detectable = detectable_mean(p.n, p.sd);
            r.json["difference"] = {{"rows", p.n},       {"before", p.before},        {"after", p.after},
                                    {"mean", p.difference}, {"interval_95", {p.interval.low, p.interval.high}},
                                    {"p", p.p},          {"detectable_at_0.8", detectable}};
            r.table += format("nll per token, mean over %lld rows: %+.4f (95 %% interval %+.4f to %+.4f, p %s); "
                              "these rows find %.4f with probability 0.8\n",
                              (long long)p.n, p.difference, p.interval.low, p.interval.high,
                              p.p < 1e-4 ? "< 0.0001" : format("%.4f", p.p).c_str(), detectable);
        }
        return r;
    }
};

}  // namespace

std::unique_ptr<Task> make_loss_task(Session& s, const TaskOptions& o) { return std::make_unique<Loss>(s, o); }
