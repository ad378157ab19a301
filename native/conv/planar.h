// Convolutions with few channels: pixels fill the vectors, and images lie row-major.
#pragma once

#include "conv/geometry.h"
#include "conv/planar_kernels.h"

namespace chainrule {

/// Whether these functions apply (and pay): up to 8 outputs a group, or few inputs and rows that fill vectors.
inline bool planar_pays(const Axis& ay, const Axis& ax, long ins, long outs) {
    const bool few = (ins <= 4 && ax.outputs >= 12) || (ins < 16 && ax.step == 1 && ax.outputs >= 24);
    return ay.out_step == 1 && ax.out_step == 1 && (outs <= planar_outs || few);
}

/// The same as convolve and weight_gradient, where planar_pays and (forward) y is row-major.
template <class T>
void planar(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, long groups, const T* bias,
            const Images<T>& y, bool relu);
template <class T>
void planar_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                            long groups, T* gw);

}  // namespace chainrule
