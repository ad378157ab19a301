// The loss kernels' table: of predictions x, targets t and one number p of the loss.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

namespace chainrule {

struct LossKernel {
    /// The loss of each element.
    MapKernel value;
    /// Their sum.
    double (*sum)(const void* x, const void* t, const void* p, long n);
    /// The gradients by x and t of n elements (null: not wanted), times g: one number for all if `single`, else one each.
    void (*gradients)(void* gx, void* gt, const void* x, const void* t, const void* p, const void* g, bool single, long n);
};

// Index 0: float32, 1: float64. p: huber's delta, smooth_l1's beta (above 0), else unused.
struct LossKernels {
    LossKernel mse[2], mae[2], huber[2], smooth_l1[2], bce[2], bce_with_logits[2];
};
CHAINRULE_VARIANTS(LossKernels, loss_kernels)

}  // namespace chainrule
