// Image arrays: shape (n, c, h, w) always, memory order by strides.
#pragma once

#include <stdexcept>

#include "core/array.h"

namespace chainrule {

// A batch of images; strides in elements.
template <class T>
struct Images {
    T* data;
    long n, c, h, w;
    long sn, sc, sh, sw;
};

template <class T>
Images<T> images(const Array& x) {
    const long item = sizeof(T);
    return {x.data<T>(),        x.dim(0),           x.dim(1),           x.dim(2),          x.dim(3),
            x.stride(0) / item, x.stride(1) / item, x.stride(2) / item, x.stride(3) / item};
}

/// Channels beside each other in memory; an array of one channel counts, for its results then stay channels-last.
inline bool channels_last(const Array& x) { return x.dim(1) == 1 || x.stride(1) == item_size(x.dtype()); }

/// New images, channels-last or row-major.
inline Owned make_images(long n, long c, long h, long w, DType dtype, bool last) {
    const npy_intp shape[4] = {n, c, h, w}, item = item_size(dtype);
    const npy_intp strides[4] = {h * w * c * item, item, w * c * item, c * item};
    return make_output(4, shape, dtype, last ? strides : nullptr);
}

/// x itself if it lies densely in that order (axes of one element have no say), else a copy that does.
inline Owned ordered(const Array& x, bool last) {
    long expected = item_size(x.dtype());
    bool as_wanted = true;
    for (int axis : {last ? 1 : 3, last ? 3 : 2, last ? 2 : 1, 0}) {
        as_wanted = as_wanted && (x.dim(axis) == 1 || x.stride(axis) == expected);
        expected *= x.dim(axis);
    }
    if (as_wanted) {
        Py_INCREF(x.object());
        return Owned(x.object());
    }
    Owned y = make_images(x.dim(0), x.dim(1), x.dim(2), x.dim(3), x.dtype(), last);
    auto* to = reinterpret_cast<PyArrayObject*>(static_cast<Array>(y).object());
    if (PyArray_CopyInto(to, reinterpret_cast<PyArrayObject*>(x.object())) < 0) throw nb::python_error();
    return y;
}

}  // namespace chainrule
