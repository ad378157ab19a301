// The engine without Python: calls of the drivers and kernels of gemm, softmax and optim.
#include "cpp/chainrule.h"

#include <algorithm>
#include <cmath>

#include "core/isa.h"
#include "core/threads.h"
#include "gemm/epilogue.h"
#include "gemm/gemm.h"
#include "optim/kernels.h"
#include "softmax/kernels.h"

namespace chainrule::cpp {
namespace {

/// Chooses the instruction set before the first call.
void start() {
    static const bool started = (choose_isa(), true);
    (void)started;
}

int index(Activation a) { return static_cast<int>(a) - 1; }

}  // namespace

const char* simd() {
    start();
    return isa_name();
}

void set_threads(int count) { set_num_threads(count); }

void matmul(const float* a, const float* b, float* c, long m, long k, long n) {
    start();
    gemm(Product<float>{.m = m, .n = n, .k = k, .a = a, .a_row = k, .a_col = 1, .b = b, .b_row = n, .b_col = 1, .c = c,
                        .ldc = n});
}

void linear(const float* x, const float* weight, const float* bias, float* y, long rows, long in, long out,
            Activation activation) {
    start();
    gemm(Product<float>{.m = rows, .n = out, .k = in, .a = x, .a_row = in, .a_col = 1, .b = weight, .b_row = 1,
                        .b_col = in, .c = y, .ldc = out, .bias = bias,
                        .activate = activation == Activation::none ? nullptr : epilogue_kernels().f32[index(activation)]});
}

void linear_backward(float* gy, const float* y, const float* x, const float* weight, float* gx, float* gweight,
                     float* gbias, long rows, long in, long out, Activation activation) {
    start();
    if (activation != Activation::none)
        epilogue_kernels().gradient[index(activation)][0](gy, gy, y, nullptr, 0, rows * out);
    gemm(Product<float>{.m = out, .n = in, .k = rows, .a = gy, .a_row = 1, .a_col = out, .b = x, .b_row = in, .b_col = 1,
                        .c = gweight, .ldc = in});
    std::fill(gbias, gbias + out, 0.0f);
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < out; ++j) gbias[j] += gy[i * out + j];
    if (gx)
        gemm(Product<float>{.m = rows, .n = in, .k = out, .a = gy, .a_row = out, .a_col = 1, .b = weight, .b_row = in,
                            .b_col = 1, .c = gx, .ldc = in});
}

double cross_entropy(const float* scores, const int64_t* labels, float* gradient, long rows, long classes) {
    start();
    const long counted = rows - std::count(labels, labels + rows, -100);
    const float scale = 1.0f / static_cast<float>(std::max(counted, 1L));
    return softmax_kernels().f32.cross_entropy(scores, labels, -100, scale, gradient, rows, classes) * scale;
}

void Adam::add(float* parameter, const float* gradient, long size) {
    entries_.push_back({parameter, gradient, std::vector<float>(size), std::vector<float>(size)});
}

void Adam::step() {
    start();
    ++steps_;
    const AdamStep step = {.lr = lr_, .beta1 = beta1_, .beta2 = beta2_, .eps = eps_, .weight_decay = weight_decay_,
                           .scale = lr_ / (1 - std::pow(beta1_, steps_)),
                           .root = 1 / std::sqrt(1 - std::pow(beta2_, steps_)), .decoupled = true};
    for (Entry& e : entries_)
        optim_kernels().adam[0](e.parameter, e.gradient, e.mean.data(), e.square.data(), nullptr,
                                static_cast<long>(e.mean.size()), step);
}

}  // namespace chainrule::cpp
