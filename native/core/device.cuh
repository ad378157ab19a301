// What a kernel file (native/<room>/cuda.cu) includes, and all it includes: the same source is compiled by NVRTC for a
// GPU and by g++ for the emulator (core/emulator.h), which executes it on the CPU.
//
// Arguments of kernels are pointers, int64_t, double, and Layouts: the host packs nothing else.
#pragma once

#ifdef __CUDACC_RTC__
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define DEVICE __device__ __forceinline__
#define DYNAMIC_SHARED(T, name)                                  \
    extern __shared__ __align__(16) unsigned char name##_raw[];  \
    T* name = reinterpret_cast<T*>(name##_raw)
#else
#include "core/emulator.h"
#define DEVICE inline
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulator::dynamic_shared())
#endif

// ---- 16-bit floats: computed in float, rounded once

struct f16 { uint16_t bits; };
struct bf16 { uint16_t bits; };

DEVICE float widened(f16 x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#else
    return emulator::from_half(x.bits);
#endif
}
DEVICE float widened(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
template <class T> DEVICE T widened(T x) { return x; }

/// The type in which elements of T are computed.
template <class T> struct WideOf { using type = T; };
template <> struct WideOf<f16> { using type = float; };
template <> struct WideOf<bf16> { using type = float; };
template <class T> using Wide = typename WideOf<T>::type;

/// The type in which sums of T are kept.
template <class T> struct SumOf { using type = Wide<T>; };
template <> struct SumOf<bool> { using type = int64_t; };

template <class T> struct Narrow {
    template <class V> static DEVICE T from(V x) { return static_cast<T>(x); }
};
template <> struct Narrow<f16> {
    template <class V> static DEVICE f16 from(V wide) {
        const float x = static_cast<float>(wide);
#ifdef __CUDA_ARCH__
        f16 y;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
        return y;
#else
        return {emulator::to_half(x)};
#endif
    }
};
template <> struct Narrow<bf16> {
    template <class V> static DEVICE bf16 from(V wide) {
        const uint32_t u = __float_as_uint(static_cast<float>(wide));
        if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};  // NaN stays NaN
        return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
    }
};
/// A value as an element of T, rounded to nearest even.
template <class T, class V> DEVICE T narrowed(V x) { return Narrow<T>::from(x); }

// ---- where elements are

constexpr int max_axes = 12;

/// Axes of N arrays that are walked together, the last fastest; strides in elements, 0 where an array does not vary.
template <int N> struct Layout {
    int64_t axes;
    int64_t small;  // whether elements and offsets can be counted with 32 bits
    int64_t pack;   // so many neighbours (1, 2, 4, 8 or 16) lie one after another, or are one element, in each array
    int64_t size[max_axes];
    int64_t divisor[max_axes];  // what dividing by the sizes is done with, where small: a multiplier, and a shift above it
    int64_t stride[N][max_axes];

    /// Where element number `i`, in row-major order, lies in each array.
    DEVICE void place(int64_t i, int64_t (&at)[N]) const {
        if (small) {
            uint32_t rest = static_cast<uint32_t>(i);
            int32_t sum[N];
            for (int k = 0; k < N; ++k) sum[k] = 0;
#pragma unroll 1  // unrolled it takes twice the registers
            for (int d = static_cast<int>(axes) - 1; d > 0; --d) {
                const uint32_t next = (__umulhi(rest, static_cast<uint32_t>(divisor[d])) + rest) >> (divisor[d] >> 32);
                const int32_t digit = static_cast<int32_t>(rest - next * static_cast<uint32_t>(size[d]));
                for (int k = 0; k < N; ++k) sum[k] += digit * static_cast<int32_t>(stride[k][d]);
                rest = next;
            }
            for (int k = 0; k < N; ++k)
                at[k] = sum[k] + static_cast<int32_t>(rest) * static_cast<int32_t>(stride[k][0]);
        } else {
            for (int k = 0; k < N; ++k) at[k] = 0;
#pragma unroll 1
            for (int d = static_cast<int>(axes) - 1; d > 0; --d) {
                const int64_t next = i / size[d], digit = i - next * size[d];
                for (int k = 0; k < N; ++k) at[k] += digit * stride[k][d];
                i = next;
            }
            for (int k = 0; k < N; ++k) at[k] += i * stride[k][0];
        }
    }
};

/// 16 bytes of elements, which one instruction loads or stores where they are aligned.
template <class T> struct alignas(16) Pack {
    static constexpr int count = 16 / sizeof(T);
    T at[count];
};

// ---- who I am

DEVICE int64_t thread_number() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
DEVICE int64_t thread_count() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

/// Each i below n, shared out to all threads of a grid of one axis.
#define EACH(i, n) for (int64_t i = thread_number(); i < (n); i += thread_count())

// ---- what a kernel reports: {which check, the value, its limit, an axis}; the host looks at it when it next waits

DEVICE void report(int64_t* fault, int64_t check, int64_t value, int64_t limit, int64_t axis) {
    if (atomicCAS(reinterpret_cast<unsigned long long*>(fault), 0ull, static_cast<unsigned long long>(check)) == 0) {
        fault[1] = value;
        fault[2] = limit;
        fault[3] = axis;
    }
}

// ---- sums over a warp and over a block of whole warps

template <class T, class Combine> DEVICE T warp_reduced(T x, Combine combine) {
    for (int d = 16; d; d >>= 1) x = combine(x, __shfl_xor_sync(0xffffffffu, x, d));
    return x;
}

/// The same for all threads of a block; every thread of the block has to call it.
template <class T, class Combine> DEVICE T block_reduced(T x, T nothing, Combine combine) {
    __shared__ T part[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
    x = warp_reduced(x, combine);
    __syncthreads();  // part may still be read from the call before
    if (lane == 0) part[warp] = x;
    __syncthreads();
    x = lane < warps ? part[lane] : nothing;
    return warp_reduced(x, combine);
}

struct Add {
    template <class T> DEVICE T operator()(T a, T b) const { return a + b; }
};
struct Larger {
    template <class T> DEVICE T operator()(T a, T b) const { return a > b ? a : b; }
};
template <class T> DEVICE T block_sum(T x) { return block_reduced(x, T(0), Add{}); }
