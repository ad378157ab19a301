// Softmax, log softmax, cross entropy, nll and their gradients. Bound by memory. The largest score and the sum are found in
// one pass ("online": the sum is scaled whenever a larger score comes), and the row is read again, from the cache, to write.
// On an H200 softmax of 8192 x 1024 floats (67 MB) takes 16 us at best, 20 us predicted; cross entropy of 8192 x 50257 bf16
// scores (823 MB) 191 us at best, 210 us predicted: it keeps the largest and the sum of each row, and no gradient.
#include "core/rows.cuh"

/// The largest of some scores, and the sum of exp(score - largest).
template <class V> struct Scale {
    V top, sum;
};
template <class V> DEVICE void take(Scale<V>& s, V x) {
    const V e = x == -INFINITY ? V(0) : exp(-fabs(x - s.top));
    if (x > s.top) {
        s.sum = s.sum * e + 1 + (x - x);  // not a number of infinity
        s.top = x;
    } else {
        s.sum += e;
    }
}
template <class V> DEVICE void merge(Scale<V>& a, Scale<V> b) {
    const V top = a.top > b.top ? a.top : b.top;
    a.sum = a.sum * (a.top == top ? V(1) : exp(a.top - top)) + b.sum * (b.top == top ? V(1) : exp(b.top - top));
    a.top = top;
}
template <class V> DEVICE Scale<V> across(Scale<V> s, int d) {
    return {__shfl_xor_sync(0xffffffffu, s.top, d), __shfl_xor_sync(0xffffffffu, s.sum, d)};
}
template <class V> DEVICE Scale<V> group_scale(Scale<V> s) {
    return group_reduced(s, [](Scale<V> a, int d) { return across(a, d); }, [](Scale<V>& a, Scale<V> b) { merge(a, b); });
}

/// The scale of the elements of a row that this thread takes.
template <class T> DEVICE Scale<Wide<T>> own_scale(const T* x, int64_t n, int64_t step, bool packed) {
    Scale<Wide<T>> s{-INFINITY, 0};
    each_unit<T>(n, packed, [&](auto of, int64_t u) {
        const auto v = Unit<T, of.count>::of(x + u * step);
        for (int k = 0; k < of.count; ++k) take(s, widened(v.at[k]));
    });
    return s;
}

/// y = exp(x - top) / sum, or its logarithm, of m rows of n.
template <class T>
__global__ void softmax(T* y, const T* x, Layout<2> rows, int64_t m, int64_t n, int64_t y_step, int64_t x_step, int64_t packed,
                        int64_t logarithm) {
    using V = Wide<T>;
    const int64_t row = group_row();
    int64_t at[2] = {0, 0};
    rows.place(row < m ? row : 0, at);
    if (row >= m) n = 0;
    const Scale<V> s = group_scale(own_scale(x + at[1], n, x_step, packed));
    const V factor = logarithm ? log(s.sum) : 1 / s.sum;
    each_unit<T>(n, packed, [&](auto of, int64_t u) {
        const auto v = Unit<T, of.count>::of(x + at[1] + u * x_step);
        Unit<T, of.count> to;
        for (int k = 0; k < of.count; ++k) {
            const V d = widened(v.at[k]) - s.top;
            to.at[k] = narrowed<T>(logarithm ? d - factor : exp(d) * factor);
        }
        to.to(y + at[0] + u * y_step);
    });
}

