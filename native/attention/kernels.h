// What each instruction set supplies to attention: the work on rows of scores between the matrix products.
#pragma once

#include "core/isa.h"

namespace chainrule {

template <class T>
struct ScoreRows {
    T* s;
    long pitch, rows;
    const long* seen;
    long width;
    const T* added;
    long added_pitch;
    T scale;
    T *top, *total, *shrink;
};

// The same of the backward; kept (may be null): 0 where dropped, else 1 / (1 - dropout).
template <class T>
struct GradientRows {
    T *s, *dp;
    long pitch, rows;
    const long* seen;
    long width;
    const T* added;
    long added_pitch;
    const T* kept;
    long kept_pitch;
    T scale;
    const T *logsumexp, *dots;
};

template <class T>
struct AttentionKernels {
    // Rows of scores of a block of keys, s[0, n) -> exp(s * scale + added - top) with n = seen[row]; zeros in [n,
    // width). top and total are the rows' greatest scores and sums of exponentials so far, and are brought up to date;
    // shrink is by how much what was summed before has to. added (may be null; added_pitch may be 0): -inf where a
    // query may not look.
    void (*forward)(const ScoreRows<T>& rows);
    // s[0, n) -> p = exp(s * scale + added - logsumexp), times kept; dp -> p (dp * kept - dot) scale. Zeros in [n,
    // width) of both.
    void (*backward)(const GradientRows<T>& rows);
    void (*multiply)(T* x, const T* by, long n);  // x *= by
    // Rows of n: to = from * factors[row], or * 1 if factors is null; n need not fill vectors.
    void (*scale)(T* to, long to_row, const T* from, long from_row, const T* factors, long rows, long n);
    void (*dots)(T* to, const T* a, long a_row, const T* b, long b_row, long rows, long n);  // of a row and a row
    // logsumexp = top + log(total), +inf where total is 0; total -> 1 / total, or 0; both of at most 16 rows.
    void (*finish)(T* total, const T* top, T* logsumexp, long rows);
    // y[0, half) = a cos - b sin and y[half, 2 half) = b cos + a sin, of the halves a and b of x.
    void (*rotate)(T* y, const T* x, const T* cos, const T* sin, long half);
};

struct AttentionTables {
    AttentionKernels<float> f32;
    AttentionKernels<double> f64;
    template <class T>
    const AttentionKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(AttentionTables, attention_kernels)

}  // namespace chainrule
