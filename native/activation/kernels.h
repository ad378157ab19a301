// The activation kernels' table: each function, and its gradient from what the forward call saved.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

namespace chainrule {

// Index 0: float32, 1: float64. A gradient's operands are g, what was saved, and the number of leaky_relu and elu.
struct ActivationKernels {
    MapKernel relu[2], relu_vjp[2], leaky_relu[2], leaky_relu_vjp[2], silu[2], silu_vjp[2];
    MapKernel gelu[2], gelu_vjp[2], gelu_tanh[2], gelu_tanh_vjp[2];
    MapKernel elu[2], elu_vjp[2];
    MapKernel relu6[2], relu6_vjp[2], hardsigmoid[2], hardsigmoid_vjp[2];
    MapKernel hardswish[2], hardswish_vjp[2], selu[2], selu_vjp[2];
    MapKernel softplus[2], softplus_vjp[2], logsigmoid[2], logsigmoid_vjp[2];
    MapKernel mish[2], mish_vjp[2], softsign[2], softsign_vjp[2];
};
CHAINRULE_VARIANTS(ActivationKernels, activation_kernels)

}  // namespace chainrule
