// Statistics against values from elsewhere (SciPy 1.17, statsmodels, scikit-learn 1.9, published tables), and against
// simulation: a test must reject as rarely, an interval cover as often, and a power statement hold as it says.
#include "../eval/stats.h"
#include <gtest/gtest.h>
#include <cmath>
#include "../kernels/error.h"
#include "../kernels/random.h"

namespace {

void expect_interval(Interval got, double low, double high, double tolerance = 1e-12) {
    EXPECT_NEAR(got.low, low, tolerance);
    EXPECT_NEAR(got.high, high, tolerance);
}

}  // namespace

TEST(Stats, NormalAgreesWithScipy) {
    EXPECT_NEAR(normal_quantile(.975), 1.959963984540054, 1e-14);
    EXPECT_NEAR(normal_quantile(.2), -.8416212335729143, 1e-14);
    EXPECT_NEAR(normal_quantile(1e-10), -6.361340902404056, 1e-13);
    EXPECT_NEAR(normal_quantile(1e-300), -37.0470962993612, 1e-11);
    EXPECT_NEAR(normal_quantile(.5000001), 2.506628273311648e-07, 1e-15);
    EXPECT_NEAR(normal_cdf(-1.5), .06680720126885807, 1e-15);
    EXPECT_NEAR(normal_cdf(-20) / 2.7536241186061556e-89, 1, 1e-12);
    EXPECT_THROW(normal_quantile(0), Error);
    EXPECT_THROW(normal_quantile(NAN), Error);
}

TEST(Stats, BinomialTailsAgreeWithScipy) {
    EXPECT_NEAR(binomial_at_most(6, 41, .5) / 2.436799150018487e-06, 1, 1e-11);
    EXPECT_NEAR(binomial_at_most(180, 1000, .2) / .060190049759396236, 1, 1e-11);
    EXPECT_NEAR(binomial_at_least(250, 1000, .2) / 6.883012222734626e-05, 1, 1e-11);
    EXPECT_NEAR(binomial_at_most(10, 5000, .01) / 5.484779773570429e-12, 1, 1e-9);
    EXPECT_NEAR(binomial_at_most(9990, 10000, .999) / .5421328760209828, 1, 1e-9);
    EXPECT_EQ(binomial_at_most(-1, 10, .3), 0);
    EXPECT_EQ(binomial_at_most(10, 10, .3), 1);
    EXPECT_EQ(binomial_at_least(0, 10, .3), 1);
    EXPECT_NEAR(binomial_at_most(4000, 100000, .9), 0, 1e-300);
    EXPECT_NEAR(binomial_at_most(99000, 100000, .1), 1, 1e-12);
    // The first term is a subnormal number, which has few digits.
    EXPECT_NEAR(binomial_at_least(670, 3000, .5647629664980112), 1, 1e-12);
    EXPECT_EQ(binomial_at_most(670, 3000, .5647629664980112), 0);
}

TEST(Stats, DescriptionAgreesWithNumpy) {
    const std::vector<double> x{3, 1, 4, 1, 5, 9, 2, 6};
    EXPECT_NEAR(quantile(x, .3), 2.1, 1e-12);
    EXPECT_EQ(quantile(x, 1), 9);
    EXPECT_EQ(quantile({7}, .5), 7);
    EXPECT_NEAR(mean(x), 3.875, 1e-15);
    EXPECT_NEAR(standard_deviation(x), 2.748376143938713, 1e-14);
}

TEST(Stats, WilsonAgreesWithStatsmodels) {
    expect_interval(wilson(24, 164), .10035489016225085, .20851670321490523);
    expect_interval(wilson(49, 164), .233985809999072, .3727859586465512);
    expect_interval(wilson(59, 164), .29028854120144576, .4356432975515643);
    expect_interval(wilson(46, 164), .2173631163016415, .3536606313117657);
    expect_interval(wilson(137, 164), .7710631895922835, .8843171959983442);
    expect_interval(wilson(111, 164), .6019119505159681, .743652252795454);
    expect_interval(wilson(0, 146), 0, .02563682208467391);
    expect_interval(wilson(20, 20), .8388748419471804, 1);
    expect_interval(wilson(0, 0), 0, 1);
}

TEST(Stats, NewcombeAgreesWithPublishedValues) {
    expect_interval(newcombe(56, 70, 48, 80), .05243147240236498, .33387265403690614); // .0524 to .3339 in the paper
    expect_interval(newcombe(0, 10, 0, 10), -.27753279986288926, .27753279986288926);
    expect_interval(newcombe(38, 42, 53, 58), -.14361184894255313, .1065582019067027);     // an assertion asymmetry
    expect_interval(newcombe(0, 0, 1, 2), -1, 1);
}

