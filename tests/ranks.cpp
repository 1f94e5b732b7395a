// ranks.cpp - several processes that share the rows of each step: what they say to each other, that N of them train
// what one trains, and what happens when one of them dies.
#include "../train/ranks.h"
#include <sys/wait.h>
#include <csignal>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <thread>
#include "../kernels/parallel.h"
#include "../kernels/random.h"
#include "../train/run_folder.h"
#include "tiny.h"

namespace {

using Args = std::vector<std::string>;

// ---- whose rows

TEST(Ranks, EveryRowIsOneRanksAndNoneHasTooMany) {
    Random random(7);
    for (const int size : {1, 2, 3, 4, 7})
        for (size_t rows : {size_t(1), size_t(2), size_t(8), size_t(9), size_t(33)}) {
            std::vector<size_t> tokens, load(size_t(size), 0);
            for (size_t i = 0; i < rows; i++) tokens.push_back(1 + random.below(100));
            std::set<size_t> seen;
            for (int r = 0; r < size; r++) {
                const std::vector<size_t> mine = share_of_rank(tokens, r, size);
                EXPECT_LE(mine.size(), (rows + size_t(size) - 1) / size_t(size));
                EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
                for (const size_t row : mine) seen.insert(row), load[size_t(r)] += tokens[row];
            }
            EXPECT_EQ(seen.size(), rows);
            EXPECT_EQ(std::accumulate(load.begin(), load.end(), size_t(0)),
                      std::accumulate(tokens.begin(), tokens.end(), size_t(0)));
        }
    // By tokens, not by rows: the long row is worth the three others.
    const std::vector<size_t> tokens{10, 90, 30, 20, 40, 10};
    EXPECT_EQ(share_of_rank(tokens, 0, 2), (std::vector<size_t>{0, 1, 5}));
    EXPECT_EQ(share_of_rank(tokens, 1, 2), (std::vector<size_t>{2, 3, 4}));
}

// ---- what they say to each other

// Runs `body` in each of `size` new processes; what it returns is its exit code.
void in_ranks(int size, const std::function<int(Ranks&)>& body, const std::function<bool()>& interrupted = [] {
    return false;
}) {
    const auto ranks = join_ranks(size, interrupted, [] { return "this is a test"; });
    if (!ranks) return;
    int code = 99;
    try {
        code = body(*ranks);
    } catch (const LostRank& lost) {
        code = int(lost.code);
    } catch (const std::exception& e) {
        fprintf(stderr, "rank %d: %s\n", ranks->rank, e.what());
    }
    if (code) ranks->give_up(Exit(code));
    _exit(code);
}

float number_of(int rank, size_t i) {
    return std::ldexp(float(int((i * 2654435761u + size_t(rank) * 40503u) % 2001) - 1000), int(i % 41) - 20);
}

// In the order of ranks, number by number: the same bits for every rank, and those of this loop.
TEST(Ranks, SumsAreInTheOrderOfRanks) {
    for (const int size : {2, 3, 4})
        for (const size_t n : {size_t(1), size_t(3), size_t(1000), Ranks::room / 4 * 2 + 17})
            EXPECT_NO_THROW(in_ranks(size, [&](Ranks& ranks) {
                std::vector<float> x(n);
                for (size_t i = 0; i < n; i++) x[i] = number_of(ranks.rank, i);
                ranks.sum(x.data(), n);
                for (size_t i = 0; i < n; i++) {
                    float expected = number_of(0, i);
                    for (int r = 1; r < size; r++) expected += number_of(r, i);
                    if (memcmp(&expected, &x[i], sizeof expected)) return 1;
                }
                return 0;
            })) << size << " ranks, " << n << " numbers";
}

TEST(Ranks, GatherTextsAndNumbersOfAnySize) {
    EXPECT_NO_THROW(in_ranks(3, [](Ranks& ranks) {
        for (const size_t length : {size_t(0), size_t(5), Ranks::room, Ranks::room + 3}) {
            const auto text = [&](int r) { return std::string(length * size_t(r), char('a' + r)); };
            const std::vector<std::string> all = ranks.gather(text(ranks.rank));
            for (int r = 0; r < 3; r++)
                if (all.size() != 3 || all[size_t(r)] != text(r)) return 1;
        }
        std::map<std::string, double> values{{"a", 0.1 * (ranks.rank + 1)}};
        if (ranks.rank == 1) values["b"] = NAN;
        ranks.sum(values);
        if (values["a"] != 0.1 * 1 + 0.1 * 2 + 0.1 * 3 || !std::isnan(values["b"]) || values.size() != 2) return 2;
        if (ranks.any(false) || !ranks.any(ranks.rank == 2)) return 3;
        ranks.meet();
        return ranks.on_this_machine == 3 && ranks.on_these_cores == 3 && ranks.place == ranks.rank ? 0 : 4;
    }));
}

// One that fails takes the others with it, and the code is its own; one that is killed is named, and the lowest of the
// living is to save.
TEST(Ranks, AFailureIsEverybodys) {
    const Exit failed = error_of([] {
        in_ranks(3, [](Ranks& ranks) {
            ranks.wait();
            if (ranks.rank == 1) return int(Exit::no_resource);
            for (;;) ranks.wait();
        });
    });
    EXPECT_EQ(failed, Exit::no_resource);
    for (const int victim : {0, 2}) {
        const TempFolder t;
        std::string text;
        const Exit code = error_of([&] {
            in_ranks(3, [&](Ranks& ranks) {
                ranks.wait();
                if (ranks.rank == victim) raise(SIGKILL);
                try {
                    for (;;) ranks.wait();
                } catch (const LostRank& lost) {
                    if (lost.save) t.put(format("saved-%d", ranks.rank), "");
                    throw;
                }
                return 0;
            });
        }, &text);
        EXPECT_EQ(code, Exit::failed);
        EXPECT_TRUE(text.starts_with(format("rank %d of 3 (process ", victim))) << text;
        EXPECT_NE(text.find("was killed by signal 9 (Killed); the other ranks were stopped; this is a test"), text.npos)
            << text;
        EXPECT_TRUE(exists(t / format("saved-%d", victim == 0 ? 1 : 0)));
        EXPECT_EQ(t.files(), 1u);
    }
}

// ---- training

class RanksOfDd : public testing::Test {
protected:
    void SetUp() override {
        if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
        write_file(rows, tiny_rows(23));
        std::string pairs_text;
        for (int i = 0; i < 11; i++) {
            Json chosen = Json::array(), rejected = Json::array();
            for (int k = 0; k < 3 + i * 5 % 17; k++) chosen.push_back((i * 31 + k * k * 7 + 3) % 259);
            for (int k = 0; k < 2 + i * 7 % 13; k++) rejected.push_back((i * 17 + k * 5 + 1) % 259);
            pairs_text += dump({{"prompt_ids", {1, 2, i}}, {"chosen_ids", chosen}, {"rejected_ids", rejected}}) + "\n";
        }
        write_file(pairs, pairs_text);
    }
    const TempFolder t;
    const std::string rows = t / "rows.jsonl", pairs = t / "pairs.jsonl", model = have_dd() ? tiny_model() : "";

