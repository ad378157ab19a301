// Elementary functions on vectors (*.simd.cpp files): one name for float and double.
//
// float: our own polynomials (least largest error on their interval), branch-free. Errors, worst case over the float
// range with fused multiply-add (without it up to 1 ulp more): exp 1.0 ulp, log 1.0, log1p 1.5, expm1 2, tanh 2.5,
// sigmoid 2.5, erf 2. Infinities, NaN, signed zeros and denormal results are right.
// double: the C library's functions, lane by lane (below 1 ulp).
#pragma once

#include "core/normal_tail.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

// ---- the C library, lane by lane

template <class V, class F> inline V each_lane(V a, F f) {
    for (int i = 0; i < lanes<elem<V>>; ++i) a[i] = f(a[i]);
    return a;
}
template <class V, class F> inline V each_lane(V a, V b, F f) {
    for (int i = 0; i < lanes<elem<V>>; ++i) a[i] = f(a[i], b[i]);
    return a;
}

// Horner's rule, highest coefficient first.
template <class V, class... C> inline V polynomial(V x, float first, C... rest) {
    V p = splat(first);
    ((p = fma(p, x, splat(rest))), ...);
    return p;
}

// ---- exponential family

// x = n ln 2 + r, |r| <= ln(2)/2. The first part of ln 2 has 15 bits, so its product with n is exact.
inline F32 reduce_exp(F32 x, F32& n) {
    n = rint(x * splat(1.44269504f));
    return fma(n, splat(-1.42860677e-6f), fma(n, splat(-0.693145752f), x));
}

// 2^n for -126 <= n <= 127. Bits are unsigned: of NaN they are anything, and may wrap around.
using U32 = Vec<uint32_t>;
inline F32 power_of_two(I32 n) { return (F32)(((U32)n + 127) << 23); }

// p * 2^n, also for n beyond the exponents of normal numbers; a denormal result is rounded once.
inline F32 scale(F32 p, F32 n) {
#if defined(__AVX512F__)
    return (F32)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    const I32 whole = __builtin_convertvector(n, I32), half = whole >> 1;
    return p * power_of_two(half) * power_of_two((I32)((U32)whole - (U32)half));
#endif
}

// e^x for -104 <= x <= 89 (or NaN).
inline F32 exp_inside(F32 x) {
    F32 n;
    const F32 r = reduce_exp(x, n);
    return scale(polynomial(r, 0.00138144672f, 0.00836878084f, 0.0416683927f, 0.166665196f, 0.49999994f, 1.f, 1.f), n);
}

inline F32 exp(F32 x) {
    // beyond the clamp the result is 0 or inf; both comparisons are false for NaN, which stays
    x = x < splat(-104.f) ? splat(-104.f) : x;
    return exp_inside(x > splat(89.f) ? splat(89.f) : x);
}

// e^x - 1 for -20 <= x <= 89 (or NaN); of -0 the sign is lost.
inline F32 expm1_inside(F32 x) {
    F32 n;
    const F32 r = reduce_exp(x, n);
    const F32 p = polynomial(r, 0.000199143018f, 0.00139411027f, 0.00833327323f, 0.041666355f, 0.166666672f, 0.5f);
    const F32 e = fma(p * r, r, r);
    // 2 (2^(n-1) e + 2^(n-1) - 1/2): 2^n alone would overflow for the largest results
#if defined(__AVX512F__)
    const F32 h = scale(splat(0.5f), n);
#else
    const F32 h = power_of_two((I32)((U32)__builtin_convertvector(n, I32) - 1));
#endif
    const F32 z = fma(h, e, h - splat(0.5f));
    return z + z;
}

inline F32 expm1(F32 x) {
    const F32 y = x < splat(-20.f) ? splat(-20.f) : x;
    return copysign(expm1_inside(y > splat(89.f) ? splat(89.f) : y), x);
}

inline F32 tanh(F32 x) {
    const F32 a = abs(x);
    const F32 e = expm1_inside((a > splat(9.1f) ? splat(9.1f) : a) * splat(2.f));
    return copysign(e / (e + splat(2.f)), x);
}

inline F32 sigmoid(F32 x) {
    const F32 a = abs(x), e = exp_inside(-(a > splat(104.f) ? splat(104.f) : a));
    return (x < F32{} ? e : splat(1.f)) / (splat(1.f) + e);
}

// ---- logarithms

