// Convolutions with few output channels: too few to fill a vector, so pixels do, and images lie row-major.
#pragma once

#include "conv/geometry.h"
#include "conv/planar_kernels.h"

namespace chainrule {

/// Whether these functions apply (and pay): up to 8 outputs, stride 1.
inline bool planar_pays(const Axis& ay, const Axis& ax, long groups, long outs) {
    return groups == 1 && outs <= planar_outs && ay.step == 1 && ax.step == 1 && ay.out_step == 1 && ax.out_step == 1;
}

/// The same as convolve and weight_gradient, where planar_pays and (forward) y is row-major.
template <class T>
void planar(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
            const Images<T>& y);
template <class T>
void planar_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax, T* gw);

}  // namespace chainrule
