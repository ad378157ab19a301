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
// The caller takes chunks from the first on and another thread from the last on: arrays that are cut alike in regions in a
// row meet the same core each time, whose cache has them.
// A second Python thread that calls while a region runs, and a region inside a region, run serially.
#pragma once

#include <string>
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

/// How many threads kernels use: CHAINRULE_NUM_THREADS or OMP_NUM_THREADS, else the cores that this process may run on, by
/// its affinity and the quota of its control groups.
int num_threads();
/// Which of them runs this: 0 for a caller of regions, 1 to num_threads() - 1 for a worker.
int thread_number();
/// Throws std::invalid_argument unless 1 <= count <= 1024.
void set_num_threads(int count);
/// The cores that the quotas of control groups (version 1 or 2) amount to, rounded up; 0 without one. root: where they are
/// mounted; membership: the file that says which are this process's.
int cgroup_limit(const std::string& root, const std::string& membership);

}  // namespace chainrule
