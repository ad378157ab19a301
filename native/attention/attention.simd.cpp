// Rows of scores, for each instruction set. Bound by exp: about 1 ns a vector of floats.
#include <utility>

#include "attention/kernels.h"
#include "core/simd.h"
#include "core/vmath.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <int H, class V, int... I>
V exchanged(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I ^ H)...);
}

// f over all lanes.
template <class T, int H = lanes<T> / 2, class F>
T across(Vec<T> v, F f) {
    v = f(v, exchanged<H>(v, std::make_integer_sequence<int, lanes<T>>{}));
    if constexpr (H > 1)
        return across<T, H / 2>(v, f);
    else
        return v[0];
}
constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto greater = [](auto a, auto b) { return maximum(a, b); };  // a NaN stays

// v in the first n lanes, `rest` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> v, long n, T rest) {
    alignas(64) T ramp[lanes<T>];
    for (int i = 0; i < lanes<T>; i++) ramp[i] = static_cast<T>(i);
    return select(load(ramp) < splat(static_cast<T>(n)), v, splat(rest));
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

template <class T>
void forward(const ScoreRows<T>& rows) {
    constexpr int L = lanes<T>;
    const Vec<T> scale = splat(rows.scale);
    for (long r = 0; r < rows.rows; r++) {
        const long n = rows.seen[r];
        T* s = rows.s + r * rows.pitch;
        const T* added = rows.added ? rows.added + r * rows.added_pitch : nullptr;
        Vec<T> greatest = splat(lowest<T>), sum{};
        long i = 0;
        for (; i < n; i += L) {
            const Vec<T> x = score(s, added, i, n, scale);
            store(s + i, x);
            greatest = maximum(x, greatest);
        }
        for (; i < rows.width; i += L) store(s + i, Vec<T>{});
        const T before = rows.top[r], now = across<T>(greatest, greater);
        const T top = before > now || before != before ? before : now;
        rows.top[r] = top;
        if (top == lowest<T>) {  // nowhere to look yet
            for (i = 0; i < n; i += L) store(s + i, Vec<T>{});
            rows.shrink[r] = 1;
            continue;
        }
        const Vec<T> m = splat(top);
        for (i = 0; i < n; i += L) {
            const Vec<T> e = exp(load(s + i) - m);
            store(s + i, e);
            sum += e;
        }
        T shrink = before == top ? T(1) : T(0);
        if (before != top && before != lowest<T>) shrink = exp(splat(before - top))[0];
        rows.total[r] = rows.total[r] * shrink + across<T>(sum, add);
        rows.shrink[r] = shrink;
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
void backward(T* s, T* dp, long n, long width, const T* added, const T* kept, T factor, T logsumexp, T dot) {
    constexpr int L = lanes<T>;
    const Vec<T> scale = splat(factor), rest = splat(logsumexp), d = splat(dot);
    long i = 0;
    for (; i < n; i += L) {
        const Vec<T> p = exp(score(s, added, i, n, scale) - rest), g = load(dp + i);
        const Vec<T> k = kept ? load(kept + i) : splat(T(1));
        Vec<T> ds = p * (g * k - d) * scale, pk = p * k;
        if (i + L > n) ds = first_lanes(ds, n - i, T(0)), pk = first_lanes(pk, n - i, T(0));
        store(dp + i, ds);
        store(s + i, pk);
    }
    for (; i < width; i += L) {
        store(dp + i, Vec<T>{});
        store(s + i, Vec<T>{});
    }
}

template <class T>
void multiply(T* x, const T* by, long n) {
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store(x + i, load(x + i) * load(by + i));
    for (; i < n; i++) x[i] *= by[i];
}

template <class T>
void scaled(T* to, const T* from, long n, T factor) {
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store(to + i, load(from + i) * splat(factor));
    for (; i < n; i++) to[i] = from[i] * factor;
}

template <class T>
T dot(const T* a, const T* b, long n) {
    Vec<T> sum{};
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) sum = fma(load(a + i), load(b + i), sum);
    T total = across<T>(sum, add);
    for (; i < n; i++) total += a[i] * b[i];
    return total;
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
                                         &dot<T>,     &finish<T>,   &rotate<T>};

}  // namespace

extern const AttentionTables attention_kernels;
const AttentionTables attention_kernels = {kernels<float>, kernels<double>};

}  // namespace chainrule::CHAINRULE_ISA