/// gx = y (g - sum(g y)), or of the logarithm g - exp(y) sum(g).
template <class T>
__global__ void softmax_slopes(T* gx, const T* g, const T* y, Layout<3> rows, int64_t m, int64_t n, int64_t gx_step,
                               int64_t g_step, int64_t y_step, int64_t packed, int64_t logarithm) {
    using V = Wide<T>;
    const int64_t row = group_row();
    int64_t at[3] = {0, 0, 0};
    rows.place(row < m ? row : 0, at);
    if (row >= m) n = 0;
    V sum = 0;
    each_unit<T>(n, packed, [&](auto of, int64_t u) {
        const auto a = Unit<T, of.count>::of(g + at[1] + u * g_step);
        if (logarithm) {
            for (int k = 0; k < of.count; ++k) sum += widened(a.at[k]);
        } else {
            const auto b = Unit<T, of.count>::of(y + at[2] + u * y_step);
            for (int k = 0; k < of.count; ++k) sum += widened(a.at[k]) * widened(b.at[k]);
        }
    });
    sum = group_sum(sum);
    each_unit<T>(n, packed, [&](auto of, int64_t u) {
        const auto a = Unit<T, of.count>::of(g + at[1] + u * g_step);
        const auto b = Unit<T, of.count>::of(y + at[2] + u * y_step);
        Unit<T, of.count> to;
        for (int k = 0; k < of.count; ++k) {
            const V d = widened(a.at[k]), v = widened(b.at[k]);
            to.at[k] = narrowed<T>(logarithm ? d - exp(v) * sum : (d - sum) * v);
        }
        to.to(gx + at[0] + u * gx_step);
    });
}

// ---- losses of classes. A row is a sample (or a pixel of one): n classes, `step` apart; `target` is dense

/// Whether a target counts; one that is no class is reported.
DEVICE bool counts(int64_t target, int64_t ignore, int64_t classes, int64_t row, int64_t* fault, int64_t check) {
    if (target == ignore) return false;
    if (target >= 0 && target < classes) return true;
    report(fault, check, target, classes, row);
    return false;
}

/// A row's loss: into y if that is given, else with its weight into the sums of the block, (2, blocks).
template <class T> DEVICE void put_loss(T* y, double* sums, int64_t row, bool first, double loss, double weight) {
    if (y) {
        if (first) y[row] = narrowed<T>(loss);
        return;
    }
    loss = block_total(first ? loss : 0.0);
    weight = block_total(first ? weight : 0.0);
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        sums[blockIdx.x] = loss;
        sums[gridDim.x + blockIdx.x] = weight;
    }
}

/// The loss of each row (see put_loss), and its largest score and 1 / sum: scales (2, m).
template <class T>
__global__ void cross_entropy(T* y, double* sums, Wide<T>* scales, const T* x, const int64_t* target, const Wide<T>* weight,
                              Layout<1> rows, int64_t m, int64_t n, int64_t step, int64_t packed, int64_t ignore,
                              double smoothing, int64_t* fault, int64_t check) {
    using V = Wide<T>;
    const int64_t row = group_row();
    const bool there = row < m;
    int64_t at[1] = {0};
    rows.place(there ? row : 0, at);
    const T* from = x + at[0];
    const int64_t label = there ? target[row] : ignore;
    const bool counted = there && counts(label, ignore, n, row, fault, check);
    const Scale<V> s = group_scale(own_scale(from, there ? n : 0, step, packed));
    Both<double> all{0, 0};  // of all classes: weights, weighted scores
    if (smoothing > 0) {
        for (int64_t c = threadIdx.x; counted && c < n; c += blockDim.x) {
            const double w = weight ? static_cast<double>(weight[c]) : 1.0;
            all.a += w;
            all.b += w * static_cast<double>(widened(from[c * step]));
        }
        all = group_sums(all.a, all.b);
    }
    double loss = 0, share = 0;
    if (counted) {
        share = weight ? static_cast<double>(weight[label]) : 1.0;
        const double logarithm = static_cast<double>(log(s.sum)), top = static_cast<double>(s.top);
        loss = (1 - smoothing) * share * (logarithm + (top - static_cast<double>(widened(from[label * step]))));
        if (smoothing > 0) loss += smoothing / static_cast<double>(n) * (all.a * (top + logarithm) - all.b);
    }
    const bool first = there && threadIdx.x == 0;
    if (first) {
        scales[row] = s.top;
        scales[m + row] = 1 / s.sum;
    }
    put_loss(y, sums, row, first, loss, share);
}

