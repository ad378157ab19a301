// Bindings of the attention room: scaled_dot_product_attention, forward. Tiled with a running softmax (Dao et al.,
// 2022): of the scores only a block of 14 queries by 256 keys is ever there. Bound by FMAs: a causal head of 64 x 32 takes 5.5 us
// of a core of 117 GFLOP/s, of which its products alone need 3.1.
#include <nanobind/stl/optional.h>

#include "attention/attention.h"
#include "attention/heads.h"
#include "attention/rotary.h"
#include "core/params.h"

using namespace nb::literals;

namespace chainrule {

Owned output_like(const Array& x, long rows, long size) {
    const int rank = x.rank();
    npy_intp shape[max_rank], strides[max_rank], step = static_cast<npy_intp>(item_size(x.dtype()));
    int order[max_rank];
    for (int i = 0; i < rank; i++) shape[i] = x.dim(i), order[i] = i;
    shape[rank - 2] = rows, shape[rank - 1] = size;
    if (rank > 3 && x.stride(rank - 3) < x.stride(rank - 2)) std::swap(order[rank - 3], order[rank - 2]);
    for (int i = rank - 1; i >= 0; i--) {
        strides[order[i]] = step;
        step *= std::max<npy_intp>(1, shape[order[i]]);
    }
    return make_output(rank, shape, x.dtype(), strides);
}

namespace {

// Queries [first, last) of one head.
template <class T>
struct Forward {
    const Attention<T>& a;
    const Panels<T>& k;
    const Rows<T>& v;
    const Matrices<T>& y;
    T* logsumexp;

    static constexpr long most = 14,
                          pitch = Attention<T>::keys + 16;  // rows of a tile, at most; elements of a row of scores

    size_t scratch_size() const { return static_cast<size_t>(most * (v.width + (a.mask ? pitch : 0))); }

