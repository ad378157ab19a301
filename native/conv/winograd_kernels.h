// What each instruction set supplies to Winograd convolution: the transforms between pixels and their products.
#pragma once

#include "core/isa.h"

namespace chainrule {

// A block of rows x columns tiles of 2x2 (4x4) outputs. Transformed values: plane k of 16 (36), tile t, channel c at
// data[k*plane + t*ld + c]; channels side by side in whole vectors (the output's may be fewer). Planes must not lie a
// multiple of 4 KiB apart, or they collide in the cache: the drivers put one vector between them.
struct TileBlock {
    long rows, columns, channels, plane, ld;
    bool relu = false;  // of the output: what is not above 0 becomes 0
};

// Tiles of m x m outputs, of (m + 2) x (m + 2) pixels each.
template <class T>
struct WinogradTransforms {
    // Tile (r, q) reads the pixels from x + m*r*row + m*q*pixel.
    void (*input)(const T* x, long row, long pixel, const TileBlock& block, T* v);
    // Tile (r, q) writes the m x m pixels from y + m*r*row + m*q*pixel, as far as they lie in height x width.
    void (*output)(const T* m, const TileBlock& block, const T* bias, T* y, long row, long pixel, long height,
                   long width);
    // w[tap of 9][n] to u[k of (m + 2)^2][n], the taps (planes) wstep (ustep) apart; n a multiple of a vector.
    void (*filter)(const T* w, long wstep, long n, T* u, long ustep);
};

template <class T>
struct WinogradKernels {
    WinogradTransforms<T> by2, by4;
    // The output's gradient: tile (r, q) reads the 2x2 pixels from g + 2r*row + 2q*pixel.
    void (*gradient)(const T* g, long row, long pixel, const TileBlock& block, T* v);
    // The way back of by2's filter.
    void (*filter_back)(const T* u, long ustep, long n, T* w, long wstep);
};

struct WinogradTables {
    WinogradKernels<float> f32;
    WinogradKernels<double> f64;
    template <class T>
    const WinogradKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(WinogradTables, winograd_kernels)

}  // namespace chainrule
