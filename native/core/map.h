// Elementwise iteration: y[i] = f(a[i], b[i], c[i]) over broadcast operands of any strides.
//
// A kernel sees only dense memory: `map` walks the operands in memory order, hands over whole runs where they are
// dense, single values where an operand does not vary, and gathered blocks elsewhere; work is shared out to threads.
// Operands of one shape and one dense memory order (row-major, channels-last ...) are one flat run, and the output
// keeps that order.
#pragma once

#include <initializer_list>

#include "core/array.h"
#include "core/map_kernel.h"

namespace chainrule {

/// An array, or one value in memory.
struct MapOperand {
    MapOperand(const Array& array) : array(array), value(array.raw()) {}
    explicit MapOperand(const void* value) : value(value) {}
    Array array;
    const void* value;
};

/// The mapped array. cost: estimated nanoseconds for one element on one thread.
/// Throws std::invalid_argument if the shapes do not broadcast.
Owned map(MapKernel kernel, DType result, std::initializer_list<MapOperand> operands, double cost);

/// Costs of one element, roughly: memory traffic, one polynomial, one call of the C library.
constexpr double cheap = 0.1, polynomial_cost = 0.25, library_cost = 6;

}  // namespace chainrule
