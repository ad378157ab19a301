// Matrix products of any strides: C[m, n] (+)= A[m, k] · B[k, n] (+ bias), perhaps an activation of that.
#pragma once

namespace chainrule {

// Replaces the elements of a rows x cols part of C by a function of them.
template <class T>
using Activate = void (*)(T* c, long ldc, long rows, long cols);

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
    Activate<T> activate = nullptr;
};

/// Runs on the thread pool when it pays. Every element of C is summed in one order that depends on the shapes and
/// strides only, so the number of threads changes no bit.
void gemm(const Product<float>& p);
void gemm(const Product<double>& p);

/// sums[j]: the sum of s[i*lds + j] over i < rows, for j < cols; on the thread pool when it pays.
template <class T>
void column_sums(const T* s, long lds, long rows, long cols, double* sums);

}  // namespace chainrule
