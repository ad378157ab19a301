// Tiles of bfloat16, for processors with AVX512-BF16: vdpbf16ps multiplies pairs along K and adds both products to a
// float32 sum. Denormal operands and sums count as zero there; sums round to the nearest, half to even.
// Bound by the instruction, which does twice the operations of an FMA: predicted 236 GFLOP/s a core (Zen 5), measured in
// benchmarks.gemm_sweep.
#include "gemm/tile.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

void interleave(const uint16_t* s, const uint16_t* t, float* pairs, long n) {
    auto* to = reinterpret_cast<char*>(pairs);
    for (long j = 0; j < n; j++) {
        const uint32_t pair = s[j] | (t ? static_cast<uint32_t>(t[j]) << 16 : 0u);
        std::memcpy(to + 4 * j, &pair, 4);
    }
}

// As in the cast of this name: denormal numbers stay, NaN becomes the quiet one of its sign.
void round(const float* c, long ldc, uint16_t* to, long ldt, long rows, long cols) {
    for (long i = 0; i < rows; i++, c += ldc, to += ldt)
        for (long j = 0; j < cols; j += 16) {
            const auto left = static_cast<__mmask16>(cols - j >= 16 ? 0xffff : (1u << (cols - j)) - 1);
            const __m512i bits = _mm512_maskz_loadu_epi32(left, c + j), high = _mm512_srli_epi32(bits, 16);
            const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
            const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            const __mmask16 nan = _mm512_cmp_ps_mask((__m512)bits, (__m512)bits, _CMP_UNORD_Q);
            const __m512i quiet = _mm512_or_si512(_mm512_and_si512(high, _mm512_set1_epi32(0x8000)),
                                                  _mm512_set1_epi32(0x7fc0));
            const __m512i found = _mm512_mask_mov_epi32(_mm512_srli_epi32(up, 16), nan, quiet);
            _mm256_mask_storeu_epi16(to + j, left, _mm512_cvtepi32_epi16(found));
        }
}

void widen(const uint16_t* s, float* to, long n) {
    auto* bytes = reinterpret_cast<char*>(to);
    for (long j = 0; j < n; j++) {
        const uint32_t bits = static_cast<uint32_t>(s[j]) << 16;
        std::memcpy(bytes + 4 * j, &bits, 4);
    }
}

template <int... I>
constexpr TileKernels<float> table(std::integer_sequence<int, I...>) {
#define TILES(vectors, unit) {&tile<float, I + 1, vectors, unit, MultiplyPairs>...}
    return {.rows = tile_rows,
            .lanes = lanes<float>,
            .tile = {{TILES(1, false), TILES(2, false)}, {TILES(1, true), TILES(2, true)}},
            .dots = {&dots<float, 1, MultiplyPairs>, &dots<float, 2, MultiplyPairs>, &dots<float, 3, MultiplyPairs>,
                     &dots<float, 4, MultiplyPairs>},
            .transpose = &transpose<float>,
            .copy = &copy<float>,
            .column_sums = &column_sums<float>,
            .run_sum = &run_sum<float>};
#undef TILES
}

}  // namespace

extern const PairKernels pair_kernels = {.tiles = table(std::make_integer_sequence<int, 14>{}),
                                         .interleave = &interleave,
                                         .round = &round,
                                         .widen = &widen};

}  // namespace chainrule::CHAINRULE_ISA
