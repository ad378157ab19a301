// Convolutions with few channels, forward and weight gradient. Neither x nor y changes its order: 32x3x32x32 -> 32 runs
// at 80 % of one core's peak where channels-last tiles, whose results are turned, reach 45 %.
#include "conv/planar.h"

#include "conv/band.h"
#include "conv/cut.h"
#include "conv/images.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

namespace {

constexpr long parts_wanted = 8;

template <class T>
class Planar {
  public:
    // Bands hold so many channels (or as many) in 256 KiB.
    Planar(const Images<const T>& x, const Axis& ay, const Axis& ax, long groups, long outs, long channels)
        : k_(gemm_kernels().of<T>()),
          pk_(planar_kernels().of<T>()),
          x_(x),
          ay_(ay),
          ax_(ax),
          groups_(groups),
          ins_(x.c / groups),
          outs_(outs),
          columns_(ax.span(ax.outputs)),
          phase_((columns_ + ax.step - 1) / ax.step),
          pitch_(phase_ * ax.step),
          taps_(ins_ * ay.taps * ax.taps),
          rows_(std::min(ay.outputs, std::max(ay.taps * ay.tap_step, band_rows(ay, pitch_, channels, sizeof(T))))),
          bands_((ay.outputs + rows_ - 1) / rows_),
          across_((ax.outputs + k_.lanes - 1) / k_.lanes),
          plane_((ay.span(rows_) * pitch_ + k_.lanes + 15) / 16 * 16),
          offsets_(static_cast<size_t>(taps_)),
          slots_(static_cast<size_t>(rows_ * across_)) {
        long* o = offsets_.data();
        for (long c = 0; c < ins_; c++)
            for (long ty = 0; ty < ay.taps; ty++)
                for (long tx = 0; tx < ax.taps; tx++) {
                    const long q = tx * ax.tap_step;
                    *o++ = c * plane_ + ty * ay.tap_step * pitch_ + q % ax.step * phase_ + q / ax.step;
                }
    }

    void forward(const Weights<T>& w, const T* bias, const Images<T>& y, bool relu) const {
        const long blocks = (outs_ + planar_outs - 1) / planar_outs, size = (taps_ + 1) * planar_outs;
        const Scratch<T> weights(static_cast<size_t>(groups_ * blocks * size));  // [in][ty][tx][8], then the bias
        for (long u = 0; u < groups_ * blocks; u++) {
            const long c0 = u % blocks * planar_outs, count = std::min<long>(planar_outs, outs_ - c0);
            const T* s = w.data + u / blocks * w.group + c0 * w.out;
            T* to = weights.data() + u * size;
            for (long c = 0; c < ins_; c++)
                for (long ty = 0; ty < ay_.taps; ty++)
                    for (long tx = 0; tx < ax_.taps; tx++, to += planar_outs)
                        for (long o = 0; o < count; o++)
                            to[o] = s[c * w.in + o * w.out + (ay_.kernel_first + ty * ay_.kernel_step) * w.sy +
                                      (ax_.kernel_first + tx * ax_.kernel_step) * w.sx];
            for (long o = 0; o < count; o++) to[o] = bias ? bias[u / blocks * outs_ + c0 + o] : T(0);
        }
        place(y.sh);
        const double flops = 2. * static_cast<double>(rows_ * ax_.outputs * taps_ * outs_ * groups_);
        const long grain = std::max(1L, static_cast<long>(1e6 / std::max(flops, 1.)));
        parallel_range(x_.n * bands_, grain, [&](long begin, long end) {
            const Scratch<T> in(static_cast<size_t>(x_.c * plane_));
            for (long unit = begin; unit < end; unit++) {
                const long n = unit / bands_, o0 = unit % bands_ * rows_, rows = std::min(rows_, ay_.outputs - o0);
                load(n, o0, rows, in.data());
                for (long u = 0; u < groups_ * blocks; u++) {
                    const long c0 = u % blocks * planar_outs, count = std::min<long>(planar_outs, outs_ - c0);
                    const T* s = weights.data() + u * size;
                    pk_.forward[count - 1](in.data() + u / blocks * ins_ * plane_, offsets_.data(), taps_, s,
                                           s + taps_ * planar_outs, slots_.data(), rows * across_,
                                           y.data + n * y.sn + (u / blocks * outs_ + c0) * y.sc + o0 * y.sh, y.sc);
                }
                if (relu) cut_rows(y, n, o0, rows);
            }
        });
    }