    Args train(const std::string& run, const Args& more = {}) const {
        Args a{"train", "--model", model, "--train-file", rows, "--valid-file", rows, "--out", t / run, "--lora-rank",
               "4", "--batch-size", "4", "--grad-accum", "2", "--steps", "10", "--lr", "0.003", "--warmup", "0",
               "--precision", "f32", "--max-grad-norm", "0.05", "--quiet"};
        a.insert(a.end(), more.begin(), more.end());
        return a;
    }
    void expect_done(const Args& args) const {
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        EXPECT_EQ(r.err, "");
    }
    std::string bytes_of(const std::string& run) const {
        return read_file(t / run + "/adapter/adapter_model.safetensors");
    }
    std::vector<Json> log_of(const std::string& run) const {
        std::vector<Json> lines;
        std::istringstream text(read_file(t / run + "/log.jsonl"));
        for (std::string line; std::getline(text, line);) lines.push_back(parse_json(line, "log"));
        return lines;
    }
    // What the run has trained, as one list of numbers.
    std::vector<float> numbers_of(const std::string& run) const {
        std::vector<float> all;
        const bool full = exists(t / run + "/model");
        const auto file =
            open_safetensors(t / run + (full ? "/model/model.safetensors" : "/adapter/adapter_model.safetensors"));
        for (const Stored& s : file->tensors()) {
            const size_t at = all.size();
            all.resize(at + s.bytes / sizeof(float));
            memcpy(all.data() + at, s.data, s.bytes);
        }
        return all;
    }
    std::set<std::string> files_of(const std::string& run) const {
        std::set<std::string> all;
        for (const auto& e : std::filesystem::recursive_directory_iterator(t / run))
            all.insert(std::filesystem::relative(e.path(), t / run));
        return all;
    }
    // Of two runs: every figure of the log within 1e-5 (of 1, or of itself), the result within 1e-4 of its largest
    // number, the same files.
    void expect_alike(const std::string& a, const std::string& b) const {
        const std::vector<Json> x = log_of(a), y = log_of(b);
        ASSERT_EQ(x.size(), y.size());
        for (size_t i = 0; i < x.size(); i++)
            for (const auto& [name, value] : x[i].items()) {
                if (name == "seconds" || name == "tokens_per_s" || name == "peak_bytes") continue;
                const double one = value.get<double>(), other = y[i].value(name, NAN);
                EXPECT_LE(std::fabs(one - other), 1e-5 * std::max(1.0, std::fabs(one))) << b << " " << name << x[i];
            }
        const std::vector<float> p = numbers_of(a), q = numbers_of(b);
        ASSERT_EQ(p.size(), q.size());
        EXPECT_LT(far(p.data(), q.data(), p.size()), 1e-4) << b;
        EXPECT_EQ(files_of(a), files_of(b));
    }
    // Waits until the run has logged a step.
    bool logs(const std::string& run) const {
        for (int i = 0; i < 20'000; i++, usleep(500))
            if (exists(t / run + "/log.jsonl") && !read_file(t / run + "/log.jsonl").empty()) return true;
        return false;
    }
    // The processes that one has started, in the order in which it did.
    static std::vector<pid_t> children_of(pid_t parent) {
        std::vector<pid_t> all;
        for (const auto& e : std::filesystem::directory_iterator("/proc")) {
            std::ifstream f(e.path() / "stat");
            std::string line;
            std::getline(f, line);              // pid (name) state parent ...
            const size_t name = line.rfind(") ");
            if (name != line.npos && atoi(line.c_str() + name + 4) == parent) all.push_back(atoi(line.c_str()));
        }
        std::sort(all.begin(), all.end());
        return all;
    }
};

// Rows of 6 to 24 tokens, clipped gradients, 23 rows in steps of 8: the shares of the ranks are as uneven as they come.
TEST_F(RanksOfDd, TrainWhatOneTrains) {
    const std::pair<const char*, Args> kinds[] = {
        {"lora", {}},
        {"full", {"--full", "--steps", "0", "--epochs", "4"}},         // the last step has fewer rows
        {"dpo", {"--method", "dpo", "--train-file", pairs, "--valid-file", pairs}},
        {"dpo-full", {"--method", "dpo", "--train-file", pairs, "--valid-file", pairs, "--full", "--precompute-ref",
                      "--dpo-loss", "ipo"}},
    };
    for (const auto& [kind, flags] : kinds) {
        expect_done(train(kind, flags));
        ASSERT_GE(log_of(kind).size(), 11u);
        EXPECT_LT(log_of(kind)[9]["loss"], log_of(kind)[0]["loss"].get<double>()) << kind;
        EXPECT_GT(log_of(kind)[0]["grad_norm"], 0.05) << "nothing was clipped";
        for (const int n : {2, 4}) {
            Args more = flags;
            more.insert(more.end(), {"--ranks", std::to_string(n)});
            const std::string run = format("%s-%d", kind, n);
            expect_done(train(run, more));
            expect_alike(kind, run);
        }
    }
}

TEST_F(RanksOfDd, TheSameNumberOfRanksGivesTheSameBytes) {
    const Args dropping{"--lora-dropout", "0.1", "--ranks", "3"};
    for (const char* run : {"a", "b"}) expect_done(train(run, dropping));
    EXPECT_EQ(bytes_of("a"), bytes_of("b"));
    // Threads do not matter either.
    Args threads = dropping;
    threads.insert(threads.end(), {"--threads", "2"});
    expect_done(train("c", threads));
    EXPECT_EQ(bytes_of("a"), bytes_of("c"));
}

TEST_F(RanksOfDd, AKilledRankStopsTheOthersAndTheRunGoesOn) {
    const Args flags{"--steps", "400", "--ranks", "3"};
    expect_done(train("straight", flags));
    for (const size_t victim : {0, 1, 2}) {
        const std::string run = format("killed-%zu", victim);
        Running r(train(run, flags), {}, t);
        ASSERT_TRUE(logs(run));
        const std::vector<pid_t> ranks = children_of(r.pid);
        ASSERT_EQ(ranks.size(), 3u);
        kill(ranks[victim], SIGKILL);
        const Ran ended = r.wait();
        EXPECT_EQ(ended.code, int(Exit::failed));
        EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
        EXPECT_TRUE(ended.err.starts_with(format("dd: rank %zu of 3 (process %d) was killed by signal 9 (Killed); the "
                                                 "other ranks were stopped; step ", victim, ranks[victim])))
            << ended.err;
        EXPECT_NE(ended.err.find("is saved: --resume --out " + t / run + " goes on from there"), ended.err.npos);
        for (const pid_t pid : ranks) EXPECT_NE(kill(pid, 0), 0) << "a rank is still there";
        const int step = newest_checkpoint(t / run);
        EXPECT_GT(step, 0);
        EXPECT_LT(step, 400);
        EXPECT_GE(step, int(log_of(run).size())) << "no step that was logged is lost";
        Args again = flags;
        again.push_back("--resume");
        const Ran rest = run_dd(train(run, again));
        EXPECT_EQ(rest.code, 0) << rest.err;
        EXPECT_EQ(bytes_of(run), bytes_of("straight"));
        const std::vector<Json> log = log_of(run), straight = log_of("straight");
        ASSERT_EQ(log.size(), straight.size());
        for (size_t i = 0; i < log.size(); i++) {
            EXPECT_EQ(log[i]["step"], straight[i]["step"]);
            EXPECT_EQ(log[i].value("loss", 0.0), straight[i].value("loss", 0.0));
        }
    }
}

TEST_F(RanksOfDd, AnInterruptIsOneCheckpointAndOtherRanksMayGoOn) {
    const Args flags{"--steps", "300", "--ranks", "2"};
    expect_done(train("one", {"--steps", "300"}));
    for (const bool terminal : {false, true}) {
        const std::string run = terminal ? "terminal" : "launcher";
        Running r(train(run, flags), {}, t);
        ASSERT_TRUE(logs(run));
        if (terminal)                           // which signals all at once
            for (const pid_t pid : children_of(r.pid)) kill(pid, SIGINT);
        r.signal(SIGINT);
        const Ran ended = r.wait();
        EXPECT_EQ(ended.code, int(Exit::interrupted)) << ended.err;
        EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
        EXPECT_NE(ended.err.find("--resume --out " + t / run + " goes on from there"), ended.err.npos) << ended.err;
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(t / run + "/checkpoints"), {}), 1);
        const Ran rest = run_dd(train(run, {"--steps", "300", "--ranks", terminal ? "4" : "1", "--resume"}));
        EXPECT_EQ(rest.code, 0) << rest.err;
        EXPECT_EQ(log_of(run).size(), log_of("one").size());
        const double loss = log_of("one").back()["eval_loss"];
        EXPECT_NEAR(log_of(run).back()["eval_loss"].get<double>(), loss, 1e-3);
    }
    // The launcher killed, its ranks go with it.
    Running r(train("orphans", flags), {}, t);
    ASSERT_TRUE(logs("orphans"));
    const std::vector<pid_t> ranks = children_of(r.pid);
    r.signal(SIGKILL);
    r.wait();
    for (int i = 0; i < 2000 && (kill(ranks[0], 0) == 0 || kill(ranks[1], 0) == 0); i++) usleep(1000);
    for (const pid_t pid : ranks) {
        std::ifstream status(format("/proc/%d/stat", pid));
        std::string text;
        std::getline(status, text);
        EXPECT_TRUE(text.empty() || text.find(") Z ") != text.npos) << text;
    }
}

