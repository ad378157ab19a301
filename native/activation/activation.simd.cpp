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

// Lines. NaN goes through, as in relu.
template <class V> V between(V x, V low, V high) {
    const V floor = x < low ? low : x;
    return floor > high ? high : floor;
}
template <class V> V between(V x, double low, double high) { return between(x, constant<V>(low), constant<V>(high)); }
template <class V> V where_between(V x, V low, V high, V inside) {
    const V held = x <= low ? V{} : inside;
    return x >= high ? V{} : held;
}
template <class V> V where_between(V x, double low, double high, V inside) {
    return where_between(x, constant<V>(low), constant<V>(high), inside);
}
struct hardtanh { template <class V> static V f(V x, V low, V high) { return between(x, low, high); } };
struct hardtanh_vjp {
    template <class V> static V f(V g, V x, V low, V high) { return where_between(x, low, high, g); }
};
struct threshold { template <class V> static V f(V x, V limit, V value) { return x <= limit ? value : x; } };
struct threshold_vjp { template <class V> static V f(V g, V x, V limit) { return x <= limit ? V{} : g; } };
struct softshrink {
    template <class V> static V f(V x, V lambd) {
        const V below = x < -lambd ? x + lambd : x * V{};
        return x > lambd ? x - lambd : below;
    }
};
struct hardshrink { template <class V> static V f(V x, V lambd) { return abs(x) <= lambd ? V{} : x; } };
struct shrink_vjp { template <class V> static V f(V g, V x, V lambd) { return abs(x) <= lambd ? V{} : g; } };
struct relu6 { template <class V> static V f(V x) { return between(x, 0, 6); } };
struct relu6_vjp { template <class V> static V f(V g, V x) { return where_between(x, 0, 6, g); } };
struct hardsigmoid {
    template <class V> static V f(V x) { return between(x + constant<V>(3), 0, 6) / constant<V>(6); }
};
struct hardsigmoid_vjp {
    template <class V> static V f(V g, V x) { return where_between(x, -3, 3, g * constant<V>(1. / 6)); }
};
struct hardswish { template <class V> static V f(V x) { return x * hardsigmoid::f(x); } };
struct hardswish_vjp {
    template <class V> static V f(V g, V x) {
        const V middle = x < constant<V>(3) ? g * (x * constant<V>(1. / 3) + constant<V>(0.5)) : g;
        return x <= constant<V>(-3) ? V{} : middle;
    }
};

// exp(min(x, 0)), so that what is not chosen does not overflow
template <class V> V below(V x) { return x > V{} ? V{} : x; }
struct elu {
    template <class V> static V f(V x, V alpha) { return x > V{} ? x : alpha * expm1(below(x)); }
};
struct elu_vjp {
    template <class V> static V f(V g, V x, V alpha) { return x > V{} ? g : g * (alpha * exp(below(x))); }
};
struct celu {
    template <class V> static V f(V x, V alpha, V inverse) { return x > V{} ? x : alpha * expm1(below(x) * inverse); }
};
struct celu_vjp {
    template <class V> static V f(V g, V x, V inverse) { return x > V{} ? g : g * exp(below(x) * inverse); }
};
constexpr double selu_scale = 1.0507009873554804934, selu_alpha = 1.6732632423543772848;
struct selu {
    template <class V> static V f(V x) {
        return x > V{} ? constant<V>(selu_scale) * x : constant<V>(selu_scale * selu_alpha) * expm1(below(x));
    }
};
struct selu_vjp {
    template <class V> static V f(V g, V x) {
        return x > V{} ? g * constant<V>(selu_scale) : g * (constant<V>(selu_scale * selu_alpha) * exp(below(x)));
    }
};

// log(1 + exp(x)) without overflow; its derivative is the sigmoid.
template <class V> V logexp(V x) {
    const V above = x <= V{} ? V{} : x;
    return above + log1p(exp(-abs(x)));
}
struct softplus { template <class V> static V f(V x) { return x > constant<V>(20) ? x : logexp(x); } };
struct softplus_vjp {
    template <class V> static V f(V g, V x) { return x > constant<V>(20) ? g : g * sigmoid(x); }
};
struct logsigmoid { template <class V> static V f(V x) { return -logexp(-x); } };
struct logsigmoid_vjp { template <class V> static V f(V g, V x) { return g * sigmoid(-x); } };
struct mish { template <class V> static V f(V x) { return x * tanh(logexp(x)); } };
struct mish_vjp {
    template <class V> static V f(V g, V x) {
        const V t = tanh(logexp(x));
        return g * (t + x * (constant<V>(1) - t * t) * sigmoid(x));
    }
};
struct softsign { template <class V> static V f(V x) { return x / (constant<V>(1) + abs(x)); } };
struct softsign_vjp {
    template <class V> static V f(V g, V x) {
        const V s = constant<V>(1) / (constant<V>(1) + abs(x));
        return g * (s * s);
    }
};