/// y = the sum of losses, with `mean` divided by that of weights; shares = that, and the weights of all n classes. One block.
template <class T>
__global__ void classes_total(T* y, double* shares, const double* sums, const Wide<T>* weight, int64_t count, int64_t n,
                              int64_t mean) {
    double loss = 0, share = 0, all = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        loss += sums[i];
        share += sums[count + i];
    }
    for (int64_t c = threadIdx.x; weight && c < n; c += blockDim.x) all += static_cast<double>(weight[c]);
    loss = block_total(loss);
    share = block_total(share);
    all = block_total(all);
    if (threadIdx.x) return;
    if (y) y[0] = narrowed<T>(mean ? loss / share : loss);
    shares[0] = mean ? share : 1.0;
    shares[1] = weight ? all : static_cast<double>(n);
}

/// gx = g / share * (p ((1 - e) w[t] + e / n * sum(w)) - (1 - e) w[t] at t - e / n * w), p the softmax, e the smoothing.
template <class T>
__global__ void cross_entropy_slopes(T* gx, const T* g, const T* x, const int64_t* target, const Wide<T>* weight,
                                     const Wide<T>* scales, const double* shares, Layout<2> rows, int64_t m, int64_t n,
                                     int64_t gx_step, int64_t step, int64_t packed, int64_t ignore, double smoothing,
                                     int64_t each) {
    using V = Wide<T>;
    const int64_t row = group_row();
    if (row >= m) return;
    int64_t at[2];
    rows.place(row, at);
    const int64_t label = target[row];
    const bool counted = label != ignore && label >= 0 && label < n;
    const V part = static_cast<V>(smoothing / static_cast<double>(n)), most = static_cast<V>(1 - smoothing);
    const V given = widened(g[each ? row : 0]);
    const V scale = !counted ? V(0) : each ? given : static_cast<V>(static_cast<double>(given) / shares[0]);
    const V hit = counted ? scale * most * (weight ? weight[label] : V(1)) : V(0);
    const V factor = hit + scale * part * static_cast<V>(shares[1]), top = scales[row], over = scales[m + row];
    each_unit<T>(n, packed, [&](auto of, int64_t u) {
        const auto v = Unit<T, of.count>::of(x + at[1] + u * step);
        Unit<T, of.count> to;
        for (int k = 0; k < of.count; ++k) {
            V d = counted ? exp(widened(v.at[k]) - top) * over * factor : V(0);
            if (part > 0) d -= scale * part * (weight ? weight[u + k] : V(1));
            to.at[k] = narrowed<T>(u + k == label ? d - hit : d);
        }
        to.to(gx + at[0] + u * gx_step);
    });
}

/// The loss -w x[target] of each row of log-probabilities; a thread to a row.
template <class T>
__global__ void nll(T* y, double* sums, const T* x, const int64_t* target, const Wide<T>* weight, Layout<1> rows, int64_t m,
                    int64_t n, int64_t step, int64_t ignore, int64_t* fault, int64_t check) {
    const int64_t row = thread_number();
    double loss = 0, share = 0;
    if (row < m && counts(target[row], ignore, n, row, fault, check)) {
        int64_t at[1];
        rows.place(row, at);
        share = weight ? static_cast<double>(weight[target[row]]) : 1.0;
        loss = -static_cast<double>(widened(x[at[0] + target[row] * step])) * share;
    }
    put_loss(y, sums, row, row < m, loss, share);
}

/// gx = -g w / share at the target of each row; the rest of it is 0 before.
template <class T>
__global__ void nll_slopes(T* gx, const T* g, const int64_t* target, const Wide<T>* weight, const double* shares,
                           Layout<1> rows, int64_t m, int64_t n, int64_t step, int64_t ignore, int64_t each) {
    using V = Wide<T>;
    EACH(row, m) {
        const int64_t label = target[row];
        if (label == ignore || label < 0 || label >= n) continue;
        int64_t at[1];
        rows.place(row, at);
        const V given = widened(g[each ? row : 0]);
        const V scale = each ? given : static_cast<V>(static_cast<double>(given) / shares[0]);
        gx[at[0] + label * step] = narrowed<T>(-scale * (weight ? weight[label] : V(1)));
    }
}
