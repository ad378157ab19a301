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
    if constexpr (H > 1) return across<T, F, H / 2>(v, f);
    else return v;
}
constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto greater = [](auto a, auto b) { return maximum(a, b); };

template <class T>
Vec<T> load_some(const T* p, long n) {
    return n >= lanes<T> ? load(p) : load_part(p, n);
}
template <class T>
void store_some(T* p, Vec<T> v, long n) {
    if (n >= lanes<T>) store(p, v);
    else store_part(p, v, n);
}

// v in the first n lanes, `rest` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> v, long n, T rest) {
    alignas(64) T ramp[lanes<T>];
    for (int i = 0; i < lanes<T>; i++) ramp[i] = static_cast<T>(i);
    return select(load(ramp) < splat(static_cast<T>(n)), v, splat(rest));
}

// The vectors of one row: element i of the walk at p + i*step, `n` of them, each with `width` lanes in use. A row is
// walked in vectors (the last partial); a column of an inner axis is a walk down it, many columns side by side.
template <class T>
struct Row {
    long n;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        long i = 0;
        for (; i + lanes<T> <= n; i += lanes<T>) f(i, static_cast<long>(lanes<T>));
        if (i < n) f(i, n - i);
    }
    Vec<T> only(Vec<T> v, long count, T rest) const { return count < lanes<T> ? first_lanes(v, count, rest) : v; }
    Vec<T> sum(Vec<T> v) const { return across<T>(v, add); }
    Vec<T> most(Vec<T> v) const { return across<T>(v, greater); }
};
template <class T>
struct Column {
    long n, inner, width;
    template <class F>
    [[gnu::always_inline]] void each(F f) const {
        for (long i = 0; i < n; i++) f(i * inner, width);
    }
    Vec<T> only(Vec<T> v, long, T) const { return v; }
    Vec<T> sum(Vec<T> v) const { return v; }
    Vec<T> most(Vec<T> v) const { return v; }
};

// The greatest value, and the sum of exp(x - greatest).
template <class T, class Walk>
[[gnu::always_inline]] inline Vec<T> greatest(const Walk& walk, const T* x) {
    const T lowest = -static_cast<T>(__builtin_inf());
    Vec<T> top = splat(lowest);
    walk.each([&](long i, long n) { top = maximum(top, walk.only(load_some(x + i, n), n, lowest)); });
    return walk.most(top);
}

struct Softmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const Vec<T> top = greatest(walk, x);
        Vec<T> sum{};
        walk.each([&](long i, long n) {
            const Vec<T> e = exp(load_some(x + i, n) - top);
            store_some(y + i, e, n);
            sum += walk.only(e, n, T(0));
        });
        const Vec<T> scale = splat(T(1)) / walk.sum(sum);
        walk.each([&](long i, long n) { store_some(y + i, load_some(y + i, n) * scale, n); });
    }
};

struct LogSoftmax {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* x, T* y) {
        const Vec<T> top = greatest(walk, x);
        Vec<T> sum{};
        walk.each([&](long i, long n) { sum += walk.only(exp(load_some(x + i, n) - top), n, T(0)); });
        const Vec<T> total = log(walk.sum(sum));
        walk.each([&](long i, long n) { store_some(y + i, (load_some(x + i, n) - top) - total, n); });
    }
};

// gx = (g - sum(g y)) y
struct SoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        Vec<T> sum{};
        walk.each([&](long i, long n) { sum = fma(load_some(g + i, n), load_some(y + i, n), sum); });
        const Vec<T> dot = walk.sum(sum);
        walk.each([&](long i, long n) { store_some(gx + i, (load_some(g + i, n) - dot) * load_some(y + i, n), n); });
    }
};

// gx = g - exp(y) sum(g)
struct LogSoftmaxBack {
    template <class T, class Walk>
    [[gnu::always_inline]] static void run(const Walk& walk, const T* g, const T* y, T* gx) {
        Vec<T> sum{};
        walk.each([&](long i, long n) { sum += load_some(g + i, n); });
        const Vec<T> total = walk.sum(sum);
        walk.each([&](long i, long n) { store_some(gx + i, load_some(g + i, n) - exp(load_some(y + i, n)) * total, n); });
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
        Vec<T> sum{};
        walk.each([&](long i, long count) {
            const Vec<T> e = exp(load_some(x + i, count) - top);
            store_some(gx + i, e, count);
            sum += walk.only(e, count, T(0));
        });
        const Vec<T> total = walk.sum(sum), part = splat(scale) / total;
        walk.each([&](long i, long count) { store_some(gx + i, load_some(gx + i, count) * part, count); });
        gx[target[r]] -= scale;
        loss += static_cast<double>(log(total)[0]) + (static_cast<double>(top[0]) - static_cast<double>(x[target[r]]));
    }
    return loss;
}

template <class T>
constexpr SoftmaxKernels<T> table() {
    return {&rows_of<Softmax, T>,       &inner_of<Softmax, T>,       &rows_of<LogSoftmax, T>,
            &inner_of<LogSoftmax, T>,   &back_rows<SoftmaxBack, T>,  &back_inner<SoftmaxBack, T>,
            &back_rows<LogSoftmaxBack, T>, &back_inner<LogSoftmaxBack, T>, &cross_entropy<T>};
}

}  // namespace

extern const SoftmaxTables softmax_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
