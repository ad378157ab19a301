// Softmax, log softmax, their gradients and cross entropy, for each instruction set. Rows that fit the caches are bound
// by exp (about 1 ns a vector of floats), longer ones by memory. 512 x 512 floats along either axis: 50-60 us.
#include <utility>

#include "core/simd.h"
#include "core/vmath.h"
#include "softmax/kernels.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <int H, class V, int... I>
V exchanged(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I ^ H)...);
}

// f over all lanes, in every lane of the result.
template <class T, class F, int H = lanes<T> / 2>
Vec<T> across(Vec<T> v, F f) {
    v = f(v, exchanged<H>(v, std::make_integer_sequence<int, lanes<T>>{}));
    if constexpr (H > 1)
        return across<T, F, H / 2>(v, f);
    else
        return v;
}
constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto greater = [](auto a, auto b) { return a > b ? a : b; };

// v in the first n lanes, `rest` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> v, long n, T rest) {
    alignas(64) T ramp[lanes<T>];
    for (int i = 0; i < lanes<T>; i++) ramp[i] = static_cast<T>(i);
    return select(load(ramp) < splat(static_cast<T>(n)), v, splat(rest));
}

// A softmax's elements in vectors: along one row (the last vector partial), or down the columns of an inner axis, many
// side by side, row by row. each() calls f(offset, lanes in use, place); what is summed is kept by place.
template <int k>
using Chain = std::integral_constant<int, k>;

// Places are four chains, or the latency of an addition would bound the loop. Of a sum every lane holds the whole.
template <class T>
struct Row {
    static constexpr int places = 4;
    long n;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        constexpr long L = lanes<T>;
        const long whole = n / L * L;
        long i = 0;
        for (; i + 4 * L <= whole; i += 4 * L) {
            f(i, L, Chain<0>{});
            f(i + L, L, Chain<1>{});
            f(i + 2 * L, L, Chain<2>{});
            f(i + 3 * L, L, Chain<3>{});
        }
        for (; i < whole; i += L) f(i, L, Chain<0>{});
        if (i < n) f(i, n - i, Chain<1>{});
    }
    Vec<T> only(Vec<T> v, long count, T rest) const { return count < lanes<T> ? first_lanes(v, count, rest) : v; }
    template <class F>
    Vec<T> fold(const Vec<T> (&v)[places], F f) const {
        return across<T>(f(f(v[0], v[1]), f(v[2], v[3])), f);
    }
};

// A place for each of V vectors beside each other; the last may be partial if it is the only one. Walking down one vector
// alone, rows a power of two apart would all meet in a few lines of the caches.
template <class T, int V>
struct PerVector {
    Vec<T> v[V];
};
template <class T, int V>
struct Columns {
    static constexpr int places = V;
    long n, inner, last;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        for (long i = 0; i < n; i++) row(i * inner, f, std::make_integer_sequence<int, V>{});
    }
    template <class F, int... k>
    [[gnu::always_inline]] void row(long i, F f, std::integer_sequence<int, k...>) const {
        (f(i + k * lanes<T>, V > 1 ? lanes<T> : last, Chain<k>{}), ...);
    }
    Vec<T> only(Vec<T> v, long, T) const { return v; }
    template <class F>
    PerVector<T, V> fold(const Vec<T> (&v)[V], F) const {
        PerVector<T, V> all;
        for (int k = 0; k < V; k++) all.v[k] = v[k];
        return all;
    }
};
template <class V>
V at(V v, long) {
    return v;
}
template <class T, int V>
Vec<T> at(const PerVector<T, V>& all, long k) {
    return all.v[k];
}
template <class V, class F>
V each_of(V v, F f) {
    return f(v);
}
template <class T, int V, class F>
PerVector<T, V> each_of(PerVector<T, V> all, F f) {
    for (Vec<T>& v : all.v) v = f(v);
    return all;
}

// The greatest value, NaN aside (exp carries it into the sum).
template <class T, class Walk>
[[gnu::always_inline]] inline auto greatest(const Walk& walk, const T* x) {
    const T lowest = -static_cast<T>(__builtin_inf());
    Vec<T> top[Walk::places];
    for (Vec<T>& v : top) v = splat(lowest);
    walk.each([&](long i, long n, auto k) { top[k] = greater(walk.only(load_some(x + i, n), n, lowest), top[k]); });
    return walk.fold(top, greater);
}

// The sum of f(offset, lanes in use, place).
template <class T, class Walk, class F>
[[gnu::always_inline]] inline auto total(const Walk& walk, F f) {
    Vec<T> sum[Walk::places] = {};
    walk.each([&](long i, long n, auto k) { sum[k] += walk.only(f(i, n, k), n, T(0)); });
    return walk.fold(sum, add);
}

