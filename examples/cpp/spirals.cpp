// Three spirals told apart by a network of two hidden layers, in C++ alone: no Python, no NumPy.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpp/chainrule.h"

using chainrule::cpp::Activation;
using Floats = std::vector<float>;

struct Layer {
    long in, out;
    Activation activation;
    Floats weight, bias, gweight, gbias, y, gy;
    Layer(long in, long out, Activation activation, std::mt19937& random)
        : in(in), out(out), activation(activation), weight(in * out), bias(out), gweight(in * out), gbias(out) {
        std::normal_distribution<float> normal(0, std::sqrt(2.0f / in));
        for (float& w : weight) w = normal(random);
    }
    const Floats& forward(const Floats& x) {
        const long rows = static_cast<long>(x.size()) / in;
        y.resize(rows * out), gy.resize(rows * out);
        chainrule::cpp::linear(x.data(), weight.data(), bias.data(), y.data(), rows, in, out, activation);
        return y;
    }
    void backward(const Floats& x, float* gx) {
        chainrule::cpp::linear_backward(gy.data(), y.data(), x.data(), weight.data(), gx, gweight.data(), gbias.data(),
                                        static_cast<long>(x.size()) / in, in, out, activation);
    }
};

int main() {
    constexpr long classes = 3, each = 200, rows = classes * each;
    std::mt19937 random(0);
    std::normal_distribution<float> noise(0, 0.1f);
    Floats x(rows * 2);
    std::vector<int64_t> label(rows);
    for (long i = 0; i < rows; ++i) {
        const float r = static_cast<float>(i % each) / each, turn = 4 * r + 4.2f * (i / each) + noise(random);
        x[2 * i] = r * std::sin(turn), x[2 * i + 1] = r * std::cos(turn), label[i] = i / each;
    }
    Layer a(2, 64, Activation::relu, random), b(64, 64, Activation::tanh, random), c(64, classes, Activation::none, random);
    chainrule::cpp::Adam adam(0.01);
    for (Layer* l : {&a, &b, &c}) {
        adam.add(l->weight.data(), l->gweight.data(), l->in * l->out);
        adam.add(l->bias.data(), l->gbias.data(), l->out);
    }
    double loss = 0;
    for (int step = 0; step < 300; ++step) {
        const Floats& scores = c.forward(b.forward(a.forward(x)));
        loss = chainrule::cpp::cross_entropy(scores.data(), label.data(), c.gy.data(), rows, classes);
        c.backward(b.y, b.gy.data()), b.backward(a.y, a.gy.data()), a.backward(x, nullptr);
        adam.step();
    }
    long right = 0;
    for (long i = 0; i < rows; ++i) {
        const float* scores = &c.y[i * classes];
        right += std::max_element(scores, scores + classes) - scores == label[i];
    }
    std::printf("%s: loss %.4f, accuracy %.3f\n", chainrule::cpp::simd(), loss, static_cast<double>(right) / rows);
}
