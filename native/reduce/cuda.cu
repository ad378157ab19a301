// Reductions over any axes, and running sums and products. Bound by reading x once: an H200 moves 4.3 TB/s, so the sum of
// 2^26 floats (268 MB) takes 62 us at best, 70 us predicted with its second stage (2 us) and its start.
//
// An element of the result is a fold of n elements. Where the fastest axis is reduced, a group of 1 to 256 threads takes a
// result (fold_rows); where it is kept, threads lie along the results (fold_columns). If there are too few results for the
// machine, each is cut into parts by shape alone, which a second stage of the same kernel folds in order. Sums and products
// of floats are kept in double: right to the last bit or nearly so however long, and half the rate of float on such a GPU.
#include "core/device.cuh"

// ---- what is folded: an accumulator of nothing, how it takes an element, another accumulator, and what is written at last

/// Sums: int64_t of integers and bool, T of floats.
template <class T> struct Total {
    using Accumulator = int64_t;
    using Out = int64_t;
};
template <class T> struct RealTotal {
    using Accumulator = double;
    using Out = T;
};
template <> struct Total<float> : RealTotal<float> {};
template <> struct Total<double> : RealTotal<double> {};
template <> struct Total<f16> : RealTotal<f16> {};
template <> struct Total<bf16> : RealTotal<bf16> {};

template <class Out> DEVICE Out total_of(double a, int64_t how, double divisor) {
    return narrowed<Out>(how == 2 ? sqrt(a) : a / divisor);
}
template <class Out> DEVICE Out total_of(int64_t a, int64_t, double) { return a; }

DEVICE double wrapped_add(double a, double b) { return a + b; }
DEVICE double wrapped_mul(double a, double b) { return a * b; }
DEVICE int64_t wrapped_add(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
DEVICE int64_t wrapped_mul(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); }

/// how: 0 elements, 1 their magnitudes, 2 the root of their squares.
template <class T> struct Sum {
    using In = T;
    using Out = typename Total<T>::Out;
    using Accumulator = typename Total<T>::Accumulator;
    static DEVICE Accumulator nothing(int64_t) { return 0; }
    static DEVICE void take(Accumulator& a, T x, int64_t, int64_t how) {
        Accumulator v = static_cast<Accumulator>(widened(x));
        if (how == 1 && v < 0) v = -v;
        if (how == 2) v *= v;
        a = wrapped_add(a, v);
    }
    static DEVICE void merge(Accumulator& a, Accumulator b, int64_t) { a = wrapped_add(a, b); }
    static DEVICE Accumulator across(Accumulator a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }
    static DEVICE void finish(Out* y, int64_t*, int64_t at, Accumulator a, int64_t how, double divisor) {
        y[at] = total_of<Out>(a, how, divisor);
    }
};

template <class T> struct Product {
    using In = T;
    using Out = typename Total<T>::Out;
    using Accumulator = typename Total<T>::Accumulator;
    static DEVICE Accumulator nothing(int64_t) { return 1; }
    static DEVICE void take(Accumulator& a, T x, int64_t, int64_t) { a = wrapped_mul(a, static_cast<Accumulator>(widened(x))); }
    static DEVICE void merge(Accumulator& a, Accumulator b, int64_t) { a = wrapped_mul(a, b); }
    static DEVICE Accumulator across(Accumulator a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }
    static DEVICE void finish(Out* y, int64_t*, int64_t at, Accumulator a, int64_t, double) { y[at] = total_of<Out>(a, 0, 1); }
};

template <class V> DEVICE V lowest() { return -INFINITY; }
template <> DEVICE int32_t lowest<int32_t>() { return static_cast<int32_t>(0x80000000u); }
template <> DEVICE int64_t lowest<int64_t>() { return static_cast<int64_t>(0x8000000000000000ull); }
template <class V> DEVICE V highest() { return INFINITY; }
template <> DEVICE int32_t highest<int32_t>() { return 0x7fffffff; }
template <> DEVICE int64_t highest<int64_t>() { return 0x7fffffffffffffffll; }

template <class V> struct Place {
    V value;
    int64_t index;
};

/// how: 0 the largest, 1 the smallest; of equals the first, NaN before all. Either of y and index may be null.
template <class T> struct Extreme {
    using In = T;
    using Out = T;
    using V = Wide<T>;
    using Accumulator = Place<V>;
    static DEVICE Accumulator nothing(int64_t how) { return {how ? highest<V>() : lowest<V>(), highest<int64_t>()}; }
    static DEVICE bool better(V a, V b, int64_t how) { return (how ? a < b : a > b) || (a != a && b == b); }
    static DEVICE void merge(Accumulator& a, Accumulator b, int64_t how) {
        if (better(b.value, a.value, how) || (b.index < a.index && !better(a.value, b.value, how))) a = b;
    }
    static DEVICE void take(Accumulator& a, T x, int64_t index, int64_t how) { merge(a, {widened(x), index}, how); }
    static DEVICE Accumulator across(Accumulator a, int d) {
        return {__shfl_xor_sync(0xffffffffu, a.value, d), __shfl_xor_sync(0xffffffffu, a.index, d)};
    }
    static DEVICE void finish(Out* y, int64_t* index, int64_t at, Accumulator a, int64_t, double) {
        if (y) y[at] = narrowed<T>(a.value);
        if (index) index[at] = a.index;
    }
};

