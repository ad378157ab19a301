// Recurrent networks over whole sequences: rnn, gru, lstm, and their gradients; float32 and float64.
//
// The input's part of every step is one product before the loop, or in it if its weights are small; the weights' gradients
// are one product each after it. In the loop a chunk of the batch runs through all steps on one thread, without a barrier:
// small products with packed weights, then the cell (rnn.simd.cpp). Bound by the products: LSTM 64→128, 64 steps, batch 32,
// one thread of a Zen 4: 4.4 ms forward, of which the products need 3.4, and 7.4 back, of which they need 5.7.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "gemm/gemm.h"
#include "rnn/kernels.h"
#include "rnn/panels.h"

using namespace nb::literals;

namespace chainrule {

namespace {

constexpr long chunk_rows = 16;           // of the batch: two tiles high, and few enough that small batches have two chunks
constexpr double flops_per_ns = 100;      // of one core, roughly

enum class Kind { rnn, gru, lstm };

struct Net {
    Kind kind;
    bool relu, reverse;
    long steps, batch, inputs, h;

    long sums() const { return kind == Kind::rnn ? 1 : kind == Kind::gru ? 3 : 4; }  // blocks of the weights
    long blocks() const { return kind == Kind::rnn ? 1 : 4; }                        // kept of each step
    long pitch() const { return blocks() * h; }
    long step(long s) const { return reverse ? steps - 1 - s : s; }
    double loop_flops() const { return 2. * static_cast<double>(steps * batch) * static_cast<double>(sums() * h * h); }
    double nanoseconds() const { return loop_flops() * (1 + static_cast<double>(inputs) / static_cast<double>(h)) / flops_per_ns; }

