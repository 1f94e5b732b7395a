// task.h - what a model can be judged by. A task is one small file; it is registered by its line in task.cpp.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>
#include "../models/session.h"
#include "gym.h"

struct TaskOptions {
    std::string data;                       // loss: the rows
    bool raw = false;                       // loss: prompts are plain text
    gym::Options gym;
    int max_tokens = 256, slots = 32;       // of an answer; answers at a time
    std::optional<bool> think;
    std::function<bool()> interrupted = [] { return false; };
};

// One of the things compared: a model as it is, with an adapter, with edits ...
struct TaskArm {
    std::string name;
    std::vector<Json> answers;              // one an item
};

struct TaskReport {
    Json json;
    std::string table;                      // for a terminal
};

// Items have numbers from 0. An answer is JSON, so that it can be kept on disk as it comes and a run be taken up again:
// it depends on the session and the item alone, not on what else is answered beside it.
struct Task {
    virtual ~Task() = default;
    virtual size_t items() const = 0;
    // Tokens of an item that the model walks over (prompt and answer), and those that its head is asked about.
    struct Walked { int64_t tokens, heads; };
    virtual Walked walked(size_t item, const Json& answer) const = 0;
    // Answers every item that is not in `done`, in any order; `keep` is called as each is ready.
    virtual void run(Session&, const std::set<size_t>& done, const std::function<void(size_t, Json)>& keep) = 0;
    virtual Json row(size_t item, const Json& answer) const = 0;            // a line of the per-item file
    virtual TaskReport report(const std::vector<TaskArm>&) const = 0;       // of one arm, or before and after
};

struct TaskEntry {
    const char *name, *help;
    std::unique_ptr<Task> (*make)(Session&, const TaskOptions&);            // the session says how text becomes ids
};
const std::vector<TaskEntry>& tasks();
std::unique_ptr<Task> make_loss_task(Session&, const TaskOptions&);         // loss.cpp
std::unique_ptr<Task> make_gym_task(Session&, const TaskOptions&);          // gym_task.cpp
