// A tile of a product: what one block makes of two operands, both (rows, depth): sums[i][j] = sum over k of a[i][k] b[j][k].
// Operands say where their elements are, so the same tiles serve matrices of any strides and images, whose columns are never
// written to memory. The next step's elements are on their way to registers while the present one's are multiplied.
//
// An operand has: `along`, whether neighbours in k, or else in rows, lie together in memory; Place place(row) and
// Depth depth(k), what an element's address takes of each; T get(place, depth), 0 beyond the ends. Either `packs`: it has
// Pack<T> eight(row, k), 8 neighbours, along or across; or step(depth, k), from k - 1 to k, cheaper than anew.
#pragma once

#include "core/mma.cuh"

/// A matrix of any strides; `whole`: 8 neighbours lie at a multiple of 16 bytes, for 16-bit floats alone.
template <class T> struct Matrix {
    static constexpr bool packs = true;
    using Place = int;
    using Depth = int;
    const T* data;
    int rows, columns;
    int64_t row_step, column_step;
    bool along, whole;

    DEVICE Place place(int row) const { return row; }
    DEVICE Depth depth(int k) const { return k; }
    DEVICE T get(Place row, Depth k) const {
        return row < rows && k < columns ? data[row * row_step + k * column_step] : T{};
    }
    DEVICE Pack<T> eight(int row, int k) const {
        Pack<T> found;
        const bool inside = along ? row < rows && k + Pack<T>::count <= columns : k < columns && row + Pack<T>::count <= rows;
        if (whole && inside) return *reinterpret_cast<const Pack<T>*>(data + row * row_step + k * column_step);
#pragma unroll
        for (int e = 0; e < Pack<T>::count; ++e) found.at[e] = along ? get(row, k + e) : get(row + e, k);
        return found;
    }
};

/// What a thread of a block fetches of an operand for one step, element by element.
template <class T, int tile, int depth, int threads, class Operand> struct Fetched {
    static constexpr int count = tile * depth / threads;
    const Operand& operand;
    typename Operand::Place place[count];
    T next[count];

    DEVICE Fetched(const Operand& o, int row0) : operand(o) {
#pragma unroll
        for (int l = 0; l < count; ++l) place[l] = o.place(row0 + row(l));
    }
    DEVICE int row(int l) const {
        const int t = threadIdx.x;
        return operand.along ? t / depth + threads / depth * l : t % tile;
    }
    DEVICE int column(int l) const {
        const int t = threadIdx.x;
        if (operand.along) return t % depth;
        return Operand::packs ? t / tile + threads / tile * l : t / tile * count + l;
    }
    DEVICE void fetch(int k0) {
        typename Operand::Depth at = operand.depth(k0 + column(0));
#pragma unroll
        for (int l = 0; l < count; ++l) {
            if (l && !operand.along) {
                if constexpr (Operand::packs) at = operand.depth(k0 + column(l));
                else operand.step(at, k0 + column(l));
            }
            next[l] = operand.get(place[operand.along ? l : 0], at);
        }
    }
    template <class Sum, int pitch> DEVICE void store(Sum (*shared)[pitch]) const {
#pragma unroll
        for (int l = 0; l < count; ++l) shared[column(l)][row(l)] = static_cast<Sum>(factor(next[l]));
    }
    DEVICE void store_half(uint16_t* shared, int pitch) const {
#pragma unroll
        for (int l = 0; l < count; ++l)
            shared[operand.along ? row(l) * pitch + column(l) : column(l) * pitch + row(l)] = next[l].bits;
    }
};

/// The same of 16-bit floats, eight at a time.
template <class T, int tile, int depth, int threads, class Operand> struct FetchedPacks {
    static constexpr int count = tile * depth / 8 / threads;
    const Operand& operand;
    const int row0;
    Pack<T> next[count];

    DEVICE FetchedPacks(const Operand& o, int row0) : operand(o), row0(row0) {}
    DEVICE int row(int l) const {
        const int p = threadIdx.x + threads * l;
        return operand.along ? p / (depth / 8) : p % (tile / 8) * 8;
    }
    DEVICE int column(int l) const {
        const int p = threadIdx.x + threads * l;
        return operand.along ? p % (depth / 8) * 8 : p / (tile / 8);
    }
    DEVICE void fetch(int k0) {
#pragma unroll
        for (int l = 0; l < count; ++l) next[l] = operand.eight(row0 + row(l), k0 + column(l));
    }
    DEVICE void store_half(uint16_t* shared, int pitch) const {
#pragma unroll
        for (int l = 0; l < count; ++l)
            *reinterpret_cast<Pack<T>*>(shared + (operand.along ? row(l) * pitch + column(l) : column(l) * pitch + row(l))) =
                next[l];
    }
};
template <class T, int tile, int depth, int threads, class Operand, bool packs> struct FetchedOf {
    using type = Fetched<T, tile, depth, threads, Operand>;
};
template <class T, int tile, int depth, int threads, class Operand> struct FetchedOf<T, tile, depth, threads, Operand, true> {
    using type = FetchedPacks<T, tile, depth, threads, Operand>;
};

