// Convolutions as products of tiles: the columns of an image are addresses, never memory. Forward, and the gradient of x, are
// weights (outs, ins taps) times columns (ins taps, pixels); the gradient of the weight is g (outs, pixels) times columns
// (pixels, ins taps), its long sums in parts. Few channels to a group have kernels of their own.
//
// Bound by arithmetic: 8 x 64 x 112 x 112 to 128, 3 x 3, is 14.8 GFLOP, 221 us in float at the 66.9 TFLOP/s of an H200, 19 us
// in 16-bit floats at 788; there the addresses of elements that are fetched one by one are predicted to cost three times that.
// Groups of few channels are bound by the memory's bandwidth.
#include "core/divide.cuh"
#include "core/tile.cuh"

/// One axis: output o reads, through tap t, the input at first + o step + t tap_step (0 beyond), weighted by the weight's
/// element w_first + t w_step, and is written to to_first + o to_step.
struct Axis {
    int64_t out, in, taps, step, tap_step, first, to_step, to_first, w_step, w_first;
};

/// Sizes are those of a group, steps in elements; y and the weight lie row-major. The `by` are what is divided by.
struct Convolution {
    Axis rows, columns;
    int64_t images, ins, outs, groups;
    int64_t x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, w_group, w_out, w_in, w_row;
    int64_t by_pixels, by_columns, by_taps, by_tap_columns, parts, chunk, size;
};

/// A place in an image, and what a tap adds to it.
struct Pixel {
    int64_t at;
    int row, column;
};
struct Tap {
    int at, row, column;
};
constexpr int nowhere = -(1 << 29);  // a row that is none, even with another

template <class T> struct Image {
    const T* x;
    const Convolution& c;
    int pixels, taps;  // beyond them there is nothing

    DEVICE Pixel pixel(int i) const {
        if (i >= pixels) return {0, nowhere, 0};
        const int image = divided(i, c.by_pixels), rest = i - image * static_cast<int>(c.rows.out * c.columns.out);
        const int p = divided(rest, c.by_columns), q = rest - p * static_cast<int>(c.columns.out);
        const int row = p * static_cast<int>(c.rows.step) + static_cast<int>(c.rows.first);
        const int column = q * static_cast<int>(c.columns.step) + static_cast<int>(c.columns.first);
        return {image * c.x_image + row * c.x_row + column * c.x_column, row, column};
    }
    DEVICE Tap tap(int k) const {
        if (k >= taps) return {0, nowhere, 0};
        const int channel = divided(k, c.by_taps), rest = k - channel * static_cast<int>(c.rows.taps * c.columns.taps);
        const int r = divided(rest, c.by_tap_columns), s = rest - r * static_cast<int>(c.columns.taps);
        const int row = r * static_cast<int>(c.rows.tap_step), column = s * static_cast<int>(c.columns.tap_step);
        return {static_cast<int>(channel * c.x_channel + row * c.x_row + column * c.x_column), row, column};
    }
    /// From tap k - 1 to tap k.
    DEVICE void step(Tap& t, int k) const {
        const int across = static_cast<int>(c.columns.tap_step), down = static_cast<int>(c.rows.tap_step);
        t.column += across;
        t.at += across * static_cast<int>(c.x_column);
        if (t.column == static_cast<int>(c.columns.taps) * across) {
            t.at += down * static_cast<int>(c.x_row) - t.column * static_cast<int>(c.x_column);
            t.column = 0;
            t.row += down;
            if (t.row == static_cast<int>(c.rows.taps) * down) {
                t.at += static_cast<int>(c.x_channel) - t.row * static_cast<int>(c.x_row);
                t.row = 0;
            }
        }
        if (k >= taps) t.row = nowhere;
    }
    DEVICE T at(const Pixel& p, const Tap& t) const {
        const bool inside = static_cast<uint32_t>(p.row + t.row) < static_cast<uint32_t>(c.rows.in) &&
                            static_cast<uint32_t>(p.column + t.column) < static_cast<uint32_t>(c.columns.in);
        return inside ? x[p.at + t.at] : T{};
    }
};

