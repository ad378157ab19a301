// Arrays in pooled memory: full; clone, and cast between all dtypes; 16-bit floats are their bits here, as int16.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "core/copy.h"
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

/// Zeros by memset: it stores whole lines where the compiler's loop, for any processor, stores quarters of them.
template <class T>
void fill(T* begin, T* end, T value) {
    const T zero{};
    if (std::memcmp(&value, &zero, sizeof zero) == 0) std::memset(begin, 0, (end - begin) * sizeof(T));
    else std::fill(begin, end, value);
}

template <class T>
Owned filled(const Shape& shape, T value) {
    Owned y = make_output(shape.rank, shape.dims, dtype_of<T>);
    T* to = y.data<T>();
    parallel_range(shape.size(), 65536, [&](long begin, long end) { fill(to + begin, to + end, value); });
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

/// x, after v was written to all of it: a number in a dense x of floats, or an array of its dtype and shape elsewhere.
Owned assign(const Array& x, const Operand& v) {
    const DType dtype = x.dtype();
    if (dtype == DType::other || !x.writable()) return not_implemented();
    const long n = x.size(), item = item_size(dtype);
    char* to = x.data<char>();
    if (!v.is_array()) {
        const Value value(v.value, dtype);
        const bool fits = dtype == DType::float64 || !std::isfinite(v.value) || std::abs(v.value) <= FLT_MAX;
        if (!x.is_float() || !x.dense() || !fits) return not_implemented();
        const ReleaseGil gil(0.1 * static_cast<double>(n));
        parallel_range(n, 65536, [&](long begin, long end) {
            if (dtype == DType::float32) fill(x.data<float>() + begin, x.data<float>() + end, value.f32);
            else fill(x.data<double>() + begin, x.data<double>() + end, value.f64);
        });
        return reference(x);
    }
    const Array& from = v.array;
    if (from.dtype() != dtype || from.rank() != x.rank() || !x.dense() || !from.dense() ||
        !std::equal(x.shape(), x.shape() + x.rank(), from.shape()))
        return not_implemented();
    const char* source = from.data<char>();
    if (to < source + n * item && source < to + n * item) return not_implemented();  // they overlap
    const ReleaseGil gil(0.5 * static_cast<double>(n));
    copy_elements(x.rank(), x.shape(), to, x.strides(), source, from.strides(), item);
    return reference(x);
}

}  // namespace

void bind_memory(nb::module_& m) {
    using namespace nb::literals;
    m.def("cast", &cast, "x"_a, nb::kw_only(), "dtype"_a, "A copy of x in another dtype.");
    m.def("_from_half", &from_half, "bits"_a, "brain"_a, "float32 of the bits of float16 or bfloat16, given as int16.");
    m.def("_to_half", &to_half, "x"_a, "brain"_a, "The bits of float32 rounded to float16 or bfloat16, as int16.");
    m.def("_assign", &assign, "x"_a, "v"_a, "Writes v to all of x and returns x; NotImplemented where it does not.");
    m.def("full", &full, nb::kw_only(), "shape"_a, "value"_a, "dtype"_a, "An array of one value.");
    m.def("contiguous", &in_order, "x"_a, "x in C order: a view where it lies so, else a copy.");
    m.def("clone", &clone, "x"_a, "A copy of x, of x's memory order where x is dense.");
}

}  // namespace chainrule
