// Activations and their gradients. Of what is saved: relu its result, the others their argument.
#include "activation/kernels.h"
#include "core/map_loops.h"
#include "core/vmath.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class V> V constant(double value) { return splat(elem<V>(value)); }

// NaN is neither <= 0 nor > 0: it goes through relu, and so does its gradient.
struct relu { template <class V> static V f(V x) { return x <= V{} ? V{} : x; } };
struct relu_vjp { template <class V> static V f(V g, V y) { return y <= V{} ? V{} : g; } };

struct leaky_relu { template <class V> static V f(V x, V slope) { return x > V{} ? x : x * slope; } };
struct leaky_relu_vjp { template <class V> static V f(V g, V x, V slope) { return x > V{} ? g : g * slope; } };

struct silu { template <class V> static V f(V x) { return x * sigmoid(x); } };
struct silu_vjp {
    template <class V> static V f(V g, V x) {
        const V s = sigmoid(x), one = constant<V>(1);
        return g * (s * (one + x * (one - s)));
    }
};

// x Phi(x), Phi the normal distribution function; its derivative is Phi(x) + x phi(x).
struct gelu { template <class V> static V f(V x) { return x * normal_cdf(x); } };
struct gelu_vjp {
    template <class V> static V f(V g, V x) {
        const V density = constant<V>(0.39894228040143267794) * exp(constant<V>(-0.5) * x * x);
        return g * fma(x, density, normal_cdf(x));
    }
};

// x/2 (1 + tanh(c (x + 0.044715 x^3))), c = sqrt(2/pi), written as x sigmoid(u), which does not cancel for negative x.
template <class V> V gelu_twice_inner(V x) {
    return constant<V>(2 * 0.79788456080286535588) * x * fma(constant<V>(0.044715), x * x, constant<V>(1));
}
struct gelu_tanh { template <class V> static V f(V x) { return x * sigmoid(gelu_twice_inner(x)); } };
struct gelu_tanh_vjp {
    template <class V> static V f(V g, V x) {
        const V u = gelu_twice_inner(x), s = sigmoid(u), one = constant<V>(1);
        const V slope = constant<V>(2 * 0.79788456080286535588) * fma(constant<V>(3 * 0.044715), x * x, one);
        const V bend = x * s * sigmoid(-u) * slope;
        return g * (abs(u) > constant<V>(1e3) ? s : s + bend);  // far out x^2 may be inf, and 0 inf is no bend
    }
};

}  // namespace

#define BOTH(kernel, op) {&kernel<op, float>, &kernel<op, double>}
extern const ActivationKernels activation_kernels;
const ActivationKernels activation_kernels = {
    .relu = BOTH(unary, relu), .relu_vjp = BOTH(binary, relu_vjp),
    .leaky_relu = BOTH(binary, leaky_relu), .leaky_relu_vjp = BOTH(binary_with, leaky_relu_vjp),
    .silu = BOTH(unary, silu), .silu_vjp = BOTH(binary, silu_vjp),
    .gelu = BOTH(unary, gelu), .gelu_vjp = BOTH(binary, gelu_vjp),
    .gelu_tanh = BOTH(unary, gelu_tanh), .gelu_tanh_vjp = BOTH(binary, gelu_tanh_vjp),
};

}  // namespace chainrule::CHAINRULE_ISA
