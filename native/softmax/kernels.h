// What each instruction set supplies to softmax and cross entropy.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace chainrule {

template <class T>
struct SoftmaxKernels {
    // `rows` rows of n elements; in the inner variants n rows of `inner` elements, of which the softmaxes run down the
    // columns [j0, j1).
    void (*softmax)(const T* x, T* y, long rows, long n);
    void (*softmax_inner)(const T* x, T* y, long n, long inner, long j0, long j1);
    void (*log_softmax)(const T* x, T* y, long rows, long n);
    void (*log_softmax_inner)(const T* x, T* y, long n, long inner, long j0, long j1);
    void (*softmax_back)(const T* g, const T* y, T* gx, long rows, long n);
    void (*softmax_back_inner)(const T* g, const T* y, T* gx, long n, long inner, long j0, long j1);
    void (*log_softmax_back)(const T* g, const T* y, T* gx, long rows, long n);
    void (*log_softmax_back_inner)(const T* g, const T* y, T* gx, long n, long inner, long j0, long j1);
    // gx = (softmax(x) - onehot(target)) * scale, zero in ignored rows; returns the sum of the other rows' losses.
    double (*cross_entropy)(const T* x, const int64_t* target, int64_t ignore, T scale, T* gx, long rows, long n);
};

struct SoftmaxTables {
    SoftmaxKernels<float> f32;
    SoftmaxKernels<double> f64;
    template <class T>
    const SoftmaxKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(SoftmaxTables, softmax_kernels)

}  // namespace chainrule
