// NumPy arrays as kernel arguments and results.
//
// `Array` is a borrowed view that reads PyArrayObject directly (no conversion, no copy: about 80 ns a call, where
// nb::ndarray takes 560); `Owned` is a new reference a kernel returns. A binding looks like this:
//
//     Owned silu(Array x) {                                     // in namespace chainrule, as all of native/
//         if (!x.is_float()) return not_implemented();          // launch then runs the reference or the body
//         Owned y = make_like(x);                               // pooled memory, x's memory order where x is dense
//         ...
//         return y;
//     }
//     m.def("silu", &silu, "x"_a);
//     m.def("linear", &linear, "x"_a, "weight"_a, "bias"_a.none());     // an Array that may be None: test `if (bias)`
//     m.def("softmax", &softmax, "x"_a, nb::kw_only(), "axis"_a);       // parameters stand after nb::kw_only()
//
// Strides are in bytes, may be zero or negative. Arrays of foreign byte order or alignment have DType::other, so
// that every kernel declines them by its check of the dtype.
#pragma once

#include <nanobind/nanobind.h>

#define PY_ARRAY_UNIQUE_SYMBOL chainrule_numpy_api
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#ifndef CHAINRULE_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <cstdint>
#include <utility>

namespace nb = nanobind;

namespace chainrule {

constexpr int max_rank = NPY_MAXDIMS;

enum class DType : uint8_t { boolean, int8, int16, int32, int64, uint8, float32, float64, other };

template <class T> constexpr DType dtype_of = DType::other;
template <> inline constexpr DType dtype_of<bool> = DType::boolean;
template <> inline constexpr DType dtype_of<int8_t> = DType::int8;
template <> inline constexpr DType dtype_of<int16_t> = DType::int16;
template <> inline constexpr DType dtype_of<int32_t> = DType::int32;
template <> inline constexpr DType dtype_of<int64_t> = DType::int64;
template <> inline constexpr DType dtype_of<uint8_t> = DType::uint8;
template <> inline constexpr DType dtype_of<float> = DType::float32;
template <> inline constexpr DType dtype_of<double> = DType::float64;

/// Bytes of one element (0 for other).
long item_size(DType dtype);

/// A borrowed view of a NumPy array; empty for None.
class Array {
  public:
    Array() = default;
    explicit Array(PyObject* array) : p_(reinterpret_cast<PyArrayObject_fields*>(array)) {}

    explicit operator bool() const { return p_; }
    PyObject* object() const { return reinterpret_cast<PyObject*>(p_); }

    int rank() const { return p_->nd; }
    const npy_intp* shape() const { return p_->dimensions; }
    const npy_intp* strides() const { return p_->strides; }  // bytes
    long dim(int i) const { return p_->dimensions[i]; }
    long stride(int i) const { return p_->strides[i]; }
    long size() const {
        long n = 1;
        for (int i = 0; i < p_->nd; ++i) n *= p_->dimensions[i];
        return n;
    }
    DType dtype() const;
    bool is_float() const { return dtype() == DType::float32 || dtype() == DType::float64; }
    bool is(DType wanted) const { return dtype() == wanted; }
    /// bfloat16 of ml_dtypes. To NumPy it is a dtype from outside, so its DType is other.
    bool is_bfloat16() const;
    /// C-contiguous (row-major, no gaps).
    bool contiguous() const { return p_->flags & NPY_ARRAY_C_CONTIGUOUS; }
    bool writable() const { return p_->flags & NPY_ARRAY_WRITEABLE; }
    /// Every element once, without gaps, in whatever order of axes (row-major, channels-last, transposed ...).
    bool dense() const;

    void* raw() const { return p_->data; }
    template <class T> T* data() const { return reinterpret_cast<T*>(p_->data); }

  private:
    PyArrayObject_fields* p_ = nullptr;
};

/// A new reference to a Python object on its way to the caller; behaves as an Array where it is one.
class Owned {
  public:
    Owned() = default;
    explicit Owned(PyObject* object) : object_(object) {}
    Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Owned() { Py_XDECREF(object_); }

