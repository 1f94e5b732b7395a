// cpu.cpp - which table this machine gets.
#include <cstdlib>
#include <cstring>
#include "../kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

struct Path { const char* name; bool (*overlay)(Kernels&); bool (*runs)(); };

#if defined(__x86_64__)
bool has_f16c() {               // which not every compiler's builtin knows
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_bf16() { return false; }
#endif

// Best first.
constexpr Path paths[] = {{"avx512+bf16", overlay_avx512_bf16, has_bf16},
                          {"avx512", overlay_avx512, has_avx512},
                          {"avx2", overlay_avx2, has_avx2},
                          {"scalar", [](Kernels&) { return true; }, [] { return true; }}};

}  // namespace

const Kernels& cpu(const char* isa) {
    static Kernels tables[4];
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(isa, paths[i].name)) continue;
        if (!paths[i].runs()) fail(Exit::no_resource, "DD_ISA=%s: this processor lacks it; leave DD_ISA unset", isa);
        if (!tables[i].name) {
            Kernels table = reference;
            if (!paths[i].overlay(table)) fail(Exit::no_resource, "DD_ISA=%s: this build lacks it", isa);
            table.name = paths[i].name;
            tables[i] = table;
        }
        return tables[i];
    }
    fail(Exit::usage, "DD_ISA=%s: one of scalar, avx2, avx512, avx512+bf16 was expected", isa);
}

const Kernels& cpu() {
    static const Kernels& best = []() -> const Kernels& {
        if (const char* forced = getenv("DD_ISA")) {
            // "avx512" in the environment means the best of its kind.
            if (!strcmp(forced, "avx512") && has_bf16()) forced = "avx512+bf16";
            return cpu(forced);
        }
        for (const Path& p : paths) {
            Kernels probe = reference;
            if (p.runs() && p.overlay(probe)) return cpu(p.name);
        }
        return reference;
    }();
    return best;
}

namespace none {
#define K(name, args) void name args {}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
DD_KERNELS(K)
#pragma GCC diagnostic pop
#undef K
}  // namespace none

const Kernels nothing = {
    "nothing", false, &host_memory, nullptr, nullptr,
#define K(name, args) none::name,
    DD_KERNELS(K)
#undef K
};
