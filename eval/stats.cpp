// stats.cpp - formulas and sources stand in stats.h.
#include "stats.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include "../kernels/error.h"
#include "../kernels/random.h"

double normal_cdf(double z) { return .5 * std::erfc(-z / std::sqrt(2.)); }

double normal_quantile(double p) {
    require(p > 0 && p < 1, "normal_quantile: p is %g; it must lie between 0 and 1", p);
    if (p > .5) return -normal_quantile(1 - p);
    // Abramowitz and Stegun 26.2.23 to 5e-4, then Halley's steps, each of which triples the digits.
    const double t = std::sqrt(-2 * std::log(p));
    double z = (2.515517 + t * (.802853 + t * .010328)) / (1 + t * (1.432788 + t * (.189269 + t * .001308))) - t;
    for (int step = 0; step < 3; step++) {
        const double density = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
        const double off = (normal_cdf(z) - p) / density;
        z -= off / (1 + z * off / 2);
    }
    return z;
}

// P(X = k) for 0 <= k <= n and 0 < p < 1.
static double binomial_term(int64_t k, int64_t n, double p) {
    const double size = double(n), yes = double(k), no = double(n - k);
    return std::exp(std::lgamma(size + 1) - std::lgamma(yes + 1) - std::lgamma(no + 1) + yes * std::log(p) +
                    no * std::log1p(-p));
}

double binomial_at_most(int64_t k, int64_t n, double p) {
    if (k < 0) return 0;
    if (k >= n || p <= 0) return 1;
    if (p >= 1) return 0;
    const double odds = (1 - p) / p;
    double term = binomial_term(k, n, p);
    if (!std::isnormal(term)) return double(k) > double(n) * p ? 1 : 0; // no digits to go on from, on either side
    double sum = 0;
    for (int64_t i = k; i >= 0; i--) {
        sum += term;
        const double ratio = double(i) / double(n - i + 1) * odds;
        if (ratio < 1 && term < sum * 1e-18) break;
        term *= ratio;
    }
    return std::min(1., sum);
}

double binomial_at_least(int64_t k, int64_t n, double p) { return binomial_at_most(n - k, n, 1 - p); }

double mean(std::span<const double> x) {
    return x.empty() ? 0 : std::accumulate(x.begin(), x.end(), 0.) / double(x.size());
}

double standard_deviation(std::span<const double> x) {
    if (x.size() < 2) return 0;
    const double m = mean(x);
    double sum = 0;
    for (double v : x) sum += (v - m) * (v - m);
    return std::sqrt(sum / double(x.size() - 1));
}

double quantile(std::vector<double> x, double q) {
    require(!x.empty() && q >= 0 && q <= 1, "quantile: %zu values at %g; it takes one or more, and 0 to 1", x.size(),
            q);
    std::sort(x.begin(), x.end());
    const double at = q * double(x.size() - 1);
    const size_t below = size_t(at), above = std::min(below + 1, x.size() - 1);
    return x[below] + (at - double(below)) * (x[above] - x[below]);
}

static double two_sided_z(double confidence) { return normal_quantile(.5 + confidence / 2); }

Interval wilson(int64_t k, int64_t n, double confidence) {
    require(k >= 0 && k <= n, "wilson: %lld of %lld", (long long)k, (long long)n);
    if (n == 0) return {0, 1};
    const double z = two_sided_z(confidence), size = double(n), p = double(k) / size;
    const double centre = (p + z * z / (2 * size)) / (1 + z * z / size);
    const double half = z / (1 + z * z / size) * std::sqrt(p * (1 - p) / size + z * z / (4 * size * size));
    return {k == 0 ? 0 : centre - half, k == n ? 1 : centre + half};
}

// p1 - p2 with limits drawn from the two Wilson intervals as from two sides of a triangle; phi is the correlation.
static Interval square_and_add(double p1, Interval w1, double p2, Interval w2, double phi) {
    const double down1 = p1 - w1.low, up1 = w1.high - p1, down2 = p2 - w2.low, up2 = w2.high - p2;
    const double low = std::sqrt(std::max(0., down1 * down1 - 2 * phi * down1 * up2 + up2 * up2));
    const double high = std::sqrt(std::max(0., up1 * up1 - 2 * phi * up1 * down2 + down2 * down2));
    return {std::max(-1., p1 - p2 - low), std::min(1., p1 - p2 + high)};
}

