// Activations that a matrix product applies to its tiles while they are in cache. The derivative of the first follows
// from their result, which is then all that is kept for the gradient; of gelu and silu from what they were applied to.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"
#include "gemm/gemm.h"

namespace chainrule {

// Index 0: relu, 1: sigmoid, 2: tanh, 3: gelu, 4: silu.
struct EpilogueKernels {
    Activate<float> f32[5];
    Activate<double> f64[5];
    MapKernel gradient[5][2];  // g f'(x) from g and what is kept; float32, float64
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
