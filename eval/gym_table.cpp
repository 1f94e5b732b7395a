// gym_table.cpp - the report for a terminal, 110 columns wide.
#include <algorithm>
#include "gym.h"

namespace gym {

namespace {

std::string p_value(double p) { return p < 5e-4 ? format("%.0e", p) : format("%.3f", p); }

// "62.0 % [52.1, 70.9]   62/100 cut 0.0 %"
std::string cell(const Measure& m) {
    if (!m.share) return format("%7.2f%37s", m.value, "");
    if (m.n == 0) return format("%7s%37s", "-", "");
    return format("%5.1f %% [%5.1f, %5.1f] %4lld/%-5lld cut %5.1f %%  ", 100 * m.value, 100 * m.interval.low,
                  100 * m.interval.high, (long long)m.k, (long long)m.n, 100 * m.cut_off);
}

void add_family(std::string& out, const Report& r, const FamilyReport& f) {
    out += format("%-8s %5lld items", text(f.family), (long long)f.items);
    for (const std::string& arm : r.arms) out += format("  %-42.42s", arm.c_str());
    out += '\n';
    for (size_t i = 0; i < f.arms[0].size(); i++) {
        out += format("  %-20s", f.arms[0][i].name.c_str());
        for (const std::vector<Measure>& arm : f.arms) out += cell(arm[i]);
        out += '\n';
    }
    out += '\n';
}

bool is_style_or_substance(const Comparison& c) {
    return c.score == "says it checks" || c.score == "check is real" || c.score == "right";
}

void add_comparison(std::string& out, const Comparison& c) {
    const double unit = c.share ? 100 : 1;
    out += format("%-7s %-15s %6.1f %6.1f %+7.1f [%+6.1f, %+6.1f]", text(c.family), c.score.c_str(), unit * c.before,
                  unit * c.after, unit * c.difference, unit * c.interval.low, unit * c.interval.high);
    out += c.share ? format(" %5lld %5lld", (long long)c.gained, (long long)c.lost) : std::string(12, ' ');
    out += format(" %6s %6s %6.1f  %5.1f %5.1f\n", p_value(c.p).c_str(), p_value(c.holm).c_str(), unit * c.detectable,
                  100 * c.cut_before, 100 * c.cut_after);
}

}  // namespace

std::string report_table(const Report& r) {
    std::string out;
    for (const FamilyReport& f : r.families) add_family(out, r, f);
    if (r.comparisons.empty()) {
        out += "style and substance     says it checks   check is real           right\n";
        for (const FamilyReport& f : r.families) {
            out += format("%-20s", text(f.family));
            for (size_t i = 0; i < 3; i++) out += format("%14.1f %%", 100 * f.arms[0][i].value);
            out += '\n';
        }
        return out;
    }
    const std::string head = format("%23s %6s %6s %7s %16s %5s %5s %6s %6s %6s  %11s\n", "", "before", "after",
                                    "change", "95 %    ", "up", "down", "p", "Holm", "found", "cut off %");
    out += "other scores" + head.substr(12);
    for (const Comparison& c : r.comparisons)
        if (!is_style_or_substance(c)) add_comparison(out, c);
    out += "\nstyle and substance" + head.substr(19);
    for (const Comparison& c : r.comparisons)
        if (is_style_or_substance(c)) add_comparison(out, c);
    out += format("\nShares in %% and points, tokens in tokens. p: exact McNemar, for tokens sign flips; Holm over %zu "
                  "comparisons.\nfound: the change that these items would have shown with probability 0.8.\n\n",
                  r.comparisons.size());
    for (const std::string& v : r.verdicts) out += v + "\n";
    return out;
}

}  // namespace gym
