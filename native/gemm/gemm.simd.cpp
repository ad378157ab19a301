// The tiles of the engine, for each instruction set (gemm/tile.h).
#include "core/simd.h"
#include "gemm/tile.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <class T, int... I>
constexpr TileKernels<T> table(std::integer_sequence<int, I...>) {
    // On sets with smaller tiles the last entries repeat the largest; the drivers never ask for them.
#define TILES(vectors, unit)                                            \
    {                                                                   \
        &tile<T, (I < tile_rows ? I + 1 : tile_rows), vectors, unit>... \
    }
    return {.rows = tile_rows,
            .lanes = lanes<T>,
            .tile = {{TILES(1, false), TILES(2, false)}, {TILES(1, true), TILES(2, true)}},
            .dots = {&dots<T, 1>, &dots<T, 2>, &dots<T, 3>, &dots<T, 4>},
            .transpose = &transpose<T>,
            .copy = &copy<T>,
            .column_sums = &column_sums<T>,
            .run_sum = &run_sum<T>};
#undef TILES
}

}  // namespace

extern const GemmKernels gemm_kernels = {table<float>(std::make_integer_sequence<int, 14>{}),
                                         table<double>(std::make_integer_sequence<int, 14>{})};

}  // namespace chainrule::CHAINRULE_ISA
