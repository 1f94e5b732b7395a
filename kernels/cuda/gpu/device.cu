// device.cu - the GPU: finding it, its memory, its stream. Compiled by nvcc alone.
//
// Addresses are reserved whole and memory is mapped behind them as an arena grows (CUDA's virtual memory management),
// so that an arena on the device is what it is on the host: planned generously, paid for when used. The driver is only
// asked for when somebody wants the device: the binary starts without one.
#include <cuda.h>
#include <map>
#include "../../devices.h"
#include "../blocks.h"
#include "../families.h"
#include "../library.h"

void cuda_check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    if (status == cudaErrorMemoryAllocation) fail(Exit::no_resource, "cuda: %s: %s", what, cudaGetErrorString(status));
    DD_CUDA::device_lost(what, cudaGetErrorString(status));
}

namespace DD_CUDA {
namespace {

// The driver's own functions, looked up all at once: the binary does not link against it, and one that is lost answers
// nothing any more.
struct Driver {
#define DRIVER(name) decltype(&::name) name
    DRIVER(cuMemGetAllocationGranularity);
    DRIVER(cuMemAddressReserve);
    DRIVER(cuMemAddressFree);
    DRIVER(cuMemCreate);
    DRIVER(cuMemRelease);
    DRIVER(cuMemMap);
    DRIVER(cuMemUnmap);
    DRIVER(cuMemSetAccess);
#undef DRIVER
    Driver() {
#define DRIVER(name) find(name, #name)
        DRIVER(cuMemGetAllocationGranularity), DRIVER(cuMemAddressReserve), DRIVER(cuMemAddressFree);
        DRIVER(cuMemCreate), DRIVER(cuMemRelease), DRIVER(cuMemMap), DRIVER(cuMemUnmap), DRIVER(cuMemSetAccess);
#undef DRIVER
    }
    template <class F> static void find(F& f, const char* name) {
        void* entry = nullptr;
        cudaDriverEntryPointQueryResult found;
        cuda_check(cudaGetDriverEntryPointByVersion(name, &entry, 12000, cudaEnableDefault, &found), name);
        if (found != cudaDriverEntryPointSuccess)
            fail(Exit::no_resource, "cuda: the driver has no %s; a newer one is needed", name);
        f = reinterpret_cast<F>(entry);
    }
};
const Driver& driver() {
    static const Driver d;
    return d;
}

int device = 0;
bool recording = false;
// Of each reservation. Made when it is first wanted, and there as long as the last arena.
std::map<char*, size_t>& committed() {
    static auto* all = new std::map<char*, size_t>;
    return *all;
}

// Recorded, a copy would read at every replay what the process no longer has there.
void outside_of_recordings(const char* what) { require(!recording, "cuda: %s while a walk is recorded", what); }

CUmemAllocationProp properties() {
    CUmemAllocationProp p{};
    p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    p.location.id = device;
    return p;
}
size_t granule() {
    static size_t size = [] {
        size_t n = 0;
        CUmemAllocationProp p = properties();
        if (driver().cuMemGetAllocationGranularity(&n, &p, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) != CUDA_SUCCESS)
            fail(Exit::failed, "cuda: the driver does not say how it maps memory");
        return n;
    }();
    return size;
}
size_t whole(size_t n) { return (n + granule() - 1) / granule() * granule(); }

void* reserve(size_t bytes) {
    CUdeviceptr p = 0;
    if (driver().cuMemAddressReserve(&p, whole(bytes), 0, 0, 0) != CUDA_SUCCESS)
        fail(Exit::no_resource, "cuda: %.1f GiB of addresses could not be reserved", double(bytes) / (1 << 30));
    committed()[reinterpret_cast<char*>(p)] = 0;
    return reinterpret_cast<void*>(p);
}

size_t available() {
    size_t free = 0, all = 0;
    cuda_check(cudaMemGetInfo(&free, &all), "free memory");
    return free;
}

void commit(void* base, size_t, size_t to) {
    size_t& have = committed().at(static_cast<char*>(base));
    if (to <= have) return;
    outside_of_recordings("more memory");
    size_t more = whole(to) - have;
    CUmemGenericAllocationHandle handle;
    CUmemAllocationProp p = properties();
    if (driver().cuMemCreate(&handle, more, &p, 0) != CUDA_SUCCESS) no_memory_left(more, available());
    CUdeviceptr at = reinterpret_cast<CUdeviceptr>(base) + have;
    CUmemAccessDesc access{p.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    bool good = driver().cuMemMap(at, more, 0, handle, 0) == CUDA_SUCCESS &&
                driver().cuMemSetAccess(at, more, &access, 1) == CUDA_SUCCESS;
    driver().cuMemRelease(handle); // the mapping keeps it
    if (!good) fail(Exit::failed, "cuda: %.2f GB of device memory could not be mapped", double(more) * 1e-9);
    have += more;
}

void release(void* base, size_t bytes) {
    auto found = committed().find(static_cast<char*>(base));
    CUdeviceptr at = reinterpret_cast<CUdeviceptr>(base);
    cudaStreamSynchronize(work);
    if (found->second) driver().cuMemUnmap(at, found->second);
    driver().cuMemAddressFree(at, whole(bytes));
    committed().erase(found);
}

// Waited for: of memory that is not pinned CUDA promises only that it may have been read when the call returns. It
// happens between walks, when the stream is idle anyway.
void upload(void* to, const void* from, size_t bytes) {
    outside_of_recordings("a copy");
    if (!bytes) return;
    cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, work), "upload");
    cuda_check(cudaStreamSynchronize(work), "upload");
}
void download(void* to, const void* from, size_t bytes) {
    outside_of_recordings("a copy");
    if (bytes) cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, work), "download");
    cuda_check(cudaStreamSynchronize(work), "download");
}
void fill(void* at, int byte, size_t bytes) { cuda_check(cudaMemsetAsync(at, byte, bytes, work), "fill"); }
void hold(void* to, const Tensor& stored) {
    if (!in_blocks(stored.type)) return upload(to, stored.data, stored.bytes());
    std::vector<char> planes(stored.bytes());
    to_planes(planes.data(), stored);
    upload(to, planes.data(), planes.size());
}

