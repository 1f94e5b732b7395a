// stats.h - the statistics that results are judged by. All in double precision, all without hidden state: what draws
// random numbers takes a seed and yields the same result on every machine and in every order of calls.
//
// Which one when. A share of items: `wilson`. Two runs on the same items: `paired_shares` for yes/no scores,
// `paired_means` for numbers; several such comparisons in one report: `holm` over their p values. Two independent
// groups: `newcombe`. A result that is "not significant" says nothing without `detectable_share` or `detectable_mean`.
// Every function has values from elsewhere in tests/stats.cpp, and those that decide have a simulation under the null.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

struct Interval {
    double low, high;
};

// --- distributions

double normal_cdf(double z);
// The z with normal_cdf(z) = p; 0 < p < 1, else Exit::failed.
double normal_quantile(double p);
// P(X <= k) and P(X >= k) for X ~ Binomial(n, p): exact sums of terms formed in log space (lgamma).
double binomial_at_most(int64_t k, int64_t n, double p);
double binomial_at_least(int64_t k, int64_t n, double p);

// --- description

double mean(std::span<const double>);
double standard_deviation(std::span<const double>);                 // n - 1 in the denominator; 0 for fewer than two
// Linear interpolation between order statistics (Hyndman and Fan's type 7, the default of R and NumPy).
double quantile(std::vector<double> x, double q);

// --- shares

// k of n: the score interval (Wilson 1927), which stays inside 0..1 and is not empty at k = 0 or n. [0, 1] for n = 0.
Interval wilson(int64_t k, int64_t n, double confidence = .95);
// k1/n1 - k2/n2, independent samples: Newcombe 1998 (Stat. Med. 17:873), method 10, from two Wilson intervals.
Interval newcombe(int64_t k1, int64_t n1, int64_t k2, int64_t n2, double confidence = .95);

// A yes/no score of the same items before and after. Items are taken to be independent of each other.
struct PairedShares {
    int64_t both, gained, lost, neither;    // yes-yes, no-yes (McNemar's b), yes-no (c), no-no
    double before, after, difference;       // shares, after - before
    double error;                           // standard error of the difference: sqrt(b + c - (b - c)^2 / n) / n
    Interval interval;                      // Newcombe 1998 (Stat. Med. 17:2635), method 10: two Wilson intervals and
                                            // the correlation of the pairs; not empty even when nothing changed
    double p;                               // exact McNemar: two-sided binomial of min(b, c) in b + c
};
PairedShares paired_shares(int64_t both, int64_t gained, int64_t lost, int64_t neither, double confidence = .95);
double mcnemar(int64_t b, int64_t c);

// The smallest true difference that the exact McNemar test on n pairs finds (p <= alpha) with this probability, if
// pairs disagree as often as the observed share `discordance` - or, where a difference needs more than that, exactly
// as often as it needs. Exact over the binomial of the number of discordant pairs; 1 when even that is not enough.
double detectable_share(int64_t n, double discordance, double alpha = .05, double power = .8);
// The same for a mean of n paired differences of this standard deviation: (z[1 - alpha/2] + z[power]) sd / sqrt(n).
double detectable_mean(int64_t n, double sd, double alpha = .05, double power = .8);

// --- means of paired differences

// Percentile interval of the mean over `draws` resamples of x with replacement (Efron 1979). Draw t is keyed (seed, t).
Interval bootstrap_mean(std::span<const double> x, uint64_t seed, int draws = 10000, double confidence = .95);
// P of a mean at least this far from 0 if every difference were as likely to have the other sign (Fisher 1935): all
// sign patterns of up to 16 nonzero differences, else (1 + those at least as far) / (1 + draws).
double sign_flip(std::span<const double> x, uint64_t seed, int draws = 10000);

struct PairedMeans {
    int64_t n;
    double before, after, difference, sd;   // sd of the item's differences
    Interval interval;                      // bootstrap_mean
    double p;                               // sign_flip
};
PairedMeans paired_means(std::span<const double> before, std::span<const double> after, uint64_t seed,
                         int draws = 10000, double confidence = .95);

// p values adjusted for being looked at together (Holm 1979); the result is in the order of the input.
std::vector<double> holm(std::span<const double> p);

// --- detection and calibration

// z(hit rate) - z(false alarm rate), with the log-linear correction (k + .5) / (n + 1) of Hautus 1995.
double d_prime(int64_t hits, int64_t signals, int64_t false_alarms, int64_t noises);
// Probability that a positive scores above a negative, ties counting half (Mann and Whitney 1947). NaN if a class is
// empty. labels are 0 or 1.
double auc(std::span<const double> scores, std::span<const int> labels);
double brier(std::span<const double> p, std::span<const int> labels);
double log_loss(std::span<const double> p, std::span<const int> labels);               // mean -ln p(label), in nats
// Expected calibration error over equally wide bins [i/bins, (i+1)/bins), the last one closed (Guo et al. 2017).
double calibration_error(std::span<const double> p, std::span<const int> labels, int bins);
// 1 - C(n - c, k) / C(n, k): the unbiased estimate of Chen et al. 2021.
double pass_at_k(int64_t n, int64_t c, int64_t k);

// --- logistic regression

struct Feature {
    int column;
    double value;
};
using SparseRow = std::vector<Feature>;     // what is not named is 0

struct Logistic {
    std::vector<double> weights;
    double intercept = 0;
    double objective = 0;                   // |w|^2 / 2 + C sum log(1 + exp(-t (w x + b))), t = -1 or 1
    double gradient = 0;                    // the largest entry of its gradient where the search ended
    double score(const SparseRow&) const;   // w x + b
};
// The minimum of that objective (the intercept is not penalised), by L-BFGS (Nocedal 1980) until the largest entry of
// the gradient is below 1e-8 (1 + C) or rounding stops it. labels are 0 or 1; columns lie in 0 .. width-1.
Logistic fit_logistic(const std::vector<SparseRow>& rows, std::span<const int> labels, int width, double c);
