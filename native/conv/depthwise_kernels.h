// What each instruction set supplies to depthwise convolution: one filter a channel, channels in the lanes.
#pragma once

#include "core/isa.h"

namespace chainrule {

// The walk over one row of outputs: input pixels `step` apart, taps at the offsets ty*row + tx*tap.
struct DepthwiseRow {
    long channels, outputs, step, ny, nx, row, tap;
};

template <class T>
struct DepthwiseKernels {
    // y[o*y_step + c] = bias[c] + sum over taps of w[tap*channels + c] * x[o*step + offset(tap) + c]
    void (*forward)(const T* x, const DepthwiseRow& shape, const T* w, const T* bias, T* y, long y_step);
    // gw[tap*channels + c] += sum over o of x[o*step + offset(tap) + c] * g[o*g_step + c]
    void (*gradient)(const T* x, const DepthwiseRow& shape, const T* g, long g_step, T* gw);
};

struct DepthwiseTables {
    DepthwiseKernels<float> f32;
    DepthwiseKernels<double> f64;
    template <class T>
    const DepthwiseKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(DepthwiseTables, depthwise_kernels)

}  // namespace chainrule
