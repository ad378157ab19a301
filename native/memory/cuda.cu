// Copies in another order, casts, and new memory. All of it is bound by the memory's bandwidth: one read and one write of
// each element, coalesced where the elements lie so.
#include "core/device.cuh"

template <int bytes> struct Word;
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<8> { using type = uint64_t; };

/// y = x, elements of so many bytes, wherever they lie.
template <int bytes>
__global__ void copy(typename Word<bytes>::type* y, const typename Word<bytes>::type* x, Layout<2> where, int64_t n) {
    EACH(i, n) {
        int64_t at[2];
        where.place(i, at);
        y[at[0]] = x[at[1]];
    }
}

/// y = one value, given as the bits of an element.
template <int bytes> __global__ void fill(typename Word<bytes>::type* y, int64_t bits, Layout<1> where, int64_t n) {
    EACH(i, n) {
        int64_t at[1];
        where.place(i, at);
        y[at[0]] = static_cast<typename Word<bytes>::type>(bits);
    }
}

template <class To, class From> struct Cast {
    static DEVICE To of(From x) { return narrowed<To>(widened(x)); }
};
template <class From> struct Cast<bool, From> {
    static DEVICE bool of(From x) { return widened(x) != 0; }
};
template <class From> struct Cast<f16, From> {  // float64 and large integers are rounded to float first, as NumPy's are not
    static DEVICE f16 of(From x) { return narrowed<f16>(static_cast<float>(widened(x))); }
};

/// y = x in another dtype: towards zero to integers, to bool true unless 0.
template <class To, class From> __global__ void cast(To* y, const From* x, Layout<2> where, int64_t n) {
    EACH(i, n) {
        int64_t at[2];
        where.place(i, at);
        y[at[0]] = Cast<To, From>::of(x[at[1]]);
    }
}

/// y = start, start + step ...
template <class T, class V> __global__ void arange(T* y, V start, V step, int64_t n) {
    EACH(i, n) y[i] = narrowed<T>(start + static_cast<V>(i) * step);
}
