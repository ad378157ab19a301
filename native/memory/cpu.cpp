// Arrays in pooled memory: full; clone, and cast between all dtypes but the 16-bit floats.
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

Owned clone(const Array& x) { return cast(x, {x.dtype()}); }

}  // namespace

void bind_memory(nb::module_& m) {
    using namespace nb::literals;
    m.def("cast", &cast, "x"_a, nb::kw_only(), "dtype"_a, "A copy of x in another dtype.");
    m.def("full", &full, nb::kw_only(), "shape"_a, "value"_a, "dtype"_a, "An array of one value.");
    m.def("clone", &clone, "x"_a, "A copy of x, of x's memory order where x is dense.");
}

}  // namespace chainrule
