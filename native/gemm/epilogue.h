// Activations that a matrix product applies to its tiles while they are in cache: those whose derivative follows from
// their result, which is then all that is kept for the gradient.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"
#include "gemm/gemm.h"

namespace chainrule {

// Index 0: relu, 1: sigmoid, 2: tanh.
struct EpilogueKernels {
    Activate<float> f32[3];
    Activate<double> f64[3];
    MapKernel gradient[3][2];  // g f'(x) from g and y = f(x); float32, float64
    template <class T>
    const Activate<T>* of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(EpilogueKernels, epilogue_kernels)

}  // namespace chainrule
