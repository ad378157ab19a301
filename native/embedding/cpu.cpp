// Rows of a table, and the gradient of the table. Bound by memory: a row is copied, or added to, once for each index.
//
// The gradient is divided by columns: each piece goes through all indices in order, so that rows named twice are summed in
// the same order whatever the number of threads.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"

namespace chainrule {

namespace {

constexpr long grain = 32768, columns = 64;  // elements of a piece of the result; columns of one of the gradient

// An index without a row is left to the body, which says so.
Owned embedding(const Array& indices, const Array& weight, nb::handle) {
    if (!weight.is_float() || !indices.is(DType::int64) || weight.rank() != 2 || indices.rank() >= max_rank)
        return not_implemented();
    const Owned from = contiguous(weight), which = contiguous(indices);
    const long count = indices.size(), rows = weight.dim(0), width = weight.dim(1);
    const int64_t* at = which.data<int64_t>();
    if (std::any_of(at, at + count, [rows](int64_t i) { return i < 0 || i >= rows; })) return not_implemented();
    npy_intp shape[max_rank];
    std::copy_n(indices.shape(), indices.rank(), shape);
    shape[indices.rank()] = width;
    Owned y = make_output(indices.rank() + 1, shape, weight.dtype());
    {
        const long bytes = width * item_size(weight.dtype());
        const ReleaseGil gil(static_cast<double>(count * bytes) / 8);
        const auto* source = static_cast<const char*>(from.raw());
        auto* to = static_cast<char*>(y.raw());
        parallel_range(count, std::max(1L, grain / std::max(1L, width)), [&](long begin, long end) {
            for (long i = begin; i < end; i++)
                std::memcpy(to + i * bytes, source + at[i] * bytes, static_cast<size_t>(bytes));
        });
    }
    const npy_intp one[1] = {1};
    Owned size = make_output(1, one, DType::int64);
    size.data<int64_t>()[0] = rows;
    Py_INCREF(indices.object());
    return make_tuple(std::move(y), make_tuple(Owned(indices.object()), std::move(size)));
}

template <class T>
Owned gradient(const Array& g, const Array& indices, long rows, int64_t padding) {
    const Owned from = contiguous(g), which = contiguous(indices);
    const long count = indices.size(), width = g.dim(g.rank() - 1);
    const npy_intp shape[2] = {rows, width};
    Owned result = make_output(2, shape, g.dtype());
    const T* pg = from.data<T>();
    const int64_t* at = which.data<int64_t>();
    T* to = result.data<T>();
    const ReleaseGil gil(static_cast<double>((count + rows) * width) / 2);
    parallel_range(width, columns, [&](long begin, long end) {
        for (long r = 0; r < rows; r++) std::fill(to + r * width + begin, to + r * width + end, T(0));
        for (long i = 0; i < count; i++) {
            if (at[i] == padding) continue;
            T* row = to + at[i] * width;
            const T* add = pg + i * width;
            for (long j = begin; j < end; j++) row[j] += add[j];
        }
    });
    return result;
}

Owned embedding_vjp(const Array& g, const Array& indices, const Array& size, const Needs& needs, nb::handle padding_idx) {
    if (!g.is_float()) return not_implemented();
    if (!needs[1]) return make_tuple(none(), none());
    const int64_t padding = padding_idx.is_none() ? -1 : nb::cast<int64_t>(padding_idx);
    const long rows = size.data<int64_t>()[0];
    return make_tuple(none(), g.is(DType::float32) ? gradient<float>(g, indices, rows, padding)
                                                   : gradient<double>(g, indices, rows, padding));
}

}  // namespace

void bind_embedding(nb::module_& m) {
    using namespace nb::literals;
    m.def("embedding", &embedding, "indices"_a, "weight"_a, nb::kw_only(), "padding_idx"_a = nb::none());
    m.def("embedding_vjp", &embedding_vjp, "g"_a, "indices"_a, "size"_a, nb::kw_only(), "needs"_a,
          "padding_idx"_a = nb::none());
}

}  // namespace chainrule