/// Whether any (how & 1) or all are not 0, of elements with the bits of W; how & 2: floats, whose sign does not count.
template <class W> struct Truth {
    using In = W;
    using Out = bool;
    using Accumulator = int;
    static DEVICE int nothing(int64_t how) { return !(how & 1); }
    static DEVICE void take(int& a, W x, int64_t, int64_t how) {
        const W sign = static_cast<W>(W(1) << (8 * sizeof(W) - 1)), bits = how & 2 ? static_cast<W>(x & ~sign) : x;
        merge(a, bits != 0, how);
    }
    static DEVICE void merge(int& a, int b, int64_t how) { a = how & 1 ? a | b : a & b; }
    static DEVICE int across(int a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }
    static DEVICE void finish(bool* y, int64_t*, int64_t at, int a, int64_t, double) { y[at] = a != 0; }
};

// ---- how elements are walked

/// Calls take(load(offset), u) for u = from, from + step ... below `to`. Offsets: `length` units lie `stride` elements
/// apart, and again at each place of `slow`.
template <class Load, class Take>
DEVICE void walk(const Layout<1>& slow, int64_t length, int64_t stride, int64_t from, int64_t to, int64_t step, Load load,
                 Take take) {
    int64_t u = from;
    if (slow.axes == 0) {
        for (; u + step < to; u += 2 * step) {  // two loads under way
            const auto a = load(u * stride), b = load((u + step) * stride);
            take(a, u);
            take(b, u + step);
        }
        for (; u < to; u += step) take(load(u * stride), u);
        return;
    }
    int64_t row = u / length, rest = u - row * length, base[1];
    slow.place(row, base);
    for (; u < to; u += step) {
        take(load(base[0] + rest * stride), u);
        rest += step;
        if (rest >= length) {
            row += rest / length;
            rest %= length;
            slow.place(row, base);
        }
    }
}

// Of both kernels: stage 0 folds x into y; 1 folds parts of x into `parts`; 2 folds `parts` into y. `kept` says where result
// number j begins in x and lies in y. There are m results of n units, `split` parts of each.

/// blockDim.x threads, a power of two, take a result or a part of it. Parts lie (m, split). A unit is a Pack if `packed`.
template <class Op>
__global__ void fold_rows(typename Op::Out* y, int64_t* index, typename Op::Accumulator* parts, const typename Op::In* x,
                          Layout<2> kept, Layout<1> slow, int64_t m, int64_t n, int64_t length, int64_t stride,
                          int64_t split, int64_t stage, int64_t packed, int64_t how, double divisor) {
    using T = typename Op::In;
    const int width = blockDim.x, lane = threadIdx.x;
    const int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const int64_t mine = stage == 1 ? group / split : group, piece = stage == 1 ? group - mine * split : 0;
    auto a = Op::nothing(how);
    int64_t at[2] = {0, 0};
    if (mine < m) {
        kept.place(mine, at);
        const T* from = x + at[0];
        const int64_t chunk = stage == 1 ? (n + split - 1) / split : n;
        const int64_t begin = piece * chunk, end = begin + chunk < n ? begin + chunk : n;
        if (stage == 2) {
            for (int64_t p = lane; p < split; p += width) Op::merge(a, parts[mine * split + p], how);
        } else if (packed) {
            walk(slow, length, stride, begin + lane, end, width,
                 [&](int64_t o) { return *reinterpret_cast<const Pack<T>*>(from + o); },
                 [&](const Pack<T>& v, int64_t u) {
                     for (int i = 0; i < Pack<T>::count; ++i) Op::take(a, v.at[i], u * Pack<T>::count + i, how);
                 });
        } else {
            walk(slow, length, stride, begin + lane, end, width, [&](int64_t o) { return from[o]; },
                 [&](T v, int64_t u) { Op::take(a, v, u, how); });
        }
    }
    for (int d = (width < 32 ? width : 32) / 2; d; d >>= 1) Op::merge(a, Op::across(a, d), how);
    if (width > 32) {
        __shared__ typename Op::Accumulator warps[8];
        const int warp = (threadIdx.y * width + lane) / 32;
        if (lane % 32 == 0) warps[warp] = a;
        __syncthreads();
        if (lane == 0)
            for (int w = 1; w < width / 32; ++w) Op::merge(a, warps[warp + w], how);
    }
    if (lane || mine >= m) return;
    if (stage == 1) parts[group] = a;
    else Op::finish(y, index, at[1], a, how, divisor);
}

