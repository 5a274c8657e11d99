// Runs kernels on a CPU: each thread of a block is a fibre, switched at barriers and warp operations.
//
// Blocks run one after the other. Fibres run in an order that the launch chooses (forwards, backwards, shuffled anew
// after each barrier), so that a missing barrier shows as a result that depends on the order. Shared memory is filled
// with NaN before each block, so that what was never written shows. Barriers that not all threads reach, lanes that are
// missing from a warp operation, and blocks larger than the kernel was compiled for end the launch with a message.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

using std::abs;
using std::max;
using std::min;

namespace host {

struct Dim3 {
    unsigned x, y, z;
};

enum class Wait { Nothing, Block, Warp, Done };

struct Thread {
    ucontext_t context;
    void *stack = nullptr;
    Dim3 index;
    unsigned number;
    Wait wait;
    unsigned mask;       // lanes this thread waits for
    uint64_t given;      // what it gives to its warp
};

constexpr size_t STACK = 128 * 1024;
constexpr unsigned LANES = 32;

struct Launch {
    unsigned grid[3], threads, shared_bytes, order;
};

// All of a running launch; one runs at a time.
struct Machine {
    std::vector<Thread> threads;
    std::vector<unsigned> order;
    Thread *current = nullptr;
    ucontext_t scheduler;
    void *scheduler_fake_stack = nullptr;
    const void *scheduler_stack = nullptr;
    size_t scheduler_stack_size = 0;
    Dim3 block_index, block_dim, grid_dim;
    void *dynamic = nullptr;
    const char *failure = nullptr;
    void (*body)(void *) = nullptr;
    void *arguments = nullptr;
};

inline Machine machine;

inline void enter_fibre() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_size);
#endif
    machine.body(machine.arguments);
    machine.current->wait = Wait::Done;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, machine.scheduler_stack, machine.scheduler_stack_size);
#endif
    swapcontext(&machine.current->context, &machine.scheduler);
}

// Back to the scheduler, until what is waited for has come.
inline void yield(Wait wait) {
    Thread *self = machine.current;
    self->wait = wait;
#ifdef __SANITIZE_ADDRESS__
    void *fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, machine.scheduler_stack, machine.scheduler_stack_size);
#endif
    swapcontext(&self->context, &machine.scheduler);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, &machine.scheduler_stack, &machine.scheduler_stack_size);
#endif
}

inline void resume(Thread &thread) {
    machine.current = &thread;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&machine.scheduler_fake_stack, thread.stack, STACK);
#endif
    swapcontext(&machine.scheduler, &thread.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(machine.scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline void shuffle(unsigned kind, unsigned &seed) {
    auto &order = machine.order;
    if (kind == 2) {
        for (size_t i = order.size() - 1; i > 0; i--) {
            seed = seed * 1664525u + 1013904223u;
            std::swap(order[i], order[(seed >> 8) % (i + 1)]);
        }
    }
}

// Lets go the threads whose barrier is complete. Returns whether there were any.
inline bool release() {
    auto &threads = machine.threads;
    const size_t count = machine.order.size();
    size_t at_barrier = 0;
    bool any = false;
    for (size_t i = 0; i < count; i++) at_barrier += threads[i].wait == Wait::Block;
    if (at_barrier == count) {
        for (size_t i = 0; i < count; i++) threads[i].wait = Wait::Nothing;
        return true;
    }
    for (size_t warp = 0; warp < count; warp += LANES) {
        for (size_t i = warp; i < std::min(warp + LANES, count); i++) {
            if (threads[i].wait != Wait::Warp) continue;
            unsigned mask = threads[i].mask, here = 0;
            for (size_t lane = 0; lane < LANES && warp + lane < count; lane++) {
                Thread &other = threads[warp + lane];
                if (other.wait == Wait::Warp && other.mask == mask) here |= 1u << lane;
            }
            if ((here & mask) != mask) continue;
            for (size_t lane = 0; lane < LANES; lane++) {
                if (mask >> lane & 1) threads[warp + lane].wait = Wait::Nothing;
            }
            any = true;
        }
    }
    return any;
}

inline void run_block(unsigned kind, unsigned &seed) {
    for (unsigned number : machine.order) {
        Thread &thread = machine.threads[number];
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        thread.wait = Wait::Nothing;
        makecontext(&thread.context, enter_fibre, 0);
    }
    for (;;) {
        bool ran = false, open = false;
        for (unsigned number : machine.order) {
            Thread &thread = machine.threads[number];
            if (thread.wait == Wait::Nothing) {
                resume(thread);
                ran = true;
                if (machine.failure) return;
            }
            open = open || thread.wait != Wait::Done;
        }
        if (!open) return;
        if (!release() && !ran) {
            machine.failure = "threads wait for each other: a barrier or warp operation that not all of them reach";
            return;
        }
        shuffle(kind, seed);
    }
}

} // namespace host

// Shared arrays stand in a section of their own, to be found and filled.
extern "C" char __start_kernel_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_kernel_shared[] __attribute__((weak, visibility("hidden")));

namespace host {

// Not instrumented: it writes over the sanitizer's gaps between arrays as well.
__attribute__((no_sanitize("address"), noinline)) inline void fill_with_nan(char *from, char *to) {
    for (volatile char *at = from; at != to; at++) *at = (char)0xff;
}

template <class... Parameters> struct Call {
    void (*kernel)(Parameters...);
    void **arguments;
    template <size_t... I> void apply(std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_reference_t<Parameters> *>(arguments[I])...);
    }
    static void body(void *self) {
        static_cast<Call *>(self)->apply(std::index_sequence_for<Parameters...>());
    }
};

// Runs a launch; returns what went wrong, or null.
template <class... Parameters>
const char *run(void (*kernel)(Parameters...), unsigned most_threads, const Launch *launch, void **arguments,
                unsigned count) {
    if (count != sizeof...(Parameters)) return "another number of arguments than the kernel's parameters";
    if (launch->threads > most_threads) return "more threads than the kernel was compiled for";
    if (launch->threads == 0 || launch->threads % LANES != 0) return "a block that is not made of whole warps";
    Call<Parameters...> call{kernel, arguments};
    machine.body = Call<Parameters...>::body;
    machine.arguments = &call;
    machine.failure = nullptr;
    machine.block_dim = {launch->threads, 1, 1};
    machine.grid_dim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    while (machine.threads.size() < launch->threads) {
        Thread thread{};
        thread.number = (unsigned)machine.threads.size();
        thread.index = {thread.number, 0, 0};
        thread.stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (thread.stack == MAP_FAILED) return "no memory for a thread's stack";
        machine.threads.push_back(thread);
    }
    machine.order.clear();
    for (unsigned i = 0; i < launch->threads; i++) {
        machine.order.push_back(launch->order == 1 ? launch->threads - 1 - i : i);
    }
    unsigned seed = launch->order;
    shuffle(launch->order, seed);
    const uint64_t blocks = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    for (uint64_t i = 0; i < blocks && !machine.failure; i++) {
        uint64_t block = launch->order == 1 ? blocks - 1 - i : i;
        machine.block_index = {(unsigned)(block % launch->grid[0]),
                               (unsigned)(block / launch->grid[0] % launch->grid[1]),
                               (unsigned)(block / launch->grid[0] / launch->grid[1])};
        fill_with_nan(__start_kernel_shared, __stop_kernel_shared);
        // As large as it was asked for, so that a sanitizer sees the byte after it touched.
        machine.dynamic = nullptr;
        if (launch->shared_bytes > 0) {
            if (posix_memalign(&machine.dynamic, 64, launch->shared_bytes) != 0) return "no shared memory";
            memset(machine.dynamic, 0xff, launch->shared_bytes);
        }
        run_block(launch->order, seed);
        free(machine.dynamic);
    }
    return machine.failure;
}

// Each lane of `mask` gives a value and gets that of lane `source`.
template <class T> T exchange(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "values of up to eight bytes");
    Thread *self = machine.current;
    const unsigned lane = self->number % LANES, warp = self->number - lane;
    if (!(mask >> lane & 1)) machine.failure = "a lane takes part in a warp operation whose mask leaves it out";
    else if (!(mask >> source & 1)) machine.failure = "a lane reads from a lane outside the mask";
    self->given = 0;
    memcpy(&self->given, &value, sizeof(T));
    self->mask = mask;
    yield(Wait::Warp);
    T result;
    memcpy(&result, &machine.threads[warp + source].given, sizeof(T));
    // No one gives the next value before all have read this one.
    yield(Wait::Warp);
    return result;
}

