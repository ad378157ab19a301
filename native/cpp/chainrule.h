// The engine without Python: matrices, dense layers, a loss and an optimizer on the kernels that the package uses.
//
// Matrices are row-major float32. Results are the same bits for any number of threads.
// A program builds with  cmake -S . -B build/cpp -DCHAINRULE_CPP=ON  and links the target chainrule_cpp; see examples/cpp.
#pragma once

#include <cstdint>
#include <vector>

namespace chainrule::cpp {

enum class Activation { none, relu, sigmoid, tanh };

/// The instruction set in use: baseline, avx2 or avx512; the environment variable CHAINRULE_SIMD chooses another.
const char* simd();
/// Throws std::invalid_argument unless 1 <= count <= 1024.
void set_threads(int count);

/// c[m, n] = a[m, k] b[k, n]
void matmul(const float* a, const float* b, float* c, long m, long k, long n);

/// y[rows, out] = activation(x[rows, in] weight[out, in]^T + bias[out])
void linear(const float* x, const float* weight, const float* bias, float* y, long rows, long in, long out,
            Activation activation = Activation::none);

/// The gradients of linear() from that of y, and y itself. gy becomes the gradient before the activation; gx may be null.
void linear_backward(float* gy, const float* y, const float* x, const float* weight, float* gx, float* gweight,
                     float* gbias, long rows, long in, long out, Activation activation = Activation::none);

/// The mean cross-entropy of scores[rows, classes] and labels[rows], and its gradient. A label of -100 is passed over.
double cross_entropy(const float* scores, const int64_t* labels, float* gradient, long rows, long classes);

/// Adam (decoupled weight decay: AdamW) for arrays of parameters, which are registered by their address.
class Adam {
  public:
    explicit Adam(double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0)
        : lr_(lr), beta1_(beta1), beta2_(beta2), eps_(eps), weight_decay_(weight_decay) {}
    void add(float* parameter, const float* gradient, long size);
    void step();

  private:
    struct Entry {
        float* parameter;
        const float* gradient;
        std::vector<float> mean, square;
    };
    double lr_, beta1_, beta2_, eps_, weight_decay_;
    long steps_ = 0;
    std::vector<Entry> entries_;
};

}  // namespace chainrule::cpp
