// The functors of elementwise ops on a GPU: those of the CPU, and what it does otherwise.
#pragma once

#include "core/scalar.cuh"

namespace scalar {

#include "elementwise/functors.h"

UNARY(sin, scalar::sin(a))
UNARY(cos, scalar::cos(a))
UNARY(tan, scalar::tan(a))
UNARY(asin, scalar::asin(a))
UNARY(acos, scalar::acos(a))
UNARY(atan, scalar::atan(a))
UNARY(sinh, scalar::sinh(a))
UNARY(cosh, scalar::cosh(a))
UNARY(isfinite, a - a == 0)

BINARY(pow, scalar::pow(a, b))
BINARY(atan2, scalar::atan2(a, b))

// Python's % and //: the remainder has the divisor's sign, and a = b * (a // b) + a % b as closely as rounding allows.
struct remainder_f {
    template <class V> static DEVICE V f(V a, V b) {
        const V r = fmod(a, b);
        if (r == 0) return copysign(V(0), b);
        return (b < 0) != (r < 0) ? r + b : r;
    }
};
struct floor_div_f {
    template <class V> static DEVICE V f(V a, V b) {
        if (b == 0) return a / b;
        const V r = fmod(a, b);
        V q = (a - r) / b;
        if (r != 0 && (b < 0) != (r < 0)) q -= 1;
        if (q == 0) return copysign(V(0), a / b);
        const V whole = scalar::floor(q);
        return q - whole > V(0.5) ? whole + 1 : whole;
    }
};

}  // namespace scalar
