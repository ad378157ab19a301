// Activations on the CPU: float32 and float64. Each returns (y, saved); its gradient takes (g, *saved, needs).
#include "activation/kernels.h"

#include "core/map.h"
#include "core/params.h"

namespace chainrule {
namespace {

using Kernels = const MapKernel[2];

Owned reference(const Array& x) {
    Py_INCREF(x.object());
    return Owned(x.object());
}

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

Owned leaky_relu(const Array& x, double negative_slope) {
    if (!x.is_float()) return not_implemented();
    const Value slope(negative_slope, x.dtype());
    const MapKernel kernel = activation_kernels().leaky_relu[x.is(DType::float64)];
    return with_saved(map(kernel, x.dtype(), {x, MapOperand(&slope)}, cheap), x);
}

Owned vjp(Kernels& kernels, const Array& g, const Array& saved, const Needs& needs, double cost) {
    if (!saved.is_float() || g.dtype() != saved.dtype()) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    return make_tuple(map(kernels[g.is(DType::float64)], g.dtype(), {g, saved}, cost));
}

Owned leaky_relu_vjp(const Array& g, const Array& x, const Needs& needs, double negative_slope) {
    if (!x.is_float() || g.dtype() != x.dtype()) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    const Value slope(negative_slope, x.dtype());
    return make_tuple(map(activation_kernels().leaky_relu_vjp[g.is(DType::float64)], g.dtype(),
                          {g, x, MapOperand(&slope)}, cheap));
}

}  // namespace

void bind_activation(nb::module_& m) {
    using namespace nb::literals;
    m.def("relu", &relu, "x"_a);
    m.def("relu_vjp", [](const Array& g, const Array& y, const Needs& needs) {
        return vjp(activation_kernels().relu_vjp, g, y, needs, cheap);
    }, "g"_a, "y"_a, nb::kw_only(), "needs"_a);
    m.def("leaky_relu", &leaky_relu, "x"_a, nb::kw_only(), "negative_slope"_a = 0.01);
    m.def("leaky_relu_vjp", &leaky_relu_vjp, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "negative_slope"_a = 0.01);
    m.def("silu", [](const Array& x) { return unary(activation_kernels().silu, x, polynomial_cost); }, "x"_a);
    m.def("silu_vjp", [](const Array& g, const Array& x, const Needs& needs) {
        return vjp(activation_kernels().silu_vjp, g, x, needs, polynomial_cost);
    }, "g"_a, "x"_a, nb::kw_only(), "needs"_a);
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