TEST_F(RanksOfDd, SayWhatIsWrongOnce) {
    const auto expect_error = [&](const Args& more, Exit code, const std::string& phrase, const How& how = {}) {
        const Ran r = run_dd(train("bad", more), how);
        EXPECT_EQ(r.code, int(code)) << r.err;
        EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
        EXPECT_NE(r.err.find(phrase), r.err.npos) << r.err << "  should say: " << phrase;
        EXPECT_FALSE(exists(t / "bad"));
    };
    for (const char* n : {"0", "-1", "257", "two", "1.5", ""})
        expect_error({"--ranks", n}, Exit::usage, "a whole number from 1 to 256 was expected");
    expect_error({"--gpus", "0"}, Exit::usage, "a whole number from 1 to 64 was expected");
    expect_error({"--ranks", "9"}, Exit::usage, "9 ranks: a step has 8 rows (--batch-size 4 x --grad-accum 2)");
    expect_error({"--ranks", "2", "--gpus", "2"}, Exit::usage, "leave --ranks and --device out");
    expect_error({"--gpus", "2", "--device", "cpu"}, Exit::usage, "leave --ranks and --device out");
    expect_error({"--ranks", "2", "--train-file", t / "absent.jsonl"}, Exit::bad_input, "absent.jsonl");
    expect_error({"--ranks", "2", "--model", t / "absent"}, Exit::bad_input, "absent");
    expect_error({"--ranks", "4", "--lora-targets", "nothing"}, Exit::usage, "nothing");
    if (run_dd({"env", "--json"}).out.find("\"mpi\":\"none\"") != std::string::npos)
        expect_error({}, Exit::no_resource, "started by mpirun, but this build has no MPI",
                     {.environment = {"OMPI_COMM_WORLD_SIZE=2"}});
}

