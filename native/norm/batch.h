// Batch normalisation's view of its arrays: which elements are a channel's, and how they are cut into chunks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/array.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

constexpr long norm_grain = 32768;  // elements of a chunk

// x as (n, c, s): channels last (or s = 1) are n*s rows of c, else n*c runs of s.
struct Layout {
    long n, c, s = 1;
    bool rows;

    explicit Layout(const Array& x) : n(x.dim(0)), c(x.dim(1)), rows(x.rank() == 2) {
        for (int i = 2; i < x.rank(); i++) s *= x.dim(i);
        if (!rows && x.stride(1) == item_size(x.dtype())) {
            npy_intp strides[max_rank];
            last_strides(x, strides);
            rows = true;
            for (int i = 0; i < x.rank(); i++) rows = rows && (x.dim(i) == 1 || x.stride(i) == strides[i]);
        }
    }
    static void last_strides(const Array& x, npy_intp* strides) {
        npy_intp step = item_size(x.dtype());
        strides[1] = step;
        step *= x.dim(1);
        for (int i = x.rank() - 1; i >= 2; i--) {
            strides[i] = step;
            step *= x.dim(i);
        }
        strides[0] = step;
    }
    // A new array of x's shape in this layout, and an array in it: itself or a copy.
    Owned make(const Array& x) const {
        npy_intp strides[max_rank];
        if (rows) last_strides(x, strides);
        return make_output(x.rank(), x.shape(), x.dtype(), rows ? strides : nullptr);
    }
    Owned arranged(const Array& x) const {
        const Layout own(x);
        if (rows ? own.rows && (x.rank() > 2 || x.contiguous()) : x.contiguous()) {
            Py_INCREF(x.object());
            return Owned(x.object());
        }
        Owned y = make(x);
        auto* to = reinterpret_cast<PyArrayObject*>(static_cast<Array>(y).object());
        if (PyArray_CopyInto(to, reinterpret_cast<PyArrayObject*>(x.object())) < 0) throw nb::python_error();
        return y;
    }
    double count() const { return static_cast<double>(n) * static_cast<double>(s); }
    double nanoseconds() const { return count() * static_cast<double>(c) / 4; }
    long step() const { return std::max(1L, norm_grain / std::max(1L, c)); }       // rows in a chunk
    long runs() const { return std::max(1L, 1024 / std::max(1L, s)); }       // images in a chunk
    long chunks() const { return rows ? (n * s + step() - 1) / step() : (n + runs() - 1) / runs(); }
    double in_chunk(long chunk) const {  // elements of a channel
        return static_cast<double>(rows ? std::min(step(), n * s - chunk * step())
                                        : std::min(runs(), n - chunk * runs()) * s);
    }

    template <class Rows>
    void each_row(Rows on_rows) const {
        parallel_range(n * s, step(), [&](long begin, long end) { on_rows(begin / step(), begin * c, end - begin); });
    }
    // on_rows(chunk, first element, rows), or on_runs(chunk, channel, first element, runs).
    template <class Rows, class Runs>
    void each_chunk(Rows on_rows, Runs on_runs) const {
        if (rows) return each_row(on_rows);
        parallel_range(chunks() * c, std::max(1L, norm_grain / (runs() * std::max(1L, s))), [&](long begin, long end) {
            for (long p = begin; p < end; p++) {
                const long first = p / c * runs();
                on_runs(p / c, p % c, (first * c + p % c) * s, std::min(runs(), n - first));
            }
        });
    }
    // on_rows the same, or on_runs(first channel, first element, runs) of one channel after the other.
    template <class Rows, class Runs>
    void each(Rows on_rows, Runs on_runs) const {
        if (rows) return each_row(on_rows);
        parallel_range(n * c, std::max(1L, norm_grain / std::max(1L, s)), [&](long begin, long end) {
            for (long p = begin, count; p < end; p += count) {
                count = std::min(end - p, c - p % c);
                on_runs(p % c, p * s, count);
            }
        });
    }
};

// Per-channel numbers of the kernel in one block of scratch memory.
template <class T>
class Channels {
  public:
    Channels(long c, long count) : c_(c), values_(static_cast<size_t>(c * count)) {}
    T* operator[](long i) const { return values_.data() + i * c_; }

  private:
    long c_;
    Scratch<T> values_;
};

template <class T>
T at(const Array& v, long i) {
    T value;
    std::memcpy(&value, static_cast<const char*>(v.raw()) + i * v.stride(0), sizeof(T));
    return value;
}

// What the gradients need: x, the mean, 1/sqrt(variance + eps), and that times the weight.
template <class T>
struct Saved {
    Owned mean, rstd, scale;
    explicit Saved(const Array& x) {
        const npy_intp shape[1] = {x.dim(1)};
        for (Owned* v : {&mean, &rstd, &scale}) *v = make_output(1, shape, x.dtype());
    }
    void set(long i, double m, double variance, double eps, const Array& weight) {
        const double r = 1 / std::sqrt(variance + eps);
        mean.data<T>()[i] = static_cast<T>(m);
        rstd.data<T>()[i] = static_cast<T>(r);
        scale.data<T>()[i] = static_cast<T>(weight ? r * static_cast<double>(at<T>(weight, i)) : r);
    }
};

}  // namespace chainrule
