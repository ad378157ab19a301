// The driver of matrix products: which operand is broadcast and which is read in vectors, what is packed, how the work
// is cut. Bound by FMAs. Measured on one core (Zen 4, AVX-512) in shares of its peak, weights (out, in): 4..12 x 784 x 128
// 68-77 %, 32..1024 x 784 x 128 93-96 %, 768 x 128..512 x 128..512 94-98 %, 1024 cubed 88-93 %; docs/performance.md has more.
//
// The micro-kernel broadcasts one operand (any strides) and reads the other in vectors (columns must be contiguous).
// C = A·B reads B in vectors; C^T = B^T·A^T reads A. Whichever is contiguous the right way is taken; if neither is,
// the smaller one is packed. PyTorch's (out, in) weights meet a small batch there: packing x costs a quarter of packing W.
#include "gemm/gemm.h"

#include <algorithm>

#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

namespace {

constexpr long kept_bytes = 512 << 10;       // of B in the second-level cache
constexpr long copied_bytes = 6 << 20;       // of A at a time: with B it shares the caches
constexpr long flops_per_chunk = 3'000'000;  // about 12 us of one core
constexpr long own_size = 32768;             // packed elements that each thread rather packs itself than fetches

long ceil_div(long a, long b) { return (a + b - 1) / b; }

template <class T>
class Gemm {
  public:
    Gemm(const Product<T>& p, const TileKernels<T>& kernels, const Rounded* rounded)
        : k_(kernels), rounded_(rounded), width_(2 * k_.lanes) {
        const bool b_ready = p.b_col == 1 || p.n == 1, a_ready = p.a_row == 1 || p.m == 1;
        transposed_ = !b_ready && (a_ready || p.m < p.n);
        if (transposed_) {
            rows_ = p.n, cols_ = p.m;
            a_ = p.b, a_row_ = p.b_col, a_step_ = p.b_row;
            b_ = p.a, b_step_ = p.a_col, b_col_ = p.a_row;
        } else {
            rows_ = p.m, cols_ = p.n;
            a_ = p.a, a_row_ = p.a_row, a_step_ = p.a_col;
            b_ = p.b, b_step_ = p.b_row, b_col_ = p.b_col;
        }
        depth_ = p.k;
        c_ = p.c, ldc_ = p.ldc, bias_ = p.bias, accumulate_ = p.accumulate;
        activate_ = p.activate, activated_ = p.activated ? p.activated : c_;
        plan();
    }

    void run() const {
        const long packed_panels = panels_ - first_packed_;
        const long packed_size = depth_ * packed_panels * width_;
        if (packed_size > 0 && packed_size <= own_size && !copy_a_ && row_blocks_ * groups_ > 1) return run_apart(packed_size);
        const Scratch<T> pack(static_cast<size_t>(packed_size));
        const Scratch<T> copied(copy_a_ ? static_cast<size_t>(copied_size(stripe_)) : 0);
        for (long begin = 0; begin < rows_; begin += stripe_) {
            const Stripe s{begin, std::min(stripe_, rows_ - begin), pack.data(), copied.data()};
            // Contiguous rows of B are packed 16 at a time across all panels, columns of B panel by panel.
            const bool by_rows = b_col_ == 1;
            const long b_units = begin > 0 || packed_panels == 0 ? 0
                                 : by_rows                       ? ceil_div(depth_, 16)
                                                                 : packed_panels * blocks_;
            const long a_units = copy_a_ ? ceil_div(s.rows, 128) * blocks_ : 0;
            auto prepare = [&](long u) {
                if (u >= b_units)
                    copy_rows(s, (u - b_units) % blocks_, (u - b_units) / blocks_ * 128);
                else if (by_rows)
                    pack_rows(s, u * 16);
                else
                    pack_panel(s, u % blocks_, first_packed_ + u / blocks_);
            };
            if ((b_units > 0 ? packed_panels * width_ : 0) * depth_ + (copy_a_ ? s.rows : 0) * depth_ >= 1 << 17) {
                parallel_for(b_units + a_units, prepare);
            } else {
                for (long u = 0; u < b_units + a_units; u++) prepare(u);
            }
            parallel_for(row_blocks(s) * groups_, [&](long chunk) { multiply(s, chunk); });
        }
    }

