// Activations on the CPU: float32 and float64. Each returns (y, saved); its gradient takes (g, *saved, needs).
#include "activation/kernels.h"

#include "activation/gates.h"
#include "core/map.h"
#include "core/params.h"

namespace chainrule {
namespace {

using Kernels = const MapKernel[2];

/// y and a tuple of what the gradient needs: y itself, or x.
Owned with_saved(Owned y, const Array& saved) {
    Owned tuple = make_tuple(reference(saved));
    return make_tuple(std::move(y), std::move(tuple));
}

Owned relu(const Array& x) {
    if (!x.is_float()) return not_implemented();
    Owned y = map(activation_kernels().relu[x.is(DType::float64)], x.dtype(), {x}, cheap);
    const Array result = y;
    return with_saved(std::move(y), result);
}

Owned unary(Kernels& kernels, const Array& x, double cost) {
    if (!x.is_float()) return not_implemented();
    return with_saved(map(kernels[x.is(DType::float64)], x.dtype(), {x}, cost), x);
}

/// Of x and a number.
Owned with_number(Kernels& kernels, const Array& x, double number, double cost) {
    if (!x.is_float()) return not_implemented();
    const Value value(number, x.dtype());
    return with_saved(map(kernels[x.is(DType::float64)], x.dtype(), {x, MapOperand(&value)}, cost), x);
}

Owned vjp(Kernels& kernels, const Array& g, const Array& saved, const Needs& needs, double cost) {
    if (!saved.is_float() || g.dtype() != saved.dtype()) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    return make_tuple(map(kernels[g.is(DType::float64)], g.dtype(), {g, saved}, cost));
}

Owned with_number_vjp(Kernels& kernels, const Array& g, const Array& x, const Needs& needs, double number, double cost) {
    if (!x.is_float() || g.dtype() != x.dtype()) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    const Value value(number, x.dtype());
    return make_tuple(map(kernels[g.is(DType::float64)], g.dtype(), {g, x, MapOperand(&value)}, cost));
}

/// Of x and two numbers.
Owned with_numbers(Kernels& kernels, const Array& x, double first, double second, double cost) {
    if (!x.is_float()) return not_implemented();
    const Values values(first, second, x.dtype());
    return with_saved(map(kernels[x.is(DType::float64)], x.dtype(), {x, MapOperand(&values)}, cost), x);
}

Owned hardtanh_vjp(const Array& g, const Array& x, const Needs& needs, double min_val, double max_val) {
    if (!x.is_float() || g.dtype() != x.dtype()) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    const Values values(min_val, max_val, x.dtype());
    const MapKernel kernel = activation_kernels().hardtanh_vjp[x.is(DType::float64)];
    return make_tuple(map(kernel, g.dtype(), {g, x, MapOperand(&values)}, cheap));
}

/// An op of x alone, and its gradient from x.
template <auto kernel, auto kernel_vjp>
void bind_unary(nb::module_& m, const char* name, const char* name_vjp, double cost) {
    using namespace nb::literals;
    m.def(name, [cost](const Array& x) { return unary(activation_kernels().*kernel, x, cost); }, "x"_a);
    m.def(name_vjp, [cost](const Array& g, const Array& x, const Needs& needs) {
        return vjp(activation_kernels().*kernel_vjp, g, x, needs, cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a);
}

}  // namespace

void bind_activation(nb::module_& m) {
    using namespace nb::literals;
    m.def("relu", &relu, "x"_a);
    m.def("relu_vjp", [](const Array& g, const Array& y, const Needs& needs) {
        return vjp(activation_kernels().relu_vjp, g, y, needs, cheap);
    }, "g"_a, "y"_a, nb::kw_only(), "needs"_a);
    m.def("leaky_relu", [](const Array& x, double negative_slope) {
        return with_number(activation_kernels().leaky_relu, x, negative_slope, cheap);
    }, "x"_a, nb::kw_only(), "negative_slope"_a = 0.01);
    m.def("leaky_relu_vjp", [](const Array& g, const Array& x, const Needs& needs, double negative_slope) {
        return with_number_vjp(activation_kernels().leaky_relu_vjp, g, x, needs, negative_slope, cheap);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "negative_slope"_a = 0.01);
    m.def("elu", [](const Array& x, double alpha) {
        return with_number(activation_kernels().elu, x, alpha, polynomial_cost);
    }, "x"_a, nb::kw_only(), "alpha"_a = 1.0);
    m.def("elu_vjp", [](const Array& g, const Array& x, const Needs& needs, double alpha) {
        return with_number_vjp(activation_kernels().elu_vjp, g, x, needs, alpha, polynomial_cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "alpha"_a = 1.0);
    // of other parameters than the usual ones softplus is left to its body
    m.def("softplus", [](const Array& x, double beta, double threshold) {
        if (beta != 1 || threshold != 20) return not_implemented();
        return unary(activation_kernels().softplus, x, polynomial_cost);
    }, "x"_a, nb::kw_only(), "beta"_a = 1.0, "threshold"_a = 20.0);
    m.def("softplus_vjp", [](const Array& g, const Array& x, const Needs& needs, double, double) {
        return vjp(activation_kernels().softplus_vjp, g, x, needs, polynomial_cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "beta"_a = 1.0, "threshold"_a = 20.0);
    m.def("hardtanh", [](const Array& x, double min_val, double max_val) {
        return with_numbers(activation_kernels().hardtanh, x, min_val, max_val, cheap);
    }, "x"_a, nb::kw_only(), "min_val"_a = -1.0, "max_val"_a = 1.0);
    m.def("hardtanh_vjp", &hardtanh_vjp, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "min_val"_a = -1.0, "max_val"_a = 1.0);
    m.def("threshold", [](const Array& x, double threshold, double value) {
        return with_numbers(activation_kernels().threshold, x, threshold, value, cheap);
    }, "x"_a, nb::kw_only(), "threshold"_a, "value"_a);
    m.def("threshold_vjp", [](const Array& g, const Array& x, const Needs& needs, double threshold, double) {
        return with_number_vjp(activation_kernels().threshold_vjp, g, x, needs, threshold, cheap);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "threshold"_a, "value"_a);
    m.def("softshrink", [](const Array& x, double lambd) {
        return with_number(activation_kernels().softshrink, x, lambd, cheap);
    }, "x"_a, nb::kw_only(), "lambd"_a = 0.5);
    m.def("hardshrink", [](const Array& x, double lambd) {
        return with_number(activation_kernels().hardshrink, x, lambd, cheap);
    }, "x"_a, nb::kw_only(), "lambd"_a = 0.5);
    for (const char* name : {"softshrink_vjp", "hardshrink_vjp"})
        m.def(name, [](const Array& g, const Array& x, const Needs& needs, double lambd) {
            return with_number_vjp(activation_kernels().shrink_vjp, g, x, needs, lambd, cheap);
        }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "lambd"_a = 0.5);
    m.def("celu", [](const Array& x, double alpha) {
        return with_numbers(activation_kernels().celu, x, alpha, 1 / alpha, polynomial_cost);
    }, "x"_a, nb::kw_only(), "alpha"_a = 1.0);
    m.def("celu_vjp", [](const Array& g, const Array& x, const Needs& needs, double alpha) {
        return with_number_vjp(activation_kernels().celu_vjp, g, x, needs, 1 / alpha, polynomial_cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "alpha"_a = 1.0);
    bind_gates(m);
    using Table = ActivationKernels;
    bind_unary<&Table::relu6, &Table::relu6_vjp>(m, "relu6", "relu6_vjp", cheap);
    bind_unary<&Table::hardsigmoid, &Table::hardsigmoid_vjp>(m, "hardsigmoid", "hardsigmoid_vjp", cheap);
    bind_unary<&Table::hardswish, &Table::hardswish_vjp>(m, "hardswish", "hardswish_vjp", cheap);
    bind_unary<&Table::selu, &Table::selu_vjp>(m, "selu", "selu_vjp", polynomial_cost);
    bind_unary<&Table::logsigmoid, &Table::logsigmoid_vjp>(m, "logsigmoid", "logsigmoid_vjp", polynomial_cost);
    bind_unary<&Table::mish, &Table::mish_vjp>(m, "mish", "mish_vjp", polynomial_cost);
    bind_unary<&Table::softsign, &Table::softsign_vjp>(m, "softsign", "softsign_vjp", cheap);
    bind_unary<&Table::silu, &Table::silu_vjp>(m, "silu", "silu_vjp", polynomial_cost);
    m.def("gelu", [](const Array& x, const char* approximate) {
        const bool exact = std::string_view(approximate) == "none";
        return unary(exact ? activation_kernels().gelu : activation_kernels().gelu_tanh, x, polynomial_cost);
    }, "x"_a, nb::kw_only(), "approximate"_a = "none");
    m.def("gelu_vjp", [](const Array& g, const Array& x, const Needs& needs, const char* approximate) {
        const bool exact = std::string_view(approximate) == "none";
        return vjp(exact ? activation_kernels().gelu_vjp : activation_kernels().gelu_tanh_vjp, g, x, needs,
                   polynomial_cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "approximate"_a = "none");
}

}  // namespace chainrule
