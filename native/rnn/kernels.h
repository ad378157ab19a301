// What each instruction set supplies to recurrent networks: one step of a cell, forward and backward, for some rows of
// the batch. The matrix products around it are those of gemm.
#pragma once

#include "core/isa.h"

namespace chainrule {

// One step of `rows` rows. Every pointer stands at the first of them; rows of `gates` and `dgates` are `ld` apart, those
// of `product` 3 h (gru), all others h. A row whose mask is 0 keeps its state and gives 0.
template <class T>
struct RnnStep {
    long rows, h, ld;
    bool relu = false;             // rnn: relu in place of tanh
    const T* mask = nullptr;       // one value a row
    const T* before = nullptr;     // the state before the step
    const T* cell_before = nullptr;
    // forward: `gates` has sums and gets their activations (gru: x's part, and in a fourth block h's part of n)
    T* gates = nullptr;
    const T* product = nullptr;    // gru: h's part of the sums
    T* state = nullptr;
    T* cell = nullptr;
    T* y = nullptr;                // with a mask; without one `state` is y
    // backward: `dstate` and `dcell` come as gradients of what follows and go as those of what was before, without what
    // reaches the state through the product; `dgates` gets the gradients of the sums (gru: the fourth block h's part of n)
    const T* g = nullptr;          // the gradient of y, or null
    T* dstate = nullptr;
    T* dcell = nullptr;
    T* dgates = nullptr;
};

template <class T>
struct RnnCells {
    void (*rnn)(const RnnStep<T>&);
    void (*rnn_back)(const RnnStep<T>&);
    void (*gru)(const RnnStep<T>&);
    void (*gru_back)(const RnnStep<T>&);
    void (*lstm)(const RnnStep<T>&);
    void (*lstm_back)(const RnnStep<T>&);
};

struct RnnKernels {
    RnnCells<float> f32;
    RnnCells<double> f64;
    template <class T>
    const RnnCells<T>& of() const {
        if constexpr (sizeof(T) == 4) return f32;
        else return f64;
    }
};
CHAINRULE_VARIANTS(RnnKernels, rnn_kernels)

}  // namespace chainrule
