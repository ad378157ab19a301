// Elementwise kernels: y[i] = f(a[i], b[i]) over broadcast operands, any of which may be one number. Bound by the memory's
// bandwidth: an H200 moves 4.3 TB/s, so add of 2^26 floats (805 MB) takes 187 us at best.
#include "core/device.cuh"

#define UNARY(name, expression) struct name##_f { template <class V> DEVICE V operator()(V a) const { return expression; } };
#define BINARY(name, expression) struct name##_f { template <class V> DEVICE V operator()(V a, V b) const { return expression; } };

UNARY(neg, -a)
UNARY(exp, exp(a))
BINARY(add, a + b)
BINARY(mul, a * b)

/// An operand: an array, or where that is null, a number.
template <class T> struct Operand {
    const T* array;
    Wide<T> number;
    DEVICE Wide<T> operator[](int64_t i) const { return array ? widened(array[i]) : number; }
};

template <class F, class T> __global__ void unary(T* y, const T* a, Layout<2> where, int64_t n) {
    EACH(i, n) {
        int64_t at[2];
        where.place(i, at);
        y[at[0]] = narrowed<T>(F()(widened(a[at[1]])));
    }
}

/// V is double or int64_t: as what the host hands over a number.
template <class F, class T, class V>
__global__ void binary(T* y, const T* a, const T* b, V p, V q, Layout<3> where, int64_t n) {
    const Operand<T> left{a, static_cast<Wide<T>>(p)}, right{b, static_cast<Wide<T>>(q)};
    EACH(i, n) {
        int64_t at[3];
        where.place(i, at);
        y[at[0]] = narrowed<T>(F()(left[at[1]], right[at[2]]));
    }
}
