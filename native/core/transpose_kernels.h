// Transposes for code that walks arrays.
#pragma once

#include "core/isa.h"

namespace chainrule {

// d[j*ldd + i] = s[i*lds + j] for i < rows, j < cols; of any elements of 4 or 8 bytes.
struct TransposeKernels {
    void (*f32)(const float* s, long lds, float* d, long ldd, long rows, long cols);
    void (*f64)(const double* s, long lds, double* d, long ldd, long rows, long cols);
};
CHAINRULE_VARIANTS(TransposeKernels, transpose_kernels)

}  // namespace chainrule