Interval newcombe(int64_t k1, int64_t n1, int64_t k2, int64_t n2, double confidence) {
    if (n1 == 0 || n2 == 0) return {-1, 1};
    return square_and_add(double(k1) / double(n1), wilson(k1, n1, confidence), double(k2) / double(n2),
                          wilson(k2, n2, confidence), 0);
}

double mcnemar(int64_t b, int64_t c) {
    return b + c == 0 ? 1 : std::min(1., 2 * binomial_at_most(std::min(b, c), b + c, .5));
}

// Correlation of the two columns of a 2x2 table, its numerator moved towards 0 by n/2 as Newcombe's method 10 asks.
static double corrected_phi(double both, double gained, double lost, double neither) {
    const double n = both + gained + lost + neither;
    const double margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither);
    const double cross = both * neither - gained * lost;
    if (margins == 0 || (cross >= 0 && cross <= n / 2)) return 0;
    return (cross > 0 ? cross - n / 2 : cross) / std::sqrt(margins);
}

PairedShares paired_shares(int64_t both, int64_t gained, int64_t lost, int64_t neither, double confidence) {
    PairedShares r{both, gained, lost, neither, 0, 0, 0, 0, {-1, 1}, mcnemar(gained, lost)};
    const int64_t n = both + gained + lost + neither;
    if (n == 0) return r;
    const double size = double(n), moved = double(gained - lost);
    r.before = double(both + lost) / size;
    r.after = double(both + gained) / size;
    r.difference = moved / size;
    r.error = std::sqrt(std::max(0., double(gained + lost) - moved * moved / size)) / size;
    r.interval = square_and_add(r.after, wilson(both + gained, n, confidence), r.before,
                                wilson(both + lost, n, confidence),
                                corrected_phi(double(both), double(gained), double(lost), double(neither)));
    return r;
}

// For every number m of discordant pairs: the largest min(b, c) at which the exact McNemar test rejects; -1: none.
static std::vector<int64_t> rejection_limits(int64_t n, double alpha) {
    std::vector<int64_t> limit(size_t(n) + 1, -1);
    for (int64_t m = 1; m <= n; m++) {
        int64_t& k = limit[size_t(m)];
        k = limit[size_t(m) - 1];
        while (2 * (k + 1) < m && mcnemar(k + 1, m - k - 1) <= alpha) k++;
    }
    return limit;
}

double detectable_share(int64_t n, double discordance, double alpha, double power) {
    if (n <= 0) return 1;
    const std::vector<int64_t> limit = rejection_limits(n, alpha);
    auto chance = [&](double difference) {
        const double share = std::min(1., std::max(discordance, difference)), up = .5 + difference / share / 2;
        const double centre = double(n) * share, reach = 9 * std::sqrt(centre * (1 - share)) + 1;
        double sum = 0;
        for (int64_t m = std::max(int64_t(0), int64_t(centre - reach)); m <= std::min(n, int64_t(centre + reach));
             m++) {
            const double weight = share < 1 && share > 0 ? binomial_term(m, n, share) : double(m == n);
            const int64_t k = limit[size_t(m)];
            if (weight > 1e-12 && k >= 0)
                sum += weight * (binomial_at_least(m - k, m, up) + binomial_at_most(k, m, up));
        }
        return sum;
    };
    if (chance(1) < power) return 1;
    double low = 0, high = 1;
    while (high - low > 1e-4) (chance((low + high) / 2) < power ? low : high) = (low + high) / 2;
    return high;
}

double detectable_mean(int64_t n, double sd, double alpha, double power) {
    if (n <= 0) return INFINITY;
    return (normal_quantile(1 - alpha / 2) + normal_quantile(power)) * sd / std::sqrt(double(n));
}

Interval bootstrap_mean(std::span<const double> x, uint64_t seed, int draws, double confidence) {
    require(!x.empty() && draws > 0, "bootstrap_mean: %zu values and %d draws; both must be positive", x.size(), draws);
    std::vector<double> means(static_cast<size_t>(draws));
    for (size_t t = 0; t < means.size(); t++) {
        Random random(seed, t);
        double sum = 0;
        for (size_t i = 0; i < x.size(); i++) sum += x[random.below(uint32_t(x.size()))];
        means[t] = sum / double(x.size());
    }
    return {quantile(means, .5 - confidence / 2), quantile(means, .5 + confidence / 2)};
}

