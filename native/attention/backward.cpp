// The gradients of attention. The weights are made again, block by block, from the logarithm of each row's sum (Dao et
// al., 2022). Where there are heads enough for all threads, each is one task (five products a block); else a task for
// each block of keys makes the gradients of k and v, and one for each block of queries those of q (seven). Which, the
// shape alone says. Bound by FMAs: a causal head of 64 x 32 takes 10.9 us of a core of 117 GFLOP/s, of which its products
// alone need 7.6; the exponentials come next, and the first touch of g, y, k and v.
#include "attention/attention.h"
#include "attention/heads.h"

namespace chainrule {

namespace {

constexpr long block = 64;  // queries, and keys, at a time

// Rows that products write, or add to.
template <class T>
struct Place {
    T* data = nullptr;
    long row = 0;
    bool add = false;
};

// Rows of a gradient where products write them: in place if they lie so that vectors can be written, else apart.
template <class T>
struct Target {
    T* data;
    long row;

    Target(const Matrices<T>& g, long m, long begin, long count, long width)
        : data(g.matrix(m) + begin * g.row),
          row(g.row),
          g_(g),
          count_(count),
          apart_(g.col == 1 && g.size == width ? 0 : static_cast<size_t>(count * width)) {
        if (g.col != 1 || g.size != width) data = apart_.data(), row = width;
    }
    void zero(long begin, long end, long width) const {
        for (long i = begin; i < end; i++) std::fill(data + i * row, data + i * row + width, T(0));
    }
    Place<T> at(long i, bool add) const { return {data + i * row, row, add}; }
    /// To where the rows belong: from `begin` of matrix m.
    void finish(long m, long begin) const {
        T* to = g_.matrix(m) + begin * g_.row;
        if (to == data) return;
        for (long i = 0; i < count_; i++)
            for (long j = 0; j < g_.size; j++) to[i * g_.row + j * g_.col] = data[i * row + j];
    }

  private:
    const Matrices<T>& g_;
    long count_;
    Scratch<T> apart_;
};

template <class T>
struct Backward {
    const Attention<T>& a;
    const Rows<T>&q, &k, &v, &g;
    const Panels<T>&kt, &vt;
    const Matrices<T>&y, &gq, &gk, &gv;
    const T* logsumexp;

    // The gradients of queries [q0, q1) of heads [h0, h1), or of keys and values [k0, k1) of the head they share; or
    // both.
    void run(long h0, long h1, long q0, long q1, long k0, long k1, bool of_q, bool of_k) const {
        const auto& rows_of = attention_kernels().of<T>();
        const long shared = h0 / a.group, keys = of_k ? k1 - k0 : 0;
        const Target<T> dk(gk, shared, k0, keys, k.width), dv(gv, shared, k0, keys, v.width);
        const Scratch<T> own(static_cast<size_t>(kt.size + vt.size));
        const T *keys_t = kt.of(shared, own.data()), *values_t = vt.of(shared, own.data() + kt.size);
        const auto first_seeing = [&](long j0) { return a.causal ? std::max(q0, j0 / block * block) : q0; };
        T dots[block];
        for (long h = h0; h < h1; h++) {
            const Target<T> dq(gq, h, q0, of_q ? q1 - q0 : 0, q.width);
            for (long i0 = q0; i0 < q1; i0 += block) {
                const long i1 = std::min(q1, i0 + block), last = a.causal ? std::min(k1, i1) : k1;
                if (of_q && k0 >= last) dq.zero(i0 - q0, i1 - q0, q.width);
                if (k0 >= last) continue;
                rows_of.dots(dots, g.matrix(h) + i0 * g.row, g.row, y.matrix(h) + i0 * y.row, y.row, i1 - i0, v.size);
                for (long j0 = k0; j0 < last; j0 += block) {
                    const bool more = h > h0 || i0 > first_seeing(j0);
                    pair(h, keys_t, values_t, i0, i1 - i0, j0, std::min(k1, j0 + block) - j0, dots,
                         of_q ? dq.at(i0 - q0, j0 > k0) : Place<T>{}, of_k ? dk.at(j0 - k0, more) : Place<T>{},
                         of_k ? dv.at(j0 - k0, more) : Place<T>{});
                }
            }
            if (of_q) dq.finish(h, q0);
        }
        for (long j0 = k0; of_k && j0 < k1; j0 += block) {
            if (h0 < h1 && first_seeing(j0) < q1) continue;
            const long end = std::min(k1, j0 + block) - k0;  // keys that no query may look at
            dk.zero(j0 - k0, end, k.width);
            dv.zero(j0 - k0, end, v.width);
        }
        if (of_k) dk.finish(shared, k0), dv.finish(shared, k0);
    }

