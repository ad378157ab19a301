// Bindings of the gemm room: matmul, linear with or without an activation, and linear's gradients.
#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "core/array.h"
#include "core/map.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "gemm/epilogue.h"
#include "gemm/gemm.h"
#include "gemm/kernels.h"

using namespace nb::literals;

namespace chainrule {

namespace {

double nanoseconds(double m, double n, double k) { return 2 * m * n * k / 100; }  // at 100 GFLOP/s

// The last two axes of an array, the leading ones folded into the rows if their strides allow it. Strides in elements.
struct Matrix {
    long rows = 1, cols, row, col;

    static bool fold(const Array& x, long item, Matrix& m) {
        const int last = x.rank() - 1;
        m.cols = x.dim(last);
        m.col = x.stride(last) / item;
        m.row = 0;
        for (int i = last - 1; i >= 0; i--) {
            if (x.dim(i) == 1) continue;
            if (m.rows == 1)
                m.row = x.stride(i) / item;
            else if (x.stride(i) / item != m.row * m.rows)
                return false;
            m.rows *= x.dim(i);
        }
        if (m.rows == 1) m.row = m.cols;
        return true;
    }
};

// x as a matrix of rows; a copy where the strides do not allow it.
template <class T>
Owned folded(const Array& x, Matrix& m) {
    m = Matrix{};
    if (x.size() > 0 && Matrix::fold(x, sizeof(T), m)) {
        Py_INCREF(x.object());
        return Owned(x.object());
    }
    m = Matrix{};
    Owned copy = contiguous(x);
    m.cols = m.row = x.dim(x.rank() - 1);
    m.col = 1;
    for (int i = 0; i + 1 < x.rank(); i++) m.rows *= x.dim(i);
    return copy;
}

template <class T>
Owned matmul_of(const Array& a, const Array& b) {
    const long item = sizeof(T);
    const int ra = a.rank(), rb = b.rank(), rank = std::max(ra, rb);
    const long m = a.dim(ra - 2), k = a.dim(ra - 1), n = b.dim(rb - 1);
    npy_intp shape[max_rank];
    long sa[max_rank], sb[max_rank], batch = 1;  // strides of the leading axes in elements, 0 where broadcast
    bool one_b = true;
    for (int i = 0; i < rank - 2; i++) {
        const int ia = i - (rank - ra), ib = i - (rank - rb);
        const long da = ia >= 0 ? a.dim(ia) : 1, db = ib >= 0 ? b.dim(ib) : 1;
        if (da != db && da != 1 && db != 1) throw std::invalid_argument("[matmul] the leading axes do not broadcast");
        shape[i] = da == 1 ? db : da;
        sa[i] = da == 1 ? 0 : a.stride(ia) / item;
        sb[i] = db == 1 ? 0 : b.stride(ib) / item;
        one_b = one_b && db == 1;
        batch *= shape[i];
    }
    shape[rank - 2] = m;
    shape[rank - 1] = n;
    Owned c = make_output(rank, shape, a);
    Product<T> p{m,
                 n,
                 k,
                 a.data<T>(),
                 a.stride(ra - 2) / item,
                 a.stride(ra - 1) / item,
                 b.data<T>(),
                 b.stride(rb - 2) / item,
                 b.stride(rb - 1) / item,
                 c.data<T>(),
                 n};
    Matrix rows;
    const bool fold = one_b && batch > 1 && m * k > 0 && ra == rank && Matrix::fold(a, item, rows);
    if (fold) {  // one matrix b for every batch: one tall product
        p.m = rows.rows;
        p.a_row = rows.row;
        batch = 1;
    }
    const ReleaseGil gil(batch * nanoseconds(static_cast<double>(p.m), n, k));
    const auto one = [&](long index) {
        Product<T> q = p;
        q.c += index * m * n;
        for (int i = rank - 3; i >= 0 && !fold; i--) {
            q.a += index % shape[i] * sa[i];
            q.b += index % shape[i] * sb[i];
            index /= shape[i];
        }
        gemm(q);
    };
    const long flops = std::max(1L, 2 * m * n * k);
    if (flops >= 8'000'000) {  // each big enough to be cut itself
        for (long i = 0; i < batch; i++) one(i);
    } else {
        parallel_range(batch, std::max(1L, 4'000'000 / flops), [&](long begin, long end) {
            for (long i = begin; i < end; i++) one(i);
        });
    }
    return c;
}

// Whether all are of one dtype that has kernels here.
bool served(const Array& a, const Array& b, const Array& c = {}) {
    if (a.is_bfloat16()) return bfloat16_products() && b.is_bfloat16() && (!c || c.is_bfloat16());
    return a.is_float() && b.dtype() == a.dtype() && (!c || c.dtype() == a.dtype());
}

Owned matmul(Array a, Array b) {
    if (!served(a, b)) return not_implemented();
    if (a.rank() < 2 || b.rank() < 2 || a.dim(a.rank() - 1) != b.dim(b.rank() - 2))
        throw std::invalid_argument("[matmul] a and b must be (..., m, k) and (..., k, n)");
    if (a.is_bfloat16()) return matmul_of<BFloat16>(a, b);
    return a.is(DType::float32) ? matmul_of<float>(a, b) : matmul_of<double>(a, b);
}

constexpr int no_activation = -1, gelu = 3, silu = 4;

// Where the epilogue's tables have an activation.
int activation_of(std::string_view name) {
    return name == "relu"      ? 0
           : name == "sigmoid" ? 1
           : name == "tanh"    ? 2
           : name == "gelu"    ? gelu
           : name == "silu"    ? silu
                               : no_activation;
}

template <class T>
Owned linear_of(const Array& x, const Array& weight, const Array& bias, int activation) {
    Matrix m;
    const Owned rows = folded<T>(x, m);
    const Owned flat_bias = bias ? contiguous(bias) : Owned();
    npy_intp shape[max_rank];
    std::copy(x.shape(), x.shape() + x.rank(), shape);
    const long out = shape[x.rank() - 1] = weight.dim(0);
    Owned y = make_output(x.rank(), shape, x);
    // gelu and silu keep what they are applied to, the others their result
    Owned kept = activation >= gelu ? make_output(x.rank(), shape, x) : Owned();
    {
        const ReleaseGil gil(nanoseconds(static_cast<double>(m.rows), out, m.cols));
        const long item = sizeof(T);
        gemm(Product<T>{.m = m.rows,
                        .n = out,
                        .k = m.cols,
                        .a = rows.data<T>(),
                        .a_row = m.row,
                        .a_col = m.col,
                        .b = weight.data<T>(),
                        .b_row = weight.stride(1) / item,
                        .b_col = weight.stride(0) / item,
                        .c = kept ? kept.data<T>() : y.data<T>(),
                        .ldc = out,
                        .bias = bias ? flat_bias.data<T>() : nullptr,
                        .activate = activation == no_activation ? nullptr : epilogue_kernels().of<sum_of<T>>()[activation],
                        .activated = kept ? y.data<T>() : nullptr});
    }
    if (activation == no_activation) return make_tuple(std::move(y), make_tuple(reference(x), reference(weight)));
    if (!kept) kept = reference(y);
    return make_tuple(std::move(y), make_tuple(reference(x), reference(weight), std::move(kept)));
}

Owned product_of_rows(const Array& x, const Array& weight, const Array& bias, int activation) {
    if (!served(x, weight, bias)) return not_implemented();
    if (x.rank() < 1 || weight.rank() != 2 || x.dim(x.rank() - 1) != weight.dim(1) ||
        (bias && (bias.rank() != 1 || bias.dim(0) != weight.dim(0))))
        throw std::invalid_argument("[linear] x, weight and bias must be (..., in), (out, in) and (out,)");
    if (x.is_bfloat16()) return linear_of<BFloat16>(x, weight, bias, activation);
    return x.is(DType::float32) ? linear_of<float>(x, weight, bias, activation)
                                : linear_of<double>(x, weight, bias, activation);
}

Owned linear(Array x, Array weight, Array bias) { return product_of_rows(x, weight, bias, no_activation); }

Owned linear_activation(Array x, Array weight, Array bias, const char* activation) {
    const int f = activation_of(activation);
    return f == no_activation ? not_implemented() : product_of_rows(x, weight, bias, f);
}

template <class T>
void narrow(const double* sums, T* to, long n) {
    if constexpr (std::is_same_v<T, BFloat16>)
        for (long j = 0; j < n; j++) {
            const auto sum = static_cast<float>(sums[j]);
            pair_kernels()->round(&sum, 1, &to[j].bits, 1, 1, 1);
        }
    else
        std::copy(sums, sums + n, to);
}

template <class T>
Owned linear_vjp_of(const Array& g, const Array& x, const Array& weight, const Needs& needs) {
    const long item = sizeof(T), in = weight.dim(1), out = weight.dim(0);
    Matrix mg, mx;
    const Owned rows_g = folded<T>(g, mg), rows_x = folded<T>(x, mx);
    const double ns = nanoseconds(static_cast<double>(mx.rows), in, out);
    Owned gx = none(), gw = none(), gb = none();
    if (needs[0]) {
        gx = make_output(x.rank(), x.shape(), x);
        const ReleaseGil gil(ns);
        gemm(Product<T>{mg.rows, in, out, rows_g.data<T>(), mg.row, mg.col, weight.data<T>(), weight.stride(0) / item,
                        weight.stride(1) / item, gx.data<T>(), in});
    }
    if (needs[1]) {
        const npy_intp shape[2] = {out, in};
        gw = make_output(2, shape, x);
        const ReleaseGil gil(ns);
        gemm(Product<T>{out, in, mg.rows, rows_g.data<T>(), mg.col, mg.row, rows_x.data<T>(), mx.row, mx.col,
                        gw.data<T>(), in});
    }
    if (needs[2]) {
        const npy_intp shape[1] = {out};
        gb = make_output(1, shape, x);
        const Owned flat = mg.col == 1 ? Owned() : contiguous(g);
        const Scratch<double> sums(static_cast<size_t>(out));
        const ReleaseGil gil(static_cast<double>(mg.rows * out) / 4);
        column_sums(flat ? flat.data<T>() : rows_g.data<T>(), flat ? out : mg.row, mg.rows, out, sums.data());
        narrow(sums.data(), gb.data<T>(), out);
    }
    return make_tuple(std::move(gx), std::move(gw), std::move(gb));
}

Owned linear_vjp(Array g, Array x, Array weight, Needs needs) {
    if (!served(g, x, weight) && !g.is_float()) return not_implemented();
    if (!served(g, x, weight)) throw std::invalid_argument("[linear_vjp] g must have the dtype of x");
    if (x.is_bfloat16()) return linear_vjp_of<BFloat16>(g, x, weight, needs);
    return x.is(DType::float32) ? linear_vjp_of<float>(g, x, weight, needs)
                                : linear_vjp_of<double>(g, x, weight, needs);
}

Owned linear_activation_vjp(Array g, Array x, Array weight, Array y, Needs needs, const char* activation) {
    if (g.dtype() != x.dtype()) throw std::invalid_argument("[linear_activation_vjp] g must have the dtype of x");
    const MapKernel gradient = epilogue_kernels().gradient[activation_of(activation)][float_index(y.dtype())];
    const Owned inner = map(gradient, y.dtype(), {g, y}, activation_of(activation) < gelu ? cheap : polynomial_cost);
    return linear_vjp(inner, x, weight, needs);
}

}  // namespace

void bind_gemm(nb::module_& m) {
    m.def("matmul", &matmul, "a"_a, "b"_a);
    m.def("linear", &linear, "x"_a, "weight"_a, "bias"_a.none());
    m.def("linear_vjp", &linear_vjp, "g"_a, "x"_a, "weight"_a, nb::kw_only(), "needs"_a);
    m.def("linear_activation", &linear_activation, "x"_a, "weight"_a, "bias"_a.none(), nb::kw_only(), "activation"_a);
    m.def("linear_activation_vjp", &linear_activation_vjp, "g"_a, "x"_a, "weight"_a, "y"_a, nb::kw_only(), "needs"_a,
          "activation"_a);
}

}  // namespace chainrule
