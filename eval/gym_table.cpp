// gym_table.cpp - the report for a terminal, 110 columns wide.
#include <algorithm>
#include "gym.h"

namespace gym {

namespace {

std::string p_value(double p) { return p < 5e-4 ? format("%.0e", p) : format("%.3f", p); }

std::string number(double v) { return format(v >= 1000 || v <= -1000 ? "%+.0f" : "%+.1f", v); }
std::string plain_number(double v) { return number(v).substr(v >= 0); }

void add_line(std::string& out, std::string line) {
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
}

// "62.0 [52.1, 70.9] 62/100 0.0", as named by the family's head.
std::string cell(const Measure& m) {
    if (!m.share) return format("%7s%36s", format(m.value < 10 ? "%.2f" : "%.1f", m.value).c_str(), "");
    if (m.n == 0) return format("%7s%36s", "-", "");
    return format("%7.1f [%5.1f, %5.1f] %5lld/%-5lld %6.1f  ", 100 * m.value, 100 * m.interval.low,
                  100 * m.interval.high, (long long)m.k, (long long)m.n, 100 * m.cut_off);
}

void add_family(std::string& out, const Report& r, const FamilyReport& f) {
    std::string line = format("%-22s", format("%s, %lld items", text(f.family), (long long)f.items).c_str());
    for (const std::string& arm : r.arms) line += format("   %-38.38s  ", arm.c_str());
    add_line(out, line);
    line = std::string(22, ' ');
    for (size_t arm = 0; arm < r.arms.size(); arm++)
        line += format("%7s %-14s %11s %8s  ", "%", "  95 %", "of  ", "cut off");
    add_line(out, line);
    for (size_t i = 0; i < f.arms[0].size(); i++) {
        line = format("  %-20s", f.arms[0][i].name.c_str());
        for (const std::vector<Measure>& arm : f.arms) line += cell(arm[i]);
        add_line(out, line);
    }
    out += '\n';
}

bool is_style_or_substance(const Comparison& c) {
    return c.score == "says it checks" || c.score == "check is real" || c.score == "right";
}

void add_comparison(std::string& out, const Comparison& c) {
    const double unit = c.share ? 100 : 1;
    const std::string counts = c.share ? format("%5lld %5lld", (long long)c.gained, (long long)c.lost) : "";
    add_line(out, format("%-7s%-15s%7s%7s%8s [%6s, %6s]%12s %6s %6s %6s  %5.1f %5.1f", text(c.family), c.score.c_str(),
                         plain_number(unit * c.before).c_str(), plain_number(unit * c.after).c_str(),
                         number(unit * c.difference).c_str(), number(unit * c.interval.low).c_str(),
                         number(unit * c.interval.high).c_str(), counts.c_str(), p_value(c.p).c_str(),
                         p_value(c.holm).c_str(), plain_number(unit * c.detectable).c_str(), 100 * c.cut_before,
                         100 * c.cut_after));
}

// The columns of add_comparison, named.
void add_head(std::string& out, const char* title) {
    add_line(out, format("%-22s%7s%7s%8s %16s%6s%6s %6s %6s %6s  %11s", title, "before", "after", "change",
                         "95 %      ", "up", "down", "p", "Holm", "found", "cut off %"));
}

}  // namespace

std::string report_table(const Report& r) {
    std::string out;
    for (const FamilyReport& f : r.families) add_family(out, r, f);
    if (r.comparisons.empty()) {
        out += "style and substance     says it checks   check is real           right\n";
        for (const FamilyReport& f : r.families) {
            std::string line = format("%-20s", text(f.family));
            for (size_t i = 0; i < 3; i++) line += format("%14.1f %%", 100 * f.arms[0][i].value);
            add_line(out, line);
        }
        return out;
    }
    add_head(out, "other scores");
    for (const Comparison& c : r.comparisons)
        if (!is_style_or_substance(c)) add_comparison(out, c);
    out += '\n';
    add_head(out, "style and substance");
    for (const Comparison& c : r.comparisons)
        if (is_style_or_substance(c)) add_comparison(out, c);
    out += format("\nShares in %% and points, tokens in tokens. p: exact McNemar, for tokens sign flips; Holm over %zu "
                  "comparisons.\nfound: the change that these items would have shown with probability 0.8.\n\n",
                  r.comparisons.size());
    for (const std::string& v : r.verdicts) out += v + "\n";
    return out;
}

}  // namespace gym
