#include "trainer.h"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include "../kernels/parallel.h"
#include "../kernels/quant.h"
#include "edits.h"

namespace {

// Every weight as f32 that is trained: matrices and tables decay, vectors do not.
struct TrainAll : Visit {
    const Kernels& k;
    Arena& mem;
    std::vector<Parameter> found;
    TrainAll(const Kernels& k, Arena& mem) : k(k), mem(mem) {}
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        Tensor t = mem.make(out, in);
        std::vector<int> every(static_cast<size_t>(out));
        std::iota(every.begin(), every.end(), 0);
        size_t mark = mem.used;
        k.gather(t, w.m.w, mem.put(every), 1);
        mem.rewind(mark);
        w.m.w = t;
        w.m.panels = nullptr;
        found.push_back({name, &w.m.w, true});
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string& name, Tensor& w, int n, float) override {
        Tensor t = mem.make(1, n);
        k.copy(t, w);
        w = t;
        found.push_back({name, &w, false});
    }
    void constant(const std::string&, Tensor&, int) override {}
};

// Room for the parameters, their gradients and moments, and the packed copies of adapters; only reserved.
size_t room_of(Session& s, const TrainOptions& o) {
    const size_t slack = size_t(16) << 20, n = rows_and_columns(*s.model);
    if (o.full) return slack + 16 * parameter_count(*s.model) + n * 64;
    size_t room = slack + adapter_room(n, o.lora.rank) + 12 * n * size_t(o.lora.rank);
    if (!o.adapter_init.empty()) room += 2 * adapter_room(split_scale(o.adapter_init).first);
    if (!o.ref_adapter.empty()) room += adapter_room(split_scale(o.ref_adapter).first);
    return room;
}

}  // namespace

static TrainOptions with_ranks(TrainOptions o) {
    static Ranks alone;
    if (!o.ranks) o.ranks = &alone;
    return o;
}

Trainer::Trainer(Session& s, const TrainOptions& o, std::unique_ptr<Objective> objective, Dataset train,
                 std::optional<Dataset> valid)
    : options(with_ranks(o)),
      s_(s),
      objective_(std::move(objective)),
      train_(std::move(train)),
      valid_(std::move(valid)),
      trained_(room_of(s, o), *s.k.memory),
      adapters_(trained_),
      reference_(trained_),
      order_(train_.examples.size(), o.shuffle, o.seed) {
    size_t a_step = size_t(o.batch_size) * o.grad_accum, all = train_.examples.size() * size_t(o.epochs);
    if (a_step < size_t(ranks().size))
        fail(Exit::usage,
             "%d ranks: a step has %zu rows (--batch-size %d x --grad-accum %d), so some would have nothing to do; "
             "fewer ranks or more rows a step",
             ranks().size, a_step, o.batch_size, o.grad_accum);
    if (!o.steps && all / a_step >= INT32_MAX)
        fail(Exit::usage, "--epochs %d of %zu rows are too many steps; --steps says how many are wanted", o.epochs,
             train_.examples.size());
    steps_ = o.steps ? o.steps : int((all + a_step - 1) / a_step);
    total_ = o.steps ? a_step * size_t(o.steps) : all;
    if (o.full) {
        TrainAll visit(s.k, trained_);
        size_t numbers = parameter_count(*s.model);
        need_memory(memory(), numbers * 4 * 5, format("%zu trained weights with gradients and moments", numbers),
                    "LoRA (leave --full out) or a smaller model");
        s.model->weights(visit);
        found_ = visit.found;
        pack_weights(*s.model, s.k, s.operand, s.weights);
    } else if (!o.train_edits.empty()) {
        fixed_edits_ = s.edits;
        found_ = create_edits(s, o.train_edits, o.edit_blocks, trained_);
    } else {
        if (o.adapter_init.empty()) {
            LoraConfig config = o.lora;
            config.prefix = s.checkpoint.prefix();
            adapters_.create(*s.model, config, o.seed);
        } else {
            adapters_.add(*s.model, o.adapter_init);
        }
        adapters_.attach(*s.model, s.k, s.operand);
        for (Adapters::Entry& e : adapters_.entries()) {
            found_.push_back({e.module + ".lora_A.weight", &e.lora.a, true});
            found_.push_back({e.module + ".lora_B.weight", &e.lora.b, true});
        }
        if (!o.ref_adapter.empty()) {
            reference_.add(*s.model, o.ref_adapter);
            reference_.attach(*s.model, s.k, s.operand);
            reference_.detach(*s.model);
            adapters_.attach(*s.model, s.k, s.operand);
        }
    }
    if (o.full && objective_->needs_reference() && !o.precompute_ref && o.ref_adapter.empty())
        fail(Exit::usage, "--full with DPO needs --precompute-ref: the reference is the model before training");
    make_plan();
}

