// A chain does several elementwise calls piece by piece: a piece of 512 elements goes through all of them in the
// first-level cache, and only what somebody needs later is written to memory. The kernels are those that the calls
// themselves run (core/map.h), so no bit of the results is another.
//
// Bound by: the bytes of what goes in and of what is needed afterwards. y = gelu(a * b + c) on 3 MB reads 9 MB and
// writes 3; call by call it reads 15 and writes 9.
#include "core/chain.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/map_watch.h"
#include "core/memory.h"
#include "core/threads.h"

namespace chainrule {

thread_local uint64_t spare_arguments = 0;

namespace {

constexpr long piece = 512;
constexpr int near = 8;   // buffers on the stack; more are taken from the pool
constexpr int most = 64;  // steps
constexpr int value_bytes = 16;  // of the numbers that a kernel takes: at most two of float64

// An operand: an array of the chain, the result of a call before, or numbers.
struct Source {
    enum Kind : uint8_t { none, input, result, value } kind = none;
    int index = 0;
    alignas(16) unsigned char bytes[value_bytes] = {};
};

struct Step {
    MapKernel kernel;
    Source sources[3];
    DType dtype;  // of the result
    int output;   // which output of the chain the result is, -1 if it is only passed on
    int buffer;   // which piece of scratch memory it has then
};

// What the call that is probed asked for. Numbers lie on its stack, so they are copied while it runs.
struct Heard {
    int count = 0;
    size_t bytes = 0;  // of the numbers of an operand
    MapRequest request;
    unsigned char numbers[3][value_bytes];
};
thread_local Heard heard;

void hear(const MapRequest& request) {
    ++heard.count;
    heard.request = request;
    for (int k = 0; k < request.count; ++k)
        if (!request.is_array[k]) std::memcpy(heard.numbers[k], request.operands[k], heard.bytes);
}

struct Watch {
    explicit Watch(size_t bytes) { heard = Heard(), heard.bytes = bytes, map_watcher = &hear; }
    ~Watch() { map_watcher = nullptr; }
};

/// Runs function(*arguments, **parameters) and says how: (kernel, dtype, cost, operands), where an operand is the number
/// of an argument or the bytes of numbers; None unless it was one map. `numbers` is how many the kernel takes in one operand.
nb::typed<nb::object, nb::any> probe(nb::object function, nb::typed<nb::tuple, nb::any, nb::ellipsis> arguments,
                                       nb::typed<nb::dict, nb::str, nb::any> parameters, int numbers) {
    nb::object result;
    {
        const Watch watch(numbers == 2 ? 16 : 8);
        result = function(*arguments, **parameters);
    }
    if (heard.count != 1) return nb::none();
    nb::list operands;
    const MapRequest& request = heard.request;
    for (int k = 0; k < request.count; ++k) {
        if (!request.is_array[k]) {
            operands.append(nb::bytes(reinterpret_cast<const char*>(heard.numbers[k]), value_bytes));
            continue;
        }
        int number = -1, i = 0;
        for (nb::handle argument : arguments) {
            if (PyArray_Check(argument.ptr()) && Array(argument.ptr()).raw() == request.operands[k]) number = i;
            ++i;
        }
        if (number < 0) return nb::none();
        operands.append(number);
    }
    return nb::make_tuple(reinterpret_cast<uintptr_t>(request.kernel), static_cast<int>(request.result), request.cost,
                          operands);
}

class Chain {
  public:
    /// steps: (kernel, dtype, cost, operands, output), an operand ("input" or "result", number) or the bytes of numbers.
    explicit Chain(nb::typed<nb::list, nb::any> steps) {
        for (nb::handle h : steps) {
            nb::tuple row = nb::borrow<nb::tuple>(h);
            Step step;
            step.kernel = reinterpret_cast<MapKernel>(nb::cast<uintptr_t>(row[0]));
            step.dtype = static_cast<DType>(nb::cast<int>(row[1]));
            cost_ += nb::cast<double>(row[2]);
            int k = 0;
            for (nb::handle operand : nb::borrow<nb::list>(row[3])) {
                Source& source = step.sources[k++];
                if (nb::isinstance<nb::bytes>(operand)) {
                    source.kind = Source::value;
                    nb::bytes bytes = nb::borrow<nb::bytes>(operand);
                    std::memcpy(source.bytes, bytes.c_str(), std::min<size_t>(bytes.size(), value_bytes));
                } else {
                    nb::tuple pair = nb::borrow<nb::tuple>(operand);
                    source.kind = nb::cast<int>(pair[0]) ? Source::result : Source::input;
                    source.index = nb::cast<int>(pair[1]);
                }
            }
            step.output = nb::cast<int>(row[4]);
            outputs_ = std::max(outputs_, step.output + 1);
            steps_.push_back(step);
        }
        if (steps_.size() > most) throw nb::value_error("a chain has at most 64 steps");
        into_.assign(outputs_, -1);
        share_buffers();
    }

    /// into: for each output the input that it may be written to, which nobody needs any more when it is, or -1.
    void writes_over(nb::typed<nb::list, int> into) {
        if (nb::len(into) != into_.size()) throw nb::value_error("into has a number for each output");
        for (size_t i = 0; i < into_.size(); ++i) into_[i] = nb::cast<int>(into[i]);
    }