// log(x) + extra for normal x > 0 (extra tiny: a correction of x's own rounding). x = 2^e m with m in [2/3, 4/3).
inline F32 log_normal(F32 x, F32 e, F32 extra) {
    const U32 i = (U32)x - 0x3f2aaaab;
    e += __builtin_convertvector((I32)i >> 23, F32);
    const F32 f = (F32)((i & 0x7fffff) + 0x3f2aaaab) - splat(1.f);
    F32 p = polynomial(f, -0.129489839f, 0.140047774f, -0.121671498f, 0.140011564f, -0.166823059f, 0.200107485f,
                       -0.249997169f, 0.333332092f, -0.5f);
    p = fma(p, f * f, fma(e, splat(-1.90465421e-9f), extra)) + f;
    return fma(e, splat(0.693147182f), p);
}

inline F32 log(F32 x) {
    const I32 tiny = x < splat(1.17549435e-38f);
    const F32 y = log_normal(tiny ? x * splat(8388608.f) : x, tiny ? splat(-23.f) : F32{}, F32{});
    const F32 inf = splat(__builtin_inff());
    F32 r = x == F32{} ? -inf : y;
    r = x < F32{} ? splat(__builtin_nanf("")) : r;
    return ((x == inf) | (x != x)) ? x : r;
}

inline F32 log1p(F32 x) {
    const F32 u = splat(1.f) + x;
    // what the sum lost, relative to u
    const F32 lost = (x < splat(1.f) ? x - (u - splat(1.f)) : splat(1.f) - (u - x)) / u;
    const F32 inf = splat(__builtin_inff());
    F32 r = log_normal(u, F32{}, lost);
    r = u == F32{} ? -inf : r;
    r = u < F32{} ? splat(__builtin_nanf("")) : r;
    r = abs(x) < splat(1e-10f) ? x : r;  // keeps -0
    return ((x == inf) | (x != x)) ? x : r;
}

// ---- error function

// erfc(t) for t >= 0.92 (to 1e-17, its value at 6).
inline F32 erfc_tail(F32 t) {
    t = t > splat(6.f) ? splat(6.f) : t;
    return exp_inside(t * polynomial(t, -1.45131289e-05f, 0.000349656359f, -0.00372941024f, 0.0239034276f, -0.106356688f,
                              -0.635102689f, -1.12865531f));
}

// erf(x) for |x| <= 0.93.
inline F32 erf_centre(F32 x) {
    return fma(x, polynomial(x * x, -0.000595374149f, 0.00498594064f, -0.02676172f, 0.112816826f, -0.376124799f,
                             0.128379151f), x);
}

inline F32 erf(F32 x) {
    const F32 t = abs(x);
    return t > splat(0.925f) ? copysign(splat(1.f) - erfc_tail(t), x) : erf_centre(x);
}

// The normal distribution function (1 + erf(x / sqrt 2)) / 2, without cancellation for negative x.
#if defined(__AVX512F__)
inline F32 normal_cdf(F32 x) {
    const F32 tail = normal_tail(abs(x));
    return x < F32{} ? tail : splat(1.f) - tail;
}
#else
inline F32 normal_cdf(F32 x) {
    const F32 z = x * splat(0.707106781f), t = abs(z);
    const F32 tail = t > splat(6.f) ? F32{} : splat(0.5f) * erfc_tail(t);  // 0, lest gelu(-1e30) be -1e13
    const F32 outer = x < F32{} ? tail : splat(1.f) - tail;
    return t > splat(0.925f) ? outer : fma(splat(0.5f), erf_centre(z), splat(0.5f));
}
#endif

// ---- double

inline F64 exp(F64 x) { return each_lane(x, [](double v) { return __builtin_exp(v); }); }
inline F64 expm1(F64 x) { return each_lane(x, [](double v) { return __builtin_expm1(v); }); }
inline F64 tanh(F64 x) { return each_lane(x, [](double v) { return __builtin_tanh(v); }); }
inline F64 log(F64 x) { return each_lane(x, [](double v) { return __builtin_log(v); }); }
inline F64 log1p(F64 x) { return each_lane(x, [](double v) { return __builtin_log1p(v); }); }
inline F64 erf(F64 x) { return each_lane(x, [](double v) { return __builtin_erf(v); }); }
inline F64 normal_cdf(F64 x) {
    return each_lane(x, [](double v) { return 0.5 * __builtin_erfc(v * -0.70710678118654752440); });
}
inline F64 sigmoid(F64 x) {
    const F64 e = exp(-abs(x));
    return (x < F64{} ? e : splat(1.0)) / (splat(1.0) + e);
}

}  // namespace chainrule::CHAINRULE_ISA
