// The elementwise kernels' table. The lists name every op once: enum, kernels and bindings are made from them.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

// X(name, cost): float -> float
#define CHAINRULE_UNARY(X)                                                                                             \
    X(neg, cheap) X(abs, cheap) X(sign, cheap) X(sqrt, polynomial_cost) X(floor, cheap) X(ceil, cheap) X(round, cheap) \
    X(square, cheap) X(reciprocal, polynomial_cost) X(rsqrt, polynomial_cost)                                          \
    X(exp, polynomial_cost) X(expm1, polynomial_cost) X(log, polynomial_cost) X(log1p, polynomial_cost)                \
    X(tanh, polynomial_cost) X(sigmoid, polynomial_cost) X(erf, polynomial_cost) X(sin, wide_cost)                     \
    X(cos, wide_cost) X(tan, wide_cost) X(asin, wide_cost) X(acos, wide_cost) X(atan, wide_cost)                       \
    X(sinh, wide_cost) X(cosh, wide_cost)
// float, float -> float
#define CHAINRULE_BINARY(X)                                                                                   \
    X(add, cheap) X(sub, cheap) X(mul, cheap) X(div, cheap) X(maximum, cheap) X(minimum, cheap)               \
    X(floor_div, wide_cost) X(remainder, wide_cost) X(pow, wide_cost) X(atan2, wide_cost)
// float, float -> bool
#define CHAINRULE_COMPARISONS(X) X(eq) X(ne) X(lt) X(le) X(gt) X(ge)
// bool, bool -> bool
#define CHAINRULE_LOGICAL(X) X(logical_and) X(logical_or) X(logical_xor)

namespace chainrule {

// Index 0: float32, 1: float64.
struct ElementwiseKernels {
#define X(name, cost) MapKernel name[2];
    CHAINRULE_UNARY(X)
    CHAINRULE_BINARY(X)
#undef X
#define X(name) MapKernel name[2];
    CHAINRULE_COMPARISONS(X)
#undef X
#define X(name) MapKernel name;
    CHAINRULE_LOGICAL(X)
#undef X
    MapKernel clip[2], clip_vjp[2], isfinite[2], logical_not, where[2];
};
CHAINRULE_VARIANTS(ElementwiseKernels, elementwise_kernels)

}  // namespace chainrule