inline unsigned lane() { return machine.current->number % LANES; }

// A warp's product, the lanes' parts lying as PTX's mma.m16n8k8 has them.
inline void multiply_by_warp(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    static float all_a[1024 / LANES][16][8], all_b[1024 / LANES][8][8];
    const unsigned warp = machine.current->number / LANES, g = lane() / 4, t = lane() % 4;
    auto *left = all_a[warp];
    auto *right = all_b[warp];
    for (unsigned i = 0; i < 4; i++) memcpy(&left[g + i % 2 * 8][t + i / 2 * 4], &a[i], sizeof(float));
    for (unsigned i = 0; i < 2; i++) memcpy(&right[t + i * 4][g], &b[i], sizeof(float));
    exchange(~0u, 0, lane());
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 8; k++) c[i] += left[g + i / 2 * 8][k] * right[k][2 * t + i % 2];
    }
    exchange(~0u, 0, lane());
}

} // namespace host

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static __attribute__((section("kernel_shared")))
#define KERNEL(name, threads)                                                                                          \
    constexpr unsigned name##_threads = threads;                                                                       \
    extern "C" __attribute__((visibility("hidden"))) void kernel_##name
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(host::machine.dynamic)
// Makes a kernel launchable from outside: `run_NAME(launch, arguments, count)`.
#define EXPORT(name)                                                                                                   \
    extern "C" __attribute__((visibility("default"))) const char *run_##name(const host::Launch *launch, void **arguments, unsigned count) {                  \
        return host::run(kernel_##name, name##_threads, launch, arguments, count);                                     \
    }

#define threadIdx (host::machine.current->index)
#define blockIdx (host::machine.block_index)
#define blockDim (host::machine.block_dim)
#define gridDim (host::machine.grid_dim)

inline void __syncthreads() { host::yield(host::Wait::Block); }

inline void __syncwarp(unsigned mask = 0xffffffffu) { host::exchange(mask, 0, host::lane()); }

template <class T> T __shfl_sync(unsigned mask, T value, int source) {
    return host::exchange(mask, value, (unsigned)source % host::LANES);
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return host::exchange(mask, value, host::lane() ^ (unsigned)bits);
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
    unsigned lane = host::lane();
    return host::exchange(mask, value, lane >= distance ? lane - distance : lane);
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
    unsigned lane = host::lane();
    return host::exchange(mask, value, lane + distance < host::LANES ? lane + distance : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < host::LANES; lane++) {
        if (mask >> lane & 1) votes |= (unsigned)(host::exchange(mask, predicate != 0, lane)) << lane;
    }
    return votes;
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <class T> T atomicAdd(T *place, T value) {
    T before = *place;
    *place += value;
    return before;
}

struct float2 {
    float x, y;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline float __int_as_float(int bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __float_as_int(float value) {
    int bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float sinpif(float x) { return (float)std::sin(M_PI * (double)x); }
