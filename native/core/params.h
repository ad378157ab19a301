// Parameters of ops as kernels take them: shapes, axes, the dtype's name, which gradients are needed.
#pragma once

#include <stdexcept>
#include <string_view>

#include "core/array.h"

namespace chainrule {

/// A tuple of ints.
struct Shape {
    int rank = 0;
    npy_intp dims[max_rank];
    long size() const {
        long n = 1;
        for (int i = 0; i < rank; ++i) n *= dims[i];
        return n;
    }
};

/// None (all axes), an int, or a tuple of ints.
struct Axes {
    bool all = true;
    int count = 0;
    long axis[max_rank];
    /// Which of `rank` axes are meant, negative ones from the end. Throws std::out_of_range (IndexError).
    uint64_t mask(int rank) const {
        if (all) return ~uint64_t{0};
        uint64_t mask = 0;
        for (int i = 0; i < count; ++i) {
            const long a = axis[i] < 0 ? axis[i] + rank : axis[i];
            if (a < 0 || a >= rank) throw std::out_of_range("an axis is outside of the array's axes");
            mask |= uint64_t{1} << a;
        }
        return mask;
    }
};

/// One bool per tensor argument: whether its gradient is wanted.
struct Needs {
    uint64_t mask = 0;
    bool operator[](int i) const { return mask >> i & 1; }
};

/// A dtype's name, by the str that DType is; `other` for those native kernels lack.
struct DTypeName {
    DType dtype = DType::other;
};

inline DType dtype_named(std::string_view name) {
    constexpr std::string_view names[] = {"bool", "int8", "int16", "int32", "int64", "uint8", "float32", "float64"};
    for (int i = 0; i < 8; ++i)
        if (name == names[i]) return static_cast<DType>(i);
    return DType::other;
}

}  // namespace chainrule

namespace nanobind::detail {

// The items of a tuple or list of ints; false for anything else.
template <class Int>
bool read_ints(PyObject* source, Int* to, int& count) noexcept {
    const bool tuple = PyTuple_Check(source);
    if (!tuple && !PyList_Check(source)) return false;
    const Py_ssize_t n = tuple ? PyTuple_GET_SIZE(source) : PyList_GET_SIZE(source);
    if (n > chainrule::max_rank) return false;
    for (Py_ssize_t i = 0; i < n; ++i) {
        const long value = PyLong_AsLong(tuple ? PyTuple_GET_ITEM(source, i) : PyList_GET_ITEM(source, i));
        if (value == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
        to[i] = value;
    }
    count = static_cast<int>(n);
    return true;
}

template <>
struct type_caster<chainrule::Shape> {
    NB_TYPE_CASTER(chainrule::Shape, const_name("tuple[int, ...]"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        return read_ints(source.ptr(), value.dims, value.rank);
    }
};

template <>
struct type_caster<chainrule::Axes> {
    NB_TYPE_CASTER(chainrule::Axes, const_name("int | tuple[int, ...]"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        value.all = source.is_none();
        if (value.all) return true;
        if (PyLong_Check(source.ptr())) {
            value.count = 1;
            value.axis[0] = PyLong_AsLong(source.ptr());
            return !(value.axis[0] == -1 && PyErr_Occurred()) || (PyErr_Clear(), false);
        }
        return read_ints(source.ptr(), value.axis, value.count);
    }
};

template <>
struct type_caster<chainrule::Needs> {
    NB_TYPE_CASTER(chainrule::Needs, const_name("tuple[bool, ...]"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        if (!PyTuple_Check(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) > 64) return false;
        value.mask = 0;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(source.ptr()); ++i)
            if (PyTuple_GET_ITEM(source.ptr(), i) == Py_True) value.mask |= uint64_t{1} << i;
        return true;
    }
};

template <>
struct type_caster<chainrule::DTypeName> {
    NB_TYPE_CASTER(chainrule::DTypeName, const_name("str"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        Py_ssize_t size;
        const char* text = PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8AndSize(source.ptr(), &size) : nullptr;
        if (!text) return PyErr_Clear(), false;
        value.dtype = chainrule::dtype_named({text, static_cast<size_t>(size)});
        return true;
    }
};

}  // namespace nanobind::detail