/// The tile of 256 threads whose first row and column these are, over k from `begin` to `end`: calls
/// put(row, column, sum) for each of its elements, those beyond the ends too. Each thread makes tile/16 rows and columns.
template <class T, int tile, class A, class B, class Put>
DEVICE void make_tile(const A& a, const B& b, int row0, int column0, int begin, int end, Put put) {
    using Sum = typename SumOf<T>::type;
    constexpr int depth = 16, each = tile / 16, run = each < 4 ? each : 4;
    alignas(16) __shared__ Sum left[2][depth][tile + 4];
    alignas(16) __shared__ Sum right[2][depth][tile + 4];
    const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    Fetched<T, tile, depth, 256, A> next_a(a, row0);
    Fetched<T, tile, depth, 256, B> next_b(b, column0);
    Sum sum[each][each] = {};
    int now = 0;
    if (begin < end) {
        next_a.fetch(begin);
        next_b.fetch(begin);
        next_a.store(left[0]);
        next_b.store(right[0]);
    }
    __syncthreads();
    for (int k0 = begin; k0 < end; k0 += depth, now ^= 1) {
        const bool more = k0 + depth < end;
        if (more) {
            next_a.fetch(k0 + depth);
            next_b.fetch(k0 + depth);
        }
#pragma unroll
        for (int k = 0; k < depth; ++k) {
            Sum u[each], v[each];  // in runs of neighbours, which one instruction loads; no two threads in one bank
#pragma unroll
            for (int i = 0; i < each; ++i) {
                u[i] = left[now][k][i / run * 16 * run + ty * run + i % run];
                v[i] = right[now][k][i / run * 16 * run + tx * run + i % run];
            }
#pragma unroll
            for (int i = 0; i < each; ++i)
#pragma unroll
                for (int j = 0; j < each; ++j) sum[i][j] += u[i] * v[j];
        }
        if (more) {
            next_a.store(left[now ^ 1]);
            next_b.store(right[now ^ 1]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < each; ++i)
#pragma unroll
        for (int j = 0; j < each; ++j)
            put(row0 + i / run * 16 * run + ty * run + i % run, column0 + j / run * 16 * run + tx * run + j % run, sum[i][j]);
}

/// The same of 16-bit floats on tensor cores: 8 warps for a tile of 128, each 64 x 32 of it; 4 for one of 64, each 32 x 32.
template <class T, int tile, class A, class B, class Put>
DEVICE void make_tile_mma(const A& a, const B& b, int row0, int column0, int begin, int end, Put put) {
    constexpr int depth = 32, threads = tile == 128 ? 256 : 128, high = tile / 32;  // high: times 16 rows, of a warp
    constexpr int pitch_along = depth + 8, pitch_across = tile + 8, room = tile * pitch_along;
    alignas(16) __shared__ uint16_t left[2][room];
    alignas(16) __shared__ uint16_t right[2][room];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / (tile / 32) * 16 * high, warp_column = warp % (tile / 32) * 32;
    const bool a_along = a.along, b_along = b.along;
    const int a_pitch = a_along ? pitch_along : pitch_across, b_pitch = b_along ? pitch_along : pitch_across;
    // where this lane's rows of the fragments lie
    const int near = (lane & 7) + (lane >> 3 & 1) * 8, far = (lane & 7) + (lane >> 4) * 8;
    const int a_at = a_along ? (warp_row + near) * a_pitch + (lane >> 4) * 8 : far * a_pitch + warp_row + (lane >> 3 & 1) * 8;
    const int b_at =
        b_along ? (warp_column + far) * b_pitch + (lane >> 3 & 1) * 8 : near * b_pitch + warp_column + (lane >> 4) * 8;
    const int a_row = 16 * (a_along ? a_pitch : 1), a_deep = 16 * (a_along ? 1 : a_pitch);
    const int b_row = 16 * (b_along ? b_pitch : 1), b_deep = 16 * (b_along ? 1 : b_pitch);
    typename FetchedOf<T, tile, depth, threads, A, A::packs>::type next_a(a, row0);
    typename FetchedOf<T, tile, depth, threads, B, B::packs>::type next_b(b, column0);
    float sum[high][4][4] = {};
    int now = 0;
    if (begin < end) {
        next_a.fetch(begin);
        next_b.fetch(begin);
        next_a.store_half(left[0], a_pitch);
        next_b.store_half(right[0], b_pitch);
    }
    __syncthreads();
    for (int k0 = begin; k0 < end; k0 += depth, now ^= 1) {
        const bool more = k0 + depth < end;
        if (more) {
            next_a.fetch(k0 + depth);
            next_b.fetch(k0 + depth);
        }
#pragma unroll
        for (int k = 0; k < depth / 16; ++k) {
            uint32_t u[high][4], v[2][4];
#pragma unroll
            for (int i = 0; i < high; ++i) fragments(u[i], left[now] + a_at + i * a_row + k * a_deep, !a_along);
#pragma unroll
            for (int j = 0; j < 2; ++j) fragments(v[j], right[now] + b_at + j * b_row + k * b_deep, !b_along);
#pragma unroll
            for (int i = 0; i < high; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const uint32_t pair[2] = {v[j / 2][j % 2 * 2], v[j / 2][j % 2 * 2 + 1]};
                    mma(T{}, sum[i][j], u[i], pair);
                }
        }
        if (more) {
            next_a.store_half(left[now ^ 1], a_pitch);
            next_b.store_half(right[now ^ 1], b_pitch);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < high; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e)
                put(row0 + warp_row + 16 * i + lane / 4 + e / 2 * 8, column0 + warp_column + 8 * j + lane % 4 * 2 + e % 2,
                    sum[i][j][e]);
}

/// The same of floats in TF32; by warps in the same way. The rows of shared memory are 8 banks apart, so the 32 lanes of a
/// warp, 8 neighbours in each of 4 rows, read from 32 banks.
template <class T, int tile, class A, class B, class Put>
DEVICE void make_tile_tf32(const A& a, const B& b, int row0, int column0, int begin, int end, Put put) {
    constexpr int depth = 16, threads = tile == 128 ? 256 : 128, high = tile / 32, pitch = tile + 8;
    __shared__ float left[2][depth][pitch];
    __shared__ float right[2][depth][pitch];
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int warp_row = warp / (tile / 32) * 16 * high, warp_column = warp % (tile / 32) * 32;
    Fetched<T, tile, depth, threads, A> next_a(a, row0);
    Fetched<T, tile, depth, threads, B> next_b(b, column0);
    float sum[high][4][4] = {};
    int now = 0;
    if (begin < end) {
        next_a.fetch(begin);
        next_b.fetch(begin);
        next_a.store(left[0]);
        next_b.store(right[0]);
    }
    __syncthreads();
    for (int k0 = begin; k0 < end; k0 += depth, now ^= 1) {
        const bool more = k0 + depth < end;
        if (more) {
            next_a.fetch(k0 + depth);
            next_b.fetch(k0 + depth);
        }
#pragma unroll
        for (int k = t; k < depth; k += 8) {
            uint32_t u[high][4], v[4][2];
#pragma unroll
            for (int i = 0; i < high; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    u[i][e] = __float_as_uint(left[now][k + e / 2 * 4][warp_row + 16 * i + g + e % 2 * 8]);
#pragma unroll
            for (int j = 0; j < 4; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e) v[j][e] = __float_as_uint(right[now][k + 4 * e][warp_column + 8 * j + g]);
#pragma unroll
            for (int i = 0; i < high; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) mma(T{}, sum[i][j], u[i], v[j]);
        }
        if (more) {
            next_a.store(left[now ^ 1]);
            next_b.store(right[now ^ 1]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < high; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e)
                put(row0 + warp_row + 16 * i + g + e / 2 * 8, column0 + warp_column + 8 * j + t * 2 + e % 2, sum[i][j][e]);
}

/// The part of a product (rows, columns), `z` of them, that is this block's: tiles of columns follow each other first.
struct Share {
    int row0, column0, z, count;
};
template <int tile> DEVICE Share share(int rows, int columns) {
    const int across = (columns + tile - 1) / tile, down = (rows + tile - 1) / tile, block = blockIdx.x;
    const int line = block / across, z = line / down;
    return {(line - z * down) * tile, (block - line * across) * tile, z, static_cast<int>(gridDim.x) / (across * down)};
}

/// Which of them: tensor cores for 16-bit floats and TF32.
template <class T> struct OnTensorCores { static constexpr bool value = false; };
template <> struct OnTensorCores<f16> { static constexpr bool value = true; };
template <> struct OnTensorCores<bf16> { static constexpr bool value = true; };
template <> struct OnTensorCores<tf32> { static constexpr bool value = true; };
template <class T, int tile> constexpr int tile_threads = OnTensorCores<T>::value && tile == 64 ? 128 : 256;

template <class T, int tile, class A, class B, class Put>
DEVICE void tiled(const A& a, const B& b, int row0, int column0, int begin, int end, Put put) {
    if constexpr (OnTensorCores<T>::value && sizeof(T) == 4) make_tile_tf32<T, tile>(a, b, row0, column0, begin, end, put);
    else if constexpr (OnTensorCores<T>::value) make_tile_mma<T, tile>(a, b, row0, column0, begin, end, put);
    else make_tile<T, tile>(a, b, row0, column0, begin, end, put);
}