    Owned call(nb::args arguments) const {
        const uint64_t spare = std::exchange(spare_arguments, 0);
        std::vector<const char*> inputs;
        std::vector<long> items;  // 0 for a single value
        const Array* first = nullptr;
        std::vector<Array> arrays;
        for (nb::handle h : arguments) {
            if (!PyArray_Check(h.ptr())) throw nb::type_error("a chain takes arrays");
            arrays.emplace_back(h.ptr());
        }
        for (const Array& x : arrays) {
            if (x.size() != 1 && !first) first = &x;
            if (x.size() != 1 && x.size() != first->size()) throw nb::value_error("a chain takes arrays of one size");
            inputs.push_back(static_cast<const char*>(x.raw()));
            items.push_back(x.size() == 1 ? 0 : item_size(x.dtype()));
        }
        if (!first) throw nb::value_error("a chain takes an array of several elements");
        const long n = first->size();
        std::vector<Owned> outputs(outputs_);
        std::vector<char*> to(steps_.size(), nullptr);
        for (size_t i = 0; i < steps_.size(); ++i) {
            if (steps_[i].output < 0) continue;
            Owned& y = outputs[steps_[i].output];
            const int from = into_[steps_[i].output];
            const bool own = from >= 0 && from < std::min<int>(static_cast<int>(arrays.size()), 64) &&
                             (spare >> from & 1) && fits(arrays[from], *first, steps_[i].dtype);
            y = own ? reference(arrays[from]) : make_like(*first, steps_[i].dtype);
            to[i] = static_cast<char*>(y.raw());
        }
        {
            ReleaseGil gil(n * cost_);
            const long grain = std::max(piece, static_cast<long>(16000 / cost_) / piece * piece);
            if (n * cost_ < 16000) run(0, n, inputs.data(), items.data(), to.data());
            else
                parallel_range(n, grain, [&](long begin, long end) {
                    run(begin, end, inputs.data(), items.data(), to.data());
                });
        }
        if (outputs_ == 1) return std::move(outputs[0]);
        Owned tuple(PyTuple_New(outputs_));
        if (!tuple) throw nb::python_error();
        for (int i = 0; i < outputs_; ++i) PyTuple_SET_ITEM(static_cast<Array>(tuple).object(), i, outputs[i].release());
        return tuple;
    }

  private:
    // Whether x is as make_like(like, dtype) would be.
    static bool fits(const Array& x, const Array& like, DType dtype) {
        const auto* fields = reinterpret_cast<PyArrayObject_fields*>(x.object());
        return !fields->base && !fields->weakreflist && x.writable() && (fields->flags & NPY_ARRAY_OWNDATA) &&
               x.dtype() == dtype && like.dtype() == dtype && x.rank() == like.rank() &&
               std::equal(x.shape(), x.shape() + x.rank(), like.shape()) &&
               std::equal(x.strides(), x.strides() + x.rank(), like.strides());
    }

    // A buffer is free again after the last step that reads it: few of them stay in the first-level cache.
    void share_buffers() {
        std::vector<size_t> last(steps_.size(), 0);
        for (size_t i = 0; i < steps_.size(); ++i)
            for (const Source& source : steps_[i].sources)
                if (source.kind == Source::result) last[source.index] = i;
        std::vector<int> free;
        for (size_t i = 0; i < steps_.size(); ++i) {
            steps_[i].buffer = -1;
            if (steps_[i].output < 0) {
                if (free.empty()) free.push_back(buffers_++);
                steps_[i].buffer = free.back();
                free.pop_back();
            }
            for (size_t j = 0; j < i; ++j)
                if (last[j] == i && steps_[j].buffer >= 0) free.push_back(steps_[j].buffer);
        }
    }

    void run(long begin, long end, const char* const* inputs, const long* items, char* const* to) const {
        alignas(64) char few[near * piece * 8];
        std::unique_ptr<Scratch<char>> many;
        if (buffers_ > near) many = std::make_unique<Scratch<char>>(buffers_ * piece * 8);
        char* const scratch = many ? many->data() : few;
        const void* made[most];
        for (long at = begin; at < end; at += piece) {
            const long n = std::min(piece, end - at);
            for (size_t i = 0; i < steps_.size(); ++i) {
                const Step& step = steps_[i];
                char* y = to[i] ? to[i] + at * item_size(step.dtype) : scratch + step.buffer * piece * 8;
                made[i] = y;
                const void* p[3] = {};
                unsigned single = 0;
                for (int k = 0; k < 3; ++k) {
                    const Source& source = step.sources[k];
                    if (source.kind == Source::result) p[k] = made[source.index];
                    else if (source.kind == Source::input) {
                        p[k] = inputs[source.index] + at * items[source.index];
                        if (!items[source.index]) single |= 1u << k;
                    } else if (source.kind == Source::value) {
                        p[k] = source.bytes;
                        single |= 1u << k;
                    }
                }
                step.kernel(y, p[0], p[1], p[2], single, n);
            }
        }
    }

    std::vector<Step> steps_;
    std::vector<int> into_;
    double cost_ = 0;
    int outputs_ = 0, buffers_ = 0;
};

}  // namespace

void bind_chain(nb::module_& m) {
    using namespace nb::literals;
    m.def("_probe", &probe, "function"_a, "arguments"_a, "parameters"_a, "numbers"_a);
    nb::class_<Chain>(m, "_Chain", "Elementwise calls in a row, done piece by piece.")
        .def(nb::init<nb::typed<nb::list, nb::any>>(), "steps"_a)
        .def("writes_over", &Chain::writes_over, "into"_a)
        .def("__call__", &Chain::call);
}

}  // namespace chainrule
