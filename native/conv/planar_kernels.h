// What each instruction set supplies to convolutions with few output channels, whose vectors hold pixels.
#pragma once

#include "core/isa.h"

namespace chainrule {

constexpr int planar_outs = 8;  // most output channels

// Images lie flat, rows of one pitch behind each other, so that a tap is an offset. [outputs - 1] picks the function.
template <class T>
struct PlanarKernels {
    int block;  // forward works on so many positions at a time and may read and write that far
    // y[c*plane + p] = bias[c] + sum over t of w[t*8 + c] * x[offset[t] + p], p < n
    void (*forward[planar_outs])(const T* x, const long* offset, long taps, const T* w, const T* bias, long n, T* y,
                                 long plane);
    // sums[t*8 + c] (vectors) += x[offset[t] + p] * g[c*plane + p], p < n in whole vectors
    void (*gradient[planar_outs])(const T* x, const long* offset, long taps, const T* g, long plane, long n, T* sums);
};

struct PlanarTables {
    PlanarKernels<float> f32;
    PlanarKernels<double> f64;
    template <class T>
    const PlanarKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(PlanarTables, planar_kernels)

}  // namespace chainrule
