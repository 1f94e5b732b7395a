// memory.h - how much memory there is, asked before work begins: the kernel that kills a process for it says nothing.
#pragma once
#include <cstddef>
#include <string>
#include "../kernels/memory.h"

// What this process may still take: the least of MemAvailable, the limits of its control groups (pages of files that
// the kernel would give up do not count as used) and of RLIMIT_AS.
size_t available_memory();
size_t available_memory(const Memory&);         // the same, or of a device what is free
size_t resident_memory();                       // of this process, now
size_t peak_resident_memory();
// Exit::no_resource, with the arithmetic in `what`, if `bytes` are more than is available.
void need_memory(const Memory&, size_t bytes, const std::string& what, const std::string& remedy);

// Of the control groups that `membership` (/proc/self/cgroup) lists, versions 1 and 2, mounted at `root`; SIZE_MAX: no
// limit.
size_t cgroup_memory(const std::string& membership, const std::string& root);
