// The gradients of a convolution's weight and bias.
//
// gw[tap, in][out] = sum over pixels of x[pixel + tap, in] * g[pixel, out]: a matrix product whose K runs over pixels,
// both operands read where they lie (channels-last). Bound by FMAs; of one channel also by reading g (64x1x28x28 -> 32:
// about 65 % of one core's peak). The images are cut into a few groups by shape, each sums into its own partial result,
// and the partial results are added in order: threads change no bit.
#include <algorithm>

#include "conv/band.h"
#include "conv/depthwise.h"
#include "conv/geometry.h"
#include "conv/images.h"
#include "conv/planar.h"
#include "conv/winograd.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

namespace {

constexpr long partial_bytes = 32 << 20;  // of all partial results together
constexpr long parts_wanted = 8;

template <class T>
class WeightGradient {
  public:
    WeightGradient(const Images<const T>& x, const Images<const T>& g, const Geometry& geometry)
        : k_(gemm_kernels().of<T>()), x_(x), g_(g), geometry_(geometry) {
        for (int axis : {0, 1}) axis_[axis] = geometry.forward(axis, axis ? x.w : x.h);
        groups_ = geometry.groups;
        ins_ = x.c / groups_;
        outs_ = g.c / groups_;
        width_ = 2 * k_.lanes;
        panels_ = (outs_ + width_ - 1) / width_;
        depth_ = axis_[0].taps * axis_[1].taps * ins_;
        columns_ = axis_[1].span(g.w);
        const bool inside = axis_[0].first >= 0 && axis_[0].first + axis_[0].span(g.h) <= x.h && axis_[1].first >= 0 &&
                            axis_[1].first + columns_ <= x.w;
        x_in_place_ = inside && x.sc == 1 && (x.c > 1 || x.sw == 1);
        // A tile may read past its last channel: harmless inside a copy with room behind it, not in the caller's array.
        g_in_place_ = g.sc == 1 && outs_ % k_.lanes == 0;
        by_taps_ = x.c == 1 && depth_ > 1 && axis_[1].step == 1;  // pixels side by side are copied in vectors
        rows_ = band_rows(axis_[0], columns_, by_taps_ ? 4 * depth_ : x.c, sizeof(T));
        bands_ = (g.h + rows_ - 1) / rows_;
    }

    void run(T* gw) const {
        const long units = x_.n * bands_, size = groups_ * depth_ * panels_ * width_;
        const long bytes = size * static_cast<long>(sizeof(T));
        const long parts = std::clamp(partial_bytes / std::max(1L, bytes), 1L, std::min(units, parts_wanted));
        const long slices = std::min(groups_ * panels_, (parts_wanted + parts - 1) / parts);
        const Scratch<T> partial(static_cast<size_t>(parts * size));
        const double flops = 2. * x_.n * g_.h * g_.w * depth_ * g_.c;
        const auto task = [&](long u) {
            const long part = u / slices, slice = u % slices, panels = groups_ * panels_;
            accumulate(part * units / parts, (part + 1) * units / parts, slice * panels / slices,
                       (slice + 1) * panels / slices, partial.data() + part * size);
        };
        parallel_range(parts * slices, flops < 2e6 ? parts * slices : 1, [&](long begin, long end) {
            for (long u = begin; u < end; u++) task(u);
        });
        parallel_range(groups_ * panels_, std::max(1L, 16384 / (depth_ * width_)), [&](long begin, long end) {
            for (long j = begin; j < end; j++) combine(partial.data(), parts, size, j, gw);
        });
    }