// 164 items before and after: 21 and 50 right, 35 gained and 6 lost.
TEST(Stats, PairedSharesAgreeWithPublishedValues) {
    const PairedShares r = paired_shares(15, 35, 6, 108);
    EXPECT_NEAR(r.before, 21 / 164., 1e-15);
    EXPECT_NEAR(r.after, 50 / 164., 1e-15);
    EXPECT_NEAR(r.difference, .1768, 5e-5);
    EXPECT_NEAR(r.error, .0365, 5e-5);
    EXPECT_NEAR(r.difference - 1.959963985 * r.error, .105, 5e-4);
    EXPECT_NEAR(r.difference + 1.959963985 * r.error, .248, 5e-4);
    EXPECT_NEAR(r.p / 4.873598300036974e-06, 1, 1e-10);
    expect_interval(r.interval, .10379839609411488, .24965380468344078);
    expect_interval(paired_shares(36, 12, 2, 0).interval, .0569, .3404, 5e-5);      // Newcombe 1998, table II
    expect_interval(paired_shares(0, 0, 0, 30).interval, -.1135133931739688, .1135133931739688);
    EXPECT_EQ(paired_shares(0, 0, 0, 30).p, 1);
    std::vector<double> d(164, 0);
    std::fill_n(d.begin(), 35, 1);
    std::fill_n(d.begin() + 35, 6, -1);
    expect_interval(bootstrap_mean(d, 1), .104, .250, .007);        // one item is .0061
}

TEST(Stats, McNemarIsTheTwoSidedBinomial) {
    EXPECT_NEAR(mcnemar(0, 5), .0625, 1e-15);
    EXPECT_NEAR(mcnemar(6, 0), .03125, 1e-15);
    EXPECT_EQ(mcnemar(3, 3), 1);
    EXPECT_EQ(mcnemar(0, 0), 1);
    EXPECT_NEAR(mcnemar(120, 90), .045114087864840696, 1e-12);
    // 59 and 46 right of 164: what p may be depends on the overlap that was not published.
    EXPECT_NEAR(mcnemar(0, 13), .0002, 5e-5);
    EXPECT_NEAR(mcnemar(16, 29), .0725, 5e-5);
}

TEST(Stats, SignFlipCountsEveryPattern) {
    EXPECT_NEAR(sign_flip(std::vector{.3, -.1, .7, .2, -.4, .9, .05}, 1), .25, 1e-15);      // SciPy, all 128
    EXPECT_NEAR(sign_flip(std::vector{1., 1., 1., 1., 1., 0.}, 1), 2 / 32., 1e-15);
    EXPECT_EQ(sign_flip(std::vector{0., 0.}, 1), 1);
    const std::vector<double> clear(40, 1.5);
    EXPECT_NEAR(sign_flip(clear, 1), 1 / 10001., 1e-15);            // never zero: the data are one of the patterns
    std::vector<double> mixed;
    for (int i = 0; i < 30; i++) mixed.push_back(i % 3 ? 1 : -1);
    // 20 of 30 the same way: the two-sided binomial, 2 * binom.cdf(10, 30, .5)
    EXPECT_NEAR(sign_flip(mixed, 1, 40000), .0987, .006);
    EXPECT_EQ(sign_flip(mixed, 5), sign_flip(mixed, 5));
}

TEST(Stats, HolmAgreesWithStatsmodels) {
    const std::vector<double> got = holm(std::vector{.01, .04, .03, .005, .5}), want{.04, .09, .09, .025, .5};
    for (size_t i = 0; i < want.size(); i++) EXPECT_NEAR(got[i], want[i], 1e-15);
    EXPECT_EQ(holm(std::vector{.6, .7})[1], 1);
    EXPECT_TRUE(holm({}).empty());
}

TEST(Stats, DetectionAndCalibrationAgreeWithPublishedValues) {
    EXPECT_NEAR(d_prime(45, 50, 8, 50), 2.205501901648809, 1e-12);
    EXPECT_NEAR(d_prime(50, 50, 0, 50), 4.667537149614278, 1e-12);
    EXPECT_EQ(d_prime(0, 0, 0, 0), 0);
    const std::vector<double> p{.9, .8, .7, .6, .55, .3};
    const std::vector<int> y{1, 1, 0, 1, 0, 0};
    EXPECT_NEAR(brier(p, y), .1820833333, 1e-10);
    EXPECT_NEAR(calibration_error(p, y, 5), .2416666667, 1e-10);
    EXPECT_NEAR(calibration_error(p, y, 10), .375, 1e-10);
    EXPECT_NEAR(auc(p, y), .8888888889, 1e-10);
    EXPECT_NEAR(log_loss(p, y), .5330808559, 1e-10);
    EXPECT_NEAR(auc(std::vector{.1, .4, .4, .8, .4, .2, .9}, std::vector{0, 0, 1, 1, 0, 1, 1}), .75, 1e-15);
    EXPECT_TRUE(std::isnan(auc(std::vector{.1}, std::vector{1})));
    EXPECT_NEAR(pass_at_k(5, 2, 1), .4, 1e-14);
    EXPECT_NEAR(pass_at_k(10, 3, 5), .9166666667, 1e-10);
    EXPECT_NEAR(pass_at_k(200, 1, 10), .05, 1e-14);
    EXPECT_NEAR(pass_at_k(200, 13, 100), .999919497, 1e-9);
    EXPECT_EQ(pass_at_k(64, 64, 8), 1);
    EXPECT_EQ(pass_at_k(20, 0, 10), 0);
}

