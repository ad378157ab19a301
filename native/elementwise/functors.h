// Elementwise functions that are said alike for the CPU, where V is a vector of elements, and for GPUs. NaN, infinities and
// signs as NumPy has them.
//
// Included inside the namespace that has the functions of V: constant, abs, sqrt, floor, ceil, rint, exp, expm1, log, log1p,
// tanh, sigmoid, erf, maximum, minimum.

#define UNARY(name, expression) struct name##_f { template <class V> static V f(V a) { return expression; } };
#define BINARY(name, expression) struct name##_f { template <class V> static V f(V a, V b) { return expression; } };

template <class V> V one() { return constant<V>(1); }

UNARY(neg, -a)
UNARY(abs, abs(a))
UNARY(sign, a != a ? a : (a > V{} ? one<V>() : V{}) - (a < V{} ? one<V>() : V{}))
UNARY(sqrt, sqrt(a))
UNARY(floor, floor(a))
UNARY(ceil, ceil(a))
UNARY(round, rint(a))
UNARY(exp, exp(a))
UNARY(expm1, expm1(a))
UNARY(log, log(a))
UNARY(log1p, log1p(a))
UNARY(tanh, tanh(a))
UNARY(sigmoid, sigmoid(a))
UNARY(erf, erf(a))
UNARY(square, a * a)
UNARY(reciprocal, one<V>() / a)
UNARY(rsqrt, one<V>() / sqrt(a))

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a * b)
BINARY(div, a / b)
BINARY(maximum, maximum(a, b))
BINARY(minimum, minimum(a, b))

// Between two numbers; the gradient passes there.
struct clip_f { template <class V> static V f(V a, V least, V most) { return minimum(maximum(a, least), most); } };
struct clip_vjp_f {
    template <class V> static V f(V g, V a, V least, V most) { return ((a >= least) & (a <= most)) ? g : V{}; }
};
