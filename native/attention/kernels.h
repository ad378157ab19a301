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

template <class T>
struct AttentionKernels {
    // Rows of scores of a block of keys, s[0, n) -> exp(s * scale + added - top) with n = seen[row]; zeros in [n,
    // width). top and total are the rows' greatest scores and sums of exponentials so far, and are brought up to date;
    // shrink is by how much what was summed before has to. added (may be null; added_pitch may be 0): -inf where a
    // query may not look.
    void (*forward)(const ScoreRows<T>& rows);
    // s[0, n) -> p = exp(s * scale + added - logsumexp), times kept; dp -> p (dp * kept - dot) scale. Zeros in [n,
    // width) of both. kept (may be null): 0 where dropped, else 1 / (1 - dropout).
    void (*backward)(T* s, T* dp, long n, long width, const T* added, const T* kept, T scale, T logsumexp, T dot);
    void (*multiply)(T* x, const T* by, long n);            // x *= by
    void (*scale)(T* to, const T* from, long n, T factor);  // to = from * factor; n need not fill vectors
    T (*dot)(const T* a, const T* b, long n);
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
