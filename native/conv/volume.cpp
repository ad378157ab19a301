// Convolution of volumes (n, channels, depth, h, w), and its gradients: convolutions of images whose channels are the
// channels of as many slices as the kernel is deep. Slices are laid out (n, depth, channels, h, w), with zeros before and
// behind, so that those channels lie behind each other and one output slice's images overlap the next one's. Bound by
// what the convolution of such images is.
#include "conv/volume.h"

#include <algorithm>
#include <stdexcept>

#include "conv/geometry.h"
#include "conv/images.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"

using namespace nb::literals;

namespace chainrule {

namespace {

// Depth is walked in steps of 1 without gaps; the other axes are those of images.
struct Volumes {
    long n, ins, outs, taps, padding, depth, out_depth;  // taps, padding and depths along the depth
    Geometry geometry;                                   // of a slice
    long in_plane, out_plane, kernel;                    // elements of a slice of a channel, of a kernel's slice

    Volumes(const Array& x, const Array& weight, const Shape& padding_, const Shape& dilation)
        : n(x.dim(0)),
          ins(x.dim(1)),
          outs(weight.dim(0)),
          taps(weight.dim(2)),
          padding(padding_.dims[0]),
          depth(x.dim(2)),
          out_depth(depth + 2 * padding - taps + 1),
          geometry{{weight.dim(3), weight.dim(4)},
                   {1, 1},
                   {padding_.dims[1], padding_.dims[2]},
                   {dilation.dims[1], dilation.dims[2]},
                   1},
          in_plane(x.dim(3) * x.dim(4)),
          out_plane(geometry.outputs(0, x.dim(3)) * geometry.outputs(1, x.dim(4))),
          kernel(weight.dim(3) * weight.dim(4)) {}

