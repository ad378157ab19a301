// Losses of elements, their sums and their gradients: the formulas of ops/loss.py in one pass. Bound by memory: the mean of
// 2^24 pairs of floats (134 MB) takes 31 us at best on an H200, 36 us predicted with its second stage; the gradient, which
// writes another 67 MB, 47 us. Which loss it is, is a switch that all threads of a kernel take the same way.
#include "core/fold.cuh"
#include "core/map.cuh"
#include "core/scalar.cuh"

enum Kind { mse, mae, huber, smooth_l1, bce, bce_with_logits };

/// The loss of x and its target t; p is huber's delta, smooth_l1's beta.
template <class V> DEVICE V loss_of(int64_t kind, V x, V t, V p) {
    using namespace scalar;
    const V d = abs(x - t), near = minimum(d, p);
    switch (kind) {
        case mse: return (x - t) * (x - t);
        case mae: return d;
        case huber: return near * (d - V(0.5) * near);
        case smooth_l1: return near * (d - V(0.5) * near) / p;
        case bce: return -(t * maximum(log(x), V(-100)) + (1 - t) * maximum(log1p(-x), V(-100)));
        default: return maximum(x, V(0)) - x * t + log1p(exp(-abs(x)));
    }
}

/// Its slope along x, or along the target.
template <class V> DEVICE V slope_of(int64_t kind, V x, V t, V p, bool target) {
    using namespace scalar;
    const V d = x - t, sign = target ? V(-1) : V(1);
    switch (kind) {
        case mse: return sign * (d + d);
        case mae: return d != d ? d : sign * static_cast<V>((d > 0) - (d < 0));
        case huber: return sign * copysign(minimum(abs(d), p), d);
        case smooth_l1: return sign * copysign(minimum(abs(d), p), d) / p;
        case bce:
            if (target) return maximum(log1p(-x), V(-100)) - maximum(log(x), V(-100));
            return d / maximum((1 - x) * x, V(1e-12));
        default: return target ? -x : sigmoid(x) - t;
    }
}

/// The sum of losses in double; `how` is what it is divided by, times 8, and the kind; `number` is p.
template <class T> struct LossSum : Sums<T> {
    using Out = T;
    using Accumulator = double;
    static constexpr bool pairs = true;
    static DEVICE double nothing(int64_t) { return 0; }
    static DEVICE int centre(const T*, const double*, int64_t) { return 0; }
    static DEVICE void take(double& a, T x, T t, int, int64_t, int64_t how, double p) {
        a += static_cast<double>(loss_of<Wide<T>>(how & 7, widened(x), widened(t), static_cast<Wide<T>>(p)));
    }
    static DEVICE void merge(double& a, double b, int64_t) { a += b; }
    static DEVICE double across(double a, int d) { return __shfl_xor_sync(0xffffffffu, a, d); }
    static DEVICE void finish(T* y, int64_t*, int64_t at, double a, int64_t how, double) {
        y[at] = narrowed<T>(a / static_cast<double>(how >> 3));
    }
};

/// The loss of each pair.
template <class T>
__global__ void loss_each(T* y, const T* x, const T* t, Layout<3> where, int64_t kind, double p, int64_t n) {
    using V = Wide<T>;
    map([=](V a, V b) { return loss_of<V>(kind, a, b, static_cast<V>(p)); }, y, where, n, Operand<T>{x, 0}, Operand<T>{t, 0});
}

/// The gradient by x or by the target, of g for each, which is divided by `share`.
template <class T>
__global__ void loss_slopes(T* y, const T* g, const T* x, const T* t, Layout<4> where, int64_t kind, double p, double share,
                            int64_t target, int64_t n) {
    using V = Wide<T>;
    map([=](V d, V a, V b) { return slope_of<V>(kind, a, b, static_cast<V>(p), target) * (d / static_cast<V>(share)); }, y,
        where, n, Operand<T>{g, 0}, Operand<T>{x, 0}, Operand<T>{t, 0});
}
