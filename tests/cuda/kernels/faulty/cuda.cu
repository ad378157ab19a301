// Kernels with faults, and what they should have been: the emulator has to tell them apart.
#include "core/mma.cuh"

/// y[i] = x[i + 1], through shared memory; one of the two has no barrier.
template <bool barrier> __global__ void neighbours(float* y, const float* x) {
    __shared__ float s[256];
    s[threadIdx.x] = x[threadIdx.x];
    if (barrier) __syncthreads();
    y[threadIdx.x] = s[(threadIdx.x + 1) % blockDim.x];
}

/// A barrier that half of the threads never reach, while they wait in a collective.
__global__ void divided(float* y) {
    if (threadIdx.x < 16) __syncthreads();
    else y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    __syncthreads();
}

/// What shared memory holds before somebody wrote to it.
__global__ void unwritten(float* y) {
    DYNAMIC_SHARED(float, s);
    y[threadIdx.x] = s[threadIdx.x];
}

/// Writes n elements, however many there are.
__global__ void beyond(float* y, int64_t n) {
    EACH(i, n) y[i] = 1;
}

/// Collectives of a warp and of a block.
__global__ void collectives(float* y, const float* x) {
    const float mine = x[threadIdx.x];
    y[threadIdx.x] = block_sum(mine);
    y[threadIdx.x + blockDim.x] = __shfl_down_sync(0xffffffffu, mine, 3);
    y[threadIdx.x + 2 * blockDim.x] = __shfl_up_sync(0xffffffffu, mine, 2, 8);
    y[threadIdx.x + 3 * blockDim.x] = __popc(__ballot_sync(0xffffffffu, mine > 0));
}

/// Conversions of 16-bit floats: there and back.
template <class T> __global__ void there_and_back(T* y, float* wide, const T* x, int64_t n) {
    EACH(i, n) {
        wide[i] = widened(x[i]);
        y[i] = narrowed<T>(wide[i]);
    }
}
template <class T> __global__ void rounded(T* y, const float* x, int64_t n) {
    EACH(i, n) y[i] = narrowed<T>(x[i]);
}

/// One product of 16 x 16 and 16 x 8 on the tensor cores.
template <class T> __global__ void one_mma(float* d, const T* a, const T* b) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const uint32_t* rows = reinterpret_cast<const uint32_t*>(a);  // a is row by row, b column by column, by pairs
    const uint32_t* columns = reinterpret_cast<const uint32_t*>(b);
    const uint32_t u[4] = {rows[g * 8 + t], rows[(g + 8) * 8 + t], rows[g * 8 + t + 4], rows[(g + 8) * 8 + t + 4]};
    const uint32_t v[2] = {columns[g * 8 + t], columns[g * 8 + t + 4]};
    float sum[4] = {};
    mma(T{}, sum, u, v);
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

/// Who adds to one place.
__global__ void counted(int64_t* y, int64_t n) {
    EACH(i, n) atomicAdd(reinterpret_cast<unsigned long long*>(y), 1ull);
}
