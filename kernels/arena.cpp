#include <sys/mman.h>
#include <algorithm>
#include <cstring>
#include "tensor.h"

namespace {

constexpr size_t huge = size_t(2) << 20;
size_t whole(size_t n) { return (n + huge - 1) / huge * huge; }

// Addresses that begin at a huge page.
void* reserve(size_t size) {
    size_t mapped = whole(size) + huge;
    void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        fail(Exit::no_resource, "not enough memory: %.2f GB of addresses could not be reserved (ulimit -v?); a smaller "
             "model, fewer or shorter rows would make it fit", double(size) * 1e-9);
    char* base = (char*)whole(size_t(p));
    // The slack before base and behind the end is never touched; give it back so that the mapping is exact.
    if (base != p) munmap(p, size_t(base - (char*)p));
    size_t kept = whole(size), rest = mapped - size_t(base - (char*)p) - kept;
    if (rest) munmap(base + kept, rest);
    if (size >= huge) madvise(base, whole(size), MADV_HUGEPAGE);
    return base;
}
void release(void* base, size_t size) {
    if (size) munmap(base, whole(size));
}
void move(void* to, const void* from, size_t bytes) {
    if (bytes) memcpy(to, from, bytes);
}
void fill(void* at, int byte, size_t bytes) { memset(at, byte, bytes); }
void hold(void* to, const Tensor& stored) { move(to, stored.data, stored.bytes()); }
size_t available() { return SIZE_MAX; }

} // namespace

const Memory host_memory = {true, reserve, nullptr, release, move, move, fill, hold, available};

Arena::Arena(size_t size, bool counting)
    : memory(host_memory), size_((size + 63) & ~size_t(63)), committed_(size_), counting_(counting) {
    base_ = (char*)(counting ? (void*)(size_t(1) << 45) : memory.reserve(size_));      // counting: nothing is there
}

Arena::Arena(size_t size, const Memory& m)
    : memory(m), size_((size + 63) & ~size_t(63)), committed_(m.commit ? 0 : size_), counting_(false) {
    base_ = (char*)memory.reserve(size_);
}

Arena::~Arena() {
    if (!counting_) memory.release(base_, size_);
}

// In steps that double up to 256 MiB: few calls, and little more than was asked for.
void Arena::commit() {
    size_t step = std::clamp(committed_, size_t(2) << 20, size_t(256) << 20);
    size_t to = std::min(whole(std::max(used, committed_ + step)), whole(size_));
    memory.commit(base_, committed_, to);
    committed_ = to;
}

void Arena::rewind(size_t mark) {
    if (poison && !counting_) memory.fill(base_ + mark, 0xff, used - mark);
    used = mark;
}
