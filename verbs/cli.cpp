#include "cli.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include "../engine/file.h"
#include "../engine/reader.h"
#include "../train/run_folder.h"
#include "common.h"

Flags::Flag& Flags::add(const std::string& name, Target to, const std::string& meta, const std::string& help) {
    double limit = std::holds_alternative<int*>(to) ? double(INT_MAX) : 1e300;
    return flags_.emplace_back(Flag{name, meta, help, to, -limit, limit, {}});
}
Flags::Flag& Flags::number(const std::string& name, Target to, const std::string& meta, double low, double high,
                           const std::string& help) {
    Flag& f = add(name, to, meta, help);
    f.low = low, f.high = high;
    return f;
}
Flags::Flag& Flags::choice(const std::string& name, std::string* to, std::vector<std::string> choices,
                           const std::string& help) {
    std::string meta;
    for (const std::string& c : choices) meta += (meta.empty() ? "" : "|") + c;
    Flag& f = add(name, to, meta, help);
    f.choices = std::move(choices);
    return f;
}

bool Flags::given(std::string_view name) const {
    for (const Flag& f : flags_)
        if (f.name == name) return f.given;
    return false;
}

Json Flags::values() const {
    Json all = Json::object();
    for (const Flag& f : flags_) std::visit([&](auto* v) { all[f.name] = *v; }, f.to);
    return all;
}

namespace {

using Flag = Flags::Flag;

std::string with_hyphens(std::string s) {
    std::replace(s.begin(), s.end(), '_', '-');
    return s;
}

size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); j++) row[j] = j;
    for (size_t i = 1; i <= a.size(); i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); j++) {
            size_t here = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = row[j];
            row[j] = here;
        }
    }
    return row.back();
}

std::string nearest(const std::string& what, const std::vector<std::string>& known) {
    auto near = [&](const std::string& a, const std::string& b) {
        return edit_distance(what, a) < edit_distance(what, b);
    };
    return known.empty() ? "" : *std::min_element(known.begin(), known.end(), near);
}

bool is_switch(const Flag& f) { return std::holds_alternative<bool*>(f.to); }
bool is_list(const Flag& f) { return std::holds_alternative<std::vector<std::string>*>(f.to); }

Flag* find_flag(Flags& flags, const std::string& name) {
    for (Flag& f : flags.all())
        if (f.name == name) return &f;
    return nullptr;
}

std::vector<std::string> names_of(const Flags& flags) {
    std::vector<std::string> names{"help"};
    for (const Flag& f : flags.all()) names.push_back(f.name);
    return names;
}

[[noreturn]] void wrong_value(const std::string& source, const std::string& text, const std::string& expected) {
    fail(Exit::usage, "%s %s: %s was expected", source.c_str(), shown(text).c_str(), expected.c_str());
}

// Gives a flag the value that `text` writes. `source`: where it stands, for errors: "--lr", "DD_LR", "run.toml: lr".
void set(Flag& f, const std::string& text, const std::string& source) {
    char* end = nullptr;
    errno = 0;
    auto whole = [&] {
        const bool decimal = !text.empty() && text.find_first_not_of("0123456789", text[0] == '-') == text.npos;
        const long long n = strtoll(text.c_str(), &end, 10);
        if (!decimal || *end || end == text.c_str() || errno || double(n) < f.low || double(n) > f.high)
            wrong_value(source, text, format("a whole number from %.0f to %.0f", f.low, f.high));
        return n;
    };
    if (auto* v = std::get_if<bool*>(&f.to)) {
        const bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
        if (!yes && text != "false" && text != "0" && text != "no" && text != "off")
            wrong_value(source, text, "true or false");
        **v = yes;
    } else if (auto* v = std::get_if<int*>(&f.to)) {
        **v = int(whole());
    } else if (auto* v = std::get_if<int64_t*>(&f.to)) {
        **v = whole();
    } else if (auto* v = std::get_if<double*>(&f.to)) {
        const double x = strtod(text.c_str(), &end);
        if (*end || end == text.c_str() || !(x >= f.low && x <= f.high))        // NaN is refused here
            wrong_value(source, text, format("a number from %g to %g", f.low, f.high));
        **v = x;
    } else if (auto* v = std::get_if<std::string*>(&f.to)) {
        if (!f.choices.empty() && std::find(f.choices.begin(), f.choices.end(), text) == f.choices.end())
            fail(Exit::usage, "%s %s: known are %s; did you mean %s?", source.c_str(), shown(text).c_str(),
                 f.meta.c_str(), nearest(text, f.choices).c_str());
        **v = text;
    } else {
        auto* list = std::get<std::vector<std::string>*>(f.to);
        if (!f.given) list->clear();            // what the user names replaces the default
        list->push_back(text);
    }
    f.given = true;
}

