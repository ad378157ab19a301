// Convolutions with few channels, for each instruction set: pixels in the lanes, weights broadcast. Bound by FMAs: an
// unaligned load of pixels serves 8 of them, a broadcast weight 3.
#include <utility>

#include "conv/planar_kernels.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int registers = 24;  // accumulators in use
#else
constexpr int registers = 10;
#endif
// Vectors (forward) or taps (gradient) worked on together with C channels; more would need too many pointers.
template <int C>
constexpr int together = registers / C < 4 ? registers / C : 4;

// Keeps a value that is used several times in a register: GCC would load it again for each.
template <class V>
[[gnu::always_inline]] inline V held(V v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#endif
    return v;
}

template <class T, int C>
void forward(const T* x, const long* offset, long taps, const T* w, const T* bias, const PlanarSlot* slots, long n,
             T* y, long plane) {
    constexpr int N = together<C>;
    for (long s = 0; s < n; s += N) {
        const PlanarSlot* slot[N];
        const T* from[N];
#pragma GCC unroll 4
        for (int v = 0; v < N; v++) {
            slot[v] = slots + (s + v < n ? s + v : n - 1);  // the last one again, where there are no more
            from[v] = x + slot[v]->from;
        }
        Vec<T> acc[C][N];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++)
#pragma GCC unroll 8
            for (int v = 0; v < N; v++) acc[c][v] = splat(bias[c]);
        for (long t = 0; t < taps; t++) {
            const T* weight = w + t * planar_outs;
            const long tap = offset[t];
            Vec<T> pixels[N];
#pragma GCC unroll 8
            for (int v = 0; v < N; v++) pixels[v] = held(load(from[v] + tap));
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) {
                const Vec<T> factor = splat(weight[c]);
#pragma GCC unroll 8
                for (int v = 0; v < N; v++) acc[c][v] = fma(factor, pixels[v], acc[c][v]);
            }
        }
#pragma GCC unroll 4
        for (int v = 0; v < N; v++) {
            T* to = y + slot[v]->to;
            const long count = slot[v]->count;
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) store_some(to + c * plane, acc[c][v], count);
        }
    }
}

template <class T, int C, int Taps>
[[gnu::always_inline]] inline void gradient_of(const T* x, const long* offset, const T* g, long plane,
                                               const PlanarSlot* slots, long n, T* sums) {
    constexpr int L = lanes<T>;
    Vec<T> acc[Taps][C];
#pragma GCC unroll 4
    for (int t = 0; t < Taps; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[t][c] = load(sums + (t * planar_outs + c) * L);
    for (const PlanarSlot* slot = slots; slot < slots + n; slot++) {
        Vec<T> pixels[Taps];
#pragma GCC unroll 4
        for (int t = 0; t < Taps; t++) pixels[t] = held(load_some(x + offset[t] + slot->from, slot->count));
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            const Vec<T> grad = held(load_some(g + c * plane + slot->to, slot->count));
#pragma GCC unroll 4
            for (int t = 0; t < Taps; t++) acc[t][c] = fma(pixels[t], grad, acc[t][c]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < Taps; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) store(sums + (t * planar_outs + c) * L, acc[t][c]);
}

template <class T, int C>
void gradient(const T* x, const long* offset, long taps, const T* g, long plane, const PlanarSlot* slots, long n,
              T* sums) {
    constexpr int N = together<C>;
    constexpr long step = planar_outs * lanes<T>;
    long t = 0;
    for (; t + N <= taps; t += N) gradient_of<T, C, N>(x, offset + t, g, plane, slots, n, sums + t * step);
    for (; t < taps; t++) gradient_of<T, C, 1>(x, offset + t, g, plane, slots, n, sums + t * step);
}

template <class V, int... I>
void split_in_two(const elem<V>* s, elem<V>* even, elem<V>* odd, std::integer_sequence<int, I...>) {
    const V a = load(s), b = load(s + sizeof...(I));
    store(even, __builtin_shufflevector(a, b, (2 * I)...));
    store(odd, __builtin_shufflevector(a, b, (2 * I + 1)...));
}

template <class T>
void split(const T* s, long n, long step, T* d, long pitch) {
    constexpr long L = lanes<T>;
    long i = 0;
    for (; step == 2 && 2 * (i + L) <= n; i += L)
        split_in_two<Vec<T>>(s + 2 * i, d + i, d + pitch + i, std::make_integer_sequence<int, L>{});
    for (long phase = 0; phase < step; phase++)
        for (long j = i; j * step + phase < n; j++) d[phase * pitch + j] = s[j * step + phase];
}

template <class T, int... I>
constexpr PlanarKernels<T> table(std::integer_sequence<int, I...>) {
    return {{&forward<T, I + 1>...}, {&gradient<T, I + 1>...}, &split<T>};
}

}  // namespace

extern const PlanarTables planar_kernels = {table<float>(std::make_integer_sequence<int, planar_outs>{}),
                                            table<double>(std::make_integer_sequence<int, planar_outs>{})};

}  // namespace chainrule::CHAINRULE_ISA
