// What each instruction set supplies to ctc: logarithms of probabilities in double, n states of a path at once.
#pragma once

#include "core/isa.h"

namespace chainrule {

struct CtcKernels {
    // now[s] = log(exp(past[s]) + exp(past[s - 1]) + exp(past[s - 2] + skip[s])) + said[s]
    void (*advance)(const double* past, const double* skip, const double* said, double* now, long n);
    // share[s] = exp(ahead[s] + behind[s] - said[s] - total)
    void (*shares)(const double* ahead, const double* behind, const double* said, double total, double* share, long n);
};
CHAINRULE_VARIANTS(CtcKernels, ctc_kernels)

}  // namespace chainrule