double sign_flip(std::span<const double> x, uint64_t seed, int draws) {
    std::vector<double> moved;
    std::copy_if(x.begin(), x.end(), std::back_inserter(moved), [](double v) { return v != 0; });
    double sum = 0, size = 0;
    for (double v : moved) sum += v, size += std::fabs(v);
    const double seen = std::fabs(sum) - 1e-12 * size;      // sums of the same numbers in another order are ties
    const size_t n = moved.size();
    if (n == 0) return 1;
    if (n <= 16) {
        int64_t far = 0;
        for (uint32_t pattern = 0; pattern < 1u << n; pattern++) {
            double flipped = 0;
            for (size_t i = 0; i < n; i++) flipped += pattern >> i & 1 ? -moved[i] : moved[i];
            far += std::fabs(flipped) >= seen;
        }
        return double(far) / double(1u << n);
    }
    int64_t far = 0;
    for (int t = 0; t < draws; t++) {
        Random random(seed, uint64_t(t));
        double flipped = 0;
        uint32_t bits = 0;
        for (size_t i = 0; i < n; i++, bits >>= 1) {
            if (i % 32 == 0) bits = random.u32();
            flipped += bits & 1 ? -moved[i] : moved[i];
        }
        far += std::fabs(flipped) >= seen;
    }
    return double(1 + far) / double(1 + draws);
}

PairedMeans paired_means(std::span<const double> before, std::span<const double> after, uint64_t seed, int draws,
                         double confidence) {
    require(before.size() == after.size() && !before.empty(),
            "paired_means: %zu values before and %zu after; each item "
            "must have both",
            before.size(), after.size());
    std::vector<double> d(before.size());
    for (size_t i = 0; i < d.size(); i++) d[i] = after[i] - before[i];
    return {int64_t(d.size()), mean(before), mean(after), mean(d), standard_deviation(d),
            bootstrap_mean(d, seed, draws, confidence), sign_flip(d, seed, draws)};
}

std::vector<double> holm(std::span<const double> p) {
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
    std::vector<double> adjusted(p.size());
    double largest = 0;
    for (size_t rank = 0; rank < order.size(); rank++) {
        largest = std::max(largest, std::min(1., double(p.size() - rank) * p[order[rank]]));
        adjusted[order[rank]] = largest;
    }
    return adjusted;
}

double d_prime(int64_t hits, int64_t signals, int64_t false_alarms, int64_t noises) {
    auto z = [](int64_t k, int64_t n) { return normal_quantile((double(k) + .5) / (double(n) + 1)); };
    return z(hits, signals) - z(false_alarms, noises);
}

double auc(std::span<const double> scores, std::span<const int> labels) {
    require(scores.size() == labels.size(), "auc: %zu scores and %zu labels", scores.size(), labels.size());
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
    double won = 0, negatives = 0, positives = 0;
    for (size_t i = 0; i < order.size();) {
        double up = 0, down = 0;
        const double value = scores[order[i]];
        for (; i < order.size() && scores[order[i]] == value; i++) (labels[order[i]] ? up : down) += 1;
        won += up * (negatives + down / 2);
        positives += up;
        negatives += down;
    }
    return won / (positives * negatives);
}

double brier(std::span<const double> p, std::span<const int> labels) {
    double sum = 0;
    for (size_t i = 0; i < p.size(); i++) sum += (p[i] - labels[i]) * (p[i] - labels[i]);
    return sum / double(p.size());
}

double log_loss(std::span<const double> p, std::span<const int> labels) {
    double sum = 0;
    for (size_t i = 0; i < p.size(); i++) sum -= labels[i] ? std::log(p[i]) : std::log1p(-p[i]);
    return sum / double(p.size());
}

double calibration_error(std::span<const double> p, std::span<const int> labels, int bins) {
    std::vector<double> confidence(static_cast<size_t>(bins)), correct(confidence);
    for (size_t i = 0; i < p.size(); i++) {
        const size_t bin = size_t(std::clamp(int(p[i] * bins), 0, bins - 1));
        confidence[bin] += p[i];
        correct[bin] += labels[i];
    }
    double sum = 0;
    for (size_t bin = 0; bin < confidence.size(); bin++) sum += std::fabs(confidence[bin] - correct[bin]);
    return sum / double(p.size());
}

