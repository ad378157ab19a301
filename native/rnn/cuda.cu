// The cells of recurrent networks, forward and back: all of a step but its product with the recurrent weights. The input's part
// of all steps is one product before them, and the gradients of the weights are one each after them. A step is two launches, the
// product and the cell, and bound by these: about 5 us for a batch of 32 and 128 features on an H200; of many rows, by memory.
//
// Sums and activations lie in blocks of h: one for rnn; r, z, n for gru, with h's part of n in a fourth block of the
// activations; i, f, g, o for lstm. A row whose mask is 0 keeps its state and gives 0.
#include "core/scalar.cuh"

enum Kind { rnn, gru, lstm };

/// A step: its number and that of the one before it (-1: none), the size of the batch and of the state.
struct Step {
    int64_t t, before, batch, h, relu;
};

/// The element of `all` (steps, batch, h) before a step, else of `first`, else 0.
template <class T> DEVICE T before(const T* all, const T* first, const Step& s, int64_t i) {
    return s.before >= 0 ? all[s.before * s.batch * s.h + i] : first ? first[i] : T(0);
}

/// One step. `sums` has the input's part of it, with its biases; `product` (may be null) the state's, without `bias`.
template <class T, int kind>
__global__ void cell(T* gates, T* states, T* cells, T* y, const T* sums, const T* product, const T* bias, const T* h0,
                     const T* c0, const T* mask, Step s) {
    constexpr int blocks = kind == rnn ? 1 : kind == gru ? 3 : 4, kept = kind == rnn ? 1 : 4;
    EACH(i, s.batch * s.h) {
        const int64_t row = i / s.h, j = i - row * s.h, here = s.t * s.batch * s.h + i, at = s.t * s.batch + row;
        const T old = before(states, h0, s, i);
        if (mask && mask[at] == 0) {
            states[here] = old;
            y[here] = 0;
            if (kind == lstm) cells[here] = before(cells, c0, s, i);
            continue;
        }
        T a[blocks], p[blocks], state;
        for (int b = 0; b < blocks; ++b) {
            a[b] = sums[(at * blocks + b) * s.h + j];
            p[b] = (product ? product[(row * blocks + b) * s.h + j] : T(0)) + (bias ? bias[b * s.h + j] : T(0));
        }
        T* gate = gates + at * kept * s.h + j;
        if constexpr (kind == rnn) {
            const T x = a[0] + p[0];
            state = s.relu ? (x <= 0 ? T(0) : x) : tanh(x);
            gate[0] = state;
        } else if constexpr (kind == gru) {
            const T r = scalar::sigmoid(a[0] + p[0]), z = scalar::sigmoid(a[1] + p[1]), fresh = tanh(a[2] + r * p[2]);
            gate[0] = r, gate[s.h] = z, gate[2 * s.h] = fresh, gate[3 * s.h] = p[2];
            state = fresh + z * (old - fresh);
        } else {
            const T in = scalar::sigmoid(a[0] + p[0]), forget = scalar::sigmoid(a[1] + p[1]);
            const T g = tanh(a[2] + p[2]), out = scalar::sigmoid(a[3] + p[3]);
            const T c = forget * before(cells, c0, s, i) + in * g;
            gate[0] = in, gate[s.h] = forget, gate[2 * s.h] = g, gate[3 * s.h] = out;
            cells[here] = c;
            state = out * tanh(c);
        }
        states[here] = state;
        if (mask) y[here] = state;
    }
}

/// One step back. `dstate` and `dcell` come as gradients of what follows, but for `product` (may be null), which reaches the
/// state by the step after; they go as those of what was before. The sums' gradients, where they meet the input and where they
/// meet the state, are the same but for gru. `g` is the gradient of y, or null.
template <class T, int kind>
__global__ void cell_back(T* dstate, T* dcell, T* dsums, T* dproduct, const T* g, const T* product, const T* gates,
                          const T* states, const T* cells, const T* h0, const T* c0, const T* mask, Step s) {
    constexpr int blocks = kind == rnn ? 1 : kind == gru ? 3 : 4, kept = kind == rnn ? 1 : 4;
    EACH(i, s.batch * s.h) {
        const int64_t row = i / s.h, j = i - row * s.h, here = s.t * s.batch * s.h + i, at = s.t * s.batch + row;
        T d = dstate[i] + (product ? product[i] : T(0));
        T* da = dsums + at * blocks * s.h + j;
        T* dp = dproduct + at * blocks * s.h + j;
        if (mask && mask[at] == 0) {
            for (int b = 0; b < blocks; ++b) da[b * s.h] = dp[b * s.h] = 0;
            dstate[i] = d;
            continue;
        }
        if (g) d += g[here];
        const T* gate = gates + at * kept * s.h + j;
        if constexpr (kind == rnn) {
            da[0] = s.relu ? (gate[0] <= 0 ? T(0) : d) : d * (1 - gate[0] * gate[0]);
            dstate[i] = 0;
        } else if constexpr (kind == gru) {
            const T r = gate[0], z = gate[s.h], fresh = gate[2 * s.h], dn = d * (1 - z) * (1 - fresh * fresh);
            da[0] = dp[0] = dn * gate[3 * s.h] * r * (1 - r);
            da[s.h] = dp[s.h] = d * (before(states, h0, s, i) - fresh) * z * (1 - z);
            da[2 * s.h] = dn;
            dp[2 * s.h] = dn * r;
            dstate[i] = d * z;
        } else {
            const T in = gate[0], forget = gate[s.h], fresh = gate[2 * s.h], out = gate[3 * s.h], t = tanh(cells[here]);
            const T dc = d * out * (1 - t * t) + dcell[i];
            da[0] = dc * fresh * in * (1 - in);
            da[s.h] = dc * before(cells, c0, s, i) * forget * (1 - forget);
            da[2 * s.h] = dc * in * (1 - fresh * fresh);
            da[3 * s.h] = d * t * out * (1 - out);
            dcell[i] = dc * forget;
            dstate[i] = 0;
        }
    }
}