    // f(first row, rows) for every chunk of the batch
    template <class F>
    void each_chunk(F f) const {
        const long chunks = (batch + chunk_rows - 1) / chunk_rows;
        auto one = [&](long c) {
            const long begin = c * batch / chunks, end = (c + 1) * batch / chunks;
            f(begin, end - begin);
        };
        if (loop_flops() > 2e6) return parallel_for(chunks, one);
        for (long c = 0; c < chunks; c++) one(c);
    }
};

// What the forward call got and made, all of it row-major.
struct Held {
    Owned x, weight_ih, weight_hh, h0, c0, gates, states, cells, mask;
};

Owned again(const Owned& o) {
    PyObject* object = static_cast<Array>(o).object();
    Py_INCREF(object);
    return Owned(object);
}

Owned packed(const Array& x) { return x ? contiguous(x) : none(); }

template <class T>
const T* pointer(const Array& given, const Owned& held) {
    return given ? held.data<T>() : nullptr;
}

Net network(Kind kind, const Array& x, const Array& weight_hh, bool relu, bool reverse) {
    return {kind, relu, reverse, x.dim(0), x.dim(1), x.dim(2), weight_hh.dim(1)};
}

template <class T>
RnnStep<T> step_of(const Net& net, long first, long rows, long t, const T* mask) {
    RnnStep<T> step{.rows = rows, .h = net.h, .ld = net.pitch(), .relu = net.relu};
    step.mask = mask ? mask + t * net.batch + first : nullptr;
    return step;
}

template <class T>
auto cell_of(const Net& net, bool back) {
    const auto& k = rnn_kernels().of<T>();
    switch (net.kind) {
        case Kind::rnn: return back ? k.rnn_back : k.rnn;
        case Kind::gru: return back ? k.gru_back : k.gru;
        default: return back ? k.lstm_back : k.lstm;
    }
}

template <class T>
Owned forward_of(const Net& net, const Array& x, const Array& wi, const Array& wh, const Array& bi, const Array& bh,
                 const Array& h0, const Array& c0, const Array& mask) {
    const long h = net.h, rows = net.steps * net.batch, width = net.sums() * h, pitch = net.pitch(), layer = net.batch * h;
    const bool is_lstm = net.kind == Kind::lstm, is_gru = net.kind == Kind::gru;
    Held held{contiguous(x), contiguous(wi), contiguous(wh), packed(h0), packed(c0), {}, {}, none(), packed(mask)};
    const npy_intp gates_shape[3] = {net.steps, net.batch, pitch}, shape[3] = {net.steps, net.batch, h};
    held.gates = make_output(3, gates_shape, x.dtype());
    Owned y = make_output(3, shape, x.dtype()), last = make_output(2, shape + 1, x.dtype()), last_cell;
    held.states = mask ? make_output(3, shape, x.dtype()) : again(y);
    if (is_lstm) {
        held.cells = make_output(3, shape, x.dtype());
        last_cell = make_output(2, shape + 1, x.dtype());
    }
    const Owned bias_ih = packed(bi), bias_hh = packed(bh);
    T *gates = held.gates.data<T>(), *states = held.states.data<T>(), *py = y.data<T>();
    T* cells = is_lstm ? held.cells.data<T>() : nullptr;
    const T *at_h0 = pointer<T>(h0, held.h0), *at_c0 = pointer<T>(c0, held.c0), *at_mask = pointer<T>(mask, held.mask);
    {
        const ReleaseGil gil(net.nanoseconds());
        const Scratch<T> bias(static_cast<size_t>(width)), zeros(static_cast<size_t>(layer));
        const T *in = pointer<T>(bi, bias_ih), *recurrent = pointer<T>(bh, bias_hh);
        for (long j = 0; j < width; j++) bias[j] = (in ? in[j] : T(0)) + (recurrent && !is_gru ? recurrent[j] : T(0));
        std::fill(zeros.data(), zeros.data() + layer, T(0));
        // The input's part of all steps is one product, or that of each step is made when it is needed: small weights stay
        // in the second-level cache, and the sums in the first.
        const bool by_step = net.inputs * width * static_cast<long>(sizeof(T)) <= 256 << 10;
        const T* inputs = held.x.data<T>();
        Panels<T> weights(h, width), input_weights(by_step ? net.inputs : 0, width);
        weights.columns(held.weight_hh.data<T>(), h);
        if (by_step)
            input_weights.columns(held.weight_ih.data<T>(), net.inputs);
        else
            gemm(Product<T>{rows, width, net.inputs, inputs, net.inputs, 1, held.weight_ih.data<T>(), 1, net.inputs, gates,
                            pitch, bias.data()});
        const auto cell = cell_of<T>(net, false);
        net.each_chunk([&](long first, long count) {
            const Scratch<T> product(static_cast<size_t>(is_gru ? count * width : 0));
            const long at = first * h;
            const T* before = (at_h0 ? at_h0 : zeros.data()) + at;
            const T* cell_before = (at_c0 ? at_c0 : zeros.data()) + at;
            for (long s = 0; s < net.steps; s++) {
                const long t = net.step(s);
                RnnStep<T> step = step_of(net, first, count, t, at_mask);
                step.before = before;
                step.cell_before = cell_before;
                step.gates = gates + (t * net.batch + first) * pitch;
                step.product = product.data();
                step.state = states + t * layer + at;
                step.cell = is_lstm ? cells + t * layer + at : nullptr;
                step.y = at_mask ? py + t * layer + at : nullptr;
                if (by_step)
                    input_weights.multiply(count, inputs + (t * net.batch + first) * net.inputs, net.inputs, step.gates,
                                           pitch, false, bias.data());
                if (is_gru) weights.multiply(count, before, h, product.data(), width, false, recurrent);
                else if (s > 0 || at_h0) weights.multiply(count, before, h, step.gates, pitch, true);
                cell(step);
                before = step.state;
                cell_before = step.cell;
            }
        });
        const long end = net.step(net.steps - 1) * layer;
        std::memcpy(last.data<T>(), states + end, static_cast<size_t>(layer) * sizeof(T));
        if (is_lstm) std::memcpy(last_cell.data<T>(), cells + end, static_cast<size_t>(layer) * sizeof(T));
    }
    Owned outputs = is_lstm ? make_tuple(std::move(y), std::move(last), std::move(last_cell))
                            : make_tuple(std::move(y), std::move(last));
    Owned saved = make_tuple(std::move(held.x), std::move(held.weight_ih), std::move(held.weight_hh), std::move(held.h0),
                             std::move(held.c0), std::move(held.gates), std::move(held.states), std::move(held.cells),
                             std::move(held.mask));
    return make_tuple(std::move(outputs), std::move(saved));
}

Owned forward(Kind kind, const Array& x, const Array& wi, const Array& wh, const Array& bi, const Array& bh, const Array& h0,
              const Array& c0, const Array& mask, bool relu, bool reverse) {
    if (!x.is_float() || x.rank() != 3 || wi.rank() != 2 || wh.rank() != 2) return not_implemented();
    for (const Array& a : {wi, wh, bi, bh, h0, c0, mask})
        if (a && a.dtype() != x.dtype()) return not_implemented();
    const Net net = network(kind, x, wh, relu, reverse);
    if (x.size() == 0 || net.h == 0) return not_implemented();
    const bool fits = wi.dim(0) == net.sums() * net.h && wi.dim(1) == net.inputs && wh.dim(0) == wi.dim(0) &&
                      (!bi || bi.size() == wi.dim(0)) && (!bh || bh.size() == wi.dim(0)) &&
                      (!h0 || h0.size() == net.batch * net.h) && (!c0 || c0.size() == net.batch * net.h) &&
                      (!mask || mask.size() == net.steps * net.batch);
    if (!fits) throw std::invalid_argument("[rnn] the shapes of x, the weights, the state and the mask do not fit");
    return x.is(DType::float32) ? forward_of<float>(net, x, wi, wh, bi, bh, h0, c0, mask)
                                : forward_of<double>(net, x, wi, wh, bi, bh, h0, c0, mask);
}

// A state's gradient on its way back through time: at the end it is that of the state at the beginning.
Owned flowing(const Array& g, int rank, const npy_intp* shape, DType dtype) {
    Owned d = make_output(rank, shape, dtype);
    const long size = static_cast<Array>(d).size() * item_size(dtype);
    if (!g) std::memset(d.raw(), 0, static_cast<size_t>(size));
    else std::memcpy(d.raw(), contiguous(g).raw(), static_cast<size_t>(size));
    return d;
}

// The gradient of the recurrent weights in `blocks` blocks of rows: of each step's sums (from block `from` of dgates) with
// the state before it.
template <class T>
void recurrent_gradient(const Net& net, const T* dgates, const T* states, const T* h0, long from, long blocks, T* to) {
    const long h = net.h, pitch = net.pitch(), n = blocks * h, layer = net.batch * h;
    const bool later = net.steps > 1;
    if (later)
        gemm(Product<T>{n, h, (net.steps - 1) * net.batch, dgates + (net.reverse ? 0 : net.batch * pitch) + from * h, 1,
                        pitch, states + (net.reverse ? layer : 0), h, 1, to, h});
    if (h0)
        gemm(Product<T>{n, h, net.batch, dgates + net.step(0) * net.batch * pitch + from * h, 1, pitch, h0, h, 1, to, h,
                        nullptr, later});
    else if (!later)
        std::fill(to, to + n * h, T(0));
}

template <class T>
Owned backward_of(const Net& net, const Array& gy, const Array& gh, const Array& gc, const Array& x, const Array& wi,
                  const Array& wh, const Array& h0, const Array& c0, const Array& gates, const Array& states,
                  const Array& cells, const Array& mask, const Needs& needs) {
    const long h = net.h, rows = net.steps * net.batch, width = net.sums() * h, pitch = net.pitch(), layer = net.batch * h;
    const bool is_lstm = net.kind == Kind::lstm, is_gru = net.kind == Kind::gru;
    const npy_intp shape[2] = {net.batch, h}, bias_shape[1] = {width};
    const Owned g = packed(gy);
    Owned dstate = flowing(gh, 2, shape, x.dtype()), dcell = is_lstm ? flowing(gc, 2, shape, x.dtype()) : none();
    Owned gx = needs[0] ? make_output(3, x.shape(), x.dtype()) : none();
    Owned gwi = needs[1] ? make_output(2, wi.shape(), x.dtype()) : none();
    Owned gwh = needs[2] ? make_output(2, wh.shape(), x.dtype()) : none();
    Owned gbi = needs[3] ? make_output(1, bias_shape, x.dtype()) : none();
    Owned gbh = needs[4] ? make_output(1, bias_shape, x.dtype()) : none();
    {
        const ReleaseGil gil(2 * net.nanoseconds());
        const Scratch<T> dgates(static_cast<size_t>(rows * pitch)), zeros(static_cast<size_t>(layer));
        std::fill(zeros.data(), zeros.data() + layer, T(0));
        const T *recurrent = wh.data<T>(), *at_states = states.data<T>(), *at_g = pointer<T>(gy, g);
        const T *first_state = h0 ? h0.data<T>() : zeros.data(), *first_cell = c0 ? c0.data<T>() : zeros.data();
        const T *at_cells = cells ? cells.data<T>() : nullptr, *at_mask = mask ? mask.data<T>() : nullptr;
        T *ds = dstate.data<T>(), *dc = is_lstm ? dcell.data<T>() : nullptr;
        Panels<T> weights(is_gru ? 2 * h : width, h), candidate(is_gru ? h : 0, h);  // gru: that of n has sums of its own
        weights.rows(recurrent, h);
        if (is_gru) candidate.rows(recurrent + 2 * h * h, h);
        const auto cell = cell_of<T>(net, true);
        net.each_chunk([&](long first, long count) {
            const long at = first * h;
            for (long s = net.steps - 1; s >= 0; s--) {
                const long t = net.step(s), before = s > 0 ? net.step(s - 1) * layer + at : 0;
                RnnStep<T> step = step_of(net, first, count, t, at_mask);
                step.before = s > 0 ? at_states + before : first_state + at;
                step.gates = const_cast<T*>(gates.data<T>()) + (t * net.batch + first) * pitch;
                step.g = at_g ? at_g + t * layer + at : nullptr;
                step.dstate = ds + at;
                step.dgates = dgates.data() + (t * net.batch + first) * pitch;
                if (is_lstm) {
                    step.cell_before = s > 0 ? at_cells + before : first_cell + at;
                    step.cell = const_cast<T*>(at_cells) + t * layer + at;
                    step.dcell = dc + at;
                }
                cell(step);
                if (s == 0 && !needs[5]) break;
                weights.multiply(count, step.dgates, pitch, step.dstate, h, true);
                if (is_gru) candidate.multiply(count, step.dgates + 3 * h, pitch, step.dstate, h, true);
            }
        });
        const T* d = dgates.data();
        if (needs[0])
            gemm(Product<T>{rows, net.inputs, width, d, pitch, 1, wi.data<T>(), net.inputs, 1, gx.data<T>(), net.inputs});
        if (needs[1])
            gemm(Product<T>{width, net.inputs, rows, d, 1, pitch, x.data<T>(), net.inputs, 1, gwi.data<T>(), net.inputs});
        if (needs[2]) {
            const T* given = h0 ? first_state : nullptr;
            recurrent_gradient(net, d, at_states, given, 0, is_gru ? 2 : net.sums(), gwh.data<T>());
            if (is_gru) recurrent_gradient(net, d, at_states, given, 3, 1, gwh.data<T>() + 2 * h * h);
        }
        if (needs[3] || needs[4]) {
            const Scratch<double> sums(static_cast<size_t>(pitch));
            column_sums(d, pitch, rows, pitch, sums.data());
            if (needs[3]) std::copy(sums.data(), sums.data() + width, gbi.data<T>());
            if (needs[4]) {
                std::copy(sums.data(), sums.data() + width, gbh.data<T>());
                if (is_gru) std::copy(sums.data() + 3 * h, sums.data() + 4 * h, gbh.data<T>() + 2 * h);
            }
        }
    }
    Owned gh0 = needs[5] ? std::move(dstate) : none();
    if (!is_lstm)
        return make_tuple(std::move(gx), std::move(gwi), std::move(gwh), std::move(gbi), std::move(gbh), std::move(gh0), none());
    Owned gc0 = needs[6] ? std::move(dcell) : none();
    return make_tuple(std::move(gx), std::move(gwi), std::move(gwh), std::move(gbi), std::move(gbh), std::move(gh0),
                      std::move(gc0), none());
}

Owned backward(Kind kind, const Array& gy, const Array& gh, const Array& gc, const Array& x, const Array& wi, const Array& wh,
               const Array& h0, const Array& c0, const Array& gates, const Array& states, const Array& cells,
               const Array& mask, const Needs& needs, bool relu, bool reverse) {
    for (const Array& g : {gy, gh, gc})
        if (g && g.dtype() != x.dtype()) throw std::invalid_argument("[rnn_vjp] g must have the dtype of x");
    const Net net = network(kind, x, wh, relu, reverse);
    return x.is(DType::float32)
               ? backward_of<float>(net, gy, gh, gc, x, wi, wh, h0, c0, gates, states, cells, mask, needs)
               : backward_of<double>(net, gy, gh, gc, x, wi, wh, h0, c0, gates, states, cells, mask, needs);
}

}  // namespace

void bind_rnn(nb::module_& m) {
    m.def("rnn", [](Array x, Array wi, Array wh, Array bi, Array bh, Array h0, Array mask, const char* nonlinearity, bool reverse) {
        return forward(Kind::rnn, x, wi, wh, bi, bh, h0, Array(), mask, std::string_view(nonlinearity) == "relu", reverse);
    }, "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a.none(), "bias_hh"_a.none(), "h0"_a.none(), "mask"_a.none(),
       nb::kw_only(), "nonlinearity"_a, "reverse"_a);
    m.def("rnn_vjp", [](Array gy, Array gh, Array x, Array wi, Array wh, Array h0, Array c0, Array gates, Array states,
                        Array cells, Array mask, Needs needs, const char* nonlinearity, bool reverse) {
        return backward(Kind::rnn, gy, gh, Array(), x, wi, wh, h0, c0, gates, states, cells, mask, needs,
                        std::string_view(nonlinearity) == "relu", reverse);
    }, "g_y"_a.none(), "g_h"_a.none(), "x"_a, "weight_ih"_a, "weight_hh"_a, "h0"_a.none(), "c0"_a.none(), "gates"_a,
       "states"_a, "cells"_a.none(), "mask"_a.none(), nb::kw_only(), "needs"_a, "nonlinearity"_a, "reverse"_a);
    m.def("gru", [](Array x, Array wi, Array wh, Array bi, Array bh, Array h0, Array mask, bool reset_after, bool reverse) {
        if (!reset_after) return not_implemented();
        return forward(Kind::gru, x, wi, wh, bi, bh, h0, Array(), mask, false, reverse);
    }, "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a.none(), "bias_hh"_a.none(), "h0"_a.none(), "mask"_a.none(),
       nb::kw_only(), "reset_after"_a, "reverse"_a);
    m.def("gru_vjp", [](Array gy, Array gh, Array x, Array wi, Array wh, Array h0, Array c0, Array gates, Array states,
                        Array cells, Array mask, Needs needs, bool, bool reverse) {
        return backward(Kind::gru, gy, gh, Array(), x, wi, wh, h0, c0, gates, states, cells, mask, needs, false, reverse);
    }, "g_y"_a.none(), "g_h"_a.none(), "x"_a, "weight_ih"_a, "weight_hh"_a, "h0"_a.none(), "c0"_a.none(), "gates"_a,
       "states"_a, "cells"_a.none(), "mask"_a.none(), nb::kw_only(), "needs"_a, "reset_after"_a, "reverse"_a);
    m.def("lstm", [](Array x, Array wi, Array wh, Array bi, Array bh, Array h0, Array c0, Array mask, bool reverse) {
        return forward(Kind::lstm, x, wi, wh, bi, bh, h0, c0, mask, false, reverse);
    }, "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a.none(), "bias_hh"_a.none(), "h0"_a.none(), "c0"_a.none(),
       "mask"_a.none(), nb::kw_only(), "reverse"_a);
    m.def("lstm_vjp", [](Array gy, Array gh, Array gc, Array x, Array wi, Array wh, Array h0, Array c0, Array gates,
                         Array states, Array cells, Array mask, Needs needs, bool reverse) {
        return backward(Kind::lstm, gy, gh, gc, x, wi, wh, h0, c0, gates, states, cells, mask, needs, false, reverse);
    }, "g_y"_a.none(), "g_h"_a.none(), "g_c"_a.none(), "x"_a, "weight_ih"_a, "weight_hh"_a, "h0"_a.none(), "c0"_a.none(),
       "gates"_a, "states"_a, "cells"_a.none(), "mask"_a.none(), nb::kw_only(), "needs"_a, "reverse"_a);
}

}  // namespace chainrule
