// Folds over any axes: of each result's n elements (or pairs of two arrays') something is summed, or the largest kept.
//
// Where the fastest axis is folded, a group of 1 to 256 threads takes a result (fold_rows); where it is kept, threads lie
// along the results (fold_columns). If there are too few results for the machine, each is cut into parts, by shape alone,
// which a second stage of the same kernel folds in order: the same bits on every run. The host's side is `fold` in
// rooms/reduce.py.
//
// An Op has types In, Out and Accumulator, and says: nothing(how), an accumulator; take(a, x, t, centre, u, how, number),
// what becomes of element number u; merge(a, b, how); across(a, d), that of the lane d further; centre(x, centres, j), what
// all elements of result j are measured from; finish(y, index, j, a, how, number), what is written.
#pragma once

#include "core/rows.cuh"

DEVICE double wrapped_add(double a, double b) { return a + b; }
DEVICE double wrapped_mul(double a, double b) { return a * b; }
DEVICE int64_t wrapped_add(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
DEVICE int64_t wrapped_mul(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

/// For an Op of one array, whose elements are not measured from anything.
struct Alone {
    static constexpr bool pairs = false;
    template <class T> static DEVICE int centre(const T*, const double*, int64_t) { return 0; }
};

/// An Op that sums one or two doubles of each element.
template <class T> struct Sums {
    struct Accumulator {
        double a, b;
    };
    using In = T;
    using Out = double;
    static DEVICE Accumulator nothing(int64_t) { return {0, 0}; }
    static DEVICE void merge(Accumulator& a, Accumulator b, int64_t) {
        a.a += b.a;
        a.b += b.b;
    }
    static DEVICE Accumulator across(Accumulator a, int d) {
        return {__shfl_xor_sync(0xffffffffu, a.a, d), __shfl_xor_sync(0xffffffffu, a.b, d)};
    }
};

template <class T> struct Two {
    T x, t;
};

/// Calls take(load(offset, offset of t), u) for u = from, from + step ... below `to`, two loads under way. `length` units lie
/// `stride` elements apart (`t_stride` in t), and again at each place of `slow`.
template <class Load, class Take>
DEVICE void walk(const Layout<2>& slow, int64_t length, int64_t stride, int64_t t_stride, int64_t from, int64_t to,
                 int64_t step, Load load, Take take) {
    int64_t u = from;
    if (slow.axes == 0) {
        for (; u + step < to; u += 2 * step) {
            const auto a = load(u * stride, u * t_stride), b = load((u + step) * stride, (u + step) * t_stride);
            take(a, u);
            take(b, u + step);
        }
        if (u < to) take(load(u * stride, u * t_stride), u);
        return;
    }
    int64_t row = u / length, rest = u - row * length, base[2];
    slow.place(row, base);
    const auto next = [&] {
        const auto found = load(base[0] + rest * stride, base[1] + rest * t_stride);
        rest += step;
        if (rest >= length) {
            row += rest / length;
            rest %= length;
            slow.place(row, base);
        }
        return found;
    };
    for (; u + step < to; u += 2 * step) {
        const auto a = next(), b = next();
        take(a, u);
        take(b, u + step);
    }
    if (u < to) take(next(), u);
}

/// One result's part of x and t: units from + lane, + step ... of a walk, Packs if `packed`.
template <class Op, class T>
DEVICE void fold_part(typename Op::Accumulator& a, const T* x, const T* t, const double* centres, int64_t j,
                      const Layout<2>& slow, int64_t length, int64_t stride, int64_t t_stride, int64_t from, int64_t to,
                      int64_t step, bool packed, int64_t how, double number) {
    const auto centre = Op::centre(x, centres, j);
    if (packed) {
        constexpr int count = Pack<T>::count;
        walk(slow, length, stride, t_stride, from, to, step,
             [&](int64_t o, int64_t p) {
                 Two<Pack<T>> v;
                 v.x = *reinterpret_cast<const Pack<T>*>(x + o);
                 if (Op::pairs) v.t = *reinterpret_cast<const Pack<T>*>(t + p);
                 return v;
             },
             [&](const Two<Pack<T>>& v, int64_t u) {
                 for (int i = 0; i < count; ++i) Op::take(a, v.x.at[i], v.t.at[i], centre, u * count + i, how, number);
             });
    } else {
        walk(slow, length, stride, t_stride, from, to, step,
             [&](int64_t o, int64_t p) { return Two<T>{x[o], Op::pairs ? t[p] : x[o]}; },
             [&](const Two<T>& v, int64_t u) { Op::take(a, v.x, v.t, centre, u, how, number); });
    }
}

// Of both kernels: stage 0 folds x into y; 1 folds parts of x into `parts`; 2 folds `parts` into y. `kept` says where result
// number j begins in x, lies in y, and begins in t. There are m results of n units, `split` parts of each.

/// blockDim.x threads, a power of two, take a result or a part of it. Parts lie (m, split).
template <class Op>
__global__ void fold_rows(typename Op::Out* y, int64_t* index, typename Op::Accumulator* parts, const typename Op::In* x,
                          const typename Op::In* t, const double* centres, Layout<3> kept, Layout<2> slow, int64_t m,
                          int64_t n, int64_t length, int64_t stride, int64_t t_stride, int64_t split, int64_t stage,
                          int64_t packed, int64_t how, double number) {
    const int width = blockDim.x, lane = threadIdx.x;
    const int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const int64_t mine = stage == 1 ? group / split : group, piece = stage == 1 ? group - mine * split : 0;
    auto a = Op::nothing(how);
    int64_t at[3] = {0, 0, 0};
    if (mine < m) {
        kept.place(mine, at);
        if (stage == 2) {
            for (int64_t p = lane; p < split; p += width) Op::merge(a, parts[mine * split + p], how);
        } else {
            const int64_t chunk = stage == 1 ? (n + split - 1) / split : n;
            const int64_t begin = piece * chunk, end = begin + chunk < n ? begin + chunk : n;
            fold_part<Op>(a, x + at[0], t + at[2], centres, at[1], slow, length, stride, t_stride, begin + lane, end, width,
                          packed, how, number);
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
    else Op::finish(y, index, at[1], a, how, number);
}

/// Threads lie along the results, `wide` neighbours each, in blockDim.y rows, a power of two; part number blockIdx.y. Parts
/// lie (split, m).
template <class Op, int wide = 1>
__global__ void fold_columns(typename Op::Out* y, int64_t* index, typename Op::Accumulator* parts, const typename Op::In* x,
                             const typename Op::In* t, const double* centres, Layout<3> kept, Layout<2> slow, int64_t m,
                             int64_t n, int64_t length, int64_t stride, int64_t t_stride, int64_t split, int64_t stage,
                             int64_t, int64_t how, double number) {
    using T = typename Op::In;
    using Few = Unit<T, wide>;
    const int64_t j = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * wide;
    typename Op::Accumulator a[wide];
    int64_t first[3] = {0, 0, 0}, at[wide] = {};  // where the first result begins, and where each lies in y
    for (int k = 0; k < wide; ++k) a[k] = Op::nothing(how);
    if (j < m) {
        for (int k = wide - 1; k >= 0; --k) {
            kept.place(j + k, first);
            at[k] = first[1];
        }
        if (stage == 2) {
            for (int64_t p = threadIdx.y; p < split; p += blockDim.y)
                for (int k = 0; k < wide; ++k) Op::merge(a[k], parts[p * m + j + k], how);
        } else {
            const int64_t chunk = stage == 1 ? (n + split - 1) / split : n;
            const int64_t begin = stage == 1 ? blockIdx.y * chunk : 0, end = begin + chunk < n ? begin + chunk : n;
            const T *from = x + first[0], *other = t + first[2];
            decltype(Op::centre(x, centres, 0)) centre[wide];
            for (int k = 0; k < wide; ++k) centre[k] = Op::centre(from + k, centres, at[k]);
            walk(slow, length, stride, t_stride, begin + threadIdx.y, end, blockDim.y,
                 [&](int64_t o, int64_t p) {
                     return Two<Few>{Few::of(from + o), Op::pairs ? Few::of(other + p) : Few()};
                 },
                 [&](const Two<Few>& v, int64_t u) {
                     for (int k = 0; k < wide; ++k) Op::take(a[k], v.x.at[k], v.t.at[k], centre[k], u, how, number);
                 });
        }
    }
    __shared__ typename Op::Accumulator all[256];
    const int me = threadIdx.y * blockDim.x + threadIdx.x;
    for (int k = 0; k < wide; ++k) {
        for (int half = blockDim.y / 2; half; half /= 2) {
            all[me] = a[k];
            __syncthreads();
            if (static_cast<int>(threadIdx.y) < half) Op::merge(a[k], all[me + half * blockDim.x], how);
            __syncthreads();
        }
        if (threadIdx.y || j >= m) continue;
        if (stage == 1) parts[blockIdx.y * m + j + k] = a[k];
        else Op::finish(y, index, at[k], a[k], how, number);
    }
}