  private:
    // A little is packed by each thread for itself: what another core has just written comes slower than it is packed.
    void run_apart(long packed_size) const {
        const int threads = num_threads();
        const Scratch<T> pack(static_cast<size_t>(packed_size) * threads);
        const Scratch<bool> ready(static_cast<size_t>(threads));
        std::fill_n(ready.data(), threads, false);
        parallel_for(row_blocks({0, rows_, nullptr, nullptr}) * groups_, [&](long chunk) {
            const int me = thread_number();
            const bool known = me < threads;  // there may be more since they were counted
            const Scratch<T> late(known ? 0 : static_cast<size_t>(packed_size));
            const Stripe s{0, rows_, known ? pack.data() + me * packed_size : late.data(), nullptr};
            if (!known || !ready[me]) {
                if (b_col_ == 1)
                    for (long p = 0; p < depth_; p += 16) pack_rows(s, p);
                else
                    for (long j = first_packed_; j < panels_; j++)
                        for (long b = 0; b < blocks_; b++) pack_panel(s, b, j);
                if (known) ready[me] = true;
            }
            multiply(s, chunk);
        });
    }

    void plan() {
        panels_ = ceil_div(cols_, width_);
        // Contiguous columns of A: tiles of few rows would fetch a line for each step of K to use a part of it. Rows are made
        // of them, if enough panels use these (AVX2, float64, 512 x 128 x 768: 65 % of the peak without, 78 % with it; no gain
        // for tiles of 14 rows).
        unit_ = a_row_ == 1 && (k_.rows > 8 || panels_ < 8 || rows_ < 64 || depth_ < 32);
        const bool unit = unit_;
        // One K block keeps the rows of A within reach of the translation buffers, and C from being read too often.
        const long deepest = a_row_ == 1 ? 256 : 4096 / static_cast<long>(sizeof(T));
        blocks_ = std::max(1L, ceil_div(depth_, deepest));
        const long long b_bytes = static_cast<long long>(depth_) * cols_ * sizeof(T);
        const bool pack_all =
            (b_col_ != 1 && cols_ > 1) || (b_bytes > 512 * 1024 && (rows_ >= 256 || (!unit && a_row_ == 1)));
        const bool edge = cols_ % width_ != 0;
        first_packed_ = pack_all ? 0 : panels_ - edge;
        // Rows of A a multiple of 4 KiB apart share a few lines of the caches: copy a block of them, if enough panels use
        // it. Other distances read as fast in place (1024 x 1536 x 384: 92 % of the peak, 83 % with a copy).
        const bool collide = !unit && a_row_ * static_cast<long>(sizeof(T)) % 4096 == 0;
        copy_a_ = panels_ >= 8 && rows_ >= 64 && depth_ >= 32 && (collide || (!unit && a_step_ != 1));
        const long size = sizeof(T), tile = k_.rows, deep = std::max(depth_, 1L);
        stripe_ = copy_a_ ? std::min(rows_, std::max(504L, copied_bytes / size / deep / tile * tile)) : rows_;
        const long most_rows = copy_a_ ? 252 : std::max(56L, (1L << 20) / size / deep);
        row_blocks_ = ceil_div(stripe_, most_rows);
        const double flops = 2. * stripe_ * cols_ * depth_;
        const long chunks = std::clamp(static_cast<long>(flops / flops_per_chunk), 1L, 64L);
        if (kept(panels_)) {  // rows apart first: A is then read once
            row_blocks_ = std::min(chunks, ceil_div(rows_, 4 * tile));
            groups_ = row_blocks_ >= 8 ? 1 : std::min(panels_, ceil_div(chunks, row_blocks_));
            return;
        }
        groups_ = std::min(panels_, ceil_div(chunks, row_blocks_));
        row_blocks_ = std::max(row_blocks_, ceil_div(chunks, groups_));
    }

    // Whether to keep a block of K of so many panels in the second-level cache, and go from tile to tile. Columns of A
    // that are contiguous have many small blocks: there C would come and go too often.
    bool kept(long panels) const {
        const bool few = blocks_ == 1 || !unit_;
        return few && panels * width_ * (depth_ / blocks_) * static_cast<long>(sizeof(T)) <= kept_bytes;
    }

