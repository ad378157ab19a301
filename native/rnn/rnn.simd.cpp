// The cells of recurrent networks, forward and backward: everything of a step but its matrix product. Bound by exp in
// sigmoid and tanh; between two products of a step its numbers stay in the caches.
#include "core/simd.h"
#include "core/vmath.h"
#include "rnn/kernels.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <class T>
Vec<T> get(const T* p, long n) {
    return n >= lanes<T> ? load(p) : load_part(p, n);
}
template <class T>
void put(T* p, Vec<T> v, long n) {
    if (n >= lanes<T>) store(p, v);
    else store_part(p, v, n);
}

// f(j, n) for every vector of a row of h elements, n of its lanes in use.
template <class T, class F>
[[gnu::always_inline]] inline void along(long h, F f) {
    for (long j = 0; j < h; j += lanes<T>) f(j, h - j);
}

// live(row) for each row that the mask does not skip; a skipped one keeps its state and gives 0.
template <class T, class F>
[[gnu::always_inline]] inline void each_row(const RnnStep<T>& s, F live) {
    for (long r = 0; r < s.rows; r++) {
        const long at = r * s.h;
        if (!s.mask || s.mask[r] != 0) {
            live(r, at);
            continue;
        }
        along<T>(s.h, [&](long j, long n) {
            put(s.state + at + j, get(s.before + at + j, n), n);
            if (s.cell) put(s.cell + at + j, get(s.cell_before + at + j, n), n);
            put(s.y + at + j, Vec<T>{}, n);
        });
    }
}

// The same backward: through a skipped row the gradients go as they are, and its sums have none.
template <class T, class F>
[[gnu::always_inline]] inline void each_row_back(const RnnStep<T>& s, long blocks, F live) {
    for (long r = 0; r < s.rows; r++) {
        if (!s.mask || s.mask[r] != 0) live(r, r * s.h);
        else
            for (long j = 0; j < blocks * s.h; j++) s.dgates[r * s.ld + j] = 0;
    }
}

// What reaches the state of a row's step: from the steps after it, and from y.
template <class T>
[[gnu::always_inline]] inline Vec<T> arriving(const RnnStep<T>& s, long at, long n) {
    const Vec<T> d = get(s.dstate + at, n);
    return s.g ? d + get(s.g + at, n) : d;
}

template <class T>
void keep(const RnnStep<T>& s, long at, Vec<T> state, long n) {
    put(s.state + at, state, n);
    if (s.y) put(s.y + at, state, n);
}

template <class T>
void rnn(const RnnStep<T>& s) {
    each_row(s, [&](long r, long at) {
        T* a = s.gates + r * s.ld;
        along<T>(s.h, [&](long j, long n) {
            const Vec<T> x = get(a + j, n), y = s.relu ? (x <= Vec<T>{} ? Vec<T>{} : x) : tanh(x);
            put(a + j, y, n);
            keep(s, at + j, y, n);
        });
    });
}

template <class T>
void rnn_back(const RnnStep<T>& s) {
    const Vec<T> one = splat(T(1));
    each_row_back(s, 1, [&](long r, long at) {
        const T* a = s.gates + r * s.ld;
        T* da = s.dgates + r * s.ld;
        along<T>(s.h, [&](long j, long n) {
            const Vec<T> y = get(a + j, n), d = arriving(s, at + j, n);
            put(da + j, s.relu ? (y <= Vec<T>{} ? Vec<T>{} : d) : d * (one - y * y), n);
            put(s.dstate + at + j, Vec<T>{}, n);
        });
    });
}