  private:
    // A block of n queries from i0 and m keys from j0.
    void pair(long h, const T* keys_t, const T* values_t, long i0, long n, long j0, long m, const T* dots, Place<T> dq,
              Place<T> dk, Place<T> dv) const {
        constexpr long pitch = block + 16, most = 14;
        alignas(64) T p[block * pitch], ds[block * pitch], added[most * pitch], kept[most * pitch];
        const auto& kernels = attention_kernels().of<T>();
        const long parts = ceil_div(n, static_cast<long>(gemm_kernels().of<T>().rows)), width = kt.width, shared = h / a.group;
        const T *qs = q.matrix(h) + i0 * q.row, *gs = g.matrix(h) + i0 * g.row;
        for (long part = 0; part < parts; part++) {
            const long r0 = part * n / parts, r1 = (part + 1) * n / parts;
            const long columns = round_up(a.seen(i0 + r1 - 1, j0, m), width);
            T *scores = p + r0 * pitch, *gradients = ds + r0 * pitch;
            Block<T>{qs + r0 * q.row, q.row, 1, keys_t + j0 * kt.depth, width, kt.depth * width, scores, pitch}.run(
                r1 - r0, columns, kt.depth);
            Block<T>{gs + r0 * g.row, g.row, 1, values_t + j0 * vt.depth, width, vt.depth * width, gradients, pitch}.run(
                r1 - r0, columns, vt.depth);
            long seen[most];
            for (long r = r0; r < r1; r++) {
                seen[r - r0] = a.seen(i0 + r, j0, m);
                if (a.mask && (a.mask_row || !r)) a.added(added + (a.mask_row ? r - r0 : 0) * pitch, h, i0 + r, j0, m);
                if (a.threshold) a.kept(kept + (r - r0) * pitch, h, i0 + r, j0, m);
            }
            kernels.backward({scores, gradients, pitch, r1 - r0, seen, round_up(m, width), a.mask ? added : nullptr,
                              a.mask_row ? pitch : 0, a.threshold ? kept : nullptr, pitch, a.scale,
                              logsumexp + h * a.t + i0 + r0, dots + r0});
            if (dq.data)
                Block<T>{gradients,            pitch,  1,     k.matrix(shared) + j0 * k.row, k.row, width,
                         dq.data + r0 * dq.row, dq.row, dq.add}
                    .run(r1 - r0, q.width, a.seen(i0 + r1 - 1, j0, m));
        }
        if (!dk.data) return;
        const long most_rows = gemm_kernels().of<T>().rows;
        for (long part = 0, of = ceil_div(m, most_rows); part < of; part++) {
            const long c0 = part * m / of, c1 = (part + 1) * m / of;
            const long from = a.causal ? std::clamp(j0 + c0 - i0, 0L, n) : 0;  // queries before see none of these keys
            Block<T>{p + from * pitch + c0, 1,      pitch, gs + from * g.row, g.row, width,
                     dv.data + c0 * dv.row, dv.row, dv.add}
                .run(c1 - c0, v.width, n - from);
            Block<T>{ds + from * pitch + c0, 1,      pitch, qs + from * q.row, q.row, width,
                     dk.data + c0 * dk.row,  dk.row, dk.add}
                .run(c1 - c0, k.width, n - from);
        }
    }
};

}  // namespace

template <class T>
Owned attention_gradients(const Saved& x) {
    Owned gq = output_like(x.q, x.q.dim(x.q.rank() - 2), x.q.dim(x.q.rank() - 1));
    Owned gk = output_like(x.k, x.k.dim(x.k.rank() - 2), x.k.dim(x.k.rank() - 1));
    Owned gv = output_like(x.v, x.v.dim(x.v.rank() - 2), x.v.dim(x.v.rank() - 1));
    const Matrices<T> of_q(gq), of_k(gk), of_v(gv);
    {
        const double flops = 5.0 * of_q.count() * of_q.n * of_k.n * (of_q.size + of_v.size);
        const ReleaseGil gil(flops / 50);
        const Rows<T> q(x.q), k(x.k), v(x.v), g(x.g);
        const Matrices<T> y(x.y);
        const long shared = k.count(), query_blocks = ceil_div(q.n, block), key_blocks = ceil_div(k.n, block);
        const bool by_heads = shared >= heads_for_threads || query_blocks * key_blocks == 1;
        const Panels<T> kt(k, !by_heads), vt(v, !by_heads);
        const Attention<T> a(x.q, q, k, x.mask, x.state, x.causal, x.scale, x.dropout);
        const Backward<T> task{a, q, k, v, g, kt, vt, y, of_q, of_k, of_v, x.logsumexp.data<T>()};
        if (by_heads) {
            const double each = flops / std::max(1L, shared);
            parallel_range(shared, std::max(1L, static_cast<long>(5e5 / std::max(1.0, each))),
                           [&](long begin, long end) {
                               for (long m = begin; m < end; m++)
                                   task.run(m * a.group, (m + 1) * a.group, 0, a.t, 0, a.s, true, true);
                           });
        } else {
            const long of_keys = shared * key_blocks;
            parallel_for(of_keys + a.heads * query_blocks, [&](long u) {
                if (u < of_keys) {
                    const long m = u / key_blocks, j = u % key_blocks * block;
                    task.run(m * a.group, (m + 1) * a.group, 0, a.t, j, std::min(a.s, j + block), false, true);
                } else {
                    const long h = (u - of_keys) / query_blocks, i = (u - of_keys) % query_blocks * block;
                    task.run(h, h + 1, i, std::min(a.t, i + block), 0, a.s, true, false);
                }
            });
        }
    }
    return make_tuple(std::move(gq), std::move(gk), std::move(gv), none(), none());
}

template Owned attention_gradients<float>(const Saved& saved);
template Owned attention_gradients<double>(const Saved& saved);

}  // namespace chainrule
