// Groups of threads that take a row each: blockDim.x threads, a power of two up to 256, blockDim.y groups in a block. One
// thread to a row is for rows that lie side by side, along an axis that is not the fastest. The host's side is `lines` and
// `groups` in rooms/reduce.py.
#pragma once

#include "core/device.cuh"

/// The row of this thread's group.
DEVICE int64_t group_row() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }

/// What all threads of a group have, merged in order, for each of them; every thread of the block has to call it.
template <class A, class Across, class Merge> DEVICE A group_reduced(A a, Across across, Merge merge) {
    const int width = blockDim.x;
    for (int d = (width < 32 ? width : 32) / 2; d; d >>= 1) merge(a, across(a, d));
    if (width <= 32) return a;
    __shared__ A warps[8];
    const int first = threadIdx.y * width / 32;
    __syncthreads();  // they may still be read from the call before
    if (threadIdx.x % 32 == 0) warps[first + threadIdx.x / 32] = a;
    __syncthreads();
    a = warps[first];
    for (int w = 1; w < width / 32; ++w) merge(a, warps[first + w]);
    return a;
}

template <class V> DEVICE V group_sum(V x) {
    return group_reduced(x, [](V a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }, [](V& a, V b) { a += b; });
}

template <class V> struct Both {
    V a, b;
};
template <class V> DEVICE Both<V> group_sums(V x, V y) {
    return group_reduced(Both<V>{x, y},
                         [](Both<V> s, int d) {
                             return Both<V>{__shfl_xor_sync(0xffffffffu, s.a, d), __shfl_xor_sync(0xffffffffu, s.b, d)};
                         },
                         [](Both<V>& s, Both<V> o) {
                             s.a += o.a;
                             s.b += o.b;
                         });
}

/// The sum over all threads of a block, for each of them; every thread has to call it.
template <class V> DEVICE V block_total(V x) {
    __shared__ V warps[32];
    const int me = threadIdx.y * blockDim.x + threadIdx.x, count = (blockDim.x * blockDim.y + 31) / 32;
    x = warp_reduced(x, Add{});
    __syncthreads();  // they may still be read from the call before
    if (me % 32 == 0) warps[me / 32] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < count; ++w) x += warps[w];
    return x;
}

/// `count` neighbours of a row, or one element.
template <class T, int count> struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Unit {
    T at[count];
    static DEVICE Unit of(const T* from) { return *reinterpret_cast<const Unit*>(from); }
    DEVICE void to(T* where) const { *reinterpret_cast<Unit*>(where) = *this; }
};

/// Calls f(Of<count>{}, u) for the units u of this thread in a row of n elements: Packs of T if `packed`.
template <int n> struct Of {
    static constexpr int count = n;
};
template <class T, class F> DEVICE void each_unit(int64_t n, bool packed, F f) {
    constexpr int count = 16 / sizeof(T);
    if (packed) {
        for (int64_t u = threadIdx.x; u < n / count; u += blockDim.x) f(Of<count>{}, u * count);
    } else {
        for (int64_t u = threadIdx.x; u < n; u += blockDim.x) f(Of<1>{}, u);
    }
}
