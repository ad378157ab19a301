// Executes a .cu file on the CPU with the semantics of CUDA blocks: every CUDA thread is a fiber, the fibers of a block run
// on one thread of the machine, blocks run one after another. A fiber runs until it waits: at a barrier, in a collective of
// its warp, or at its end.
//
// It finds a missing barrier (a shuffled order of threads gives other results), a barrier that not all threads reach (an
// error instead of a hang), shared memory that nobody wrote (it begins as NaN), and, built with the address sanitizer, what
// lies out of bounds. It cannot show races between blocks, nor speed. A thread costs about 26 ns, one that waits in
// six barriers and twenty shuffles 0.9 us (measured).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __constant__ static const
#define __shared__ static thread_local

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

// ---- fibers

#if defined(__x86_64__)
extern "C" void chainrule_switch(void** save, void* next);
asm(R"(
.text
.weak chainrule_switch
.type chainrule_switch,@function
chainrule_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size chainrule_switch,.-chainrule_switch
)");
using Fiber = void*;  // its stack pointer while it waits
inline void change(Fiber& from, Fiber& to) { chainrule_switch(&from, to); }
inline Fiber begin(char* stack, std::size_t size, void (*entry)()) {
    void** top = reinterpret_cast<void**>((reinterpret_cast<std::uintptr_t>(stack) + size) & ~std::uintptr_t(63));
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    return top;
}
#else
using Fiber = ucontext_t;
inline void change(Fiber& from, Fiber& to) { swapcontext(&from, &to); }
inline Fiber begin(char* stack, std::size_t size, void (*entry)()) {
    Fiber fiber;
    getcontext(&fiber);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = size;
    fiber.uc_link = nullptr;
    makecontext(&fiber, entry, 0);
    return fiber;
}
#endif

constexpr std::size_t stack_size = 128 * 1024;

enum class State : unsigned char { ready, at_barrier, in_collective, done };

struct Thread {
    dim3 index;
    unsigned number = 0;  // in its block
    State state = State::ready;
    Fiber fiber{};
    char* stack = nullptr;
    unsigned collectives = 0;  // it took part in so far
    unsigned mask = 0;         // who takes part in the present one
};

/// What the lanes of a warp lay down for each other, for this collective and the one before.
struct Warp {
    unsigned long long words[2][32][8];
};

struct Block {
    dim3 index, size, grid;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    Thread* current = nullptr;
    Fiber scheduler{};
    void (*entry)(void*) = nullptr;
    void* argument = nullptr;
    std::vector<unsigned char> shared;
};

inline thread_local Block* block = nullptr;
inline thread_local std::vector<char*> stacks;  // free ones: made once, for the threads of all launches

struct Options {
    bool shuffle = false;
    std::uint64_t seed = 0;
};
inline Options& options() {
    static Options the;
    return the;
}

inline void wait() {
    Block* b = block;
    change(b->current->fiber, b->scheduler);
}
inline void run_thread() {
    Block* b = block;
    b->entry(b->argument);
    b->current->state = State::done;
    wait();
    std::abort();
}
inline void resume(Block& b, Thread& t) {
    if (!t.stack) {
        if (stacks.empty()) {
            t.stack = static_cast<char*>(std::aligned_alloc(64, stack_size));
        } else {
            t.stack = stacks.back();
            stacks.pop_back();
        }
        t.fiber = begin(t.stack, stack_size, &run_thread);
    }
    b.current = &t;
    change(b.scheduler, t.fiber);
    if (t.state == State::done) {
        stacks.push_back(t.stack);
        t.stack = nullptr;
    }
}

/// Whether every lane of the mask has come to the collective of `t`, or has ended.
inline bool complete(const Block& b, const Thread& t) {
    const unsigned first = t.number & ~31u;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(t.mask >> lane & 1) || first + lane >= b.threads.size()) continue;
        const Thread& other = b.threads[first + lane];
        if (other.state != State::done && other.collectives < t.collectives) return false;
    }
    return true;
}

