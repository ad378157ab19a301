// Winograd convolution, for 3x3 kernels of stride 1: F(2x2, 3x3) has 16 products of tiles and channels in place of 36,
// F(4x4, 3x3) 36 in place of 144; its errors are some ten times those of the other, so it is done only on demand.
#pragma once

#include <algorithm>
#include <atomic>

#include "conv/geometry.h"
#include "conv/images.h"

namespace chainrule {

/// Whether it pays: enough channels to fill vectors, enough tiles for the transformed weights.
inline bool winograd_pays(const Axis& ay, const Axis& ax, long groups, long ins, long outs, long n) {
    const auto simple = [](const Axis& a) { return a.taps == 3 && a.step == 1 && a.tap_step == 1 && a.out_step == 1; };
    return simple(ay) && simple(ax) && groups == 1 && ins > 8 && outs > 8 && ay.outputs >= 2 && ax.outputs >= 2 &&
           n * ay.outputs * ax.outputs >= 128;
}

/// Whether F(4x4, 3x3) may be used, in float32; set by set_conv_precision.
inline std::atomic<bool> tiles_of_four{false};

/// The same as convolve and weight_gradient, where winograd_pays. The weights of y's gradient have their taps reversed.
template <class T>
void winograd(const Images<const T>& x, const Axis& ay, const Axis& ax, const Weights<T>& w, const T* bias,
              const Images<T>& y, bool relu);
template <class T>
void winograd_weight_gradient(const Images<const T>& x, const Images<const T>& g, const Axis& ay, const Axis& ax,
                              T* gw);

// How a batch of outputs is cut into blocks of tiles: few enough that their transforms stay in the L2 cache. A block is
// a part of one image, or several whole ones.
struct TileGrid {
    long n, rows, columns;                   // images; tiles of an image
    long images, block_rows, block_columns;  // of a block
    long down, across;                       // blocks of an image

    TileGrid(long n, long height, long width, long most, long m = 2)
        : n(n), rows((height + m - 1) / m), columns((width + m - 1) / m) {
        across = (columns + most - 1) / most;
        block_columns = (columns + across - 1) / across;
        block_rows = std::clamp(most / block_columns, 1L, rows);
        down = (rows + block_rows - 1) / block_rows;
        block_rows = (rows + down - 1) / down;
        images = down * across > 1 ? 1 : std::clamp(most / (rows * columns), 1L, n);
        images = (n + groups() - 1) / groups();
    }
    long groups() const { return (n + images - 1) / images; }
    long blocks() const { return groups() * down * across; }
    long tiles() const { return images * block_rows * block_columns; }

    struct Block {
        long n, images, row, column, rows, columns;  // its first image, tile, and how many
        long tiles() const { return images * rows * columns; }
    };
    Block block(long u) const {
        const long first = u / (down * across) * images, index = u % (down * across);
        const long r = index / across * block_rows, q = index % across * block_columns;
        return {first, std::min(images, n - first), r, q, std::min(block_rows, rows - r),
                std::min(block_columns, columns - q)};
    }
};

}  // namespace chainrule
