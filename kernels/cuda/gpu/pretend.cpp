// pretend.cpp - a CUDA runtime that computes nothing and minds the rules. Linked in the place of the real one
// (build/pretend/dd, scripts/test_pretend.sh), it lets a machine without a GPU run all that the host does for one:
// the files beside this one, which the tests that play the GPU replace. Zeros come out of every kernel.
//
// What breaks a rule of CUDA's documentation ends the process, naming the call: sizes that are no multiples of the
// granularity, mappings that overlap or are unmapped in part, copies in the wrong direction or from where nothing is
// mapped, launches that no device takes, whatever may not be called while a stream records. A process that looks into
// the device's memory faults. With DD_PRETEND set, what was done is told at the end.
#include <cuda.h>
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>

namespace {

constexpr size_t granule = size_t(2) << 20, total = size_t(80) << 30, shared_at_most = 227 * 1024;

struct Mapping {
    size_t size;
    bool accessible;
};
struct State {
    std::map<size_t, size_t> reserved;  // base: size
    std::map<size_t, Mapping> mapped;
    std::map<uint64_t, size_t> handles; // size, while somebody holds it
    std::map<const void*, size_t> dynamic;
    std::set<void*> graphs, ready;
    std::map<void*, size_t> managed;
    size_t used = 0, peak = 0, launches = 0, copies = 0, replays = 0, recorded = 0;
    uint64_t next = 1;
    int streams = 0;
    bool chosen = false, recording = false;
    dim3 grid, block;
    size_t shared = 0;
    cudaStream_t stream = nullptr;
};
State& state() {
    static State* s = [] {
        if (getenv("DD_PRETEND"))
            atexit([] {
                const State& s = state();
                fprintf(stderr, "pretended: %zu launches, %zu recorded ones in %zu replays, %zu copies, %.3f GB\n",
                        s.launches, s.recorded, s.replays, s.copies, double(s.peak) * 1e-9);
            });
        return new State; // kept while the process lives
    }();
    return *s;
}

[[noreturn]] __attribute__((format(printf, 1, 2))) void broken(const char* text, ...) {
    va_list args;
    va_start(args, text);
    fputs("pretended GPU: ", stderr);
    vfprintf(stderr, text, args);
    fputc('\n', stderr);
    abort();
}
#define MUST(ok, ...) do { if (!(ok)) broken(__VA_ARGS__); } while (0)
#define OUTSIDE MUST(!state().recording, "%s while a stream records", __func__)

void* handle() { return reinterpret_cast<void*>(state().next++ << 4); }
// Everything that lies in [at, at + n) is mapped and may be accessed.
bool on_device(const void* at, size_t n) {
    size_t from = size_t(at), end = from + n;
    for (auto i = state().mapped.upper_bound(from); from < end; i = state().mapped.upper_bound(from)) {
        if (i == state().mapped.begin() || (--i)->first + i->second.size <= from || !i->second.accessible) return false;
        from = i->first + i->second.size;
    }
    return true;
}
bool reserved(const void* at) {
    auto i = state().reserved.upper_bound(size_t(at));
    return i != state().reserved.begin() && (--i)->first + i->second > size_t(at);
}
void open(const void* at, size_t n, int how) {
    size_t first = size_t(at) & ~size_t(4095), end = (size_t(at) + n + 4095) & ~size_t(4095);
    MUST(mprotect(reinterpret_cast<void*>(first), end - first, how) == 0, "mprotect");
}

// ---- the driver's memory

CUresult granularity(size_t* n, const CUmemAllocationProp* p, CUmemAllocationGranularity_flags) {
    MUST(p->type == CU_MEM_ALLOCATION_TYPE_PINNED && p->location.type == CU_MEM_LOCATION_TYPE_DEVICE, "granularity");
    *n = granule;
    return CUDA_SUCCESS;
}
CUresult address_reserve(CUdeviceptr* p, size_t size, size_t alignment, CUdeviceptr, unsigned long long flags) {
    MUST(state().chosen && size && size % granule == 0 && alignment == 0 && flags == 0, "reserve %zu", size);
    void* at = mmap(nullptr, size + granule, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    *p = (size_t(at) + granule - 1) / granule * granule;
    state().reserved[*p] = size;
    return CUDA_SUCCESS;
}
CUresult address_free(CUdeviceptr p, size_t size) {
    MUST(state().reserved.count(p) && state().reserved[p] == size, "free of what was not reserved like that");
    auto i = state().mapped.lower_bound(p);
    MUST(i == state().mapped.end() || i->first >= p + size, "free of addresses that are mapped");
    state().reserved.erase(p);
    return CUDA_SUCCESS;
}
CUresult create(CUmemGenericAllocationHandle* h, size_t size, const CUmemAllocationProp*, unsigned long long flags) {
    OUTSIDE;
    MUST(size && size % granule == 0 && flags == 0, "create %zu", size);
    if (state().used + size > total) return CUDA_ERROR_OUT_OF_MEMORY;
    state().used += size, state().peak = std::max(state().peak, state().used);
    state().handles[*h = state().next++] = size;
    return CUDA_SUCCESS;
}
CUresult release(CUmemGenericAllocationHandle h) {
    MUST(state().handles.erase(h), "release of what was not created");
    return CUDA_SUCCESS;
}
CUresult map(CUdeviceptr p, size_t size, size_t offset, CUmemGenericAllocationHandle h, unsigned long long flags) {
    MUST(state().handles.count(h) && state().handles[h] == size && offset == 0 && flags == 0, "map");
    auto room = state().reserved.upper_bound(p);
    MUST(p % granule == 0 && room != state().reserved.begin() && (--room, p + size <= room->first + room->second),
         "map outside of what is reserved");
    auto i = state().mapped.upper_bound(p);
    MUST(i == state().mapped.end() || p + size <= i->first, "map over a mapping");
    MUST(i == state().mapped.begin() || (--i, i->first + i->second.size <= p), "map over a mapping");
    state().mapped[p] = {size, false};
    return CUDA_SUCCESS;
}
CUresult set_access(CUdeviceptr p, size_t size, const CUmemAccessDesc* d, size_t n) {
    auto i = state().mapped.find(p);
    MUST(n == 1 && d->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE, "access of another kind");
    MUST(i != state().mapped.end() && i->second.size == size, "access to other than what was mapped");
    i->second.accessible = true;
    return CUDA_SUCCESS;
}
CUresult unmap(CUdeviceptr p, size_t size) {
    OUTSIDE;
    size_t at = p;
    for (auto i = state().mapped.find(p); at < p + size; i = state().mapped.find(at)) {
        MUST(i != state().mapped.end(), "unmap of what is not mapped");
        at += i->second.size, state().used -= i->second.size;
        state().mapped.erase(i);
    }
    MUST(at == p + size, "unmap of part of a mapping");
    madvise(reinterpret_cast<void*>(p), size, MADV_DONTNEED);
    return CUDA_SUCCESS;
}

void check_launch(const void* function, dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    MUST(stream == reinterpret_cast<cudaStream_t>(16) && function, "launch into a stream that nobody made");
    MUST(grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 0xffff && grid.z <= 0xffff,
         "launch: a grid of %u by %u by %u", grid.x, grid.y, grid.z);
    const unsigned threads = block.x * block.y * block.z;
    MUST(threads > 0 && threads <= 1024, "launch: blocks of %u threads", threads);
    MUST(shared <= 48 * 1024 || shared <= state().dynamic[function], "launch: %zu bytes of shared memory", shared);
    ++(state().recording ? state().recorded : state().launches);
}

} // namespace

// ---- the runtime

extern "C" {

void** __cudaRegisterFatBinary(void*) {
    static void* one;
    return &one;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*) {}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, struct CUstream_st* stream) {
    state().grid = grid, state().block = block, state().shared = shared, state().stream = stream;
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    *grid = state().grid, *block = state().block, *shared = state().shared;
    *static_cast<cudaStream_t*>(stream) = state().stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t k, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    check_launch(k, grid, block, shared, stream);
    return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* f, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t stream) {
    check_launch(f, grid, block, shared, stream);
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* f, cudaFuncAttribute what, int value) {
    if (what != cudaFuncAttributeMaxDynamicSharedMemorySize || size_t(value) > shared_at_most)
        return cudaErrorInvalidValue;
    state().dynamic[f] = size_t(value);
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* n) { return *n = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int n) { return state().chosen = n == 0, n == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "a pretended GPU");
    p->major = 9, p->totalGlobalMem = total, p->multiProcessorCount = 132;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* to, int n, int) { return snprintf(to, size_t(n), "0"), cudaSuccess; }