__global__ void nothing_kernel() {}

// Why there are none; empty: there are `count`.
std::string none_of(int& count) {
    count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0) return "";
    count = 0;
    return status == cudaErrorInsufficientDriver ? "there is no NVIDIA driver, or one older than CUDA 13 needs"
           : status == cudaSuccess               ? "there is no GPU"
                                                 : cudaGetErrorString(status);
}
// Why this one will not do.
std::string unfit(const cudaDeviceProp& p) {
    return p.major >= 8 ? "" : format("compute capability %d.%d; 8.0 (Ampere) is the least", p.major, p.minor);
}

std::string& card() {
    static auto* text = new std::string;
    return *text;
}

void open(int number) {
    int count;
    std::string none = none_of(count);
    if (count == 0) fail(Exit::no_resource, "--device cuda: %s; use --device cpu", none.c_str());
    if (number < 0 || number >= count)
        fail(Exit::no_resource, "--device cuda:%d: this machine has %d, counted from 0", number, count);
    cudaDeviceProp p;
    cuda_check(cudaGetDeviceProperties(&p, number), "device properties");
    if (std::string why = unfit(p); !why.empty())
        fail(Exit::no_resource, "--device cuda:%d: %s has %s", number, p.name, why.c_str());
    // What goes wrong from here on is not a device that was lost.
    auto need = [&](cudaError_t status, const char* what) {
        if (status != cudaSuccess)
            fail(Exit::no_resource, "--device cuda:%d: %s: %s: %s", number, p.name, what, cudaGetErrorString(status));
    };
    device = number;
    need(cudaSetDevice(number), "it cannot be used");
    need(cudaStreamCreateWithFlags(&work, cudaStreamNonBlocking), "it has no stream for us");
    nothing_kernel<<<1, 1, 0, work>>>();
    need(cudaGetLastError(), "this build's kernels are not for it");
    need(cudaStreamSynchronize(work), "it runs no kernel");
    card() = format("cuda (%s, sm_%d%d)", p.name, p.major, p.minor);
}

// The table's name says who multiplies; it lives as long as the process.
Kernels table_of(bool one_order) {
    auto kept = [](const std::string& does) { return (new std::string(card() + does))->c_str(); };
    if (one_order) return table(kept(", one order, products by own kernels"), true);
    const char* library = library_name();
    if (!*library) return table(kept(", products by own kernels: no libcublasLt.so.13 or .12 that starts"), false);
    return table(kept(format(", products by %s, of weights in blocks and up to 8 rows by own kernels", library)), false,
                 true);
}

} // namespace

const Memory memory = {false, reserve, commit, release, upload, download, fill, hold, available};

void* workspace(size_t bytes) {
    static Arena* room = new Arena(size_t(1) << 38, memory); // more than a device has; kept while the process lives
    room->rewind(0);
    return room->take(bytes);
}

namespace {

void begin_recording() {
    cuda_check(cudaStreamBeginCapture(work, cudaStreamCaptureModeRelaxed), "recording");
    recording = true;
}
void* end_recording() {
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    recording = false;
    cuda_check(cudaStreamEndCapture(work, &graph), "recording");
    cuda_check(cudaGraphInstantiate(&ready, graph, 0), "a graph");
    cuda_check(cudaGraphDestroy(graph), "a graph");
    return ready;
}
void replay(void* recorded) { cuda_check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recorded), work), "a graph"); }
void drop(void* recorded) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recorded)); }

} // namespace

const ProbeSizes probe_sizes = {size_t(1) << 30, 8192, 2112, 2000};
const Recorder recorder = {begin_recording, end_recording, replay, drop};

} // namespace DD_CUDA

const Kernels& cuda(int number, bool one_order) {
    static int opened = -1;
    static Kernels tables[2];
    if (opened < 0) {
        DD_CUDA::open(number);
        opened = number;
    }
    require(opened == number, "cuda: device %d is in use; %d was asked for as well", opened, number);
    if (!tables[one_order].name) tables[one_order] = DD_CUDA::table_of(one_order);
    return tables[one_order];
}

Devices cuda_devices() {
    Devices d;
    int count, version = 0;
    d.why = DD_CUDA::none_of(count);
    if (cudaDriverGetVersion(&version) == cudaSuccess && version)
        d.driver = format("%d.%d", version / 1000, version / 10 % 100);
    for (int i = 0; i < count; i++) {
        cudaDeviceProp p;
        cuda_check(cudaGetDeviceProperties(&p, i), "device properties");
        d.all.push_back({p.name, p.totalGlobalMem, p.major, p.minor, DD_CUDA::unfit(p)});
    }
    return d;
}
