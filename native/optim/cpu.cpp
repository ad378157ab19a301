// Optimizer steps on the CPU: all parameters in one call, in place; large ones are cut into pieces by size alone.
#include "optim/kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/map.h"
#include "core/threads.h"
#include "elementwise/kernels.h"
#include "reduce/kernels.h"

namespace chainrule {
namespace {

constexpr long piece = 16384;       // elements: about 5 us
constexpr double element_ns = 0.3;
constexpr int max_members = 5;      // parameter, gradient, and three states

/// A parameter with its gradient and states, as flat memory of one order. Where their orders differ, row-major copies
/// stand in, which finish() writes back.
class Group {
  public:
    Group(const Array* arrays, int members) : members_(members), size(arrays[0].size()), dtype(arrays[0].dtype()) {
        bool flat = arrays[0].dense();
        for (int k = 1; k < members && flat; ++k) {
            flat = arrays[k].dense();
            for (int d = 0; d < arrays[0].rank() && flat; ++d)
                flat = arrays[k].dim(d) == 1 || arrays[k].stride(d) == arrays[0].stride(d);
        }
        for (int k = 0; k < members; ++k) {
            original_[k] = arrays[k];
            if (!flat) copy_[k] = contiguous(arrays[k]);
            data[k] = flat ? arrays[k].raw() : copy_[k].raw();
        }
    }
    void finish() {
        for (int k = 0; k < members_; ++k) {
            if (k == 1 || !copy_[k] || copy_[k].raw() == original_[k].raw()) continue;
            auto* to = reinterpret_cast<PyArrayObject*>(original_[k].object());
            auto* from = reinterpret_cast<PyArrayObject*>(static_cast<Array>(copy_[k]).object());
            if (PyArray_CopyInto(to, from) < 0) throw nb::python_error();
        }
    }

  private:
    int members_;
    Array original_[max_members];
    Owned copy_[max_members];