// The command line. Returns false when it asks for help.
bool read_arguments(const std::vector<std::string>& args, Flags& flags, const char* verb) {
    auto split = [&](const std::string& arg) {      // "--batch_size=3" -> "batch-size", "3"
        const size_t eq = arg.find('=');
        return std::pair(with_hyphens(arg.substr(2, eq - 2)), eq == arg.npos ? "" : arg.substr(eq + 1));
    };
    for (size_t i = 0; i < args.size(); i++) {
        const std::string& arg = args[i];
        if (arg == "-h" || arg == "--help") return false;
        if (!arg.starts_with("-") || arg == "-") {
            auto free = std::find_if(flags.all().begin(), flags.all().end(),
                                     [](const Flag& f) { return f.positional && !f.given; });
            if (free == flags.all().end())
                fail(Exit::usage, "%s: unexpected; flags are written --name value (dd %s --help)", shown(arg).c_str(),
                     verb);
            set(*free, arg, free->name);
            continue;
        }
        const bool has_value = arg.find('=') != arg.npos;
        auto [name, value] = arg.starts_with("--") ? split(arg) : std::pair(arg, std::string());
        Flag* f = find_flag(flags, name);
        Flag* negated = name.starts_with("no-") ? find_flag(flags, name.substr(3)) : nullptr;
        if (!f && negated && is_switch(*negated) && !has_value) {
            set(*negated, "false", "--" + name);
        } else if (!f) {
            fail(Exit::usage, "%s: unknown flag; did you mean --%s? (dd %s --help lists them)",
                 shown(arg.substr(0, arg.find('='))).c_str(), nearest(name, names_of(flags)).c_str(), verb);
        } else if (has_value || is_switch(*f)) {
            set(*f, has_value ? value : "true", "--" + name);
        } else {
            if (i + 1 == args.size())
                fail(Exit::usage, "--%s: %s was expected after it", name.c_str(), f->meta.c_str());
            const std::string& next = args[++i];
            if (next.starts_with("--") && find_flag(flags, split(next).first))
                fail(Exit::usage, "--%s: %s was expected, not the flag %s; a value like this is written --%s=%s",
                     name.c_str(), f->meta.c_str(), next.c_str(), name.c_str(), next.c_str());
            set(*f, next, "--" + name);
        }
    }
    return true;
}

// What the command line left out: from DD_NAME.
void read_environment(Flags& flags) {
    for (Flag& f : flags.all()) {
        std::string name = "DD_" + f.name;
        for (char& c : name) c = c == '-' ? '_' : char(toupper(c));
        const char* value = f.given || f.positional ? nullptr : getenv(name.c_str());
        if (value && *value) set(f, value, name);
    }
}

// What these left out: from a file.
void read_config(Flags& flags, const std::string& path) {
    const Json all = path.ends_with(".toml") ? read_toml_file(path) : read_json_file(path);
    if (!all.is_object())
        fail(Exit::bad_input, "%s: one object of flags and their values was expected", path.c_str());
    const std::vector<bool> given = [&] {
        std::vector<bool> list;
        for (const Flag& f : flags.all()) list.push_back(f.given);
        return list;
    }();
    for (const auto& [key, value] : all.items()) {
        Flag* f = find_flag(flags, with_hyphens(key));
        const std::string source = path + ": " + shown(key, 40);
        if (!f)
            fail(Exit::usage, "%s is no flag of this verb; did you mean \"%s\"?", source.c_str(),
                 nearest(with_hyphens(key), names_of(flags)).c_str());
        if (given[size_t(f - flags.all().data())]) continue;
        const bool one = value.is_string() || value.is_number() || value.is_boolean();
        if (!one && !(value.is_array() && is_list(*f)))
            fail(Exit::usage, "%s is %s; %s was expected", source.c_str(), shown(dump(value), 40).c_str(),
                 is_list(*f) ? "a list" : f->meta.empty() ? "true or false" : f->meta.c_str());
        for (const Json& v : one ? Json::array({value}) : value)
            set(*f, v.is_string() ? v.get<std::string>() : dump(v), source);
    }
}

// ---- help

std::string default_of(const Flag& f) {
    if (auto* v = std::get_if<bool*>(&f.to)) return **v ? "on" : "off";
    if (auto* v = std::get_if<int*>(&f.to)) return std::to_string(**v);
    if (auto* v = std::get_if<int64_t*>(&f.to)) return std::to_string(**v);
    if (auto* v = std::get_if<double*>(&f.to)) return format("%g", **v);
    if (auto* v = std::get_if<std::string*>(&f.to)) return **v;
    std::string all;
    for (const std::string& s : *std::get<std::vector<std::string>*>(f.to)) all += (all.empty() ? "" : ",") + s;
    return all;
}

