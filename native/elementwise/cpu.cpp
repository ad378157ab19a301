// Elementwise ops on the CPU: float32 and float64 (logical ops: bool), broadcasting, either operand a number.
#include "elementwise/kernels.h"

#include <cmath>
#include <string_view>

#include "core/map.h"
#include "core/params.h"
#include "core/threads.h"

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

/// The same in the memory of x, if b is one number or lies as x does; x itself.
Owned map_into(const MapKernel* kernels, const Array& x, const Operand& b) {
    const DType dtype = common(Operand{Operand::Kind::array, x}, b);
    const int index = float_index(dtype);
    if (index < 0 || !x.writable() || !x.dense()) return not_implemented();
    Value value(b.value, dtype);  // a copy: b may be an element of x
    const bool single = !b.is_array() || (b.array.size() == 1 && b.array.rank() <= x.rank());
    if (b.is_array() && single) {
        if (dtype == DType::float32) value.f32 = *b.array.data<float>();
        else value.f64 = *b.array.data<double>();
    }
    if (!single) {
        if (b.array.rank() != x.rank()) return not_implemented();
        for (int d = 0; d < x.rank(); ++d)
            if (b.array.dim(d) != x.dim(d) || (x.dim(d) > 1 && b.array.stride(d) != x.stride(d))) return not_implemented();
    }
    const long n = x.size(), item = item_size(dtype);
    char* to = x.data<char>();
    const char* from = single ? reinterpret_cast<const char*>(&value) : b.array.data<char>();
    if (!single && from != to && from < to + n * item && to < from + n * item) return not_implemented();  // they overlap
    const ReleaseGil gil(static_cast<double>(n) * cheap);
    parallel_range(n, 1L << 17, [&](long begin, long end) {
        char* part = to + begin * item;
        kernels[index](part, part, single ? from : from + begin * item, nullptr, single ? 2 : 0, end - begin);
    });
    return reference(x);
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
    return map_pair(elementwise_kernels().pow, a, b, wide_cost, false);
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

/// The limits of clip: numbers, or None for no limit.
bool limits(nb::handle min, nb::handle max, double& least, double& most) {
    least = min.is_none() ? -INFINITY : PyFloat_AsDouble(min.ptr());
    most = max.is_none() ? INFINITY : PyFloat_AsDouble(max.ptr());
    return !PyErr_Occurred() || (PyErr_Clear(), false);
}

Owned clip(const Array& x, nb::handle min, nb::handle max) {
    double least, most;
    if (!x.is_float() || !limits(min, max, least, most)) return not_implemented();
    const Values values(least, most, x.dtype());
    Owned y = map(elementwise_kernels().clip[float_index(x.dtype())], x.dtype(), {x, MapOperand(&values)}, cheap);
    return make_tuple(std::move(y), make_tuple(reference(x)));
}

Owned clip_vjp(const Array& g, const Array& x, const Needs& needs, nb::handle min, nb::handle max) {
    double least, most;
    if (!x.is_float() || g.dtype() != x.dtype() || !limits(min, max, least, most)) return not_implemented();
    if (!needs[0]) return make_tuple(none());
    const Values values(least, most, x.dtype());
    const MapKernel kernel = elementwise_kernels().clip_vjp[float_index(x.dtype())];
    return make_tuple(map(kernel, x.dtype(), {g, x, MapOperand(&values)}, cheap));
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
#define X(name)                                                                                                      \
    m.def(#name "_", [](const Array& x, const Operand& v) { return map_into(elementwise_kernels().name, x, v); }, "x"_a, \
          "v"_a);
    X(add) X(sub) X(mul) X(div)
#undef X
    m.def("logical_not", &logical_not, "x"_a);
    m.def("isfinite", &isfinite, "x"_a);
    m.def("clip", &clip, "x"_a, nb::kw_only(), "min"_a.none() = nb::none(), "max"_a.none() = nb::none());
    m.def("clip_vjp", &clip_vjp, "g"_a, "x"_a, nb::kw_only(), "needs"_a, "min"_a.none() = nb::none(),
          "max"_a.none() = nb::none());
    m.def("where", &where, "cond"_a, "a"_a, "b"_a);
}

}  // namespace chainrule
