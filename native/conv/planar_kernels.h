// What each instruction set supplies to convolutions with few channels, whose vectors hold pixels.
#pragma once

#include "core/isa.h"

namespace chainrule {

constexpr int planar_outs = 8;  // output channels worked on together

// Up to a vector of output pixels side by side: where their inputs begin, where they are, how many.
struct PlanarSlot {
    long from, to, count;
};

// Inputs lie in planes with room for a vector behind them, a tap is an offset. [outputs - 1] picks the function.
template <class T>
struct PlanarKernels {
    // y[c*plane + to + l] = bias[c] + sum over t of w[t*8 + c] * x[offset[t] + from + l]
    void (*forward[planar_outs])(const T* x, const long* offset, long taps, const T* w, const T* bias,
                                 const PlanarSlot* slots, long n, T* y, long plane);
    // sums[t*8 + c] (vectors) += x[offset[t] + from + l] * g[c*plane + to + l]; g is zero beyond a slot
    void (*gradient[planar_outs])(const T* x, const long* offset, long taps, const T* g, long plane,
                                  const PlanarSlot* slots, long n, T* sums);
    // d[phase*pitch + i] = s[i*step + phase], as far as i*step + phase < n
    void (*split)(const T* s, long n, long step, T* d, long pitch);
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
