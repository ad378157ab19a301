// Depthwise convolution: as many groups as channels, one filter each.
#pragma once

#include "conv/geometry.h"

namespace chainrule {

inline bool is_depthwise(long groups, long ins, long outs) { return groups > 1 && ins == 1 && outs == 1; }

/// The same as convolve and weight_gradient, where is_depthwise.
template <class T>
void depthwise(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
               const Images<T>& y);
template <class T>
void depthwise_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                               T* gw);

}  // namespace chainrule
