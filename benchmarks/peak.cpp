// The floating-point peak of one core: independent fused multiply-adds on registers, printed as operations a second of
// processor time, so that what else runs on the core does not count.
#include <cstdio>
#include <ctime>

#if defined(__AVX512F__)
constexpr int width = 16;
#elif defined(__AVX__)
constexpr int width = 8;
#else
constexpr int width = 4;
#endif
typedef float Vec __attribute__((vector_size(4 * width)));

int main() {
    constexpr int chains = 12;
    constexpr long rounds = 20'000'000;
    Vec sum[chains]{}, a, b;
    for (int i = 0; i < width; i++) a[i] = 1e-3f, b[i] = 0.5f;
    const std::clock_t begin = std::clock();
    for (long r = 0; r < rounds; r++) {
        asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int c = 0; c < chains; c++) sum[c] = a * b + sum[c];
#pragma GCC unroll 12
        for (int c = 0; c < chains; c++) asm volatile("" : "+x"(sum[c]));
    }
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    std::printf("%.6g\n", 2.0 * width * chains * rounds / seconds);
}
