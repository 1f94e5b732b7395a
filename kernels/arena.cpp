#include <sys/mman.h>
#include <cstring>
#include "tensor.h"

Arena::Arena(size_t size, bool counting) : size_((size + 63) & ~size_t(63)), counting_(counting) {
    constexpr size_t huge = size_t(2) << 20;
    size_t mapped = (size_ + 2 * huge - 1) / huge * huge;
    void* p = mmap(nullptr, mapped, counting ? PROT_NONE : PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        fail(Exit::no_resource, "memory: %.1f GiB could not be reserved; lower the batch, the length or the cache",
             double(size) / (1 << 30));
    base_ = (char*)((size_t(p) + huge - 1) / huge * huge);
    // The slack before base_ and behind the end is never touched; give it back so that the mapping is exact.
    if (base_ != p) munmap(p, size_t(base_ - (char*)p));
    size_t kept = (size_ + huge - 1) / huge * huge, rest = mapped - size_t(base_ - (char*)p) - kept;
    if (rest) munmap(base_ + kept, rest);
    if (!counting && size_ >= huge) madvise(base_, kept, MADV_HUGEPAGE);
}

Arena::~Arena() {
    constexpr size_t huge = size_t(2) << 20;
    size_t kept = (size_ + huge - 1) / huge * huge;
    if (kept) munmap(base_, kept);
}

void Arena::rewind(size_t mark) {
    if (poison && !counting_) memset(base_ + mark, 0xff, used - mark);
    used = mark;
}
