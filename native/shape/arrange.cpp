// reshape: a view where the strides allow it, else the copy of core/copy.h. tril, triu, flip and concat: bound by memory. Of tril
// and triu a part of each row is copied and the rest is zero.
#include "shape/arrange.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/copy.h"
#include "core/params.h"
#include "core/threads.h"
#include "shape/kernels.h"

namespace chainrule {
namespace {

/// The strides of a view of x in another shape of as many elements; false if there is none.
bool view_strides(const Array& x, const Shape& shape, npy_intp* strides) {
    int old[max_rank], n = 0;  // the axes that are longer than 1
    for (int d = 0; d < x.rank(); ++d)
        if (x.dim(d) != 1) old[n++] = d;
    long step = item_size(x.dtype());
    int to = shape.rank;
    for (int i = n; i > 0;) {  // from the last axis on: groups of old and new axes of one product
        long size = x.dim(old[i - 1]), wanted = 1;
        step = x.stride(old[i - 1]);
        while (to > 0 && wanted < size) {
            strides[--to] = step * wanted;
            wanted *= shape.dims[to];
        }
        for (--i; wanted > size; --i) {  // further old axes in this group lie as one with it
            if (i == 0 || x.stride(old[i - 1]) != step * size) return false;
            size *= x.dim(old[i - 1]);
            while (to > 0 && wanted < size) {
                strides[--to] = step * wanted;
                wanted *= shape.dims[to];
            }
        }
        if (wanted != size) return false;
    }
    while (to > 0) strides[--to] = step;  // axes of length 1
    return true;
}

Owned reshape(const Array& x, const Shape& shape) {
    auto* array = reinterpret_cast<PyArrayObject*>(x.object());
    if (x.contiguous() || x.size() == 0 || x.is(DType::other)) {
        PyArray_Dims dims{const_cast<npy_intp*>(shape.dims), shape.rank};
        PyObject* y = PyArray_Newshape(array, &dims, NPY_CORDER);
        if (!y) throw nb::python_error();
        return Owned(y);
    }
    npy_intp strides[max_rank];
    if (shape.size() != x.size()) throw nb::value_error("the new shape has another number of elements");
    if (!view_strides(x, shape, strides)) {
        Owned y = make_output(shape.rank, shape.dims, x.dtype());
        npy_intp dense[max_rank];
        long step = item_size(x.dtype());
        for (int d = x.rank() - 1; d >= 0; --d) dense[d] = step, step *= x.dim(d);
        const ReleaseGil gil(x.size() * 0.5);
        copy_elements(x.rank(), x.shape(), static_cast<char*>(y.raw()), dense, x.data<char>(), x.strides(),
                      item_size(x.dtype()));
        return y;
    }
    PyArray_Descr* descriptor = PyArray_DESCR(array);
    Py_INCREF(descriptor);
    PyObject* y = PyArray_NewFromDescr(&PyArray_Type, descriptor, shape.rank, const_cast<npy_intp*>(shape.dims), strides,
                                       x.raw(), PyArray_FLAGS(array) & NPY_ARRAY_WRITEABLE, nullptr);
    if (!y) throw nb::python_error();
    Owned view(y);
    Py_INCREF(x.object());
    if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(y), x.object()) < 0) throw nb::python_error();
    return view;
}

Owned triangle(const Array& x, long diagonal, bool lower) {
    const int rank = x.rank();
    if (x.is(DType::other) || rank < 2) return not_implemented();
    const Owned from = contiguous(x);
    Owned y = make_output(rank, x.shape(), x.dtype());
    const long rows = x.dim(rank - 2), columns = x.dim(rank - 1), item = item_size(x.dtype());
    if (x.size() == 0) return y;
    const ReleaseGil gil(0.1 * static_cast<double>(x.size()));
    parallel_range(x.size() / columns, std::max(1L, 32768 / columns), [&](long begin, long end) {
        for (long row = begin; row < end; ++row) {
            const long place = row * columns * item;
            const long edge = std::clamp(row % rows + diagonal + (lower ? 1 : 0), 0L, columns) * item, n = columns * item;
            const char* source = static_cast<const char*>(from.raw()) + place;
            char* to = static_cast<char*>(y.raw()) + place;
            if (lower) {
                std::memcpy(to, source, edge);
                std::memset(to + edge, 0, n - edge);
            } else {
                std::memset(to, 0, edge);
                std::memcpy(to + edge, source + edge, n - edge);
            }
        }
    });
    return y;
}