  public:
    long size;
    DType dtype;
    void* data[max_members] = {};
};

/// The groups of `members` each out of `count` parameters, `count` gradients ...; none if a kernel lacks their dtypes.
bool grouped(const nb::args& tensors, long count, int members, std::vector<Group>& groups) {
    if (count < 0 || static_cast<long>(tensors.size()) < count * members) return false;
    groups.reserve(count);
    for (long i = 0; i < count; ++i) {
        Array arrays[max_members];
        for (int k = 0; k < members; ++k) {
            PyObject* object = PyTuple_GET_ITEM(tensors.ptr(), k * count + i);
            if (!PyArray_Check(object)) return false;
            arrays[k] = Array(object);
            if (!arrays[k].is_float() || arrays[k].dtype() != arrays[0].dtype()) return false;
            if (k != 1 && !arrays[k].writable()) return false;
            if (arrays[k].rank() != arrays[0].rank() ||
                !std::equal(arrays[k].shape(), arrays[k].shape() + arrays[k].rank(), arrays[0].shape()))
                return false;
        }
        groups.emplace_back(arrays, members);
    }
    return true;
}

/// Some elements of a group.
struct Part {
    Group* group;
    long begin, n;
};

std::vector<Part> parted(std::vector<Group>& groups) {
    std::vector<Part> parts;
    for (Group& group : groups)
        for (long begin = 0; begin < group.size; begin += piece)
            parts.push_back({&group, begin, std::min(piece, group.size - begin)});
    return parts;
}

/// f(part, its number) for all parts: small ones together in a chunk of work.
template <class F>
void each(const std::vector<Part>& parts, F f) {
    std::vector<long> bundles;  // the first part of each chunk
    long total = 0, filled = piece;
    for (long k = 0; k < static_cast<long>(parts.size()); ++k) {
        if (filled + parts[k].n > piece) {
            bundles.push_back(k);
            filled = 0;
        }
        filled += parts[k].n;
        total += parts[k].n;
    }
    bundles.push_back(static_cast<long>(parts.size()));
    ReleaseGil gil(total * element_ns);
    parallel_for(static_cast<long>(bundles.size()) - 1, [&](long b) {
        for (long k = bundles[b]; k < bundles[b + 1]; ++k) f(parts[k], k);
    });
}

/// f(group, begin, n) over all groups.
template <class F>
void step(std::vector<Group>& groups, F f) {
    each(parted(groups), [&](const Part& part, long) { f(*part.group, part.begin, part.n); });
    for (Group& group : groups) group.finish();
}

/// Element `begin` of a member of the group.
void* at(const Group& group, int member, long begin) {
    return static_cast<char*>(group.data[member]) + begin * item_size(group.dtype);
}

double read(const Array& x) { return x.is(DType::float32) ? *x.data<float>() : *x.data<double>(); }
bool is_number(const Array& x) { return x.is_float() && x.rank() == 0; }
bool counts(const Array& x) { return is_number(x) && x.writable(); }

void write(const Array& x, double value) {
    if (x.is(DType::float32)) *x.data<float>() = static_cast<float>(value);
    else *x.data<double>() = value;
}

/// One more step; returns how many.
double count_up(const Array& x) {
    write(x, read(x) + 1);
    return read(x);
}

/// A number times a factor, in its place; returns it.
double multiply(const Array& x, double factor) {
    write(x, read(x) * factor);
    return read(x);
}

/// A copy of a tensor without axes: what the steps return.
Owned copy(const Array& x) {
    Owned y = make_output(0, nullptr, x.dtype());
    if (x.is(DType::float32)) *y.data<float>() = *x.data<float>();
    else *y.data<double>() = *x.data<double>();
    return y;
}

Owned sgd(const Array& lr, const nb::args& tensors, long count, double momentum, double dampening, double weight_decay,
          bool nesterov, bool first) {
    std::vector<Group> groups;
    if (!is_number(lr) || !grouped(tensors, count, momentum != 0 ? 3 : 2, groups)) return not_implemented();
    const SgdStep options{read(lr), momentum, dampening, weight_decay, nesterov, first};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().sgd[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin),
                                                      momentum != 0 ? at(group, 2, begin) : nullptr, n, options);
    });
    return copy(lr);
}

Owned adam(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double beta1, double beta2,
           double eps, double weight_decay, bool decoupled, bool amsgrad) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || !grouped(tensors, count, amsgrad ? 5 : 4, groups))
        return not_implemented();
    const double t = count_up(step_count);
    const AdamStep options{read(lr), beta1, beta2, eps, weight_decay, read(lr) / (1 - std::pow(beta1, t)),
                           1 / std::sqrt(1 - std::pow(beta2, t)), decoupled};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().adam[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin),
                                                       at(group, 3, begin), amsgrad ? at(group, 4, begin) : nullptr, n,
                                                       options);
    });
    return copy(step_count);
}

Owned rmsprop(const Array& lr, const nb::args& tensors, long count, double alpha, double eps, double momentum,
              double weight_decay, bool centered) {
    std::vector<Group> groups;
    const int moved = centered ? 4 : 3;  // the place of what momentum keeps
    if (!is_number(lr) || !grouped(tensors, count, momentum != 0 ? moved + 1 : moved, groups)) return not_implemented();
    const RmspropStep options{read(lr), alpha, eps, momentum, weight_decay};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().rmsprop[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin),
                                                          centered ? at(group, 3, begin) : nullptr,
                                                          momentum != 0 ? at(group, moved, begin) : nullptr, n, options);
    });
    return copy(lr);
}

Owned adagrad(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double lr_decay, double eps,
              double weight_decay) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || !grouped(tensors, count, 3, groups)) return not_implemented();
    const double t = count_up(step_count);
    const AdagradStep options{read(lr) / (1 + (t - 1) * lr_decay), eps, weight_decay};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().adagrad[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin), n,
                                                          options);
    });
    return copy(step_count);
}