    // Rows of A that are worked on between two copies, and where what was packed and copied lies.
    struct Stripe {
        long begin, rows;
        T *pack, *copy;
    };

    long depth_at(long block) const { return block == 0 ? 0 : block == blocks_ ? depth_ : block * depth_ / blocks_; }
    long block_of(long p) const {
        long block = p * blocks_ / depth_;
        while (depth_at(block + 1) <= p) block++;
        return block;
    }

    T* packed_panel(const Stripe& s, long block, long panel) const {
        const long k0 = depth_at(block), kc = depth_at(block + 1) - k0;
        return s.pack + (k0 * (panels_ - first_packed_) + (panel - first_packed_) * kc) * width_;
    }

    void pack_rows(const Stripe& stripe, long p0) const {
        for (long p = p0, end = std::min(p0 + 16, depth_); p < end;) {
            const long block = block_of(p), rows = std::min(end, depth_at(block + 1)) - p;
            for (long j = first_packed_; j < panels_; j++) {
                const long cols = std::min<long>(width_, cols_ - j * width_);
                k_.copy(b_ + p * b_step_ + j * width_, b_step_,
                        packed_panel(stripe, block, j) + (p - depth_at(block)) * width_, width_, rows, cols, width_);
            }
            p += rows;
        }
    }

    void pack_panel(const Stripe& stripe, long block, long panel) const {
        const long k0 = depth_at(block), kc = depth_at(block + 1) - k0;
        const long j0 = panel * width_, cols = std::min<long>(width_, cols_ - j0);
        T* d = packed_panel(stripe, block, panel);
        const T* s = b_ + k0 * b_step_ + j0 * b_col_;
        if (b_step_ == 1) {
            k_.transpose(s, b_col_, d, width_, cols, kc);
        } else {
            for (long p = 0; p < kc; p++)
                for (long j = 0; j < cols; j++) d[p * width_ + j] = s[p * b_step_ + j * b_col_];
        }
        for (long p = 0; p < kc && cols < width_; p++) std::fill(d + p * width_ + cols, d + (p + 1) * width_, T(0));
    }

    // A copy keeps the shape of A and shortens its rows: [block][row][kc + 16], or [k][rows + 16] if rows are
    // contiguous.
    long copy_ld(long rows) const { return unit_ ? rows + 16 : depth_ / blocks_ + 17; }
    long copied_size(long rows) const { return (unit_ ? depth_ : blocks_ * rows) * copy_ld(rows); }
    T* copied_block(const Stripe& s, long block) const {
        return s.copy + (unit_ ? depth_at(block) : block * s.rows) * copy_ld(s.rows);
    }

    void copy_rows(const Stripe& stripe, long block, long i0) const {
        const long rows = std::min(128L, stripe.rows - i0), ld = copy_ld(stripe.rows);
        const long k0 = depth_at(block), kc = depth_at(block + 1) - k0;
        const T* s = a_ + (stripe.begin + i0) * a_row_ + k0 * a_step_;
        T* d = copied_block(stripe, block) + i0 * (unit_ ? 1 : ld);
        if (unit_) {
            k_.copy(s, a_step_, d, ld, kc, rows, rows);
        } else if (a_step_ == 1) {
            k_.copy(s, a_row_, d, ld, rows, kc, kc);
        } else if (a_row_ == 1) {
            k_.transpose(s, a_step_, d, ld, kc, rows);
        } else {
            for (long i = 0; i < rows; i++)
                for (long p = 0; p < kc; p++) d[i * ld + p] = s[i * a_row_ + p * a_step_];
        }
    }

    long row_blocks(const Stripe& s) const { return std::min(row_blocks_, ceil_div(s.rows, 2 * k_.rows)); }

    // One of row_blocks(s) * groups_ parts of the product.
    void multiply(const Stripe& s, long chunk) const {
        const long blocks = row_blocks(s), r = chunk % blocks, g = chunk / blocks;
        multiply(s, r * s.rows / blocks, (r + 1) * s.rows / blocks, g * panels_ / groups_, (g + 1) * panels_ / groups_);
    }

