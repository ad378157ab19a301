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

struct RmspropStep {
    double lr, alpha, eps, momentum, weight_decay;
};

// lr: that of this step, after its decay.
struct AdagradStep {
    double lr, eps, weight_decay;
};

struct LionStep {
    double lr, beta1, beta2, weight_decay;
    bool decoupled;
};

// scale: lr / (1 - beta1^t).
struct AdamaxStep {
    double scale, beta1, beta2, eps, weight_decay;
};

// NAdam and RAdam. The step is of_gradient g / size + of_mean m / size, where size is root sqrt(v) + eps, or 1 unless divided.
struct MomentStep {
    double beta1, beta2, eps, weight_decay, root, of_gradient, of_mean;
    bool divided;
};

struct AdadeltaStep {
    double lr, rho, eps, weight_decay;
};

// Index 0: float32, 1: float64. States that an option lacks are null: v of sgd and moved of rmsprop without momentum, mean of
// rmsprop unless centered, largest of adam without amsgrad.
struct OptimKernels {
    void (*sgd[2])(void* p, const void* g, void* v, long n, const SgdStep&);
    void (*adam[2])(void* p, const void* g, void* m, void* v, void* largest, long n, const AdamStep&);
    void (*rmsprop[2])(void* p, const void* g, void* v, void* mean, void* moved, long n, const RmspropStep&);
    void (*adagrad[2])(void* p, const void* g, void* sum, long n, const AdagradStep&);
    void (*lion[2])(void* p, const void* g, void* m, long n, const LionStep&);
    void (*adamax[2])(void* p, const void* g, void* m, void* top, long n, const AdamaxStep&);
    void (*moment[2])(void* p, const void* g, void* m, void* v, long n, const MomentStep&);
    void (*adadelta[2])(void* p, const void* g, void* v, void* moved, long n, const AdadeltaStep&);
};
CHAINRULE_VARIANTS(OptimKernels, optim_kernels)

}  // namespace chainrule
