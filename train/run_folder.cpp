#include "run_folder.h"
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../kernels/parallel.h"
#include "../models/save.h"

namespace fs = std::filesystem;

namespace {

// A tensor of floats as it goes to disk and comes back.
void write_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
    std::vector<SafetensorsWriter::Item> items;
    for (const auto& [name, t] : tensors) items.push_back({name, Type::f32, {t.rows, t.cols}});
    SafetensorsWriter file(path, items, {{"format", "pt"}});
    for (size_t i = 0; i < tensors.size(); i++) file.write(i, 0, tensors[i].second.data, tensors[i].second.rows);
    file.commit();
}

void read_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
    auto file = open_safetensors(path);
    for (const auto& [name, t] : tensors) {
        const Stored* s = file->find(name);
        if (!s || s->type != Type::f32 || s->shape != std::vector<int64_t>{t.rows, t.cols})
            fail(Exit::bad_input, "%s: tensor %s is missing or of another shape; this checkpoint is of another run",
                 path.c_str(), name.c_str());
        memcpy(t.data, s->data, s->bytes);
    }
}

std::vector<std::pair<std::string, Tensor>> state_of(Trainer& t) {
    std::vector<std::pair<std::string, Tensor>> all;
    for (Parameter& p : t.parameters()) {
        all.push_back({p.name, *p.w});
        all.push_back({p.name + ".m", p.m});
        all.push_back({p.name + ".v", p.v});
    }
    return all;
}

std::vector<std::string> files_under(const std::string& folder) {
    std::vector<std::string> names;
    for (const fs::directory_entry& e : fs::recursive_directory_iterator(folder))
        if (e.is_regular_file()) names.push_back(fs::relative(e.path(), folder).string());
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

RunFolder::RunFolder(const std::string& path, bool resume) : path(path) {
    if (path.empty()) fail(Exit::usage, "--out is missing: the folder of the run");
    bool there = exists(path) && !(is_folder(path) && fs::is_empty(path));
    if (there && !resume)
        fail(Exit::usage,
             "--out %s: there is something already; choose another folder, or --resume to go on with a run",
             path.c_str());
    if (resume && !exists(path + "/run.json"))
        fail(Exit::usage, "--resume: %s holds no run (no run.json)", path.c_str());
    make_folders(path + "/checkpoints");
}

RunFolder::~RunFolder() {
    if (log_) fclose(log_);
}

void RunFolder::write_description(const Json& run) { write_file(path + "/run.json", run.dump(2) + "\n"); }
Json RunFolder::description() const { return read_json_file(path + "/run.json"); }

void RunFolder::log(const Json& line) {
    if (!log_) log_ = fopen((path + "/log.jsonl").c_str(), "a");
    std::string text = dump(line) + "\n";
    if (!log_ || fwrite(text.data(), 1, text.size(), log_) != text.size() || fflush(log_))
        fail(Exit::no_resource, "%s/log.jsonl: cannot be written (%s); the last checkpoint stands", path.c_str(),
             strerror(errno));
}

std::string RunFolder::checkpoint(int step) const { return path + "/checkpoints/step-" + std::to_string(step); }

void RunFolder::save(Trainer& t, int step, int keep) {
    std::string final = checkpoint(step), temp = final + ".tmp";
    fs::remove_all(temp);
    make_folders(temp);
    if (!t.options.full) write_adapter(temp + "/adapter", t.adapters().entries(), t.adapters().config());
    write_tensors(temp + "/state.safetensors", state_of(t));
    write_file(temp + "/state.json", Json({{"format", 1}, {"step", step}}).dump(2) + "\n");
    Json files = Json::object();
    for (const std::string& name : files_under(temp))
        files[name] = {{"bytes", fs::file_size(temp + "/" + name)}, {"sha256", sha256_of_file(temp + "/" + name)}};
    write_file(temp + "/MANIFEST.json", Json({{"step", step}, {"files", files}}).dump(2) + "\n");
    sync_folder(temp);
    fs::remove_all(final);
    std::error_code e;
    fs::rename(temp, final, e);
    if (e) fail(Exit::no_resource, "%s: cannot take its name: %s", final.c_str(), e.message().c_str());
    sync_folder(path + "/checkpoints");

    std::vector<int> steps;
    for (const fs::directory_entry& d : fs::directory_iterator(path + "/checkpoints")) {
        std::string name = d.path().filename();
        if (name.starts_with("step-") && !name.ends_with(".tmp")) steps.push_back(atoi(name.c_str() + 5));
    }
    std::sort(steps.rbegin(), steps.rend());
    for (size_t i = size_t(std::max(2, keep)); i < steps.size(); i++) fs::remove_all(checkpoint(steps[i]));
}

std::string damage(const std::string& folder) {
    try {
        Json manifest = read_json_file(folder + "/MANIFEST.json");
        const Json* files = find(manifest, "files");
        if (!files || !files->is_object() || files->empty()) return "MANIFEST.json lists no files";
        for (const auto& [name, f] : files->items()) {
            std::string file = folder + "/" + name;
            if (!exists(file)) return name + " is missing";
            if (fs::file_size(file) != uint64_t(get_int(f, "bytes", folder, 0, INT64_MAX)))
                return name + " has another size";
            if (sha256_of_file(file) != get_string(f, "sha256", folder)) return name + " has other contents";
        }
        return "";
    } catch (const Error& e) {
        return e.what();
    }
}

int RunFolder::resume(Trainer& t) {
    std::vector<int> steps;
    for (const fs::directory_entry& d : fs::directory_iterator(path + "/checkpoints")) {
        std::string name = d.path().filename();
        if (name.starts_with("step-") && !name.ends_with(".tmp")) steps.push_back(atoi(name.c_str() + 5));
    }
    std::sort(steps.rbegin(), steps.rend());
    for (int step : steps) {
        std::string why = damage(checkpoint(step));
        if (!why.empty()) {
            fprintf(stderr, "dd: %s is passed over: %s\n", checkpoint(step).c_str(), why.c_str());
            continue;
        }
        t.allocate();
        read_tensors(checkpoint(step) + "/state.safetensors", state_of(t));
        t.weights_changed();
        cut_log(step);
        return step;
    }
    cut_log(0);
    return 0;
}

// Lines of later steps were written by the part of the run that is now repeated.
void RunFolder::cut_log(int step) {
    std::string file = path + "/log.jsonl", kept;
    if (!exists(file)) return;
    std::ifstream in(file, std::ios::binary);
    for (std::string line; std::getline(in, line);) {
        Json o = Json::parse(line, nullptr, false);     // the last line may be torn
        if (o.is_object() && o.contains("step") && o["step"].is_number_integer() && o["step"] <= step)
            kept += line + "\n";
    }
    write_file(file, kept);
}

void RunFolder::write_result(Trainer& t, Session& s) {
    if (!t.options.full) return write_adapter(path + "/adapter", t.adapters().entries(), t.adapters().config());
    write_model(path + "/model", s);
}

Json build_description() {
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::string processor;
    for (std::string line; processor.empty() && std::getline(cpuinfo, line);)
        if (line.starts_with("model name")) processor = line.substr(line.find(':') + 2);
    return {{"version", DD_VERSION},  {"compiler", __VERSION__}, {"flags", DD_FLAGS},
            {"processor", processor}, {"kernels", cpu().name},   {"threads", threads()}};
}
