// ctc, in logarithms of double. The states of a path are a blank, a label, a blank, a label ... a blank; ahead[t][s] is the
// logarithm of all ways that are in state s at time t, with what they say until then, behind[t][s] of all that go on from
// there. A block takes a sequence, its threads the states of a time, with a barrier after each. Bound by these steps: about 1 us
// each, 300 of them 0.3 ms on an H200, for as many sequences as there are multiprocessors.
#include "core/device.cuh"

#define NEVER (-1e30)  // the logarithm of 0, finite so that differences are numbers

/// Sizes, and the strides of x in elements.
struct Sizes {
    int64_t time, n, classes, most, blank, step, row, column;
};

DEVICE int64_t class_of(const int64_t* target, const Sizes& a, int64_t i, int64_t s) {
    return s % 2 ? target[i * a.most + s / 2] : a.blank;
}
/// Whether a way may come to state s from that before the blank: a label that is another one.
DEVICE bool skips(const int64_t* target, const Sizes& a, int64_t i, int64_t s) {
    return s > 1 && s % 2 && class_of(target, a, i, s) != a.blank && class_of(target, a, i, s) != class_of(target, a, i, s - 2);
}
template <class T> DEVICE double said(const T* x, const Sizes& a, int64_t i, int64_t t, int64_t c) {
    const double y = widened(x[t * a.step + i * a.row + c * a.column]);
    return y > NEVER ? y : y == y ? NEVER : y;
}
DEVICE double either(double a, double b, double c) {
    const double more = a > b ? a : b, top = more > c ? more : c;
    return top + log(exp(a - top) + exp(b - top) + exp(c - top));
}

/// losses[i] = minus the logarithm of all ways of sequence i, infinite if there are none. ways[i, t, s] is `ahead`.
template <class T>
__global__ void forward(double* losses, double* ways, const T* x, const int64_t* target, const int64_t* times,
                        const int64_t* lengths, Sizes a) {
    const int64_t i = blockIdx.x, time = times[i], states = 2 * lengths[i] + 1, pitch = 2 * a.most + 1;
    double* all = ways + i * a.time * pitch;
    for (int64_t t = 0; t < time; ++t) {
        const double* past = all + (t - 1) * pitch;
        for (int64_t s = threadIdx.x; s < states; s += blockDim.x) {
            const double now = said(x, a, i, t, class_of(target, a, i, s));
            if (t == 0) {
                all[s] = s < 2 ? now : NEVER;
            } else {
                const double one = s ? past[s - 1] : NEVER, two = skips(target, a, i, s) ? past[s - 2] : NEVER;
                all[t * pitch + s] = either(past[s], one, two) + now;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x) return;
    double loss = states > 1 ? INFINITY : 0.0;
    if (time) {
        const double* last = all + (time - 1) * pitch;
        loss = -(states == 1 ? last[0] : either(last[states - 1], last[states - 2], NEVER));
    }
    losses[i] = loss < -NEVER / 2 ? loss : INFINITY;
}

/// What a loss counts in their sum, or by itself: 0 for an infinite one if `finite`, over its labels if `mean`.
DEVICE double counted(double loss, int64_t labels, int64_t finite, int64_t mean) {
    if (finite && isinf(loss)) loss = 0;
    return mean ? loss / static_cast<double>(labels > 1 ? labels : 1) : loss;
}

/// y: each loss, or their sum or mean, added in order by one thread.
template <class T>
__global__ void reduced(T* y, const double* losses, const int64_t* lengths, int64_t each, int64_t mean, int64_t finite,
                        int64_t n) {
    if (each) {
        EACH(i, n) y[i] = narrowed<T>(counted(losses[i], lengths[i], finite, 0));
    } else if (thread_number() == 0) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += counted(losses[i], lengths[i], finite, mean);
        y[0] = narrowed<T>(mean ? sum / static_cast<double>(n) : sum);
    }
}

/// The gradient of x: minus the share of the ways that have a class at a time, times that of the loss. `to` begins as 0; `ways`
/// is what `forward` found; `behind` has room for two times of each sequence, `share` for one. A thread adds up the states of
/// a class in their order.
template <class T>
__global__ void backward(T* to, double* behind, double* share, const T* g, const T* x, const double* losses, const double* ways,
                         const int64_t* target, const int64_t* times, const int64_t* lengths, int64_t each, int64_t mean,
                         Sizes a) {
    const int64_t i = blockIdx.x, time = times[i], states = 2 * lengths[i] + 1, pitch = 2 * a.most + 1;
    if (!time || isinf(losses[i])) return;
    const double* all = ways + i * a.time * pitch;
    double* room = behind + 2 * i * pitch;
    double* mine = share + i * pitch;
    double scale = widened(g[each ? i : 0]);
    if (mean) scale /= static_cast<double>(a.n * (lengths[i] > 1 ? lengths[i] : 1));
    for (int64_t t = time - 1; t >= 0; --t) {
        double* now = room + t % 2 * pitch;
        const double* next = room + (t + 1) % 2 * pitch;
        for (int64_t s = threadIdx.x; s < states; s += blockDim.x) {
            const double here = said(x, a, i, t, class_of(target, a, i, s));
            double ahead = s + 2 >= states ? 0.0 : NEVER;  // without what is said here
            if (t < time - 1) {
                const double one = s + 1 < states ? next[s + 1] : NEVER;
                const double two = s + 2 < states && skips(target, a, i, s + 2) ? next[s + 2] : NEVER;
                ahead = either(next[s], one, two);
            }
            now[s] = ahead + here;
            mine[s] = exp(all[t * pitch + s] + ahead + losses[i]);
        }
        __syncthreads();
        for (int64_t s = threadIdx.x; s < states; s += blockDim.x) {
            const int64_t c = class_of(target, a, i, s);
            bool first = true;
            for (int64_t r = s % 2; r < s && first; r += s % 2 ? 2 : s) first = class_of(target, a, i, r) != c;
            if (s % 2 && c == a.blank) first = false;
            if (!first) continue;
            double sum = 0;
            for (int64_t r = s; r < states; ++r)
                if (class_of(target, a, i, r) == c) sum += mine[r];
            to[(t * a.n + i) * a.classes + c] = narrowed<T>(-scale * sum);
        }
        __syncthreads();
    }
}