Owned flip(const Array& x, const Axes& axes) {
    if (x.is(DType::other)) return not_implemented();
    const uint64_t mask = axes.mask(x.rank());
    Owned y = make_output(x.rank(), x.shape(), x.dtype());
    if (x.size() == 0) return y;
    const int rank = x.rank();
    const long item = item_size(x.dtype()), n = rank ? x.dim(rank - 1) : 1;
    if (rank && mask >> (rank - 1) & 1 && n >= 16 && (item == 4 || item == 8)) {  // whole rows backwards
        const Owned in_order = contiguous(x);
        const auto* source = static_cast<const char*>(in_order.raw());
        auto* to = static_cast<char*>(y.raw());
        const ReleaseGil gil(0.1 * static_cast<double>(x.size()));
        parallel_range(x.size() / n, std::max(1L, 32768 / n), [&](long begin, long end) {
            for (long row = begin; row < end; ++row) {
                long from = 0, rest = row, step = 1;  // the row that comes here
                for (int d = rank - 2; d >= 0; rest /= x.dim(d), step *= x.dim(d), --d)
                    from += step * (mask >> d & 1 ? x.dim(d) - 1 - rest % x.dim(d) : rest % x.dim(d));
                shape_kernels().reversed[item == 8](to + row * n * item, source + from * n * item, n);
            }
        });
        return y;
    }
    const Array to = y;
    const char* from = x.data<char>();
    npy_intp strides[max_rank];
    for (int d = 0; d < x.rank(); ++d) {
        const bool turned = mask >> d & 1;
        strides[d] = turned ? -x.stride(d) : x.stride(d);
        if (turned) from += (x.dim(d) - 1) * x.stride(d);
    }
    const ReleaseGil gil(0.5 * static_cast<double>(x.size()));
    copy_elements(x.rank(), x.shape(), to.data<char>(), to.strides(), from, strides, item_size(x.dtype()));
    return y;
}

Owned concat(const nb::args& xs, long axis) {
    if (xs.size() == 0) return not_implemented();
    npy_intp shape[max_rank];
    std::vector<Array> parts;
    for (nb::handle object : xs) {
        if (!PyArray_Check(object.ptr())) return not_implemented();
        const Array x(object.ptr());
        const int rank = x.rank();
        if (parts.empty()) {
            if (axis < 0) axis += rank;
            if (axis < 0 || axis >= rank) return not_implemented();
            std::copy_n(x.shape(), rank, shape);
        } else {
            if (rank != parts[0].rank() || x.dtype() != parts[0].dtype()) return not_implemented();
            for (int d = 0; d < rank; ++d)
                if (d != axis && x.dim(d) != shape[d]) return not_implemented();
            shape[axis] += x.dim(static_cast<int>(axis));
        }
        if (x.is(DType::other)) return not_implemented();
        parts.push_back(x);
    }
    Owned y = make_output(parts[0].rank(), shape, parts[0].dtype());
    const Array whole = y;
    char* to = static_cast<char*>(y.raw());
    const ReleaseGil gil(0.25 * static_cast<double>(whole.size()));
    for (const Array& x : parts) {
        copy_elements(x.rank(), x.shape(), to, whole.strides(), x.data<char>(), x.strides(), item_size(x.dtype()));
        to += x.dim(static_cast<int>(axis)) * whole.stride(static_cast<int>(axis));
    }
    return y;
}

}  // namespace

void bind_arrange(nb::module_& m) {
    using namespace nb::literals;
    m.def("reshape", &reshape, "x"_a, nb::kw_only(), "shape"_a);
    m.def("concat", &concat, "xs"_a, nb::kw_only(), "axis"_a = 0);
    m.def("flip", &flip, "x"_a, nb::kw_only(), "axis"_a);
    m.def("tril", [](const Array& x, long diagonal) { return triangle(x, diagonal, true); }, "x"_a, nb::kw_only(),
          "diagonal"_a = 0);
    m.def("triu", [](const Array& x, long diagonal) { return triangle(x, diagonal, false); }, "x"_a, nb::kw_only(),
          "diagonal"_a = 0);
}

}  // namespace chainrule
