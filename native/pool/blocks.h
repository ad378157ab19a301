// Pooling works on pixels whose channels lie side by side. Channels-last images are that already; of row-major images
// a vector's width of planes at a time is turned into a small channels-last copy and the results are turned back.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"
#include "pool/kernels.h"

namespace chainrule {

// Dense images taking part in a kernel: read if their elements are const, else written (from zero if `zeroed`).
template <class E>
struct Field {
    E* data;
    long h, w;
    bool zeroed = false;
};

// d[j*ldd + i] = s[i*lds + j]
template <class E>
void turn(const E* s, long lds, E* d, long ldd, long rows, long cols) {
    if constexpr (std::is_floating_point_v<E>) {
        gemm_kernels().of<E>().transpose(s, lds, d, ldd, rows, cols);
    } else {
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < cols; j++) d[j * ldd + i] = s[i * lds + j];
    }
}

// A field's part in one block of channels: in place, or a turned copy that is written back when done.
template <class E>
class Part {
    using Value = std::remove_const_t<E>;

  public:
    // Channels [c0, c0 + count) of image n, channels-last with c channels.
    Part(const Field<E>& f, long n, long c, long c0, long count)
        : copy_(0), pixels_{f.data + n * c * f.h * f.w + c0, f.w * c, c} {
        if constexpr (!std::is_const_v<E>)
            for (long p = 0; p < f.h * f.w && f.zeroed; p++) std::fill_n(pixels_.data + p * c, count, E(0));
    }
    // Planes [p0, p0 + count) of row-major images.
    Part(const Field<E>& f, long p0, long count)
        : copy_(static_cast<size_t>(f.h * f.w * count)),
          pixels_{copy_.data(), f.w * count, count},
          size_(f.h * f.w),
          planes_(count) {
        if constexpr (std::is_const_v<E>) {
            turn(f.data + p0 * size_, size_, copy_.data(), count, count, size_);
        } else {
            back_ = f.data + p0 * size_;
            if (f.zeroed) std::fill_n(copy_.data(), size_ * count, E(0));
        }
    }
    ~Part() {
        if constexpr (!std::is_const_v<E>)
            if (back_) turn(copy_.data(), planes_, back_, size_, size_, planes_);
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    Pixels<E> pixels() const { return pixels_; }

  private:
    Scratch<Value> copy_;
    Pixels<E> pixels_;
    long size_ = 0, planes_ = 0;
    E* back_ = nullptr;
};

// Runs kernel(channels, pixels of each field...) over all images, in parallel.
template <class T, class Kernel, class... E>
void each_block(long n, long c, bool last, const Kernel& kernel, const Field<E>&... fields) {
    long size = 0;
    ((size = std::max(size, fields.h * fields.w)), ...);
    const long width = last ? (n >= 8 ? c : std::min(c, 64L)) : gemm_kernels().of<T>().lanes;
    const long per_image = last ? (c + width - 1) / width : 0;
    const long units = last ? n * per_image : (n * c + width - 1) / width;
    parallel_range(units, std::max(1L, 16384 / std::max(1L, size * width)), [&](long begin, long end) {
        for (long u = begin; u < end; u++) {
            const long first = (last ? u % per_image : u) * width, count = std::min(width, (last ? c : n * c) - first);
            const auto call = [&](const Part<E>&... parts) { kernel(count, parts.pixels()...); };
            if (last)
                call(Part<E>(fields, u / per_image, c, first, count)...);
            else
                call(Part<E>(fields, first, count)...);
        }
    });
}

}  // namespace chainrule
