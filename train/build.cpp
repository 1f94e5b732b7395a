// build.cpp - what this program was made from, and what it runs on. A file of its own: it is compiled again with every
// commit (Makefile, version.flag).
#include <fstream>
#include "../kernels/parallel.h"
#include "run_folder.h"

Json build_description() {
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::string processor;
    for (std::string line; processor.empty() && std::getline(cpuinfo, line);)
        if (line.starts_with("model name")) processor = line.substr(line.find(':') + 2);
    return {{"version", DD_VERSION},  {"compiler", __VERSION__}, {"flags", DD_FLAGS},
            {"processor", processor}, {"kernels", cpu().name},   {"threads", threads()}};
}
