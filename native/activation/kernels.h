// The activation kernels' table: each function, and its gradient from what the forward call saved.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

namespace chainrule {

// Index 0: float32, 1: float64. A gradient's operands are g, what was saved, and leaky_relu's slope.
struct ActivationKernels {
    MapKernel relu[2], relu_vjp[2], leaky_relu[2], leaky_relu_vjp[2], silu[2], silu_vjp[2];
    MapKernel gelu[2], gelu_vjp[2], gelu_tanh[2], gelu_tanh_vjp[2];
};
CHAINRULE_VARIANTS(ActivationKernels, activation_kernels)

}  // namespace chainrule
