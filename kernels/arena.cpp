#include <sys/mman.h>
#include <cstring>
#include "tensor.h"

Arena::Arena(size_t size, bool counting) : size_((size + 63) & ~size_t(63)), counting_(counting) {
    constexpr size_t huge = size_t(2) << 20;
    if (counting) {                     // addresses that nothing is mapped at
        base_ = (char*)(size_t(1) << 45);
        return;
    }
    size_t mapped = (size_ + 2 * huge - 1) / huge * huge;
    void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        fail(Exit::no_resource, "not enough memory: %.2f GB of addresses could not be reserved (ulimit -v?); a smaller "
             "model, fewer or shorter rows would make it fit", double(size) * 1e-9);
    base_ = (char*)((size_t(p) + huge - 1) / huge * huge);
    // The slack before base_ and behind the end is never touched; give it back so that the mapping is exact.
    if (base_ != p) munmap(p, size_t(base_ - (char*)p));
    size_t kept = (size_ + huge - 1) / huge * huge, rest = mapped - size_t(base_ - (char*)p) - kept;
    if (rest) munmap(base_ + kept, rest);
    if (size_ >= huge) madvise(base_, kept, MADV_HUGEPAGE);
}

Arena::~Arena() {
    constexpr size_t huge = size_t(2) << 20;
    size_t kept = (size_ + huge - 1) / huge * huge;
    if (kept && !counting_) munmap(base_, kept);
}

void Arena::rewind(size_t mark) {
    if (poison && !counting_) memset(base_ + mark, 0xff, used - mark);
    used = mark;
}
