// Functions of float vectors computed in double (*.simd.cpp files): sines, arcs, hyperbolics, powers, remainders.
//
// Two vectors of doubles for one of floats: no argument loses bits in a reduction, and a result is rounded once. Errors,
// worst case over the float range: 0.51 ulp; pow 0.52. Infinities, NaN, signed zeros and denormal numbers are right, without
// fused multiply-add too. What needs more (sines of numbers above a million, quotients above 2^28) goes lane by lane to
// the C library, so a result does not depend on its neighbours.
#pragma once

#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

using U64 = Vec<uint64_t>;

// f of floats, in doubles.
template <class F> inline F32 in_double(F32 a, F f) {
    HalfF32 x[2];
    std::memcpy(x, &a, sizeof a);
    for (HalfF32& h : x) h = narrow(f(widen(h)));
    std::memcpy(&a, x, sizeof a);
    return a;
}
template <class F> inline F32 in_double(F32 a, F32 b, F f) {
    HalfF32 x[2], y[2];
    std::memcpy(x, &a, sizeof a);
    std::memcpy(y, &b, sizeof b);
    for (int i = 0; i < 2; ++i) x[i] = narrow(f(widen(x[i]), widen(y[i])));
    std::memcpy(&a, x, sizeof a);
    return a;
}

// The lanes of y under the mask, of the C library.
template <class F> inline F32 patched(F32 y, I32 mask, F f) {
    if (any(mask))
        for (int i = 0; i < lanes<float>; ++i)
            if (mask[i]) y[i] = f(i);
    return y;
}

// Horner's rule, highest coefficient first.
template <class... C> inline F64 horner(F64 x, double first, C... rest) {
    F64 p = splat(first);
    ((p = fma(p, x, splat(static_cast<double>(rest)))), ...);
    return p;
}

constexpr double round_to_whole = 6755399441055744.0;  // 1.5 2^52: after adding it the low bits are the nearest integer
inline F64 flip_sign(F64 x, U64 bit) { return (F64)((U64)x ^ bit << 63); }

// ---- circles

struct SineCosine {
    F64 sine, cosine;
    U64 quadrant;
};

// Of x less a multiple of pi/2, for |x| <= 2^20: the first part of pi/2 has 32 bits, so its product is exact.
inline SineCosine sine_cosine(F64 x) {
    const F64 t = x * splat(0.63661977236758134) + splat(round_to_whole), n = t - splat(round_to_whole);
    const F64 r = fma(n, splat(-6.077100506506192e-11), fma(n, splat(-1.5707963267341256), x)), z = r * r;
    return {r * horner(z, 2.716964309110184e-06, -0.00019839160831534804, 0.00833332864500319, -0.16666666630170537, 1),
            horner(z, 2.437564598713959e-05, -0.0013886572586698461, 0.04166661518398301, -0.49999999599265754, 1), (U64)t};
}

constexpr float far = 1e6f;

inline F32 sin(F32 x) {
    const F32 y = in_double(x, [](F64 v) {
        const SineCosine s = sine_cosine(v);
        return flip_sign((s.quadrant & 1) != 0 ? s.cosine : s.sine, s.quadrant >> 1);
    });
    return patched(y, abs(x) > splat(far), [x](int i) { return static_cast<float>(__builtin_sin(static_cast<double>(x[i]))); });
}

inline F32 cos(F32 x) {
    const F32 y = in_double(x, [](F64 v) {
        const SineCosine s = sine_cosine(v);
        return flip_sign((s.quadrant & 1) != 0 ? s.sine : s.cosine, (s.quadrant + 1) >> 1);
    });
    return patched(y, abs(x) > splat(far), [x](int i) { return static_cast<float>(__builtin_cos(static_cast<double>(x[i]))); });
}

