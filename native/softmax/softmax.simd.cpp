// Softmax, log softmax, their gradients and cross entropy, for each instruction set. Rows that fit the caches are bound
// by exp (about 1 ns a vector of floats), longer ones by memory.
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

template <class T>
Vec<T> load_some(const T* p, long n) {
    return n >= lanes<T> ? load(p) : load_part(p, n);
}
template <class T>
void store_some(T* p, Vec<T> v, long n) {
    if (n >= lanes<T>)
        store(p, v);
    else
        store_part(p, v, n);
}

// v in the first n lanes, `rest` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> v, long n, T rest) {
    alignas(64) T ramp[lanes<T>];
    for (int i = 0; i < lanes<T>; i++) ramp[i] = static_cast<T>(i);
    return select(load(ramp) < splat(static_cast<T>(n)), v, splat(rest));
}

// A softmax's elements in vectors: along a row (the last vector partial), or down a column of an inner axis, many
// columns side by side. each() calls f(offset, lanes in use, chain): sums are kept in four chains, or the latency of an
// addition would bound the loop.
template <int k>
using Chain = std::integral_constant<int, k>;

template <class F>
[[gnu::always_inline]] inline void walk_vectors(long count, long step, long lanes_used, F f) {
    long i = 0;
    for (; i + 4 <= count; i += 4) {
        f(i * step, lanes_used, Chain<0>{});
        f((i + 1) * step, lanes_used, Chain<1>{});
        f((i + 2) * step, lanes_used, Chain<2>{});
        f((i + 3) * step, lanes_used, Chain<3>{});
    }
    for (; i < count; i++) f(i * step, lanes_used, Chain<0>{});
}

template <class T>
struct Row {
    long n;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        const long whole = n / lanes<T>;
        walk_vectors(whole, lanes<T>, lanes<T>, f);
        if (whole * lanes<T> < n) f(whole * lanes<T>, n - whole * lanes<T>, Chain<1>{});
    }
    Vec<T> only(Vec<T> v, long count, T rest) const { return count < lanes<T> ? first_lanes(v, count, rest) : v; }
    template <class F>
    Vec<T> fold(const Vec<T> (&v)[4], F f) const {
        return across<T>(f(f(v[0], v[1]), f(v[2], v[3])), f);
    }
};
template <class T>
struct Column {
    long n, inner, width;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        walk_vectors(n, inner, width, f);
    }
    Vec<T> only(Vec<T> v, long, T) const { return v; }
    template <class F>
    Vec<T> fold(const Vec<T> (&v)[4], F f) const {
        return f(f(v[0], v[1]), f(v[2], v[3]));
    }
};

// The greatest value, NaN aside (exp carries it into the sum).
template <class T, class Walk>
[[gnu::always_inline]] inline Vec<T> greatest(const Walk& walk, const T* x) {
    const T lowest = -static_cast<T>(__builtin_inf());
    Vec<T> top[4] = {splat(lowest), splat(lowest), splat(lowest), splat(lowest)};
    walk.each([&](long i, long n, auto k) { top[k] = greater(walk.only(load_some(x + i, n), n, lowest), top[k]); });
    return walk.fold(top, greater);
}

// The sum of f(offset, lanes in use).
template <class T, class Walk, class F>
[[gnu::always_inline]] inline Vec<T> total(const Walk& walk, F f) {
    Vec<T> sum[4] = {};
    walk.each([&](long i, long n, auto k) { sum[k] += walk.only(f(i, n), n, T(0)); });
    return walk.fold(sum, add);
}

struct Softmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const Vec<T> top = greatest(walk, x);
        const Vec<T> sum = total<T>(walk, [&](long i, long n) {
            const Vec<T> e = exp(load_some(x + i, n) - top);
            store_some(y + i, e, n);
            return e;
        });
        const Vec<T> scale = splat(T(1)) / sum;
        walk.each([&](long i, long n, auto) { store_some(y + i, load_some(y + i, n) * scale, n); });
    }
};

struct LogSoftmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const Vec<T> top = greatest(walk, x);
        const Vec<T> rest = log(total<T>(walk, [&](long i, long n) { return exp(load_some(x + i, n) - top); }));
        walk.each([&](long i, long n, auto) { store_some(y + i, (load_some(x + i, n) - top) - rest, n); });
    }
};

// gx = (g - sum(g y)) y
struct SoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        const Vec<T> dot = total<T>(walk, [&](long i, long n) { return load_some(g + i, n) * load_some(y + i, n); });
        walk.each(
            [&](long i, long n, auto) { store_some(gx + i, (load_some(g + i, n) - dot) * load_some(y + i, n), n); });
    }
};

// gx = g - exp(y) sum(g)
struct LogSoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        const Vec<T> sum = total<T>(walk, [&](long i, long n) { return load_some(g + i, n); });
        walk.each(
            [&](long i, long n, auto) { store_some(gx + i, load_some(g + i, n) - exp(load_some(y + i, n)) * sum, n); });
    }
};

template <class Op, class T>
void rows_of(const T* x, T* y, long rows, long n) {
    for (long r = 0; r < rows; r++) Op::run(Row<T>{n}, x + r * n, y + r * n);
}
template <class Op, class T>
void inner_of(const T* x, T* y, long n, long inner, long j0, long j1) {
    for (long j = j0; j < j1; j += lanes<T>)
        Op::run(Column<T>{n, inner, j1 - j < lanes<T> ? j1 - j : lanes<T>}, x + j, y + j);
}
template <class Op, class T>
void back_rows(const T* g, const T* y, T* gx, long rows, long n) {
    for (long r = 0; r < rows; r++) Op::run(Row<T>{n}, g + r * n, y + r * n, gx + r * n);
}
template <class Op, class T>
void back_inner(const T* g, const T* y, T* gx, long n, long inner, long j0, long j1) {
    for (long j = j0; j < j1; j += lanes<T>)
        Op::run(Column<T>{n, inner, j1 - j < lanes<T> ? j1 - j : lanes<T>}, g + j, y + j, gx + j);
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
        const Vec<T> sum = total<T>(walk, [&](long i, long count) {
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
