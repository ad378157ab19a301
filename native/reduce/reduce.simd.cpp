// Reduction kernels. Sums of float32 are accumulated in float64, so they are right to the last bit or nearly so
// however long; every order of additions is fixed.
#include "core/simd.h"
#include "reduce/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

constexpr int chains = 8;  // independent accumulators: an addition takes 4 cycles, two start in each

// ---- sums and products

// lanes<double> elements as doubles.
inline F64 load_wide(const double* p) { return load(p); }
inline F64 load_wide(const float* p) {
    HalfF32 v;
    std::memcpy(&v, p, sizeof v);
    return widen(v);
}

struct Add {
    static constexpr double nothing = 0;
    template <class V> static V f(V a, V b) { return a + b; }
};
struct Multiply {
    static constexpr double nothing = 1;
    template <class V> static V f(V a, V b) { return a * b; }
};

// What is summed of each element, and what becomes of the sum.
struct Itself {
    static constexpr bool root = false;
    template <class V> static V f(V a) { return a; }
};
struct Magnitude {
    static constexpr bool root = false;
    template <class V> static V f(V a) { return a < V{} ? -a : a; }
};
struct Square {
    static constexpr bool root = true;
    template <class V> static V f(V a) { return a * a; }
};

template <class Op, class T, class Of = Itself>
struct Wide {
    using Accumulator = double;
    static void start(void* accumulators, long n) {
        for (long i = 0; i < n; ++i) static_cast<double*>(accumulators)[i] = Op::nothing;
    }

    static void row(void* accumulator, const void* x, long n) {
        constexpr int w = lanes<double>;
        const T* p = static_cast<const T*>(x);
        const auto at = [p](long i) { return Of::f(load_wide(p + i)); };
        double total = *static_cast<double*>(accumulator);
        long i = 0;
        if (n >= w) {
            F64 sum = splat(Op::nothing);
            if (n >= chains * w) {
                F64 sums[chains];
#pragma GCC unroll 8
                for (int c = 0; c < chains; ++c) sums[c] = at(c * w);
                for (i = chains * w; i + chains * w <= n; i += chains * w)
#pragma GCC unroll 8
                    for (int c = 0; c < chains; ++c) sums[c] = Op::f(sums[c], at(i + c * w));
                for (int half = chains / 2; half; half /= 2)
                    for (int c = 0; c < half; ++c) sums[c] = Op::f(sums[c], sums[c + half]);
                sum = sums[0];
            }
            for (; i + w <= n; i += w) sum = Op::f(sum, at(i));
            total = Op::f(total, fold(sum, [](F64 a, F64 b) { return Op::f(a, b); }));
        }
        for (; i < n; ++i) total = Op::f(total, Of::f(static_cast<double>(p[i])));
        *static_cast<double*>(accumulator) = total;
    }

    static void columns(void* accumulators, const void* x, long rows, long stride, long n) {
        double* __restrict a = static_cast<double*>(accumulators);
        const char* p = static_cast<const char*>(x);
        long r = 0;
        for (; r + 4 <= rows; r += 4, p += 4 * stride) {  // four rows at once: a quarter of the accumulator traffic
            const auto at = [p](long offset) { return reinterpret_cast<const T*>(p + offset); };
            const T *__restrict p0 = at(0), *__restrict p1 = at(stride), *__restrict p2 = at(2 * stride),
                    *__restrict p3 = at(3 * stride);
            for (long j = 0; j < n; ++j) {
                const double v0 = Of::f(double(p0[j])), v1 = Of::f(double(p1[j])), v2 = Of::f(double(p2[j])),
                             v3 = Of::f(double(p3[j]));
                a[j] = Op::f(a[j], Op::f(Op::f(v0, v1), Op::f(v2, v3)));
            }
        }
        for (; r < rows; ++r, p += stride) {
            const T* __restrict p0 = reinterpret_cast<const T*>(p);
            for (long j = 0; j < n; ++j) a[j] = Op::f(a[j], Of::f(static_cast<double>(p0[j])));
        }
    }

