// Batch and layer normalisation, for each instruction set. Bound by memory: statistics read x once, applying reads and
// writes once. From the caches 30-80 GB/s on one core of Zen 4 (planes of 4x4 to 28x28), else what memory gives.
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

// Two values, or two sums.
template <class T>
struct Two {
    Vec<T> a, b;
};

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int side_by_side = 4;  // vectors of a row summed at once
#else
constexpr int side_by_side = 2;
#endif

// The sums over rows of both values of f(row, vector), for N vectors side by side; two rows in flight.
template <class T, int N, class F>
[[gnu::always_inline]] inline void sum_columns(long rows, Two<T> (&sum)[N], F f) {
    Two<T> odd[N] = {};
    const auto add = [&](Two<T>(&to)[N], long r) {
#pragma GCC unroll 4
        for (int v = 0; v < N; v++) {
            const Two<T> x = f(r, v);
            to[v].a += x.a, to[v].b += x.b;
        }
    };
#pragma GCC unroll 4
    for (int v = 0; v < N; v++) sum[v].a = sum[v].b = Vec<T>{};
    long r = 0;
    for (; r + 2 <= rows; r += 2) add(sum, r), add(odd, r + 1);
    if (r < rows) add(sum, r);
#pragma GCC unroll 4
    for (int v = 0; v < N; v++) sum[v].a += odd[v].a, sum[v].b += odd[v].b;
}

// Calls f.template operator()<N>(first column, columns) over c columns in N vectors where there are as many.
template <class T, class F>
[[gnu::always_inline]] inline void each_columns(long c, F f) {
    long j = 0;
    for (; j + side_by_side * lanes<T> <= c; j += side_by_side * lanes<T>)
        f.template operator()<side_by_side>(j, side_by_side * lanes<T>);
    for (; j < c; j += lanes<T>) f.template operator()<1>(j, c - j < lanes<T> ? c - j : lanes<T>);
}

template <class T>
void moments_rows(const T* x, long rows, long c, double* mean, double* m2) {
    constexpr long L = lanes<T>;
    for (long j = 0; j < c; j++) mean[j] = m2[j] = 0;
    for (long r0 = 0; r0 < rows; r0 += block_rows) {
        const long n = rows - r0 < block_rows ? rows - r0 : block_rows;
        each_columns<T>(c, [&]<int N>(long j, long width) {
            const T* p = x + r0 * c + j;
            const auto value = [&](long r, int v) { return load_some(p + r * c + v * L, width); };
            Two<T> sum[N];
            sum_columns<T, N>(n, sum, [&](long r, int v) -> Two<T> {
                __builtin_prefetch(p + (r + block_rows) * c + v * L);  // columns are no stream to the hardware
                return {value(r, v), Vec<T>{}};
            });
            Vec<T> centre[N];
            for (int v = 0; v < N; v++) centre[v] = sum[v].a * splat(T(1) / static_cast<T>(n));
            // the sum of the distances (zero but for the rounding of the centre) and that of their squares
            sum_columns<T, N>(n, sum, [&](long r, int v) -> Two<T> {
                const Vec<T> d = value(r, v) - centre[v];
                return {d, d * d};
            });
            const double count = static_cast<double>(n);
            for (long i = 0; i < width; i++) {
                const double shift = static_cast<double>(sum[i / L].a[i % L]) / count;
                merge(mean[j + i], m2[j + i], static_cast<double>(r0), count,
                      static_cast<double>(centre[i / L][i % L]) + shift,
                      static_cast<double>(sum[i / L].b[i % L]) - shift * shift * count);
            }
        });
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

// The sums of two such functions at once, f giving both: eight sums in flight again.
template <class T, class F>
[[gnu::always_inline]] inline void sum_both(long n, double& sum_a, double& sum_b, F f) {
    constexpr long L = lanes<T>;
    Vec<T> a[4] = {}, b[4] = {};
    const auto add = [&](int u, long i, long w) {
        const Two<T> v = f(i, w);
        a[u] += v.a, b[u] += v.b;
    };
    long i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) add(u, i + u * L, L);
    for (; i + L <= n; i += L) add(0, i, L);
    if (i < n) add(1, i, n - i);
    sum_a += static_cast<double>(sum((a[0] + a[1]) + (a[2] + a[3])));
    sum_b += static_cast<double>(sum((b[0] + b[1]) + (b[2] + b[3])));
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
        double rest = 0, squares = 0;  // the sum of the distances: zero but for the rounding of the centre
        sum_both<T>(count, rest, squares, [&](long i, long w) -> Two<T> {
            Vec<T> d = load_some(p + i, w) - centre;
            if (w < lanes<T>) d = first_lanes<T>(d, w);
            return {d, d * d};
        });
        const double shift = rest / size;
        merge(*mean, *m2, static_cast<double>(i0), size, static_cast<double>(centre[0]) + shift,
              squares - shift * shift * size);
    }
}

