// Random draws on the CPU. `state` is an int64 array (seed, offset); a draw of n words uses ceil(n / 4) blocks and
// moves the offset past them. Bit-identical to backends/_philox.py for any number of threads.
#include "random/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"

namespace chainrule {
namespace {

constexpr long grain = 8192;  // elements of a piece; a multiple of 4: pieces begin with a block

/// Takes the next blocks for n elements of `words` words each from the state.
Stream take(const Array& state, long n, int words) {
    if (!state.is(DType::int64) || state.rank() != 1 || state.dim(0) != 2 || !state.writable())
        throw std::invalid_argument("a random state is a writable int64 array of shape (2,): seed and offset");
    const int64_t& seed = *state.data<int64_t>();
    int64_t& offset = *reinterpret_cast<int64_t*>(state.data<char>() + state.stride(0));
    const Stream stream{static_cast<uint64_t>(seed), static_cast<uint64_t>(offset)};
    offset += (n * words + 3) / 4;
    return stream;
}

template <class F>
void fill(long n, double element_ns, F f) {
    ReleaseGil gil(n * element_ns);
    parallel_range(n, grain, f);
}

Owned uniform(const Array& state, const Shape& shape, DTypeName dtype) {
    if (dtype.dtype != DType::float32 && dtype.dtype != DType::float64) return not_implemented();
    const bool wide = dtype.dtype == DType::float64;
    Owned y = make_output(shape.rank, shape.dims, dtype.dtype);
    const Stream stream = take(state, shape.size(), wide ? 2 : 1);
    fill(shape.size(), 1, [&](long begin, long end) {
        if (wide) random_kernels().uniform_f64(y.data<double>(), stream, begin, end);
        else random_kernels().uniform_f32(y.data<float>(), stream, begin, end);
    });
    return y;
}

Owned normal(const Array& state, const Shape& shape, DTypeName dtype) {
    if (dtype.dtype != DType::float32 && dtype.dtype != DType::float64) return not_implemented();
    Owned y = make_output(shape.rank, shape.dims, dtype.dtype);
    const Stream stream = take(state, shape.size(), 2);
    fill(shape.size(), 5, [&](long begin, long end) {
        if (dtype.dtype == DType::float64) random_kernels().normal_f64(y.data<double>(), stream, begin, end);
        else random_kernels().normal_f32(y.data<float>(), stream, begin, end);
    });
    return y;
}

Owned integers(const Array& state, int64_t low, int64_t high, const Shape& shape) {
    const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (high <= low || span >> 32) return not_implemented();  // the reference says what is wrong
    Owned y = make_output(shape.rank, shape.dims, DType::int64);
    const Stream stream = take(state, shape.size(), 2);
    fill(shape.size(), 2, [&](long begin, long end) {
        random_kernels().integers(y.data<int64_t>(), stream, begin, end, low, span);
    });
    return y;
}

Owned bernoulli(const Array& state, double p, const Shape& shape) {
    Owned y = make_output(shape.rank, shape.dims, DType::boolean);
    const Stream stream = take(state, shape.size(), 1);
    const auto threshold = static_cast<uint64_t>(std::floor(p * 0x1p32));
    fill(shape.size(), 1, [&](long begin, long end) {
        random_kernels().bernoulli(y.data<bool>(), stream, begin, end, threshold);
    });
    return y;
}

// The indices in the order of random keys; equal keys (one pair in 2^64) keep theirs.
Owned permutation(const Array& state, long n) {
    const npy_intp shape[] = {n};
    Owned y = make_output(1, shape, DType::int64);
    const Stream stream = take(state, n, 2);
    const Scratch<uint64_t> keys(n);
    ReleaseGil gil(n * 80.0);
    parallel_range(n, grain, [&](long begin, long end) { random_kernels().words(keys.data(), stream, begin, end); });
    struct Entry {
        uint64_t key;
        int64_t index;
    };
    const Scratch<Entry> entries(n);
    for (long i = 0; i < n; ++i) entries[i] = {keys[i], i};
    std::sort(entries.data(), entries.data() + n, [](const Entry& a, const Entry& b) {
        return a.key != b.key ? a.key < b.key : a.index < b.index;
    });
    for (long i = 0; i < n; ++i) y.data<int64_t>()[i] = entries[i].index;
    return y;
}

/// y, made row-major, in the memory order of x where that is dense: convolutions go on with channels-last images so.
Owned in_order_of(const Array& x, Owned y) {
    if (x.contiguous() || !x.dense()) return y;
    Owned turned = make_like(x, static_cast<Array>(y).dtype());
    auto* to = reinterpret_cast<PyArrayObject*>(static_cast<Array>(turned).object());
    if (PyArray_CopyInto(to, reinterpret_cast<PyArrayObject*>(static_cast<Array>(y).object())) < 0) throw nb::python_error();
    return turned;
}

Owned dropout(const Array& argument, const Array& state, double p) {
    if (!argument.is_float()) return not_implemented();
    const Owned copy = contiguous(argument);  // word i belongs to element i in row-major order
    const Array x = copy;
    Owned y = make_output(x.rank(), x.shape(), x.dtype()), mask = make_output(x.rank(), x.shape(), DType::boolean);
    const Stream stream = take(state, x.size(), 1);
    const auto threshold = static_cast<uint64_t>(std::nearbyint(p * 0x1p32));
    const double scale = p < 1 ? 1 / (1 - p) : 0;
    fill(x.size(), 1, [&](long begin, long end) {
        if (x.is(DType::float32))
            random_kernels().dropout_f32(y.data<float>(), mask.data<bool>(), x.data<float>(), stream, begin, end,
                                         threshold, static_cast<float>(scale));
        else
            random_kernels().dropout_f64(y.data<double>(), mask.data<bool>(), x.data<double>(), stream, begin, end,
                                         threshold, scale);
    });
    return make_tuple(in_order_of(argument, std::move(y)), in_order_of(argument, std::move(mask)));
}

}  // namespace

void bind_random(nb::module_& m) {
    using namespace nb::literals;
    m.def("uniform", &uniform, "state"_a, nb::kw_only(), "shape"_a, "dtype"_a);
    m.def("normal", &normal, "state"_a, nb::kw_only(), "shape"_a, "dtype"_a);
    m.def("integers", &integers, "state"_a, nb::kw_only(), "low"_a, "high"_a, "shape"_a);
    m.def("bernoulli", &bernoulli, "state"_a, nb::kw_only(), "p"_a, "shape"_a);
    m.def("permutation", &permutation, "state"_a, nb::kw_only(), "n"_a);
    m.def("dropout", &dropout, "x"_a, "state"_a, nb::kw_only(), "p"_a);
}

}  // namespace chainrule
