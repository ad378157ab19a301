// The epilogue's activations, in the formulas of the ops of their names, so that their results are the same bits.
#include "gemm/epilogue.h"

#include "core/map_loops.h"
#include "core/vmath.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <class V>
V one() {
    return splat(elem<V>(1));
}

template <class V>
V constant(double value) {
    return splat(elem<V>(value));
}

namespace ops {
#include "activation/functors.h"
}

// clang-format off
struct sigmoid_f { template <class V> static V f(V x) { return CHAINRULE_ISA::sigmoid(x); } };
struct sigmoid_back { template <class V> static V f(V g, V y) { return g * (y * (one<V>() - y)); } };
struct tanh_f { template <class V> static V f(V x) { return CHAINRULE_ISA::tanh(x); } };
struct tanh_back { template <class V> static V f(V g, V y) { return g * (one<V>() - y * y); } };
// clang-format on

template <class Op, class T>
void apply(const T* c, T* y, long ldc, long rows, long cols) {
    constexpr int L = lanes<T>;
    for (long i = 0; i < rows; i++, c += ldc, y += ldc) {  // lines are as short as a tile is wide
        long j = 0;
        for (; j + 2 * L <= cols; j += 2 * L) {
            const Vec<T> a = Op::f(load(c + j)), b = Op::f(load(c + j + L));
            store(y + j, a);
            store(y + j + L, b);
        }
        for (; j < cols; j += L) store_some(y + j, Op::f(load_some(c + j, cols - j)), cols - j);
    }
}

}  // namespace

#define BOTH(op) {&binary<op, float>, &binary<op, double>}
extern const EpilogueKernels epilogue_kernels = {
    .f32 = {&apply<ops::relu, float>, &apply<sigmoid_f, float>, &apply<tanh_f, float>, &apply<ops::gelu, float>,
            &apply<ops::silu, float>},
    .f64 = {&apply<ops::relu, double>, &apply<sigmoid_f, double>, &apply<tanh_f, double>, &apply<ops::gelu, double>,
            &apply<ops::silu, double>},
    .gradient = {BOTH(ops::relu_vjp), BOTH(sigmoid_back), BOTH(tanh_back), BOTH(ops::gelu_vjp), BOTH(ops::silu_vjp)},
};
#undef BOTH

}  // namespace chainrule::CHAINRULE_ISA
