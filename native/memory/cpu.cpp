// Arrays in pooled memory: full; clone, and cast between all dtypes; 16-bit floats are their bits here, as int16.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "core/map.h"
#include "core/params.h"
#include "core/threads.h"
#include "memory/kernels.h"

namespace chainrule {
namespace {

Owned cast(const Array& x, DTypeName to) {
    const DType from = x.dtype();
    if (from == DType::other || to.dtype == DType::other) return not_implemented();
    return map(memory_kernels().cast[static_cast<int>(from)][static_cast<int>(to.dtype)], to.dtype, {x}, cheap);
}

Owned from_half(const Array& bits, bool brain) {
    if (!bits.is(DType::int16)) return not_implemented();
    return map(memory_kernels().from_half[brain], DType::float32, {bits}, cheap);
}

Owned to_half(const Array& x, bool brain) {
    if (!x.is(DType::float32)) return not_implemented();
    return map(memory_kernels().to_half[brain], DType::int16, {x}, cheap);
}

template <class T>
Owned filled(const Shape& shape, T value) {
    Owned y = make_output(shape.rank, shape.dims, dtype_of<T>);
    T* to = y.data<T>();
    parallel_range(shape.size(), 65536, [&](long begin, long end) { std::fill(to + begin, to + end, value); });
    return y;
}

// Of Python's numbers, in the dtypes that are asked for most; what does not fit is left to NumPy.
Owned full(const Shape& shape, nb::handle value, DTypeName to) {
    PyObject* number = value.ptr();
    const bool whole = PyLong_Check(number);
    const bool negative = std::any_of(shape.dims, shape.dims + shape.rank, [](long n) { return n < 0; });
    if (negative || (!whole && !PyFloat_Check(number))) return not_implemented();
    if (to.dtype == DType::boolean && PyBool_Check(number)) return filled(shape, number == Py_True);
    if (to.dtype == DType::int64 && whole) {
        int overflow;
        const long long v = PyLong_AsLongLongAndOverflow(number, &overflow);
        return overflow ? not_implemented() : filled(shape, static_cast<int64_t>(v));
    }
    if (to.dtype != DType::float32 && to.dtype != DType::float64) return not_implemented();
    const double v = PyFloat_AsDouble(number);
    if (v == -1 && PyErr_Occurred()) return PyErr_Clear(), not_implemented();
    if (to.dtype == DType::float64) return filled(shape, v);
    return std::isfinite(v) && std::abs(v) > FLT_MAX ? not_implemented() : filled(shape, static_cast<float>(v));
}

// A view where x lies so already.
Owned in_order(const Array& x) {
    if (!x.contiguous()) return x.is(DType::other) ? not_implemented() : contiguous(x);
    PyObject* view = PyArray_View(reinterpret_cast<PyArrayObject*>(x.object()), nullptr, nullptr);
    if (!view) throw nb::python_error();
    return Owned(view);
}

Owned clone(const Array& x) { return cast(x, {x.dtype()}); }

}  // namespace

void bind_memory(nb::module_& m) {
    using namespace nb::literals;
    m.def("cast", &cast, "x"_a, nb::kw_only(), "dtype"_a, "A copy of x in another dtype.");
    m.def("_from_half", &from_half, "bits"_a, "brain"_a, "float32 of the bits of float16 or bfloat16, given as int16.");
    m.def("_to_half", &to_half, "x"_a, "brain"_a, "The bits of float32 rounded to float16 or bfloat16, as int16.");
    m.def("full", &full, nb::kw_only(), "shape"_a, "value"_a, "dtype"_a, "An array of one value.");
    m.def("contiguous", &in_order, "x"_a, "x in C order: a view where it lies so, else a copy.");
    m.def("clone", &clone, "x"_a, "A copy of x, of x's memory order where x is dense.");
}

}  // namespace chainrule