TEST_F(RanksOfDd, WhatIsNotANumberIsSaidOnce) {
    const std::string copy = copy_of_tiny(t), weights = copy + "/model.safetensors";
    std::string bytes = read_file(weights);
    const uint32_t nan = 0x7fc00000;
    memcpy(bytes.data() + bytes.size() - 4000, &nan, 4);
    std::ofstream(weights, std::ios::binary) << bytes;
    const Ran r = run_dd(train("nan", {"--model", copy, "--ranks", "2"}));
    EXPECT_EQ(r.code, int(Exit::numerics)) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    EXPECT_NE(r.err.find("the first tensor that is not finite is"), r.err.npos) << r.err;
}

// ---- devices that reach each other

// What NCCL does, by way of the ranks themselves: who uses it is tested here, on kernels that the CPU executes.
Ranks* beside = nullptr;
int sums = 0, leaves = 0;
bool same_device = false;
const Collective by_hand = {
    [] { return std::string("a test"); },
    [] { return std::string(); },
    [] { return format("device %d", same_device ? 0 : beside->rank); },
    [] { return std::string("group 7"); },
    [](const std::string& identity, int rank, int size, const Watch&) -> void* {
        return identity == "group 7" && rank == beside->rank && size == beside->size ? &sums : nullptr;
    },
    [](void* group, float* x, size_t n, const Watch&) {
        const Memory& memory = *cuda_kernels().memory;
        std::vector<float> v(n);
        memory.download(v.data(), x, n * sizeof(float));
        beside->sum(v.data(), n);
        memory.upload(x, v.data(), n * sizeof(float));
        ++*(int*)group;
    },
    [](void*) { leaves++; }};
