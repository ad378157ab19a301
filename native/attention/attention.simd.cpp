// Rows of scores, for each instruction set. Bound by exp: about 1 ns a vector of floats.
#include <utility>

#include "attention/kernels.h"
#include "core/simd.h"
#include "core/vmath.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto greater = [](auto a, auto b) { return maximum(a, b); };  // a NaN stays

// Lane i: f over all lanes of v[i]. So many rows cost hardly more than one, whose shuffles wait for each other.
template <class T, int H = lanes<T> / 2, class F, int... I>
Vec<T> each_across(Vec<T>* v, F f, std::integer_sequence<int, I...> lane) {
#pragma GCC unroll 8
    for (int i = 0; i < H; i++)
        v[i] = f(Vec<T>(__builtin_shufflevector(v[i], v[i + H], (I & H ? I + lanes<T> : I)...)),
                 Vec<T>(__builtin_shufflevector(v[i], v[i + H], (I & H ? (I ^ H) + lanes<T> : I ^ H)...)));
    if constexpr (H > 1)
        return each_across<T, H / 2>(v, f, lane);
    else
        return v[0];
}
template <class T>
constexpr auto lane_numbers = std::make_integer_sequence<int, lanes<T>>{};

template <class T>
alignas(64) constexpr T ramp[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// v in the first n lanes, `rest` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> v, long n, T rest) {
    return select(load(ramp<T>) < splat(static_cast<T>(n)), v, splat(rest));
}

template <class T>
constexpr T lowest = -static_cast<T>(__builtin_inf());

// Scores as the softmax takes them: scaled, -inf where the query may not look, and beyond the n-th.
template <class T>
[[gnu::always_inline]] inline Vec<T> score(const T* s, const T* added, long i, long n, Vec<T> scale) {
    Vec<T> x = load(s + i) * scale;
    if (added) {
        const Vec<T> a = load(added + i);
        x = a == splat(lowest<T>) ? a : x + a;
    }
    return i + lanes<T> > n ? first_lanes(x, n - i, lowest<T>) : x;
}

// In passes over all rows: the exponentials of one are then under way while those of the next begin.
template <class T>
void forward(const ScoreRows<T>& rows) {
    constexpr int L = lanes<T>;
    const Vec<T> scale = splat(rows.scale), none = splat(lowest<T>), zero{}, one = splat(T(1));
    for (long r0 = 0; r0 < rows.rows; r0 += L) {
        const long count = rows.rows - r0 < L ? rows.rows - r0 : L;
        Vec<T> found[L];
        for (int r = 0; r < L; r++) {
            found[r] = none;
            if (r >= count) continue;
            const long n = rows.seen[r0 + r];
            T* s = rows.s + (r0 + r) * rows.pitch;
            const T* added = rows.added ? rows.added + (r0 + r) * rows.added_pitch : nullptr;
            long i = 0;
            for (; i < n; i += L) {
                const Vec<T> x = score(s, added, i, n, scale);
                store(s + i, x);
                found[r] = maximum(x, found[r]);
            }
            for (; i < rows.width; i += L) store(s + i, zero);
        }
        const Vec<T> now = each_across<T>(found, greater, lane_numbers<T>), before = load_some(rows.top + r0, count);
        const Vec<T> top = select(before == before, select(before > now, before, now), before);
        const Vec<T> shrink = select(before == top, one, select(before == none, zero, Vec<T>(exp(before - top))));
        alignas(64) T tops[L];
        store(tops, select(top == none, zero, top));  // nowhere to look yet: exponentials of -inf
        for (int r = 0; r < L; r++) {
            found[r] = zero;
            if (r >= count) continue;
            const long n = rows.seen[r0 + r];
            T* s = rows.s + (r0 + r) * rows.pitch;
            const Vec<T> m = splat(tops[r]);
            for (long i = 0; i < n; i += L) {
                const Vec<T> e = exp(load(s + i) - m);
                store(s + i, e);
                found[r] += e;
            }
        }
        const Vec<T> sum = each_across<T>(found, add, lane_numbers<T>);
        store_some(rows.total + r0, load_some(rows.total + r0, count) * shrink + sum, count);
        store_some(rows.top + r0, top, count);
        store_some(rows.shrink + r0, shrink, count);
    }
}