  private:
    // The images and bands [u0, u1) into the panels [j0, j1) of one partial result.
    void accumulate(long u0, long u1, long j0, long j1, T* partial) const {
        const long span = axis_[0].span(rows_);
        const Scratch<T> x_copy(x_in_place_ ? 0 : static_cast<size_t>(span * columns_ * x_.c));
        const Scratch<T> taps(by_taps_ ? static_cast<size_t>(depth_ * rows_ * g_.w) : 0);
        const Scratch<T> g_copy(g_in_place_ ? 0 : static_cast<size_t>(rows_ * g_.w * g_.c + width_));
        for (long u = u0; u < u1; u++) {
            const long n = u / bands_, o0 = u % bands_ * rows_, rows = std::min(rows_, g_.h - o0);
            const long r0 = axis_[0].first + o0 * axis_[0].step;
            const Band<T> x =
                x_in_place_
                    ? Band<T>{x_.data + n * x_.sn + r0 * x_.sh + axis_[1].first * x_.sw, x_.sh, x_.sw}
                    : load_band(k_, x_, n, r0, axis_[0].span(rows), axis_[1].first, columns_, x_.c, x_copy.data());
            const Band<T> g = g_in_place_ ? Band<T>{g_.data + n * g_.sn + o0 * g_.sh, g_.sh, g_.sw}
                                          : load_band(k_, g_, n, o0, rows, 0, g_.w, g_.c, g_copy.data());
            if (by_taps_) {
                load_taps(x, rows, taps.data());
                for (long j = j0; j < j1; j++) panel_of_taps(taps.data(), g, rows, j, u > u0, partial);
            } else {
                for (long j = j0; j < j1; j++) panel(x, g, rows, j, u > u0, partial);
            }
        }
    }

    void panel(const Band<T>& x, const Band<T>& g, long rows, long j, bool add, T* partial) const {
        const long group = j / panels_, out0 = j % panels_ * width_;
        const int cols = static_cast<int>(std::min(width_, outs_ - out0));
        Tile<T> t{.a = nullptr,
                  .row = 1,
                  .step = axis_[1].step * x.pixel,
                  .b = g.data + group * outs_ + out0,
                  .ldb = g.pixel,
                  .k = g_.w,
                  .ny = rows,
                  .ay = axis_[0].step * x.row,
                  .by = g.row,
                  .c = nullptr,
                  .ldc = width_,
                  .cols = cols,
                  .accumulate = add};
        const auto& kernels = k_.tile[1][cols > k_.lanes];
        T* c = partial + j * depth_ * width_;
        // Taps side by side in one kernel row are one run of rows where pixels lie side by side too.
        const bool merged = axis_[1].tap_step == 1 && groups_ == 1 && x.pixel == ins_;
        const long runs = merged ? 1 : axis_[1].taps, run = merged ? axis_[1].taps * ins_ : ins_;
        const long tiles = (run + k_.rows - 1) / k_.rows;
        for (long ty = 0; ty < axis_[0].taps; ty++)
            for (long tx = 0; tx < runs; tx++) {
                const T* a = x.data + ty * axis_[0].tap_step * x.row + tx * axis_[1].tap_step * x.pixel + group * ins_;
                for (long i = 0, m = 0; i < tiles; i++) {
                    const long part = (run - m) / (tiles - i);
                    t.a = a + m;
                    t.c = c + ((ty * runs + tx) * run + m) * width_;
                    kernels[part - 1](t);
                    m += part;
                }
            }
    }

    // The rows of one kernel row's taps would leave a tile's accumulators too few to cover the latency of their
    // additions. Of one channel, the inputs of all taps are laid out as rows: d[tap][output].
    void load_taps(const Band<T>& x, long rows, T* d) const {
        for (long ty = 0; ty < axis_[0].taps; ty++)
            for (long tx = 0; tx < axis_[1].taps; tx++, d += rows * g_.w)
                k_.copy(x.data + ty * axis_[0].tap_step * x.row + tx * axis_[1].tap_step, axis_[0].step * x.row, d,
                        g_.w, rows, g_.w, g_.w);
    }

    // Tiles of those rows; K runs over the pixels of the band.
    void panel_of_taps(const T* x, const Band<T>& g, long rows, long j, bool add, T* partial) const {
        const bool dense = g.row == g_.w * g.pixel;
        Tile<T> t{.a = nullptr,
                  .row = rows * g_.w,
                  .step = 1,
                  .b = g.data + j * width_,
                  .ldb = g.pixel,
                  .k = dense ? rows * g_.w : g_.w,
                  .ny = dense ? 1 : rows,
                  .ay = g_.w,
                  .by = g.row,
                  .c = nullptr,
                  .ldc = width_,
                  .cols = static_cast<int>(std::min(width_, outs_ - j * width_)),
                  .accumulate = add};
        const auto& kernels = k_.tile[0][t.cols > k_.lanes];
        const long tiles = (depth_ + k_.rows - 1) / k_.rows;
        for (long i = 0, m = 0; i < tiles; i++) {
            const long part = (depth_ - m) / (tiles - i);
            t.a = x + m * t.row;
            t.c = partial + (j * depth_ + m) * width_;
            kernels[part - 1](t);
            m += part;
        }
    }

