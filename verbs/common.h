// common.h - flags that several verbs share, and what they come to.
#pragma once
#include <memory>
#include "../models/session.h"
#include "cli.h"

struct ModelFlags {
    SessionOptions session;
    std::string temper, ablate, ablate_to, edits;
    std::vector<std::string> steer, project_out;
    void declare(Flags&);
    void declare_edits(Flags&);
    bool has_edits() const { return !(temper + ablate + edits).empty() || !steer.empty() || !project_out.empty(); }
    void clear_edits() {
        temper.clear(), ablate.clear(), ablate_to.clear(), edits.clear(), steer = {}, project_out = {};
    }
    std::unique_ptr<Session> open();        // with its edits; prints the header line on stderr
};

// The edits of these flags, validated against the model: Exit::usage naming what exists. Vectors live in the
// session's memory.
std::vector<Edit> read_edits(const ModelFlags&, Session&);

// A line of progress on stderr, rewritten in place; nothing when stderr is no terminal.
class Progress {
public:
    void show(const std::string& line);
    void clear();
    ~Progress() { clear(); }

private:
    bool shown_ = false;
};
bool on_terminal(int fd);
std::string for_terminal(const std::string& text);      // control characters escaped, but for \n and \t
std::string duration(double seconds);                   // "1 h 02 min", "3 min 20 s", "4.2 s"

// The first SIGINT or SIGTERM sets a flag; the second ends the process at once.
void watch_interrupts();
bool interrupted();

// A resumed run must be the same run: "flags" and "hashes" of its run.json against these, except for flags that only
// say how it is watched. Exit::usage naming what differs.
void need_same_run(const Json& before, const Json& now, const std::vector<std::string>& may_differ);