// One of them dies in the middle: the others see it by their watch alone.
void sum_with_a_dead_one(void*, float*, size_t, const Watch& watch) {
    if (beside->rank == 1) raise(SIGKILL);
    for (;;) watch();
}

// Two steps of the tiny model on kernels with this collective; what was trained, and how gradients were summed.
std::pair<std::vector<float>, std::string> two_steps(Ranks& ranks, const Collective* collective) {
    Kernels k = cuda_kernels();
    if (collective) k.collective = collective;
    SessionOptions o;
    o.model = tiny_model(), o.precision = "f32", o.quiet = true, o.kernels = &k;
    Session s(o);
    Dataset rows{{}, "rows", "sft"};
    for (int i = 0; i < 4; i++) {
        Sequence q;
        for (int j = 0; j < 6 + 3 * i; j++) q.ids.push_back((i * 31 + j * j * 7 + 3) % s.model->vocabulary);
        q.labels = q.ids;
        rows.examples.push_back({{q}, i, i + 1});
    }
    TrainOptions t;
    t.steps = 2, t.batch_size = 4, t.lora.rank = 2, t.lora.targets = {"all"}, t.optimizer.warmup = 0, t.ranks = &ranks;
    std::vector<float> trained;
    Trainer trainer(s, t, sft(), rows, {});
    for (int i = 1; i <= 2; i++) trainer.step(i);
    for (const Parameter& p : trainer.parameters())
        for (const float v : get(trainer.memory(), *p.w)) trained.push_back(v);
    return {trained, trainer.summed()};
}

