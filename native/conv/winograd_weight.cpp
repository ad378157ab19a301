// The weight gradient by Winograd's tiles: G^T [sum over tiles of (B^T d B) * (A g A^T)] G, each of the 16 sums a
// matrix product whose K runs over tiles. Bound by FMAs, 16/36 of the direct number. Partial sums as in
// weight_gradient.cpp.
#include "conv/band.h"
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
          grid_(g.h, g.w, x.c + g.c) {}

    void run(T* gw) const {
        const long units = x_.n * grid_.blocks(), size = 16 * x_.c * outs_;
        const long parts =
            std::clamp(partial_bytes / (size * static_cast<long>(sizeof(T))), 1L, std::min(units, parts_wanted));
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
        const long outs = (j1 - j0) * width_;
        const Scratch<T> pixels(static_cast<size_t>(room * std::max(ins_, outs)));
        const Scratch<T> v(static_cast<size_t>(16 * (most * ins_ + k_.lanes)));
        const Scratch<T> q(static_cast<size_t>(16 * (most * outs + k_.lanes)));
        Images<const T> g = g_;  // the channels of these panels
        g.data += j0 * width_ * g.sc;
        g.c = std::min(outs, g.c - j0 * width_);
        for (long u = u0; u < u1; u++) {
            const long n = u / grid_.blocks(), index = u % grid_.blocks();
            const long r0 = index / grid_.across * grid_.block_rows, q0 = index % grid_.across * grid_.block_columns;
            const long rows = std::min(grid_.block_rows, grid_.rows - r0);
            const long columns = std::min(grid_.block_columns, grid_.columns - q0), tiles = rows * columns;
            const long v_plane = tiles * ins_ + k_.lanes, q_plane = tiles * outs + k_.lanes;
            const Band<T> in = load_band(k_, x_, n, ay_.first + 2 * r0, 2 * rows + 2, ax_.first + 2 * q0,
                                         2 * columns + 2, ins_, pixels.data());
            wk_.input(in.data, in.row, in.pixel, {rows, columns, ins_, v_plane, ins_}, v.data());
            const Band<T> out = load_band(k_, g, n, 2 * r0, 2 * rows, 2 * q0, 2 * columns, outs, pixels.data());
            wk_.gradient(out.data, out.row, out.pixel, {rows, columns, outs, q_plane, outs}, q.data());
            for (long k = 0; k < 16; k++)
                for (long j = j0; j < j1; j++)
                    multiply(v.data() + k * v_plane, q.data() + k * q_plane + (j - j0) * width_, outs, tiles, u > u0,
                             sums + (j * 16 + k) * x_.c * width_);
        }
    }

    void multiply(const T* v, const T* q, long ldq, long tiles, bool add, T* s) const {
        Tile<T> t{.a = v,
                  .row = 1,
                  .step = ins_,
                  .b = q,
                  .ldb = ldq,
                  .k = tiles,
                  .c = s,
                  .ldc = width_,
                  .cols = static_cast<int>(width_),
                  .accumulate = add};
        const long parts = (x_.c + k_.rows - 1) / k_.rows;
        for (long i = 0, at = 0; i < parts; i++) {
            const long part = (x_.c - at) / (parts - i);
            t.a = v + at;
            t.c = s + at * width_;
            k_.tile[1][1][part - 1](t);
            at += part;
        }
    }

    // Adds the partial sums of one panel in order, turns them into taps and stores these as (out, in, 3, 3).
    void combine(T* sums, long parts, long size, long j, T* gw) const {
        const long step = x_.c * width_, outs = std::min(width_, g_.c - j * width_);
        T* sum = sums + j * 16 * step;
        for (long p = 1; p < parts; p++)
            for (long i = 0; i < 16 * step; i++) sum[i] += sum[p * size + i];
        const Scratch<T> taps(static_cast<size_t>(9 * step));
        wk_.filter_back(sum, step, step, taps.data(), step);
        T* to = gw + j * width_ * x_.c * 9;
        for (long o = 0; o < outs; o++)
            for (long i = 0; i < x_.c; i++)
                for (long tap = 0; tap < 9; tap++) *to++ = taps.data()[tap * step + i * width_ + o];
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