    static void combine(void* accumulators, const void* others, long n) {
        double* a = static_cast<double*>(accumulators);
        const double* b = static_cast<const double*>(others);
        for (long i = 0; i < n; ++i) a[i] = Op::f(a[i], b[i]);
    }

    static void finish(void* y, const void* accumulators, double divisor, long n) {
        const double* a = static_cast<const double*>(accumulators);
        for (long i = 0; i < n; ++i)
            static_cast<T*>(y)[i] = static_cast<T>(Of::root ? __builtin_sqrt(a[i]) : a[i] / divisor);
    }
};

// ---- the largest and smallest

struct Larger {
    template <class T> static constexpr T nothing = -static_cast<T>(__builtin_inf());
    template <class T> static bool better(T a, T b) { return a > b; }
    template <class V> static auto mask(V a, V b) { return a > b; }
};
struct Smaller {
    template <class T> static constexpr T nothing = static_cast<T>(__builtin_inf());
    template <class T> static bool better(T a, T b) { return a < b; }
    template <class V> static auto mask(V a, V b) { return a < b; }
};

template <class Op, class T>
struct Selected {
    using Accumulator = T;
    // The element b replaces a if it is better or NaN; a NaN stays.
    static T pick(T a, T b) { return Op::better(b, a) || b != b ? (a != a ? a : b) : a; }
    static Vec<T> pick(Vec<T> a, Vec<T> b) { return (Op::mask(a, b) | (a != a)) ? a : b; }

    static void start(void* accumulators, long n) {
        for (long i = 0; i < n; ++i) static_cast<T*>(accumulators)[i] = Op::template nothing<T>;
    }
    static void row(void* accumulator, const void* x, long n) {
        constexpr int w = lanes<T>;
        const T* p = static_cast<const T*>(x);
        T best = *static_cast<T*>(accumulator);
        long i = 0;
        if (n >= w) {
            Vec<T> bests[4];
            for (Vec<T>& b : bests) b = splat(Op::template nothing<T>);
            for (; i + 4 * w <= n; i += 4 * w)
                for (int c = 0; c < 4; ++c) bests[c] = pick(bests[c], load(p + i + c * w));
            for (; i + w <= n; i += w) bests[0] = pick(bests[0], load(p + i));
            const Vec<T> all = pick(pick(bests[0], bests[1]), pick(bests[2], bests[3]));
            best = pick(best, fold(all, [](Vec<T> a, Vec<T> b) { return pick(a, b); }));
        }
        for (; i < n; ++i) best = pick(best, p[i]);
        *static_cast<T*>(accumulator) = best;
    }
    static void columns(void* accumulators, const void* x, long rows, long stride, long n) {
        const char* p = static_cast<const char*>(x);
        for (long r = 0; r < rows; ++r, p += stride) combine(accumulators, p, n);
    }
    static void combine(void* accumulators, const void* others, long n) {
        T* a = static_cast<T*>(accumulators);
        const T* b = static_cast<const T*>(others);
        long i = 0;
        for (; i + lanes<T> <= n; i += lanes<T>) store(a + i, pick(load(a + i), load(b + i)));
        for (; i < n; ++i) a[i] = pick(a[i], b[i]);
    }
    static void finish(void* y, const void* accumulators, double, long n) { std::memcpy(y, accumulators, n * sizeof(T)); }
};

template <class Op, class T>
long extreme_row(void* value, const void* x, long n) {
    const T* p = static_cast<const T*>(x);
    constexpr int w = lanes<T>;
    if (n <= w) {  // one vector
        ints<Vec<T>> inside;
        for (int i = 0; i < w; ++i) inside[i] = i < n ? -1 : 0;
        const Vec<T> v = inside ? load_some(p, n) : splat(Op::template nothing<T>);
        const Vec<T> best = splat(fold(v, [](Vec<T> a, Vec<T> b) { return Selected<Op, T>::pick(a, b); }));
        *static_cast<T*>(value) = best[0];
        return first_lane<T>(((v == best) | (v != v)) & inside);
    }
    T best = Op::template nothing<T>;
    Selected<Op, T>::row(&best, x, n);
    *static_cast<T*>(value) = best;
    // The best is NaN if there is one, so the first that equals it or is NaN is the one.
    long i = 0;
    for (; i + 4 * w <= n; i += 4 * w) {
        ints<Vec<T>> hits{};
        for (int c = 0; c < 4; ++c) {
            const Vec<T> v = load(p + i + c * w);
            hits |= (v == splat(best)) | (v != v);
        }
        if (any(hits)) break;
    }
    while (p[i] != best && p[i] == p[i]) ++i;
    return i;
}

