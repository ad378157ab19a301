// Images made smaller and larger: the largest and the mean of windows, and interpolation. Bound by the memory's bandwidth: each
// element is read once where windows do not overlap, 2 x 2 windows of 8 x 32 x 64 x 64 floats in 1.5 us on an H200.
//
// Gradients are gathered: each element of x sums over the windows that hold it, in their order, so no two threads write to one.
#include "core/divide.cuh"

/// Sizes and steps (n, c, row, column), in elements, of x; the other arrays are row-major. The `by` are what is divided by.
struct Pool {
    int64_t channels, h, w, p, q, size[2], stride[2], padding[2], dilation[2], padded, step[4];
    int64_t by_channels, by_rows, by_columns;  // of what a thread makes: y forward, x backward
};

/// Where a thread's element is.
struct Spot {
    int image, channel, row, column;
};
DEVICE Spot spot(int i, const Pool& v, int64_t rows, int64_t columns) {
    const int line = divided(i, v.by_columns), plane = divided(line, v.by_rows), image = divided(plane, v.by_channels);
    return {image, plane - image * static_cast<int>(v.channels), line - plane * static_cast<int>(rows),
            i - line * static_cast<int>(columns)};
}

/// The taps [first, end) of a window that begins at `start` which lie in an axis of n elements.
struct Taps {
    int first, end;
};
DEVICE Taps taps(int start, int n, int size, int dilation) {
    const int end = start >= n ? 0 : (n - 1 - start) / dilation + 1;
    return {start < 0 ? (dilation - 1 - start) / dilation : 0, end < size ? end : size};
}

/// y = the largest of each window, the first of equals, or the first NaN; number is its tap, place its row times width plus
/// column. Either may be null.
template <class T, class Number>
__global__ void max_forward(T* y, Number* number, int64_t* place, const T* x, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.p, v.q);
        const int top = at.row * static_cast<int>(v.stride[0]) - static_cast<int>(v.padding[0]);
        const int left = at.column * static_cast<int>(v.stride[1]) - static_cast<int>(v.padding[1]);
        const int down = static_cast<int>(v.dilation[0]), across = static_cast<int>(v.dilation[1]);
        const Taps rows = taps(top, static_cast<int>(v.h), static_cast<int>(v.size[0]), down);
        const Taps columns = taps(left, static_cast<int>(v.w), static_cast<int>(v.size[1]), across);
        const T* const from = x + at.image * v.step[0] + at.channel * v.step[1];
        Wide<T> best = -INFINITY;
        int best_row = rows.first, best_column = columns.first;
        for (int r = rows.first; r < rows.end; ++r)
            for (int c = columns.first; c < columns.end; ++c) {
                const Wide<T> value = widened(from[(top + r * down) * v.step[2] + (left + c * across) * v.step[3]]);
                if (!(value <= best) && best == best) {
                    best = value;
                    best_row = r;
                    best_column = c;
                }
            }
        y[i] = narrowed<T>(best);
        if (number) number[i] = static_cast<Number>(best_row * v.size[1] + best_column);
        if (place) place[i] = (top + best_row * down) * v.w + left + best_column * across;
    }
}

/// The windows [first, end) along an axis that may hold element number `i`.
DEVICE Taps holding(int i, int count, int size, int stride, int padding, int dilation) {
    const int low = i + padding - (size - 1) * dilation, last = (i + padding) / stride;
    return {low > 0 ? (low + stride - 1) / stride : 0, last < count ? last + 1 : count};
}

/// gx = for each element the g of the windows of which it is the largest.
template <class T, class Number>
__global__ void max_backward(T* gx, const T* g, const Number* number, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.h, v.w);
        const int stride[2] = {static_cast<int>(v.stride[0]), static_cast<int>(v.stride[1])};
        const int dilation[2] = {static_cast<int>(v.dilation[0]), static_cast<int>(v.dilation[1])};
        const int row = at.row + static_cast<int>(v.padding[0]), column = at.column + static_cast<int>(v.padding[1]);
        const Taps rows = holding(at.row, static_cast<int>(v.p), static_cast<int>(v.size[0]), stride[0],
                                  static_cast<int>(v.padding[0]), dilation[0]);
        const Taps columns = holding(at.column, static_cast<int>(v.q), static_cast<int>(v.size[1]), stride[1],
                                     static_cast<int>(v.padding[1]), dilation[1]);
        const int64_t plane = (at.image * v.channels + at.channel) * v.p * v.q;
        Wide<T> sum = 0;
        for (int p = rows.first; p < rows.end; ++p) {
            const int r = (row - p * stride[0]) / dilation[0];
            if (r * dilation[0] != row - p * stride[0]) continue;
            for (int q = columns.first; q < columns.end; ++q) {
                const int c = (column - q * stride[1]) / dilation[1];
                if (c * dilation[1] != column - q * stride[1]) continue;
                const int64_t window = plane + p * v.q + q;
                if (static_cast<int>(number[window]) == r * static_cast<int>(v.size[1]) + c) sum += widened(g[window]);
            }
        }
        gx[i] = narrowed<T>(sum);
    }
}