// Gates of the halves a and b.
struct glu { template <class V> static V f(V a, V b) { return a * sigmoid(b); } };
struct glu_vjp_b {
    template <class V> static V f(V g, V a, V b) {
        const V s = sigmoid(b);
        return g * a * (s * (constant<V>(1) - s));
    }
};
struct swiglu { template <class V> static V f(V a, V b) { return silu::f(a) * b; } };
struct swiglu_vjp_a { template <class V> static V f(V g, V a, V b) { return silu_vjp::f(g * b, a); } };
struct swiglu_vjp_b { template <class V> static V f(V g, V a) { return g * silu::f(a); } };

template <class T> Vec<T> negative_product(Vec<T> g, Vec<T> x) { return x > Vec<T>{} ? Vec<T>{} : g * x; }
template <class T>
void negative_sum(const void* g, const void* x, long n, double* sum) {
    const T *p = static_cast<const T*>(g), *q = static_cast<const T*>(x);
    Vec<T> total{};
    for (long i = 0; i < n; i += lanes<T>) total += negative_product<T>(load_some(p + i, n - i), load_some(q + i, n - i));
    T parts[lanes<T>];
    store(parts, total);
    double found = 0;
    for (int k = 0; k < lanes<T>; ++k) found += parts[k];
    *sum = found;
}
template <class T>
void negative_sums(const void* g, const void* x, long rows, long n, double* sums) {
    const T *p = static_cast<const T*>(g), *q = static_cast<const T*>(x);
    for (long j = 0; j < n; j += lanes<T>) {
        Vec<T> total{};
        for (long i = j; i < rows * n; i += n)
            total += negative_product<T>(load_some(p + i, n - j), load_some(q + i, n - j));
        T parts[lanes<T>];
        store(parts, total);
        for (long k = 0; k < lanes<T> && j + k < n; ++k) sums[j + k] = parts[k];
    }
}

}  // namespace

#define BOTH(kernel, op) {&kernel<op, float>, &kernel<op, double>}
extern const ActivationKernels activation_kernels;
const ActivationKernels activation_kernels = {
    .relu = BOTH(unary, relu), .relu_vjp = BOTH(binary, relu_vjp),
    .leaky_relu = BOTH(binary, leaky_relu), .leaky_relu_vjp = BOTH(binary_with, leaky_relu_vjp),
    .silu = BOTH(unary, silu), .silu_vjp = BOTH(binary, silu_vjp),
    .gelu = BOTH(unary, gelu), .gelu_vjp = BOTH(binary, gelu_vjp),
    .gelu_tanh = BOTH(unary, gelu_tanh), .gelu_tanh_vjp = BOTH(binary, gelu_tanh_vjp),
    .elu = BOTH(binary, elu), .elu_vjp = BOTH(binary_with, elu_vjp),
    .relu6 = BOTH(unary, relu6), .relu6_vjp = BOTH(binary, relu6_vjp),
    .hardsigmoid = BOTH(unary, hardsigmoid), .hardsigmoid_vjp = BOTH(binary, hardsigmoid_vjp),
    .hardswish = BOTH(unary, hardswish), .hardswish_vjp = BOTH(binary, hardswish_vjp),
    .selu = BOTH(unary, selu), .selu_vjp = BOTH(binary, selu_vjp),
    .softplus = BOTH(unary, softplus), .softplus_vjp = BOTH(binary, softplus_vjp),
    .logsigmoid = BOTH(unary, logsigmoid), .logsigmoid_vjp = BOTH(binary, logsigmoid_vjp),
    .hardtanh = BOTH(unary_with_two, hardtanh), .hardtanh_vjp = BOTH(binary_with_two, hardtanh_vjp),
    .threshold = BOTH(unary_with_two, threshold), .threshold_vjp = BOTH(binary_with, threshold_vjp),
    .softshrink = BOTH(binary, softshrink), .hardshrink = BOTH(binary, hardshrink),
    .shrink_vjp = BOTH(binary_with, shrink_vjp),
    .celu = BOTH(unary_with_two, celu), .celu_vjp = BOTH(binary_with, celu_vjp),
    .glu = BOTH(binary, glu), .glu_vjp_a = BOTH(binary, glu), .glu_vjp_b = BOTH(ternary_dense, glu_vjp_b),
    .swiglu = BOTH(binary, swiglu), .swiglu_vjp_a = BOTH(ternary_dense, swiglu_vjp_a),
    .swiglu_vjp_b = BOTH(binary, swiglu_vjp_b),
    .leaky_relu_vjp_dense = BOTH(ternary_dense, leaky_relu_vjp),
    .negative_sum = {&negative_sum<float>, &negative_sum<double>},
    .negative_sums = {&negative_sums<float>, &negative_sums<double>},
    .mish = BOTH(unary, mish), .mish_vjp = BOTH(binary, mish_vjp),
    .softsign = BOTH(unary, softsign), .softsign_vjp = BOTH(binary, softsign_vjp),
};

}  // namespace chainrule::CHAINRULE_ISA