// r = sigmoid, z = sigmoid, n = tanh(x's part + r * h's part); the state (1 - z) n + z h.
template <class T>
void gru(const RnnStep<T>& s) {
    const long h = s.h;
    each_row(s, [&](long r, long at) {
        T* a = s.gates + r * s.ld;
        const T* p = s.product + r * 3 * h;
        along<T>(h, [&](long j, long n) {
            const Vec<T> reset = sigmoid(get(a + j, n) + get(p + j, n));
            const Vec<T> z = sigmoid(get(a + h + j, n) + get(p + h + j, n)), hn = get(p + 2 * h + j, n);
            const Vec<T> fresh = tanh(fma(reset, hn, get(a + 2 * h + j, n)));
            put(a + j, reset, n);
            put(a + h + j, z, n);
            put(a + 2 * h + j, fresh, n);
            put(a + 3 * h + j, hn, n);
            keep(s, at + j, fma(z, get(s.before + at + j, n) - fresh, fresh), n);
        });
    });
}

template <class T>
void gru_back(const RnnStep<T>& s) {
    const long h = s.h;
    const Vec<T> one = splat(T(1));
    each_row_back(s, 4, [&](long r, long at) {
        const T* a = s.gates + r * s.ld;
        T* da = s.dgates + r * s.ld;
        along<T>(h, [&](long j, long n) {
            const Vec<T> reset = get(a + j, n), z = get(a + h + j, n), fresh = get(a + 2 * h + j, n);
            const Vec<T> d = arriving(s, at + j, n), dn = d * (one - z) * (one - fresh * fresh);
            put(da + j, dn * get(a + 3 * h + j, n) * reset * (one - reset), n);
            put(da + h + j, d * (get(s.before + at + j, n) - fresh) * z * (one - z), n);
            put(da + 2 * h + j, dn, n);
            put(da + 3 * h + j, dn * reset, n);
            put(s.dstate + at + j, d * z, n);
        });
    });
}

// i, f, o = sigmoid, g = tanh; the cell f c + i g, the state o tanh(cell).
template <class T>
void lstm(const RnnStep<T>& s) {
    const long h = s.h;
    each_row(s, [&](long r, long at) {
        T* a = s.gates + r * s.ld;
        along<T>(h, [&](long j, long n) {
            const Vec<T> i = sigmoid(get(a + j, n)), f = sigmoid(get(a + h + j, n));
            const Vec<T> g = tanh(get(a + 2 * h + j, n)), o = sigmoid(get(a + 3 * h + j, n));
            const Vec<T> c = fma(f, get(s.cell_before + at + j, n), i * g);
            put(a + j, i, n);
            put(a + h + j, f, n);
            put(a + 2 * h + j, g, n);
            put(a + 3 * h + j, o, n);
            put(s.cell + at + j, c, n);
            keep(s, at + j, o * tanh(c), n);
        });
    });
}

template <class T>
void lstm_back(const RnnStep<T>& s) {
    const long h = s.h;
    const Vec<T> one = splat(T(1));
    each_row_back(s, 4, [&](long r, long at) {
        const T* a = s.gates + r * s.ld;
        T* da = s.dgates + r * s.ld;
        along<T>(h, [&](long j, long n) {
            const Vec<T> i = get(a + j, n), f = get(a + h + j, n), g = get(a + 2 * h + j, n), o = get(a + 3 * h + j, n);
            const Vec<T> t = tanh(get(s.cell + at + j, n)), d = arriving(s, at + j, n);
            const Vec<T> dc = fma(d * o, one - t * t, get(s.dcell + at + j, n));
            put(da + j, dc * g * i * (one - i), n);
            put(da + h + j, dc * get(s.cell_before + at + j, n) * f * (one - f), n);
            put(da + 2 * h + j, dc * i * (one - g * g), n);
            put(da + 3 * h + j, d * t * o * (one - o), n);
            put(s.dcell + at + j, dc * f, n);
            put(s.dstate + at + j, Vec<T>{}, n);
        });
    });
}

template <class T>
constexpr RnnCells<T> table = {&rnn<T>, &rnn_back<T>, &gru<T>, &gru_back<T>, &lstm<T>, &lstm_back<T>};

}  // namespace

extern const RnnKernels rnn_kernels;
const RnnKernels rnn_kernels = {table<float>, table<double>};

}  // namespace chainrule::CHAINRULE_ISA
