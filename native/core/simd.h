// The vector type of *.simd.cpp files: compiler vector extensions, as wide as the instruction set's registers.
//
//     using F = Vec<float>;                      // 16, 8 or 4 floats; lanes<float>
//     F y = fma(load(p), splat<float>(2), c);    // operators + - * / < ... and ?: work on vectors as they are
//
// Fused multiply-add happens only where fma() is written (the build has -ffp-contract=off); without FMA hardware it
// is a multiplication and an addition. Everything here is in the namespace of the instruction set.
#pragma once

#ifndef CHAINRULE_ISA
#error "core/simd.h is for *.simd.cpp files, which CMake compiles once per instruction set"
#endif

#include <cstdint>
#include <cstring>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif
#ifdef __aarch64__
#include <arm_neon.h>
#endif

namespace chainrule::CHAINRULE_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T> struct VecOf { typedef T type __attribute__((vector_size(vector_bytes))); };
template <class T> using Vec = typename VecOf<T>::type;
template <class T> constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));

using F32 = Vec<float>;
using F64 = Vec<double>;
using I32 = Vec<int32_t>;
using I64 = Vec<int64_t>;

// Element type, and the integer vector of the same width, of a vector type.
template <class V> struct Of;
template <> struct Of<F32> { using type = float; using ints = I32; };
template <> struct Of<F64> { using type = double; using ints = I64; };
template <class V> using elem = typename Of<V>::type;
template <class V> using ints = typename Of<V>::ints;

// x - 0 is x for every x (-0 included): the compiler makes it one broadcast, where 0 + x costs an addition.
template <class T> inline Vec<T> splat(T x) { return x - Vec<T>{}; }

template <class T> inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> inline void store(T* p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }
// Past the caches, for results that are too long for them; p on a boundary of a vector. fence() before another thread reads.
template <class T> inline void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
    _mm512_stream_si512((__m512i*)p, (__m512i)v);
#elif defined(__AVX2__)
    _mm256_stream_si256((__m256i*)p, (__m256i)v);
#elif defined(__SSE2__)
    _mm_stream_si128((__m128i*)p, (__m128i)v);
#else
    store(p, v);
#endif
}
inline void fence() {
#ifdef __x86_64__
    _mm_sfence();
#endif
}
// The first n < lanes elements; the others read as zero.
template <class T> inline Vec<T> load_part(const T* p, long n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1), p);
    else
        return (Vec<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), p);
#else
    Vec<T> v{};
    std::memcpy(&v, p, n * sizeof(T));
    return v;
#endif
}
template <class T> inline void store_part(T* p, Vec<T> v, long n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1), (__m512i)v);
    else
        _mm512_mask_storeu_epi64(p, static_cast<__mmask8>((1u << n) - 1), (__m512i)v);
#else
    std::memcpy(p, &v, n * sizeof(T));
#endif
}

// A whole vector if n elements or more are left, else a part of one.
template <class T> inline Vec<T> load_some(const T* p, long n) { return n >= lanes<T> ? load(p) : load_part(p, n); }
template <class T> inline void store_some(T* p, Vec<T> v, long n) {
    if (n >= lanes<T>)
        store(p, v);
    else
        store_part(p, v, n);
}

// Half as many floats as a vector has, to and from a vector of doubles. (GCC would convert each half of it apart.)
typedef float HalfF32 __attribute__((vector_size(vector_bytes / 2)));
inline F64 widen(HalfF32 a) {
#if defined(__AVX512F__)
    return (F64)_mm512_cvtps_pd((__m256)a);
#elif defined(__AVX2__)
    return (F64)_mm256_cvtps_pd((__m128)a);
#else
    return __builtin_convertvector(a, F64);
#endif
}
inline HalfF32 narrow(F64 a) {
#if defined(__AVX512F__)
    return (HalfF32)_mm512_cvtpd_ps((__m512d)a);
#elif defined(__AVX2__)
    return (HalfF32)_mm256_cvtpd_ps((__m256d)a);
#else
    return __builtin_convertvector(a, HalfF32);
#endif
}