inline F32 tan(F32 x) {
    const F32 y = in_double(x, [](F64 v) {
        const SineCosine s = sine_cosine(v);
        const auto odd = (s.quadrant & 1) != 0;
        return (odd ? -s.cosine : s.sine) / (odd ? s.sine : s.cosine);
    });
    return patched(y, abs(x) > splat(far), [x](int i) { return static_cast<float>(__builtin_tan(static_cast<double>(x[i]))); });
}

constexpr double pi = 3.14159265358979323846;

// atan(r) for |r| <= sqrt(2) - 1.
inline F64 atan_centre(F64 r) {
    return r * horner(r * r, 0.04705163836044703, -0.08455158486600185, 0.11040306933165601, -0.14281574100917466,
                      0.19999883328753007, -0.33333332090762097, 1);
}

inline F32 atan(F32 x) {
    return in_double(x, [](F64 v) {
        const F64 a = abs(v), one = splat(1.0);
        const auto large = a > splat(2.414213562373095), middle = a > splat(0.4142135623730951);
        const F64 r = (large ? -one : middle ? a - one : a) / (large ? a : middle ? a + one : one);
        return copysign((large ? splat(pi / 2) : middle ? splat(pi / 4) : F64{}) + atan_centre(r), v);
    });
}

inline F32 atan2(F32 y, F32 x) {
    return in_double(y, x, [](F64 v, F64 u) {
        const F64 a = abs(v), b = abs(u), inf = splat(__builtin_inf());
        const auto steep = a > b;
        F64 less = steep ? b : a, more = steep ? a : b;
        more = more == F64{} ? splat(1.0) : more;
        const auto both = less == inf;
        less = both ? splat(1.0) : less;
        more = both ? splat(1.0) : more;
        const auto middle = less > more * splat(0.4142135623730951);
        const F64 t = atan_centre((middle ? less - more : less) / (middle ? less + more : more));
        const F64 z = (middle ? splat(pi / 4) : F64{}) + t, w = steep ? splat(pi / 2) - z : z;
        const auto left = bits(u) < 0;
        const F64 angle = copysign(left ? splat(pi) - w : w, v);
        return ((u != u) | (v != v)) ? u + v : angle;
    });
}

// asin(r) / r by its square, for |r| <= 1/2.
inline F64 asin_centre(F64 z) {
    return horner(z, 0.0347484248080839, 0.0074010072390753795, 0.024650862660604088, 0.03010250689966149, 0.04466113930866896,
                  0.07499941908754719, 0.16666667364186447, 1);
}

inline F32 asin(F32 x) {
    return in_double(x, [](F64 v) {
        const F64 a = abs(v), half = splat(0.5), y = (splat(1.0) - a) * half;
        const auto outer = a > half;
        const F64 z = outer ? y : a * a, r = outer ? sqrt(y) : a, p = r * asin_centre(z);
        return copysign(outer ? splat(pi / 2) - (p + p) : p, v);
    });
}

inline F32 acos(F32 x) {
    return in_double(x, [](F64 v) {
        const F64 a = abs(v), half = splat(0.5), y = (splat(1.0) - a) * half;
        const auto outer = a > half;
        const F64 z = outer ? y : a * a, r = outer ? sqrt(y) : v, p = r * asin_centre(z);
        return outer ? (v < F64{} ? splat(pi) - (p + p) : p + p) : splat(pi / 2) - p;
    });
}

// ---- powers

// 2^t for |t| <= 900.
inline F64 power_of_two(F64 t) {
    const F64 m = t + splat(round_to_whole), r = t - (m - splat(round_to_whole));
    const F64 p = horner(r, 1.5303700711365693e-05, 0.00015469729214118296, 0.0013333478473685416, 0.009618025613318034,
                         0.055504109063258665, 0.24022651213498092, 0.6931471805568324, 1);
    return (F64)((U64)p + ((U64)m << 52));
}

