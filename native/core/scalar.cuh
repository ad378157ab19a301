// Functions of one number on a GPU, under the names that the functors of rooms use: native/<room>/functors.h.
#pragma once

#include "core/device.cuh"

namespace scalar {

template <class V> DEVICE V constant(double value) { return static_cast<V>(value); }

// Overloads of float and of double; qualified, as the names here would hide them.
#define SCALAR_FUNCTION(name) template <class V> DEVICE V name(V x) { return ::name(x); }
SCALAR_FUNCTION(sqrt)
SCALAR_FUNCTION(floor)
SCALAR_FUNCTION(ceil)
SCALAR_FUNCTION(rint)
SCALAR_FUNCTION(exp)
SCALAR_FUNCTION(expm1)
SCALAR_FUNCTION(log)
SCALAR_FUNCTION(log1p)
SCALAR_FUNCTION(tanh)
SCALAR_FUNCTION(erf)
SCALAR_FUNCTION(sin)
SCALAR_FUNCTION(cos)
SCALAR_FUNCTION(tan)
SCALAR_FUNCTION(asin)
SCALAR_FUNCTION(acos)
SCALAR_FUNCTION(atan)
SCALAR_FUNCTION(sinh)
SCALAR_FUNCTION(cosh)
#undef SCALAR_FUNCTION
template <class V> DEVICE V abs(V x) { return ::fabs(x); }
template <class V> DEVICE V fma(V a, V b, V c) { return ::fma(a, b, c); }
template <class V> DEVICE V pow(V a, V b) { return ::pow(a, b); }
template <class V> DEVICE V atan2(V a, V b) { return ::atan2(a, b); }

/// NaN if one is.
template <class V> DEVICE V maximum(V a, V b) { return a > b || a != a ? a : b; }
template <class V> DEVICE V minimum(V a, V b) { return a < b || a != a ? a : b; }

template <class V> DEVICE V sigmoid(V x) {
    const V e = exp(-abs(x));  // never overflows
    return (x >= 0 ? V(1) : e) / (1 + e);
}
/// The normal distribution function, with all its digits in the tail, too.
template <class V> DEVICE V normal_cdf(V x) { return V(0.5) * ::erfc(x * V(-0.70710678118654752440)); }

}  // namespace scalar