template <class T>
void finish(T* total, const T* top, T* logsumexp, long rows) {
    alignas(64) T t[16] = {}, m[16] = {}, l[16];
    for (long r = 0; r < rows; r++) t[r] = total[r], m[r] = top[r];
    for (long i = 0; i < rows; i += lanes<T>) {
        const Vec<T> sum = load(t + i), none = splat(T(0));
        store(l + i, sum == none ? splat(-lowest<T>) : load(m + i) + log(sum));
        store(t + i, sum == none ? none : splat(T(1)) / sum);
    }
    for (long r = 0; r < rows; r++) total[r] = t[r], logsumexp[r] = l[r];
}

template <class T>
void backward(const GradientRows<T>& rows) {
    constexpr int L = lanes<T>;
    const Vec<T> scale = splat(rows.scale), one = splat(T(1)), zero{};
    for (long r = 0; r < rows.rows; r++) {
        T *s = rows.s + r * rows.pitch, *dp = rows.dp + r * rows.pitch;
        const T* added = rows.added ? rows.added + r * rows.added_pitch : nullptr;
        const T* kept = rows.kept ? rows.kept + r * rows.kept_pitch : nullptr;
        const long n = rows.seen[r];
        const Vec<T> rest = splat(rows.logsumexp[r]), d = splat(rows.dots[r]);
        long i = 0;
        for (; i < n; i += L) {
            const Vec<T> p = exp(score(s, added, i, n, scale) - rest), g = load(dp + i);
            const Vec<T> k = kept ? load(kept + i) : one;
            Vec<T> ds = p * (g * k - d) * scale, pk = p * k;
            if (i + L > n) ds = first_lanes(ds, n - i, T(0)), pk = first_lanes(pk, n - i, T(0));
            store(dp + i, ds);
            store(s + i, pk);
        }
        for (; i < rows.width; i += L) {
            store(dp + i, zero);
            store(s + i, zero);
        }
    }
}

template <class T>
void multiply(T* x, const T* by, long n) {
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store(x + i, load(x + i) * load(by + i));
    for (; i < n; i++) x[i] *= by[i];
}

template <class T>
void scaled(T* to, long to_row, const T* from, long from_row, const T* factors, long rows, long n) {
    for (long r = 0; r < rows; r++, to += to_row, from += from_row) {
        const Vec<T> factor = splat(factors ? factors[r] : T(1));
        for (long i = 0; i < n; i += lanes<T>) store_some(to + i, load_some(from + i, n - i) * factor, n - i);
    }
}

template <class T>
void dots(T* to, const T* a, long a_row, const T* b, long b_row, long rows, long n) {
    constexpr int L = lanes<T>;
    for (long r0 = 0; r0 < rows; r0 += L) {
        const long count = rows - r0 < L ? rows - r0 : L;
        Vec<T> sums[L] = {};
        for (long r = 0; r < count; r++)
            for (long i = 0; i < n; i += L)
                sums[r] = fma(load_some(a + (r0 + r) * a_row + i, n - i), load_some(b + (r0 + r) * b_row + i, n - i),
                              sums[r]);
        store_some(to + r0, each_across<T>(sums, add, lane_numbers<T>), count);
    }
}

template <class T>
void rotate(T* y, const T* x, const T* cos, const T* sin, long half) {
    for (long i = 0; i < half; i += lanes<T>) {
        const long n = half - i;
        const Vec<T> a = load_some(x + i, n), b = load_some(x + half + i, n);
        const Vec<T> c = load_some(cos + i, n), s = load_some(sin + i, n);
        store_some(y + i, a * c - b * s, n);
        store_some(y + half + i, b * c + a * s, n);
    }
}

template <class T>
constexpr AttentionKernels<T> kernels = {&forward<T>, &backward<T>, &multiply<T>, &scaled<T>,
                                         &dots<T>,    &finish<T>,   &rotate<T>};

}  // namespace

extern const AttentionTables attention_kernels;
const AttentionTables attention_kernels = {kernels<float>, kernels<double>};

}  // namespace chainrule::CHAINRULE_ISA
