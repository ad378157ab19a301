// What each instruction set supplies to the drivers of gemm and conv.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace chainrule {

// One tile: C[rows, cols] (+)= sum over ny*nx segments of k steps. A element (i, p) of a segment: a[i*row + p*step];
// row p of B: contiguous at b[p*ldb]. A matrix product has one segment, a convolution one per kernel row or image row.
template <class T>
struct Tile {
    const T* a;
    long row, step;
    const T* b;
    long ldb;
    long k;
    long ny = 1, nx = 1;  // segments
    long ay = 0, ax = 0;  // distances between them in A
    long by = 0, bx = 0;  // and in B
    T* c;
    long ldc;
    int cols;                 // columns stored; fewer than the tile's width at the edge
    bool accumulate = false;  // add to C
    bool transposed = false;  // store element (i, j) at c[j*ldc + i]
    const T* bias = nullptr;  // one value per column
    bool row_bias = false;    // transposed only: one value per row instead
};

template <class T>
struct TileKernels {
    int rows;                                // of the largest tile
    int lanes;                               // of one vector; a tile is one or two vectors wide
    void (*tile[2][2][14])(const Tile<T>&);  // [unit row stride][vectors - 1][rows - 1]
    // out[i][j] = dot(a row i, b row j), at most 4 x 4 rows contiguous along k; [rows - 1]
    void (*dots[4])(const T* a, long lda, const T* b, long ldb, long k, int cols, T out[4][4]);
    // d[j*ldd + i] = s[i*lds + j] for i < rows, j < cols
    void (*transpose)(const T* s, long lds, T* d, long ldd, long rows, long cols);
    // d[p*ldd + j] = s[p*lds + j] for p < rows, j < cols; zero for cols <= j < width
    void (*copy)(const T* s, long lds, T* d, long ldd, long rows, long cols, long width);
    // out[j] += sum of s[i*lds + j] over i < rows, for j < cols
    void (*column_sums)(const T* s, long lds, long rows, long cols, double* out);
    double (*run_sum)(const T* s, long n);  // the sum of s[0..n)
};

struct GemmKernels {
    TileKernels<float> f32;
    TileKernels<double> f64;
    template <class T>
    const TileKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(GemmKernels, gemm_kernels)

// Of bfloat16 with AVX512-BF16: A and B of a tile are pairs along K, each the bits of one float.
struct PairKernels {
    TileKernels<float> tiles;
    // pairs[j] = (s[j], t[j]) for j < n; without t, (s[j], 0)
    void (*interleave)(const uint16_t* s, const uint16_t* t, float* pairs, long n);
    // to[i*ldt + j] = c[i*ldc + j] rounded to the nearest bfloat16
    void (*round)(const float* c, long ldc, uint16_t* to, long ldt, long rows, long cols);
    void (*widen)(const uint16_t* s, float* to, long n);
};
#ifdef CHAINRULE_X86
namespace avx512_bf16 { extern const PairKernels pair_kernels; }
#endif

/// Null where the processor has no such instructions, or CHAINRULE_SIMD asks for other ones.
inline const PairKernels* pair_kernels() {
#ifdef CHAINRULE_X86
    if (bfloat16_products()) return &avx512_bf16::pair_kernels;
#endif
    return nullptr;
}

}  // namespace chainrule
