// Random kernels: Philox4x32-10 (Salmon et al., 2011), the same bits as backends/_philox.py. What is not integer is
// computed in double with + - * / and sqrt alone, in the reference's order, so all instruction sets agree.
#include "core/simd.h"
#include "random/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

using U64 = Vec<uint64_t>;
constexpr int w = lanes<uint64_t>;  // blocks computed at once: a 32-bit word each in 64-bit lanes
constexpr long chunk = 256;         // blocks

// The 64-bit product of the low halves.
inline U64 multiply(U64 a, U64 b) {
#if defined(__AVX512F__)
    return (U64)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE4_1__)
    return (U64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// `count` blocks (a multiple of w) from number `first`: four words each, in order.
void philox(uint32_t* words, uint64_t seed, uint64_t first, long count) {
    const U64 low = splat<uint64_t>(0xffffffffu), m0 = splat<uint64_t>(0xD2511F53u), m1 = splat<uint64_t>(0xCD9E8D57u);
    U64 lane;
    for (int i = 0; i < w; ++i) lane[i] = i;
    for (long b = 0; b < count; b += w) {
        const U64 number = splat(first + b) + lane;
        U64 c0 = number & low, c1 = number >> 32, c2{}, c3{};
        uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
        for (int round = 0; round < 10; ++round) {
            const U64 p = multiply(m0, c0), q = multiply(m1, c2);
            c0 = (q >> 32) ^ c1 ^ splat<uint64_t>(k0);
            c2 = (p >> 32) ^ c3 ^ splat<uint64_t>(k1);
            c1 = q & low;
            c3 = p & low;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const U64 front = c0 | c1 << 32, back = c2 | c3 << 32;  // the four words of a lane as two 64-bit numbers
        for (int i = 0; i < w; ++i) {
            const uint64_t pair[2] = {front[i], back[i]};
            std::memcpy(words + 4 * (b + i), pair, sizeof pair);
        }
    }
}

// Hands words to f(words, first element, number of elements), `per` words an element.
template <int per, class F>
void draw(Stream stream, long begin, long end, F f) {
    alignas(64) uint32_t words[4 * chunk];
    while (begin < end) {
        const long n = end - begin < 4 * chunk / per ? end - begin : 4 * chunk / per;
        const long blocks = (n * per + 3) / 4;
        philox(words, stream.seed, stream.offset + begin * per / 4, (blocks + w - 1) / w * w);
        f(words, begin, n);
        begin += n;
    }
}

inline uint64_t long_word(const uint32_t* words, long i) {
    return words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
}

// ---- the normal quantile (Wichura, 1988, algorithm AS 241)

template <class... C> inline F64 horner(F64 x, double first, C... rest) {
    F64 y = splat(first);
    ((y = y * x + splat(rest)), ...);
    return y;
}

inline F64 log_below_one(F64 x) {
    const I64 b = bits(x);
    F64 m = (F64)((b & 0x000fffffffffffff) | 0x3fe0000000000000);  // in [1/2, 1)
    F64 e = __builtin_convertvector((b >> 52) - 1022, F64);
    const I64 small = m < splat(0.7071067811865476);
    m = small ? m + m : m;
    e = small ? e - splat(1.0) : e;
    const F64 s = (m - splat(1.0)) / (m + splat(1.0));
    return e * splat(0.6931471805599453) +
           (s + s) * horner(s * s, 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9,
                            1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0);
}

inline F64 normal_quantile(F64 p) {
    const F64 q = p - splat(0.5), c = splat(0.180625) - q * q;
    const F64 centre = q *
        horner(c, 2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
               1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0) /
        horner(c, 5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
               5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0);
    const F64 r = sqrt(-log_below_one(q < F64{} ? p : splat(1.0) - p));
    const F64 n = r - splat(1.6), f = r - splat(5.0);
    const F64 near =
        horner(n, 7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
               1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0,
               1.42343711074968357734e0) /
        horner(n, 1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
               1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0,
               1.0);
    const F64 far =
        horner(f, 2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
               2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0,
               6.65790464350110377720e0) /
        horner(f, 2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
               7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1,
               1.0);
    const F64 tail = r <= splat(5.0) ? near : far;
    return CHAINRULE_ISA::abs(q) <= splat(0.425) ? centre : q < F64{} ? -tail : tail;
}

template <class T>
void normal(T* y, Stream stream, long begin, long end) {
    draw<2>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        alignas(64) double p[2 * chunk + w];
        for (long i = 0; i < n; ++i) p[i] = (static_cast<double>(long_word(words, i) >> 12) + 0.5) * 0x1p-52;
        for (long i = n; i % w; ++i) p[i] = 0.5;
        for (long i = 0; i < n; i += w) store(p + i, normal_quantile(load(p + i)));
        for (long i = 0; i < n; ++i) y[at + i] = static_cast<T>(p[i]);
    });
}

// ---- the rest

void uniform_f32(float* y, Stream stream, long begin, long end) {
    draw<1>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i) y[at + i] = static_cast<float>(static_cast<int32_t>(words[i] >> 8)) * 0x1p-24f;
    });
}

void uniform_f64(double* y, Stream stream, long begin, long end) {
    draw<2>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i)
            y[at + i] = (static_cast<double>(words[2 * i] >> 5) * 0x1p26 + static_cast<double>(words[2 * i + 1] >> 6)) * 0x1p-53;
    });
}

void integers(int64_t* y, Stream stream, long begin, long end, int64_t low, uint64_t span) {
    draw<2>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i) {  // the high half of a 64-bit word times a 32-bit span
            const uint64_t above = words[2 * i + 1] * span + (words[2 * i] * span >> 32);
            y[at + i] = low + static_cast<int64_t>(above >> 32);
        }
    });
}

void bernoulli(bool* y, Stream stream, long begin, long end, uint64_t threshold) {
    draw<1>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i) y[at + i] = words[i] < threshold;
    });
}

void long_words(uint64_t* y, Stream stream, long begin, long end) {
    draw<2>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i) y[at + i] = long_word(words, i);
    });
}

template <class T>
void dropout(T* y, bool* mask, const T* x, Stream stream, long begin, long end, uint64_t threshold, T scale) {
    draw<1>(stream, begin, end, [=](const uint32_t* words, long at, long n) {
        for (long i = 0; i < n; ++i) {
            const bool keep = words[i] >= threshold;
            const T scaled = x[at + i] * scale;
            mask[at + i] = keep;
            y[at + i] = keep ? scaled : T(0);
        }
    });
}

}  // namespace

extern const RandomKernels random_kernels;
const RandomKernels random_kernels = {&uniform_f32, &uniform_f64, &normal<float>, &normal<double>, &integers,
                                      &bernoulli, &long_words, &dropout<float>, &dropout<double>};

}  // namespace chainrule::CHAINRULE_ISA
