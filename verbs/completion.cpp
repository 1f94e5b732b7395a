// completion - for bash, zsh and fish, from the same table as --help.
#include "common.h"
#include "verbs.h"

namespace {

std::string shell;

struct Listed { const Verb* verb; Flags flags; };

std::vector<Listed> everything() {
    std::vector<Listed> all;
    for (const Verb& v : verbs()) {
        all.push_back({&v, {}});
        v.declare(all.back().flags);
    }
    return all;
}

std::string words(const Listed& l) {
    std::string out;
    for (const Flags::Flag& f : l.flags.all()) out += " --" + f.name;
    return out + " --config --help";
}

void bash(const std::vector<Listed>& all) {
    std::string names;
    for (const Listed& l : all) names += std::string(" ") + l.verb->name;
    printf("_dd() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n");
    printf(
        "  if [ $COMP_CWORD -eq 1 ]; then COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return; fi\n  case "
        "\"${COMP_WORDS[1]} $prev\" in\n",
        names.c_str() + 1);
    for (const Listed& l : all)
        for (const Flags::Flag& f : l.flags.all()) {
            if (f.choices.empty()) continue;
            std::string choices;
            for (const std::string& c : f.choices) choices += " " + c;
            printf("    '%s --%s') COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return;;\n", l.verb->name,
                   f.name.c_str(), choices.c_str() + 1);
        }
    printf("  esac\n  case \"$cur\" in\n    --*) case ${COMP_WORDS[1]} in\n");
    for (const Listed& l : all)
        printf("      %s) COMPREPLY=($(compgen -W '%s' -- \"$cur\"));;\n", l.verb->name, words(l).c_str() + 1);
    printf(
        "    esac;;\n    *) COMPREPLY=($(compgen -f -- \"$cur\"));;\n  esac\n}\ncomplete -o filenames -F _dd dd "
        "./dd\n");
}

std::string quoted(const std::string& s) {
    std::string out;
    for (char c : s) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out;
}

void zsh(const std::vector<Listed>& all) {
    printf("#compdef dd\nlocal -a verbs\nverbs=(");
    for (const Listed& l : all) printf(" '%s:%s'", l.verb->name, quoted(l.verb->help).c_str());
    printf(" )\nif (( CURRENT == 2 )); then _describe verb verbs; return; fi\ncase $words[2] in\n");
    for (const Listed& l : all) {
        printf("  %s) _arguments '*:file:_files'", l.verb->name);
        for (const Flags::Flag& f : l.flags.all()) {
            std::string help = quoted(f.help);
            for (char& c : help) if (c == '[' || c == ']' || c == ':') c = ' ';
            bool is_switch = std::holds_alternative<bool*>(f.to);
            printf(" '--%s[%s]%s'", f.name.c_str(), help.c_str(), is_switch ? "" : ":value:_files");
        }
        printf(";;\n");
    }
    printf("esac\n");
}

void fish(const std::vector<Listed>& all) {
    for (const Listed& l : all) {
        printf("complete -c dd -n __fish_use_subcommand -f -a %s -d '%s'\n", l.verb->name,
               quoted(l.verb->help).c_str());
        for (const Flags::Flag& f : l.flags.all()) {
            std::string choices;
            for (const std::string& c : f.choices) choices += (choices.empty() ? "" : " ") + c;
            printf("complete -c dd -n '__fish_seen_subcommand_from %s' -l %s%s%s -d '%s'\n", l.verb->name,
                   f.name.c_str(), std::holds_alternative<bool*>(f.to) ? "" : " -r",
                   choices.empty() ? "" : (" -f -a '" + choices + "'").c_str(), quoted(f.help).c_str());
        }
    }
}

}  // namespace

void verb::completion_flags(Flags& f) {
    f.choice("shell", &shell, {"bash", "zsh", "fish"}, "for which shell").positional = true;
}

void verb::completion(const Flags&) {
    std::vector<Listed> all = everything();
    if (shell == "bash") bash(all);
    else if (shell == "zsh") zsh(all);
    else if (shell == "fish") fish(all);
    else fail(Exit::usage, "dd completion bash|zsh|fish");
}