double pass_at_k(int64_t n, int64_t c, int64_t k) {
    if (n - c < k) return 1;
    double none = 1;
    for (int64_t i = n - c + 1; i <= n; i++) none *= 1 - double(k) / double(i);
    return 1 - none;
}

double Logistic::score(const SparseRow& row) const {
    double sum = intercept;
    for (const Feature& f : row) sum += weights[size_t(f.column)] * f.value;
    return sum;
}

namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.);
}

// The objective at x = (weights, intercept), and its gradient.
double logistic_objective(const std::vector<SparseRow>& rows, std::span<const int> labels, double c,
                          const std::vector<double>& x, std::vector<double>& gradient) {
    const size_t width = x.size() - 1;
    gradient.assign(x.begin(), x.end());
    gradient[width] = 0;
    double loss = 0;
    for (size_t i = 0; i < rows.size(); i++) {
        double margin = x[width];
        for (const Feature& f : rows[i]) margin += x[size_t(f.column)] * f.value;
        const double t = labels[i] ? 1 : -1, m = t * margin;
        loss += m > 0 ? std::log1p(std::exp(-m)) : std::log1p(std::exp(m)) - m;
        const double slope = -t * c / (1 + std::exp(m));
        for (const Feature& f : rows[i]) gradient[size_t(f.column)] += slope * f.value;
        gradient[width] += slope;
    }
    return (dot(x, x) - x[width] * x[width]) / 2 + c * loss;
}

// Minus the gradient, times the inverse Hessian as the last steps and changes of gradient describe it.
std::vector<double> lbfgs_direction(const std::vector<double>& gradient, const std::vector<std::vector<double>>& steps,
                                    const std::vector<std::vector<double>>& changes) {
    std::vector<double> d(gradient);
    std::vector<double> alpha(steps.size());
    auto add = [&](double factor, const std::vector<double>& v) {
        for (size_t i = 0; i < d.size(); i++) d[i] += factor * v[i];
    };
    for (size_t j = steps.size(); j-- > 0;) {
        alpha[j] = dot(steps[j], d) / dot(steps[j], changes[j]);
        add(-alpha[j], changes[j]);
    }
    const double scale = steps.empty() ? 1 / std::max(1., std::sqrt(dot(gradient, gradient)))
                                       : dot(steps.back(), changes.back()) / dot(changes.back(), changes.back());
    for (double& v : d) v *= scale;
    for (size_t j = 0; j < steps.size(); j++)
        add(alpha[j] - dot(changes[j], d) / dot(steps[j], changes[j]), steps[j]);
    for (double& v : d) v = -v;
    return d;
}

}  // namespace

Logistic fit_logistic(const std::vector<SparseRow>& rows, std::span<const int> labels, int width, double c) {
    require(rows.size() == labels.size(), "fit_logistic: %zu rows and %zu labels", rows.size(), labels.size());
    const size_t memory = 20;
    std::vector<double> x(size_t(width) + 1), gradient, next, next_gradient;
    std::vector<std::vector<double>> steps, changes;
    double value = logistic_objective(rows, labels, c, x, gradient), largest = 0;
    for (int iteration = 0; iteration < 10000; iteration++) {
        largest = 0;
        for (double g : gradient) largest = std::max(largest, std::fabs(g));
        if (largest < 1e-8 * (1 + c)) break;
        const std::vector<double> d = lbfgs_direction(gradient, steps, changes);
        const double slope = dot(d, gradient);
        double rate = 1, next_value = value;
        bool lower = false;
        for (int halving = 0; halving < 40 && !lower; halving++, rate /= 2) {
            next = x;
            for (size_t i = 0; i < x.size(); i++) next[i] += rate * d[i];
            next_value = logistic_objective(rows, labels, c, next, next_gradient);
            lower = next_value < value && next_value <= value + 1e-4 * rate * slope;
        }
        if (!lower) break;
        std::vector<double> step(x.size()), change(x.size());
        for (size_t i = 0; i < x.size(); i++) step[i] = next[i] - x[i], change[i] = next_gradient[i] - gradient[i];
        if (dot(step, change) > 0) {
            if (steps.size() == memory) steps.erase(steps.begin()), changes.erase(changes.begin());
            steps.push_back(std::move(step));
            changes.push_back(std::move(change));
        }
        x.swap(next);
        gradient.swap(next_gradient);
        value = next_value;
    }
    const double intercept = x.back();
    x.pop_back();
    return {x, intercept, value, largest};
}
