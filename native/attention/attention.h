// The two halves of attention, and what one keeps for the other.
#pragma once

#include <optional>

#include "core/array.h"

namespace chainrule {

struct Saved {
    Array g, q, k, v, mask, state, y, logsumexp;
    bool causal;
    std::optional<double> scale;
    double dropout;
};

/// The gradients of (q, k, v, mask, state); None for the last two.
template <class T>
Owned attention_gradients(const Saved& saved);

/// A new array (..., rows, size) with x's leading axes, with heads inside rows if x has them so.
Owned output_like(const Array& x, long rows, long size);

}  // namespace chainrule