    void weights(const Images<const T>& g, T* gw) const {
        const long blocks = (outs_ + planar_outs - 1) / planar_outs, step = planar_outs * k_.lanes;
        const long size = groups_ * blocks * taps_ * step;
        const long units = x_.n * bands_, parts = std::min(units, parts_wanted);
        const Scratch<T> sums(static_cast<size_t>(parts * size));
        std::fill_n(sums.data(), parts * size, T(0));
        const bool in_place = g.sw == 1 && g.c > 1;
        const long g_plane = in_place ? g.sc : rows_ * g.w + k_.lanes, g_row = in_place ? g.sh : g.w;
        place(g_row);
        const auto part = [&](long p) {
            const Scratch<T> in(static_cast<size_t>(x_.c * plane_));
            const Scratch<T> copy(static_cast<size_t>(in_place ? 0 : g.c * g_plane));
            for (long unit = p * units / parts; unit < (p + 1) * units / parts; unit++) {
                const long n = unit / bands_, o0 = unit % bands_ * rows_, rows = std::min(rows_, ay_.outputs - o0);
                load(n, o0, rows, in.data());
                if (!in_place) load_planes(g, n, o0, rows, 0, g.w, 1, g_row, g_plane, copy.data());
                const T* grad = in_place ? g.data + n * g.sn + o0 * g.sh : copy.data();
                for (long u = 0; u < groups_ * blocks; u++) {
                    const long c0 = u % blocks * planar_outs, count = std::min<long>(planar_outs, outs_ - c0);
                    pk_.gradient[count - 1](in.data() + u / blocks * ins_ * plane_, offsets_.data(), taps_,
                                            grad + (u / blocks * outs_ + c0) * g_plane, g_plane, slots_.data(),
                                            rows * across_, sums.data() + p * size + u * taps_ * step);
                }
            }
        };
        const double flops = 2. * static_cast<double>(units * rows_ * ax_.outputs * taps_ * outs_ * groups_);
        parallel_range(parts, flops < 2e6 ? parts : 1, [&](long begin, long end) {
            for (long p = begin; p < end; p++) part(p);
        });
        for (long c = 0; c < groups_ * outs_; c++)
            for (long t = 0; t < taps_; t++) {
                const long u = c / outs_ * blocks + c % outs_ / planar_outs, o = c % outs_ % planar_outs;
                const T* s = sums.data() + (u * taps_ + t) * step + o * k_.lanes;
                double lane[64] = {}, sum = 0;
                for (long p = 0; p < parts; p++)
                    for (long i = 0; i < k_.lanes; i++) lane[i] += static_cast<double>(s[p * size + i]);
                for (long i = 0; i < k_.lanes; i++) sum += lane[i];
                gw[c * taps_ + t] = static_cast<T>(sum);
            }
    }

  private:
    // The vectors of outputs of a band, row by row; rows of the results are `row` apart.
    void place(long row) const {
        for (long r = 0; r < rows_; r++)
            for (long i = 0; i < across_; i++)
                slots_[static_cast<size_t>(r * across_ + i)] = {
                    r * ay_.step * pitch_ + i * k_.lanes, r * row + i * k_.lanes,
                    std::min<long>(k_.lanes, ax_.outputs - i * k_.lanes)};
    }

