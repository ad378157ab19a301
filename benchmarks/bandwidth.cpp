// The bandwidth of one core: bytes a second of four loops over arrays of `bytes` in all, the best of many rounds.
//     bandwidth BYTES...     a line each: read, write, copy (1 read, 1 written), add (2 read, 1 written)
// and a last line: multiply-adds, divisions, square roots of floats a second, and floats made doubles and added to a sum.
// Above the caches, stores that go past them are tried too; the better counts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#ifdef __SSE2__
#include <immintrin.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

#if defined(__AVX512F__)
constexpr int width = 16;
#elif defined(__AVX__)
constexpr int width = 8;
#else
constexpr int width = 4;
#endif
typedef float Vec __attribute__((vector_size(4 * width)));

template <bool around>
void put(Vec* to, Vec value) {
#if defined(__AVX512F__)
    if (around) return _mm512_stream_ps(reinterpret_cast<float*>(to), (__m512)value);
#elif defined(__AVX__)
    if (around) return _mm256_stream_ps(reinterpret_cast<float*>(to), (__m256)value);
#endif
    *to = value;
}

template <class F>
double best(double bytes, F f) {
    const int repeats = std::max(1, static_cast<int>(2e6 / bytes));
    double least = 1e30;
    for (int round = 0; round < 25; ++round) {
        const auto begin = std::chrono::steady_clock::now();
        for (int r = 0; r < repeats; ++r) {
            f();
            asm volatile("" ::: "memory");
        }
        least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repeats);
    }
    return bytes / least;
}

template <bool around>
void measure(long bytes, Vec* memory, double* result) {
    const long n = bytes / static_cast<long>(sizeof(Vec)), half = n / 2, third = n / 3;
    const auto keep = [&](int i, double value) { result[i] = std::max(result[i], value); };
    keep(0, best(bytes, [&] {
        Vec sum[8]{};
        for (long i = 0; i + 8 <= n; i += 8)
#pragma GCC unroll 8
            for (int c = 0; c < 8; ++c) sum[c] += memory[i + c];
        for (Vec& s : sum) asm volatile("" : "+x"(s));
    }));
    keep(1, best(bytes, [&] {
        for (long i = 0; i < n; ++i) put<around>(memory + i, Vec{});
    }));
    keep(2, best(2 * half * sizeof(Vec), [&] {
        for (long i = 0; i < half; ++i) put<around>(memory + half + i, memory[i]);
    }));
    keep(3, best(3 * third * sizeof(Vec), [&] {
        for (long i = 0; i < third; ++i) put<around>(memory + 2 * third + i, memory[i] + memory[third + i]);
    }));
}

/// Elements a second of f(v), applied over and over to eight vectors in turn.
template <class F>
double rate(F f) {
    constexpr int rounds = 2000;
    Vec a = Vec{} + 1.5f, b = a, c = a, d = a, e = a, g = a, h = a, i = a;  // an array would lie in memory
    double least = 1e30;
    for (int k = 0; k < 200; ++k) {
        const auto begin = std::chrono::steady_clock::now();
        for (int r = 0; r < rounds; ++r) {
            a = f(a), b = f(b), c = f(c), d = f(d), e = f(e), g = f(g), h = f(h), i = f(i);
            asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(g), "+x"(h), "+x"(i));
        }
        least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return 8.0 * rounds * width / least;
}

/// Elements a second that become doubles and are added, from the level-1 cache: times one, as the sums do it.
double widened() {
#if defined(__AVX2__) && defined(__FMA__)
    constexpr int n = 4096;
    alignas(64) static float memory[n];
    __m256d sums[8]{}, one = _mm256_set1_pd(1);
    asm("" : "+x"(one));
    double least = 1e30;
    for (int k = 0; k < 200; ++k) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < 16 * n; i += 32)
#pragma GCC unroll 8
            for (int c = 0; c < 8; ++c)
                sums[c] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_load_ps(memory + i % n + 4 * c)), one, sums[c]);
        for (auto& s : sums) asm volatile("" : "+x"(s));
        least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return 16 * n / least;
#else
    return 1e30;  // not known: memory bounds it
#endif
}

Vec root(Vec v) {
#if defined(__AVX512F__)
    return (Vec)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX__)
    return (Vec)_mm256_sqrt_ps((__m256)v);
#else
    for (int i = 0; i < width; ++i) v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

int main(int count, char** texts) {
    for (int k = 1; k < count; ++k) {
        const long bytes = std::atol(texts[k]), size = (bytes + (4L << 20)) >> 21 << 21;
        auto* memory = static_cast<Vec*>(std::aligned_alloc(2 << 20, size));
#ifdef MADV_HUGEPAGE
        madvise(memory, size, MADV_HUGEPAGE);
#endif
        for (long i = 0; i < size / static_cast<long>(sizeof(Vec)); ++i) memory[i] = Vec{};
        double result[4]{};
        measure<false>(bytes, memory, result);
        if (bytes > 16L << 20) measure<true>(bytes, memory, result);
        std::printf("%.6g %.6g %.6g %.6g\n", result[0], result[1], result[2], result[3]);
        std::free(memory);
    }
    std::printf("%.6g %.6g %.6g %.6g\n", rate([](Vec v) { return v * (Vec{} + 0.5f) + (Vec{} + 0.75f); }),
                rate([](Vec v) { return (Vec{} + 1.f) / v; }), rate(root), widened());
}