Trainer::~Trainer() {
    if (!options.train_edits.empty()) s_.edits = fixed_edits_;
}

std::string Trainer::reference() const {
    if (!options.ref_adapter.empty()) return "the adapter " + options.ref_adapter;
    return options.full ? "the model before training"
                        : format("the model with the %s off", trains_adapter() ? "adapter" : "trained edits");
}

size_t Trainer::trained_numbers() const {
    size_t n = 0;
    for (const Parameter& p : optimizer_ ? optimizer_->parameters() : found_) n += p.w->count();
    return n;
}

Batch Trainer::batch_of(std::span<Example* const> examples) const {
    Batch b;
    for (const Example* e : examples)
        for (const Sequence& s : e->sequences) b.add(s.ids.data(), int(s.ids.size()), 0, b.sequences());
    return b;
}

int Trainer::rows_a_pass() const {
    const size_t a_step = size_t(options.batch_size) * options.grad_accum, ranks = size_t(this->ranks().size);
    return int(std::min(size_t(options.batch_size), (a_step + ranks - 1) / ranks));
}

void Trainer::allocate() {
    if (optimizer_) return;
    ranks().wait();                 // now all have their weights and nobody has taken more
    check_memory();
    ranks().wait();
    optimizer_ = std::make_unique<Optimizer>(s_.k, trained_, std::move(found_));
    const size_t free = available_memory(memory());
    summed_ = optimizer_->meet(ranks());
    if (!memory().host && ranks().size > 1) count_summing(free);
    scratch_ = std::make_unique<Arena>(plan_.activations + plan_.activations / 8 + (size_t(8) << 20), memory());
    tape_ = std::make_unique<Tape>(plan_.gradients + plan_.gradients / 8 + (size_t(8) << 20), memory());
    tape_->recompute = options.recompute;
    if (objective_->needs_reference() && options.precompute_ref) precompute_references();
}

// Each rank computes those of its share, and all hear of all.
void Trainer::precompute_references() {
    std::vector<Example*> all;
    for (Example& e : train_.examples) all.push_back(&e);
    if (valid_) for (Example& e : valid_->examples) all.push_back(&e);
    std::string mine;
    const std::vector<Example*> share = share_of(all, ranks().rank);
    passes(share, [&](std::span<Example* const> examples) { reference_of(examples); });
    for (const Example* e : share) mine.append((const char*)e->reference, sizeof e->reference);
    const std::vector<std::string> of_each = ranks().gather(mine);
    for (int r = 0; r < ranks().size; r++) {
        const char* at = of_each[size_t(r)].data();
        for (Example* e : share_of(all, r)) memcpy(e->reference, at, sizeof e->reference), at += sizeof e->reference;
    }
}

void Trainer::weights_changed() {
    if (options.full) pack_weights(*s_.model, s_.k, s_.operand, s_.weights);
    else if (trains_adapter()) adapters_.repack(s_.k, s_.operand);
}

