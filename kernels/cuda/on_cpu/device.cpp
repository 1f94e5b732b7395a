// device.cpp - device memory for the tests without a GPU: pages of this process that nobody but kernels and copies may
// touch. Whatever else looks there (the host reading a result it did not ask for) faults. Copies must be between the
// two memories and outside of recorded work: recorded, one would read at every replay what is no longer there.
#include <sys/mman.h>
#include <cstring>
#include <map>
#include <utility>
#include "../blocks.h"
#include "../families.h"
#include "../library.h"

namespace DD_CUDA {
namespace {

struct Extent {
    size_t reserved, committed;
};
std::map<char*, Extent> extents;
constexpr size_t page = size_t(2) << 20; // huge pages: the protection of few entries changes quickly
size_t whole(size_t n) { return (n + page - 1) / page * page; }

void protect(int how) {
    for (auto [base, e] : extents)
        if (e.committed) mprotect(base, e.committed, how);
}
void enter() {
    using cuda_cpu::faults;
    if (faults.operations == 0) device_lost("launch", "unspecified launch failure");
    if (faults.operations > 0) faults.operations--;
    protect(PROT_READ | PROT_WRITE);
}
void leave() { protect(PROT_NONE); }

size_t available() {
    size_t used = 0;
    for (auto [base, e] : extents) used += e.committed;
    return cuda_cpu::faults.memory - std::min(cuda_cpu::faults.memory, used);
}

bool is_ours(const void* at) {
    auto next = extents.upper_bound(const_cast<char*>(static_cast<const char*>(at)));
    return next != extents.begin() && (--next, at < next->first + next->second.committed);
}
void copies(const void* device, const void* process, size_t bytes) {
    if (bytes && (cuda_cpu::recording || !is_ours(device) || is_ours(process)))
        throw cuda_cpu::LaunchError(cuda_cpu::recording ? "copied while a walk is recorded"
                                                        : "copied between other memories than it says");
}

void* reserve(size_t bytes) {
    cuda_cpu::enter_device = enter, cuda_cpu::leave_device = leave, cuda_cpu::of_device = is_ours;
    size_t mapped = whole(bytes) + page;
    void* p = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail(Exit::no_resource, "device memory: %zu bytes could not be reserved", bytes);
    char *begin = static_cast<char*>(p), *base = reinterpret_cast<char*>(whole(size_t(p)));
    if (base != begin) munmap(begin, size_t(base - begin));
    munmap(base + whole(bytes), page - size_t(base - begin));
    madvise(base, whole(bytes), MADV_HUGEPAGE);
    extents[base] = {whole(bytes), 0};
    return base;
}
void commit(void* base, size_t, size_t to) {
    Extent& e = extents.at(static_cast<char*>(base));
    size_t all = to < e.reserved ? whole(to) : e.reserved;
    if (all > e.committed && all - e.committed > available()) no_memory_left(all - e.committed, available());
    e.committed = all;
}
void release(void* base, size_t) {
    auto e = extents.find(static_cast<char*>(base));
    munmap(base, e->second.reserved);
    extents.erase(e);
}
void upload(void* to, const void* from, size_t bytes) {
    copies(to, from, bytes);
    cuda_cpu::OnDevice here;
    if (bytes) memcpy(to, from, bytes);
}
void download(void* to, const void* from, size_t bytes) {
    copies(from, to, bytes);
    cuda_cpu::OnDevice here;
    if (bytes) memcpy(to, from, bytes);
}
void fill(void* at, int byte, size_t bytes) {
    copies(at, nullptr, bytes);
    cuda_cpu::OnDevice here;
    memset(at, byte, bytes);
}
void hold(void* to, const Tensor& stored) {
    std::vector<char> planes(stored.bytes());
    to_planes(planes.data(), stored);
    upload(to, planes.data(), planes.size());
}
} // namespace

const Memory memory = {false, reserve, commit, release, upload, download, fill, hold, available};

void* workspace(size_t bytes) {
    static Arena* room = new Arena(size_t(1) << 38, memory);
    room->rewind(0);
    void* p = room->take(bytes);
    if (!cuda_cpu::recording) fill(p, 0xff, bytes); // what no kernel has written must not be read
    return p;
}

// What cuBLASLt documents, column after column.
const char* library_name() { return "a triple loop"; }
bool library_takes(const Gemm&) { return true; }
void library_run(const Gemm& g) {
    cuda_cpu::submit([g] {
        auto *a = static_cast<const bf16*>(g.a), *b = static_cast<const bf16*>(g.b);
        for (int column = 0; column < g.n; column++)
            for (int row = 0; row < g.m; row++) {
                float sum = 0;
                for (int k = 0; k < g.k; k++)
                    sum += to_float(g.a_turned ? a[k + int64_t(row) * g.a_stride] : a[row + int64_t(k) * g.a_stride]) *
                           to_float(g.b_turned ? b[column + int64_t(k) * g.b_stride]
                                               : b[k + int64_t(column) * g.b_stride]);
                sum *= g.alpha;
                int64_t at = row + int64_t(column) * g.c_stride;
                if (g.c_type == Type::bf16) {
                    bf16& c = static_cast<bf16*>(g.c)[at];
                    c = to_bf16(g.beta == 0 ? sum : sum + g.beta * to_float(c));
                } else {
                    float& c = static_cast<float*>(g.c)[at];
                    c = g.beta == 0 ? sum : sum + g.beta * c;
                }
            }
    });
}

namespace {

using Work = std::vector<std::function<void()>>;
void begin_recording() { cuda_cpu::recording = new Work; }
void* end_recording() { return std::exchange(cuda_cpu::recording, nullptr); }
void replay(void* recorded) {
    for (auto& launch : *static_cast<Work*>(recorded)) cuda_cpu::submit(launch);
}
void drop(void* recorded) { delete static_cast<Work*>(recorded); }

std::string nothing() { return ""; }
std::string alone() { return "a CPU that plays a GPU has no others beside it"; }

} // namespace

const ProbeSizes probe_sizes = {1 << 20, 64, 2, 10};
const Collective collective = {nothing, alone, nothing, nothing, nullptr, nullptr, nullptr};
const Recorder recorder = {begin_recording, end_recording, replay, drop};

} // namespace DD_CUDA