    // Rows [i0, i1) of the stripe times panels [j0, j1). Block by block of K and tile by tile if the second-level cache
    // holds a block of all panels: A is then read once, and comes from the first for all panels but one. Else panel by
    // panel, so that its part of C stays in cache over all blocks.
    void multiply(const Stripe& s, long i0, long i1, long j0, long j1) const {
        const long tiles = ceil_div(i1 - i0, k_.rows);
        const auto rows_of = [&](long i, long n) { return (i1 - i) / (tiles - n); };  // 32 = 10+11+11, never 14+14+4
        if (kept(j1 - j0)) {
            for (long b = 0; b < blocks_; b++)
                for (long n = 0, i = i0; n < tiles; n++) {
                    const long rows = rows_of(i, n);
                    for (long j = j0; j < j1; j++) {
                        Tile<T> t = panel(s, j, b, i);
                        run(s, t, i, rows, j, b);
                    }
                    i += rows;
                }
            return;
        }
        for (long j = j0; j < j1; j++)
            for (long b = 0; b < blocks_; b++) {
                Tile<T> t = panel(s, j, b, i0);
                for (long n = 0, i = i0; n < tiles; n++) {
                    const long rows = rows_of(i, n);
                    run(s, t, i, rows, j, b);
                    i += rows;
                    t.a += rows * t.row;
                    t.c += transposed_ ? rows : rows * ldc_;
                }
            }
    }

    // What tiles of block b of panel j share; `a` and `c` stand at row i of the stripe.
    Tile<T> panel(const Stripe& s, long j, long b, long i) const {
        const bool unit = unit_, packed = j >= first_packed_;
        const long ld = copy_a_ ? copy_ld(s.rows) : 0, k0 = depth_at(b), row = copy_a_ && !unit ? ld : a_row_;
        const long at = s.begin + i;
        return {.a = copy_a_ ? copied_block(s, b) + i * row : a_ + at * row + k0 * a_step_,
                .row = row,
                .step = !copy_a_ ? a_step_ : unit ? ld : 1,
                .b = packed ? packed_panel(s, b, j) : b_ + k0 * b_step_ + j * width_,
                .ldb = packed ? width_ : b_step_,
                .k = depth_at(b + 1) - k0,
                .c = transposed_ ? c_ + j * width_ * ldc_ + at : c_ + at * ldc_ + j * width_,
                .ldc = ldc_,
                .cols = static_cast<int>(std::min<long>(width_, cols_ - j * width_)),
                .accumulate = accumulate_ || b > 0,
                .transposed = transposed_,
                .row_bias = transposed_};
    }

    // The tile at row i of the stripe.
    void run(const Stripe& s, Tile<T>& t, long i, long rows, long j, long b) const {
        if (bias_ && b == 0) t.bias = bias_ + (transposed_ ? s.begin + i : j * width_);
        const auto kernel = k_.tile[t.row == 1][t.cols > k_.lanes][rows - 1];
        const long lines = transposed_ ? t.cols : rows, length = transposed_ ? rows : t.cols;
        if constexpr (sizeof(T) == 4)
            if (rounded_) return run_rounded(t, kernel, lines, length, b);
        kernel(t);
        if (activate_ && b + 1 == blocks_) activate_(t.c, activated_ + (t.c - c_), ldc_, lines, length);
    }

    // In one block of K the sums never leave the first cache.
    void run_rounded(Tile<T>& t, void (*kernel)(const Tile<T>&), long lines, long length, long b) const {
        alignas(64) T local[32 * 32];
        T* const c = t.c;
        const long at = c - c_;
        if (blocks_ == 1) t.c = local, t.ldc = 32;
        kernel(t);
        const auto round = [&](BFloat16* to) {
            rounded_->kernels.round(t.c, t.ldc, &to[at].bits, ldc_, lines, length);
        };
        if (b + 1 == blocks_) {
            if (!activate_ || rounded_->activated) round(rounded_->c);
            if (activate_) activate_(t.c, t.c, t.ldc, lines, length);
            if (activate_) round(rounded_->activated ? rounded_->activated : rounded_->c);
        }
        t.c = c, t.ldc = ldc_;
    }

