// The limits of a machine. Arguments: threads, seconds for each figure. Prints lines of "name value":
// flops32, flops64: independent fused multiply-adds on registers, operations a second of all threads;
// bytes:N: a[i] = b[i] + c[i] over arrays of N bytes in all, bytes read and written a second of all threads;
// stream:N: the same with stores past the caches.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int bytes = 64;
#elif defined(__AVX__)
constexpr int bytes = 32;
#else
constexpr int bytes = 16;
#endif

template <class T>
struct Vector {
    typedef T type __attribute__((vector_size(bytes)));
};

double seconds_of(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

// `work(thread, rounds)` on all threads, again and again for some time: units of work a second, the best of the tries.
// Seconds are those a thread was at work, so that a busy machine has the same limits; for a sentinel those that passed.
double best(int threads, double seconds, bool passing, const std::function<void(int, long)>& work) {
    const clockid_t clock = passing ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    double highest = 0, end = seconds_of(CLOCK_MONOTONIC) + seconds;
    long rounds = 1;
    std::vector<double> taken(threads);
    do {
        std::atomic<int> ready{0};
        auto one = [&](int t) {
            ready++;
            while (ready.load() < threads) std::this_thread::yield();
            double begin = seconds_of(clock);
            work(t, rounds);
            taken[t] = seconds_of(clock) - begin;
        };
        std::vector<std::thread> others;
        for (int t = 1; t < threads; t++) others.emplace_back(one, t);
        one(0);
        for (auto& thread : others) thread.join();
        double longest = *std::max_element(taken.begin(), taken.end());
        if (longest < 2e-3)
            rounds *= 2;
        else
            highest = std::max(highest, rounds / longest);
    } while (seconds_of(CLOCK_MONOTONIC) < end || highest == 0);
    return highest * threads;
}

template <class T>
double flops(int threads, double seconds, bool passing = false) {
    typedef typename Vector<T>::type V;
    constexpr int width = bytes / sizeof(T), chains = 12;
    return best(threads, seconds, passing, [](int, long rounds) {
        V sum[chains]{}, a, b;
        for (int i = 0; i < width; i++) a[i] = T(1e-3), b[i] = T(0.5);
        for (long r = 0; r < rounds * 1000; r++) {
            asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
            for (int c = 0; c < chains; c++) sum[c] = a * b + sum[c];
#pragma GCC unroll 12
            for (int c = 0; c < chains; c++) asm volatile("" : "+x"(sum[c]));
        }
    }) * 2000.0 * width * chains;
}

double moved(int threads, double seconds, long total, bool streaming) {
    typedef Vector<float>::type V;
    long each = total / 3 / threads / bytes;  // vectors of one array, of one thread
    std::vector<V*> memory;
    for (int t = 0; t < threads; t++) {
        V* m = static_cast<V*>(std::aligned_alloc(4096, (3 * each * bytes + 4095) / 4096 * 4096));
        for (long i = 0; i < 3 * each; i++) m[i] = V{};
        memory.push_back(m);
    }
    double found = best(threads, seconds, false, [&](int t, long rounds) {
        V *a = memory[t], *b = a + each, *c = b + each;
        for (long r = 0; r < rounds; r++) {
            for (long i = 0; i < each; i++) {
                V sum = b[i] + c[i];
#if defined(__clang__) || !defined(__x86_64__)
                a[i] = sum;
#elif defined(__AVX512F__)
                if (streaming) asm volatile("vmovntps %1, %0" : "=m"(a[i]) : "v"(sum));
                else a[i] = sum;
#else
                if (streaming) asm volatile("movntps %1, %0" : "=m"(a[i]) : "x"(sum));
                else a[i] = sum;
#endif
            }
            asm volatile("" : : "r"(a) : "memory");
        }
    });
    for (V* m : memory) std::free(m);
    return found * 3 * each * bytes;
}

int main(int count, char** arguments) {
    int threads = count > 1 ? std::atoi(arguments[1]) : 1;
    double seconds = count > 2 ? std::atof(arguments[2]) : 0.1;
    const bool sentinel = count > 3;
    std::printf("flops32 %.6g\n", flops<float>(threads, seconds, sentinel));
    if (sentinel) return 0;
    std::printf("flops64 %.6g\n", flops<double>(threads, seconds));
    for (long size = 1 << 18; size <= 1 << 29; size *= 4) {
        std::printf("bytes:%ld %.6g\n", size, moved(threads, seconds, size, false));
        if (size >= 1 << 24) std::printf("stream:%ld %.6g\n", size, moved(threads, seconds, size, true));
    }
}
