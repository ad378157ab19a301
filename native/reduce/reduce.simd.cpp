// Reduction kernels. Sums of float32 are accumulated in float64, so they are right to the last bit or nearly so
// however long; every order of additions is fixed. Bound by memory: of Zen 4's four vector units two convert and the other two
// do multiply-adds, so that a sum adds its elements times one. Conversions are of 32 bytes, read from memory: those of 64 have
// half the rate. 102 GB/s in the level-2 cache (of 118), where conversions to 64 bytes and additions came to 59.
#include "core/simd.h"
#include "reduce/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

constexpr int chains = 8;  // independent accumulators: an addition takes 4 cycles, two start in each

// ---- sums and products

// Doubles that a float's kernels accumulate in; see above for their width.
constexpr int wide_bytes = vector_bytes < 32 ? vector_bytes : 32;
typedef double Wides __attribute__((vector_size(wide_bytes)));
typedef float Narrows __attribute__((vector_size(wide_bytes / 2)));
inline Wides load_wide(const double* p) {
    Wides v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline Wides load_wide(const float* p) {
    Narrows v;
    std::memcpy(&v, p, sizeof v);
#if defined(__AVX2__)
    return (Wides)_mm256_cvtps_pd((__m128)v);
#else
    return __builtin_convertvector(v, Wides);
#endif
}
inline Wides multiply_add(Wides a, Wides b, Wides c) {
#if defined(__AVX2__) && defined(__FMA__)
    return (Wides)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return a * b + c;
#endif
}
inline double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// One, which the compiler does not know: it would make additions of multiply-adds again.
template <class V> inline V one() {
    V v = V{} + 1;
#ifdef __SSE2__
    asm("" : "+x"(v));
#endif
    return v;
}

// What is summed of each element, and what becomes of the sum.
struct Itself {
    static constexpr bool root = false;
    template <class V> static V f(V a) { return a; }
    template <class V> static V added(V sum, V a) { return multiply_add(a, one<V>(), sum); }
};
struct Magnitude {
    static constexpr bool root = false;
    static double f(double a) { return __builtin_fabs(a); }
    static Wides f(Wides a) {
        typedef int64_t Bits __attribute__((vector_size(wide_bytes)));
        return (Wides)((Bits)a & INT64_MAX);
    }
    template <class V> static V added(V sum, V a) { return multiply_add(f(a), one<V>(), sum); }
};
struct Square {
    static constexpr bool root = true;
    template <class V> static V f(V a) { return a * a; }
    template <class V> static V added(V sum, V a) { return multiply_add(a, a, sum); }
};

struct Add {
    static constexpr double nothing = 0;
    template <class V> static V f(V a, V b) { return a + b; }
    template <class Of, class V> static V taken(V sum, V a) { return Of::added(sum, a); }
};
struct Multiply {
    static constexpr double nothing = 1;
    template <class V> static V f(V a, V b) { return a * b; }
    template <class Of, class V> static V taken(V product, V a) { return product * a; }
};

template <class Op, class T, class Of = Itself>
struct Wide {
    using Accumulator = double;
    static void start(void* accumulators, long n) {
        for (long i = 0; i < n; ++i) static_cast<double*>(accumulators)[i] = Op::nothing;
    }

    static void row(void* accumulator, const void* x, long n) {
        constexpr int w = wide_bytes / 8;
        const T* p = static_cast<const T*>(x);
        double total = *static_cast<double*>(accumulator);
        long i = 0;
        if (n >= w) {
            Wides sum = Wides{} + Op::nothing;
            if (n >= chains * w) {
                Wides sums[chains];
#pragma GCC unroll 8
                for (int c = 0; c < chains; ++c) sums[c] = Of::f(load_wide(p + c * w));
                for (i = chains * w; i + chains * w <= n; i += chains * w)
#pragma GCC unroll 8
                    for (int c = 0; c < chains; ++c)
                        sums[c] = Op::template taken<Of>(sums[c], load_wide(p + i + c * w));
#pragma GCC unroll 3
                for (int half = chains / 2; half; half /= 2)
#pragma GCC unroll 4
                    for (int c = 0; c < half; ++c) sums[c] = Op::f(sums[c], sums[c + half]);
                sum = sums[0];
            }
            for (; i + w <= n; i += w) sum = Op::template taken<Of>(sum, load_wide(p + i));
            double folded = sum[0];
            for (int k = 1; k < w; ++k) folded = Op::f(folded, sum[k]);
            total = Op::f(total, folded);
        }
        for (; i < n; ++i) total = Op::template taken<Of>(total, static_cast<double>(p[i]));
        *static_cast<double*>(accumulator) = total;
    }

    // Short rows four at once. A row's sum does not depend on where it stands.
    static void rows(void* y, const void* x, long rows, long stride, long y_step, long n, double divisor) {
        constexpr int w = wide_bytes / 8;
        for (long r = 0; n > 192 && r < rows; ++r) {
            double total = Op::nothing;
            row(&total, static_cast<const char*>(x) + r * stride, n);
            finish(static_cast<T*>(y) + r * y_step, &total, divisor, 1);
        }
        for (long r = 0; n <= 192 && r < rows; r += 4) {
            const T* p[4];
            for (long k = 0; k < 4; ++k)
                p[k] = reinterpret_cast<const T*>(static_cast<const char*>(x) + (r + k < rows ? r + k : r) * stride);
            Wides sums[4][2];
            for (auto& pair : sums) pair[0] = pair[1] = Wides{} + Op::nothing;
            const auto take = [&](long i, int half) {
#pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) sums[k][half] = Op::template taken<Of>(sums[k][half], load_wide(p[k] + i));
            };
            long i = 0;
            for (; i + 2 * w <= n; i += 2 * w) take(i, 0), take(i + w, 1);
            if (i + w <= n) take(i, 0), i += w;
            double totals[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const Wides sum = Op::f(sums[k][0], sums[k][1]);
                totals[k] = Op::f(sum[0], sum[1]);
                if (w == 4) totals[k] = Op::f(totals[k], Op::f(sum[w - 2], sum[w - 1]));
            }
            for (; i < n; ++i)
                for (int k = 0; k < 4; ++k) totals[k] = Op::template taken<Of>(totals[k], static_cast<double>(p[k][i]));
            for (long k = 0; k < 4 && r + k < rows; ++k)
                finish(static_cast<T*>(y) + (r + k) * y_step, totals + k, divisor, 1);
        }
    }

    static void columns(void* accumulators, const void* x, long rows, long stride, long n) {
        constexpr int w = wide_bytes / 8;
        double* __restrict a = static_cast<double*>(accumulators);
        const char* p = static_cast<const char*>(x);
        long r = 0;
        for (; r + 4 <= rows; r += 4, p += 4 * stride) {  // four rows at once: a quarter of the accumulator traffic
            const auto at = [p](long offset) { return reinterpret_cast<const T*>(p + offset); };
            const T *p0 = at(0), *p1 = at(stride), *p2 = at(2 * stride), *p3 = at(3 * stride);
            const auto four = [=](auto old, auto load, long j) {
                const auto first = Op::template taken<Of>(Of::f(load(p0 + j)), load(p1 + j)),
                           second = Op::template taken<Of>(Op::template taken<Of>(old, load(p2 + j)), load(p3 + j));
                return Op::f(first, second);
            };
            long j = 0;
            for (constexpr long line = 64 / sizeof(T); j + line <= n; j += line) {
#pragma GCC unroll 4
                for (int k = 4; k < 8; ++k)  // the next four rows: rows are short for the processor's own guess
                    __builtin_prefetch(p + k * stride + j * static_cast<long>(sizeof(T)));
#pragma GCC unroll 8
                for (long i = j; i < j + line; i += w) {
                    const Wides sum = four(load_wide(a + i), [](const T* q) { return load_wide(q); }, i);
                    std::memcpy(a + i, &sum, sizeof sum);
                }
            }
            for (; j + w <= n; j += w) {
                const Wides sum = four(load_wide(a + j), [](const T* q) { return load_wide(q); }, j);
                std::memcpy(a + j, &sum, sizeof sum);
            }
            for (; j < n; ++j) a[j] = four(a[j], [](const T* q) { return static_cast<double>(*q); }, j);
        }
        for (; r < rows; ++r, p += stride) {
            const T* __restrict p0 = reinterpret_cast<const T*>(p);
            for (long j = 0; j < n; ++j) a[j] = Op::template taken<Of>(a[j], static_cast<double>(p0[j]));
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
    if constexpr (requires { &R::rows; }) return R::rows(y, x, rows, stride, y_step, n, divisor);
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
