// Convolutions as the engine sees them: images as strided views, each axis an arithmetic of outputs, inputs and taps.
#pragma once

#include <numeric>

namespace chainrule {

template <class T>
struct Images;

// One spatial axis. Output o reads, through tap t, the input at first + o*step + t*tap_step (zero outside the image),
// weighted by the kernel's element kernel_first + t*kernel_step, and is stored at out_first + o*out_step.
struct Axis {
    long outputs;
    long first, step;
    long taps, tap_step;
    long kernel_first = 0, kernel_step = 1;
    long out_first = 0, out_step = 1;

    // Inputs that `outs` outputs reach over (one each if there are no taps).
    long span(long outs) const { return (outs - 1) * step + (taps > 0 ? (taps - 1) * tap_step : 0) + 1; }
};

struct Geometry {
    long kernel[2], stride[2], padding[2], dilation[2];
    long groups;

    long outputs(int axis, long size) const {
        return (size + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
    }
    Axis forward(int axis, long size) const {
        return {outputs(axis, size), -padding[axis], stride[axis], kernel[axis], dilation[axis]};
    }
    // The input gradient. Input i meets tap k of output o where i + padding = o*stride + k*dilation: for each residue
    // r of i + padding modulo the stride that is a convolution of its own, with the taps k*dilation = r (mod stride),
    // k ascending by stride/gcd; stored in descending order, so that inputs ascend. No taps: those inputs get zero.
    Axis backward(int axis, long residue, long size) const {
        const long s = stride[axis], p = padding[axis], d = dilation[axis];
        const long divisor = std::gcd(s, d), kernel_step = s / divisor, tap_step = d / divisor;
        const long out_first = ((residue - p) % s + s) % s;  // the smallest i >= 0 with (i + p) mod s = residue
        const long outputs = out_first < size ? (size - out_first - 1) / s + 1 : 0;
        long k = 0;
        while (k < kernel[axis] && k * d % s != residue) k++;
        if (k >= kernel[axis]) return {outputs, 0, 1, 0, tap_step, 0, 1, out_first, s};
        const long taps = (kernel[axis] - 1 - k) / kernel_step + 1, last = k + (taps - 1) * kernel_step;
        const long first = (out_first + p - last * d) / s;  // exact
        return {outputs, first, 1, taps, tap_step, last, -kernel_step, out_first, s};
    }
};

// Weights of one direction: element (group, in, out, ky, kx) at data[g*group + i*in + o*out + ky*sy + kx*sx].
template <class T>
struct Weights {
    const T* data;
    long ins, outs;  // per group
    long group, in, out, sy, sx;
    long taps;  // elements of a kernel
};

/// y = convolution of x along both axes (+ bias), or relu of it. Stores only the positions the axes name; with relu those
/// must be all.
template <class T>
void convolve(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, long groups, const T* bias,
              const Images<T>& y, bool relu = false);

/// gw (out, in/groups, kh, kw), contiguous, from x and g; gb[out] too if not null.
template <class T>
void weight_gradient(const Images<const T>& x, const Images<const T>& g, const Geometry& geometry, T* gw);

template <class T>
void channel_sums(const Images<const T>& g, T* sums);

}  // namespace chainrule
