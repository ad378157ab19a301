// Depthwise convolution, forward and weight gradient: channels-last bands, channels in the lanes.
#include "conv/depthwise.h"

#include "conv/band.h"
#include "conv/depthwise_kernels.h"
#include "conv/images.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

namespace {

constexpr long parts_wanted = 8;

template <class T>
class Depthwise {
  public:
    Depthwise(const Images<const T>& x, const Axis& ay, const Axis& ax)
        : k_(gemm_kernels().of<T>()),
          dk_(depthwise_kernels().of<T>()),
          x_(x),
          ay_(ay),
          ax_(ax),
          columns_(ax.span(ax.outputs)),
          rows_(band_rows(ay, columns_, x.c, sizeof(T))),
          bands_((ay.outputs + rows_ - 1) / rows_) {}

    void forward(const Weights<T>& w, const T* bias, const Images<T>& y) const {
        const Scratch<T> taps(static_cast<size_t>(ay_.taps * ax_.taps * x_.c));  // [tap][channel]
        T* to = taps.data();
        for (long ty = 0; ty < ay_.taps; ty++)
            for (long tx = 0; tx < ax_.taps; tx++)
                for (long c = 0; c < x_.c; c++)
                    *to++ = w.data[c * w.group + (ay_.kernel_first + ty * ay_.kernel_step) * w.sy +
                                   (ax_.kernel_first + tx * ax_.kernel_step) * w.sx];
        const bool last = y.sc == 1;
        const long grain = std::max(1L, 16384 / std::max(1L, rows_ * ax_.outputs * x_.c));
        parallel_range(x_.n * bands_, grain, [&](long begin, long end) {
            const Scratch<T> copy(room()), line(static_cast<size_t>(last ? 0 : ax_.outputs * x_.c));
            for (long u = begin; u < end; u++) {
                const long n = u / bands_, o0 = u % bands_ * rows_, rows = std::min(rows_, ay_.outputs - o0);
                const Band<T> band = load(n, o0, rows, copy.data());
                for (long o = 0; o < rows; o++) {
                    T* row =
                        y.data + n * y.sn + (ay_.out_first + (o0 + o) * ay_.out_step) * y.sh + ax_.out_first * y.sw;
                    const T* from = band.data + o * ay_.step * band.row;
                    dk_.forward(from, shape(band), taps.data(), bias, last ? row : line.data(),
                                last ? ax_.out_step * y.sw : x_.c);
                    if (!last) k_.transpose(line.data(), x_.c, row, y.sc, ax_.outputs, x_.c);
                }
            }
        });
    }

    void weights(const Images<const T>& g, T* gw) const {
        const long units = x_.n * bands_, parts = std::min(units, parts_wanted), size = ay_.taps * ax_.taps * x_.c;
        const Scratch<T> sums(static_cast<size_t>(parts * size));
        std::fill_n(sums.data(), parts * size, T(0));
        parallel_range(parts, units * rows_ * ax_.outputs * x_.c < 65536 ? parts : 1, [&](long begin, long end) {
            const Scratch<T> copy(room()), g_copy(static_cast<size_t>(g.sc == 1 ? 0 : rows_ * g.w * g.c));
            for (long p = begin; p < end; p++)
                for (long u = p * units / parts; u < (p + 1) * units / parts; u++) {
                    const long n = u / bands_, o0 = u % bands_ * rows_, rows = std::min(rows_, ay_.outputs - o0);
                    const Band<T> band = load(n, o0, rows, copy.data());
                    const Band<T> grad = g.sc == 1 ? Band<T>{g.data + n * g.sn + o0 * g.sh, g.sh, g.sw}
                                                   : load_band(k_, g, n, o0, rows, 0, g.w, g.c, g_copy.data());
                    for (long o = 0; o < rows; o++)
                        dk_.gradient(band.data + o * ay_.step * band.row, shape(band), grad.data + o * grad.row,
                                     grad.pixel, sums.data() + p * size);
                }
        });
        const long taps = ay_.taps * ax_.taps;
        for (long t = 0; t < taps; t++)
            for (long c = 0; c < x_.c; c++) {
                double sum = 0;
                for (long p = 0; p < parts; p++) sum += static_cast<double>(sums.data()[p * size + t * x_.c + c]);
                gw[c * taps + t] = static_cast<T>(sum);
            }
    }

  private:
    size_t room() const { return static_cast<size_t>(ay_.span(rows_) * columns_ * x_.c); }
    Band<T> load(long n, long o0, long rows, T* copy) const {
        return load_band(k_, x_, n, ay_.first + o0 * ay_.step, ay_.span(rows), ax_.first, columns_, x_.c, copy);
    }
    DepthwiseRow shape(const Band<T>& band) const {
        return {x_.c,
                ax_.outputs,
                ax_.step * band.pixel,
                ay_.taps,
                ax_.taps,
                ay_.tap_step * band.row,
                ax_.tap_step * band.pixel};
    }

    const TileKernels<T>& k_;
    const DepthwiseKernels<T>& dk_;
    const Images<const T>& x_;
    const Axis &ay_, &ax_;
    const long columns_, rows_, bands_;
};

}  // namespace

template <class T>
void depthwise(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
               const Images<T>& y) {
    Depthwise<T>(x, ay, ax).forward(w, bias, y);
}

template <class T>
void depthwise_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                               T* gw) {
    Depthwise<T>(x, ay, ax).weights(g, gw);
}

template void depthwise(const Images<const float>&, const Axis&, const Axis&, const Weights<float>&, const float*,
                        const Images<float>&);
template void depthwise(const Images<const double>&, const Axis&, const Axis&, const Weights<double>&, const double*,
                        const Images<double>&);
template void depthwise_weight_gradient(const Images<const float>&, const Images<const float>&, const Axis&,
                                        const Axis&, float*);
template void depthwise_weight_gradient(const Images<const double>&, const Images<const double>&, const Axis&,
                                        const Axis&, double*);

}  // namespace chainrule
