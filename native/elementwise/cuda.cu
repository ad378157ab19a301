// Elementwise kernels: y[i] = f(a[i], b[i]) over broadcast operands, any of which may be one number. Bound by the memory's
// bandwidth: an H200 moves 4.3 TB/s, so add of 2^26 floats (805 MB) takes 187 us at best, exp 125 us.
#include "core/map.cuh"
#include "elementwise/functions.cuh"

using namespace scalar;

template <class F, class T, class To = T> __global__ void unary(To* y, const T* a, Layout<2> where, int64_t n) {
    map([](auto a) { return F::f(a); }, y, where, n, Operand<T>{a, {}});
}

template <class F, class T>
__global__ void binary(T* y, const T* a, const T* b, double p, double q, Layout<3> where, int64_t n) {
    map([](auto a, auto b) { return F::f(a, b); }, y, where, n, Operand<T>{a, static_cast<Wide<T>>(p)},
        Operand<T>{b, static_cast<Wide<T>>(q)});
}

template <class T> __global__ void clip(T* y, const T* a, double low, double high, Layout<2> where, int64_t n) {
    const Wide<T> p = static_cast<Wide<T>>(low), q = static_cast<Wide<T>>(high);
    map([=](auto a) { return clip_f::f(a, p, q); }, y, where, n, Operand<T>{a, {}});
}

template <class T>
__global__ void clip_vjp(T* y, const T* g, const T* a, double low, double high, Layout<3> where, int64_t n) {
    const Wide<T> p = static_cast<Wide<T>>(low), q = static_cast<Wide<T>>(high);
    map([=](auto g, auto a) { return clip_vjp_f::f(g, a, p, q); }, y, where, n, Operand<T>{g, {}}, Operand<T>{a, {}});
}

/// y = bit number k of `table`. Where `logical`, k is 2 (a != 0) + (b != 0); else 0 for a < b, 1 for a == b, 2 for a > b, and
/// 3 where one is NaN.
template <class T>
__global__ void compare(bool* y, const T* a, const T* b, Number<T> p, Number<T> q, int64_t table, int64_t logical,
                        Layout<3> where, int64_t n) {
    const int bits = static_cast<int>(table);
    const auto relation = [=](auto a, auto b) {
        const int k = logical ? 2 * (a != 0) + (b != 0) : a < b ? 0 : a == b ? 1 : a > b ? 2 : 3;
        return (bits >> k & 1) != 0;
    };
    map(relation, y, where, n, Operand<T>{a, static_cast<Wide<T>>(p)}, Operand<T>{b, static_cast<Wide<T>>(q)});
}

// What `integers` does, by number: the order of INTEGERS in rooms/elementwise.py
enum Whole { w_add, w_sub, w_mul, w_floor_div, w_remainder, w_pow, w_maximum, w_minimum, w_and, w_or, w_xor, w_abs, w_sign };

/// Of integers and bools, which wrap around. A zero that is divided by, and a negative exponent, are reported as `check`.
template <class T>
__global__ void integers(T* y, const T* a, const T* b, int64_t p, int64_t q, int64_t op, int64_t check, int64_t* fault,
                         Layout<3> where, int64_t n) {
    using Bits = uint64_t;  // of which sums and products wrap around
    const auto compute = [=](T left, T right) -> int64_t {
        const int64_t a = left, b = right;
        switch (op) {
            case w_add: return static_cast<int64_t>(static_cast<Bits>(a) + static_cast<Bits>(b));
            case w_sub: return static_cast<int64_t>(static_cast<Bits>(a) - static_cast<Bits>(b));
            case w_mul: return static_cast<int64_t>(static_cast<Bits>(a) * static_cast<Bits>(b));
            case w_maximum: return a > b ? a : b;
            case w_minimum: return a < b ? a : b;
            case w_and: return a & b;
            case w_or: return a | b;
            case w_xor: return a ^ b;
            case w_abs: return a < 0 ? static_cast<int64_t>(-static_cast<Bits>(a)) : a;
            case w_sign: return (a > 0) - (a < 0);
            case w_pow: {
                if (b < 0) {
                    report(fault, check, b, 0, 0);
                    return 0;
                }
                Bits power = 1, factor = static_cast<Bits>(a);
                for (int64_t rest = b; rest; rest >>= 1, factor *= factor)
                    if (rest & 1) power *= factor;
                return static_cast<int64_t>(power);
            }
            default: {
                if (b == 0) {
                    report(fault, check, b, 0, 0);
                    return 0;
                }
                // by -1 without a division: the quotient of the least number is none
                const int64_t quotient = b == -1 ? static_cast<int64_t>(-static_cast<Bits>(a)) : a / b;
                const int64_t rest = b == -1 ? 0 : a - quotient * b;
                const bool off = rest != 0 && (rest < 0) != (b < 0);
                return op == w_floor_div ? quotient - off : off ? rest + b : rest;
            }
        }
    };
    map(compute, y, where, n, Operand<T>{a, static_cast<T>(p)}, Operand<T>{b, static_cast<T>(q)});
}

/// Elements of so many bytes; numbers are given by their bits.
template <int bytes, class T = typename Word<bytes>::type>
__global__ void where(T* y, const bool* condition, const T* a, const T* b, int64_t p, int64_t q, Layout<4> where, int64_t n) {
    map([](bool yes, T a, T b) { return yes ? a : b; }, y, where, n, Operand<bool>{condition, false},
        Operand<T>{a, static_cast<T>(p)}, Operand<T>{b, static_cast<T>(q)});
}
