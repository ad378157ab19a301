// Losses of elements on the CPU: float32 and float64; x and target are read once, and nothing is written but the result.
// Bound by reading them (mse, mae, huber) or by logarithms. A loss is summed in pieces of 32768 elements, added in order.
#include "loss/kernels.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/map.h"
#include "core/params.h"
#include "core/threads.h"

namespace chainrule {
namespace {

using Kernels = const LossKernel[2];
constexpr long piece = 32768;  // elements

Owned number(double value, DType dtype) {
    Owned y = make_output(0, nullptr, dtype);
    if (dtype == DType::float32) *y.data<float>() = static_cast<float>(value);
    else *y.data<double>() = value;
    return y;
}

bool fits(const Array& x, const Array& t) {
    return x.is_float() && t.dtype() == x.dtype() && x.rank() == t.rank() &&
           std::equal(x.shape(), x.shape() + x.rank(), t.shape());
}

/// The loss, and what its gradient needs.
Owned loss(Kernels& kernels, const Array& x, const Array& t, double parameter, std::string_view reduction, double cost) {
    if (!fits(x, t)) return not_implemented();
    const DType dtype = x.dtype();
    const LossKernel& kernel = kernels[dtype == DType::float64];
    const Value p(parameter, dtype);
    Owned y;
    if (reduction == "none") {
        y = map(kernel.value, dtype, {x, t, MapOperand(&p)}, cost);
    } else {
        const Owned a = contiguous(x), b = contiguous(t);
        const long n = x.size(), item = item_size(dtype), pieces = (n + piece - 1) / piece;
        std::vector<double> parts(pieces);
        {
            const ReleaseGil gil(cost * static_cast<double>(n));
            parallel_for(pieces, [&](long k) {
                const long begin = k * piece * item;
                parts[k] = kernel.sum(static_cast<char*>(a.raw()) + begin, static_cast<char*>(b.raw()) + begin, &p,
                                      std::min(piece, n - k * piece));
            });
        }
        double total = 0;
        for (double part : parts) total += part;
        y = number(reduction == "mean" ? total / static_cast<double>(n) : total, dtype);
    }
    return make_tuple(std::move(y), make_tuple(reference(x), reference(t)));
}

/// The gradients by x and by the target.
Owned loss_vjp(Kernels& kernels, const Array& g, const Array& x, const Array& t, const Needs& needs, double parameter,
               std::string_view reduction, double cost, bool third = false) {
    const bool single = reduction != "none";
    if (!fits(x, t) || g.dtype() != x.dtype() || (single ? g.size() != 1 : !fits(x, g))) return not_implemented();
    const DType dtype = x.dtype();
    const Value p(parameter, dtype);
    const Owned a = contiguous(x), b = contiguous(t), c = contiguous(g);
    Owned gx, gt;
    if (needs[0]) gx = make_output(x.rank(), x.shape(), dtype);
    if (needs[1]) gt = make_output(x.rank(), x.shape(), dtype);
    const long n = x.size(), item = item_size(dtype);
    Value weight(0, dtype);
    const void* weights = c.raw();
    if (single) {
        const double share = reduction == "mean" ? static_cast<double>(n) : 1;
        if (dtype == DType::float32) weight.f32 = *c.data<float>() / static_cast<float>(share);
        else weight.f64 = *c.data<double>() / share;
        weights = &weight;
    }
    {
        const ReleaseGil gil(cost * static_cast<double>(n));
        parallel_range(n, piece, [&](long begin, long end) {
            const auto at = [&](const Owned& array) {
                return array ? static_cast<char*>(array.raw()) + begin * item : nullptr;
            };
            kernels[dtype == DType::float64].gradients(at(gx), at(gt), at(a), at(b), &p,
                                                  single ? weights : at(c), single, end - begin);
        });
    }
    const auto given = [](Owned& y) { return y ? std::move(y) : none(); };
    if (third) return make_tuple(given(gx), given(gt), none());
    return make_tuple(given(gx), given(gt));
}

/// A loss without a number of its own.
template <auto member>
void bind_plain(nb::module_& m, const char* name, const char* name_vjp, double cost) {
    using namespace nb::literals;
    m.def(name, [cost](const Array& x, const Array& t, const char* reduction) {
        return loss(loss_kernels().*member, x, t, 0, reduction, cost);
    }, "x"_a, "target"_a, nb::kw_only(), "reduction"_a = "mean");
    m.def(name_vjp, [cost](const Array& g, const Array& x, const Array& t, const Needs& needs, const char* reduction) {
        return loss_vjp(loss_kernels().*member, g, x, t, needs, 0, reduction, cost);
    }, "g"_a, "x"_a, "target"_a, nb::kw_only(), "needs"_a, "reduction"_a = "mean");
}

/// A loss with a number; of 0 and less it is left to its body.
template <auto member>
void bind_numbered(nb::module_& m, const char* name, const char* name_vjp, const char* parameter) {
    using namespace nb::literals;
    m.def(name, [](const Array& x, const Array& t, double p, const char* reduction) {
        return p > 0 ? loss(loss_kernels().*member, x, t, p, reduction, cheap) : not_implemented();
    }, "x"_a, "target"_a, nb::kw_only(), nb::arg(parameter) = 1.0, "reduction"_a = "mean");
    m.def(name_vjp, [](const Array& g, const Array& x, const Array& t, const Needs& needs, double p, const char* reduction) {
        return loss_vjp(loss_kernels().*member, g, x, t, needs, p, reduction, cheap);
    }, "g"_a, "x"_a, "target"_a, nb::kw_only(), "needs"_a, nb::arg(parameter) = 1.0, "reduction"_a = "mean");
}

}  // namespace

void bind_loss(nb::module_& m) {
    using namespace nb::literals;
    bind_plain<&LossKernels::mse>(m, "mse", "mse_vjp", cheap);
    bind_plain<&LossKernels::mae>(m, "mae", "mae_vjp", cheap);
    bind_plain<&LossKernels::bce>(m, "bce", "bce_vjp", 2 * polynomial_cost);
    bind_numbered<&LossKernels::huber>(m, "huber", "huber_vjp", "delta");
    bind_numbered<&LossKernels::smooth_l1>(m, "smooth_l1", "smooth_l1_vjp", "beta");
    m.def("bce_with_logits", [](const Array& x, const Array& t, const Array& pos_weight, const char* reduction) {
        if (pos_weight) return not_implemented();
        return loss(loss_kernels().bce_with_logits, x, t, 0, reduction, 2 * polynomial_cost);
    }, "x"_a, "target"_a, "pos_weight"_a.none(), nb::kw_only(), "reduction"_a = "mean");
    m.def("bce_with_logits_vjp", [](const Array& g, const Array& x, const Array& t, const Needs& needs, const char* reduction) {
        return loss_vjp(loss_kernels().bce_with_logits, g, x, t, needs, 0, reduction, polynomial_cost, true);
    }, "g"_a, "x"_a, "target"_a, nb::kw_only(), "needs"_a, "reduction"_a = "mean");
}

}  // namespace chainrule