    // keys: the panels of the head of k.
    void run(long h, long first, long last, const T* keys, T* sum) const {
        const auto& rows_of = attention_kernels().of<T>();
        alignas(64) T scores[most * pitch], row[pitch];
        T top[most], total[most], shrink[most];
        long seen[most];
        T* const added = a.mask ? sum + most * v.width : nullptr;
        const long n = last - first, shared = h / a.group, visible = a.causal ? std::min(a.s, last) : a.s;
        std::fill(top, top + n, -std::numeric_limits<T>::infinity());
        std::fill(total, total + n, T(0));
        for (long k0 = 0; k0 < visible; k0 += Attention<T>::keys) {
            const long count = std::min(Attention<T>::keys, visible - k0), width = round_up(count, k.width);
            Block<T>{a.q.matrix(h) + first * a.q.row,
                     a.q.row,
                     a.q.col,
                     keys + k0 * k.depth,
                     k.width,
                     k.depth * k.width,
                     scores,
                     pitch}
                .run(n, width, k.depth);
            for (long i = 0; i < n; i++) {
                seen[i] = a.seen(first + i, k0, count);
                if (a.mask && (a.mask_row || !i)) a.added(added + i * pitch, h, first + i, k0, count);
            }
            rows_of.forward(
                {scores, pitch, n, seen, width, added, a.mask_row ? pitch : 0, a.scale, top, total, shrink});
            for (long i = 0; i < n; i++) {
                if (const T* by = a.kept(row, h, first + i, k0, count)) rows_of.multiply(scores + i * pitch, by, count);
                if (k0 && shrink[i] != 1) rows_of.scale(sum + i * v.width, 0, sum + i * v.width, 0, shrink + i, 1, v.width);
            }
            Block<T>{scores, pitch, 1, v.matrix(shared) + k0 * v.row, v.row, k.width, sum, v.width, k0 > 0}.run(
                n, v.width, count);
        }
        if (!visible) std::fill(sum, sum + n * v.width, T(0));
        rows_of.finish(total, top, logsumexp + h * a.t + first, n);
        rows_of.scale(y.matrix(h) + first * y.row, y.row, sum, v.width, total, n, v.size);
    }
};

template <class T>
Owned forward_of(const Array& q, const Array& k, const Array& v, const Array& mask, const Array& state, bool causal,
                 std::optional<double> scale, double dropout) {
    Owned y = output_like(q, q.dim(q.rank() - 2), v.dim(v.rank() - 1));
    Owned logsumexp = make_output(q.rank() - 1, q.shape(), q.dtype());
    const Matrices<T> queries(q), results(y);
    {
        const double flops = 2.0 * queries.count() * queries.n * k.dim(k.rank() - 2) * (queries.size + results.size);
        const ReleaseGil gil(flops / 50);
        const Rows<T> keys(k), values(v);
        const bool by_heads = keys.count() >= heads_for_threads;
        const Panels<T> panels(keys, !by_heads);
        const Attention<T> a(q, queries, keys, mask, state, causal, scale, dropout);
        const long most = gemm_kernels().of<T>().rows, parts = ceil_div(a.t, most);
        const Forward<T> task{a, panels, values, results, logsumexp.data<T>()};
        const long tasks = by_heads ? keys.count() : a.heads * parts, each = a.heads * parts / std::max(1L, tasks);
        const double cost = flops / static_cast<double>(std::max(1L, tasks));
        parallel_range(tasks, std::max(1L, static_cast<long>(5e5 / std::max(1.0, cost))), [&](long begin, long end) {
            const Scratch<T> scratch(task.scratch_size()), own(static_cast<size_t>(by_heads ? panels.size : 0));
            for (long u = begin * each, made = -1; u < end * each; u++) {
                const long h = u / parts, part = u % parts, shared = h / a.group;
                const T* of_keys = shared == made ? own.data() : panels.of(shared, own.data());
                if (by_heads) made = shared;
                task.run(h, part * a.t / parts, (part + 1) * a.t / parts, of_keys, scratch.data());
            }
        });
    }
    const auto same = [](const Array& x) {
        if (!x) return none();
        Py_INCREF(x.object());
        return Owned(x.object());
    };
    Owned again = same(y);
    return make_tuple(std::move(y), make_tuple(same(q), same(k), same(v), same(mask), same(state), std::move(again),
                                               std::move(logsumexp)));
}

// Whether k and v have the queries' batch, and as many heads or a divisor of them.
bool matching(const Array& q, const Array& k, const Array& v) {
    const int rank = q.rank();
    for (int i = 0; i + 2 < rank; i++) {
        const bool heads = rank > 3 && i == rank - 3;
        if (k.dim(i) != v.dim(i)) return false;
        if (heads ? k.dim(i) == 0 || q.dim(i) % k.dim(i) : q.dim(i) != k.dim(i)) return false;
    }
    return true;
}

Owned forward(Array q, Array k, Array v, Array mask, Array state, bool is_causal, std::optional<double> scale,
              double dropout) {
    if (!q.is_float() || !matching(q, k, v) || q.size() == 0) return not_implemented();
    return q.is(DType::float32) ? forward_of<float>(q, k, v, mask, state, is_causal, scale, dropout)
                                : forward_of<double>(q, k, v, mask, state, is_causal, scale, dropout);
}

Owned backward(Array g, Array q, Array k, Array v, Array mask, Array state, Array y, Array logsumexp, Needs needs,
               bool is_causal, std::optional<double> scale, double dropout) {
    if (needs[3]) return not_implemented();  // a mask's gradient is as large as the scores: the body makes it
    const Saved saved{g, q, k, v, mask, state, y, logsumexp, is_causal, scale, dropout};
    return q.is(DType::float32) ? attention_gradients<float>(saved) : attention_gradients<double>(saved);
}

}  // namespace

void bind_attention(nb::module_& m) {
    m.def("scaled_dot_product_attention", &forward, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "state"_a.none(),
          nb::kw_only(), "is_causal"_a, "scale"_a.none(), "dropout"_a);
    m.def("scaled_dot_product_attention_vjp", &backward, "g"_a, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "state"_a.none(),
          "y"_a, "logsumexp"_a, nb::kw_only(), "needs"_a, "is_causal"_a, "scale"_a.none(), "dropout"_a);
    bind_rotary(m);
}

}  // namespace chainrule
