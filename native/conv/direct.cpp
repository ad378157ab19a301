// Direct convolution, forward and input gradient: shifted matrix products on channels-last rows, no im2col.
//
// A row of output pixels is the rows of a tile, 2 vectors of output channels its columns; K runs over the taps and the
// input channels, one segment per kernel row (taps side by side are contiguous in memory). Bound by FMAs: 64x32x14x14
// -> 64 runs at 96 % of one core's peak apart from loading the bands.
#include <algorithm>

#include "conv/band.h"
#include "conv/cut.h"
#include "conv/depthwise.h"
#include "conv/dilated.h"
#include "conv/geometry.h"
#include "conv/images.h"
#include "conv/panels.h"
#include "conv/planar.h"
#include "conv/pointwise.h"
#include "conv/winograd.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

namespace {

// Outputs that read nothing: inputs that no window of a strided convolution reaches get a gradient of zero.
template <class T>
void without_taps(const Axis& ay, const Axis& ax, const T* bias, const Images<T>& y) {
    for (long n = 0; n < y.n; n++)
        for (long r = 0; r < ay.outputs; r++)
            for (long q = 0; q < ax.outputs; q++) {
                T* to = y.data + n * y.sn + (ay.out_first + r * ay.out_step) * y.sh +
                        (ax.out_first + q * ax.out_step) * y.sw;
                for (long c = 0; c < y.c; c++) to[c * y.sc] = bias ? bias[c] : T(0);
            }
}

}  // namespace

template <class T>
void convolve(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, long groups, const T* bias,
              const Images<T>& y, bool relu) {
    if (ay.outputs <= 0 || ax.outputs <= 0 || y.n == 0) return;
    if (ay.taps == 0 || ax.taps == 0) return without_taps(ay, ax, bias, y);
    const auto cut = [&] {
        if (relu)
            parallel_range(y.n, std::max(1L, 32768 / (y.h * y.w * y.c)), [&](long begin, long end) {
                for (long n = begin; n < end; n++) cut_rows(y, n, 0, y.h);
            });
    };
    const bool planes = y.sc != 1 && ax.step == 1 && ax.outputs >= 12;  // rows that fill vectors
    if (is_depthwise(groups, w.ins, w.outs) && !(planes && planar_pays(ay, ax, w.ins, w.outs)))
        return depthwise(x, ay, ax, w, bias, y), cut();
    if (y.sc != 1 && w.ins > 0 && is_pointwise(x, ay, ax, y)) return pointwise(x, w, groups, bias, y), cut();
    if (winograd_pays(ay, ax, groups, w.ins, w.outs, y.n)) return winograd(x, ay, ax, w, bias, y, relu);
    if (dilated_pays(x, ay, ax, groups, w.ins, w.outs, y)) return dilated(x, ay, ax, w, bias, y, relu);
    if (y.sc != 1 && planar_pays(ay, ax, w.ins, w.outs)) return planar(x, ay, ax, w, groups, bias, y, relu);
    const auto& k = gemm_kernels().of<T>();
    const long width = 2 * k.lanes, panels = (w.outs + width - 1) / width, depth = ay.taps * ax.taps * w.ins;
    const Scratch<T> packed(static_cast<size_t>(groups * panels * depth * width));
    pack_weights(k, w, ay, ax, groups, panels, width, packed.data());

    const long columns = ax.span(ax.outputs);
    const bool inside =
        ay.first >= 0 && ay.first + ay.span(ay.outputs) <= x.h && ax.first >= 0 && ax.first + columns <= x.w;
    const bool in_place = inside && x.sc == 1;  // nothing to pad, channels contiguous
    const long rows = band_rows(ay, columns, x.c, sizeof(T));
    const long bands = (ay.outputs + rows - 1) / rows;
    const bool transposed = y.sc != 1 && y.c > 1;  // NCHW: y.sw == 1, ax.out_step == 1
    const bool merged = ax.tap_step == 1 && groups == 1 && (!in_place || x.sw == x.c);  // taps of a row are contiguous

    const auto task = [&](long u) {
        const long n = u / bands, o0 = u % bands * rows, o1 = std::min(o0 + rows, ay.outputs);
        const long span = ay.span(o1 - o0), r0 = ay.first + o0 * ay.step;
        const Scratch<T> copy(in_place ? 0 : static_cast<size_t>(span * columns * x.c));
        const Band<T> band = in_place ? Band<T>{x.data + n * x.sn + r0 * x.sh + ax.first * x.sw, x.sh, x.sw}
                                      : load_band(k, x, n, r0, span, ax.first, columns, x.c, copy.data());
        const long tiles = (ax.outputs + k.rows - 1) / k.rows;
        for (long j = 0; j < groups * panels; j++) {
            const long group = j / panels, out0 = j % panels * width, channel = group * w.outs + out0;
            const int cols = static_cast<int>(std::min(width, w.outs - out0));
            Tile<T> t{.a = nullptr,
                      .row = ax.step * band.pixel,
                      .step = 1,
                      .b = packed.data() + j * depth * width,
                      .ldb = width,
                      .k = merged ? ax.taps * w.ins : w.ins,
                      .ny = ay.taps,
                      .nx = merged ? 1 : ax.taps,
                      .ay = ay.tap_step * band.row,
                      .ax = ax.tap_step * band.pixel,
                      .by = ax.taps * w.ins * width,
                      .bx = w.ins * width,
                      .c = nullptr,
                      .ldc = transposed ? y.sc : ax.out_step * y.sw,
                      .cols = cols,
                      .transposed = transposed,
                      .bias = bias ? bias + channel : nullptr};
            const auto& kernels = k.tile[0][cols > k.lanes];
            for (long o = o0; o < o1; o++) {
                const T* a = band.data + (o - o0) * ay.step * band.row + group * w.ins;
                T* c =
                    y.data + n * y.sn + (ay.out_first + o * ay.out_step) * y.sh + ax.out_first * y.sw + channel * y.sc;
                for (long i = 0, q = 0; i < tiles; i++) {  // even parts: 28 = 14+14, 16 = 8+8
                    const long part = (ax.outputs - q) / (tiles - i);
                    t.a = a + q * t.row;
                    t.c = c + q * ax.out_step * y.sw;
                    kernels[part - 1](t);
                    q += part;
                }
            }
        }
        if (relu) cut_rows(y, n, o0, o1 - o0);
    };
    const double flops = 2. * x.n * ay.outputs * ax.outputs * depth * w.outs * groups;
    const long grain = std::max(1L, static_cast<long>(1e6 * x.n * bands / std::max(flops, 1e6)));
    parallel_range(x.n * bands, grain, [&](long begin, long end) {
        for (long u = begin; u < end; u++) task(u);
    });
}

template void convolve(const Images<const float>&, const Axis&, const Axis&, const Weights<float>&, long, const float*,
                       const Images<float>&, bool);
template void convolve(const Images<const double>&, const Axis&, const Axis&, const Weights<double>&, long,
                       const double*, const Images<double>&, bool);

}  // namespace chainrule
