// readme.cpp - README and program agree: every command of the README names a verb and flags that exist, every make
// target is one, every file is there.
#include <cstdio>
#include <regex>
#include <set>
#include <sstream>
#include "../engine/file.h"
#include "support.h"

namespace {

std::string output_of(const std::string& command) {
    std::string out;
    FILE* p = popen(command.c_str(), "r");
    for (char buffer[4096]; size_t n = fread(buffer, 1, sizeof buffer, p);) out.append(buffer, n);
    pclose(p);
    return out;
}

std::vector<std::string> all(const std::string& text, const std::string& pattern) {
    std::vector<std::string> found;
    std::regex r(pattern);
    for (std::sregex_iterator i(text.begin(), text.end(), r), end; i != end; ++i) found.push_back((*i)[1]);
    return found;
}

TEST(Readme, CommandsNameVerbsAndFlagsThatExist) {
    std::istringstream lines(read_file(here("../README.md")));
    int commands = 0;
    std::set<std::string> seen;
    for (std::string line; std::getline(lines, line);) {
        std::vector<std::string> verb = all(line, R"(^    \./dd ([a-z]+))");
        if (verb.empty()) continue;
        commands++, seen.insert(verb[0]);
        line = line.substr(0, line.find("   #"));
        std::string help = output_of(std::string("'") + DD_BINARY + "' " + verb[0] + " --help 2>&1");
        ASSERT_NE(help.find("Example"), std::string::npos) << line << "\n" << help;
        for (const std::string& flag : all(line, " (--[a-z-]+)"))
            EXPECT_NE(help.find(flag), std::string::npos) << line << ": " << flag;
    }
    EXPECT_GE(commands, 15);
    std::string overview = output_of(std::string("'") + DD_BINARY + "' 2>&1");
    for (const std::string& verb : all(overview, R"(\n  dd ([a-z]+) )")) EXPECT_TRUE(seen.count(verb)) << verb;
}

TEST(Readme, TargetsAndFilesAreThere) {
    std::string readme = read_file(here("../README.md")), makefile = read_file(here("../Makefile"));
    std::vector<std::string> targets = all(readme, R"((?:`|    )make ([a-z][a-z-]+))");
    EXPECT_GE(targets.size(), 4u);
    for (const std::string& t : targets) EXPECT_NE(makefile.find("\n" + t + ":"), std::string::npos) << t;
    const char* path = R"(`((?:kernels|engine|models|train|eval|tests|bench|scripts)/[A-Za-z0-9_/.]*)`)";
    std::vector<std::string> files = all(readme, path);
    EXPECT_GE(files.size(), 15u);
    for (const std::string& f : files) EXPECT_TRUE(exists(here("../" + f))) << f;
}

}  // namespace
