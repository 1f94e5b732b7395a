// A stack that can be left and come back to: what a CUDA thread is on the CPU. The sanitizers must be told of every
// change of stacks; each has a macro that is empty without it.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

#if !defined(__x86_64__) || defined(CUDA_CPU_UCONTEXT)
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CUDA_CPU_ASAN(...) __VA_ARGS__
#else
#define CUDA_CPU_ASAN(...)
#endif
// ThreadSanitizer gets one of its own fibres a CUDA thread, and learns of order only from __syncthreads and __syncwarp:
// it then finds races whatever order the threads ran in. The machine's bookkeeping is kept out of its sight.
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define CUDA_CPU_TSAN(...) __VA_ARGS__
#else
#define CUDA_CPU_TSAN(...)
#endif
#define CUDA_CPU_UNSEEN __attribute__((no_sanitize("thread")))

namespace cuda_cpu {

class Fibre {
public:
    static constexpr size_t bytes = CUDA_CPU_ASAN(4 *) CUDA_CPU_TSAN(4 *) 64 * 1024;

    Fibre() = default; // the stack the program came with
    Fibre(const Fibre&) = delete;
    ~Fibre() {
        CUDA_CPU_TSAN(if (stack) __tsan_destroy_fiber(tsan);)
        if (stack) munmap(stack, bytes);
    }

    // Makes the next switch here call entry(), which must never return. The stack is kept from one start to the next.
    void start(void (*entry)()) {
        if (!stack) {
            void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) throw std::bad_alloc();
            stack = static_cast<char*>(memory);
            mprotect(stack, 4096, PROT_NONE); // a kernel that overflows its stack faults; it does not corrupt
            CUDA_CPU_ASAN(asan_bottom = stack; asan_bytes = bytes;)
            CUDA_CPU_TSAN(tsan = __tsan_create_fiber(0);)
        }
        CUDA_CPU_ASAN(__asan_unpoison_memory_region(stack + 4096, bytes - 4096);) // an abandoned run leaves its marks
        begin(entry);
    }

    CUDA_CPU_UNSEEN void switch_to(Fibre& to) {
        CUDA_CPU_ASAN(__sanitizer_start_switch_fiber(&asan_frames, to.asan_bottom, to.asan_bytes);)
        CUDA_CPU_TSAN(__tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);)
        jump(to);
        CUDA_CPU_ASAN(__sanitizer_finish_switch_fiber(asan_frames, nullptr, nullptr);)
    }

    // First words of entry(). The first fibre ever entered comes from the program's own stack, and reports its bounds.
    static void entered([[maybe_unused]] Fibre& program) {
        CUDA_CPU_ASAN(const void* from; size_t from_bytes; __sanitizer_finish_switch_fiber(nullptr, &from, &from_bytes);
                      if (!program.asan_bytes) program.asan_bottom = from, program.asan_bytes = from_bytes;)
    }

    CUDA_CPU_TSAN(void* tsan = __tsan_get_current_fiber();)

private:
    char* stack = nullptr;
    CUDA_CPU_ASAN(const void* asan_bottom = nullptr; size_t asan_bytes = 0; void* asan_frames = nullptr;)

#if defined(__x86_64__) && !defined(CUDA_CPU_UCONTEXT)
    void* sp = nullptr;

    // Saves what a callee must save and changes stacks: some nanoseconds, where swapcontext makes two system calls.
    __attribute__((naked, noipa)) static void change(void** /* from */, void* /* to */) {
        asm("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15; movq %rsp, (%rdi);"
            "movq %rsi, %rsp; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
    }
    void begin(void (*entry)()) {
        void** top = reinterpret_cast<void**>(stack + bytes);
        top[-1] = nullptr; // where entry would return to
        top[-2] = reinterpret_cast<void*>(entry);
        sp = top - 8; // below entry: six registers
    }
    CUDA_CPU_UNSEEN void jump(Fibre& to) { change(&sp, to.sp); }
#else
    ucontext_t context;

    void begin(void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack, context.uc_stack.ss_size = bytes;
        makecontext(&context, entry, 0);
    }
    CUDA_CPU_UNSEEN void jump(Fibre& to) { swapcontext(&context, &to.context); }
#endif
};

} // namespace cuda_cpu