    explicit operator bool() const { return object_; }
    operator Array() const { return Array(object_); }
    template <class T> T* data() const { return Array(object_).data<T>(); }
    void* raw() const { return Array(object_).raw(); }
    PyObject* release() { return std::exchange(object_, nullptr); }

  private:
    PyObject* object_ = nullptr;
};

/// A new array in pooled memory, content undefined; row-major unless strides (bytes, of a dense layout) are given.
Owned make_output(int rank, const npy_intp* shape, DType dtype, const npy_intp* strides = nullptr);
/// The same, of the dtype of an array, which may be bfloat16.
Owned make_output(int rank, const npy_intp* shape, const Array& of);
/// A new array of x's shape, and of its memory order if x is dense; of dtype, or x's own.
Owned make_like(const Array& x, DType dtype);
inline Owned make_like(const Array& x) { return make_like(x, x.dtype()); }
/// One more reference to x itself; None if it is not there.
Owned reference(const Array& x);
/// x itself (a new reference) if it is row-major without gaps, else a row-major copy.
Owned contiguous(const Array& x);
/// None, NotImplemented, tuples of results.
Owned none();
Owned not_implemented();
template <class... Items>
Owned make_tuple(Items&&... items) {
    PyObject* tuple = PyTuple_New(sizeof...(items));
    if (!tuple) throw nb::python_error();
    Py_ssize_t i = 0;
    (PyTuple_SET_ITEM(tuple, i++, items.release()), ...);
    return Owned(tuple);
}

/// An argument that is an array or a Python number (bool, int, float).
struct Operand {
    enum class Kind : uint8_t { array, boolean, integer, real } kind = Kind::array;
    Array array;
    double value = 0;  // of a number; an int beyond 2^53 is rounded, beyond double range it is refused by the caster

    bool is_array() const { return kind == Kind::array; }
};

/// Releases the GIL for its scope if the work is estimated above about a millisecond, never for less: beside a busy
/// Python thread taking it back costs up to 5 ms. Inside the scope nothing of Python may be touched.
class ReleaseGil {
  public:
    explicit ReleaseGil(double estimated_ns) : state_(estimated_ns > 1e6 ? PyEval_SaveThread() : nullptr) {}
    ~ReleaseGil() {
        if (state_) PyEval_RestoreThread(state_);
    }
    ReleaseGil(const ReleaseGil&) = delete;
    ReleaseGil& operator=(const ReleaseGil&) = delete;

  private:
    PyThreadState* state_;
};

/// Called once when the module is loaded.
void import_numpy();

}  // namespace chainrule

namespace nanobind::detail {

template <>
struct type_caster<chainrule::Array> {
    NB_TYPE_CASTER(chainrule::Array, const_name("numpy.ndarray"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        // None arrives only where the binding says .none()
        if (source.is_none()) return value = chainrule::Array(), true;
        if (!PyArray_Check(source.ptr())) return false;
        value = chainrule::Array(source.ptr());
        return true;
    }
};

template <>
struct type_caster<chainrule::Operand> {
    NB_TYPE_CASTER(chainrule::Operand, const_name("numpy.ndarray | float"))
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
        using Kind = chainrule::Operand::Kind;
        PyObject* object = source.ptr();
        if (PyArray_Check(object)) {
            value.kind = Kind::array;
            value.array = chainrule::Array(object);
            return true;
        }
        if (PyFloat_Check(object)) {
            value.kind = Kind::real;
            value.value = PyFloat_AS_DOUBLE(object);
            return true;
        }
        if (!PyLong_Check(object)) return false;
        value.kind = PyBool_Check(object) ? Kind::boolean : Kind::integer;
        value.value = PyLong_AsDouble(object);
        if (value.value == -1.0 && PyErr_Occurred()) return PyErr_Clear(), false;
        return true;
    }
};

template <>
struct type_caster<chainrule::Owned> {
    static constexpr auto Name = const_name("typing.Any");
    template <class T> using Cast = chainrule::Owned;
    template <class T> static constexpr bool can_cast() { return true; }
    static handle from_cpp(chainrule::Owned&& value, rv_policy, cleanup_list*) noexcept { return value.release(); }
};

}  // namespace nanobind::detail
