// Bindings of the conv room: conv2d, conv_transpose2d and their gradients.
#include <algorithm>
#include <stdexcept>
#include <utility>

#include <nanobind/stl/pair.h>

#include "conv/geometry.h"
#include "conv/images.h"
#include "conv/planar.h"
#include "conv/volume.h"
#include "conv/winograd.h"
#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"

using namespace nb::literals;

namespace chainrule {

namespace {

using Pair = std::pair<long, long>;

Geometry geometry_of(const Array& weight, Pair stride, Pair padding, Pair dilation, long groups) {
    return {{weight.dim(2), weight.dim(3)},
            {stride.first, stride.second},
            {padding.first, padding.second},
            {dilation.first, dilation.second},
            groups};
}

double nanoseconds(const Array& weight, const Array& y) {  // at 100 GFLOP/s
    return 2. * static_cast<double>(y.size()) * weight.dim(1) * weight.dim(2) * weight.dim(3) / 100;
}

// A 1x1 convolution of channels-last images is a product over all pixels: rows of at least 256, which threads share.
template <class T>
void flatten_pixels(Images<T>& x) {
    x.w *= x.h;
    x.h = 1;
    for (; x.w < 256 && x.n % 2 == 0; x.w *= 2) x.n /= 2;
    x.sh = x.sn = x.w * x.c;
}

template <class T>
Owned conv2d_of(const Array& x, const Array& weight, const Array& bias, const Geometry& geometry, bool relu = false) {
    const long outs = weight.dim(0), item = sizeof(T), group_outs = outs / geometry.groups;
    const long h = geometry.outputs(0, x.dim(2)), w = geometry.outputs(1, x.dim(3));
    // Of a few channels only, the image is row-major: pixels fill the vectors, and what follows finds them side by
    // side.
    const bool planes =
        x.dim(1) == 1 && outs <= planar_outs &&
        planar_pays(geometry.forward(0, x.dim(2)), geometry.forward(1, x.dim(3)), 1, outs);
    Owned y = make_images(x.dim(0), outs, h, w, x.dtype(), channels_last(x) && !planes);
    const Owned flat_bias = bias ? contiguous(bias) : Owned();
    const Weights<T> weights{weight.data<T>(),
                             weight.dim(1),
                             group_outs,
                             group_outs * weight.stride(0) / item,
                             weight.stride(1) / item,
                             weight.stride(0) / item,
                             weight.stride(2) / item,
                             weight.stride(3) / item,
                             weight.dim(2) * weight.dim(3)};
    Images<const T> from = images<const T>(x);
    Images<T> to = images<T>(y);
    if (x.dim(1) == 1) from.sc = 1;
    bool pointwise = !planes;  // every output reads the pixel of its own place, and that alone; all side by side
    for (int axis : {0, 1})
        pointwise &= geometry.kernel[axis] == 1 && geometry.stride[axis] == 1 && geometry.padding[axis] == 0;
    if (pointwise && from.sc == 1 && from.sw == from.c && from.sh == from.c * from.w && from.sn == from.sh * from.h) {
        flatten_pixels(from);
        flatten_pixels(to);
    }
    const ReleaseGil gil(nanoseconds(weight, y));
    convolve(from, geometry.forward(0, from.h), geometry.forward(1, from.w), weights, geometry.groups,
             bias ? flat_bias.data<T>() : nullptr, to, relu);
    return y;
}

template <bool relu>
Owned conv2d(Array x, Array weight, Array bias, Pair stride, Pair padding, Pair dilation, long groups) {
    if (!x.is_float() || weight.dtype() != x.dtype() || (bias && bias.dtype() != x.dtype())) return not_implemented();
    if (x.rank() != 4 || weight.rank() != 4 || groups < 1 || weight.dim(0) % groups ||
        x.dim(1) != weight.dim(1) * groups || (bias && (bias.rank() != 1 || bias.dim(0) != weight.dim(0))))
        throw std::invalid_argument(
            "[conv2d] x, weight and bias must be (n, c, h, w), (out, c/groups, kh, kw) and (out,)");
    const Geometry geometry = geometry_of(weight, stride, padding, dilation, groups);
    for (int axis : {0, 1})
        if (geometry.stride[axis] < 1 || geometry.dilation[axis] < 1 || geometry.padding[axis] < 0 ||
            geometry.kernel[axis] < 1 || geometry.outputs(axis, x.dim(2 + axis)) < 1)
            throw std::invalid_argument("[conv2d] the kernel does not fit the padded image, or a size is out of range");
    Owned y = x.is(DType::float32) ? conv2d_of<float>(x, weight, bias, geometry, relu)
                                   : conv2d_of<double>(x, weight, bias, geometry, relu);
    return make_tuple(std::move(y), make_tuple(reference(x), reference(weight)));
}

// Images of a shape: what the convolution of it makes g of, turned round.
template <class T>
Owned input_gradient(const Array& g, const npy_intp* shape, bool last, const Array& weight, const Geometry& geometry) {
    const long item = sizeof(T), group_outs = weight.dim(0) / geometry.groups;
    const bool strided = geometry.stride[0] > 1 || geometry.stride[1] > 1;
    // Only whole rows of tiles are stored channel by channel: a strided gradient is computed channels-last.
    Owned gx = make_images(shape[0], shape[1], shape[2], shape[3], g.dtype(), last || strided);
    const Weights<T> weights{weight.data<T>(),        group_outs,
                             weight.dim(1),           group_outs * weight.stride(0) / item,
                             weight.stride(0) / item, weight.stride(1) / item,
                             weight.stride(2) / item, weight.stride(3) / item,
                             weight.dim(2) * weight.dim(3)};
    Images<const T> from = images<const T>(g);
    Images<T> to = images<T>(gx);
    if (to.c == 1) to.sc = to.h * to.w;  // one plane, either order
    const ReleaseGil gil(nanoseconds(weight, g));
    for (long ry = 0; ry < geometry.stride[0]; ry++)
        for (long rx = 0; rx < geometry.stride[1]; rx++) {
            const Axis ay = geometry.backward(0, ry, to.h), ax = geometry.backward(1, rx, to.w);
            convolve(from, ay, ax, weights, geometry.groups, static_cast<const T*>(nullptr), to);
        }
    return gx;
}

template <class T>
Owned conv2d_vjp_of(const Array& g, const Array& x, const Array& weight, const Geometry& geometry, const Needs& needs) {
    Owned gx = none(), gw = none(), gb = none();
    if (needs[0]) gx = input_gradient<T>(g, x.shape(), channels_last(x), weight, geometry);
    if (needs[1]) {
        gw = make_output(4, weight.shape(), x.dtype());
        Images<const T> from = images<const T>(x);
        if (from.c == 1) from.sc = 1;
        const ReleaseGil gil(nanoseconds(weight, g));
        weight_gradient(from, images<const T>(g), geometry, gw.data<T>());
    }
    if (needs[2]) {
        const npy_intp shape[1] = {weight.dim(0)};
        gb = make_output(1, shape, x.dtype());
        channel_sums(images<const T>(g), gb.data<T>());
    }
    return make_tuple(std::move(gx), std::move(gw), std::move(gb));
}

Owned conv2d_vjp(Array g, Array x, Array weight, Needs needs, Pair stride, Pair padding, Pair dilation, long groups) {
    if (g.dtype() != x.dtype() || g.rank() != 4) throw std::invalid_argument("[conv2d_vjp] g must be like the output");
    const Geometry geometry = geometry_of(weight, stride, padding, dilation, groups);
    return x.is(DType::float32) ? conv2d_vjp_of<float>(g, x, weight, geometry, needs)
                                : conv2d_vjp_of<double>(g, x, weight, geometry, needs);
}

template <class T>
void add_bias(const Images<T>& y, const T* bias) {
    const bool pixels = y.sc == 1;
    parallel_range(y.n * y.h, std::max(1L, 32768 / std::max(1L, y.w * y.c)), [&](long begin, long end) {
        for (long row = begin; row < end; row++) {
            T* at = y.data + row / y.h * y.sn + row % y.h * y.sh;
            if (pixels) {
                for (long j = 0; j < y.w; j++)
                    for (long c = 0; c < y.c; c++) at[j * y.sw + c] += bias[c];
            } else {
                for (long c = 0; c < y.c; c++)
                    for (long j = 0; j < y.w; j++) at[c * y.sc + j * y.sw] += bias[c];
            }
        }
    });
}

// The transposed convolution is conv2d's input gradient; its gradients are conv2d and conv2d's weight gradient.
Owned conv_transpose2d(Array x, Array weight, Array bias, Pair stride, Pair padding, Pair output_padding, long groups,
                       Pair dilation) {
    if (!x.is_float() || weight.dtype() != x.dtype() || (bias && bias.dtype() != x.dtype())) return not_implemented();
    // windows that would fit once more would not be of x: the body does them
    if (output_padding.first >= stride.first || output_padding.second >= stride.second || x.size() == 0)
        return not_implemented();
    if (x.rank() != 4 || weight.rank() != 4 || groups < 1 || x.dim(1) % groups || x.dim(1) != weight.dim(0) ||
        (bias && (bias.rank() != 1 || bias.dim(0) != weight.dim(1) * groups)))
        throw std::invalid_argument(
            "[conv_transpose2d] x, weight and bias must be (n, c, h, w), (c, out/groups, kh, kw) and (out,)");
    const Geometry geometry = geometry_of(weight, stride, padding, dilation, groups);
    const long more[2] = {output_padding.first, output_padding.second};
    npy_intp shape[4] = {x.dim(0), weight.dim(1) * groups};
    for (int axis : {0, 1}) {
        shape[2 + axis] = (x.dim(2 + axis) - 1) * geometry.stride[axis] - 2 * geometry.padding[axis] +
                          geometry.dilation[axis] * (geometry.kernel[axis] - 1) + more[axis] + 1;
        if (shape[2 + axis] < 1) throw std::invalid_argument("[conv_transpose2d] the padding leaves nothing");
    }
    const Owned flat_bias = bias ? contiguous(bias) : Owned();
    Owned y = x.is(DType::float32) ? input_gradient<float>(x, shape, channels_last(x), weight, geometry)
                                   : input_gradient<double>(x, shape, channels_last(x), weight, geometry);
    if (bias && x.is(DType::float32)) add_bias(images<float>(y), flat_bias.data<float>());
    if (bias && x.is(DType::float64)) add_bias(images<double>(y), flat_bias.data<double>());
    return make_tuple(std::move(y), make_tuple(reference(x), reference(weight)));
}

template <class T>
Owned conv_transpose2d_vjp_of(const Array& g, const Array& x, const Array& weight, const Geometry& geometry,
                              const Needs& needs) {
    Owned gx = none(), gw = none(), gb = none();
    if (needs[0]) gx = conv2d_of<T>(g, weight, Array(), geometry);
    if (needs[1]) {
        gw = make_output(4, weight.shape(), x.dtype());
        Images<const T> from = images<const T>(g);
        if (from.c == 1) from.sc = 1;
        const ReleaseGil gil(nanoseconds(weight, x));
        weight_gradient(from, images<const T>(x), geometry, gw.data<T>());
    }
    if (needs[2]) {
        const npy_intp shape[1] = {g.dim(1)};
        gb = make_output(1, shape, x.dtype());
        channel_sums(images<const T>(g), gb.data<T>());
    }
    return make_tuple(std::move(gx), std::move(gw), std::move(gb));
}

Owned conv_transpose2d_vjp(Array g, Array x, Array weight, Needs needs, Pair stride, Pair padding, Pair, long groups,
                           Pair dilation) {
    if (g.dtype() != x.dtype() || g.rank() != 4)
        throw std::invalid_argument("[conv_transpose2d_vjp] g must be like the output");
    const Geometry geometry = geometry_of(weight, stride, padding, dilation, groups);
    return x.is(DType::float32) ? conv_transpose2d_vjp_of<float>(g, x, weight, geometry, needs)
                                : conv_transpose2d_vjp_of<double>(g, x, weight, geometry, needs);
}

}  // namespace

void bind_conv(nb::module_& m) {
    m.def("conv2d", &conv2d<false>, "x"_a, "weight"_a, "bias"_a.none(), nb::kw_only(), "stride"_a, "padding"_a,
          "dilation"_a, "groups"_a);
    m.def("_conv2d_relu", &conv2d<true>, "x"_a, "weight"_a, "bias"_a.none(), nb::kw_only(), "stride"_a, "padding"_a,
          "dilation"_a, "groups"_a);
    m.def("conv2d_vjp", &conv2d_vjp, "g"_a, "x"_a, "weight"_a, nb::kw_only(), "needs"_a, "stride"_a, "padding"_a,
          "dilation"_a, "groups"_a);
    m.def("conv_transpose2d", &conv_transpose2d, "x"_a, "weight"_a, "bias"_a.none(), nb::kw_only(), "stride"_a, "padding"_a,
          "output_padding"_a, "groups"_a, "dilation"_a);
    m.def("conv_transpose2d_vjp", &conv_transpose2d_vjp, "g"_a, "x"_a, "weight"_a, nb::kw_only(), "needs"_a, "stride"_a,
          "padding"_a, "output_padding"_a, "groups"_a, "dilation"_a);
    m.def("set_conv_precision", [](bool highest) { tiles_of_four = !highest; }, "highest"_a);
    bind_volumes(m);
}

}  // namespace chainrule
