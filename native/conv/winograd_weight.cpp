// The weight gradient by Winograd's tiles: G^T [sum over tiles of (B^T d B) * (A g A^T)] G, each of the 16 sums a
// matrix product whose K runs over tiles. Bound by FMAs, 16/36 of the direct number. Partial sums as in
// weight_gradient.cpp.
#include "conv/band.h"
#include "conv/panels.h"
#include "conv/winograd.h"
#include "conv/winograd_kernels.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

namespace {

constexpr long partial_bytes = 32 << 20;  // of all partial results together
constexpr long parts_wanted = 8;

template <class T>
class WinogradWeights {
  public:
    WinogradWeights(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax)
        : k_(gemm_kernels().of<T>()),
          wk_(winograd_kernels().of<T>()),
          x_(x),
          g_(g),
          ay_(ay),
          ax_(ax),
          width_(2 * k_.lanes),
          ins_((x.c + k_.lanes - 1) / k_.lanes * k_.lanes),
          panels_((g.c + width_ - 1) / width_),
          outs_(panels_ * width_),
          grid_(x.n, g.h, g.w, std::clamp(12288 / (x.c + std::min(g.c, 2 * width_)), 28L, 64L)) {}

    void run(T* gw) const {
        const long units = grid_.blocks(), size = 16 * x_.c * outs_, worthwhile = units * grid_.tiles() / 128;
        const long parts =
            std::clamp(std::min(partial_bytes / (size * static_cast<long>(sizeof(T))), worthwhile), 1L,
                       std::min(units, parts_wanted));
        const long slices = std::min(panels_, (parts_wanted + parts - 1) / parts);
        const Scratch<T> sums(static_cast<size_t>(parts * size));
        parallel_for(parts * slices, [&](long u) {
            const long part = u / slices, slice = u % slices;
            accumulate(part * units / parts, (part + 1) * units / parts, slice * panels_ / slices,
                       (slice + 1) * panels_ / slices, sums.data() + part * size);
        });
        parallel_for(panels_, [&](long j) { combine(sums.data(), parts, size, j, gw); });
    }

  private:
    // The blocks [u0, u1) of all images into the panels [j0, j1) of one partial sum [panel][k][in][width].
    void accumulate(long u0, long u1, long j0, long j1, T* sums) const {
        const long most = grid_.tiles(), room = (2 * grid_.block_rows + 2) * (2 * grid_.block_columns + 2);
        // channels of these panels in whole vectors
        const long outs = std::min((j1 - j0) * width_, (g_.c - j0 * width_ + k_.lanes - 1) / k_.lanes * k_.lanes);
        const Scratch<T> pixels(static_cast<size_t>(room * std::max(ins_, outs)));
        const Scratch<T> v(static_cast<size_t>(16 * (most * ins_ + k_.lanes)));
        const Scratch<T> q(static_cast<size_t>(16 * (most * outs + k_.lanes)));
        Images<const T> g = g_;  // the channels of these panels
        g.data += j0 * width_ * g.sc;
        g.c = std::min(outs, g.c - j0 * width_);
        for (long u = u0; u < u1; u++) {
            const TileGrid::Block b = grid_.block(u);
            const long tiles = b.tiles(), each = b.rows * b.columns;
            const long v_plane = tiles * ins_ + k_.lanes, q_plane = tiles * outs + k_.lanes;
            for (long i = 0; i < b.images; i++) {
                const long n = b.n + i, y0 = 2 * b.row, x0 = 2 * b.column;
                const Band<T> in = load_band(k_, x_, n, ay_.first + y0, 2 * b.rows + 2, ax_.first + x0,
                                             2 * b.columns + 2, ins_, pixels.data());
                wk_.by2.input(in.data, in.row, in.pixel, {b.rows, b.columns, ins_, v_plane, ins_},
                          v.data() + i * each * ins_);
                const Band<T> out = load_band(k_, g, n, y0, 2 * b.rows, x0, 2 * b.columns, outs, pixels.data());
                wk_.gradient(out.data, out.row, out.pixel, {b.rows, b.columns, outs, q_plane, outs},
                             q.data() + i * each * outs);
            }
            for (long k = 0; k < 16; k++)
                for (long j = j0; j < j1; j++)
                    multiply(v.data() + k * v_plane, q.data() + k * q_plane + (j - j0) * width_, outs, tiles, u > u0,
                             g_.c - j * width_, sums + (j * 16 + k) * x_.c * width_);
        }
    }

    void multiply(const T* v, const T* q, long ldq, long tiles, bool add, long outs, T* s) const {
        const long vectors = outs > k_.lanes ? 2 : 1;
        Tile<T> t{.a = v,
                  .row = 1,
                  .step = ins_,
                  .b = q,
                  .ldb = ldq,
                  .k = tiles,
                  .c = s,
                  .ldc = width_,
                  .cols = static_cast<int>(vectors * k_.lanes),
                  .accumulate = add};
        const long parts = (x_.c + k_.rows - 1) / k_.rows;
        for (long i = 0, at = 0; i < parts; i++) {
            const long part = (x_.c - at) / (parts - i);
            t.a = v + at;
            t.c = s + at * width_;
            k_.tile[1][vectors - 1][part - 1](t);
            at += part;
        }
    }

    // Adds the partial sums of one panel in order, turns them into taps and stores these as (out, in, 3, 3).
    void combine(T* sums, long parts, long size, long j, T* gw) const {
        const long step = x_.c * width_, outs = std::min(width_, g_.c - j * width_);
        T* sum = sums + j * 16 * step;
        for (long p = 1; p < parts; p++)
            for (long i = 0; i < 16 * step; i++) sum[i] += sum[p * size + i];
        const long chunk = inputs_at_once<T>(9, width_);
        const Scratch<T> taps(static_cast<size_t>(9 * chunk * width_));
        for (long i0 = 0; i0 < x_.c; i0 += chunk) {
            const long n = std::min(chunk, x_.c - i0);
            for (long i = 0; i < n; i++)
                wk_.filter_back(sum + (i0 + i) * width_, step, width_, taps.data() + i * 9 * width_, width_);
            scatter_taps(k_, taps.data(), 9, x_.c, i0, n, outs, width_, gw + j * width_ * x_.c * 9);
        }
    }

    const TileKernels<T>& k_;
    const WinogradKernels<T>& wk_;
    const Images<const T>& x_;
    const Images<const T>& g_;
    const Axis &ay_, &ax_;
    const long width_, ins_, panels_, outs_;
    const TileGrid grid_;
};

}  // namespace

template <class T>
void winograd_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                              T* gw) {
    WinogradWeights<T>(x, g, ay, ax).run(gw);
}

template void winograd_weight_gradient(const Images<const float>&, const Images<const float>&, const Axis&, const Axis&,
                                       float*);
template void winograd_weight_gradient(const Images<const double>&, const Images<const double>&, const Axis&,
                                       const Axis&, double*);

}  // namespace chainrule