TEST(Stats, LogisticRegressionReachesTheOptimum) {
    const double x[8][3] = {{1, 0, 2}, {0, 1, 0}, {3, 1, 1}, {0, 0, 1}, {2, 2, 0}, {1, 3, 0}, {0, 2, 2}, {4, 0, 0}};
    const std::vector<int> y{1, 0, 1, 0, 1, 0, 0, 1};
    std::vector<SparseRow> rows(8);
    for (size_t i = 0; i < 8; i++)
        for (int j = 0; j < 3; j++)
            if (x[i][j] != 0) rows[i].push_back({j, x[i][j]});
    const double want[2][5] = {{1.240293553269411, -.4034691784255162, .21571308563690245, -1.174723442755152,
                                2.917113047182113},
                               {.3226753832140169, -.10828060337059817, .017686446818494156, -.32779039352592226,
                                .4743011776470054}};
    for (int k = 0; k < 2; k++) {
        const Logistic got = fit_logistic(rows, y, 3, k ? .1 : 1);
        for (size_t j = 0; j < 3; j++) EXPECT_NEAR(got.weights[j], want[k][j], 1e-7);
        EXPECT_NEAR(got.intercept, want[k][3], 1e-7);
        EXPECT_NEAR(got.objective, want[k][4], 1e-12);
        EXPECT_LT(got.gradient, 2e-8);
        EXPECT_NEAR(got.score(rows[0]), want[k][0] + 2 * want[k][2] + want[k][3], 1e-6);
    }
}

TEST(Stats, DetectableDifferencesAgreeWithScipy) {
    EXPECT_NEAR(detectable_share(200, .2), .09116458892822266, 2e-4);
    EXPECT_NEAR(detectable_share(100, 0), .077911376953125, 2e-4);
    EXPECT_NEAR(detectable_share(164, .25), .11240100860595703, 2e-4);
    EXPECT_NEAR(detectable_share(200, .2, .005), .11575126647949219, 2e-4);
    EXPECT_EQ(detectable_share(5, .4), 1);          // five pairs cannot reject: 2 / 32 > .05
    EXPECT_NEAR(detectable_mean(200, 12.5), 2.476274882249591, 1e-12);
}

TEST(Stats, DetectableShareIsFoundAsOftenAsPromised) {
    const int n = 150, runs = 4000;
    const double discordance = .3, difference = detectable_share(n, discordance);
    int found = 0;
    for (int run = 0; run < runs; run++) {
        Random random(11, uint64_t(run));
        int b = 0, c = 0;
        for (int i = 0; i < n; i++) {
            const double u = random.uniform53();
            b += u < (discordance + difference) / 2;
            c += u >= (discordance + difference) / 2 && u < discordance;
        }
        found += mcnemar(b, c) <= .05;
    }
    EXPECT_NEAR(double(found) / runs, .8, .02);
}

// Under the null a test at .05 rejects 3 to 7 times in a hundred, and a 95 % interval misses as rarely.
TEST(Stats, NullSimulationsRejectAsRarelyAsTheySay) {
    const int runs = 2000;
    int flip = 0, boot = 0, exact = 0, interval = 0, missed = 0;
    for (int run = 0; run < runs; run++) {
        Random random(7, uint64_t(run));
        std::vector<double> d(80);
        for (double& v : d) v = random.normal() * (1 + 2 * random.uniform());
        flip += sign_flip(d, uint64_t(run), 999) <= .05;
        const Interval mean_interval = bootstrap_mean(d, uint64_t(run), 400);
        boot += mean_interval.low > 0 || mean_interval.high < 0;
        int64_t cell[4] = {};
        for (int i = 0; i < 1000; i++) {
            const double u = random.uniform53();
            cell[u < .15 ? 0 : u < .3 ? 1 : u < .65 ? 2 : 3]++;
        }
        const PairedShares r = paired_shares(cell[2], cell[0], cell[1], cell[3]);
        exact += r.p <= .05;
        interval += r.interval.low > 0 || r.interval.high < 0;
        int64_t k = 0;
        for (int i = 0; i < 60; i++) k += random.uniform() < .3f;
        const Interval share = wilson(k, 60);
        missed += share.low > .3 || share.high < .3;
    }
    for (int count : {flip, boot, exact, interval, missed}) {
        EXPECT_GE(double(count) / runs, .03);
        EXPECT_LE(double(count) / runs, .07);
    }
}

// The same promise where few items and rare changes make life hard: on 30 pairs the interval still covers.
TEST(Stats, PairedIntervalCoversOnFewItems) {
    const int runs = 4000;
    int covered = 0;
    for (int run = 0; run < runs; run++) {
        Random random(3, uint64_t(run));
        int64_t cell[4] = {};
        for (int i = 0; i < 30; i++) {
            const double u = random.uniform53();
            cell[u < .15 ? 0 : u < .2 ? 1 : u < .8 ? 2 : 3]++;
        }
        const PairedShares r = paired_shares(cell[2], cell[0], cell[1], cell[3]);
        covered += r.interval.low <= .1 && .1 <= r.interval.high;
    }
    EXPECT_GE(double(covered) / runs, .93);
}
