// Regions of the pool, by number of threads and of chunks: each chunk is done once; the caller goes up from the first, and
// of two threads the other goes down from the last, so that both meet the same part of an array each time.
#include "core/threads.h"

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using namespace chainrule;

void check(bool right, const char* what, int threads, long chunks) {
    if (right) return;
    std::printf("%s: %d threads, %ld chunks\n", what, threads, chunks);
    std::exit(1);
}

int main() {
    long shared = 0;  // chunks that a worker did
    for (int threads = 1; threads <= 5; threads++) {
        set_num_threads(threads);
        for (long chunks : {1L, 2L, 7L, 64L, 1000L, 65534L, 65535L, 65536L, 65537L, 131071L, 300'000L}) {
            for (int again = 0; again < (chunks > 1000 ? 3 : 200); again++) {
                std::vector<int> times(chunks), worker(chunks);
                const auto caller = std::this_thread::get_id();
                static thread_local long last;  // chunk of this thread
                last = -1;
                parallel_for(chunks, [&](long chunk) {
                    times[chunk]++;
                    worker[chunk] = std::this_thread::get_id() != caller;
                    if (!worker[chunk]) check(chunk > last, "the caller goes down", threads, chunks), last = chunk;
                    for (int wait = 0; chunks <= 1000 && wait < 1000; wait++) asm volatile("");
                });
                for (long k = 0; k < chunks; k++) {
                    check(times[k] == 1, "a chunk is not done once", threads, chunks);
                    check(threads > 2 || !k || worker[k] >= worker[k - 1], "the threads mix", threads, chunks);
                    shared += worker[k];
                }
            }
        }
    }
    check(shared > 0, "no worker did anything", 5, shared);
    std::puts("right");
}