Owned lion(const Array& lr, const nb::args& tensors, long count, double beta1, double beta2, double weight_decay,
           bool decoupled) {
    std::vector<Group> groups;
    if (!is_number(lr) || !grouped(tensors, count, 3, groups)) return not_implemented();
    const LionStep options{read(lr), beta1, beta2, weight_decay, decoupled};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().lion[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin), n,
                                                       options);
    });
    return copy(lr);
}

Owned adamax(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double beta1, double beta2,
             double eps, double weight_decay) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || !grouped(tensors, count, 4, groups)) return not_implemented();
    const double t = count_up(step_count);
    const AdamaxStep options{read(lr) / (1 - std::pow(beta1, t)), beta1, beta2, eps, weight_decay};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().adamax[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin),
                                                         at(group, 3, begin), n, options);
    });
    return copy(step_count);
}

/// A step of NAdam or RAdam; options(group): what that of a parameter needs.
template <class F>
Owned moment(const Array& step_count, std::vector<Group>& groups, F options) {
    std::vector<MomentStep> each;
    for (size_t i = 0; i < groups.size(); ++i) each.push_back(options(i));
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().moment[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin),
                                                         at(group, 3, begin), n, each[&group - groups.data()]);
    });
    return copy(step_count);
}

Owned nadam(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double beta1, double beta2,
            double eps, double weight_decay, double momentum_decay) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || count < 0 || static_cast<long>(tensors.size()) != 5 * count ||
        !grouped(tensors, count, 4, groups))
        return not_implemented();
    std::vector<Array> products;
    for (long i = 0; i < count; ++i) {
        PyObject* product = PyTuple_GET_ITEM(tensors.ptr(), 4 * count + i);
        if (!PyArray_Check(product) || !counts(Array(product))) return not_implemented();
        products.push_back(Array(product));
    }
    const double t = count_up(step_count), rate = read(lr);
    const auto momentum = [=](double s) { return beta1 * (1 - 0.5 * std::pow(0.96, s * momentum_decay)); };
    const double now = momentum(t), following = momentum(t + 1), root = 1 / std::sqrt(1 - std::pow(beta2, t));
    return moment(step_count, groups, [&](size_t i) {
        const double product = multiply(products[i], now);
        return MomentStep{beta1, beta2, eps, weight_decay, root, rate * (1 - now) / (1 - product),
                          rate * following / (1 - product * following), true};
    });
}

Owned radam(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double beta1, double beta2,
            double eps, double weight_decay) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || !grouped(tensors, count, 4, groups)) return not_implemented();
    const double t = count_up(step_count), fraction2 = 1 - std::pow(beta2, t), longest = 2 / (1 - beta2) - 1;
    const double length = longest - 2 * t * std::pow(beta2, t) / fraction2;  // of the average that the mean of squares is
    const double rate = read(lr) / (1 - std::pow(beta1, t)), root = std::sqrt(fraction2 * (length - 4) * (length - 2) * longest /
                                                                             ((longest - 4) * (longest - 2) * length));
    const bool worth = length > 5;
    return moment(step_count, groups, [&](size_t) {
        return MomentStep{beta1, beta2, eps, weight_decay, 1, 0, worth ? rate * root : rate, worth};
    });
}

Owned adadelta(const Array& step_count, const Array& lr, const nb::args& tensors, long count, double rho, double eps,
               double weight_decay) {
    std::vector<Group> groups;
    if (!counts(step_count) || !is_number(lr) || !grouped(tensors, count, 4, groups)) return not_implemented();
    count_up(step_count);
    const AdadeltaStep options{read(lr), rho, eps, weight_decay};
    step(groups, [&](const Group& group, long begin, long n) {
        optim_kernels().adadelta[float_index(group.dtype)](at(group, 0, begin), at(group, 1, begin), at(group, 2, begin),
                                                           at(group, 3, begin), n, options);
    });
    return copy(step_count);
}