// Short runs are put side by side: at least one, else as many as make a block.
template <class T>
long put_together(const T* x, long runs, long step, long n, T* d) {
    long r = 0;
    for (; r < runs && (r == 0 || (r + 1) * n <= block_run); r++)
        for (long i = 0; i < n; i += lanes<T>) store(d + r * n + i, load_some(x + r * step + i, n - i));
    return r;
}

template <class T>
void moments_runs(const T* x, long runs, long step, long n, double* mean, double* m2) {
    if (runs == 1) return moments_run(x, n, mean, m2);
    *mean = *m2 = 0;
    for (long r = 0, count; r < runs; r += count) {
        T block[block_run + lanes<T>];
        const bool small = 2 * n <= block_run;
        count = small ? put_together(x + r * step, runs - r, step, n, block) : 1;
        double part_mean, part_m2;
        moments_run(small ? block : x + r * step, count * n, &part_mean, &part_m2);
        merge(*mean, *m2, static_cast<double>(r * n), static_cast<double>(count * n), part_mean, part_m2);
    }
}

template <class T>
void sums_rows(const T* g, const T* x, long rows, long c, const T* mean, double* sum_g, double* sum_gx) {
    constexpr long L = lanes<T>;
    for (long r0 = 0; r0 < rows; r0 += block_rows) {
        const long n = rows - r0 < block_rows ? rows - r0 : block_rows;
        each_columns<T>(c, [&]<int N>(long j, long width) {
            const T *pg = g + r0 * c + j, *px = x + r0 * c + j;
            Vec<T> centre[N];
            for (int v = 0; v < N; v++) centre[v] = load_some(mean + j + v * L, width);
            Two<T> sum[N];
            sum_columns<T, N>(n, sum, [&](long r, int v) -> Two<T> {
                __builtin_prefetch(pg + (r + block_rows) * c + v * L);
                __builtin_prefetch(px + (r + block_rows) * c + v * L);
                const Vec<T> grad = load_some(pg + r * c + v * L, width);
                return {grad, grad * (load_some(px + r * c + v * L, width) - centre[v])};
            });
            for (long i = 0; i < width; i++) {
                sum_g[j + i] += static_cast<double>(sum[i / L].a[i % L]);
                sum_gx[j + i] += static_cast<double>(sum[i / L].b[i % L]);
            }
        });
    }
}

template <class T>
void sums_run(const T* g, const T* x, long n, T mean, double* sum_g, double* sum_gx) {
    const Vec<T> centre = splat(mean);
    for (long i0 = 0; i0 < n; i0 += block_run) {
        const long count = n - i0 < block_run ? n - i0 : block_run;
        sum_both<T>(count, *sum_g, *sum_gx, [&](long i, long w) -> Two<T> {
            const Vec<T> grad = load_some(g + i0 + i, w);
            return {grad, grad * (load_some(x + i0 + i, w) - centre)};  // g is zero in lanes not in use
        });
    }
}

template <class T>
void sums_runs(const T* g, const T* x, long runs, long step, long n, T mean, double* sum_g, double* sum_gx) {
    const bool small = 2 * n <= block_run;
    for (long r = 0, count; r < runs; r += count) {
        T grads[block_run + lanes<T>], values[block_run + lanes<T>];
        count = small ? put_together(g + r * step, runs - r, step, n, grads) : 1;
        if (small) put_together(x + r * step, count, step, n, values);
        sums_run(small ? grads : g + r * step, small ? values : x + r * step, count * n, mean, sum_g, sum_gx);
    }
}

