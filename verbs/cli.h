// cli.h - one table of verbs and flags, from which come parsing, --help, completion, configuration files, environment
// variables and the record of a run.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>
#include "../engine/json.h"

// The flags of one verb, each bound to the variable that it sets; the variable's value at the time is the default.
// Names are written with hyphens; - and _ are the same to the user. A flag may come, in order of precedence, from the
// command line, from DD_NAME in the environment, from --config FILE (JSON or TOML), from its default.
//
// On the command line: --name value or --name=value; of one that comes twice the last counts, but lists grow. Switches
// are --name and --no-name, or --name=true, false, yes, no, on, off, 1, 0.
class Flags {
public:
    using Target = std::variant<bool*, int*, int64_t*, double*, std::string*, std::vector<std::string>*>;
    struct Flag {
        std::string name, meta, help;       // meta: how the value is written in --help: "N", "FILE"
        Target to;
        double low, high;                   // of numbers
        std::vector<std::string> choices;   // of strings; empty: any
        bool given = false;                 // not left at its default
        bool positional = false;            // may also stand without its name: dd data gym
    };
    // "max-tokens", "N": units and ranges stand in the help text.
    Flag& add(const std::string& name, Target to, const std::string& meta, const std::string& help);
    Flag& number(const std::string& name, Target to, const std::string& meta, double low, double high,
                 const std::string& help);
    Flag& choice(const std::string& name, std::string* to, std::vector<std::string> choices, const std::string& help);

    bool given(std::string_view name) const;
    Json values() const;                    // every flag with its resolved value
    std::vector<Flag>& all() { return flags_; }
    const std::vector<Flag>& all() const { return flags_; }

private:
    std::vector<Flag> flags_;
};

struct Verb {
    const char *name, *help, *example;
    void (*declare)(Flags&);
    void (*run)(const Flags&);
};

// The parts of "a,b": at least one, and as many as there are separators more. Of several such lists, all together.
std::vector<std::string> split_at(const std::string&, char separator);
std::vector<std::string> parts_of(const std::vector<std::string>& lists);

// Parses and runs `dd VERB ...`; returns the exit code. Errors are printed as one line on stderr.
int run_command_line(int argc, char** argv, const std::vector<Verb>& verbs);
const std::vector<Verb>& verbs();           // those of the running command line

// toml.cpp: the part of TOML that a list of flags needs: key = value a line, where a value is a string in "" or '', a
// number, true, false, or a list of these (over several lines if need be); # begins a comment. Anything else, a
// [section] too, is Exit::bad_input naming file and line.
Json read_toml_file(const std::string& path);
Json parse_toml(std::string_view text, const std::string& who);
