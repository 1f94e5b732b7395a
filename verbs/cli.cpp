#include "cli.h"
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <new>
#include "../engine/file.h"

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

std::string same_name(std::string s) {
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

// The value as one command-line argument (lists: several).
std::vector<std::string> arguments(const Flags::Flag& f, const Json& v) {
    std::vector<std::string> out;
    for (const Json& one : v.is_array() ? v : Json::array({v})) {
        std::string text = one.is_string() ? one.get<std::string>() : one.dump();
        out.push_back("--" + f.name + "=" + text);
    }
    return out;
}

// Flags that the command line left out, from DD_NAME and then from --config FILE, as if they had been written there.
void add_outer_values(std::vector<std::string>& args, Flags& flags, const std::string& config) {
    auto written = [&](const std::string& name) {
        return std::any_of(args.begin(), args.end(),
                           [&](const std::string& a) { return a == "--" + name || a.starts_with("--" + name + "="); });
    };
    Json from_file = Json::object();
    if (!config.empty()) {
        if (config.ends_with(".toml")) {
            CLI::ConfigBase toml;
            std::istringstream text(read_file(config));
            for (const CLI::ConfigItem& item : toml.from_config(text)) {
                if (item.name == "++" || item.name == "--") continue;
                Json list = Json::array();
                for (const std::string& s : item.inputs) list.push_back(s);
                from_file[item.name] = list;
            }
        } else {
            from_file = read_json_file(config);
            if (!from_file.is_object())
                fail(Exit::bad_input, "%s: one object of flags and values was expected", config.c_str());
        }
        std::vector<std::string> known;
        for (const Flags::Flag& f : flags.all()) known.push_back(f.name);
        for (auto& [key, value] : from_file.items())
            if (std::find(known.begin(), known.end(), same_name(key)) == known.end())
                fail(Exit::usage, "%s: \"%s\" is no flag of this verb; did you mean \"%s\"?", config.c_str(),
                     key.c_str(), nearest(same_name(key), known).c_str());
    }
    std::vector<std::string> more;
    for (Flags::Flag& f : flags.all()) {
        if (written(f.name)) continue;
        std::string env = "DD_" + f.name;
        for (char& c : env) c = c == '-' ? '_' : char(toupper(c));
        if (const char* value = getenv(env.c_str())) {
            more.push_back("--" + f.name + "=" + value);
            continue;
        }
        for (auto& [key, value] : from_file.items())
            if (same_name(key) == f.name)
                for (std::string& a : arguments(f, value)) more.push_back(std::move(a));
    }
    args.insert(args.end(), more.begin(), more.end());
}

void bind(CLI::App& app, Flags::Flag& f) {
    CLI::Option* o = nullptr;
    std::string name = (f.positional ? f.name + "," : "") + "--" + f.name;
    auto range = [&] { return CLI::Range(f.low, f.high); };
    if (auto* v = std::get_if<bool*>(&f.to)) o = app.add_flag(name + ",!--no-" + f.name, **v, f.help);
    if (auto* v = std::get_if<int*>(&f.to))
        o = app.add_option(name, **v, f.help)->check(range())->capture_default_str();
    if (auto* v = std::get_if<int64_t*>(&f.to))
        o = app.add_option(name, **v, f.help)->check(range())->capture_default_str();
    if (auto* v = std::get_if<double*>(&f.to))
        o = app.add_option(name, **v, f.help)->check(range())->capture_default_str();
    if (auto* v = std::get_if<std::string*>(&f.to)) o = app.add_option(name, **v, f.help)->capture_default_str();
    if (auto* v = std::get_if<std::vector<std::string>*>(&f.to))
        o = app.add_option(name, **v, f.help)->expected(1)->take_all();
    if (!std::holds_alternative<bool*>(f.to))
        o->type_name(f.meta)->multi_option_policy(std::holds_alternative<std::vector<std::string>*>(f.to)
                                                      ? CLI::MultiOptionPolicy::TakeAll
                                                      : CLI::MultiOptionPolicy::TakeLast);
    if (!f.choices.empty()) {
        std::vector<std::string> choices = f.choices;
        std::string flag = f.name;
        o->check([choices, flag](const std::string& s) -> std::string {
            if (std::find(choices.begin(), choices.end(), s) != choices.end()) return {};
            return "\"" + s + "\" is none of its values; did you mean " + nearest(s, choices) + "?";
        }, "");
    }
}

void parse(const Verb& verb, Flags& flags, std::vector<std::string> args) {
    std::string config;
    flags.add("config", &config, "FILE", "flags from a JSON or TOML file; the command line and DD_* variables win");
    verb.declare(flags);
    for (std::string& a : args)
        if (a.starts_with("--"))
            a = same_name(a.substr(0, a.find('='))) + (a.find('=') == std::string::npos ? "" : a.substr(a.find('=')));
    CLI::App app(verb.help, std::string("dd ") + verb.name);
    app.footer(std::string("Example: ") + verb.example);
    app.allow_extras(false);
    for (Flags::Flag& f : flags.all()) bind(app, f);
    for (size_t i = 0; i + 1 <= args.size(); i++) {
        if (args[i].starts_with("--config=")) config = args[i].substr(9);
        else if (args[i] == "--config" && i + 1 < args.size()) config = args[i + 1];
    }
    if (config.empty() && getenv("DD_CONFIG")) config = getenv("DD_CONFIG");
    add_outer_values(args, flags, config);
    std::vector<std::string> reversed(args.rbegin(), args.rend());
    try {
        app.parse(reversed);
    } catch (const CLI::CallForHelp&) {
        printf("%s", app.help().c_str());
        throw Error(Exit::ok, "");
    } catch (const CLI::ExtrasError&) {
        std::vector<std::string> known;
        for (const Flags::Flag& f : flags.all()) known.push_back("--" + f.name);
        for (const std::string& extra : app.remaining()) {
            if (extra.starts_with("-"))
                fail(Exit::usage, "%s: unknown flag; did you mean %s?", extra.c_str(),
                     nearest(extra.substr(0, extra.find('=')), known).c_str());
            fail(Exit::usage, "\"%s\": unexpected; flags are written --name value (dd %s --help)", extra.c_str(),
                 verb.name);
        }
        throw;
    } catch (const CLI::ParseError& e) {
        std::string text = e.what();
        std::replace(text.begin(), text.end(), '\n', ' ');
        fail(Exit::usage, "%s (dd %s --help)", text.c_str(), verb.name);
    }
    for (Flags::Flag& f : flags.all()) f.given = app.get_option("--" + f.name)->count() > 0;
}

void overview(FILE* to, const std::vector<Verb>& verbs) {
    fprintf(to, "dd: trains, runs, changes, inspects and honestly judges small language models.\n\n");
    for (const Verb& v : verbs) fprintf(to, "  dd %-11s %s\n  %14s %s\n", v.name, v.help, "", v.example);
    fprintf(to, "\ndd VERB --help lists its flags.\n");
}

}  // namespace