// Calls f(element, channel, elements in use) for rows of c channels, in the order of memory.
template <class T, class F>
[[gnu::always_inline]] inline void each_in_rows(long rows, long c, F f) {
    for (long r = 0; r < rows; r++)
        for (long j = 0; j < c; j += lanes<T>) f(r * c + j, j, c - j);
}

template <class T>
void apply_rows(const T* x, long rows, long c, const T* mean, const T* a, const T* b, T* y) {
    each_in_rows<T>(rows, c, [&](long at, long j, long n) {
        const Vec<T> v = load_some(x + at, n) - load_some(mean + j, n);
        store_some(y + at, fma(v, load_some(a + j, n), load_some(b + j, n)), n);
    });
}

// Runs of n elements, one channel after the other.
template <class T>
void apply_runs(const T* x, long runs, long n, const T* mean, const T* a, const T* b, T* y) {
    for (long r = 0; r < runs; r++, x += n, y += n) {
        const Vec<T> m = splat(mean[r]), va = splat(a[r]), vb = splat(b[r]);
        for (long i = 0; i < n; i += lanes<T>) store_some(y + i, fma(load_some(x + i, n - i) - m, va, vb), n - i);
    }
}

template <class T>
void back_rows(const T* g, const T* x, long rows, long c, const T* mean, const T* a, const T* b, const T* k, T* gx) {
    each_in_rows<T>(rows, c, [&](long at, long j, long n) {
        const Vec<T> v = fma(load_some(x + at, n) - load_some(mean + j, n), load_some(b + j, n), load_some(k + j, n));
        store_some(gx + at, fma(load_some(g + at, n), load_some(a + j, n), v), n);
    });
}

template <class T>
void back_runs(const T* g, const T* x, long runs, long n, const T* mean, const T* a, const T* b, const T* k, T* gx) {
    for (long r = 0; r < runs; r++, g += n, x += n, gx += n) {
        const Vec<T> m = splat(mean[r]), va = splat(a[r]), vb = splat(b[r]), vk = splat(k[r]);
        for (long i = 0; i < n; i += lanes<T>) {
            const long w = n - i;
            store_some(gx + i, fma(load_some(g + i, w), va, fma(load_some(x + i, w) - m, vb, vk)), w);
        }
    }
}

// Values along the run: one where there are none.
template <class T>
Vec<T> weight_at(const T* w, long i, long n) {
    return w ? load_some(w + i, n) : splat(T(1));
}

// f(i, w) for the vectors of n elements, the last of which may be partial.
template <class T, class F>
[[gnu::always_inline]] inline void each_vector(long n, F f) {
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) f(i, static_cast<long>(lanes<T>));
    if (i < n) f(i, n - i);
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
        sum_both<T>(count, *sum_g, *sum_gx, [&](long i, long k) -> Two<T> {
            const Vec<T> grad = load_some(g + i0 + i, k) * weight_at(w, i0 + i, k);
            return {grad, grad * (load_some(x + i0 + i, k) - centre)};  // g is zero in lanes not in use
        });
    }
}

// Rows are summed few at once: what follows of a sum takes longer than a short row itself, and then it overlaps.
constexpr int few = NormKernels<float>::few;
constexpr long short_row = NormKernels<float>::short_row;

// Of `rows` rows, at most `few`: the others are the first once more.
template <class T>
void row_starts(const T* x, long rows, long n, const T* (&start)[few]) {
    for (long r = 0; r < few; r++) start[r] = x + (r < rows ? r : 0) * n;
}

// Mean and m2 of some rows.
template <class T>
void sample_moments(const T* x, long rows, long n, double* mean, double* m2) {
    if (n > short_row) {
        for (long r = 0; r < rows; r++) moments_run(x + r * n, n, mean + r, m2 + r);
        return;
    }
    const T* p[few];
    row_starts(x, rows, n, p);
    const double size = static_cast<double>(n);
    Vec<T> total[few] = {}, rest[few] = {}, squares[few] = {}, centre[few];
    each_vector<T>(n, [&](long i, long w) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int r = 0; r < few; r++) total[r] += load_some(p[r] + i, w);
    });
