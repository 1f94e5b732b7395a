#include "memory.h"
#include <sys/resource.h>
#include <unistd.h>
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include "../kernels/error.h"

namespace {

// The number behind `key` in a file of words; with no key, the first; SIZE_MAX: there is none.
size_t number_in(const std::string& path, const std::string& key = "") {
    std::ifstream f(path);
    std::string word;
    while (f >> word) {
        if (!key.empty() && word != key) continue;
        size_t n;
        if (key.empty()) return sscanf(word.c_str(), "%zu", &n) == 1 ? n : SIZE_MAX;
        return f >> n ? n : SIZE_MAX;
    }
    return SIZE_MAX;
}

size_t kilobytes(const char* path, const char* key) {
    const size_t n = number_in(path, key);
    return n == SIZE_MAX ? n : n << 10;
}

struct Names { const char *limit, *used, *reclaimable; };
constexpr Names version1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr Names version2{"memory.max", "memory.current", "inactive_file"};

// Of one group and all above it.
size_t least_of(const std::string& mount, std::string group, const Names& names) {
    size_t least = SIZE_MAX;
    for (;;) {
        const std::string folder = mount + group + "/";
        const size_t limit = number_in(folder + names.limit), used = number_in(folder + names.used);
        if (limit < SIZE_MAX / 4 && used != SIZE_MAX) {        // version 1 writes "none" as a very large number
            size_t spare = number_in(folder + "memory.stat", names.reclaimable);
            if (spare == SIZE_MAX) spare = 0;
            least = std::min(least, limit - std::min(limit, used - std::min(used, spare)));
        }
        if (group.empty()) return least;
        group.resize(group.rfind('/') == group.npos ? 0 : group.rfind('/'));
    }
}

size_t address_space() {
    rlimit limit;
    size_t pages = 0;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    std::ifstream("/proc/self/statm") >> pages;
    return limit.rlim_cur - std::min<size_t>(limit.rlim_cur, pages * size_t(sysconf(_SC_PAGESIZE)));
}

}  // namespace

size_t cgroup_memory(const std::string& membership, const std::string& root) {
    size_t least = SIZE_MAX;
    std::istringstream lines(membership);
    for (std::string line; std::getline(lines, line);) {        // "4:memory:/group" or "0::/group"
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        std::string group = line.substr(second + 1);
        if (group == "/") group.clear();
        if (controllers == ",,") least = std::min(least, least_of(root, group, version2));
        if (controllers.find(",memory,") != controllers.npos)
            least = std::min(least, least_of(root + "/memory", group, version1));
    }
    return least;
}

size_t available_memory() {
    std::ifstream f("/proc/self/cgroup");
    const std::string membership{std::istreambuf_iterator<char>(f), {}};
    return std::min({kilobytes("/proc/meminfo", "MemAvailable:"), cgroup_memory(membership, "/sys/fs/cgroup"),
                     address_space()});
}

size_t resident_memory() { return kilobytes("/proc/self/status", "VmRSS:"); }
size_t peak_resident_memory() { return kilobytes("/proc/self/status", "VmHWM:"); }

size_t available_memory(const Memory& m) { return m.host ? available_memory() : m.available(); }

void need_memory(const Memory& m, size_t bytes, const std::string& what, const std::string& remedy) {
    const size_t have = available_memory(m);
    if (bytes > have)
        fail(Exit::no_resource, "not enough memory: %s need %.2f GB, %.2f GB are available; %s would make it fit",
             what.c_str(), double(bytes) * 1e-9, double(have) * 1e-9, remedy.c_str());
}