    double nanoseconds() const {  // at 100 GFLOP/s
        return 2. * static_cast<double>(n * outs * out_depth * out_plane) * static_cast<double>(ins * taps * kernel) / 100;
    }
};

// (n, c, depth, plane) as (n, count, c, plane): slice s is that of depth s - before, or zeros.
template <class T>
void lay_out(const T* from, long n, long c, long depth, long plane, long before, long count, T* to) {
    parallel_range(n * count, std::max(1L, 32768 / std::max(1L, c * plane)), [&](long begin, long end) {
        for (long u = begin; u < end; u++) {
            const long d = u % count - before;
            T* slice = to + u * c * plane;
            if (d < 0 || d >= depth) {
                std::fill_n(slice, c * plane, T(0));
                continue;
            }
            for (long i = 0; i < c; i++) {
                const T* s = from + ((u / count * c + i) * depth + d) * plane;
                std::copy(s, s + plane, slice + i * plane);
            }
        }
    });
}

// Sample i of slices laid out, as `depth` images that reach over `taps` slices each.
template <class T>
Images<const T> reaching(const T* slices, const Array& like, long i, long c, long depth, long taps, long count) {
    const long h = like.dim(3), w = like.dim(4);
    return {slices + i * count * c * h * w, depth, taps * c, h, w, c * h * w, h * w, w, 1};
}

// Sample i of (n, c, depth, h, w) in memory as its slices.
template <class E>
Images<E> slices(E* data, long i, long c, long depth, long h, long w) {
    return {data + i * c * depth * h * w, depth, c, h, w, h * w, depth * h * w, w, 1};
}

template <class T>
Owned forward(const Array& x, const Array& weight, const Array& bias, const Volumes& v) {
    const Owned from = contiguous(x), w = contiguous(weight), b = bias ? contiguous(bias) : Owned();
    const long h = v.geometry.outputs(0, x.dim(3)), width = v.geometry.outputs(1, x.dim(4));
    const npy_intp shape[5] = {v.n, v.outs, v.out_depth, h, width};
    Owned y = make_output(5, shape, x.dtype());
    const ReleaseGil gil(v.nanoseconds());
    const long count = v.out_depth + v.taps - 1, channels = v.taps * v.ins;
    const Scratch<T> laid(static_cast<size_t>(v.n * count * v.ins * v.in_plane));
    lay_out(from.data<T>(), v.n, v.ins, v.depth, v.in_plane, v.padding, count, laid.data());
    const Scratch<T> turned(static_cast<size_t>(v.outs * channels * v.kernel));  // (outs, taps, ins, kernel)
    lay_out(w.data<T>(), v.outs, v.ins, v.taps, v.kernel, 0, v.taps, turned.data());
    const Weights<T> weights{turned.data(), channels, v.outs, 0, v.kernel, channels * v.kernel,
                             v.geometry.kernel[1], 1, v.kernel};
    const Axis ay = v.geometry.forward(0, x.dim(3)), ax = v.geometry.forward(1, x.dim(4));
    for (long i = 0; i < v.n; i++)
        convolve(reaching(static_cast<const T*>(laid.data()), x, i, v.ins, v.out_depth, v.taps, count), ay, ax,
                 weights, 1, bias ? b.data<T>() : nullptr,
                 slices(y.data<T>(), i, v.outs, v.out_depth, h, width));
    return y;
}

template <class T>
Owned input_gradient(const Array& g, const Owned& grad, const Array& x, const Array& weight, const Volumes& v) {
    Owned gx = make_output(5, x.shape(), x.dtype());
    const Owned w = contiguous(weight);
    const ReleaseGil gil(v.nanoseconds());
    const long count = v.depth + v.taps - 1, channels = v.taps * v.outs;
    const Scratch<T> laid(static_cast<size_t>(v.n * count * v.outs * v.out_plane));
    lay_out(grad.data<T>(), v.n, v.outs, v.out_depth, v.out_plane, v.taps - 1 - v.padding, count, laid.data());
    // (taps from the last, outs, ins, kernel)
    const Scratch<T> turned(static_cast<size_t>(channels * v.ins * v.kernel));
    for (long t = 0; t < v.taps; t++)
        lay_out(w.data<T>() + (v.taps - 1 - t) * v.kernel, 1, v.outs * v.ins, v.taps, v.kernel, 0, 1,
                turned.data() + t * v.outs * v.ins * v.kernel);
    const Weights<T> weights{turned.data(), channels, v.ins, 0, v.ins * v.kernel, v.kernel,
                             v.geometry.kernel[1], 1, v.kernel};
    const Axis ay = v.geometry.backward(0, 0, x.dim(3)), ax = v.geometry.backward(1, 0, x.dim(4));
    for (long i = 0; i < v.n; i++)
        convolve(reaching(static_cast<const T*>(laid.data()), g, i, v.outs, v.depth, v.taps, count), ay, ax, weights, 1,
                 static_cast<const T*>(nullptr),
                 slices(gx.data<T>(), i, v.ins, v.depth, x.dim(3), x.dim(4)));
    return gx;
}

template <class T>
Owned weight_gradient_of(const Array& g, const Owned& grad, const Array& x, const Array& weight, const Volumes& v) {
    Owned gw = make_output(5, weight.shape(), x.dtype());
    const Owned from = contiguous(x);
    const ReleaseGil gil(v.nanoseconds());
    const long count = v.out_depth + v.taps - 1, size = v.outs * v.taps * v.ins * v.kernel;
    const Scratch<T> laid(static_cast<size_t>(v.n * count * v.ins * v.in_plane));
    lay_out(from.data<T>(), v.n, v.ins, v.depth, v.in_plane, v.padding, count, laid.data());
    const Scratch<T> sum(static_cast<size_t>(size)), part(static_cast<size_t>(size));  // (outs, taps, ins, kernel)
    std::fill_n(sum.data(), size, T(0));
    for (long i = 0; i < v.n; i++) {
        weight_gradient(reaching(static_cast<const T*>(laid.data()), x, i, v.ins, v.out_depth, v.taps, count),
                        slices(static_cast<const T*>(grad.data<T>()), i, v.outs, v.out_depth, g.dim(3), g.dim(4)), v.geometry,
                        part.data());
        for (long j = 0; j < size; j++) sum[static_cast<size_t>(j)] += part[static_cast<size_t>(j)];
    }
    lay_out(static_cast<const T*>(sum.data()), v.outs, v.taps, v.ins, v.kernel, 0, v.ins, gw.data<T>());
    return gw;
}

template <class T>
Owned backward(const Array& g, const Array& x, const Array& weight, const Volumes& v, const Needs& needs) {
    const Owned grad = contiguous(g);
    Owned gx = needs[0] ? input_gradient<T>(g, grad, x, weight, v) : none();
    Owned gw = needs[1] ? weight_gradient_of<T>(g, grad, x, weight, v) : none(), gb = none();
    if (needs[2]) {
        const npy_intp shape[1] = {v.outs};
        gb = make_output(1, shape, x.dtype());
        const T* data = grad.data<T>();  // slices below each other
        const long h = v.out_depth * g.dim(3), w = g.dim(4);
        channel_sums(Images<const T>{data, v.n, v.outs, h, w, v.outs * h * w, h * w, w, 1}, gb.data<T>());
    }
    return make_tuple(std::move(gx), std::move(gw), std::move(gb));
}

Owned conv3d(Array x, Array weight, Array bias, const Shape& stride, const Shape& padding, const Shape& dilation,
             long groups) {
    if (!x.is_float() || weight.dtype() != x.dtype() || (bias && bias.dtype() != x.dtype())) return not_implemented();
    if (groups != 1 || stride.rank != 3 || padding.rank != 3 || dilation.rank != 3 || x.size() == 0 ||
        stride.size() != 1 || dilation.dims[0] != 1)
        return not_implemented();
    if (x.rank() != 5 || weight.rank() != 5 || x.dim(1) != weight.dim(1) ||
        (bias && (bias.rank() != 1 || bias.dim(0) != weight.dim(0))))
        throw std::invalid_argument(
            "[conv3d] x, weight and bias must be (n, c, d, h, w), (out, c, kd, kh, kw) and (out,)");
    const Volumes v(x, weight, padding, dilation);
    for (int axis : {0, 1})
        if (v.geometry.dilation[axis] < 1 || v.geometry.padding[axis] < 0 || v.geometry.kernel[axis] < 1 ||
            v.geometry.outputs(axis, x.dim(3 + axis)) < 1)
            throw std::invalid_argument("[conv3d] the kernel does not fit the padded volume, or a size is out of range");
    if (v.taps < 1 || v.padding < 0 || v.out_depth < 1)
        throw std::invalid_argument("[conv3d] the kernel does not fit the padded volume, or a size is out of range");
    Owned y = x.is(DType::float32) ? forward<float>(x, weight, bias, v) : forward<double>(x, weight, bias, v);
    return make_tuple(std::move(y), make_tuple(reference(x), reference(weight)));
}

Owned conv3d_vjp(Array g, Array x, Array weight, Needs needs, const Shape&, const Shape& padding,
                 const Shape& dilation, long) {
    if (g.dtype() != x.dtype() || g.rank() != 5) throw std::invalid_argument("[conv3d_vjp] g must be like the output");
    const Volumes v(x, weight, padding, dilation);
    return x.is(DType::float32) ? backward<float>(g, x, weight, v, needs) : backward<double>(g, x, weight, v, needs);
}

}  // namespace

void bind_volumes(nb::module_& m) {
    m.def("conv3d", &conv3d, "x"_a, "weight"_a, "bias"_a.none(), nb::kw_only(), "stride"_a, "padding"_a, "dilation"_a,
          "groups"_a);
    m.def("conv3d_vjp", &conv3d_vjp, "g"_a, "x"_a, "weight"_a, nb::kw_only(), "needs"_a, "stride"_a, "padding"_a,
          "dilation"_a, "groups"_a);
}

}  // namespace chainrule