// In new processes: none of the threads of this one is there.
struct OneThread {
    const int before = threads();
    OneThread() { set_threads(1); }
    ~OneThread() { set_threads(before); }
};

TEST(RanksOnDevices, SumFromDeviceToDeviceWhereTheyCan) {
    const OneThread alone;
    tiny_model();                               // made before there are several
    EXPECT_NO_THROW(in_ranks(2, [](Ranks& ranks) {
        beside = &ranks;
        const auto by_cpu = two_steps(ranks, nullptr), direct = two_steps(ranks, &by_hand);
        if (by_cpu.second != "by way of the CPU (rank 0: a CPU that plays a GPU has no others beside it)") return 1;
        if (direct.second != "by a test, from device to device" || sums != 1 + 2 || leaves != 1) return 2;
        if (by_cpu.first != direct.first) return 3;
        same_device = true;
        const auto both_on_one = two_steps(ranks, &by_hand);
        if (both_on_one.second != "by way of the CPU (ranks 0 and 1 have the same device)" || sums != 1 + 2) return 4;
        return both_on_one.first == direct.first ? 0 : 5;
    }));
}

// What the library takes of the device is counted before the first step; here more than there is.
TEST(RanksOnDevices, WhatSummingTakesIsCounted) {
    const OneThread alone;
    tiny_model();
    EXPECT_NO_THROW(in_ranks(2, [](Ranks& ranks) {
        beside = &ranks;
        static size_t taken;
        Collective taking = by_hand;
        taking.sum = [](void* group, float* x, size_t n, const Watch& watch) {
            if (sums == 0) (new Arena(taken, *cuda_kernels().memory))->take(taken - 64);
            by_hand.sum(group, x, n, watch);
        };
        std::string text;
        taken = size_t(20) << 20;
        cuda_cpu::faults.memory = size_t(1) << 30;
        if (error_of([&] { two_steps(ranks, &taking); }, &text) != Exit::ok) return 1;
        sums = 0, taken = size_t(930) << 20;
        if (error_of([&] { two_steps(ranks, &taking); }, &text) != Exit::no_resource || sums != 1) return 2;
        for (const char* said : {"not enough memory: activations, their gradients and working memory of this run (",
                                 ", to sum gradients 0.9", "--recompute, a smaller --batch-size"})
            if (text.find(said) == text.npos) return 3;
        return 0;
    }));
}