static const std::vector<Verb>* table = nullptr;
const std::vector<Verb>& verbs() { return *table; }

int run_command_line(int argc, char** argv, const std::vector<Verb>& verbs) {
    table = &verbs;
    signal(SIGPIPE, SIG_IGN);
    std::string name = argc > 1 ? argv[1] : "";
    try {
        if (name.empty() || name == "--help" || name == "-h" || name == "help") {
            overview(stdout, verbs);
            return name.empty() ? int(Exit::usage) : 0;
        }
        for (const Verb& v : verbs) {
            if (name != v.name) continue;
            Flags flags;
            parse(v, flags, {argv + 2, argv + argc});
            v.run(flags);
            if (fflush(stdout) || ferror(stdout)) fail(Exit::no_resource, "standard output could not be written");
            return 0;
        }
        std::vector<std::string> known;
        for (const Verb& v : verbs) known.push_back(v.name);
        fail(Exit::usage, "%s: unknown verb; did you mean %s? (dd --help lists them)", name.c_str(),
             nearest(name, known).c_str());
    } catch (const Error& e) {
        if (*e.what()) fprintf(stderr, "dd: %s\n", e.what());
        return int(e.code);
    } catch (const std::bad_alloc&) {
        fprintf(stderr, "dd: not enough memory; lower --batch-size, --max-length or the number of rows\n");
        return int(Exit::no_resource);
    } catch (const std::exception& e) {
        fprintf(stderr, "dd: %s\n", e.what());
        return int(Exit::failed);
    }
}
