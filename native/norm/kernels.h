// What each instruction set supplies to batch normalisation.
#pragma once

#include "core/isa.h"

namespace chainrule {

// Two layouts: "rows" are pixels of c channels side by side (per-channel values are arrays), a "run" is one channel's
// consecutive elements (they are numbers). mean and m2 (the sum of squared distances from it) are over the part given;
// sums are added to what is there.
template <class T>
struct NormKernels {
    void (*moments_rows)(const T* x, long rows, long c, double* mean, double* m2);
    void (*moments_run)(const T* x, long n, double* mean, double* m2);
    // sum of g, sum of g (x - mean)
    void (*sums_rows)(const T* g, const T* x, long rows, long c, const T* mean, double* sum_g, double* sum_gx);
    void (*sums_run)(const T* g, const T* x, long n, T mean, double* sum_g, double* sum_gx);
    // y = (x - mean) a + b
    void (*apply_rows)(const T* x, long rows, long c, const T* mean, const T* a, const T* b, T* y);
    void (*apply_run)(const T* x, long n, T mean, T a, T b, T* y);
    // gx = a g + b (x - mean) + k
    void (*back_rows)(const T* g, const T* x, long rows, long c, const T* mean, const T* a, const T* b, const T* k,
                      T* gx);
    void (*back_run)(const T* g, const T* x, long n, T mean, T a, T b, T k, T* gx);
};

struct NormTables {
    NormKernels<float> f32;
    NormKernels<double> f64;
    template <class T>
    const NormKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(NormTables, norm_kernels)

}  // namespace chainrule