    const TileKernels<T>& k_;
    const Rounded* rounded_;
    const long width_;
    bool transposed_, accumulate_, copy_a_;
    bool unit_;  // columns of A are read as they lie
    Activate<T> activate_;
    long rows_, cols_, depth_;
    const T *a_, *b_, *bias_;
    long a_row_, a_step_, b_step_, b_col_;
    T *c_, *activated_;
    long ldc_;
    long panels_, first_packed_;  // panels from first_packed_ on are packed, the others read in place
    long blocks_;                 // of K
    long stripe_;                 // rows worked on between two copies of A
    long row_blocks_, groups_;    // the grid of a stripe: blocks of rows x groups of panels
};

// A few rows against many, both contiguous along K (one sample, or eight, through a layer): dot products, nothing packed.
template <class T>
void dot_products(const Product<T>& p, const TileKernels<T>& k) {
    const bool wide = p.m <= p.n;  // few rows of A, many of B
    const long few = wide ? p.m : p.n, many = wide ? p.n : p.m;
    const T *x = wide ? p.a : p.b, *y = wide ? p.b : p.a;
    const long ldx = wide ? p.a_row : p.b_col, ldy = wide ? p.b_col : p.a_row;
    const long grain = std::max(4L, flops_per_chunk / (2 * few * std::max(1L, p.k)) / 4 * 4);
    parallel_range(many, grain, [&](long begin, long end) {
        for (long j = begin; j < end; j += 4) {
            const int cols = static_cast<int>(std::min(4L, end - j));
            for (long i = 0; i < few; i += 4) {
                const long rows = std::min(4L, few - i);
                T out[4][4];
                k.dots[rows - 1](x + i * ldx, ldx, y + j * ldy, ldy, p.k, cols, out);
                for (long f = 0; f < rows; f++)
                    for (int q = 0; q < cols; q++) {
                        const long row = wide ? i + f : j + q, col = wide ? j + q : i + f;
                        T& c = p.c[row * p.ldc + col];
                        c = out[f][q] + (p.accumulate ? c : T(0)) + (p.bias ? p.bias[col] : T(0));
                    }
            }
        }
        T* const y = p.activated ? p.activated : p.c;
        if (p.activate && wide) p.activate(p.c + begin, y + begin, p.ldc, few, end - begin);
        if (p.activate && !wide) p.activate(p.c + begin * p.ldc, y + begin * p.ldc, p.ldc, end - begin, few);
    });
}

// Whether to take dot products: up to 12 rows would leave lanes of a panel idle, and long ones hide their sums.
template <class T>
bool few_rows(const Product<T>& p) {
    const long few = std::min(p.m, p.n);
    return p.k > 1 && p.a_col == 1 && p.b_row == 1 && (few <= 4 || (few <= 12 && p.k >= 256));
}

template <class T>
void product(const Product<T>& p) {
    if (p.m == 0 || p.n == 0) return;
    const auto& kernels = gemm_kernels().of<T>();
    if (few_rows(p)) return dot_products(p, kernels);
    Gemm<T>(p, kernels, nullptr).run();
}

}  // namespace

void gemm(const Product<float>& p) { product(p); }
void gemm(const Product<double>& p) { product(p); }

void gemm(const Product<float>& p, const Rounded& rounded) {
    if (p.m == 0 || p.n == 0) return;
    if (!few_rows(p)) return Gemm<float>(p, rounded.kernels.tiles, &rounded).run();
    Product<float> plain = p;
    plain.activate = nullptr;
    dot_products(plain, rounded.kernels.tiles);
    const auto round = [&](BFloat16* to) { rounded.kernels.round(p.c, p.ldc, &to->bits, p.ldc, p.m, p.n); };
    if (!p.activate || rounded.activated) round(rounded.c);
    if (!p.activate) return;
    p.activate(p.c, p.c, p.ldc, p.m, p.n);
    round(rounded.activated ? rounded.activated : rounded.c);
}

template <class T>
void column_sums(const T* s, long lds, long rows, long cols, double* sums) {
    std::fill(sums, sums + cols, 0.);
    parallel_range(cols, rows * cols > 100'000 ? 64 : cols, [&](long begin, long end) {
        gemm_kernels().of<T>().column_sums(s + begin, lds, rows, end - begin, sums + begin);
    });
}
template void column_sums(const float* s, long lds, long rows, long cols, double* sums);
template void column_sums(const double* s, long lds, long rows, long cols, double* sums);

}  // namespace chainrule
