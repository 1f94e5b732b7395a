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
    // The model with its adapters and edits, ready for use; prints the header line on stderr. `read` reads whatever
    // else the verb was given, before anything large is allocated: so that what is wrong with it is said at once.
    std::unique_ptr<Session> open(const std::function<void(Session&)>& read = {});
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

// Data for standard output; where that is a terminal, control characters are escaped, but for \n and \t. What cannot
// be written is Exit::no_resource, at the latest in flush_output; NobodyReads, which ends the program quietly, when it
// is a pipe whose reader has gone. Exit::interrupted after an interrupt that is being watched for.
void put(const std::string& text);
void flush_output();
struct NobodyReads {};
std::string duration(double seconds);                   // "1 h 02 min", "3 min 20 s", "4.2 s"

// From here on the first SIGINT, SIGTERM or SIGHUP sets a flag, and the second ends the process at once. (Without it
// the first does, after removing unfinished files.)
void watch_interrupts();
bool interrupted();
void stop_if_interrupted();                             // Exit::interrupted

// A resumed run must be the same run: "flags" and "hashes" of its run.json against these, except for flags that only
// say how it is watched. Exit::usage naming what differs.
void need_same_run(const Json& before, const Json& now, const std::vector<std::string>& may_differ);
