// What each instruction set supplies to batch and layer normalisation.
#pragma once

#include "core/isa.h"

namespace chainrule {

// Two layouts: "rows" are pixels of c channels side by side (per-channel values are arrays), a "run" is n consecutive
// elements of one channel (they are numbers), or several, `step` apart or of one channel after the other. mean and m2
// (the sum of squared distances from it) are over the part given; sums are added to what is there.
template <class T>
struct NormKernels {
    void (*moments_rows)(const T* x, long rows, long c, double* mean, double* m2);
    void (*moments_runs)(const T* x, long runs, long step, long n, double* mean, double* m2);
    // sum of g, sum of g (x - mean)
    void (*sums_rows)(const T* g, const T* x, long rows, long c, const T* mean, double* sum_g, double* sum_gx);
    void (*sums_runs)(const T* g, const T* x, long runs, long step, long n, T mean, double* sum_g, double* sum_gx);
    void (*moments_run)(const T* x, long n, double* mean, double* m2);
    void (*sums_run)(const T* g, const T* x, long n, T mean, double* sum_g, double* sum_gx);
    // y = (x - mean) a + b
    void (*apply_rows)(const T* x, long rows, long c, const T* mean, const T* a, const T* b, T* y);
    void (*apply_runs)(const T* x, long runs, long n, const T* mean, const T* a, const T* b, T* y);
    // gx = a g + b (x - mean) + k
    void (*back_rows)(const T* g, const T* x, long rows, long c, const T* mean, const T* a, const T* b, const T* k,
                      T* gx);
    void (*back_runs)(const T* g, const T* x, long runs, long n, const T* mean, const T* a, const T* b, const T* k,
                      T* gx);
    // Samples by themselves, with values w (and b) along each, or null. Of at most `few` samples: mean and m2.
    static constexpr long few = 4, short_row = 256;
    void (*sample_moments)(const T* x, long rows, long n, double* mean, double* m2);
    // y = (x - mean) a w + b
    void (*sample_apply)(const T* x, long n, T mean, T a, const T* w, const T* b, T* y);
    // Of at most `few` samples: sum of g w, sum of g w (x - mean)
    void (*sample_sums)(const T* g, const T* x, long rows, long n, const T* mean, const T* w, double* sum_g, double* sum_gx);
    // gx = a g w + b (x - mean) + k, gw += g (x - mean) a, gb += g; those that are not null
    void (*sample_back)(const T* g, const T* x, long n, T mean, const T* w, T a, T b, T k, T* gx, T* gw, T* gb);
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
