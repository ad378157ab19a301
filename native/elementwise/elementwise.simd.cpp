// Elementwise kernels: one functor a line. NaN, infinities and signs as NumPy has them.
#include "core/map_loops.h"
#include "core/vmath.h"
#include "core/vmath_wide.h"
#include "elementwise/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class V> V constant(double value) { return splat(elem<V>(value)); }

#include "elementwise/functors.h"

// Of floats our own functions, of doubles the C library's.
#define LIBRARY(name)                                                                                       \
    struct name##_f {                                                                                       \
        static F32 f(F32 a) { return CHAINRULE_ISA::name(a); }                                              \
        static F64 f(F64 a) { return each_lane(a, [](double v) { return __builtin_##name(v); }); }          \
    };
#define LIBRARY2(name)                                                                                      \
    struct name##_f {                                                                                       \
        static F32 f(F32 a, F32 b) { return CHAINRULE_ISA::name(a, b); }                                    \
        static F64 f(F64 a, F64 b) {                                                                        \
            return each_lane(a, b, [](double v, double w) { return __builtin_##name(v, w); });              \
        }                                                                                                   \
    };

LIBRARY(sin)
LIBRARY(cos)
LIBRARY(tan)
LIBRARY(asin)
LIBRARY(acos)
LIBRARY(atan)
LIBRARY(sinh)
LIBRARY(cosh)

LIBRARY2(pow)
LIBRARY2(atan2)

// Python's % and //: the remainder has the divisor's sign, and a = b * (a // b) + a % b as closely as rounding allows.
struct remainder_f {
    template <class T> static T scalar(T a, T b) {
        const T r = sizeof(T) == 4 ? T(__builtin_fmodf(a, b)) : T(__builtin_fmod(a, b));
        if (r == 0) return __builtin_copysign(T(0), b);
        return (b < 0) != (r < 0) ? r + b : r;
    }
    static F32 f(F32 a, F32 b) { return remainder(a, b, &scalar<float>); }
    static F64 f(F64 a, F64 b) { return each_lane(a, b, &scalar<double>); }
};
struct floor_div_f {
    template <class T> static T scalar(T a, T b) {
        if (b == 0) return a / b;
        const T r = sizeof(T) == 4 ? T(__builtin_fmodf(a, b)) : T(__builtin_fmod(a, b));
        T q = (a - r) / b;
        if (r != 0 && (b < 0) != (r < 0)) q -= 1;
        if (q == 0) return __builtin_copysign(T(0), a / b);
        const T whole = sizeof(T) == 4 ? T(__builtin_floorf(q)) : T(__builtin_floor(q));
        return q - whole > T(0.5) ? whole + 1 : whole;
    }
    static F32 f(F32 a, F32 b) { return floor_div(a, b, &scalar<float>); }
    static F64 f(F64 a, F64 b) { return each_lane(a, b, &scalar<double>); }
};

#define COMPARISON(name, op) struct name##_f { template <class T> static uint8_t f(T a, T b) { return a op b; } };
COMPARISON(eq, ==)
COMPARISON(ne, !=)
COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(gt, >)
COMPARISON(ge, >=)
COMPARISON(logical_and, &)
COMPARISON(logical_or, |)
COMPARISON(logical_xor, ^)
struct logical_not_f { static uint8_t f(uint8_t a) { return a ^ 1; } };
struct isfinite_f { template <class T> static uint8_t f(T a) { return a - a == 0; } };

// where: a bool array, and two numbers or arrays of T.
template <class T>
void where(void* y, const void* condition, const void* a, const void* b, unsigned single, long n) {
    T* __restrict to = static_cast<T*>(y);
    const uint8_t* __restrict c = static_cast<const uint8_t*>(condition);
    const T *__restrict p = static_cast<const T*>(a), *__restrict q = static_cast<const T*>(b);
    const T first = n ? *p : T(), second = n ? *q : T();
    if (single & 1) {
        const bool yes = n && *c;
        const bool whole = !(single & (yes ? 2 : 4));
        for (long i = 0; i < n; ++i) to[i] = whole ? (yes ? p[i] : q[i]) : (yes ? first : second);
    } else if (single == 0) {
        for (long i = 0; i < n; ++i) to[i] = c[i] ? p[i] : q[i];
    } else if (single == 2) {
        for (long i = 0; i < n; ++i) to[i] = c[i] ? first : q[i];
    } else if (single == 4) {
        for (long i = 0; i < n; ++i) to[i] = c[i] ? p[i] : second;
    } else {
        for (long i = 0; i < n; ++i) to[i] = c[i] ? first : second;
    }
}

}  // namespace

#define X(name, cost) .name = {&unary<name##_f, float>, &unary<name##_f, double>},
#define X2(name, cost) .name = {&binary<name##_f, float>, &binary<name##_f, double>},
#define X3(name) .name = {&binary_to<name##_f, float, uint8_t>, &binary_to<name##_f, double, uint8_t>},
#define X4(name) .name = &binary_to<name##_f, uint8_t, uint8_t>,
extern const ElementwiseKernels elementwise_kernels;
const ElementwiseKernels elementwise_kernels = {
    CHAINRULE_UNARY(X) CHAINRULE_BINARY(X2) CHAINRULE_COMPARISONS(X3) CHAINRULE_LOGICAL(X4)
    .clip = {&unary_with_two<clip_f, float>, &unary_with_two<clip_f, double>},
    .clip_vjp = {&binary_with_two<clip_vjp_f, float>, &binary_with_two<clip_vjp_f, double>},
    .isfinite = {&unary_to<isfinite_f, float, uint8_t>, &unary_to<isfinite_f, double, uint8_t>},
    .logical_not = &unary_to<logical_not_f, uint8_t, uint8_t>,
    .where = {&where<int32_t>, &where<int64_t>},
};

}  // namespace chainrule::CHAINRULE_ISA
