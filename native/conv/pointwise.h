// 1x1 convolutions of row-major images: products of the weights and the planes as they lie.
#pragma once

#include "conv/geometry.h"
#include "conv/images.h"

namespace chainrule {

/// Whether pointwise applies (and pays): every output reads the input of its own place, planes lie in one piece.
template <class T>
bool is_pointwise(const Images<const T>& x, const Axis& ay, const Axis& ax, const Images<T>& y) {
    const auto same = [](const Axis& a, long in, long out) {
        return a.taps == 1 && a.first == 0 && a.step == 1 && a.out_step == 1 && a.outputs == in && in == out;
    };
    return same(ay, x.h, y.h) && same(ax, x.w, y.w) && x.sw == 1 && x.sh == x.w && y.sw == 1 && y.sh == y.w &&
           x.h * x.w >= 64;
}

/// The same as convolve, where is_pointwise.
template <class T>
void pointwise(const Images<const T>& x, const Weights<T>& w, long groups, const T* bias, const Images<T>& y);

}  // namespace chainrule
