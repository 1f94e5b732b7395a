// faults.cpp - definitions in the program stand before those of the C library.
#include "faults.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>

namespace {

std::atomic<bool> armed{false}, trickle{false}, interrupted{false};
std::atomic<int> count{0}, fail_at{-1};
int error_to_give = 0;

bool fails() {
    if (!armed || count++ != fail_at) return false;
    errno = error_to_give;
    return true;
}
// Every other write is interrupted, the rest write at most three bytes.
bool interrupts() {
    if (!armed || !trickle) return false;
    interrupted = !interrupted;
    if (interrupted) errno = EINTR;
    return interrupted;
}
size_t share(size_t n) { return armed && trickle ? std::min<size_t>(n, 3) : n; }

}  // namespace

namespace faults {
Armed::Armed(int at, int error, bool slowly) {
    fail_at = at, error_to_give = error, trickle = slowly, interrupted = false, count = 0;
    armed = true;
}
Armed::~Armed() { armed = false; }
int Armed::calls() const { return count; }
}  // namespace faults

extern "C" {

ssize_t pwrite(int fd, const void* data, size_t n, off_t at) {
    if (fails() || interrupts()) return -1;
    return syscall(SYS_pwrite64, fd, data, share(n), at);
}
ssize_t write(int fd, const void* data, size_t n) {
    if (fails() || interrupts()) return -1;
    return syscall(SYS_write, fd, data, share(n));
}
int fsync(int fd) { return fails() ? -1 : int(syscall(SYS_fsync, fd)); }
int ftruncate(int fd, off_t n) noexcept { return fails() ? -1 : int(syscall(SYS_ftruncate, fd, n)); }
int posix_fallocate(int fd, off_t at, off_t n) {
    if (fails()) return errno;
    return syscall(SYS_fallocate, fd, 0, at, n) == 0 ? 0 : errno;
}
int close(int fd) {
    const bool bad = fails();
    const int result = int(syscall(SYS_close, fd));
    if (bad) errno = error_to_give;
    return bad ? -1 : result;
}
int rename(const char* from, const char* to) noexcept {
    return fails() ? -1 : int(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}
