// adapter.h - LoRA adapters as PEFT has them (a directory with adapter_config.json and adapter_model.safetensors).
#pragma once
#include <deque>
#include <map>
#include <string>
#include <vector>
#include "../engine/file.h"
#include "model.h"

struct LoraConfig {
    int rank = 16;
    double alpha = 32, dropout = 0;
    bool rslora = false;                            // scale alpha / sqrt(rank) instead of alpha / rank
    std::vector<std::string> targets;               // module suffixes, as resolved: "q_proj", ...
    bool partial = false;                           // not every module that targets name need have an update
    std::string base;                               // base_model_name_or_path
    std::string prefix = "model.";                  // what files say for it: a wrapper of several modalities, more
    std::map<std::string, double> alpha_pattern;    // by module name or suffix
    std::map<std::string, int> rank_pattern;
    int rank_of(const std::string& module) const;
    double scale(const std::string& module) const;
    bool names(const std::string& module) const;    // it must have an update
};

// The updates that ride on a model's weights; owns them. Memory comes from the arena.
class Adapters {
public:
    explicit Adapters(Arena& mem) : mem_(mem) {}

    // Reads a PEFT directory ("DIR" or "DIR:SCALE") and lays it over the model, beside those already there. Every
    // tensor must find its matrix, with both halves, the right shape and the rank of the configuration, every module
    // that target_modules names its update, and every pattern its module: otherwise Exit::bad_input, counting the keys
    // that match of all that there are or ought to be; only what rides on a spare tensor (model.h) is left out. Returns
    // the number of tensors applied.
    size_t add(Model&, const std::string& path_and_scale);
    size_t add(Model&, const LoraConfig&, const TensorFile&, const std::string& who, double scale);
    // A fresh adapter to train on every matrix whose name ends in one of config.targets ("all": every linear but the
    // head) or matches it as a regular expression: A as PEFT's Kaiming uniform (a = sqrt 5), B zero.
    // config.targets becomes the resolved suffixes, or names where a suffix would say too much.
    void create(Model&, LoraConfig& config, uint64_t seed);
    // After the last add or create: makes the packed copies. Several adapters on one matrix act as one of their joint
    // rank.
    void attach(Model&, const Kernels&, Type operand);
    void detach(Model&);                            // the base model again; attach puts them back
    // Refreshes the packed copies after a and b have changed.
    void repack(const Kernels&, Type operand);
    // Writes a PEFT directory: files atomic, keys sorted, f32 tensors in PEFT's names.
    void write(const std::string& folder);

    struct Entry { std::string module; Weight* weight; Lora lora; };
    std::deque<Entry>& entries() { return entries_; }       // trained adapters: one entry a matrix, in visiting order
    bool empty() const { return entries_.empty() && parts_.empty(); }
    size_t ignored() const { return ignored_; }             // tensors read that ride on what this model does not use
    const LoraConfig& config() const { return config_; }    // of the last one read or created

private:
    struct Part { Tensor a, b; double scale; };
    Arena& mem_;
    size_t ignored_ = 0;
    std::map<std::string, std::vector<Part>> parts_;        // by module, in order of add
    std::deque<Entry> entries_;
    LoraConfig config_;
};

LoraConfig read_adapter_config(const std::string& folder);
LoraConfig parse_adapter_config(const Json&, const std::string& who);
std::pair<std::string, double> split_scale(const std::string& path_and_scale);      // "DIR" or "DIR:SCALE"

// Bytes to reserve in the arena for adapters of this rank, with their packed copies, on matrices of `n` rows and
// columns in all, each counted with 64 more. The second form: for one that lies in a folder.
size_t adapter_room(size_t n, int rank);
size_t adapter_room(const std::string& folder);
size_t rows_and_columns(Model&);                // that n, of all matrices