const char* cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "an error that is pretended"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** entry, unsigned version, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
    MUST(state().chosen && version <= 13000, "an entry point of the driver before there is a device");
    const std::map<std::string, void*> all = {{"cuMemGetAllocationGranularity", reinterpret_cast<void*>(granularity)},
                                              {"cuMemAddressReserve", reinterpret_cast<void*>(address_reserve)},
                                              {"cuMemAddressFree", reinterpret_cast<void*>(address_free)},
                                              {"cuMemCreate", reinterpret_cast<void*>(create)},
                                              {"cuMemRelease", reinterpret_cast<void*>(release)},
                                              {"cuMemMap", reinterpret_cast<void*>(map)},
                                              {"cuMemUnmap", reinterpret_cast<void*>(unmap)},
                                              {"cuMemSetAccess", reinterpret_cast<void*>(set_access)}};
    auto i = all.find(name);
    *found = i == all.end() ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
    *entry = i == all.end() ? nullptr : i->second;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
    OUTSIDE;
    return *all = total, *free = total - state().used, cudaSuccess;
}
cudaError_t cudaMallocManaged(void** p, size_t n, unsigned) {
    *p = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return state().managed[*p] = n, cudaSuccess;
}
cudaError_t cudaFree(void* p) {
    MUST(!p || state().managed.count(p), "free of what was not taken");
    if (p) munmap(p, state().managed[p]), state().managed.erase(p);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
    MUST(state().chosen && state().streams++ == 0, "a stream");
    return *s = reinterpret_cast<cudaStream_t>(16), cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    OUTSIDE;
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t) {
    OUTSIDE;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
    OUTSIDE;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n, cudaMemcpyKind kind, cudaStream_t) {
    OUTSIDE;
    const bool up = kind == cudaMemcpyHostToDevice;
    const void *device = up ? to : from, *process = up ? from : to;
    MUST((up || kind == cudaMemcpyDeviceToHost) && on_device(device, n) && !reserved(process), "copy of %zu bytes", n);
    state().copies++;
    open(device, n, PROT_READ | PROT_WRITE);
    memcpy(to, from, n);
    open(device, n, PROT_NONE);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int byte, size_t n, cudaStream_t) {
    MUST(on_device(at, n), "a fill of %zu bytes", n);
    open(at, n, PROT_READ | PROT_WRITE);
    memset(at, byte, n);
    open(at, n, PROT_NONE);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
    OUTSIDE;
    return state().recording = true, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* g) {
    MUST(state().recording, "the end of a recording that was not begun");
    state().recording = false;
    *g = static_cast<cudaGraph_t>(handle());
    state().graphs.insert(*g);
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) {
    MUST(state().graphs.count(g), "a graph that is not there");
    *e = static_cast<cudaGraphExec_t>(handle());
    state().ready.insert(*e);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    MUST(state().graphs.erase(g), "a graph that is not there");
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t) {
    OUTSIDE;
    MUST(state().ready.count(e), "a graph that is not there");
    return state().replays++, cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    MUST(state().ready.erase(e), "a graph that is not there");
    return cudaSuccess;
}

static float clock_of_events = 0;
cudaError_t cudaEventCreate(cudaEvent_t* e) { return *e = static_cast<cudaEvent_t>(handle()), cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
    return *ms = 1 + (clock_of_events += 0.01f), cudaSuccess;
}

} // extern "C"