void print_help(const Verb& verb, const Flags& flags) {
    constexpr size_t column = 32, width = 110;
    std::string positional;
    for (const Flag& f : flags.all())
        if (f.positional) positional += " " + f.meta;
    printf("dd %s%s [flags]\n%s\n\n", verb.name, positional.c_str(), verb.help);
    for (const Flag& f : flags.all()) {
        std::string line = "  --" + f.name + (f.meta.empty() ? "" : " " + f.meta);
        const std::string value = default_of(f);
        std::string help = f.help + (value.empty() ? "" : " [" + value + "]");
        if (line.size() + 2 > column) {
            printf("%s\n", line.c_str());
            line.clear();
        }
        while (!help.empty()) {                 // wrapped between words
            size_t cut = help.size() + column <= width ? help.size() : help.rfind(' ', width - column);
            if (cut == help.npos) cut = help.size();
            line.resize(column, ' ');
            printf("%s%s\n", line.c_str(), help.substr(0, cut).c_str());
            help.erase(0, cut + 1);
            line.clear();
        }
    }
    printf("\nIn [ ]: the default; a switch that is on is turned off by --no-NAME. Flags may also come from DD_NAME in "
           "the\nenvironment and from --config; - and _ are the same in them.\n\nExample: %s\n",
           verb.example);
}

void overview(FILE* to, const std::vector<Verb>& verbs) {
    fprintf(to, "dd: trains, runs, changes, inspects and honestly judges small language models.\n\n");
    for (const Verb& v : verbs) fprintf(to, "  dd %-11s %s\n  %14s %s\n", v.name, v.help, "", v.example);
    fprintf(to, "\ndd VERB --help lists its flags.\n");
}

// ---- the process

// A standard stream that is closed would lend its number to the next file that is opened, and talk would go into it.
// Reading or writing what stands in its place fails, as it should.
void hold_standard_streams() {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

void on_signal(int signal, void (*handler)(int)) {
    struct sigaction now = {};
    if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) return;        // nohup, or a job behind &
    struct sigaction a = {};
    a.sa_handler = handler;
    sigaction(signal, &a, nullptr);
}

void prepare_process() {
    hold_standard_streams();
    signal(SIGPIPE, SIG_IGN);           // writing fails instead
    signal(SIGXFSZ, SIG_IGN);
    for (int s : {SIGINT, SIGTERM, SIGHUP})
        on_signal(s, [](int) {
            remove_unfinished_files();
            _exit(int(Exit::interrupted));
        });
    on_signal(SIGBUS, [](int) {
        constexpr std::string_view text = "dd: a file changed while it was being read; run again when it is at rest\n";
        remove_unfinished_files();
        (void)!write(2, text.data(), text.size());
        _exit(int(Exit::bad_input));
    });
}

int say(Exit code, const std::string& text) {
    if (!text.empty()) fprintf(stderr, "dd: %s\n", printable(text).c_str());
    return int(code);
}

void run_verb(const Verb& verb, const std::vector<std::string>& args) {
    Flags flags;
    std::string config;
    verb.declare(flags);
    flags.add("config", &config, "FILE", "flags from a JSON or TOML file");
    if (!read_arguments(args, flags, verb.name)) return print_help(verb, flags);
    read_environment(flags);
    if (!config.empty()) read_config(flags, config);
    verb.run(flags);
}

const std::vector<Verb>* table = nullptr;

}  // namespace

const std::vector<Verb>& verbs() { return *table; }

std::vector<std::string> split_at(const std::string& s, char separator) {
    std::vector<std::string> parts;
    for (size_t at = 0; at <= s.size();) {
        const size_t end = std::min(s.find(separator, at), s.size());
        parts.push_back(s.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}
std::vector<std::string> parts_of(const std::vector<std::string>& lists) {
    std::vector<std::string> parts;
    for (const std::string& list : lists)
        for (std::string& part : split_at(list, ',')) parts.push_back(std::move(part));
    return parts;
}

int run_command_line(int argc, char** argv, const std::vector<Verb>& verbs) {
    table = &verbs;
    prepare_process();
    const std::string name = argc > 1 ? argv[1] : "";
    try {
        std::vector<std::string> known;
        const Verb* verb = nullptr;
        for (const Verb& v : verbs) {
            known.push_back(v.name);
            if (name == v.name) verb = &v;
        }
        if (verb) run_verb(*verb, {argv + 2, argv + argc});
        else if (name == "--version") put("dd " + build_description()["version"].get<std::string>() + "\n");
        else if (name.empty() || name == "--help" || name == "-h" || name == "help") overview(stdout, verbs);
        else
            fail(Exit::usage, "%s: unknown verb; did you mean %s? (dd --help lists them)", shown(name).c_str(),
                 nearest(name, known).c_str());
        flush_output();
        return int(name.empty() ? Exit::usage : Exit::ok);
    } catch (const NobodyReads&) {              // end as SIGPIPE ends a program
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
        return int(Exit::failed);
    } catch (const Error& e) {
        return say(e.code, e.what());
    } catch (const std::bad_alloc&) {
        return say(Exit::no_resource, "not enough memory; a smaller model, shorter or fewer rows would make it fit");
    } catch (const std::system_error& e) {      // of files: the path is in its text
        const int n = e.code().value();
        const bool resource = n == ENOSPC || n == EDQUOT || n == ENOMEM || n == EAGAIN || n == EMFILE || n == ENFILE;
        return say(resource ? Exit::no_resource : Exit::bad_input, e.what());
    } catch (const std::exception& e) {
        return say(Exit::failed, e.what());
    }
}