// Log-probabilities of every target token of these examples. With a tape, `back` is called while the walk can still be
// walked back: it fills their derivatives from them.
std::vector<float> Trainer::log_probs_of(std::span<Example* const> examples, Tape* tape,
                                         const std::function<void(std::span<float>, std::span<float>)>& back) {
    Batch b = batch_of(examples);
    std::vector<int> at, want;
    size_t s = 0;
    for (const Example* e : examples)
        for (const Sequence& q : e->sequences) {
            for (size_t i = 0; i + 1 < q.ids.size(); i++)
                if (q.labels[i + 1] >= 0) {
                    at.push_back(b.first[s] + int(i));
                    want.push_back(q.labels[i + 1]);
                }
            s++;
        }
    scratch_->rewind(0);
    Pass p = s_.pass(*scratch_, b);
    p.tape = tape;
    Tensor h = s_.model->forward(p);
    Targets targets{int(at.size()), p.mem.put(at), p.mem.put(want)};
    Tensor logp = log_probs(p, h, s_.model->head(), targets);
    std::vector<float> out = get(memory(), logp);
    if (tape) {
        std::vector<float> d(at.size());
        back(out, d);
        tape->backward(p, logp, Tensor{(void*)p.mem.put(d), int(d.size()), 1});
    }
    return out;
}

// Summed log-probabilities of both answers under the reference.
void Trainer::reference_of(std::span<Example* const> examples) {
    if (!options.train_edits.empty()) std::swap(s_.edits, fixed_edits_);
    if (trains_adapter()) {
        adapters_.detach(*s_.model);
        if (!reference_.empty()) reference_.attach(*s_.model, s_.k, s_.operand);
    }
    std::vector<float> logp = log_probs_of(examples, nullptr, {});
    if (!options.train_edits.empty()) std::swap(s_.edits, fixed_edits_);
    if (trains_adapter()) {
        reference_.detach(*s_.model);
        adapters_.attach(*s_.model, s_.k, s_.operand);
    }
    size_t at = 0;
    for (Example* e : examples)
        for (size_t side = 0; side < e->sequences.size(); side++) {
            double sum = 0;
            for (int i = 0; i < e->sequences[side].targets(); i++) sum += logp[at++];
            e->reference[side] = sum;
        }
}

std::vector<Example*> Trainer::examples_of(int step) {
    size_t a_step = size_t(options.batch_size) * options.grad_accum;
    std::vector<Example*> out;
    for (uint64_t i = a_step * uint64_t(step - 1); i < std::min<uint64_t>(total_, a_step * uint64_t(step)); i++)
        out.push_back(&train_.examples[order_.at(i)]);
    return out;
}

// What a rank has to do of some rows, in their order.
std::vector<Example*> Trainer::share_of(std::span<Example* const> all, int rank) const {
    std::vector<size_t> tokens;
    for (const Example* e : all) tokens.push_back(e->tokens());
    std::vector<Example*> share;
    for (const size_t i : share_of_rank(tokens, rank, ranks().size)) share.push_back(all[i]);
    return share;
}

template <class F> void Trainer::passes(std::span<Example* const> all, F&& each) {
    const size_t n = size_t(rows_a_pass());
    for (size_t i = 0; i < all.size(); i += n) each(all.subspan(i, std::min(n, all.size() - i)));
}