    void load(long n, long o0, long rows, T* d) const {
        load_planes(x_, n, ay_.first + o0 * ay_.step, ay_.span(rows), ax_.first, columns_, ax_.step, pitch_, plane_, d);
    }

    // Copies rows [r0, r0 + rows), columns [q0, q0 + columns) of image n into planes, zero outside the image: column q
    // of row r to d[c*plane + r*pitch + q], with a step to ... + q % step * (pitch / step) + q / step.
    void load_planes(const Images<const T>& x, long n, long r0, long rows, long q0, long columns, long step, long pitch,
                     long plane, T* d) const {
        std::fill(d, d + x.c * plane, T(0));
        const long first = std::max(q0, 0L), last = std::min(q0 + columns, x.w), count = last - first;
        const long top = std::max(r0, 0L), height = std::min(r0 + rows, x.h) - top;
        if (count <= 0 || height <= 0) return;
        const T* s = x.data + n * x.sn + top * x.sh + first * x.sw;
        T* to = d + (top - r0) * pitch;
        const long left = first - q0;
        if (step > 1) {
            const Scratch<T> line(static_cast<size_t>(columns));
            std::fill_n(line.data(), columns, T(0));
            for (long c = 0; c < x.c; c++)
                for (long r = 0; r < height; r++) {
                    const T* from = s + c * x.sc + r * x.sh;
                    if (x.sw == 1) std::copy(from, from + count, line.data() + left);
                    else for (long q = 0; q < count; q++) line[static_cast<size_t>(left + q)] = from[q * x.sw];
                    pk_.split(line.data(), columns, step, to + c * plane + r * pitch, pitch / step);
                }
        } else if (x.sw == 1) {
            for (long c = 0; c < x.c; c++)
                k_.copy(s + c * x.sc, x.sh, to + c * plane + left, pitch, height, count, count);
        } else if (x.sc == 1) {
            for (long r = 0; r < height; r++)
                k_.transpose(s + r * x.sh, x.sw, to + r * pitch + left, plane, count, x.c);
        } else {
            for (long c = 0; c < x.c; c++)
                for (long r = 0; r < height; r++)
                    for (long q = 0; q < count; q++)
                        to[c * plane + r * pitch + left + q] = s[c * x.sc + r * x.sh + q * x.sw];
        }
    }

    const TileKernels<T>& k_;
    const PlanarKernels<T>& pk_;
    const Images<const T>& x_;
    const Axis &ay_, &ax_;
    const long groups_, ins_, outs_;            // channels of a group
    const long columns_, phase_, pitch_, taps_;  // phase: columns of one residue modulo the step
    const long rows_, bands_, across_, plane_;   // rows of a band; vectors of a row
    const Scratch<long> offsets_;
    const Scratch<PlanarSlot> slots_;
};

}  // namespace

template <class T>
void planar(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, long groups, const T* bias,
            const Images<T>& y, bool relu) {
    Planar<T>(x, ay, ax, groups, w.outs, x.c).forward(w, bias, y, relu);
}

template <class T>
void planar_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                            long groups, T* gw) {
    // A band of a group and 8 planes of g are read again and again, from the L1 cache.
    const long channels = std::max(8 * x.c / groups, 8L * planar_outs);
    Planar<T>(x, ay, ax, groups, g.c / groups, channels).weights(g, gw);
}

template void planar(const Images<const float>&, const Axis&, const Axis&, const Weights<float>&, long, const float*,
                     const Images<float>&, bool);
template void planar(const Images<const double>&, const Axis&, const Axis&, const Weights<double>&, long, const double*,
                     const Images<double>&, bool);
template void planar_weight_gradient(const Images<const float>&, const Images<const float>&, const Axis&, const Axis&,
                                     long, float*);
template void planar_weight_gradient(const Images<const double>&, const Images<const double>&, const Axis&, const Axis&,
                                     long, double*);

}  // namespace chainrule
