// nccl.cu - sums over the GPUs of several processes, by NCCL. Looked up when it is wanted: a machine without it sums by
// way of the process's memory. Nothing here waits inside NCCL: calls return at once, and whoever waits asks in between
// whether all are still there, so that a rank that died does not leave the others hanging.
#include <dlfcn.h>
#include <unistd.h>
#include <chrono>
#include "../families.h"
#include "../runtime.h"
#if __has_include(<nccl.h>)
#include <nccl.h>

namespace DD_CUDA {
namespace {

constexpr double patience = 300; // seconds without an answer

struct Library {
    std::string why; // there is none
    int version = 0;
    decltype(&ncclGetVersion) get_version;
    decltype(&ncclGetUniqueId) get_unique_id;
    decltype(&ncclCommInitRankConfig) init;
    decltype(&ncclCommGetAsyncError) state;
    decltype(&ncclAllReduce) all_reduce;
    decltype(&ncclCommAbort) abort;
    decltype(&ncclGetErrorString) text;
};

const Library& library() {
    static const Library found = [] {
        Library l;
        void* file = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
        if (!file) {
            l.why = "there is no libnccl.so.2";
            return l;
        }
        auto find = [&]<class F>(F& f, const char* name) {
            f = reinterpret_cast<F>(dlsym(file, name));
            if (!f && l.why.empty()) l.why = format("libnccl.so.2 has no %s: 2.14 is the oldest that will do", name);
        };
        find(l.get_version, "ncclGetVersion"), find(l.get_unique_id, "ncclGetUniqueId");
        find(l.init, "ncclCommInitRankConfig"), find(l.state, "ncclCommGetAsyncError");
        find(l.all_reduce, "ncclAllReduce"), find(l.abort, "ncclCommAbort");
        find(l.text, "ncclGetErrorString");
        if (l.why.empty() && l.get_version(&l.version) != ncclSuccess) l.why = "libnccl.so.2 does not say its version";
        return l;
    }();
    return found;
}

void check(ncclResult_t r, const char* what) {
    size_t free = 0, all = 0; // it says of a full device only that CUDA had an error
    if (r == ncclUnhandledCudaError && cudaMemGetInfo(&free, &all) == cudaSuccess && free < size_t(1) << 30)
        fail(Exit::no_resource, "NCCL: %s: %s, %.2f GB of device memory are free; lower the batch or the length",
             what, library().text(r), double(free) * 1e-9);
    if (r != ncclSuccess && r != ncclInProgress)
        fail(Exit::failed, "NCCL: %s: %s; NCCL_DEBUG=WARN tells more", what, library().text(r));
}

// Waits until what was started is done; the group is given up when the watch throws, NCCL reports an error or time runs
// out. An error may only tell that another process died: whoever watches over them gets a moment to say so better.
template <class F> void wait(ncclComm_t group, ncclResult_t started, const char* what, const Watch& watch, F done) {
    auto begun = std::chrono::steady_clock::now();
    try {
        for (int turns = 0;; turns++) {
            ncclResult_t r = started;
            if (r == ncclSuccess || r == ncclInProgress)
                if (ncclResult_t asked = library().state(group, &r); asked != ncclSuccess) r = asked;
            if (r == ncclSuccess && done()) return;
            watch();
            if (r != ncclSuccess && r != ncclInProgress) {
                for (int i = 0; i < 200; i++) usleep(10'000), watch();
                check(r, what);
            }
            if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() > patience)
                fail(Exit::failed, "NCCL: %s: no answer for %g seconds", what, patience);
            if (turns > 1000) usleep(100);
        }
    } catch (...) {
        library().abort(group);
        throw;
    }
}

std::string name() {
    const Library& l = library();
    return l.why.empty() ? format("NCCL %d.%d.%d", l.version / 10000, l.version / 100 % 100, l.version % 100) : "";
}
std::string absent() { return library().why; }

std::string device() {
    int number = 0;
    char bus[32] = {}, host[256] = {};
    cuda_check(cudaGetDevice(&number), "device");
    cuda_check(cudaDeviceGetPCIBusId(bus, sizeof bus, number), "device");
    gethostname(host, sizeof host - 1);
    return std::string(host) + " " + bus;
}

std::string identity() {
    ncclUniqueId id;
    check(library().get_unique_id(&id), "a new group");
    return {id.internal, sizeof id.internal};
}

void* join(const std::string& identity, int rank, int size, const Watch& watch) {
    ncclUniqueId id;
    require(identity.size() == sizeof id.internal, "NCCL: an identity of %zu bytes", identity.size());
    identity.copy(id.internal, sizeof id.internal);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t group = nullptr;
    ncclResult_t started = library().init(&group, size, id, rank, &config);
    wait(group, started, "joining", watch, [] { return true; });
    return group;
}

void sum(void* joined, float* x, size_t n, const Watch& watch) {
    ncclComm_t group = static_cast<ncclComm_t>(joined);
    ncclResult_t started = library().all_reduce(x, x, n, ncclFloat, ncclSum, group, work);
    wait(group, started, "summing gradients", watch, [] {
        cudaError_t status = cudaStreamQuery(work);
        if (status != cudaErrorNotReady) cuda_check(status, "summing gradients");
        return status == cudaSuccess;
    });
}

// The others may be gone already: nobody waits.
void leave(void* joined) {
    library().abort(static_cast<ncclComm_t>(joined));
}

} // namespace

const Collective collective = {name, absent, device, identity, join, sum, leave};

} // namespace DD_CUDA

#else

namespace DD_CUDA {
namespace {
std::string name() { return ""; }
std::string absent() { return "this build found no nccl.h"; }
std::string device() { return ""; }
void* join(const std::string&, int, int, const Watch&) { return nullptr; }
void sum(void*, float*, size_t, const Watch&) {}
void leave(void*) {}
} // namespace
const Collective collective = {name, absent, device, name, join, sum, leave};
} // namespace DD_CUDA

#endif