/// The operands of tile.cuh: columns of an image, by pixels or by taps, the weight, and the gradient of the result.
template <class T> struct ByPixels : Image<T> {
    static constexpr bool packs = false, along = false;
    using Place = Pixel;
    using Depth = Tap;
    DEVICE Pixel place(int i) const { return this->pixel(i); }
    DEVICE Tap depth(int k) const { return this->tap(k); }
    using Image<T>::step;
    DEVICE T get(const Pixel& p, const Tap& t) const { return this->at(p, t); }
};
template <class T> struct ByTaps : Image<T> {
    static constexpr bool packs = false, along = true;
    using Place = Tap;
    using Depth = Pixel;
    DEVICE Tap place(int k) const { return this->tap(k); }
    DEVICE Pixel depth(int i) const { return this->pixel(i); }
    DEVICE void step(Pixel&, int) const {}  // along k: there is one for each thread
    DEVICE T get(const Tap& t, const Pixel& p) const { return this->at(p, t); }
};
template <class T> struct Weight {
    static constexpr bool packs = false, along = true;
    using Place = int;
    using Depth = int;
    const T* w;
    const Convolution& c;
    int taps;

    DEVICE int place(int out) const { return out < c.outs ? out * static_cast<int>(c.w_out) : -1; }
    DEVICE int depth(int k) const {
        if (k >= taps) return -1;
        const int channel = divided(k, c.by_taps), rest = k - channel * static_cast<int>(c.rows.taps * c.columns.taps);
        const int r = divided(rest, c.by_tap_columns), s = rest - r * static_cast<int>(c.columns.taps);
        return static_cast<int>(channel * c.w_in + (c.rows.w_first + r * c.rows.w_step) * c.w_row + c.columns.w_first +
                                s * c.columns.w_step);
    }
    DEVICE void step(int&, int) const {}
    DEVICE T get(int out, int k) const { return out >= 0 && k >= 0 ? w[out + k] : T{}; }
};
template <class T> struct Result {
    static constexpr bool packs = false, along = true;
    using Place = int;
    using Depth = int64_t;
    const T* g;
    const Convolution& c;
    int pixels;

    DEVICE int place(int out) const { return out < c.outs ? out * static_cast<int>(c.y_channel) : -1; }
    DEVICE int64_t depth(int i) const {
        if (i >= pixels) return -1;
        const int image = divided(i, c.by_pixels);
        return image * c.y_image + i - image * static_cast<int>(c.rows.out * c.columns.out);
    }
    DEVICE void step(int64_t&, int) const {}
    DEVICE T get(int out, int64_t i) const { return out >= 0 && i >= 0 ? g[out + i] : T{}; }
};

/// y of x and the weight, + bias (groups outs), unless that is null. Blocks: one for each tile of outs
/// and pixels, of each of groups times parts; several parts leave their sums (parts, size) for `combined`.
template <class T, int tile>
__global__ void __launch_bounds__(tile_threads<T, tile>)
    convolution(T* y, typename SumOf<T>::type* sums, const T* x, const T* w, const T* bias, Convolution c) {
    using Sum = typename SumOf<T>::type;
    const int pixels = static_cast<int>(c.images * c.rows.out * c.columns.out), outs = static_cast<int>(c.outs);
    const Share mine = share<tile>(outs, pixels);
    const int parts = static_cast<int>(c.parts), group = mine.z / parts, part = mine.z - group * parts;
    const int taps = static_cast<int>(c.ins * c.rows.taps * c.columns.taps), begin = part * static_cast<int>(c.chunk);
    const int end = parts > 1 && begin + c.chunk < taps ? begin + c.chunk : taps;
    const Weight<T> left{w + group * c.w_group, c, end};
    const ByPixels<T> right{x + group * c.ins * c.x_channel, c, pixels, end};
    tiled<T, tile>(left, right, mine.row0, mine.column0, begin, end, [&](int out, int i, Sum sum) {
        if (out >= outs || i >= pixels) return;
        const int image = divided(i, c.by_pixels), rest = i - image * static_cast<int>(c.rows.out * c.columns.out);
        const int p = divided(rest, c.by_columns), q = rest - p * static_cast<int>(c.columns.out);
        const int channel = group * outs + out;
        const int64_t at = image * c.y_image + channel * c.y_channel + (c.rows.to_first + p * c.rows.to_step) * c.y_row +
                           c.columns.to_first + q * c.columns.to_step;
        if (parts > 1) sums[part * c.size + at] = sum;
        else y[at] = narrowed<T>(bias ? sum + static_cast<Sum>(widened(bias[channel])) : sum);
    });
}

/// gw (groups outs, ins, taps) of x and g. Blocks: as above, of outs and ins times taps.
template <class T, int tile>
__global__ void __launch_bounds__(tile_threads<T, tile>)
    weight_gradient(T* gw, typename SumOf<T>::type* sums, const T* x, const T* g, Convolution c) {
    using Sum = typename SumOf<T>::type;
    const int pixels = static_cast<int>(c.images * c.rows.out * c.columns.out), outs = static_cast<int>(c.outs);
    const int taps = static_cast<int>(c.ins * c.rows.taps * c.columns.taps);
    const Share mine = share<tile>(outs, taps);
    const int parts = static_cast<int>(c.parts), group = mine.z / parts, part = mine.z - group * parts;
    const int begin = part * static_cast<int>(c.chunk);
    const int end = parts > 1 && begin + c.chunk < pixels ? begin + c.chunk : pixels;
    const Result<T> left{g + group * c.outs * c.y_channel, c, end};
    const ByTaps<T> right{x + group * c.ins * c.x_channel, c, end, taps};
    tiled<T, tile>(left, right, mine.row0, mine.column0, begin, end, [&](int out, int k, Sum sum) {
        if (out >= outs || k >= taps) return;
        const int64_t at = static_cast<int64_t>(group * outs + out) * taps + k;
        if (parts > 1) sums[part * c.size + at] = sum;
        else gw[at] = narrowed<T>(sum);
    });
}

