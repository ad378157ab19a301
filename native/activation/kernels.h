// The activation kernels' table: each function, and its gradient from what the forward call saved.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

namespace chainrule {

// Index 0: float32, 1: float64. A gradient's operands are g, what was saved, and the number or numbers of the op. Those of
// glu and swiglu are dense: the halves a and b, and g before them where both of them matter.
struct ActivationKernels {
    MapKernel relu[2], relu_vjp[2], leaky_relu[2], leaky_relu_vjp[2], silu[2], silu_vjp[2];
    MapKernel gelu[2], gelu_vjp[2], gelu_tanh[2], gelu_tanh_vjp[2];
    MapKernel elu[2], elu_vjp[2];
    MapKernel relu6[2], relu6_vjp[2], hardsigmoid[2], hardsigmoid_vjp[2];
    MapKernel hardswish[2], hardswish_vjp[2], selu[2], selu_vjp[2];
    MapKernel softplus[2], softplus_vjp[2], logsigmoid[2], logsigmoid_vjp[2];
    MapKernel hardtanh[2], hardtanh_vjp[2], threshold[2], threshold_vjp[2];
    MapKernel softshrink[2], hardshrink[2], shrink_vjp[2], celu[2], celu_vjp[2];
    MapKernel glu[2], glu_vjp_a[2], glu_vjp_b[2], swiglu[2], swiglu_vjp_a[2], swiglu_vjp_b[2];
    MapKernel leaky_relu_vjp_dense[2];  // with a slope for every element
    // The sum of g x over n elements where x is not positive; the sums of the n columns of some rows.
    void (*negative_sum[2])(const void* g, const void* x, long n, double* sum);
    void (*negative_sums[2])(const void* g, const void* x, long rows, long n, double* sums);
    MapKernel mish[2], mish_vjp[2], softsign[2], softsign_vjp[2];
};
CHAINRULE_VARIANTS(ActivationKernels, activation_kernels)

}  // namespace chainrule