template <class Op, class T>
void extreme_columns(void* values, long* indices, const void* x, long rows, long n) {
    const T* p = static_cast<const T*>(x);
    T* v = static_cast<T*>(values);
    for (long j = 0; j < n; ++j) v[j] = p[j], indices[j] = 0;
    for (long r = 1; r < rows; ++r) {
        p += n;
        for (long j = 0; j < n; ++j) {
            const bool take = (Op::better(p[j], v[j]) | (p[j] != p[j])) & (v[j] == v[j]);
            v[j] = take ? p[j] : v[j];
            indices[j] = take ? r : indices[j];
        }
    }
}

// ---- any and all, of bool

template <bool any>
struct Truth {
    using Accumulator = uint8_t;
    static void start(void* accumulators, long n) { std::memset(accumulators, !any, n); }
    static void row(void* accumulator, const void* x, long n) {
        uint8_t* a = static_cast<uint8_t*>(accumulator);
        if (*a != any && n > 0 && std::memchr(x, any, n)) *a = any;
    }
    static void columns(void* accumulators, const void* x, long rows, long stride, long n) {
        const char* p = static_cast<const char*>(x);
        for (long r = 0; r < rows; ++r, p += stride) combine(accumulators, p, n);
    }
    static void combine(void* accumulators, const void* others, long n) {
        uint8_t* __restrict a = static_cast<uint8_t*>(accumulators);
        const uint8_t* __restrict b = static_cast<const uint8_t*>(others);
        for (long i = 0; i < n; ++i) a[i] = any ? a[i] | b[i] : a[i] & b[i];
    }
    static void finish(void* y, const void* accumulators, double, long n) { std::memcpy(y, accumulators, n); }
};

template <class R, class T>
void rows(void* y, const void* x, long rows, long stride, long y_step, long n, double divisor) {
    const char* from = static_cast<const char*>(x);
    for (long r = 0; r < rows; ++r, from += stride) {
        typename R::Accumulator accumulator;
        R::start(&accumulator, 1);
        R::row(&accumulator, from, n);
        R::finish(static_cast<T*>(y) + r * y_step, &accumulator, divisor, 1);
    }
}

template <class R, class T>
constexpr Reduction table() {
    return {sizeof(typename R::Accumulator), &R::start, &R::row, &R::columns, &R::combine, &R::finish, &rows<R, T>};
}

}  // namespace

extern const ReduceKernels reduce_kernels;
const ReduceKernels reduce_kernels = {
    .sum = {table<Wide<Add, float>, float>(), table<Wide<Add, double>, double>()},
    .prod = {table<Wide<Multiply, float>, float>(), table<Wide<Multiply, double>, double>()},
    .norm_1 = {table<Wide<Add, float, Magnitude>, float>(), table<Wide<Add, double, Magnitude>, double>()},
    .norm_2 = {table<Wide<Add, float, Square>, float>(), table<Wide<Add, double, Square>, double>()},
    .max = {table<Selected<Larger, float>, float>(), table<Selected<Larger, double>, double>()},
    .min = {table<Selected<Smaller, float>, float>(), table<Selected<Smaller, double>, double>()},
    .any = table<Truth<true>, uint8_t>(),
    .all = table<Truth<false>, uint8_t>(),
    .argmax_columns = {&extreme_columns<Larger, float>, &extreme_columns<Larger, double>},
    .argmin_columns = {&extreme_columns<Smaller, float>, &extreme_columns<Smaller, double>},
    .argmax_row = {&extreme_row<Larger, float>, &extreme_row<Larger, double>},
    .argmin_row = {&extreme_row<Smaller, float>, &extreme_row<Smaller, double>},
};

}  // namespace chainrule::CHAINRULE_ISA