/// y = the sums of parts, in their order, + bias of each channel, `inner` elements long, unless that is null.
template <class T>
__global__ void combined(T* y, const typename SumOf<T>::type* sums, const T* bias, int64_t inner, int64_t channels,
                         int64_t parts, int64_t size) {
    EACH(i, size) {
        double sum = 0;
        for (int64_t p = 0; p < parts; ++p) sum += sums[p * size + i];
        if (bias) sum += widened(bias[i / inner % channels]);
        y[i] = narrowed<T>(sum);
    }
}

/// `convolution` of few channels to a group: a thread for each element of y.
template <class T> __global__ void direct(T* y, const T* x, const T* w, const T* bias, Convolution c, int64_t n) {
    const Image<T> image{x, c, static_cast<int>(n), static_cast<int>(n)};
    const int pixels = static_cast<int>(c.rows.out * c.columns.out), channels = static_cast<int>(c.groups * c.outs);
    const int taps = static_cast<int>(c.rows.taps * c.columns.taps);
    EACH(i, n) {
        const int plane = divided(static_cast<int>(i), c.by_pixels), rest = static_cast<int>(i) - plane * pixels;
        const int number = plane / channels, channel = plane - number * channels, group = channel / static_cast<int>(c.outs);
        const Pixel at = image.pixel(number * pixels + rest);
        const T* const weight = w + group * c.w_group + (channel - group * c.outs) * c.w_out;
        const int64_t first = group * c.ins * c.x_channel;
        typename SumOf<T>::type sum = 0;
        for (int in = 0; in < c.ins; ++in)
            for (int t = 0; t < taps; ++t) {
                const int r = divided(t, c.by_tap_columns), s = t - r * static_cast<int>(c.columns.taps);
                const int row = at.row + r * static_cast<int>(c.rows.tap_step);
                const int column = at.column + s * static_cast<int>(c.columns.tap_step);
                if (row < 0 || row >= c.rows.in || column < 0 || column >= c.columns.in) continue;
                const int64_t k = in * c.w_in + (c.rows.w_first + r * c.rows.w_step) * c.w_row + c.columns.w_first +
                                  s * c.columns.w_step;
                sum += widened(x[first + in * c.x_channel + number * c.x_image + row * c.x_row + column * c.x_column]) *
                       widened(weight[k]);
            }
        if (bias) sum += widened(bias[channel]);
        const int p = divided(rest, c.by_columns), q = rest - p * static_cast<int>(c.columns.out);
        y[number * c.y_image + channel * c.y_channel + (c.rows.to_first + p * c.rows.to_step) * c.y_row + c.columns.to_first +
          q * c.columns.to_step] = narrowed<T>(sum);
    }
}

/// `weight_gradient` of few channels to a group: a block for each element of gw.
template <class T> __global__ void direct_weight(T* gw, const T* x, const T* g, Convolution c) {
    const int taps = static_cast<int>(c.ins * c.rows.taps * c.columns.taps);
    const int pixels = static_cast<int>(c.images * c.rows.out * c.columns.out);
    const int out = blockIdx.x / taps, k = blockIdx.x % taps, group = out / static_cast<int>(c.outs);
    const ByTaps<T> columns{x + group * c.ins * c.x_channel, c, pixels, taps};
    const Result<T> result{g + (static_cast<int64_t>(out) - out % c.outs) * c.y_channel, c, pixels};
    const Tap tap = columns.place(k);
    const int row = result.place(out % static_cast<int>(c.outs));
    double sum = 0;
    for (int i = threadIdx.x; i < pixels; i += blockDim.x)
        sum += static_cast<double>(widened(columns.get(tap, columns.depth(i)))) * widened(result.get(row, result.depth(i)));
    sum = block_sum(sum);
    if (threadIdx.x == 0) gw[blockIdx.x] = narrowed<T>(sum);
}

/// y (n, c, h, w) = the sum of what windows (n, c, p, q, r, s) hold of each element, in the order of r and s. Bound by the
/// memory's bandwidth: every element of the windows is read once.
struct Windows {
    int64_t h, w, p, q, r, s, stride[2], dilation[2], step[6];  // steps: strides of the windows, in elements
};
template <class T> __global__ void unwindow(T* y, const T* x, Windows v, int64_t c, int64_t n) {
    EACH(i, n) {
        const int64_t column = i % v.w, row = i / v.w % v.h, channel = i / (v.w * v.h) % c, image = i / (v.w * v.h * c);
        typename SumOf<T>::type sum = 0;
        for (int64_t r = 0; r < v.r; ++r) {
            const int64_t down = row - r * v.dilation[0];
            if (down < 0 || down % v.stride[0] || down / v.stride[0] >= v.p) continue;
            for (int64_t s = 0; s < v.s; ++s) {
                const int64_t across = column - s * v.dilation[1];
                if (across < 0 || across % v.stride[1] || across / v.stride[1] >= v.q) continue;
                sum += widened(x[image * v.step[0] + channel * v.step[1] + down / v.stride[0] * v.step[2] +
                                 across / v.stride[1] * v.step[3] + r * v.step[4] + s * v.step[5]]);
            }
        }
        y[i] = narrowed<T>(sum);
    }
}
