// Bindings of the pool room: max_pool2d and avg_pool2d with their gradients.
#include <nanobind/stl/pair.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "conv/images.h"
#include "core/array.h"
#include "core/params.h"
#include "pool/blocks.h"
#include "pool/kernels.h"

using namespace nb::literals;

namespace chainrule {

namespace {

using Pair = std::pair<long, long>;

struct Windows {
    Window y, x;
    bool doubles() const { return y.doubles() && x.doubles(); }
    bool tiles() const { return y.tiles() && x.tiles(); }
};

// ceil_mode: one more window where the last ones leave elements over, if it begins in the image or the padding before it.
Windows windows(const char* op, long h, long w, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
    const auto one = [&](long in, long k, long s, long p, long d) {
        if (k < 1 || s < 1 || d < 1 || p < 0 || 2 * p > k || in + 2 * p < d * (k - 1) + 1)
            throw std::invalid_argument(std::string("[") + op +
                                        "] the window does not fit the padded image, or the "
                                        "padding is more than half of the window");
        const long room = in + 2 * p - d * (k - 1) - 1;
        long out = room / s + 1;
        if (ceil_mode && room % s && out * s < in + p) out++;
        return Window{k, s, p, d, in, out};
    };
    return {one(h, kernel.first, stride.first, padding.first, dilation.first),
            one(w, kernel.second, stride.second, padding.second, dilation.second)};
}

// One channel is not worth a vector: its images count as planes.
bool last_order(const Array& x) { return x.dim(1) > 1 && channels_last(x); }

double nanoseconds(const Array& x) { return static_cast<double>(x.size()) / 2; }

// The sizes a gradient needs and cannot see in its arguments.
Owned sizes(const Array& x) {
    const npy_intp shape[1] = {2};
    Owned result = make_output(1, shape, DType::int64);
    std::copy(x.shape() + 2, x.shape() + 4, result.data<int64_t>());
    return result;
}

// Pairs of rows of 2x2 windows over all planes: run(first input, first output, pairs).
template <class F>
void each_pair(long planes, const Windows& win, F run) {
    const long h = win.y.in, w = win.x.in, rows = win.y.out, out = win.x.out;
    const bool dense = h == 2 * rows;  // the pairs of all planes lie behind each other
    const long pairs = dense ? 1 : rows, count = dense ? planes * rows : planes, size = dense ? 2 * w : h * w;
    parallel_range(count, std::max(1L, 65536 / std::max(1L, size)), [&](long begin, long end) {
        if (dense) return run(begin * size, begin * out, end - begin);
        for (long p = begin; p < end; p++) run(p * size, p * rows * out, pairs);
    });
}

// The largest elements, and for each the number of its tap.
template <class T, class I>
std::pair<Owned, Owned> max_of(const Array& x, const Windows& win, DType index_type) {
    const bool last = last_order(x);
    const long n = x.dim(0), c = x.dim(1), h = win.y.out, w = win.x.out;
    const Owned from = ordered(x, last);
    Owned y = make_images(n, c, h, w, x.dtype(), last), index = make_images(n, c, h, w, index_type, last);
    const auto& k = pool_kernels().of<T>();
    {
        const ReleaseGil gil(nanoseconds(x));
        const T* s = from.data<T>();
        T* d = y.data<T>();
        I* at = index.data<I>();
        const auto general = [&](const auto& kernels) {
            each_block<T>(
                n, c, last,
                [&](long channels, auto px, auto py, auto pi) { kernels.forward(px, channels, win.y, win.x, py, pi); },
                Field<const T>{s, win.y.in, win.x.in}, Field<T>{d, h, w}, Field<I>{at, h, w});
        };
        if constexpr (sizeof(I) == 1) {
            const long row = win.x.in * c;
            if (!last && win.doubles())
                each_pair(n * c, win,
                          [&](long i, long o, long pairs) { k.max2(s + i, pairs, win.x.in, w, d + o, at + o); });
            else if (last && win.doubles() && win.tiles())
                parallel_range(n * h, std::max(1L, 32768 / row), [&](long begin, long end) {
                    const long o = begin * w * c;
                    k.max2_last(s + begin * 2 * row, end - begin, win.x.in, c, d + o, at + o);
                });
            else
                general(k.max8);
        } else {
            general(k.max32);
        }
    }
    return {std::move(y), std::move(index)};
}

std::pair<Owned, Owned> max_and_taps(const Array& x, const Windows& win) {
    const bool small = win.y.kernel * win.x.kernel <= 256;
    if (x.is(DType::float32))
        return small ? max_of<float, uint8_t>(x, win, DType::uint8) : max_of<float, int32_t>(x, win, DType::int32);
    return small ? max_of<double, uint8_t>(x, win, DType::uint8) : max_of<double, int32_t>(x, win, DType::int32);
}

Owned max_pool2d(Array x, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
    if (!x.is_float()) return not_implemented();
    if (x.rank() != 4) throw std::invalid_argument("[max_pool2d] x must be (n, c, h, w)");
    const Windows win = windows("max_pool2d", x.dim(2), x.dim(3), kernel, stride, padding, dilation, ceil_mode);
    auto [y, taps] = max_and_taps(x, win);
    return make_tuple(std::move(y), make_tuple(std::move(taps), sizes(x)));
}

// From a window's first place to those of its taps, in elements of an image.
struct TapSteps {
    Scratch<int64_t> values;
    explicit TapSteps(const Windows& win) : values(static_cast<size_t>(win.y.kernel * win.x.kernel)) {
        const long kernel = win.x.kernel;
        for (long k = 0; k < win.y.kernel * kernel; k++)
            values[static_cast<size_t>(k)] = k / kernel * win.y.dilation * win.x.in + k % kernel * win.x.dilation;
    }
    const int64_t* data() const { return values.data(); }
};

// Taps as places in the image: row times width plus column.
template <class I>
Owned places(const Array& taps, const Windows& win) {
    const bool last = last_order(taps);
    const long n = taps.dim(0), c = taps.dim(1);
    Owned result = make_images(n, c, win.y.out, win.x.out, DType::int64, last);
    const TapSteps steps(win);
    const ReleaseGil gil(static_cast<double>(taps.size()));
    const I* from = taps.data<I>();
    int64_t* to = result.data<int64_t>();
    const long run = last ? c : 1, rows = (last ? n : n * c) * win.y.out, row = win.x.out * run;
    parallel_range(rows, std::max(1L, 16384 / std::max(1L, row)), [&](long begin, long end) {
        const int64_t* step = steps.data();
        for (long r = begin; r < end; r++) {
            const int64_t first = win.y.start(r % win.y.out) * win.x.in - win.x.padding, stride = win.x.stride;
            for (long q = 0; q < row; q++) to[r * row + q] = first + q / run * stride + step[from[r * row + q]];
        }
    });
    return result;
}

Owned max_pool2d_with_indices(Array x, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
    if (!x.is_float()) return not_implemented();
    if (x.rank() != 4) throw std::invalid_argument("[max_pool2d_with_indices] x must be (n, c, h, w)");
    const Windows win =
        windows("max_pool2d_with_indices", x.dim(2), x.dim(3), kernel, stride, padding, dilation, ceil_mode);
    auto [y, taps] = max_and_taps(x, win);
    const Array index = taps;
    Owned indices = index.is(DType::uint8) ? places<uint8_t>(index, win) : places<int32_t>(index, win);
    return make_tuple(std::move(y), std::move(indices));
}

// A plane's gradient, window after window: one addition for each, where a vector of taps would have as many as there are
// taps, most of them of zeros. A window that a dilation spreads around the whole image has no tap inside, and no gradient.
template <class T, class I>
void scatter_plane(const T* g, const I* index, const Windows& win, const int64_t* steps, T* gx) {
    const auto meets = [](const Window& w, long o) { return w.first_tap(o) < w.end_tap(o); };
    bool all = true;
    for (long q = 0; q < win.x.out; q++) all = all && meets(win.x, q);
    std::fill_n(gx, win.y.in * win.x.in, T(0));
    for (long r = 0; r < win.y.out; r++, g += win.x.out, index += win.x.out) {
        if (!meets(win.y, r)) continue;
        T* first = gx + win.y.start(r) * win.x.in - win.x.padding;
        for (long q = 0; q < win.x.out; q++, first += win.x.stride)
            if (all || meets(win.x, q)) first[steps[index[q]]] += g[q];
    }
}

template <class T, class I>
Owned max_back(const Array& g, const Array& index, const Windows& win) {
    const bool last = last_order(index);
    const long n = g.dim(0), c = g.dim(1), h = win.y.out, w = win.x.out;
    const Owned from = ordered(g, last);
    Owned gx = make_images(n, c, win.y.in, win.x.in, g.dtype(), last);
    const auto& k = pool_kernels().of<T>();
    const ReleaseGil gil(nanoseconds(gx));
    const T* s = from.data<T>();
    const I* at = index.data<I>();
    T* d = gx.data<T>();
    const bool once = win.tiles();
    if (!last && !(once && win.doubles())) {
        const TapSteps steps(win);
        const long in = win.y.in * win.x.in, out = h * w;
        parallel_range(n * c, std::max(1L, 16384 / std::max(1L, in)), [&](long begin, long end) {
            for (long p = begin; p < end; p++) scatter_plane(s + p * out, at + p * out, win, steps.data(), d + p * in);
        });
        return gx;
    }
    const auto general = [&](const auto& kernels) {
        each_block<T>(
            n, c, last,
            [&](long channels, auto pg, auto pi, auto px) { kernels.backward(pg, pi, channels, win.y, win.x, px); },
            Field<const T>{s, h, w}, Field<const I>{at, h, w}, Field<T>{d, win.y.in, win.x.in, !once});
    };
    if constexpr (sizeof(I) == 1) {
        if (!last && once && win.doubles())
            each_pair(n * c, win,
                      [&](long i, long o, long pairs) { k.max2_back(s + o, at + o, pairs, win.x.in, d + i); });
        else if (last && once && win.doubles())
            parallel_range(n * win.y.in * win.x.in, std::max(1L, 65536 / c), [&](long begin, long end) {
                k.max2_last_back(s, nullptr, at, win.x.in, c, begin, end - begin, d + begin * c);
            });
        else
            general(k.max8);
    } else {
        general(k.max32);
    }
    return gx;
}

Owned max_pool2d_vjp(Array g, Array index, Array size, Needs needs, Pair kernel, Pair stride, Pair padding,
                     Pair dilation, bool ceil_mode) {
    if (!needs[0]) return make_tuple(none());
    const int64_t* s = size.data<int64_t>();
    const Windows win = windows("max_pool2d", s[0], s[1], kernel, stride, padding, dilation, ceil_mode);
    if (index.is(DType::uint8))
        return make_tuple(g.is(DType::float32) ? max_back<float, uint8_t>(g, index, win)
                                               : max_back<double, uint8_t>(g, index, win));
    return make_tuple(g.is(DType::float32) ? max_back<float, int32_t>(g, index, win)
                                           : max_back<double, int32_t>(g, index, win));
}

template <class T>
Owned average_of(const Array& x, const Windows& win, bool padded) {
    const bool last = last_order(x);
    const long n = x.dim(0), c = x.dim(1), h = win.y.out, w = win.x.out;
    const Owned from = ordered(x, last);
    Owned y = make_images(n, c, h, w, x.dtype(), last);
    {
        const auto& k = pool_kernels().of<T>();
        const ReleaseGil gil(nanoseconds(x));
        const T* s = from.data<T>();
        T* d = y.data<T>();
        if (!last && win.doubles())
            each_pair(n * c, win, [&](long i, long o, long pairs) { k.average2(s + i, pairs, win.x.in, w, d + o); });
        else
            each_block<T>(
                n, c, last, [&](long channels, auto px, auto py) { k.average(px, channels, win.y, win.x, padded, py); },
                Field<const T>{s, win.y.in, win.x.in}, Field<T>{d, h, w});
    }
    return make_tuple(std::move(y), make_tuple(sizes(x)));
}

Owned avg_pool2d(Array x, Pair kernel, Pair stride, Pair padding, bool count_include_pad, bool ceil_mode) {
    // a window that reaches beyond the padding counts less than others: the body does it
    if (!x.is_float() || (ceil_mode && count_include_pad)) return not_implemented();
    if (x.rank() != 4) throw std::invalid_argument("[avg_pool2d] x must be (n, c, h, w)");
    const Windows win = windows("avg_pool2d", x.dim(2), x.dim(3), kernel, stride, padding, {1, 1}, ceil_mode);
    return x.is(DType::float32) ? average_of<float>(x, win, count_include_pad)
                                : average_of<double>(x, win, count_include_pad);
}

template <class T>
Owned average_back(const Array& g, const Windows& win, bool padded) {
    const bool last = last_order(g);
    const long n = g.dim(0), c = g.dim(1), h = win.y.out, w = win.x.out;
    const Owned from = ordered(g, last);
    Owned gx = make_images(n, c, win.y.in, win.x.in, g.dtype(), last);
    const auto& k = pool_kernels().of<T>();
    const ReleaseGil gil(nanoseconds(gx));
    const T* s = from.data<T>();
    T* d = gx.data<T>();
    const bool once = win.y.tiles() && win.x.tiles();
    if (!last && once && win.doubles())
        each_pair(n * c, win, [&](long i, long o, long pairs) { k.average2_back(s + o, pairs, win.x.in, d + i); });
    else
        each_block<T>(
            n, c, last,
            [&](long channels, auto pg, auto px) { k.average_back(pg, channels, win.y, win.x, padded, px); },
            Field<const T>{s, h, w}, Field<T>{d, win.y.in, win.x.in, !once});
    return gx;
}

Owned avg_pool2d_vjp(Array g, Array size, Needs needs, Pair kernel, Pair stride, Pair padding, bool count_include_pad,
                     bool ceil_mode) {
    if (!needs[0]) return make_tuple(none());
    const int64_t* s = size.data<int64_t>();
    const Windows win = windows("avg_pool2d", s[0], s[1], kernel, stride, padding, {1, 1}, ceil_mode);
    return make_tuple(g.is(DType::float32) ? average_back<float>(g, win, count_include_pad)
                                           : average_back<double>(g, win, count_include_pad));
}

}  // namespace

void bind_pool(nb::module_& m) {
    m.def("max_pool2d", &max_pool2d, "x"_a, nb::kw_only(), "kernel_size"_a, "stride"_a, "padding"_a, "dilation"_a,
          "ceil_mode"_a = false);
    m.def("max_pool2d_with_indices", &max_pool2d_with_indices, "x"_a, nb::kw_only(), "kernel_size"_a, "stride"_a,
          "padding"_a, "dilation"_a, "ceil_mode"_a = false);
    m.def("max_pool2d_vjp", &max_pool2d_vjp, "g"_a, "index"_a, "size"_a, nb::kw_only(), "needs"_a, "kernel_size"_a,
          "stride"_a, "padding"_a, "dilation"_a,
          "ceil_mode"_a = false);
    m.def("avg_pool2d", &avg_pool2d, "x"_a, nb::kw_only(), "kernel_size"_a, "stride"_a, "padding"_a,
          "count_include_pad"_a, "ceil_mode"_a = false);
    m.def("avg_pool2d_vjp", &avg_pool2d_vjp, "g"_a, "size"_a, nb::kw_only(), "needs"_a, "kernel_size"_a, "stride"_a,
          "padding"_a, "count_include_pad"_a, "ceil_mode"_a = false);
}

}  // namespace chainrule
