// A program is a list of calls. Each names a function, the places of its arguments in a list of values, and the places
// that its results go to; after it, the values that nobody needs any more are dropped, so their memory goes back to the
// pool and to the next result, still warm in the cache.
//
// Bound by: about 0.1 us a call beside the kernel itself (a vectorcall, and the array that holds the result); the same
// call costs 1.5 to 4 us through the op and the tape.
#include "core/program.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/array.h"
#include "core/chain.h"

namespace chainrule {

namespace {

// Where results go: -1 nowhere, a place, or a tuple of such.
struct Target {
    int place = -1;
    std::vector<Target> parts;
    bool is_tuple = false;
};

struct Call {
    Owned function, names;  // names: a tuple of the last arguments' names, or null
    std::vector<int> arguments, dropped;
    std::vector<int> last;  // which arguments are dropped after it
    Target target;
};

Owned borrowed(nb::handle h) {
    Py_INCREF(h.ptr());
    return Owned(h.ptr());
}

Target target_of(nb::handle h) {
    Target target;
    if (!nb::isinstance<nb::tuple>(h)) {
        target.place = nb::cast<int>(h);
        return target;
    }
    target.is_tuple = true;
    for (nb::handle part : nb::borrow<nb::tuple>(h)) target.parts.push_back(target_of(part));
    return target;
}

PyObject* object_of(const Owned& owned) { return static_cast<Array>(owned).object(); }

class Program {
  public:
    /// calls: (function, places of arguments, names of the last of them, target, places to drop after it).
    /// declined(index, arguments): what a call gives whose function returned NotImplemented.
    Program(nb::typed<nb::list, nb::any> calls, nb::object declined) : declined_(borrowed(declined)) {
        for (nb::handle h : calls) {
            nb::tuple row = nb::borrow<nb::tuple>(h);
            nb::object names = row[2];
            Call call;
            call.function = borrowed(row[0]);
            if (nb::len(names)) call.names = borrowed(names);
            for (nb::handle place : nb::borrow<nb::list>(row[1])) call.arguments.push_back(nb::cast<int>(place));
            for (nb::handle place : nb::borrow<nb::list>(row[4])) call.dropped.push_back(nb::cast<int>(place));
            call.target = target_of(row[3]);
            for (size_t k = 0; k < std::min<size_t>(call.arguments.size(), 64); ++k)
                if (std::count(call.dropped.begin(), call.dropped.end(), call.arguments[k]) == 1 &&
                    std::count(call.arguments.begin(), call.arguments.end(), call.arguments[k]) == 1)
                    call.last.push_back(static_cast<int>(k));
            longest_ = std::max(longest_, call.arguments.size());
            calls_.push_back(std::move(call));
        }
    }

    /// Runs the calls on a list of values, which has a place for each.
    void run(nb::typed<nb::list, nb::any> values) const {
        // one before the arguments, where vectorcall may write
        std::unique_ptr<PyObject*[]> stack(new PyObject*[longest_ + 1]);
        PyObject** arguments = stack.get() + 1;
        PyObject** places = reinterpret_cast<PyListObject*>(values.ptr())->ob_item;
        for (size_t i = 0; i < calls_.size(); ++i) {
            const Call& call = calls_[i];
            const size_t count = call.arguments.size();
            for (size_t k = 0; k < count; ++k) arguments[k] = places[call.arguments[k]];
            PyObject* names = call.names ? object_of(call.names) : nullptr;
            spare_arguments = 0;
            for (int k : call.last) spare_arguments |= static_cast<uint64_t>(Py_REFCNT(arguments[k]) == 1) << k;
            const size_t positional = count - (names ? PyTuple_GET_SIZE(names) : 0);
            Owned result(PyObject_Vectorcall(object_of(call.function), arguments,
                                             positional | PY_VECTORCALL_ARGUMENTS_OFFSET, names));
            spare_arguments = 0;
            if (object_of(result) == Py_NotImplemented) result = declined(i, arguments, count);
            if (!result) throw failed(i);
            store(std::move(result), call.target, places);
            for (int place : call.dropped) set(places, place, Py_None);
            if (PyErr_CheckSignals() < 0) throw nb::python_error();
        }
    }

    size_t size() const { return calls_.size(); }

  private:
    Owned declined(size_t i, PyObject* const* arguments, size_t count) const {
        Owned list(PyList_New(static_cast<Py_ssize_t>(count)));
        if (!list) throw nb::python_error();
        for (size_t k = 0; k < count; ++k) {
            Py_INCREF(arguments[k]);
            PyList_SET_ITEM(object_of(list), static_cast<Py_ssize_t>(k), arguments[k]);
        }
        return Owned(PyObject_CallFunction(object_of(declined_), "nO", static_cast<Py_ssize_t>(i), object_of(list)));
    }

    // The error of a call, which remembers as an attribute which one it was.
    static nb::python_error failed(size_t i) {
        nb::python_error error;
        nb::setattr(error.value(), "call", nb::int_(i));
        return error;
    }

    static void set(PyObject** places, int place, PyObject* value) {
        Py_INCREF(value);
        PyObject* before = places[place];
        places[place] = value;
        Py_DECREF(before);
    }

    static void store(Owned value, const Target& target, PyObject** places) {
        PyObject* object = object_of(value);
        if (target.is_tuple) {
            const size_t count = target.parts.size();
            if (!PyTuple_Check(object) || static_cast<size_t>(PyTuple_GET_SIZE(object)) != count)
                throw std::runtime_error("a kernel gave another number of results than when it was recorded");
            for (size_t k = 0; k < count; ++k) {
                PyObject* part = PyTuple_GET_ITEM(object, static_cast<Py_ssize_t>(k));
                Py_INCREF(part);
                store(Owned(part), target.parts[k], places);
            }
        } else if (target.place >= 0) {
            if (!PyArray_Check(object)) {  // NumPy gives a scalar where no axis is left
                value = Owned(PyArray_FROM_O(object));
                if (!value) throw nb::python_error();
                object = object_of(value);
            }
            set(places, target.place, object);
        }
    }

    Owned declined_;
    std::vector<Call> calls_;
    size_t longest_ = 0;
};

}  // namespace

void bind_program(nb::module_& m) {
    using namespace nb::literals;
    nb::class_<Program>(m, "_Program", "Kernel calls in a row, run without Python between them.")
        .def(nb::init<nb::typed<nb::list, nb::any>, nb::object>(), "calls"_a, "declined"_a)
        .def("run", &Program::run, "values"_a)
        .def("__len__", &Program::size);
}

}  // namespace chainrule