TEST(RanksOnDevices, ADeathInTheMiddleOfASumIsSeen) {
    const OneThread alone;
    const TempFolder t;
    tiny_model();
    std::string text;
    const Exit code = error_of([&] {
        in_ranks(2, [&](Ranks& ranks) {
            beside = &ranks;
            Collective dying = by_hand;
            dying.sum = sum_with_a_dead_one;
            try {
                two_steps(ranks, &dying);
            } catch (const LostRank& lost) {
                if (lost.save && leaves == 0) t.put("saved", "");       // a group that broke is not left once more
                throw;
            }
            return 0;
        });
    }, &text);
    EXPECT_EQ(code, Exit::failed);
    EXPECT_TRUE(text.starts_with("rank 1 of 2 (process ")) << text;
    EXPECT_NE(text.find("was killed by signal 9 (Killed); the other ranks were stopped; this is a test"), text.npos)
        << text;
    EXPECT_TRUE(exists(t / "saved"));
}

// ---- the same under mpirun

class RanksOfMpi : public RanksOfDd {
protected:
    void SetUp() override {
        RanksOfDd::SetUp();
        if (IsSkipped()) return;
        if (run_dd({"env"}).out.find("Open MPI") == std::string::npos || system("mpirun --version >/dev/null 2>&1"))
            GTEST_SKIP() << "needs Open MPI when dd is built, and mpirun: apt-get install libopenmpi-dev openmpi-bin";
    }
    // Exit code of a shell's command; what it says is in `said`.
    int shell(const std::string& command) {
        const int status = system(("( " + command + " ) >'" + t / "said" + "' 2>&1").c_str());
        said = read_file(t / "said");
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    static std::string line_of(const Args& args) {
        std::string line = "'" + std::string(DD_BINARY) + "'";
        for (const std::string& a : args) line += " '" + a + "'";
        return line;
    }
    static std::string mpirun(int n) {
        return format("timeout -k 5 200 mpirun %s --oversubscribe --bind-to none -n %d ",
                      getuid() ? "" : "--allow-run-as-root", n);
    }
    std::string said;
};

TEST_F(RanksOfMpi, GiveTheBytesOfThoseThatShareMemory) {
    expect_done(train("one"));
    for (const int n : {1, 2, 4}) {
        const std::string shared = format("shared-%d", n), mpi = format("mpi-%d", n);
        expect_done(train(shared, {"--ranks", std::to_string(n)}));
        ASSERT_EQ(shell(mpirun(n) + line_of(train(mpi))), 0) << said;
        EXPECT_EQ(bytes_of(mpi), bytes_of(shared)) << n;
        expect_alike("one", mpi);
    }
}

TEST_F(RanksOfMpi, MustBeStartedAlike) {
    write_file(t / "other.jsonl", tiny_rows(22));
    const std::string start = mpirun(1);
    const auto expect_error = [&](const Args& of_rank_1, Exit code, const std::string& phrase) {
        EXPECT_EQ(shell(start + line_of(train("bad")) + " : -n 1 " + line_of(train("bad", of_rank_1))), int(code))
            << said;
        EXPECT_NE(said.find("dd: " + phrase), said.npos) << said << "  should say: " << phrase;
        EXPECT_EQ(said.find("dd: ", said.find("dd: ") + 1), said.npos) << "twice: " << said;
        EXPECT_FALSE(exists(t / "bad"));
    };
    expect_error({"--lr", "0.004"}, Exit::usage, "rank 1 has --lr 0.004, rank 0 has 0.003; all ranks must be started");
    expect_error({"--train-file", t / "other.jsonl"}, Exit::usage, "rank 1 has --train-file");
    expect_error({"--train-file", t / "absent.jsonl", "--full"}, Exit::usage, "rank 1 has --");
    EXPECT_EQ(shell(mpirun(2) + line_of(train("bad", {"--ranks", "3"}))), int(Exit::usage));
    EXPECT_NE(said.find("dd: mpirun has started 2 ranks, not 3"), said.npos) << said;
    EXPECT_NE(shell(mpirun(2) + line_of(train("bad", {"--batch-size", "1", "--grad-accum", "1"}))), 0);
    EXPECT_NE(said.find("dd: 2 ranks: a step has 1 rows"), said.npos) << said;
    EXPECT_EQ(shell(mpirun(2) + line_of(train("bad", {"--train-file", t / "absent.jsonl"}))), int(Exit::bad_input));
    EXPECT_EQ(said.find("absent.jsonl"), said.rfind("absent.jsonl")) << "twice: " << said;
}

// In a process of mpirun: rank 1 leaves while rank 0 waits elsewhere, as in a sum from device to device, and the others
// wait here.
TEST(OneOfMpi, HearsOfARankThatLeaves) {
    if (!getenv("OMPI_COMM_WORLD_SIZE")) GTEST_SKIP() << "is started by the test below";
    const auto ranks = join_ranks(1, [] { return false; }, [] { return std::string(); });
    ASSERT_EQ(ranks->size, 3);
    ranks->watch();
    ranks->wait();
    if (ranks->rank == 1) {
        usleep(100'000);
        EXPECT_TRUE(ranks->give_up(Exit::no_resource));
        return;
    }
    const auto begun = std::chrono::steady_clock::now();
    const auto waited = [&] {
        while (std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
            ranks->rank == 0 ? ranks->watch() : ranks->wait();
    };
    EXPECT_EQ(error_of(waited), Exit::no_resource);
    EXPECT_FALSE(ranks->give_up(Exit::failed)) << "it has been said";
}
TEST_F(RanksOfMpi, AreToldOfOneThatLeaves) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    EXPECT_EQ(shell(mpirun(3) + "'" + self + "' --gtest_color=no --gtest_filter=OneOfMpi.*"), 0) << said;
    size_t passed = 0;
    for (size_t at = 0; (at = said.find("[  PASSED  ] 1 test.", at)) != said.npos; at++) passed++;
    EXPECT_EQ(passed, 3u) << said;
}

// mpirun ends the others itself; what was saved stands.
TEST_F(RanksOfMpi, AKilledRankLeavesTheLastCheckpoint) {
    const Args flags{"--steps", "400", "--save-every", "1"};
    expect_done(train("straight", {"--steps", "400", "--save-every", "1", "--ranks", "2"}));
    int code = 0;
    const std::string command = "echo $$ >'" + t / "pid" + "'; exec " + mpirun(2) + line_of(train("run", flags));
    std::thread start([&] { code = shell(command); });
    for (int i = 0; i < 20'000 && !exists(t / "run/checkpoints/step-3"); i++) usleep(500);
    std::vector<pid_t> ranks = children_of(atoi(read_file(t / "pid").c_str()));
    while (ranks.size() == 1) ranks = children_of(ranks[0]);       // a shell's, timeout's, mpirun's
    EXPECT_EQ(ranks.size(), 2u);
    if (ranks.size() == 2) kill(ranks[1], SIGKILL);
    start.join();
    EXPECT_NE(code, 0) << said;
    const int step = newest_checkpoint(t / "run");
    EXPECT_GE(step, 1);
    EXPECT_LT(step, 400);
    ASSERT_EQ(shell(mpirun(2) + line_of(train("run", {"--steps", "400", "--save-every", "1", "--resume"}))), 0) << said;
    EXPECT_EQ(bytes_of("run"), bytes_of("straight"));
}

}  // namespace
