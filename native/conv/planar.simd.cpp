// Convolutions with few output channels, for each instruction set: pixels in the lanes, weights broadcast. Bound by
// FMAs.
#include <utility>

#include "conv/planar_kernels.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int registers = 16;  // accumulators in use
#else
constexpr int registers = 8;
#endif

template <class T, int C>
void forward(const T* x, const long* offset, long taps, const T* w, const T* bias, long n, T* y, long plane) {
    constexpr int L = lanes<T>, NV = registers / C;
    for (long p = 0; p < n; p += NV * L) {
        Vec<T> acc[C][NV];
#pragma GCC unroll 16
        for (int c = 0; c < C; c++)
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) acc[c][v] = splat(bias[c]);
        for (long t = 0; t < taps; t++) {
            const T *s = x + offset[t] + p, *wt = w + t * planar_outs;
            Vec<T> pixels[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) pixels[v] = load(s + v * L);
#pragma GCC unroll 16
            for (int c = 0; c < C; c++) {
                const Vec<T> weight = splat(wt[c]);
#pragma GCC unroll 16
                for (int v = 0; v < NV; v++) acc[c][v] = fma(weight, pixels[v], acc[c][v]);
            }
        }
#pragma GCC unroll 16
        for (int c = 0; c < C; c++)
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) store(y + c * plane + p + v * L, acc[c][v]);
    }
}

// Taps at a time: two share the loads of g.
template <class T, int C, int Taps>
[[gnu::always_inline]] inline void gradient_of(const T* x, const long* offset, const T* g, long plane, long n,
                                               T* sums) {
    constexpr int L = lanes<T>;
    Vec<T> acc[Taps][C];
#pragma GCC unroll 2
    for (int t = 0; t < Taps; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[t][c] = load(sums + (t * planar_outs + c) * L);
    for (long p = 0; p < n; p += L) {
        Vec<T> pixels[Taps];
#pragma GCC unroll 2
        for (int t = 0; t < Taps; t++) pixels[t] = load(x + offset[t] + p);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            const Vec<T> grad = load(g + c * plane + p);
#pragma GCC unroll 2
            for (int t = 0; t < Taps; t++) acc[t][c] = fma(pixels[t], grad, acc[t][c]);
        }
    }
#pragma GCC unroll 2
    for (int t = 0; t < Taps; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) store(sums + (t * planar_outs + c) * L, acc[t][c]);
}

template <class T, int C>
void gradient(const T* x, const long* offset, long taps, const T* g, long plane, long n, T* sums) {
    constexpr long step = planar_outs * lanes<T>;
    long t = 0;
    if constexpr (2 * C <= registers)
        for (; t + 2 <= taps; t += 2) gradient_of<T, C, 2>(x, offset + t, g, plane, n, sums + t * step);
    for (; t < taps; t++) gradient_of<T, C, 1>(x, offset + t, g, plane, n, sums + t * step);
}

template <class T, int... I>
constexpr PlanarKernels<T> table(std::integer_sequence<int, I...>) {
    return {registers * lanes<T>, {&forward<T, I + 1>...}, {&gradient<T, I + 1>...}};
}

}  // namespace

extern const PlanarTables planar_kernels = {table<float>(std::make_integer_sequence<int, planar_outs>{}),
                                            table<double>(std::make_integer_sequence<int, planar_outs>{})};

}  // namespace chainrule::CHAINRULE_ISA
