// Taking out and putting in by index, and order. Bound by the memory's bandwidth, with a transaction of 32 bytes for each
// element that lies alone. Sums of elements that meet in one place are made in their order, by the thread that finds the
// first of them in the sorted places: the same bits each time, which atomic additions would not give.
#include "core/device.cuh"

template <int bytes> struct Word;
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<8> { using type = uint64_t; };

constexpr int max_tensors = 6;

/// What index tensors mean: for each the size, the stride in elements of x and the number of the axis that it runs over.
struct Axes {
    int64_t count, size[max_tensors], stride[max_tensors], number[max_tensors];
    int64_t negative;  // whether -1 is the last place
};
struct Tensors {
    const int64_t* at[max_tensors];
};

/// Where element number i is in x. The layout's arrays are x, without the indexed axes, and the index tensors.
DEVICE int64_t place(int64_t i, const Layout<1 + max_tensors>& where, const Axes& axes, const Tensors& tensors, int64_t* fault,
                     int64_t check) {
    int64_t at[1 + max_tensors];
    where.place(i, at);
    int64_t found = at[0];
    for (int k = 0; k < axes.count; ++k) {
        int64_t index = tensors.at[k][at[1 + k]];
        if (index < (axes.negative ? -axes.size[k] : 0) || index >= axes.size[k]) {
            report(fault, check, index, axes.size[k], axes.number[k]);
            index = 0;
        }
        found += (index < 0 ? index + axes.size[k] : index) * axes.stride[k];
    }
    return found;
}

#define TENSORS const int64_t *t0, const int64_t *t1, const int64_t *t2, const int64_t *t3, const int64_t *t4, const int64_t *t5
#define INDEX TENSORS, Layout<1 + max_tensors> where, Axes axes, int64_t* fault, int64_t check, int64_t n
#define PLACE(i) place(i, where, axes, Tensors{{t0, t1, t2, t3, t4, t5}}, fault, check)

/// y[i] = x[place of i]
template <int bytes> __global__ void take(typename Word<bytes>::type* y, const typename Word<bytes>::type* x, INDEX) {
    EACH(i, n) y[i] = x[PLACE(i)];
}

/// The places alone.
__global__ void places(int64_t* y, INDEX) {
    EACH(i, n) y[i] = PLACE(i);
}

/// Who comes last to each place: `last` begins as -1.
__global__ void latest(int64_t* last, const int64_t* places, int64_t n) {
    EACH(i, n) atomicMax(reinterpret_cast<long long*>(last + places[i]), static_cast<long long>(i));
}

/// x[places[i]] = v[i], unless another comes later to that place.
template <int bytes>
__global__ void put(typename Word<bytes>::type* x, const typename Word<bytes>::type* v, const int64_t* places, const int64_t* last,
                    Layout<1> where, int64_t n) {
    EACH(i, n) {
        if (last[places[i]] != i) continue;
        int64_t at[1];
        where.place(i, at);
        x[places[i]] = v[at[0]];
    }
}

/// y[place] += the elements that belong there, in their order. `sorted` are the places in order, `order` whose they are.
template <class T>
__global__ void add_sorted(T* y, const T* x, const int64_t* sorted, const int64_t* order, Layout<1> where, int64_t n) {
    EACH(i, n) {
        if (i && sorted[i - 1] == sorted[i]) continue;
        typename SumOf<T>::type sum = widened(y[sorted[i]]);
        for (int64_t k = i; k < n && sorted[k] == sorted[i]; ++k) {
            int64_t at[1];
            where.place(order[k], at);
            sum += widened(x[at[0]]);
        }
        y[sorted[i]] = narrowed<T>(sum);
    }
}

// ---- order: keys are 64-bit numbers whose order is that of the elements; ties by where they were

template <class T> struct Key {
    static DEVICE uint64_t of(T x) { return static_cast<uint64_t>(static_cast<int64_t>(x)) ^ 0x8000000000000000ull; }
};
template <> struct Key<uint64_t> {
    static DEVICE uint64_t of(uint64_t x) { return x; }
};
template <> struct Key<double> {
    static DEVICE uint64_t of(double x) {
        if (x != x) return 0xffffffffffffffffull;  // NaN is the largest
        const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(x == 0 ? 0.0 : x));
        return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
    }
};
template <> struct Key<float> {
    static DEVICE uint64_t of(float x) { return Key<double>::of(x); }
};
template <> struct Key<f16> {
    static DEVICE uint64_t of(f16 x) { return Key<double>::of(widened(x)); }
};
template <> struct Key<bf16> {
    static DEVICE uint64_t of(bf16 x) { return Key<double>::of(widened(x)); }
};

/// Keys of rows of x, wherever they lie; and 0, 1, 2 ... in each row.
template <class T>
__global__ void keys(uint64_t* key, int64_t* order, const T* x, Layout<1> where, int64_t row, int64_t descending, int64_t n) {
    EACH(i, n) {
        int64_t at[1];
        where.place(i, at);
        const uint64_t k = Key<T>::of(x[at[0]]);
        key[i] = descending ? ~k : k;
        order[i] = i % row;
    }
}

