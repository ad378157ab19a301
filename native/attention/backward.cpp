// The gradients of attention. The weights are made again, block by block, from the logarithm of each row's sum (Dao et
// al., 2022). Where there are heads enough for all threads, each is one task (five products a block); else a task for
// each block of keys makes the gradients of k and v, and one for each block of queries those of q (seven). Which, the
// shape alone says.
#include "attention/attention.h"
#include "attention/heads.h"

namespace chainrule {

namespace {

constexpr long block = 64;             // queries, and keys, at a time
constexpr long heads_for_threads = 8;  // of k and v, from which on each is a task

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
        const long shared = h0 / a.group;
        const Scratch<T> dq(static_cast<size_t>(of_q ? (q1 - q0) * q.width : 0));
        const Scratch<T> dk(static_cast<size_t>(of_k ? (k1 - k0) * k.width : 0)),
            dv(static_cast<size_t>(of_k ? (k1 - k0) * v.width : 0));
        if (of_k) {
            std::fill(dk.data(), dk.data() + (k1 - k0) * k.width, T(0));
            std::fill(dv.data(), dv.data() + (k1 - k0) * v.width, T(0));
        }
        T dots[block];
        for (long h = h0; h < h1; h++) {
            if (of_q) std::fill(dq.data(), dq.data() + (q1 - q0) * q.width, T(0));
            for (long i0 = q0; i0 < q1; i0 += block) {
                const long i1 = std::min(q1, i0 + block), last = a.causal ? std::min(k1, i1) : k1;
                if (k0 >= last) continue;
                for (long i = i0; i < i1; i++)
                    dots[i - i0] = rows_of.dot(g.matrix(h) + i * g.row, y.matrix(h) + i * y.row, v.size);
                for (long j0 = k0; j0 < last; j0 += block)
                    pair(h, shared, i0, i1 - i0, j0, std::min(k1, j0 + block) - j0, dots,
                         of_q ? dq.data() + (i0 - q0) * q.width : nullptr,
                         of_k ? dk.data() + (j0 - k0) * k.width : nullptr,
                         of_k ? dv.data() + (j0 - k0) * v.width : nullptr);
            }
            for (long i = q0; of_q && i < q1; i++)
                rows_of.scale(gq.matrix(h) + i * gq.row, dq.data() + (i - q0) * q.width, q.size, T(1));
        }
        for (long j = k0; of_k && j < k1; j++) {
            rows_of.scale(gk.matrix(shared) + j * gk.row, dk.data() + (j - k0) * k.width, k.size, T(1));
            rows_of.scale(gv.matrix(shared) + j * gv.row, dv.data() + (j - k0) * v.width, v.size, T(1));
        }
    }

  private:
    // A block of n queries from i0 and m keys from j0.
    void pair(long h, long shared, long i0, long n, long j0, long m, const T* dots, T* dq, T* dk, T* dv) const {
        constexpr long pitch = block + 16;
        alignas(64) T p[block * pitch], ds[block * pitch], added[block + 16], kept[block + 16];
        const auto& rows_of = attention_kernels().of<T>();
        const long most = gemm_kernels().of<T>().rows, parts = ceil_div(n, most), width = kt.width;
        const T *qs = q.matrix(h) + i0 * q.row, *gs = g.matrix(h) + i0 * g.row;
        const T* extra = nullptr;
        for (long part = 0; part < parts; part++) {
            const long r0 = part * n / parts, r1 = (part + 1) * n / parts;
            const long columns = round_up(a.seen(i0 + r1 - 1, j0, m), width);
            Block<T>{qs + r0 * q.row,  q.row,          1,    kt.panel(shared, j0 / width), width,
                     kt.depth * width, p + r0 * pitch, pitch}
                .run(r1 - r0, columns, kt.depth);
            Block<T>{gs + r0 * g.row,  g.row,           1,    vt.panel(shared, j0 / width), width,
                     vt.depth * width, ds + r0 * pitch, pitch}
                .run(r1 - r0, columns, vt.depth);
            for (long r = r0; r < r1; r++) {
                if (a.mask_row || !r) extra = a.added(added, h, i0 + r, j0, m);
                rows_of.backward(p + r * pitch, ds + r * pitch, a.seen(i0 + r, j0, m), round_up(m, width), extra,
                                 a.kept(kept, h, i0 + r, j0, m), a.scale, logsumexp[h * a.t + i0 + r], dots[r]);
            }
            if (dq)
                Block<T>{ds + r0 * pitch,   pitch,   1,   k.matrix(shared) + j0 * k.row, k.row, width,
                         dq + r0 * q.width, q.width, true}
                    .run(r1 - r0, q.width, a.seen(i0 + r1 - 1, j0, m));
        }
        if (!dk) return;
        for (long part = 0, of = ceil_div(m, most); part < of; part++) {
            const long c0 = part * m / of, c1 = (part + 1) * m / of;
            const long from = a.causal ? std::clamp(j0 + c0 - i0, 0L, n) : 0;  // queries before see none of these keys
            Block<T>{p + from * pitch + c0, 1, pitch, gs + from * g.row, g.row, width, dv + c0 * v.width, v.width, true}
                .run(c1 - c0, v.width, n - from);
            Block<T>{ds + from * pitch + c0, 1,       pitch, qs + from * q.row, q.row, width,
                     dk + c0 * k.width,      k.width, true}
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
        const Panels<T> kt(k), vt(v);
        const Attention<T> a(x.q, q, k, x.mask, x.state, x.causal, x.scale, x.dropout);
        const Backward<T> task{a, q, k, v, g, kt, vt, y, of_q, of_k, of_v, x.logsumexp.data<T>()};
        const long shared = k.count(), query_blocks = ceil_div(a.t, block), key_blocks = ceil_div(a.s, block);
        if (shared >= heads_for_threads || query_blocks * key_blocks == 1) {
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