inline std::vector<unsigned> order_of(unsigned count, const dim3& index) {
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; ++i) order[i] = i;
    if (options().shuffle) {
        std::uint64_t s = options().seed * 0x9E3779B97F4A7C15ull + index.x + 7919ull * index.y + 104729ull * index.z + 1;
        for (unsigned i = count; i > 1; --i) {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            std::swap(order[i - 1], order[s % i]);
        }
    }
    return order;
}

inline void run_block(Block& b) {
    const unsigned count = b.size.x * b.size.y * b.size.z;
    b.threads.assign(count, Thread{});
    b.warps.resize((count + 31) / 32);
    for (unsigned i = 0; i < count; ++i) {
        b.threads[i].number = i;
        b.threads[i].index = {i % b.size.x, i / b.size.x % b.size.y, i / (b.size.x * b.size.y)};
    }
    std::fill(b.shared.begin(), b.shared.end(), 0xFF);
    const std::vector<unsigned> order = order_of(count, b.index);
    block = &b;
    for (unsigned live = count; live;) {
        unsigned ran = 0, at_barrier = 0;
        live = 0;
        for (const unsigned number : order) {
            Thread& t = b.threads[number];
            if (t.state == State::done) continue;
            if (t.state == State::in_collective && complete(b, t)) t.state = State::ready;
            if (t.state == State::ready) {
                resume(b, t);
                ++ran;
            }
            if (t.state != State::done) ++live;
            if (t.state == State::at_barrier) ++at_barrier;
        }
        if (live && at_barrier == live) {
            for (Thread& t : b.threads)
                if (t.state == State::at_barrier) t.state = State::ready;
        } else if (live && !ran) {
            for (Thread& t : b.threads)
                if (t.stack) stacks.push_back(t.stack);  // what is on them is lost: these threads never end
            block = nullptr;
            throw std::runtime_error("threads of block " + std::to_string(b.index.x) +
                                     " wait for each other for ever: a barrier or a collective that not all of them reach");
        }
    }
    block = nullptr;
}

/// Launch from pointers to arguments, as cuLaunchKernel does.
template <class... A> void launch(void (*kernel)(A...), dim3 grid, dim3 size, std::size_t shared, void** arguments) {
    struct Call {
        void (*kernel)(A...);
        void** arguments;
    } call{kernel, arguments};
    Block b;
    b.size = size;
    b.grid = grid;
    b.shared.assign(shared + 64, 0xFF);
    b.argument = &call;
    b.entry = [](void* given) {
        auto* c = static_cast<Call*>(given);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            c->kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(c->arguments[I])...);
        }(std::index_sequence_for<A...>{});
    };
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                b.index = {x, y, z};
                run_block(b);
            }
}

inline void* dynamic_shared() {
    return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(block->shared.data()) + 63) & ~std::uintptr_t(63));
}
inline unsigned lane() { return block->current->number & 31; }

using Words = unsigned long long (*)[8];

/// Every collective of a warp is one exchange: lay words down, wait for the lanes of the mask, look at any lane's words.
inline Words exchange(unsigned mask, const unsigned long long* words, int count) {
    Thread* t = block->current;
    Warp& warp = block->warps[t->number >> 5];
    auto* slots = warp.words[++t->collectives & 1];
    for (int i = 0; i < count; ++i) slots[t->number & 31][i] = words[i];
    t->mask = mask;
    t->state = State::in_collective;
    if (complete(*block, *t)) t->state = State::ready;
    else wait();
    return slots;
}
template <class T> T shuffled(unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) <= 8);
    unsigned long long word = 0;
    std::memcpy(&word, &value, sizeof value);
    Words slots = exchange(mask, &word, 1);
    T found;
    std::memcpy(&found, &slots[from & 31][0], sizeof found);
    return found;
}

// ---- numbers

