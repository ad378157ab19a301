// Batch and layer normalisation, for each instruction set. Bound by memory: statistics read x once, applying reads and writes
// once.
//
// Sums run in T over 64 rows (or 1024 elements) that stay in the L1 cache, and in double over these blocks. The squared
// distances of a block are taken from the block's own mean and the blocks merged by Chan, Golub and LeVeque (1979), so
// that a mean far from zero costs no accuracy.
#include "core/simd.h"
#include "norm/kernels.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

constexpr long block_rows = 64, block_run = 1024;

// Adds `count` elements of the given mean and m2 to `before` ones.
inline void merge(double& mean, double& m2, double before, double count, double part_mean, double part_m2) {
    const double delta = part_mean - mean, share = count / (before + count);
    mean += delta * share;
    m2 += part_m2 + delta * delta * before * share;
}

// The sum of f(row): eight sums in flight hide the latency of an addition.
template <class T, class F>
[[gnu::always_inline]] inline Vec<T> sum_rows(long rows, F f) {
    Vec<T> sum[8] = {};
    long r = 0;
    for (; r + 8 <= rows; r += 8)
#pragma GCC unroll 8
        for (int u = 0; u < 8; u++) sum[u] += f(r + u);
    for (; r < rows; r++) sum[0] += f(r);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

template <class T>
void moments_rows(const T* x, long rows, long c, double* mean, double* m2) {
    for (long j = 0; j < c; j++) mean[j] = m2[j] = 0;
    for (long r0 = 0; r0 < rows; r0 += block_rows) {
        const long n = rows - r0 < block_rows ? rows - r0 : block_rows;
        for (long j = 0; j < c; j += lanes<T>) {
            const long width = c - j < lanes<T> ? c - j : lanes<T>;
            const T* p = x + r0 * c + j;
            const Vec<T> centre =
                sum_rows<T>(n, [&](long r) { return load_some(p + r * c, width); }) * splat(T(1) / static_cast<T>(n));
            // the sum of the distances: zero but for the rounding of the centre
            const Vec<T> rest = sum_rows<T>(n, [&](long r) { return load_some(p + r * c, width) - centre; });
            const Vec<T> squares = sum_rows<T>(n, [&](long r) {
                const Vec<T> d = load_some(p + r * c, width) - centre;
                return d * d;
            });
            for (long i = 0; i < width; i++) {
                const double shift = static_cast<double>(rest[i]) / static_cast<double>(n);
                merge(mean[j + i], m2[j + i], static_cast<double>(r0), static_cast<double>(n),
                      static_cast<double>(centre[i]) + shift,
                      static_cast<double>(squares[i]) - shift * shift * static_cast<double>(n));
            }
        }
    }
}

// Sums over consecutive elements: f(offset, lanes in use) must be zero in lanes not in use.
template <class T, class F>
[[gnu::always_inline]] inline double sum_run(long n, F f) {
    const long whole = n / lanes<T>;
    Vec<T> total = sum_rows<T>(whole, [&](long i) { return f(i * lanes<T>, static_cast<long>(lanes<T>)); });
    if (whole * lanes<T> < n) total += f(whole * lanes<T>, n - whole * lanes<T>);
    return static_cast<double>(sum(total));
}

template <class T>
Vec<T> first_lanes(Vec<T> v, long n) {
    T values[lanes<T>] = {};
    store_some(values, v, n);
    return load(values);
}

template <class T>
void moments_run(const T* x, long n, double* mean, double* m2) {
    *mean = *m2 = 0;
    for (long i0 = 0; i0 < n; i0 += block_run) {
        const long count = n - i0 < block_run ? n - i0 : block_run;
        const T* p = x + i0;
        const double size = static_cast<double>(count);
        const double exact = sum_run<T>(count, [&](long i, long w) { return load_some(p + i, w); }) / size;
        const Vec<T> centre = splat(static_cast<T>(exact));
        const auto distance = [&](long i, long w) {
            const Vec<T> d = load_some(p + i, w) - centre;
            return w < lanes<T> ? first_lanes<T>(d, w) : d;
        };
        const double shift = sum_run<T>(count, distance) / size;
        const double squares = sum_run<T>(count, [&](long i, long w) { return distance(i, w) * distance(i, w); });
        merge(*mean, *m2, static_cast<double>(i0), size, static_cast<double>(centre[0]) + shift,
              squares - shift * shift * size);
    }
}

template <class T>
void sums_rows(const T* g, const T* x, long rows, long c, const T* mean, double* sum_g, double* sum_gx) {
    for (long r0 = 0; r0 < rows; r0 += block_rows) {
        const long n = rows - r0 < block_rows ? rows - r0 : block_rows;
        for (long j = 0; j < c; j += lanes<T>) {
            const long width = c - j < lanes<T> ? c - j : lanes<T>;
            const T *pg = g + r0 * c + j, *px = x + r0 * c + j;
            const Vec<T> centre = load_some(mean + j, width);
            const Vec<T> gs = sum_rows<T>(n, [&](long r) { return load_some(pg + r * c, width); });
            const Vec<T> gxs = sum_rows<T>(
                n, [&](long r) { return load_some(pg + r * c, width) * (load_some(px + r * c, width) - centre); });
            for (long i = 0; i < width; i++) {
                sum_g[j + i] += static_cast<double>(gs[i]);
                sum_gx[j + i] += static_cast<double>(gxs[i]);
            }
        }
    }
}

template <class T>
void sums_run(const T* g, const T* x, long n, T mean, double* sum_g, double* sum_gx) {
    const Vec<T> centre = splat(mean);
    for (long i0 = 0; i0 < n; i0 += block_run) {
        const long count = n - i0 < block_run ? n - i0 : block_run;
        *sum_g += sum_run<T>(count, [&](long i, long w) { return load_some(g + i0 + i, w); });
        *sum_gx += sum_run<T>(count, [&](long i, long w) {
            return load_some(g + i0 + i, w) * (load_some(x + i0 + i, w) - centre);  // g is zero in lanes not in use
        });
    }
}

// Per-channel values are loaded once for 8 rows.
template <class T>
void apply_rows(const T* x, long rows, long c, const T* mean, const T* a, const T* b, T* y) {
    for (long r0 = 0; r0 < rows; r0 += 8) {
        const long r1 = rows - r0 < 8 ? rows : r0 + 8;
        for (long j = 0; j < c; j += lanes<T>) {
            const long width = c - j;
            const Vec<T> m = load_some(mean + j, width), va = load_some(a + j, width), vb = load_some(b + j, width);
            for (long r = r0; r < r1; r++)
                store_some(y + r * c + j, fma(load_some(x + r * c + j, width) - m, va, vb), width);
        }
    }
}

template <class T>
void apply_run(const T* x, long n, T mean, T a, T b, T* y) {
    const Vec<T> m = splat(mean), va = splat(a), vb = splat(b);
    for (long i = 0; i < n; i += lanes<T>) store_some(y + i, fma(load_some(x + i, n - i) - m, va, vb), n - i);
}

template <class T>
void back_rows(const T* g, const T* x, long rows, long c, const T* mean, const T* a, const T* b, const T* k, T* gx) {
    for (long r0 = 0; r0 < rows; r0 += 8) {
        const long r1 = rows - r0 < 8 ? rows : r0 + 8;
        for (long j = 0; j < c; j += lanes<T>) {
            const long width = c - j;
            const Vec<T> m = load_some(mean + j, width), va = load_some(a + j, width), vb = load_some(b + j, width);
            const Vec<T> vk = load_some(k + j, width);
            for (long r = r0; r < r1; r++) {
                const long at = r * c + j;
                store_some(gx + at, fma(load_some(g + at, width), va, fma(load_some(x + at, width) - m, vb, vk)),
                           width);
            }
        }
    }
}

template <class T>
void back_run(const T* g, const T* x, long n, T mean, T a, T b, T k, T* gx) {
    const Vec<T> m = splat(mean), va = splat(a), vb = splat(b), vk = splat(k);
    for (long i = 0; i < n; i += lanes<T>) {
        const long w = n - i;
        store_some(gx + i, fma(load_some(g + i, w), va, fma(load_some(x + i, w) - m, vb, vk)), w);
    }
}

// Values along the run: one where there are none.
template <class T>
Vec<T> weight_at(const T* w, long i, long n) {
    return w ? load_some(w + i, n) : splat(T(1));
}

template <class T>
void sample_apply(const T* x, long n, T mean, T a, const T* w, const T* b, T* y) {
    const Vec<T> m = splat(mean), va = splat(a);
    for (long i = 0; i < n; i += lanes<T>) {
        const Vec<T> unit = (load_some(x + i, n - i) - m) * va * weight_at(w, i, n - i);
        store_some(y + i, b ? unit + load_some(b + i, n - i) : unit, n - i);
    }
}

template <class T>
void sample_sums(const T* g, const T* x, long n, T mean, const T* w, double* sum_g, double* sum_gx) {
    const Vec<T> centre = splat(mean);
    *sum_g = *sum_gx = 0;
    for (long i0 = 0; i0 < n; i0 += block_run) {
        const long count = n - i0 < block_run ? n - i0 : block_run;
        const auto gradient = [&](long i, long k) { return load_some(g + i0 + i, k) * weight_at(w, i0 + i, k); };
        *sum_g += sum_run<T>(count, gradient);
        *sum_gx += sum_run<T>(count, [&](long i, long k) {
            return gradient(i, k) * (load_some(x + i0 + i, k) - centre);  // g is zero in lanes not in use
        });
    }
}

template <class T>
void sample_back(const T* g, const T* x, long n, T mean, const T* w, T a, T b, T k, T* gx) {
    const Vec<T> m = splat(mean), va = splat(a), vb = splat(b), vk = splat(k);
    for (long i = 0; i < n; i += lanes<T>) {
        const long some = n - i;
        const Vec<T> gradient = load_some(g + i, some) * weight_at(w, i, some);
        store_some(gx + i, fma(gradient, va, fma(load_some(x + i, some) - m, vb, vk)), some);
    }
}

template <class T>
void sample_params(const T* g, const T* x, long n, T mean, T a, T* gw, T* gb) {
    const Vec<T> m = splat(mean), va = splat(a);
    for (long i = 0; i < n; i += lanes<T>) {
        const long some = n - i;
        const Vec<T> gradient = load_some(g + i, some);
        if (gw) store_some(gw + i, fma(gradient, (load_some(x + i, some) - m) * va, load_some(gw + i, some)), some);
        if (gb) store_some(gb + i, load_some(gb + i, some) + gradient, some);
    }
}

template <class T>
constexpr NormKernels<T> table() {
    return {&moments_rows<T>, &moments_run<T>, &sums_rows<T>,    &sums_run<T>,    &apply_rows<T>,  &apply_run<T>,
            &back_rows<T>,    &back_run<T>,    &sample_apply<T>, &sample_sums<T>, &sample_back<T>, &sample_params<T>};
}

}  // namespace

extern const NormTables norm_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