DEVICE bool before(uint64_t a, int64_t i, uint64_t b, int64_t j) { return a < b || (a == b && i < j); }

/// Sort runs of 512 in each row and keep the first `keep` of each, one block a run: the bitonic network (Batcher, 1968).
/// Blocks: runs of a row, rows. What is kept of fewer than 512 may be filled up with keys that come after all others.
__global__ void sort_runs(uint64_t* to, int64_t* to_order, const uint64_t* key, const int64_t* order, int64_t row, int64_t keep) {
    constexpr int run = 512;
    __shared__ uint64_t k[run];
    __shared__ int64_t o[run];
    const int64_t first = static_cast<int64_t>(blockIdx.y) * row + static_cast<int64_t>(blockIdx.x) * run;
    const int64_t left = row - static_cast<int64_t>(blockIdx.x) * run;
    const int count = left < run ? static_cast<int>(left) : run;
    for (int i = threadIdx.x; i < run; i += blockDim.x) {
        k[i] = i < count ? key[first + i] : 0xffffffffffffffffull;
        o[i] = i < count ? order[first + i] : 0x7fffffffffffffffll;
    }
    for (int size = 2; size <= run; size *= 2)
        for (int step = size / 2; step; step /= 2) {
            __syncthreads();
            for (int t = threadIdx.x; t < run / 2; t += blockDim.x) {
                const int i = 2 * t - (t & (step - 1)), j = i + step;
                const bool up = (i & size) == 0;
                if (before(k[j], o[j], k[i], o[i]) == up) {
                    const uint64_t kk = k[i];
                    const int64_t oo = o[i];
                    k[i] = k[j], o[i] = o[j];
                    k[j] = kk, o[j] = oo;
                }
            }
        }
    __syncthreads();
    if (keep < run) {
        const int64_t place = (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * keep;
        for (int i = threadIdx.x; i < keep; i += blockDim.x) to[place + i] = k[i], to_order[place + i] = o[i];
    } else {
        for (int i = threadIdx.x; i < count; i += blockDim.x) to[first + i] = k[i], to_order[first + i] = o[i];
    }
}

/// Merge neighbouring sorted runs of a row: each element goes where its rank among both is.
__global__ void merge_runs(uint64_t* to, int64_t* to_order, const uint64_t* key, const int64_t* order, int64_t run, int64_t row,
                           int64_t n) {
    EACH(i, n) {
        const int64_t start = i / row * row, place = i - start, pair = place / (2 * run) * 2 * run;
        const bool right = place - pair >= run;
        const int64_t other = right ? pair : pair + run;
        const int64_t end = other + run < row ? other + run : row;
        int64_t low = other < row ? other : row, high = end;
        while (low < high) {  // how many of the other run come before
            const int64_t middle = (low + high) / 2;
            if (before(key[start + middle], order[start + middle], key[i], order[i])) low = middle + 1;
            else high = middle;
        }
        const int64_t own = place - (right ? pair + run : pair);
        const int64_t rank = pair + own + (low - (other < row ? other : row));
        to[start + rank] = key[i];
        to_order[start + rank] = order[i];
    }
}

// ---- what depends on values

/// 1 where the elements of x are not 0.
template <class T> __global__ void flags(int64_t* y, const T* x, Layout<1> where, int64_t n) {
    EACH(i, n) {
        int64_t at[1];
        where.place(i, at);
        y[i] = widened(x[at[0]]) != 0;
    }
}

struct Shape {
    int64_t axes, size[max_axes];
};
/// The coordinates of the elements that are flagged; `rank` counts them from 1.
__global__ void coordinates(int64_t* y, const int64_t* flag, const int64_t* rank, Shape shape, int64_t n) {
    EACH(i, n) {
        if (!flag[i]) continue;
        int64_t rest = i;
        for (int64_t d = shape.axes - 1; d >= 0; --d) {
            y[(rank[i] - 1) * shape.axes + d] = rest % shape.size[d];
            rest /= shape.size[d];
        }
    }
}

/// 1 where a sorted key differs from the one before.
__global__ void changes(int64_t* y, const uint64_t* key, int64_t n) {
    EACH(i, n) y[i] = i == 0 || key[i] != key[i - 1];
}

/// Of sorted elements: the different values, where they begin, and for each element which it is. `rank` counts from 1.
template <int bytes>
__global__ void different(typename Word<bytes>::type* values, int64_t* begin, int64_t* inverse, const typename Word<bytes>::type* x,
                          const int64_t* order, const int64_t* flag, const int64_t* rank, int64_t n) {
    EACH(i, n) {
        inverse[order[i]] = rank[i] - 1;
        if (!flag[i]) continue;
        values[rank[i] - 1] = x[order[i]];
        begin[rank[i] - 1] = i;
    }
}

/// How long runs are that begin at `begin`.
__global__ void lengths(int64_t* y, const int64_t* begin, int64_t count, int64_t n) {
    EACH(i, count) y[i] = (i + 1 < count ? begin[i + 1] : n) - begin[i];
}
