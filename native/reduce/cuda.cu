// Reductions over any axes, and running sums and products. Bound by reading x once: an H200 moves 4.3 TB/s, so the sum of
// 2^26 floats (268 MB) takes 62 us at best, 70 us predicted with its second stage (2 us) and its start.
//
// How axes are walked, and threads shared out, is core/fold.cuh; here is what is folded. Sums and products of floats are kept
// in double: right to the last bit or nearly so however long, and half the rate of float on such a GPU.
#include "core/fold.cuh"

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

/// how: 0 elements, 1 their magnitudes, 2 the root of their squares.
template <class T> struct Sum : Alone {
    using In = T;
    using Out = typename Total<T>::Out;
    using Accumulator = typename Total<T>::Accumulator;
    static DEVICE Accumulator nothing(int64_t) { return 0; }
    static DEVICE void take(Accumulator& a, T x, T, int, int64_t, int64_t how, double) {
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

template <class T> struct Product : Alone {
    using In = T;
    using Out = typename Total<T>::Out;
    using Accumulator = typename Total<T>::Accumulator;
    static DEVICE Accumulator nothing(int64_t) { return 1; }
    static DEVICE void take(Accumulator& a, T x, T, int, int64_t, int64_t, double) {
        a = wrapped_mul(a, static_cast<Accumulator>(widened(x)));
    }
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
template <class T> struct Extreme : Alone {
    using In = T;
    using Out = T;
    using V = Wide<T>;
    using Accumulator = Place<V>;
    static DEVICE Accumulator nothing(int64_t how) { return {how ? highest<V>() : lowest<V>(), highest<int64_t>()}; }
    static DEVICE bool better(V a, V b, int64_t how) { return (how ? a < b : a > b) || (a != a && b == b); }
    static DEVICE void merge(Accumulator& a, Accumulator b, int64_t how) {
        if (better(b.value, a.value, how) || (b.index < a.index && !better(a.value, b.value, how))) a = b;
    }
    static DEVICE void take(Accumulator& a, T x, T, int, int64_t index, int64_t how, double) {
        merge(a, {widened(x), index}, how);
    }
    static DEVICE Accumulator across(Accumulator a, int d) {
        return {__shfl_xor_sync(0xffffffffu, a.value, d), __shfl_xor_sync(0xffffffffu, a.index, d)};
    }
    static DEVICE void finish(Out* y, int64_t* index, int64_t at, Accumulator a, int64_t, double) {
        if (y) y[at] = narrowed<T>(a.value);
        if (index) index[at] = a.index;
    }
};

/// Whether any (how & 1) or all are not 0, of elements with the bits of W; how & 2: floats, whose sign does not count.
template <class W> struct Truth : Alone {
    using In = W;
    using Out = bool;
    using Accumulator = int;
    static DEVICE int nothing(int64_t how) { return !(how & 1); }
    static DEVICE void take(int& a, W x, W, int, int64_t, int64_t how, double) {
        const W sign = static_cast<W>(W(1) << (8 * sizeof(W) - 1)), bits = how & 2 ? static_cast<W>(x & ~sign) : x;
        merge(a, bits != 0, how);
    }
    static DEVICE void merge(int& a, int b, int64_t how) { a = how & 1 ? a | b : a & b; }
    static DEVICE int across(int a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }
    static DEVICE void finish(bool* y, int64_t*, int64_t at, int a, int64_t, double) { y[at] = a != 0; }
};

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
                          int64_t n, int64_t y_step, int64_t x_step, int64_t split, int64_t chunk, int64_t product) {
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
        const A value = i < end ? static_cast<A>(widened(x[at[1] + i * x_step])) : A(product ? 1 : 0);
        const A sum = joined(lead, block_scan(value, all, product), product);
        if (y && i < end) y[at[0] + i * y_step] = total_of<typename Total<T>::Out>(sum, 0, 1);
        lead = joined(lead, all, product);
    }
    if (!y && threadIdx.x == 0) totals[blockIdx.x] = lead;
}

/// A thread takes a line: for many lines side by side.
template <class T>
__global__ void scan_columns(typename Total<T>::Out* y, const T* x, Layout<2> lines, int64_t count, int64_t n, int64_t y_step,
                             int64_t x_step, int64_t product) {
    using A = typename Total<T>::Accumulator;
    EACH(line, count) {
        int64_t at[2];
        lines.place(line, at);
        A sum = product ? 1 : 0;
        for (int64_t i = 0; i < n; ++i) {
            sum = joined(sum, static_cast<A>(widened(x[at[1] + i * x_step])), product);
            y[at[0] + i * y_step] = total_of<typename Total<T>::Out>(sum, 0, 1);
        }
    }
}
