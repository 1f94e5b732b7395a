#include "run_folder.h"
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include "../engine/file.h"
#include "../engine/reader.h"
#include "../engine/safetensors.h"
#include "../kernels/parallel.h"
#include "../models/save.h"
#include "edits.h"

namespace fs = std::filesystem;

namespace {

// A tensor of floats as it goes to disk and comes back.
void write_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                   const Memory& memory) {
    std::vector<SafetensorsWriter::Item> items;
    for (const auto& [name, t] : tensors) items.push_back({name, Type::f32, {t.rows, t.cols}});
    SafetensorsWriter file(path, items, {{"format", "pt"}});
    std::vector<float> numbers;
    for (size_t i = 0; i < tensors.size(); i++)
        file.write(i, 0, get(memory, tensors[i].second, numbers), tensors[i].second.rows);
    file.commit();
}

void read_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                  const Memory& memory) {
    auto file = open_safetensors(path);
    for (const auto& [name, t] : tensors) {
        const Stored* s = file->find(name);
        if (!s || s->type != Type::f32 || s->shape != std::vector<int64_t>{t.rows, t.cols})
            fail(Exit::bad_input, "%s: tensor %s is missing or of another shape; this checkpoint is of another run",
                 path.c_str(), name.c_str());
        memory.upload(t.data, s->data, s->bytes);
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

constexpr int format_version = 1;

bool is_remains(const fs::path& path) {        // of a writer that was killed
    const std::string name = path.filename();
    return name.starts_with(".") && name.ends_with(".tmp");
}

// Whether a folder may become a run: it is empty, but for what a start leaves behind that was killed before it got far.
bool is_free(const std::string& folder) {
    std::error_code error;
    for (const fs::directory_entry& e : fs::directory_iterator(folder, error))
        if (e.path().filename() != "init" && !is_remains(e.path())) return false;
    if (error) fail(Exit::bad_input, "%s: cannot be read: %s", folder.c_str(), error.message().c_str());
    return true;
}

// Takes away what a killed run has left half written.
void sweep(const std::string& folder) {
    std::error_code ignored;
    std::vector<fs::path> remains;
    for (const fs::directory_entry& e : fs::recursive_directory_iterator(folder, ignored))
        if (is_remains(e.path()) || (e.is_directory(ignored) && e.path().extension() == ".tmp")) remains.push_back(e);
    for (const fs::path& path : remains) fs::remove_all(path, ignored);
}

}  // namespace

RunFolder::RunFolder(const std::string& path, bool resume) : path(path), begun_(resume) {
    if (path.empty()) fail(Exit::usage, "--out is missing: the folder of the run");
    if (resume && !exists(path + "/run.json"))
        fail(Exit::usage, "--resume: %s holds no run (no run.json)", path.c_str());
    if (!resume && exists(path) && !(is_folder(path) && is_free(path)))
        fail(Exit::usage,
             "--out %s: there is something already; choose another folder, or --resume to go on with a run",
             path.c_str());
    made_ = !exists(path);
    make_folders(path);
    sweep(path);
    AtomicFile probe(path + "/run.json");       // so that a folder that may not be written in is found now
}

RunFolder::~RunFolder() {
    if (log_) fclose(log_);
    if (begun_) return;
    std::error_code ignored;
    fs::remove_all(path + "/init", ignored);
    if (made_) fs::remove(path, ignored);
}

void RunFolder::write_description(const Json& run) {
    begun_ = true;
    write_file(path + "/run.json", run.dump(2) + "\n");
}
Json RunFolder::description() const { return read_json_file(path + "/run.json"); }

void RunFolder::log(const Json& line) {
    if (!log_) log_ = fopen((path + "/log.jsonl").c_str(), "a");
    std::string text = dump(line) + "\n";
    if (!log_ || fwrite(text.data(), 1, text.size(), log_) != text.size() || fflush(log_))
        fail(Exit::no_resource, "%s/log.jsonl: cannot be written (%s); the last checkpoint stands", path.c_str(),
             strerror(errno));
}

static std::string checkpoint_of(const std::string& run, int step) {
    return run + "/checkpoints/step-" + std::to_string(step);
}
std::string RunFolder::checkpoint(int step) const { return checkpoint_of(path, step); }
bool RunFolder::holds(int step) const { return damage(checkpoint(step)).empty(); }
std::string RunFolder::hash() const { return exists(path + "/run.json") ? sha256_of_file(path + "/run.json") : ""; }

// Steps of its checkpoints, the newest first.
static std::vector<int> saved_in(const std::string& run) {
    std::vector<int> steps;
    std::error_code none;
    for (const fs::directory_entry& d : fs::directory_iterator(run + "/checkpoints", none)) {
        const std::string name = d.path().filename();
        const int step = name.starts_with("step-") ? atoi(name.c_str() + 5) : 0;
        if (step > 0 && name == "step-" + std::to_string(step)) steps.push_back(step);
    }
    std::sort(steps.rbegin(), steps.rend());
    return steps;
}

void RunFolder::save(Trainer& t, int step, int keep) {
    std::string final = checkpoint(step), temp = final + ".tmp";
    fs::remove_all(temp);
    make_folders(temp);
    if (t.trains_adapter()) t.adapters().write(temp + "/adapter");
    write_tensors(temp + "/state.safetensors", state_of(t), t.memory());
    write_file(temp + "/state.json", Json({{"step", step}}).dump(2) + "\n");
    Json files = Json::object();
    for (const std::string& name : files_under(temp))
        files[name] = {{"bytes", fs::file_size(temp + "/" + name)}, {"sha256", sha256_of_file(temp + "/" + name)}};
    Json manifest = {{"format", format_version}, {"step", step}, {"run", hash()}, {"files", files}};
    write_file(temp + "/MANIFEST.json", manifest.dump(2) + "\n");
    sync_folder(temp);
    fs::remove_all(final);                      // only ever a damaged one
    std::error_code e;
    fs::rename(temp, final, e);
    if (e) fail(Exit::no_resource, "%s: cannot take its name: %s", final.c_str(), e.message().c_str());
    sync_folder(path + "/checkpoints");
    prune(keep);
}

// A checkpoint loses its name before its files: killed in between, it is a remnant that sweep() takes away.
void RunFolder::prune(int keep) {
    const std::vector<int> steps = saved_in(path);
    std::error_code e;
    for (size_t i = size_t(std::max(2, keep)); i < steps.size(); i++) {
        const std::string old = checkpoint(steps[i]);
        fs::rename(old, old + ".tmp", e);
        fs::remove_all(old + ".tmp", e);
    }
}

std::string damage(const std::string& folder) {
    try {
        const std::string text = read_file(folder + "/MANIFEST.json", size_t(1) << 24);
        const Json manifest = parse_json(text, "MANIFEST.json");
        const std::string name = fs::path(folder).filename();
        if (get_int(manifest, "format", "MANIFEST.json", 0, 1 << 30) != format_version)
            return "MANIFEST.json has a format that this program does not read";
        if ("step-" + std::to_string(get_int(manifest, "step", "MANIFEST.json", 0, INT32_MAX)) != name)
            return "MANIFEST.json is of another step";
        if (manifest.dump(2) + "\n" != text) return "MANIFEST.json is not as it was written";
        const Json* files = find(manifest, "files");
        if (!files || !files->is_object() || !find(*files, "state.safetensors"))
            return "MANIFEST.json does not list state.safetensors";
        for (const auto& [file, f] : files->items()) {
            if (file.starts_with("/") || file.find("..") != file.npos) return shown(file) + " is not of this folder";
            const std::string path = folder + "/" + file;
            if (!exists(path)) return shown(file) + " is missing";
            if (fs::file_size(path) != uint64_t(get_int(f, "bytes", "MANIFEST.json", 0, INT64_MAX)))
                return shown(file) + " has another size";
            if (sha256_of_file(path) != get_string(f, "sha256", "MANIFEST.json"))
                return shown(file) + " has other contents";
        }
        return "";
    } catch (const std::exception& e) {
        return e.what();
    }
}

void read_checkpoint(const std::string& run, int step, Trainer& t) {
    read_tensors(checkpoint_of(run, step) + "/state.safetensors", state_of(t), t.memory());
    t.weights_changed();
}

int newest_checkpoint(const std::string& run) {
    for (const int step : saved_in(run))
        if (damage(checkpoint_of(run, step)).empty()) return step;
    return 0;
}

int RunFolder::resume(Trainer& t) {
    for (const int step : saved_in(path)) {
        const std::string folder = checkpoint(step);
        std::string why = damage(folder);
        if (why.empty() && get_string(read_json_file(folder + "/MANIFEST.json"), "run", folder) != hash())
            why = "it is of another run (run.json has changed)";
        if (!why.empty()) {
            fprintf(stderr, "dd: %s is passed over: %s\n", folder.c_str(), printable(why).c_str());
            continue;
        }
        t.allocate();
        read_checkpoint(path, step, t);
        cut_log(step);
        return step;
    }
    cut_log(0);
    return 0;
}

// Lines of later steps were written by the part of the run that is now repeated.
int RunFolder::cut_log(int step) {
    std::string file = path + "/log.jsonl", kept;
    int last = 0;
    if (!exists(file)) return last;
    std::ifstream in(file, std::ios::binary);
    for (std::string line; std::getline(in, line);) {
        Json o = parse_json_or_null(line);    // the last line may be torn
        if (o.is_object() && o.contains("step") && o["step"].is_number_integer() && o["step"] <= step)
            kept += line + "\n", last = o["step"];
    }
    write_file(file, kept);
    return last;
}

void RunFolder::write_result(Trainer& t, Session& s) {
    if (t.options.full) write_model(path + "/model", s);
    else if (t.trains_adapter()) t.adapters().write(path + "/adapter");
    else write_edits(path, t.parameters(), t.memory());
}
