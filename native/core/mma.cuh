// The tensor-core instructions that every GPU from sm_80 on has: D (16 x 8, float) += A (16 x 16) B (16 x 8) of 16-bit floats,
// done by a warp together, or of A (16 x 8) and B (8 x 8) in TF32; and the one that fetches fragments of 16 bits. On the emulator the lanes of a warp lay down for each other
// what they have, and do the same sums.
//
// Lane = 4 g + t holds: A[g][2t, 2t+1], A[g+8][2t..], A[g][2t+8..], A[g+8][2t+8..] (four pairs), B[2t, 2t+1][g] and
// B[2t+8, 2t+9][g] (two pairs), D[g][2t, 2t+1] and D[g+8][2t, 2t+1]. Source: PTX ISA, mma.m16n8k16. In TF32: A[g][t],
// A[g+8][t], A[g][t+4], A[g+8][t+4], B[t][g], B[t+4][g], D as before. Source: PTX ISA, mma.m16n8k8.
#pragma once

#include "core/device.cuh"

/// A float whose products are computed in TF32: with 10 bits of fraction, summed in float.
struct tf32 { float value; };
template <> struct WideOf<tf32> { using type = float; };
DEVICE float widened(tf32 x) { return x.value; }
template <> struct Narrow<tf32> {
    static DEVICE tf32 from(float x) { return {x}; }
};

/// An element as products take it.
template <class T> DEVICE Wide<T> factor(T x) { return widened(x); }
DEVICE float factor(tf32 x) {
#ifdef __CUDA_ARCH__
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x.value));
    return __uint_as_float(y);
#else
    const uint32_t u = __float_as_uint(x.value);
    return (u & 0x7f800000u) == 0x7f800000u ? x.value : __uint_as_float((u + 0x1000u) & ~0x1fffu);
#endif
}

#ifndef __CUDA_ARCH__
template <class T> DEVICE float half_of(uint64_t word, int which) { return widened(T{static_cast<uint16_t>(word >> (16 * which))}); }

template <class T> DEVICE void emulated_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const unsigned long long words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto* lanes = emulator::exchange(~0u, words, 6);
    const unsigned g = emulator::lane() >> 2, t = emulator::lane() & 3;
    for (int i = 0; i < 4; ++i) {
        const unsigned row = g + (i >> 1) * 8, column = 2 * t + (i & 1);
        for (unsigned k = 0; k < 16; ++k)
            d[i] += half_of<T>(lanes[(row & 7) * 4 + ((k & 7) >> 1)][(row >> 3) + (k >> 3) * 2], k & 1) *
                    half_of<T>(lanes[column * 4 + ((k & 7) >> 1)][4 + (k >> 3)], k & 1);
    }
}
#endif

DEVICE void mma(bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emulated_mma<bf16>(d, a, b);
#endif
}
DEVICE void mma(f16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emulated_mma<f16>(d, a, b);
#endif
}

DEVICE void mma(tf32, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    const unsigned long long words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto* lanes = emulator::exchange(~0u, words, 6);
    const unsigned g = emulator::lane() >> 2, t = emulator::lane() & 3;
    for (int i = 0; i < 4; ++i) {
        const unsigned row = g + (i >> 1) * 8, column = 2 * t + (i & 1);
        for (unsigned k = 0; k < 8; ++k)
            d[i] += __uint_as_float(static_cast<uint32_t>(lanes[(row & 7) * 4 + (k & 3)][(row >> 3) + (k >> 2) * 2])) *
                    __uint_as_float(static_cast<uint32_t>(lanes[column * 4 + (k & 3)][4 + (k >> 2)]));
    }
#endif
}

/// Four 8 x 8 matrices of 16-bit floats from shared memory: lane 8 i + r names row r of matrix i, 16 bytes at a multiple of 16.
/// Lane 4 g + t gets of each the elements [g][2t, 2t+1], or if `flipped`, [2t, 2t+1][g]. Source: PTX ISA, ldmatrix.
DEVICE void fragments(uint32_t (&d)[4], const uint16_t* row, bool flipped) {
#ifdef __CUDA_ARCH__
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    if (flipped)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                     : "r"(at)
                     : "memory");
#else
    const unsigned long long mine = reinterpret_cast<uint64_t>(row);
    auto* lanes = emulator::exchange(~0u, &mine, 1);
    const unsigned g = emulator::lane() >> 2, t = emulator::lane() & 3;
    const auto element = [&](unsigned i, unsigned r, unsigned c) {
        return static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(lanes[8 * i + r][0])[c]);
    };
    for (unsigned i = 0; i < 4; ++i)
        d[i] = flipped ? element(i, 2 * t, g) | element(i, 2 * t + 1, g) << 16
                       : element(i, g, 2 * t) | element(i, g, 2 * t + 1) << 16;
#endif
}
