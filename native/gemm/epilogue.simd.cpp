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

// clang-format off
struct relu_f { template <class V> static V f(V x) { return x <= V{} ? V{} : x; } };
struct relu_back { template <class V> static V f(V g, V y) { return y <= V{} ? V{} : g; } };
struct sigmoid_f { template <class V> static V f(V x) { return CHAINRULE_ISA::sigmoid(x); } };
struct sigmoid_back { template <class V> static V f(V g, V y) { return g * (y * (one<V>() - y)); } };
struct tanh_f { template <class V> static V f(V x) { return CHAINRULE_ISA::tanh(x); } };
struct tanh_back { template <class V> static V f(V g, V y) { return g * (one<V>() - y * y); } };
// clang-format on

template <class Op, class T>
void apply(T* c, long ldc, long rows, long cols) {
    for (long i = 0; i < rows; i++, c += ldc) unary<Op, T>(c, c, nullptr, nullptr, 0, cols);
}

}  // namespace

#define BOTH(op) {&binary<op, float>, &binary<op, double>}
extern const EpilogueKernels epilogue_kernels = {
    .f32 = {&apply<relu_f, float>, &apply<sigmoid_f, float>, &apply<tanh_f, float>},
    .f64 = {&apply<relu_f, double>, &apply<sigmoid_f, double>, &apply<tanh_f, double>},
    .gradient = {BOTH(relu_back), BOTH(sigmoid_back), BOTH(tanh_back)},
};
#undef BOTH

}  // namespace chainrule::CHAINRULE_ISA