struct Softmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const auto top = greatest(walk, x);
        const auto sum = total<T>(walk, [&](long i, long n, auto k) {
            const Vec<T> e = exp(load_some(x + i, n) - at(top, k));
            store_some(y + i, e, n);
            return e;
        });
        const auto scale = each_of(sum, [](auto v) { return splat(T(1)) / v; });
        walk.each([&](long i, long n, auto k) { store_some(y + i, load_some(y + i, n) * at(scale, k), n); });
    }
};

struct LogSoftmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const auto top = greatest(walk, x);
        const auto sum =
            total<T>(walk, [&](long i, long n, auto k) { return exp(load_some(x + i, n) - at(top, k)); });
        const auto rest = each_of(sum, [](auto v) { return log(v); });
        walk.each([&](long i, long n, auto k) {
            store_some(y + i, (load_some(x + i, n) - at(top, k)) - at(rest, k), n);
        });
    }
};

// gx = (g - sum(g y)) y
struct SoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        const auto dot =
            total<T>(walk, [&](long i, long n, auto) { return load_some(g + i, n) * load_some(y + i, n); });
        walk.each([&](long i, long n, auto k) {
            store_some(gx + i, (load_some(g + i, n) - at(dot, k)) * load_some(y + i, n), n);
        });
    }
};

// gx = g - exp(y) sum(g)
struct LogSoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        const auto sum = total<T>(walk, [&](long i, long n, auto) { return load_some(g + i, n); });
        walk.each([&](long i, long n, auto k) {
            store_some(gx + i, load_some(g + i, n) - exp(load_some(y + i, n)) * at(sum, k), n);
        });
    }
};

// f(columns, first) for the columns [j0, j1): eight vectors at a time, then four, then one.
template <class T, class F>
void each_columns(long n, long inner, long j0, long j1, F f) {
    constexpr long L = lanes<T>;
    long j = j0;
    for (; j + 8 * L <= j1; j += 8 * L) f(Columns<T, 8>{n, inner, L}, j);
    for (; j + 4 * L <= j1; j += 4 * L) f(Columns<T, 4>{n, inner, L}, j);
    for (; j < j1; j += L) f(Columns<T, 1>{n, inner, j1 - j < L ? j1 - j : L}, j);
}

template <class Op, class T>
void rows_of(const T* x, T* y, long rows, long n) {
    for (long r = 0; r < rows; r++) Op::run(Row<T>{n}, x + r * n, y + r * n);
}
template <class Op, class T>
void inner_of(const T* x, T* y, long n, long inner, long j0, long j1) {
    each_columns<T>(n, inner, j0, j1, [&](const auto& walk, long j) { Op::run(walk, x + j, y + j); });
}
template <class Op, class T>
void back_rows(const T* g, const T* y, T* gx, long rows, long n) {
    for (long r = 0; r < rows; r++) Op::run(Row<T>{n}, g + r * n, y + r * n, gx + r * n);
}
template <class Op, class T>
void back_inner(const T* g, const T* y, T* gx, long n, long inner, long j0, long j1) {
    each_columns<T>(n, inner, j0, j1, [&](const auto& walk, long j) { Op::run(walk, g + j, y + j, gx + j); });
}

template <class T>
double cross_entropy(const T* x, const int64_t* target, int64_t ignore, T scale, T* gx, long rows, long n) {
    const Row<T> walk{n};
    double loss = 0;
    for (long r = 0; r < rows; r++, x += n, gx += n) {
        if (target[r] == ignore) {
            for (long i = 0; i < n; i++) gx[i] = 0;
            continue;
        }
        const Vec<T> top = greatest(walk, x);
        const Vec<T> sum = total<T>(walk, [&](long i, long count, auto) {
            const Vec<T> e = exp(load_some(x + i, count) - top);
            store_some(gx + i, e, count);
            return e;
        });
        const Vec<T> part = splat(scale) / sum;
        walk.each([&](long i, long count, auto) { store_some(gx + i, load_some(gx + i, count) * part, count); });
        gx[target[r]] -= scale;
        loss += static_cast<double>(log(sum)[0]) + (static_cast<double>(top[0]) - static_cast<double>(x[target[r]]));
    }
    return loss;
}

template <class T>
constexpr SoftmaxKernels<T> table() {
    return {&rows_of<Softmax, T>,          &inner_of<Softmax, T>,          &rows_of<LogSoftmax, T>,
            &inner_of<LogSoftmax, T>,      &back_rows<SoftmaxBack, T>,     &back_inner<SoftmaxBack, T>,
            &back_rows<LogSoftmaxBack, T>, &back_inner<LogSoftmaxBack, T>, &cross_entropy<T>};
}

}  // namespace

extern const SoftmaxTables softmax_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
