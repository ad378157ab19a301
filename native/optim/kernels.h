// The optimizer kernels' table: one step for n elements, written in place.
#pragma once

#include "core/isa.h"

namespace chainrule {

struct SgdStep {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, first;
};

// scale: lr / (1 - beta1^t); root: 1 / sqrt(1 - beta2^t).
struct AdamStep {
    double lr, beta1, beta2, eps, weight_decay, scale, root;
    bool decoupled;
};

// Index 0: float32, 1: float64. v of sgd is null without momentum.
struct OptimKernels {
    void (*sgd[2])(void* p, const void* g, void* v, long n, const SgdStep&);
    void (*adam[2])(void* p, const void* g, void* m, void* v, long n, const AdamStep&);
};
CHAINRULE_VARIANTS(OptimKernels, optim_kernels)

}  // namespace chainrule