/// How many elements of a window along an axis count: those of x, and if `padded` those of its padding.
DEVICE int counted(int start, int n, int size, int padding, bool padded) {
    const int first = padded || start > 0 ? start : 0, last = padded ? n + padding : n;
    return (start + size < last ? start + size : last) - first;
}

/// y = the mean of each window.
template <class T> __global__ void mean_forward(T* y, const T* x, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.p, v.q);
        const int top = at.row * static_cast<int>(v.stride[0]) - static_cast<int>(v.padding[0]);
        const int left = at.column * static_cast<int>(v.stride[1]) - static_cast<int>(v.padding[1]);
        const int h = static_cast<int>(v.h), w = static_cast<int>(v.w);
        const Taps rows = taps(top, h, static_cast<int>(v.size[0]), 1), columns = taps(left, w, static_cast<int>(v.size[1]), 1);
        const T* const from = x + at.image * v.step[0] + at.channel * v.step[1];
        Wide<T> sum = 0;
        for (int r = rows.first; r < rows.end; ++r)
            for (int c = columns.first; c < columns.end; ++c)
                sum += widened(from[(top + r) * v.step[2] + (left + c) * v.step[3]]);
        const int count = counted(top, h, static_cast<int>(v.size[0]), static_cast<int>(v.padding[0]), v.padded != 0) *
                          counted(left, w, static_cast<int>(v.size[1]), static_cast<int>(v.padding[1]), v.padded != 0);
        y[i] = narrowed<T>(sum / static_cast<Wide<T>>(count));
    }
}

/// gx = for each element the shares of the windows that hold it.
template <class T> __global__ void mean_backward(T* gx, const T* g, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.h, v.w);
        const int stride[2] = {static_cast<int>(v.stride[0]), static_cast<int>(v.stride[1])};
        const int padding[2] = {static_cast<int>(v.padding[0]), static_cast<int>(v.padding[1])};
        const int size[2] = {static_cast<int>(v.size[0]), static_cast<int>(v.size[1])};
        const Taps rows = holding(at.row, static_cast<int>(v.p), size[0], stride[0], padding[0], 1);
        const Taps columns = holding(at.column, static_cast<int>(v.q), size[1], stride[1], padding[1], 1);
        const int64_t plane = (at.image * v.channels + at.channel) * v.p * v.q;
        Wide<T> sum = 0;
        for (int p = rows.first; p < rows.end; ++p) {
            const int high = counted(p * stride[0] - padding[0], static_cast<int>(v.h), size[0], padding[0], v.padded != 0);
            for (int q = columns.first; q < columns.end; ++q) {
                const int wide = counted(q * stride[1] - padding[1], static_cast<int>(v.w), size[1], padding[1], v.padded != 0);
                sum += widened(g[plane + p * v.q + q]) / static_cast<Wide<T>>(high * wide);
            }
        }
        gx[i] = narrowed<T>(sum);
    }
}

// ---- windows that divide an image among their number: window i of m over n elements is [i n / m, (i + 1) n / m rounded up)

/// Window number `i` of `m` over `n` elements; so also the windows that hold element number `i`, with m and n exchanged.
DEVICE Taps window(int i, int64_t n, int64_t m) {
    return {static_cast<int>(i * n / m), static_cast<int>(((i + 1) * n + m - 1) / m)};
}

/// y = the largest of each, as in `max_forward`.
template <class T> __global__ void adaptive_max(T* y, int64_t* place, const T* x, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.p, v.q);
        const Taps rows = window(at.row, v.h, v.p), columns = window(at.column, v.w, v.q);
        const T* const from = x + at.image * v.step[0] + at.channel * v.step[1];
        Wide<T> best = -INFINITY;
        int64_t best_place = rows.first * v.w + columns.first;
        for (int r = rows.first; r < rows.end; ++r)
            for (int c = columns.first; c < columns.end; ++c) {
                const Wide<T> value = widened(from[r * v.step[2] + c * v.step[3]]);
                if (!(value <= best) && best == best) {
                    best = value;
                    best_place = r * v.w + c;
                }
            }
        y[i] = narrowed<T>(best);
        place[i] = best_place;
    }
}
template <class T> __global__ void adaptive_max_backward(T* gx, const T* g, const int64_t* place, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.h, v.w);
        const Taps rows = window(at.row, v.p, v.h), columns = window(at.column, v.q, v.w);
        const int64_t plane = (at.image * v.channels + at.channel) * v.p * v.q;
        Wide<T> sum = 0;
        for (int p = rows.first; p < rows.end; ++p)
            for (int q = columns.first; q < columns.end; ++q)
                if (place[plane + p * v.q + q] == at.row * v.w + at.column) sum += widened(g[plane + p * v.q + q]);
        gx[i] = narrowed<T>(sum);
    }
}

