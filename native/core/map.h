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

/// A number rounded to float32 or float64, in memory.
struct Value {
    Value(double number, DType dtype) {
        if (dtype == DType::float32) f32 = static_cast<float>(number);
        else f64 = number;
    }
    union {
        float f32;
        double f64;
    };
};

/// Two numbers side by side.
struct Values {
    Values(double first, double second, DType dtype) {
        if (dtype == DType::float32) f32[0] = static_cast<float>(first), f32[1] = static_cast<float>(second);
        else f64[0] = first, f64[1] = second;
    }
    union {
        float f32[2];
        double f64[2];
    };
};

/// Where a table of kernels holds the one of a dtype: 0 float32, 1 float64, -1 other.
inline int float_index(DType dtype) { return dtype == DType::float32 ? 0 : dtype == DType::float64 ? 1 : -1; }

/// The mapped array. cost: estimated nanoseconds for one element on one thread.
/// NotImplemented if the shapes do not broadcast: the reference then says so, in the words of every backend.
Owned map(MapKernel kernel, DType result, std::initializer_list<MapOperand> operands, double cost);

/// Costs of one element, roughly: memory traffic, one polynomial in float, one in double.
constexpr double cheap = 0.1, polynomial_cost = 0.25, wide_cost = 1;

}  // namespace chainrule
