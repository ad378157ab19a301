// The reduction kernels' table. A reduction has accumulators, of a type of its own: double for sums and products of
// either float type, the element's type for the rest.
#pragma once

#include "core/isa.h"

namespace chainrule {

struct Reduction {
    long accumulator;  // bytes
    /// n accumulators of nothing.
    void (*start)(void* accumulators, long n);
    /// One accumulator takes n consecutive elements.
    void (*row)(void* accumulator, const void* x, long n);
    /// n accumulators take `rows` rows of n elements each, `stride` bytes apart.
    void (*columns)(void* accumulators, const void* x, long rows, long stride, long n);
    /// n accumulators take n others.
    void (*combine)(void* accumulators, const void* others, long n);
    /// n results; a sum is divided by `divisor`.
    void (*finish)(void* y, const void* accumulators, double divisor, long n);
    /// Whole reductions: of `rows` rows of n elements, `stride` bytes apart; results y_step elements apart.
    void (*rows)(void* y, const void* x, long rows, long stride, long y_step, long n, double divisor);
};

// The largest (or smallest) of each column of a (rows, n) block and where it is; the first of equals, NaN above all.
using Extreme = void (*)(void* values, long* indices, const void* x, long rows, long n);
// The same of one row: returns the index.
using ExtremeRow = long (*)(void* value, const void* x, long n);

// Index 0: float32, 1: float64.
struct ReduceKernels {
    Reduction sum[2], prod[2], norm_1[2], norm_2[2], max[2], min[2], any, all;
    Extreme argmax_columns[2], argmin_columns[2];
    ExtremeRow argmax_row[2], argmin_row[2];
};
CHAINRULE_VARIANTS(ReduceKernels, reduce_kernels)

}  // namespace chainrule