#pragma GCC unroll 4
    for (int r = 0; r < few; r++) centre[r] = splat(static_cast<T>(static_cast<double>(sum(total[r])) / size));
    each_vector<T>(n, [&](long i, long w) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int r = 0; r < few; r++) {
            Vec<T> d = load_some(p[r] + i, w) - centre[r];
            if (w < lanes<T>) d = first_lanes<T>(d, w);
            rest[r] += d;
            squares[r] = fma(d, d, squares[r]);
        }
    });
    for (long r = 0; r < rows; r++) {
        const double shift = static_cast<double>(sum(rest[r])) / size;  // zero but for the rounding of the centre
        mean[r] = static_cast<double>(centre[r][0]) + shift;
        m2[r] = static_cast<double>(sum(squares[r])) - shift * shift * size;
    }
}

template <class T>
void sample_sums(const T* g, const T* x, long rows, long n, const T* mean, const T* w, double* sum_g, double* sum_gx) {
    if (n > short_row) {
        for (long r = 0; r < rows; r++) sample_sums(g + r * n, x + r * n, n, mean[r], w, sum_g + r, sum_gx + r);
        return;
    }
    const T *pg[few], *px[few];
    row_starts(g, rows, n, pg);
    row_starts(x, rows, n, px);
    Vec<T> a[few] = {}, b[few] = {}, centre[few];
    for (long r = 0; r < few; r++) centre[r] = splat(mean[r < rows ? r : 0]);
    each_vector<T>(n, [&](long i, long k) __attribute__((always_inline)) {
        const Vec<T> weight = weight_at(w, i, k);
#pragma GCC unroll 4
        for (int r = 0; r < few; r++) {
            const Vec<T> grad = load_some(pg[r] + i, k) * weight;
            a[r] += grad;
            b[r] = fma(grad, load_some(px[r] + i, k) - centre[r], b[r]);  // g is zero in lanes not in use
        }
    });
    for (long r = 0; r < rows; r++) {
        sum_g[r] = static_cast<double>(sum(a[r]));
        sum_gx[r] = static_cast<double>(sum(b[r]));
    }
}

// One pass for what is asked for: the gradient of the row, and its part in those of weight and bias.
template <class T, bool to_row, bool to_weight, bool to_bias>
void sample_pass(const T* g, const T* x, long n, T mean, const T* w, T a, T b, T k, T* gx, T* gw, T* gb) {
    const Vec<T> m = splat(mean), va = splat(a), vb = splat(b), vk = splat(k);
    const auto step = [&](long i, long some) __attribute__((always_inline)) {
        const Vec<T> gradient = load_some(g + i, some), distance = load_some(x + i, some) - m;
        if constexpr (to_row)
            store_some(gx + i, fma(gradient * weight_at(w, i, some), va, fma(distance, vb, vk)), some);
        if constexpr (to_weight) store_some(gw + i, fma(gradient, distance * va, load_some(gw + i, some)), some);
        if constexpr (to_bias) store_some(gb + i, load_some(gb + i, some) + gradient, some);
    };
    each_vector<T>(n, step);
}

template <class T>
void sample_back(const T* g, const T* x, long n, T mean, const T* w, T a, T b, T k, T* gx, T* gw, T* gb) {
    const auto pass = gx ? gw ? gb ? &sample_pass<T, true, true, true> : &sample_pass<T, true, true, false>
                              : gb ? &sample_pass<T, true, false, true> : &sample_pass<T, true, false, false>
                         : gw ? gb ? &sample_pass<T, false, true, true> : &sample_pass<T, false, true, false>
                              : &sample_pass<T, false, false, true>;
    pass(g, x, n, mean, w, a, b, k, gx, gw, gb);
}

template <class T>
constexpr NormKernels<T> table() {
    return {&moments_rows<T>, &moments_runs<T>, &sums_rows<T>,    &sums_runs<T>,  &moments_run<T>,
            &sums_run<T>,     &apply_rows<T>,   &apply_runs<T>,   &back_rows<T>,  &back_runs<T>,
            &sample_moments<T>, &sample_apply<T>, &sample_sums<T>, &sample_back<T>};
}

}  // namespace

extern const NormTables norm_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