/// Threads lie along the results, blockDim.y rows of them; part number blockIdx.y. Parts lie (split, m).
template <class Op>
__global__ void fold_columns(typename Op::Out* y, int64_t* index, typename Op::Accumulator* parts, const typename Op::In* x,
                             Layout<2> kept, Layout<1> slow, int64_t m, int64_t n, int64_t length, int64_t stride,
                             int64_t split, int64_t stage, int64_t, int64_t how, double divisor) {
    using T = typename Op::In;
    const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    auto a = Op::nothing(how);
    int64_t at[2] = {0, 0};
    if (j < m) {
        kept.place(j, at);
        const T* from = x + at[0];
        const int64_t chunk = stage == 1 ? (n + split - 1) / split : n;
        const int64_t begin = stage == 1 ? blockIdx.y * chunk : 0, end = begin + chunk < n ? begin + chunk : n;
        if (stage == 2) {
            for (int64_t p = threadIdx.y; p < split; p += blockDim.y) Op::merge(a, parts[p * m + j], how);
        } else {
            walk(slow, length, stride, begin + threadIdx.y, end, blockDim.y, [&](int64_t o) { return from[o]; },
                 [&](T v, int64_t u) { Op::take(a, v, u, how); });
        }
    }
    __shared__ typename Op::Accumulator all[256];
    const int me = threadIdx.y * blockDim.x + threadIdx.x;
    for (int half = blockDim.y / 2; half; half /= 2) {
        all[me] = a;
        __syncthreads();
        if (static_cast<int>(threadIdx.y) < half) Op::merge(a, all[me + half * blockDim.x], how);
        __syncthreads();
    }
    if (threadIdx.y || j >= m) return;
    if (stage == 1) parts[blockIdx.y * m + j] = a;
    else Op::finish(y, index, at[1], a, how, divisor);
}

// ---- running sums and products along one axis, kept in double (or int64_t) as on the CPU

template <class A> DEVICE A joined(A a, A b, int64_t product) { return product ? wrapped_mul(a, b) : wrapped_add(a, b); }

/// The fold of a value with those of the threads before it in the block; `all` becomes that of all threads.
template <class A> DEVICE A block_scan(A x, A& all, int64_t product) {
    __shared__ A part[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int d = 1; d < 32; d <<= 1) {
        const A before = __shfl_up_sync(0xffffffffu, x, d);
        if (lane >= d) x = joined(before, x, product);
    }
    __syncthreads();  // part may still be read from the call before
    if (lane == 31) part[warp] = x;
    __syncthreads();
    A lead = product ? 1 : 0;
    for (int w = 0; w < warp; ++w) lead = joined(lead, part[w], product);
    all = lead;
    for (int w = warp; w < warps; ++w) all = joined(all, part[w], product);
    return joined(lead, x, product);
}

/// A block takes a piece of a line: `split` pieces of `chunk` elements. Without y it writes the totals (lines, split) of the
/// pieces; with it, each begins with the totals before it. Bound by memory: x is read once more where a line is split.
template <class T>
__global__ void scan_rows(typename Total<T>::Out* y, typename Total<T>::Accumulator* totals, const T* x, Layout<2> lines,
                          int64_t n, int64_t x_step, int64_t y_step, int64_t split, int64_t chunk, int64_t product) {
    using A = typename Total<T>::Accumulator;
    const int64_t line = blockIdx.x / split, piece = blockIdx.x - line * split;
    int64_t at[2];
    lines.place(line, at);
    const int64_t begin = piece * chunk, end = begin + chunk < n ? begin + chunk : n;
    A lead = product ? 1 : 0, all;
    if (y && split > 1) {
        for (int64_t p = threadIdx.x; p < piece; p += blockDim.x) lead = joined(lead, totals[line * split + p], product);
        block_scan(lead, all, product);
        lead = all;
    }
    for (int64_t start = begin; start < end; start += blockDim.x) {
        const int64_t i = start + threadIdx.x;
        const A value = i < end ? static_cast<A>(widened(x[at[0] + i * x_step])) : A(product ? 1 : 0);
        const A sum = joined(lead, block_scan(value, all, product), product);
        if (y && i < end) y[at[1] + i * y_step] = total_of<typename Total<T>::Out>(sum, 0, 1);
        lead = joined(lead, all, product);
    }
    if (!y && threadIdx.x == 0) totals[blockIdx.x] = lead;
}

/// A thread takes a line: for many lines side by side.
template <class T>
__global__ void scan_columns(typename Total<T>::Out* y, const T* x, Layout<2> lines, int64_t count, int64_t n, int64_t x_step,
                             int64_t y_step, int64_t product) {
    using A = typename Total<T>::Accumulator;
    EACH(line, count) {
        int64_t at[2];
        lines.place(line, at);
        A sum = product ? 1 : 0;
        for (int64_t i = 0; i < n; ++i) {
            sum = joined(sum, static_cast<A>(widened(x[at[0] + i * x_step])), product);
            y[at[1] + i * y_step] = total_of<typename Total<T>::Out>(sum, 0, 1);
        }
    }
}
