// What each instruction set supplies to pooling.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace chainrule {

// One spatial axis: output o looks at inputs o*stride - padding + t*dilation, t < kernel, those inside [0, in).
struct Window {
    long kernel, stride, padding, dilation, in, out;

    long start(long o) const { return o * stride - padding; }
    // Taps t with 0 <= start + t*dilation < in are [first_tap, end_tap); dilation 1 is spared the division.
    long steps(long distance) const { return dilation == 1 ? distance : (distance + dilation - 1) / dilation; }
    long first_tap(long o) const { return start(o) >= 0 ? 0 : steps(-start(o)); }
    long end_tap(long o) const {
        const long inside = in <= start(o) ? 0 : steps(in - start(o));
        return inside < kernel ? inside : kernel;
    }
    bool doubles() const { return kernel == 2 && stride == 2 && padding == 0 && dilation == 1 && 2 * out <= in; }
    /// Every input belongs to exactly one output.
    bool tiles() const { return kernel == stride && padding == 0 && dilation == 1 && in == out * stride; }
};

// A plane of pixels with `channels` values side by side; distances in elements.
template <class T>
struct Pixels {
    T* data;
    long row, pixel;
    T* at(long r, long q) const { return data + r * row + q * pixel; }
};

template <class T, class I>
struct MaxKernels {
    // y and the index of the first maximum among the window's taps (ky*kw + kx); NaN counts as the greatest.
    void (*forward)(Pixels<const T> x, long channels, const Window& wy, const Window& wx, Pixels<T> y, Pixels<I> index);
    // gx: must be zero beforehand unless both windows tile.
    void (*backward)(Pixels<const T> g, Pixels<const I> index, long channels, const Window& wy, const Window& wx,
                     Pixels<T> gx);
};

template <class T>
struct PoolKernels {
    MaxKernels<T, uint8_t> max8;
    MaxKernels<T, int32_t> max32;
    // Sums divided by the number of taps, or of the taps inside the image.
    void (*average)(Pixels<const T> x, long channels, const Window& wy, const Window& wx, bool padded, Pixels<T> y);
    void (*average_back)(Pixels<const T> g, long channels, const Window& wy, const Window& wx, bool padded,
                         Pixels<T> gx);
    // 2x2 windows of row-major images: pairs of rows of w elements, all behind each other; each gives n <= w/2 outputs.
    void (*max2)(const T* x, long pairs, long w, long n, T* y, uint8_t* index);
    void (*average2)(const T* x, long pairs, long w, long n, T* y);
    // Their gradients, where n = w/2.
    void (*max2_back)(const T* g, const uint8_t* index, long pairs, long w, T* gx);
    void (*average2_back)(const T* g, long pairs, long w, T* gx);
    // 2x2 windows of channels-last images that they tile: pairs of rows of w pixels of c values.
    void (*max2_last)(const T* x, long pairs, long w, long c, T* y, uint8_t* index);
    // Their gradient at `count` pixels from `first` on, behind each other in gx. y: where it is <= 0, g counts as 0; or null.
    void (*max2_last_back)(const T* g, const T* y, const uint8_t* index, long w, long c, long first, long count, T* gx);
};

struct PoolTables {
    PoolKernels<float> f32;
    PoolKernels<double> f64;
    template <class T>
    const PoolKernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};
CHAINRULE_VARIANTS(PoolTables, pool_kernels)

}  // namespace chainrule
