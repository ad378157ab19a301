// Copies in another order, casts, and new memory. All of it is bound by the memory's bandwidth, one read and one write of each
// element: 2^26 floats (537 MB) take 125 us at best on an H200, transposed, too.
#include "core/map.cuh"

template <int bytes> using Bits = typename Word<bytes>::type;

/// y = x, elements of so many bytes, wherever they lie.
template <int bytes> __global__ void copy(Bits<bytes>* y, const Bits<bytes>* x, Layout<2> where, int64_t n) {
    map([](auto x) { return x; }, y, where, n, Operand<Bits<bytes>>{x, 0});
}

/// The same where neighbours in y lie `x_step` apart in x, and neighbours in x `y_step` in y: tiles of 32 by 32 elements go
/// through shared memory, so that both are read and written in rows. `rest` are the other axes.
template <int bytes>
__global__ void transpose(Bits<bytes>* y, const Bits<bytes>* x, Layout<2> rest, int64_t tiles, int64_t across, int64_t down,
                          int64_t y_step, int64_t x_step) {
    __shared__ Bits<bytes> tile[32][33];
    const int64_t wide = (across + 31) / 32, high = (down + 31) / 32;
    for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        const int64_t batch = t / (wide * high), row = t / wide % high * 32, column = t % wide * 32;
        int64_t at[2];
        rest.place(batch, at);
        __syncthreads();  // the tile may still be read
        for (int64_t r = threadIdx.y; r < 32; r += blockDim.y) {
            const int64_t a = column + r, d = row + threadIdx.x;
            if (a < across && d < down) tile[r][threadIdx.x] = x[at[1] + a * x_step + d];
        }
        __syncthreads();
        for (int64_t r = threadIdx.y; r < 32; r += blockDim.y) {
            const int64_t a = column + threadIdx.x, d = row + r;
            if (a < across && d < down) y[at[0] + d * y_step + a] = tile[threadIdx.x][r];
        }
    }
}

/// y = one value, given as the bits of an element.
template <int bytes> __global__ void fill(Bits<bytes>* y, int64_t bits, Layout<1> where, int64_t n) {
    map([=] { return static_cast<Bits<bytes>>(bits); }, y, where, n);
}

/// What is narrowed to an element of To.
template <class To> struct Cast {
    template <class V> static DEVICE V of(V x) { return x; }
};
template <> struct Cast<bool> {
    template <class V> static DEVICE bool of(V x) { return x != 0; }
};
/// What does not fit a float is rounded to float16 once: cut to a float whose last bit says that there was more.
template <> struct Cast<f16> {
    static DEVICE float of(float x) { return x; }
    static DEVICE float of(double x) {
        const float near = static_cast<float>(x);
        if (near != near || static_cast<double>(near) == x) return near;
        const uint32_t bits = __float_as_uint(near);
        return __uint_as_float((fabs(static_cast<double>(near)) > fabs(x) ? bits - 1 : bits) | 1);
    }
    template <class V> static DEVICE float of(V x) { return of(static_cast<double>(x)); }
};

/// y = x in another dtype: towards zero to integers, to bool true unless 0.
template <class To, class From> __global__ void cast(To* y, const From* x, Layout<2> where, int64_t n) {
    map([](auto x) { return Cast<To>::of(x); }, y, where, n, Operand<From>{x, {}});
}

/// y = start, start + step ...
template <class T, class V> __global__ void arange(T* y, V start, V step, int64_t n) {
    EACH(i, n) y[i] = narrowed<T>(start + static_cast<V>(i) * step);
}