// log2(x) for positive, normal x. x = 2^e m with m in [sqrt(1/2), sqrt(2)).
inline F64 log2_normal(F64 x) {
    constexpr uint64_t root = 0x3fe6a09e667f3bcd, bias = 1024;
    const U64 e = ((U64)x - root + (bias << 52)) >> 52;
    const F64 m = (F64)((U64)x - ((e - bias) << 52)), s = (m - splat(1.0)) / (m + splat(1.0));
    const F64 whole = (F64)(e | 0x4330000000000000) - splat(4503599627370496.0 + bias);
    return fma(s, horner(s * s, 0.28310105034388616, 0.31989243436159814, 0.4122095544082238, 0.5770779396096877,
                         0.9617966941219199, 2.885390081777846), whole);
}

inline F32 sinh(F32 x) {
    return in_double(x, [](F64 v) {
        const F64 a = abs(v), z = v * v, e = power_of_two((a > splat(200.0) ? splat(200.0) : a) * splat(1.4426950408889634));
        const F64 centre = a * horner(z, 2.819018792792959e-06, 0.00019835713875553468, 0.008333353205516371,
                                      0.1666666641809776, 1);
        return copysign(a < splat(1.0) ? centre : splat(0.5) * (e - splat(1.0) / e), v);
    });
}

inline F32 cosh(F32 x) {
    return in_double(x, [](F64 v) {
        const F64 a = abs(v), e = power_of_two((a > splat(200.0) ? splat(200.0) : a) * splat(1.4426950408889634));
        return splat(0.5) * (e + splat(1.0) / e);
    });
}

inline F32 pow(F32 x, F32 y) {
    return in_double(x, y, [](F64 v, F64 p) {
        const F64 a = abs(v), inf = splat(__builtin_inf()), one = splat(1.0), half = p * splat(0.5);
        F64 l = log2_normal(a);
        l = a == F64{} ? -inf : a == inf ? inf : l;
        F64 t = p * l;
        t = t > splat(200.0) ? splat(200.0) : t;
        F64 r = power_of_two(t < splat(-200.0) ? splat(-200.0) : t);
        r = ((p == F64{}) | (a == one)) ? one : r;
        const auto whole = floor(p) == p, odd = whole & (floor(half) != half);
        const F64 nan = splat(__builtin_nan(""));
        r = bits(v) < 0 ? (odd ? -r : ((whole | (a == inf) | (a == F64{})) ? r : nan)) : r;
        const auto number = ((v == v) & (p == p)) | (p == F64{}) | (v == one);
        return number ? r : nan;
    });
}

// ---- remainders, as Python has them: of the divisor's sign, with quotients rounded down

struct Quotient {
    F64 q, floor;
};
// The difference of two floats' quotient from an integer is 0 or above 2^-24, more than it is rounded by.
inline Quotient quotient(F64 a, F64 b) {
    const F64 q = a / b;
    return {q, CHAINRULE_ISA::floor(q)};
}

// Where the quotient is not below a limit, or the divisor infinite.
inline I32 beyond(F32 a, F32 b, float limit) {
    return ~(abs(a / b) < splat(limit)) | (abs(b) == splat(__builtin_inff()));
}

template <class F> inline F32 remainder(F32 a, F32 b, F exact) {
    const F32 y = in_double(a, b, [](F64 v, F64 w) {
        const F64 r = v - quotient(v, w).floor * w;
        return r == F64{} ? copysign(r, w) : r;
    });
    return patched(y, beyond(a, b, 268435456.f), [&](int i) { return exact(a[i], b[i]); });
}

template <class F> inline F32 floor_div(F32 a, F32 b, F exact) {
    const F32 y = in_double(a, b, [](F64 v, F64 w) {
        const Quotient d = quotient(v, w);
        return d.floor == F64{} ? copysign(d.floor, d.q) : d.floor;
    });
    return patched(y, beyond(a, b, 4194304.f), [&](int i) { return exact(a[i], b[i]); });
}

}  // namespace chainrule::CHAINRULE_ISA