template <class To, class From> To same_bits(From x) {
    To y;
    static_assert(sizeof x == sizeof y);
    std::memcpy(&y, &x, sizeof y);
    return y;
}
inline float from_half(std::uint16_t bits) {
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return same_bits<float>(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) return same_bits<float>(sign | same_bits<unsigned>(static_cast<float>(fraction) * 0x1p-24f));
    return same_bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
}
inline std::uint16_t to_half(float x) {
    const unsigned u = same_bits<unsigned>(x), sign = u >> 16 & 0x8000u;
    const float size = std::fabs(x);
    if (!(size == size)) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (size >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7c00u);
    if (size < 0x1p-14f) return static_cast<std::uint16_t>(sign | static_cast<unsigned>(std::nearbyint(size * 0x1p24f)));
    const unsigned rounded = (u & 0x7fffffffu) + 0xfffu + (u >> 13 & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

// ---- how the host gets at the kernels of a file: core/emulator_host.h

struct Entry {
    const char* name;
    void (*launch)(dim3, dim3, std::size_t, void**);
};
template <auto kernel> void launcher(dim3 grid, dim3 size, std::size_t shared, void** arguments) {
    launch(kernel, grid, size, shared, arguments);
}

}  // namespace emulator

#define threadIdx (emulator::block->current->index)
#define blockIdx (emulator::block->index)
#define blockDim (emulator::block->size)
#define gridDim (emulator::block->grid)
constexpr int warpSize = 32;

inline void __syncthreads() {
    emulator::block->current->state = emulator::State::at_barrier;
    emulator::wait();
}
inline void __syncwarp(unsigned mask = ~0u) {
    const unsigned long long nothing = 0;
    emulator::exchange(mask, &nothing, 1);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    const unsigned lane = emulator::lane(), first = lane & ~(width - 1u);
    return emulator::shuffled(mask, value, first + (from & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int by, int = 32) {
    return emulator::shuffled(mask, value, emulator::lane() ^ by);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulator::lane(), place = lane & (width - 1);
    return emulator::shuffled(mask, value, place + by < static_cast<unsigned>(width) ? lane + by : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulator::lane(), place = lane & (width - 1);
    return emulator::shuffled(mask, value, place >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const unsigned long long mine = predicate != 0;
    emulator::Words words = emulator::exchange(mask, &mine, 1);
    unsigned found = 0;
    const unsigned first = emulator::block->current->number & ~31u;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && first + lane < emulator::block->threads.size() && words[lane][0]) found |= 1u << lane;
    return found;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T> T atomicAdd(T* at, T value) { return std::exchange(*at, static_cast<T>(*at + value)); }
template <class T> T atomicMax(T* at, T value) { return std::exchange(*at, value > *at ? value : *at); }
template <class T> T atomicMin(T* at, T value) { return std::exchange(*at, value < *at ? value : *at); }
template <class T> T atomicOr(T* at, T value) { return std::exchange(*at, static_cast<T>(*at | value)); }
template <class T> T atomicExch(T* at, T value) { return std::exchange(*at, value); }
template <class T> T atomicCAS(T* at, T expected, T value) {
    const T old = *at;
    if (old == expected) *at = value;
    return old;
}

using std::acos, std::asin, std::atan, std::atan2, std::ceil, std::copysign, std::cos, std::cosh, std::erf, std::erfc, std::exp;
using std::expm1, std::fabs, std::floor, std::fma, std::fmod, std::isfinite, std::isinf, std::isnan, std::log, std::log1p;
using std::max, std::min, std::pow, std::rint, std::sin, std::sinh, std::sqrt, std::tan, std::tanh;
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __int_as_float(int x) { return emulator::same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emulator::same_bits<unsigned>(x); }
inline int __float_as_int(float x) { return emulator::same_bits<int>(x); }
inline double __longlong_as_double(long long x) { return emulator::same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulator::same_bits<long long>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
template <class T> T __ldg(const T* at) { return *at; }
