// 3x3 convolutions with dilation, forward and input gradient: of every d-th pixel of every d-th row they are convolutions
// without, which Winograd serves. Bound by it, and by turning row-major images once each way, for rows of every d-th pixel
// are no vectors: 8x64x28x28 -> 64 with dilation 2 ran 1.5 times as long in tiles.
#pragma once

#include "conv/winograd.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

/// One of the d convolutions along an axis: outputs residue, residue + d, ... of inputs phase, phase + d, ...
struct Residue {
    Axis axis;
    long phase;
    Residue(const Axis& a, long residue) : axis(a), phase(((a.first + residue) % a.tap_step + a.tap_step) % a.tap_step) {
        axis.outputs = (a.outputs - residue + a.tap_step - 1) / a.tap_step;
        axis.first = (a.first + residue - phase) / a.tap_step;  // exact
        axis.tap_step = 1;
    }
};

template <class T>
bool dilated_pays(const Images<const T>& x, const Axis& ay, const Axis& ax, long groups, long ins, long outs,
                  const Images<T>& y) {
    const auto dense = [](const auto& v) { return v.sc == 1 || (v.sw == 1 && v.sh == v.w); };
    return (ay.tap_step > 1 || ax.tap_step > 1) && x.h >= ay.tap_step && x.w >= ax.tap_step && dense(x) && dense(y) &&
           winograd_pays(Residue(ay, ay.tap_step - 1).axis, Residue(ax, ax.tap_step - 1).axis, groups, ins, outs, y.n);
}

/// v with its channels side by side in memory, in `room` unless they are.
template <class T, class V>
Images<T> beside(const Images<T>& v, const Scratch<V>& room) {
    if (v.sc == 1) return v;
    return {room.data(), v.n, v.c, v.h, v.w, v.h * v.w * v.c, 1, v.w * v.c, v.c};
}

/// The same as convolve, where dilated_pays.
template <class T>
void dilated(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
             const Images<T>& y, bool relu) {
    const auto& k = gemm_kernels().of<T>();
    const long in = x.h * x.w, out = y.h * y.w;
    const Scratch<T> x_room(static_cast<size_t>(x.sc == 1 ? 0 : x.n * x.c * in));
    const Scratch<T> y_room(static_cast<size_t>(y.sc == 1 ? 0 : y.n * y.c * out));
    const Images<const T> from = beside(x, x_room);
    const Images<T> to = beside(y, y_room);
    if (x.sc != 1)
        parallel_for(x.n, [&](long n) {
            k.transpose(x.data + n * x.sn, x.sc, x_room.data() + n * x.c * in, x.c, x.c, in);
        });
    for (long ry = 0; ry < ay.tap_step; ry++)
        for (long rx = 0; rx < ax.tap_step; rx++) {
            const Residue a(ay, ry), b(ax, rx);
            Images<const T> some = from;
            some.data += a.phase * from.sh + b.phase * from.sw;
            some.h = (from.h - a.phase + ay.tap_step - 1) / ay.tap_step, some.sh *= ay.tap_step;
            some.w = (from.w - b.phase + ax.tap_step - 1) / ax.tap_step, some.sw *= ax.tap_step;
            Images<T> there = to;
            there.data += (ay.out_first + ry) * to.sh + (ax.out_first + rx) * to.sw;
            there.h = a.axis.outputs, there.sh *= ay.tap_step;
            there.w = b.axis.outputs, there.sw *= ax.tap_step;
            Axis sy = a.axis, sx = b.axis;
            sy.out_first = sx.out_first = 0;
            winograd(some, sy, sx, w, bias, there, relu);
        }
    if (y.sc != 1)
        parallel_for(y.n, [&](long n) {
            k.transpose(y_room.data() + n * y.c * out, y.c, y.data + n * y.sn, y.sc, out, y.c);
        });
}

}  // namespace chainrule