/// All gradients times one factor, so that their norm is at most max_norm. Returns the norm before; nothing is written where
/// it is small enough. Squares are summed in float64, piece by piece.
Owned clip_norm(const nb::args& tensors, double max_norm, double ord) {
    std::vector<Group> groups;
    const long count = static_cast<long>(tensors.size());
    if (count == 0 || (ord != 1 && ord != 2) || !grouped(tensors, count, 1, groups)) return not_implemented();
    const DType dtype = groups[0].dtype;
    for (const Group& group : groups)
        if (group.dtype != dtype) return not_implemented();
    const int index = float_index(dtype);
    const Reduction& norm = (ord == 1 ? reduce_kernels().norm_1 : reduce_kernels().norm_2)[index];
    const auto parts = parted(groups);
    std::vector<double> sums(parts.size());
    each(parts, [&](const Part& part, long k) { norm.row(&sums[k], at(*part.group, 0, part.begin), part.n); });
    double total = 0;
    for (double sum : sums) total += sum;
    Owned y = make_output(0, nullptr, dtype);
    norm.finish(y.raw(), &total, 1, 1);
    const auto scale = [&]<class T>(T length) {
        const T factor = static_cast<T>(max_norm) / (length + static_cast<T>(1e-6));
        if (factor >= 1) return;
        each(parts, [&](const Part& part, long) {
            void* g = at(*part.group, 0, part.begin);
            elementwise_kernels().mul[index](g, g, &factor, nullptr, 2, part.n);
        });
        for (Group& group : groups) group.finish();
    };
    if (dtype == DType::float32) scale(*y.data<float>());
    else scale(*y.data<double>());
    return y;
}

}  // namespace

void bind_optim(nb::module_& m) {
    using namespace nb::literals;
    m.def("clip_norm_", &clip_norm, "tensors"_a, nb::kw_only(), "max_norm"_a, "ord"_a = 2.0);
    m.def("sgd_", &sgd, "lr"_a, "tensors"_a, "count"_a, "momentum"_a = 0.0, "dampening"_a = 0.0, "weight_decay"_a = 0.0,
          "nesterov"_a = false, "first"_a = false);
    m.def("adam_", &adam, "step"_a, "lr"_a, "tensors"_a, "count"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
          "weight_decay"_a = 0.0, "decoupled"_a = false, "amsgrad"_a = false);
    m.def("rmsprop_", &rmsprop, "lr"_a, "tensors"_a, "count"_a, "alpha"_a = 0.99, "eps"_a = 1e-8, "momentum"_a = 0.0,
          "weight_decay"_a = 0.0, "centered"_a = false);
    m.def("adagrad_", &adagrad, "step"_a, "lr"_a, "tensors"_a, "count"_a, "lr_decay"_a = 0.0, "eps"_a = 1e-10,
          "weight_decay"_a = 0.0);
    m.def("lion_", &lion, "lr"_a, "tensors"_a, "count"_a, "beta1"_a = 0.9, "beta2"_a = 0.99, "weight_decay"_a = 0.0,
          "decoupled"_a = false);
    m.def("adamax_", &adamax, "step"_a, "lr"_a, "tensors"_a, "count"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
          "weight_decay"_a = 0.0);
    m.def("nadam_", &nadam, "step"_a, "lr"_a, "tensors"_a, "count"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
          "weight_decay"_a = 0.0, "momentum_decay"_a = 4e-3);
    m.def("radam_", &radam, "step"_a, "lr"_a, "tensors"_a, "count"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
          "weight_decay"_a = 0.0);
    m.def("adadelta_", &adadelta, "step"_a, "lr"_a, "tensors"_a, "count"_a, "rho"_a = 0.9, "eps"_a = 1e-6,
          "weight_decay"_a = 0.0);
}

}  // namespace chainrule