// a * b + c in one rounding where the hardware has it.
inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
inline double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}
#if defined(__AVX512F__)
inline F32 fma(F32 a, F32 b, F32 c) { return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
inline F64 fma(F64 a, F64 b, F64 c) { return (F64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
inline F32 sqrt(F32 a) { return (F32)_mm512_sqrt_ps((__m512)a); }
inline F64 sqrt(F64 a) { return (F64)_mm512_sqrt_pd((__m512d)a); }
// Rounding to the nearest integer (half to even), down, up.
inline F32 rint(F32 a) { return (F32)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F64 rint(F64 a) { return (F64)_mm512_roundscale_pd((__m512d)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F32 floor(F32 a) { return (F32)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline F64 floor(F64 a) { return (F64)_mm512_roundscale_pd((__m512d)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline F32 ceil(F32 a) { return (F32)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
inline F64 ceil(F64 a) { return (F64)_mm512_roundscale_pd((__m512d)a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
#elif defined(__AVX2__)
inline F32 fma(F32 a, F32 b, F32 c) { return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline F64 fma(F64 a, F64 b, F64 c) { return (F64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
inline F32 sqrt(F32 a) { return (F32)_mm256_sqrt_ps((__m256)a); }
inline F64 sqrt(F64 a) { return (F64)_mm256_sqrt_pd((__m256d)a); }
inline F32 rint(F32 a) { return (F32)_mm256_round_ps((__m256)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F64 rint(F64 a) { return (F64)_mm256_round_pd((__m256d)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F32 floor(F32 a) { return (F32)_mm256_floor_ps((__m256)a); }
inline F64 floor(F64 a) { return (F64)_mm256_floor_pd((__m256d)a); }
inline F32 ceil(F32 a) { return (F32)_mm256_ceil_ps((__m256)a); }
inline F64 ceil(F64 a) { return (F64)_mm256_ceil_pd((__m256d)a); }
#elif defined(__SSE4_1__)
inline F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
inline F64 fma(F64 a, F64 b, F64 c) { return a * b + c; }
inline F32 sqrt(F32 a) { return (F32)_mm_sqrt_ps((__m128)a); }
inline F64 sqrt(F64 a) { return (F64)_mm_sqrt_pd((__m128d)a); }
inline F32 rint(F32 a) { return (F32)_mm_round_ps((__m128)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F64 rint(F64 a) { return (F64)_mm_round_pd((__m128d)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F32 floor(F32 a) { return (F32)_mm_floor_ps((__m128)a); }
inline F64 floor(F64 a) { return (F64)_mm_floor_pd((__m128d)a); }
inline F32 ceil(F32 a) { return (F32)_mm_ceil_ps((__m128)a); }
inline F64 ceil(F64 a) { return (F64)_mm_ceil_pd((__m128d)a); }
#elif defined(__aarch64__)
inline F32 fma(F32 a, F32 b, F32 c) { return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
inline F64 fma(F64 a, F64 b, F64 c) { return (F64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
inline F32 sqrt(F32 a) { return (F32)vsqrtq_f32((float32x4_t)a); }
inline F64 sqrt(F64 a) { return (F64)vsqrtq_f64((float64x2_t)a); }
inline F32 rint(F32 a) { return (F32)vrndnq_f32((float32x4_t)a); }
inline F64 rint(F64 a) { return (F64)vrndnq_f64((float64x2_t)a); }
inline F32 floor(F32 a) { return (F32)vrndmq_f32((float32x4_t)a); }
inline F64 floor(F64 a) { return (F64)vrndmq_f64((float64x2_t)a); }
inline F32 ceil(F32 a) { return (F32)vrndpq_f32((float32x4_t)a); }
inline F64 ceil(F64 a) { return (F64)vrndpq_f64((float64x2_t)a); }
#else
#error "core/simd.h: no vector functions for this processor"
#endif

// Bits as integers, and lane-wise helpers built on them.
template <class V> inline ints<V> bits(V a) { return (ints<V>)a; }
template <class V> inline V select(ints<V> mask, V yes, V no) { return mask ? yes : no; }
template <class V> inline V abs(V a) {
    constexpr auto mask = sizeof(elem<V>) == 4 ? int64_t{0x7fffffff} : int64_t{0x7fffffffffffffff};
    return (V)(bits(a) & (ints<V>{} + static_cast<decltype(ints<V>{}[0] + 0)>(mask)));
}
template <class V> inline V copysign(V magnitude, V sign) { return (V)(bits(abs(magnitude)) | (bits(sign) ^ bits(abs(sign)))); }
// NaN in either gives NaN, as NumPy and PyTorch have it.
template <class V> inline V maximum(V a, V b) { return ((a > b) | (a != a)) ? a : b; }
template <class V> inline V minimum(V a, V b) { return ((a < b) | (a != a)) ? a : b; }

// Whether any bit of an integer vector is set.
template <class I> inline bool any(I mask) {
    uint64_t words[sizeof(I) / 8], all = 0;
    std::memcpy(words, &mask, sizeof mask);
    for (uint64_t word : words) all |= word;
    return all;
}

// The first lane whose mask is set; `lanes` if none is.
template <class T> inline int first_lane(ints<Vec<T>> mask) {
#if defined(__AVX512DQ__)
    if constexpr (sizeof(T) == 4) return __builtin_ctz(_mm512_movepi32_mask((__m512i)mask) | 1u << 16);
    else return __builtin_ctz(_mm512_movepi64_mask((__m512i)mask) | 1u << 8);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) return __builtin_ctz(_mm256_movemask_ps((__m256)mask) | 1 << 8);
    else return __builtin_ctz(_mm256_movemask_pd((__m256d)mask) | 1 << 4);
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == 4) return __builtin_ctz(_mm_movemask_ps((__m128)mask) | 1 << 4);
    else return __builtin_ctz(_mm_movemask_pd((__m128d)mask) | 1 << 2);
#else
    int i = 0;
    while (i < lanes<T> && !mask[i]) ++i;
    return i;
#endif
}

// Sum, maximum, minimum of all lanes, in a fixed order (halves folded together).
template <int half, class V, int... I> inline V upper(V a, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, a, (I < half ? I + half : I)...);
}
template <int half, class V, class Fold> inline V fold_halves(V a, Fold f) {
    if constexpr (half == 0) return a;
    else return fold_halves<half / 2>(f(a, upper<half>(a, std::make_integer_sequence<int, lanes<elem<V>>>{})), f);
}
template <class V, class Fold> inline elem<V> fold(V a, Fold f) { return fold_halves<lanes<elem<V>> / 2>(a, f)[0]; }
template <class V> inline elem<V> sum(V a) { return fold(a, [](V x, V y) { return x + y; }); }
template <class V> inline elem<V> max(V a) { return fold(a, [](V x, V y) { return maximum(x, y); }); }
template <class V> inline elem<V> min(V a) { return fold(a, [](V x, V y) { return minimum(x, y); }); }

}  // namespace chainrule::CHAINRULE_ISA
