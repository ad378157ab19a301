// Elementwise ops on the CPU: float32 and float64 (logical ops: bool), broadcasting, either operand a number.
#include "elementwise/kernels.h"

#include <string_view>

#include "core/map.h"

namespace chainrule {
namespace {

// The dtype the operands share, other if they do not or none is an array.
DType common(const Operand& a, const Operand& b) {
    if (!a.is_array()) return b.is_array() ? b.array.dtype() : DType::other;
    const DType dtype = a.array.dtype();
    return !b.is_array() || b.array.dtype() == dtype ? dtype : DType::other;
}

Owned map_pair(const MapKernel* kernels, const Operand& a, const Operand& b, double cost, bool to_bool) {
    const DType dtype = common(a, b);
    const int index = float_index(dtype);
    if (index < 0) return not_implemented();
    const Value va(a.value, dtype), vb(b.value, dtype);
    return map(kernels[index], to_bool ? DType::boolean : dtype,
               {a.is_array() ? MapOperand(a.array) : MapOperand(&va), b.is_array() ? MapOperand(b.array) : MapOperand(&vb)},
               cost);
}

Owned map_one(const MapKernel* kernels, const Array& x, double cost) {
    const int index = float_index(x.dtype());
    if (index < 0) return not_implemented();
    return map(kernels[index], x.dtype(), {x}, cost);
}

Owned map_logical(MapKernel kernel, const Operand& a, const Operand& b) {
    if (common(a, b) != DType::boolean) return not_implemented();
    const bool va = a.value != 0, vb = b.value != 0;
    return map(kernel, DType::boolean,
               {a.is_array() ? MapOperand(a.array) : MapOperand(&va), b.is_array() ? MapOperand(b.array) : MapOperand(&vb)},
               cheap);
}

Owned power(const Operand& a, const Operand& b) {
    // Squares are frequent, and a * a is what a library gives for them.
    if (a.is_array() && !b.is_array() && b.value == 2) return map_one(elementwise_kernels().square, a.array, cheap);
    return map_pair(elementwise_kernels().pow, a, b, library_cost, false);
}

Owned isfinite(const Array& x) {
    const int index = float_index(x.dtype());
    if (index < 0) return not_implemented();
    return map(elementwise_kernels().isfinite[index], DType::boolean, {x}, cheap);
}

Owned logical_not(const Array& x) {
    if (!x.is(DType::boolean)) return not_implemented();
    return map(elementwise_kernels().logical_not, DType::boolean, {x}, cheap);
}

Owned where(const Array& condition, const Operand& a, const Operand& b) {
    const DType dtype = common(a, b);
    if (!condition.is(DType::boolean) || float_index(dtype) < 0) return not_implemented();
    const Value va(a.value, dtype), vb(b.value, dtype);
    return map(elementwise_kernels().where[float_index(dtype)], dtype,
               {condition, a.is_array() ? MapOperand(a.array) : MapOperand(&va),
                b.is_array() ? MapOperand(b.array) : MapOperand(&vb)},
               cheap);
}

}  // namespace

void bind_elementwise(nb::module_& m) {
    using namespace nb::literals;
#define X(name, cost) m.def(#name, [](const Array& x) { return map_one(elementwise_kernels().name, x, cost); }, "x"_a);
    CHAINRULE_UNARY(X)
#undef X
#define X(name, cost)                                                                              \
    if (std::string_view(#name) != "pow")                                                          \
        m.def(#name, [](const Operand& a, const Operand& b) {                                      \
            return map_pair(elementwise_kernels().name, a, b, cost, false);                        \
        }, "a"_a, "b"_a);
    CHAINRULE_BINARY(X)
#undef X
    m.def("pow", &power, "a"_a, "b"_a);
#define X(name)                                                                                    \
    m.def(#name, [](const Operand& a, const Operand& b) {                                          \
        return map_pair(elementwise_kernels().name, a, b, cheap, true);                            \
    }, "a"_a, "b"_a);
    CHAINRULE_COMPARISONS(X)
#undef X
#define X(name)                                                                                    \
    m.def(#name, [](const Operand& a, const Operand& b) {                                          \
        return map_logical(elementwise_kernels().name, a, b);                                      \
    }, "a"_a, "b"_a);
    CHAINRULE_LOGICAL(X)
#undef X
    m.def("logical_not", &logical_not, "x"_a);
    m.def("isfinite", &isfinite, "x"_a);
    m.def("where", &where, "cond"_a, "a"_a, "b"_a);
}

}  // namespace chainrule
