// Winograd convolution, forward and input gradient. Bound by FMAs of 16/36 of the direct convolution's number: at best
// 2.25 times the peak counted in direct FLOPs; 64x32x14x14 -> 64 and 128x128x4x4 -> 128 run at 1.5 to 1.8 times it, row-
// major images included. Rounding errors are smaller than the direct kernel's, whose sums are longer. F(4x4) has 36/144 of
// them: predicted 1.78 times as fast, measured 1.1 (14x14, whose last tiles are half empty) to 1.7 (16x128x28x28 -> 128).
#include "conv/winograd.h"

#include "conv/band.h"
#include "conv/panels.h"
#include "conv/winograd_kernels.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

namespace {

// M x M outputs a tile, P products.
template <class T, int M>
class Winograd {
    static constexpr int P = (M + 2) * (M + 2);

  public:
    Winograd(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
             const Images<T>& y, bool relu)
        : k_(gemm_kernels().of<T>()),
          wk_(M == 2 ? winograd_kernels().of<T>().by2 : winograd_kernels().of<T>().by4),
          x_(x),
          y_(y),
          ay_(ay),
          ax_(ax),
          bias_(bias),
          relu_(relu),
          width_(2 * k_.lanes),
          ins_((x.c + k_.lanes - 1) / k_.lanes * k_.lanes),
          panels_((y.c + width_ - 1) / width_),
          outs_(panels_ * width_),
          grid_(x.n, ay.outputs, ax.outputs, std::clamp(196608 / P / (x.c + y.c), 28L, 56L), M),
          last_(y.sc == 1),
          u_(static_cast<size_t>(P * x.c * outs_)) {
        transform_weights(w);
    }

    void run() const {
        parallel_for(grid_.blocks(), [&](long u) { block(grid_.block(u)); });
    }

  private:
    // [panel][k][in][width]
    void transform_weights(const Weights<T>& w) {
        const long step = w.ins * width_;
        const long chunk = inputs_at_once<T>(9, width_);
        parallel_range(panels_, std::max(1L, 65536 / step), [&](long begin, long end) {
            const Scratch<T> taps(static_cast<size_t>(9 * chunk * width_));
            for (long j = begin; j < end; j++)
                for (long i0 = 0; i0 < w.ins; i0 += chunk) {
                    const long n = std::min(chunk, w.ins - i0);
                    gather_taps(k_, w, ay_, ax_, j * width_, i0, n, width_, taps.data());
                    for (long i = 0; i < n; i++)
                        wk_.filter(taps.data() + i * 9 * width_, width_, width_,
                                   u_.data() + j * P * step + (i0 + i) * width_, step);
                }
        });
    }

    void block(const TileGrid::Block& b) const {
        const long tiles = b.tiles(), each = b.rows * b.columns;
        const long v_plane = tiles * ins_ + k_.lanes, m_plane = tiles * outs_ + k_.lanes;
        const Scratch<T> pixels(static_cast<size_t>((M * b.rows + 2) * (M * b.columns + 2) * ins_));
        const Scratch<T> v(static_cast<size_t>(P * v_plane)), m(static_cast<size_t>(P * m_plane));
        for (long i = 0; i < b.images; i++) {
            const Band<T> band = load_band(k_, x_, b.n + i, ay_.first + M * b.row, M * b.rows + 2,
                                           ax_.first + M * b.column, M * b.columns + 2, ins_, pixels.data());
            wk_.input(band.data, band.row, band.pixel, {b.rows, b.columns, ins_, v_plane, ins_},
                      v.data() + i * each * ins_);
        }
        for (long k = 0; k < P; k++)
            for (long j = 0; j < panels_; j++) multiply(v.data() + k * v_plane, k, j, tiles, m.data() + k * m_plane);

        const TileBlock products{b.rows, b.columns, y_.c, m_plane, outs_, relu_};
        const long height = std::min(M * b.rows, ay_.outputs - M * b.row);
        const long width = std::min(M * b.columns, ax_.outputs - M * b.column);
        const long row = width * y_.c;
        T* turned = v.data();  // the transformed inputs are done with; that of M*M of P planes is needed
        const bool larger = M * M * outs_ > P * ins_;
        const Scratch<T> room(static_cast<size_t>(!last_ && larger ? M * M * each * outs_ : 0));
        if (larger) turned = room.data();
        for (long i = 0; i < b.images; i++) {
            T* y = y_.data + (b.n + i) * y_.sn + (ay_.out_first + M * b.row) * y_.sh +
                   (ax_.out_first + M * b.column) * y_.sw;
            const T* from = m.data() + i * each * outs_;
            if (last_) {
                wk_.output(from, products, bias_, y, y_.sh, y_.sw, height, width);
                continue;
            }
            wk_.output(from, products, bias_, turned, row, y_.c, height, width);
            if (y_.sh == width) {  // whole rows: one run of pixels
                k_.transpose(turned, y_.c, y, y_.sc, height * width, y_.c);
                continue;
            }
            for (long r = 0; r < height; r++) k_.transpose(turned + r * row, y_.c, y + r * y_.sh, y_.sc, width, y_.c);
        }
    }

    // One of the P products: tiles x in times in x one panel.
    void multiply(const T* v, long k, long j, long tiles, T* m) const {
        const long vectors = y_.c - j * width_ > k_.lanes ? 2 : 1;
        Tile<T> t{.a = v,
                  .row = ins_,
                  .step = 1,
                  .b = u_.data() + (j * P + k) * x_.c * width_,
                  .ldb = width_,
                  .k = x_.c,
                  .c = m + j * width_,
                  .ldc = outs_,
                  .cols = static_cast<int>(vectors * k_.lanes)};
        const long parts = (tiles + k_.rows - 1) / k_.rows;
        for (long i = 0, at = 0; i < parts; i++) {
            const long part = (tiles - at) / (parts - i);
            t.a = v + at * ins_;
            t.c = m + at * outs_ + j * width_;
            k_.tile[0][vectors - 1][part - 1](t);
            at += part;
        }
    }

    const TileKernels<T>& k_;
    const WinogradTransforms<T>& wk_;
    const Images<const T>& x_;
    const Images<T>& y_;
    const Axis &ay_, &ax_;
    const T* bias_;
    const bool relu_;
    const long width_, ins_, panels_, outs_;  // panel width; channels rounded up to vectors; to panels
    const TileGrid grid_;
    const bool last_;
    const Scratch<T> u_;
};

}  // namespace

template <class T>
void winograd(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
              const Images<T>& y, bool relu) {
    if (sizeof(T) == 4 && tiles_of_four && ay.outputs >= 4 && ax.outputs >= 4)
        Winograd<T, 4>(x, ay, ax, w, bias, y, relu).run();
    else
        Winograd<T, 2>(x, ay, ax, w, bias, y, relu).run();
}

template void winograd(const Images<const float>&, const Axis&, const Axis&, const Weights<float>&, const float*,
                       const Images<float>&, bool);
template void winograd(const Images<const double>&, const Axis&, const Axis&, const Weights<double>&, const double*,
                       const Images<double>&, bool);

}  // namespace chainrule
