// Random kernels: draws from Philox, the same bits as backends/_philox.py and native/random. What is not
// integer is computed in double with + - * / and sqrt alone, each rounded (__dadd_rn: no fused multiply-add), so all backends
// agree. Bound by arithmetic: about 100 integer operations for four words; 2^26 uniforms take 0.2 ms on an H200.
//
// A state is {seed, offset} on the device; a draw uses the blocks from `offset` on, and `advance` moves it after that.
#include "core/philox.cuh"

DEVICE uint64_t long_word(const Words& words, int pair) {
    return words.at[2 * pair] | static_cast<uint64_t>(words.at[2 * pair + 1]) << 32;
}

// ---- the normal quantile (Wichura, 1988, algorithm AS 241)

DEVICE double plus(double a, double b) { return __dadd_rn(a, b); }
DEVICE double times(double a, double b) { return __dmul_rn(a, b); }

template <class... C> DEVICE double horner(double x, double first, C... rest) {
    double y = first;
    ((y = plus(times(y, x), rest)), ...);
    return y;
}

DEVICE double log_below_one(double x) {
    const int64_t b = __double_as_longlong(x);
    double m = __longlong_as_double((b & 0x000fffffffffffff) | 0x3fe0000000000000);  // in [1/2, 1)
    double e = static_cast<double>((b >> 52) - 1022);
    if (m < 0.7071067811865476) {
        m = plus(m, m);
        e = plus(e, -1.0);
    }
    const double s = plus(m, -1.0) / plus(m, 1.0);
    return plus(times(e, 0.6931471805599453),
                times(plus(s, s), horner(times(s, s), 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11,
                                         1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0)));
}

DEVICE double normal_quantile(double p) {
    const double q = plus(p, -0.5), c = plus(0.180625, -times(q, q));
    if ((q < 0 ? -q : q) <= 0.425)
        return times(q, horner(c, 2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
                               4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
                               1.3314166789178437745e2, 3.3871328727963666080e0)) /
               horner(c, 5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
                      5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0);
    const double r = sqrt(-log_below_one(q < 0 ? p : plus(1.0, -p)));
    double tail;
    if (r <= 5.0) {
        const double n = plus(r, -1.6);
        tail = horner(n, 7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                      1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0,
                      1.42343711074968357734e0) /
               horner(n, 1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
                      1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
                      2.05319162663775882187e0, 1.0);
    } else {
        const double f = plus(r, -5.0);
        tail = horner(f, 2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
                      2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
                      5.46378491116411436990e0, 6.65790464350110377720e0) /
               horner(f, 2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
                      7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
                      5.99832206555887937690e-1, 1.0);
    }
    return q < 0 ? -tail : tail;
}

// ---- draws: each thread makes a block of four words, which are four elements, or two of 64 bits

/// Multiples of 2^-24 and the like in [0, 1): `shift` bits of a word are dropped, what is left is scaled.
template <class T> __global__ void uniform(T* y, const int64_t* state, int64_t shift, double scale, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 3) / 4) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 4 && 4 * block + k < n; ++k)
            y[4 * block + k] = narrowed<T>(static_cast<float>(words.at[k] >> shift) * static_cast<float>(scale));
    }
}

__global__ void uniform_double(double* y, const int64_t* state, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 1) / 2) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 2 && 2 * block + k < n; ++k)
            y[2 * block + k] = times(plus(times(static_cast<double>(words.at[2 * k] >> 5), 0x1p26),
                                          static_cast<double>(words.at[2 * k + 1] >> 6)), 0x1p-53);
    }
}

template <class T> __global__ void normal(T* y, const int64_t* state, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 1) / 2) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 2 && 2 * block + k < n; ++k) {
            const double p = times(plus(static_cast<double>(long_word(words, k) >> 12), 0.5), 0x1p-52);
            y[2 * block + k] = narrowed<T>(normal_quantile(p));
        }
    }
}

/// low + the high half of a 64-bit word times the number of integers (Lemire, 2019).
__global__ void integers(int64_t* y, const int64_t* state, int64_t low, int64_t span, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 1) / 2) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 2 && 2 * block + k < n; ++k) {
            const uint64_t s = static_cast<uint64_t>(span);
            const uint64_t above = words.at[2 * k + 1] * s + (words.at[2 * k] * s >> 32);
            y[2 * block + k] = low + static_cast<int64_t>(above >> 32);
        }
    }
}

__global__ void long_words(int64_t* y, const int64_t* state, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 1) / 2) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 2 && 2 * block + k < n; ++k) y[2 * block + k] = static_cast<int64_t>(long_word(words, k));
    }
}

__global__ void bernoulli(bool* y, const int64_t* state, int64_t threshold, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 3) / 4) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 4 && 4 * block + k < n; ++k)
            y[4 * block + k] = words.at[k] < static_cast<uint64_t>(threshold);
    }
}

/// y = x * scale where a word is at least the threshold, else 0; and whether it was.
template <class T>
__global__ void dropout(T* y, bool* mask, const T* x, const int64_t* state, int64_t threshold, double scale, int64_t n) {
    const uint64_t seed = state[0], offset = state[1];
    EACH(block, (n + 3) / 4) {
        const Words words = philox(seed, offset + block);
        for (int k = 0; k < 4 && 4 * block + k < n; ++k) {
            const int64_t i = 4 * block + k;
            const bool keep = words.at[k] >= static_cast<uint64_t>(threshold);
            mask[i] = keep;
            y[i] = keep ? narrowed<T>(widened(x[i]) * static_cast<Wide<T>>(scale)) : narrowed<T>(Wide<T>(0));
        }
    }
}

/// The state after so many blocks. A launch of its own: all threads of the draw have read it by then.
__global__ void advance(int64_t* state, int64_t blocks) {
    if (thread_number() == 0) state[1] += blocks;
}
