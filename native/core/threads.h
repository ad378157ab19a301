// The thread pool. One, ours: small work stays on the calling thread, workers spin briefly, then sleep.
//
// Work is cut by *shape* into chunks (never by the number of threads), each chunk owns its outputs, and partial sums
// are combined by the caller in chunk order: then the thread count changes no bit of the result.
//
//     parallel_for(chunks, [&](long chunk) { ... });                        // chunks in any order, on any thread
//     parallel_range(n, 32768, [&](long begin, long end) { ... });          // [0, n) in pieces of 32768
//
// The function must not throw and must not touch Python. A region costs about 0.3 us when the workers are awake and
// 20-45 us when they sleep: give it at least ~30 us of work in all, chunks of ~5 us or more.
// A second Python thread that calls while a region runs, and a region inside a region, run serially.
#pragma once

#include <type_traits>

namespace chainrule {

using ChunkFunction = void (*)(void* context, long chunk);
void run_chunks(long chunks, ChunkFunction function, void* context);

template <class F>
void parallel_for(long chunks, F&& f) {
    if (chunks == 1) return f(0L);
    run_chunks(chunks, [](void* context, long chunk) { (*static_cast<std::remove_reference_t<F>*>(context))(chunk); }, &f);
}

template <class F>
void parallel_range(long n, long grain, F&& f) {
    if (n <= grain) {
        if (n > 0) f(0L, n);
        return;
    }
    parallel_for((n + grain - 1) / grain, [&](long chunk) {
        const long begin = chunk * grain;
        f(begin, begin + grain < n ? begin + grain : n);
    });
}

int num_threads();
/// Throws std::invalid_argument unless 1 <= count <= 1024.
void set_num_threads(int count);

}  // namespace chainrule
