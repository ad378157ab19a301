// Matrix products of any strides: C[m, n] (+)= A[m, k] · B[k, n] (+ bias), perhaps an activation of that.
#pragma once

#include <cstdint>

namespace chainrule {

/// The bits of a bfloat16; sums of such are float32.
struct BFloat16 {
    uint16_t bits;
};
template <class T> struct SumOf { using type = T; };
template <> struct SumOf<BFloat16> { using type = float; };
template <class T> using sum_of = typename SumOf<T>::type;

// y = f(c) on a rows x cols part of C; y may be c.
template <class T>
using Activate = void (*)(const T* c, T* y, long ldc, long rows, long cols);

template <class T>
struct Product {
    long m, n, k;
    const T* a;
    long a_row, a_col;  // strides in elements
    const T* b;
    long b_row, b_col;
    T* c;
    long ldc;                 // columns of C are contiguous
    const T* bias = nullptr;  // [n]
    bool accumulate = false;
    Activate<sum_of<T>> activate = nullptr;
    T* activated = nullptr;  // its results, laid out as C, which then stays as it was before; without, they replace C
};

/// Runs on the thread pool when it pays. Every element of C is summed in one order that depends on the shapes and
/// strides only, so the number of threads changes no bit.
void gemm(const Product<float>& p);
void gemm(const Product<double>& p);
/// Only where bfloat16_products(); never accumulates. Rounded once.
void gemm(const Product<BFloat16>& p);

/// sums[j]: the sum of s[i*lds + j] over i < rows, for j < cols; on the thread pool when it pays.
template <class T>
void column_sums(const T* s, long lds, long rows, long cols, double* sums);

// Of products of pairs: what becomes of the float32 sums in C.
struct Rounded {
    const struct PairKernels& kernels;
    BFloat16 *c, *activated;  // laid out as C; activated may be null
};
/// A and B are pairs of bfloat16 along K, each as the bits of a float. C is scratch.
void gemm(const Product<float>& p, const Rounded& rounded);

}  // namespace chainrule
