// The table of kernels that move elements.
#pragma once

#include "core/isa.h"

namespace chainrule {

// Index 0: elements of 4 bytes, 1: of 8.
struct ShapeKernels {
    /// n elements in reverse order.
    void (*reversed[2])(void* to, const void* from, long n);
};
CHAINRULE_VARIANTS(ShapeKernels, shape_kernels)

}  // namespace chainrule
