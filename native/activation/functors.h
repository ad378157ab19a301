// Activations and their gradients, as functions of one element: for the CPU, where V is a vector of elements, and for GPUs. Of
// what is saved: relu its result, the others their argument.
//
// Included inside the namespace that has the functions of V: constant, abs, exp, expm1, log1p, tanh, sigmoid, normal_cdf, fma.

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
template <class V> V where_between(V x, V low, V high, V inside) {
    const V held = x <= low ? V{} : inside;
    return x >= high ? V{} : held;
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
struct relu6 { template <class V> static V f(V x) { return between(x, V{}, constant<V>(6)); } };
struct relu6_vjp { template <class V> static V f(V g, V x) { return where_between(x, V{}, constant<V>(6), g); } };
struct hardsigmoid {
    template <class V> static V f(V x) { return between(x + constant<V>(3), V{}, constant<V>(6)) / constant<V>(6); }
};
struct hardsigmoid_vjp {
    template <class V> static V f(V g, V x) {
        return where_between(x, constant<V>(-3), constant<V>(3), g * constant<V>(1. / 6));
    }
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
