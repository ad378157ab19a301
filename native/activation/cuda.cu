// Activations and their gradients: the functors of the CPU, on a GPU. Bound by the memory's bandwidth: relu of 2^26 floats
// (537 MB) takes 125 us at best on an H200, its gradient 187 us; gelu spends about 25 instructions on an element, half of
// what the memory leaves time for.
#include "core/map.cuh"
#include "core/scalar.cuh"

namespace scalar {
#include "activation/functors.h"

// Both gradients of a gate, from g and the halves a and b.
struct glu_vjp {
    template <class V> static V a(V g, V, V b) { return glu::f(g, b); }
    template <class V> static V b(V g, V a, V b) { return glu_vjp_b::f(g, a, b); }
};
struct swiglu_vjp {
    template <class V> static V a(V g, V a, V b) { return swiglu_vjp_a::f(g, a, b); }
    template <class V> static V b(V g, V a, V) { return swiglu_vjp_b::f(g, a); }
};
// What the gradient of prelu's slope is a sum of.
struct slope_vjp { template <class V> static V f(V g, V x) { return x > V{} ? V{} : g * x; } };
}  // namespace scalar
using namespace scalar;

/// Of x and as many of the numbers p and q as F takes.
template <class F, class T>
__global__ void forward(T* y, const T* x, double p, double q, Layout<2> where, int64_t n) {
    using V = Wide<T>;
    const V first = static_cast<V>(p), second = static_cast<V>(q);
    const auto f = [=](V x) {
        if constexpr (requires { F::f(x, first, second); }) return F::f(x, first, second);
        else if constexpr (requires { F::f(x, first); }) return F::f(x, first);
        else return F::f(x);
    };
    map(f, y, where, n, Operand<T>{x, {}});
}

/// Of g, what was saved, and as many of the numbers p and q as F takes.
template <class F, class T>
__global__ void backward(T* y, const T* g, const T* x, double p, double q, Layout<3> where, int64_t n) {
    using V = Wide<T>;
    const V first = static_cast<V>(p), second = static_cast<V>(q);
    const auto f = [=](V g, V x) {
        if constexpr (requires { F::f(g, x, first, second); }) return F::f(g, x, first, second);
        else if constexpr (requires { F::f(g, x, first); }) return F::f(g, x, first);
        else return F::f(g, x);
    };
    map(f, y, where, n, Operand<T>{g, {}}, Operand<T>{x, {}});
}

/// Of two arrays: the halves of a gate, or x and its slopes.
template <class F, class T> __global__ void gate(T* y, const T* a, const T* b, Layout<3> where, int64_t n) {
    map([](auto a, auto b) { return F::f(a, b); }, y, where, n, Operand<T>{a, {}}, Operand<T>{b, {}});
}

/// The gradients of both halves at once, which lie alike.
template <class F, class T>
__global__ void gate_vjp(T* ga, T* gb, const T* g, const T* a, const T* b, Layout<4> where, int64_t n) {
    T* const to[2] = {ga, gb};
    const auto f = [](auto g, auto a, auto b) { return Some<decltype(a), 2>{{F::a(g, a, b), F::b(g, a, b)}}; };
    map_to(f, to, where, n, Operand<T>{g, {}}, Operand<T>{a, {}}, Operand<T>{b, {}});
}

/// The gradient of prelu's x.
template <class T>
__global__ void prelu_vjp(T* y, const T* g, const T* x, const T* slope, Layout<4> where, int64_t n) {
    const auto f = [](auto g, auto x, auto slope) { return leaky_relu_vjp::f(g, x, slope); };
    map(f, y, where, n, Operand<T>{g, {}}, Operand<T>{x, {}}, Operand<T>{slope, {}});
}