    // Adds the partial results of one panel in order and stores them as (out, in, ky, kx).
    void combine(T* partial, long parts, long size, long j, T* gw) const {
        T* sum = partial + j * depth_ * width_;
        for (long p = 1; p < parts; p++)
            for (long i = 0; i < depth_ * width_; i++) sum[i] += sum[p * size + i];
        const long group = j / panels_, out0 = j % panels_ * width_, outs = std::min(width_, outs_ - out0);
        const long taps = axis_[0].taps * axis_[1].taps;
        T* to = gw + (group * outs_ + out0) * depth_;
        for (long o = 0; o < outs; o++)
            for (long i = 0; i < ins_; i++)
                for (long tap = 0; tap < taps; tap++) *to++ = sum[(tap * ins_ + i) * width_ + o];
    }

    const TileKernels<T>& k_;
    const Images<const T>& x_;
    const Images<const T>& g_;
    const Geometry& geometry_;
    Axis axis_[2];
    long groups_, ins_, outs_, width_, panels_, depth_, columns_, rows_, bands_;
    bool x_in_place_, g_in_place_, by_taps_;
};

}  // namespace

template <class T>
void weight_gradient(const Images<const T>& x, const Images<const T>& g, const Geometry& geometry, T* gw) {
    if (x.n == 0 || g.h <= 0 || g.w <= 0) {
        std::fill(gw, gw + g.c * (x.c / geometry.groups) * geometry.kernel[0] * geometry.kernel[1], T(0));
        return;
    }
    const Axis ay = geometry.forward(0, x.h), ax = geometry.forward(1, x.w);
    const long ins = x.c / geometry.groups, outs = g.c / geometry.groups;
    if (is_depthwise(geometry.groups, ins, outs)) return depthwise_weight_gradient(x, g, ay, ax, gw);
    // of more inputs and taps tiles are faster
    const bool planes = x.sw == 1 && g.sw == 1 && ax.step == 1 && ins * ay.taps * ax.taps <= 36;
    if ((outs <= planar_outs || planes) && planar_pays(ay, ax, ins, outs))
        return planar_weight_gradient(x, g, ay, ax, geometry.groups, gw);
    if (winograd_pays(ay, ax, geometry.groups, x.c, g.c, x.n)) return winograd_weight_gradient(x, g, ay, ax, gw);
    WeightGradient<T>(x, g, geometry).run(gw);
}

template <class T>
void channel_sums(const Images<const T>& g, T* sums) {
    const auto& k = gemm_kernels().of<T>();
    const Scratch<double> partial(static_cast<size_t>(g.n * g.c));  // one row an image
    std::fill(partial.data(), partial.data() + g.n * g.c, 0.);
    parallel_range(g.n, std::max(1L, 65536 / std::max(1L, g.c * g.h * g.w)), [&](long begin, long end) {
        for (long n = begin; n < end; n++) {
            double* out = partial.data() + n * g.c;
            const T* s = g.data + n * g.sn;
            for (long h = 0; h < g.h && g.sc == 1; h++) k.column_sums(s + h * g.sh, g.sw, g.w, g.c, out);
            const bool plane = g.sw == 1 && g.sh == g.w;
            for (long c = 0; c < g.c && g.sc != 1; c++)
                for (long h = 0; h < (plane ? 1 : g.h); h++) {
                    const T* row = s + c * g.sc + h * g.sh;
                    if (plane || g.sw == 1)
                        out[c] += k.run_sum(row, plane ? g.h * g.w : g.w);
                    else
                        for (long w = 0; w < g.w; w++) out[c] += static_cast<double>(row[w * g.sw]);
                }
        }
    });
    for (long c = 0; c < g.c; c++) {
        double sum = 0;
        for (long n = 0; n < g.n; n++) sum += partial[static_cast<size_t>(n * g.c + c)];
        sums[c] = static_cast<T>(sum);
    }
}

template void weight_gradient(const Images<const float>&, const Images<const float>&, const Geometry&, float*);
template void weight_gradient(const Images<const double>&, const Images<const double>&, const Geometry&, double*);
template void channel_sums(const Images<const float>&, float*);
template void channel_sums(const Images<const double>&, double*);

}  // namespace chainrule