/// y = the mean of each.
template <class T> __global__ void adaptive_mean(T* y, const T* x, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.p, v.q);
        const Taps rows = window(at.row, v.h, v.p), columns = window(at.column, v.w, v.q);
        const T* const from = x + at.image * v.step[0] + at.channel * v.step[1];
        Wide<T> sum = 0;
        for (int r = rows.first; r < rows.end; ++r)
            for (int c = columns.first; c < columns.end; ++c) sum += widened(from[r * v.step[2] + c * v.step[3]]);
        y[i] = narrowed<T>(sum / static_cast<Wide<T>>((rows.end - rows.first) * (columns.end - columns.first)));
    }
}
template <class T> __global__ void adaptive_mean_backward(T* gx, const T* g, Pool v, int64_t n) {
    EACH(i, n) {
        const Spot at = spot(static_cast<int>(i), v, v.h, v.w);
        const Taps rows = window(at.row, v.p, v.h), columns = window(at.column, v.q, v.w);
        const int64_t plane = (at.image * v.channels + at.channel) * v.p * v.q;
        Wide<T> sum = 0;
        for (int p = rows.first; p < rows.end; ++p) {
            const Taps high = window(p, v.h, v.p);
            for (int q = columns.first; q < columns.end; ++q) {
                const Taps wide = window(q, v.w, v.q);
                const int count = (high.end - high.first) * (wide.end - wide.first);
                sum += widened(g[plane + p * v.q + q]) / static_cast<Wide<T>>(count);
            }
        }
        gx[i] = narrowed<T>(sum);
    }
}

// ---- interpolation

/// An axis of n elements and m results. mode: 0 nearest, 1 areas, 2 points, the corners staying where they are.
struct Resized {
    int64_t n, m, mode;
    double ratio;
};

/// The two neighbours that a result comes from, and the share of the second.
struct Mix {
    int low, high;
    double share;
};
DEVICE Mix mix(const Resized& a, int i) {
    const int n = static_cast<int>(a.n);
    if (a.mode == 0) {
        const int low = static_cast<int>(floor(i * a.ratio));
        return {low < n ? low : n - 1, low < n ? low : n - 1, 0};
    }
    double at = __dmul_rn(i + 0.5, a.ratio) - 0.5;
    if (at < 0) at = 0;
    if (a.mode == 2) at = a.m > 1 ? static_cast<double>(i * (a.n - 1)) / static_cast<double>(a.m - 1) : 0.0;
    const int low = at < n ? static_cast<int>(at) : n - 1;
    return {low, low + 1 < n ? low + 1 : n - 1, at - low};
}

/// y (planes, m, m) = x (planes, n, n), both row-major, in another size: rows are mixed first.
template <class T> __global__ void interpolate(T* y, const T* x, Resized rows, Resized columns, int64_t n) {
    EACH(i, n) {
        const int64_t line = i / columns.m;
        const int64_t plane = line / rows.m;
        const Mix r = mix(rows, static_cast<int>(line - plane * rows.m));
        const Mix c = mix(columns, static_cast<int>(i - line * columns.m));
        const T *const a = x + (plane * rows.n + r.low) * columns.n, *const b = x + (plane * rows.n + r.high) * columns.n;
        const auto mixed = [](Wide<T> u, Wide<T> v, double share) {
            const Wide<T> much = static_cast<Wide<T>>(share);
            return u * (Wide<T>(1) - much) + v * much;
        };
        const auto across = [&](int k) {
            return a == b || r.share == 0 ? widened(a[k]) : mixed(widened(a[k]), widened(b[k]), r.share);
        };
        const Wide<T> first = across(c.low);
        y[i] = narrowed<T>(columns.mode == 0 ? first : mixed(first, across(c.high), c.share));
    }
}

/// The results [first, end) of an axis that may come from element number `k`.
DEVICE Taps reached(const Resized& a, int k) {
    const double apart = a.n > 1 ? static_cast<double>(a.m - 1) / static_cast<double>(a.n - 1) : a.m;
    const double per = a.mode == 2 ? apart : 1 / a.ratio;
    const double low = (k - 1.5) * per - 2, high = (k + 1.5) * per + 2;
    const int first = k == 0 || low < 0 ? 0 : static_cast<int>(low < a.m ? low : a.m);
    return {first, k == a.n - 1 || high >= a.m ? static_cast<int>(a.m) : static_cast<int>(high)};
}
DEVICE double share_of(const Mix& m, int k) { return (m.low == k ? 1 - m.share : 0.0) + (m.high == k ? m.share : 0.0); }

/// gx = for each element what it gave to the results.
template <class T> __global__ void interpolate_backward(T* gx, const T* g, Resized rows, Resized columns, int64_t n) {
    EACH(i, n) {
        const int64_t line = i / columns.n;
        const int64_t plane = line / rows.n;
        const int row = static_cast<int>(line - plane * rows.n), column = static_cast<int>(i - line * columns.n);
        const Taps p = reached(rows, row), q = reached(columns, column);
        double sum = 0;
        for (int r = p.first; r < p.end; ++r) {
            const double share = share_of(mix(rows, r), row);
            if (share == 0) continue;
            double part = 0;
            for (int c = q.first; c < q.end; ++c) {
                const double much = share_of(mix(columns, c), column);
                if (much != 0) part += widened(g[(plane * rows.m + r) * columns.m + c]) * much;
            }
            sum += part * share;
        }
        gx[i] = narrowed<T>(sum);
    }
}
