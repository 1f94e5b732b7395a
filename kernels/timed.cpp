#include "timed.h"
#include <algorithm>
#include "probe.h"

namespace {

enum Name {
#define K(name, args) k_##name,
    DD_KERNELS(K)
#undef K
    count
};

Kernels under;
double seconds[count];
long calls[count];

template <Name name, auto member, class... Args> void call(Args... args) {
    double start = probe::now();
    (under.*member)(args...);
    if (!under.memory->host) under.memory->download(nullptr, nullptr, 0); // a device: until it is done
    seconds[name] += probe::now() - start;
    calls[name]++;
}
template <Name name, auto member, class... Args> constexpr auto wrap(void (*Kernels::*)(Args...)) {
    return &call<name, member, Args...>;
}

}  // namespace

const Kernels& timed(const Kernels& k) {
    static Kernels table;
    under = k;
    table = {k.name, k.bf16, k.memory, nullptr, k.collective,
#define K(name, args) wrap<k_##name, &Kernels::name>(&Kernels::name),
             DD_KERNELS(K)
#undef K
    };
    table.limits = k.limits, table.tokens_a_pass = k.tokens_a_pass;
    return table;
}

std::vector<KernelTime> take_kernel_times() {
    std::vector<KernelTime> all;
#define K(name, args) if (calls[k_##name]) all.push_back({#name, seconds[k_##name], calls[k_##name]});
    DD_KERNELS(K)
#undef K
    std::fill_n(seconds, int(count), 0.0);
    std::fill_n(calls, int(count), 0L);
    std::sort(all.begin(), all.end(), [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
    return all;
}