StepLog Trainer::step(int s) {
    allocate();
    auto start = std::chrono::steady_clock::now();
    std::vector<Example*> all = examples_of(s);
    StepLog log;
    log.step = s;
    StepSize size{0, all.size()};
    for (const Example* e : all) size.targets += size_t(e->targets()), log.tokens += e->tokens();
    log.targets = size.targets;
    log.epoch = double(std::min<uint64_t>(total_, uint64_t(options.batch_size) * options.grad_accum * uint64_t(s))) /
                double(train_.examples.size());
    optimizer_->zero_gradients();
    uint64_t pass = uint64_t(ranks().rank);             // no two passes of a step drop alike
    passes(share_of(all, ranks().rank), [&](std::span<Example* const> examples) {
        if (objective_->needs_reference() && !options.precompute_ref) reference_of(examples);
        tape_->dropout_seed = options.seed * 0x9E3779B97F4A7C15u + uint64_t(s) * 65536 + pass;
        pass += uint64_t(ranks().size);
        log_probs_of(examples, tape_.get(), [&](std::span<float> logp, std::span<float> d) {
            log.loss += objective_->loss(examples, logp, size, d, log.metrics);
        });
    });
    log.metrics["loss"] = log.loss;
    ranks().sum(log.metrics);
    log.loss = log.metrics.extract("loss").mapped();
    optimizer_->sum_gradients(ranks());
    log.grad_norm = optimizer_->gradient_norm();
    if (!std::isfinite(log.loss) || !std::isfinite(log.grad_norm)) explain_numerics(s, all, log.loss, log.grad_norm);
    log.lr = learning_rate(options.optimizer, s, steps_);
    optimizer_->update(options.optimizer, log.lr, s, log.grad_norm);
    weights_changed();
    log.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return log;
}

double Trainer::validation_loss() {
    allocate();
    if (!valid_) return NAN;
    StepSize size{valid_->targets(), valid_->examples.size()};
    std::vector<Example*> all;
    for (Example& e : valid_->examples) all.push_back(&e);
    std::map<std::string, double> loss{{"loss", 0}}, metrics;
    passes(share_of(all, ranks().rank), [&](std::span<Example* const> examples) {
        if (objective_->needs_reference() && !options.precompute_ref) reference_of(examples);
        std::vector<float> logp = log_probs_of(examples, nullptr, {}), d(logp.size());
        loss["loss"] += objective_->loss(examples, logp, size, d, metrics);
    });
    ranks().sum(loss);
    return loss["loss"];
}

// Names the first tensor that is not finite: an activation, walking the batch once more with taps; or a gradient.
void Trainer::explain_numerics(int step, std::span<Example* const> examples, double loss, double norm) {
    auto good = [](float v) { return std::isfinite(v); };
    auto finite = [&](const float* v, size_t n) { return std::all_of(v, v + n, good); };
    std::string first = "the loss head";
    std::vector<Row> rows;
    std::string ids;
    for (const Example* e : examples) {
        ids += (ids.empty() ? "" : ", ") + dump(e->id);
        for (const Sequence& q : e->sequences) rows.push_back({e->id, q.ids, q.labels, e->line, true});
    }
    std::vector<Tap> taps =
        parse_points(*s_.model, "embed,resid_pre.*,q.*,z.*,attn_out.*,mlp_out.*,resid_post.*,final");
    std::vector<bool> bad(taps.size());
    extract(s_, rows, taps, false, [&](size_t t, int64_t, const float* data, int64_t n) {
        bad[t] = bad[t] || !finite(data, size_t(n) * size_t(taps[t].width));
    });
    // In the order of the walk: embed, then block by block.
    int best = -1;
    auto rank = [&](size_t t) {
        return taps[t].point == Point::embed   ? -1
               : taps[t].point == Point::final ? 1 << 20
                                               : taps[t].layer * 8 + int(taps[t].point);
    };
    for (size_t t = 0; t < taps.size(); t++)
        if (bad[t] && (best < 0 || rank(t) < rank(size_t(best)))) best = int(t);
    if (best >= 0) first = "the activation " + taps[best].name;
    else
        for (const Parameter& p : optimizer_->parameters())
            if (std::vector<float> g = get(memory(), Optimizer::gradient(p)); !finite(g.data(), g.size())) {
                first = "the gradient of " + p.name;
                break;
            }
    fail(Exit::numerics,
         "step %d: loss %g, gradient norm %g; the first tensor that is not finite is %s (rows %s); nothing was "
         "updated, the last checkpoint stands; lower --lr",
         step, loss, norm, first.c_str(), ids.substr(0, 200).c_str());
}
