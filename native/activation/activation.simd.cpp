// Activations and their gradients: the functors of functors.h over arrays.
#include "activation/kernels.h"
#include "core/map_loops.h"
#include "core/vmath.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class V> V constant(double value) { return splat(elem<V>(value)); }

#include "activation/functors.h"

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
