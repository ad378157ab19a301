#define CHAINRULE_IMPORTS_NUMPY
#include "core/array.h"

#include <algorithm>

#include "core/copy.h"
#include "core/memory.h"

namespace chainrule {

namespace {

constexpr int type_numbers[] = {NPY_BOOL, NPY_INT8, NPY_INT16, NPY_INT32, NPY_INT64, NPY_UINT8, NPY_FLOAT32, NPY_FLOAT64};
constexpr int dtypes = sizeof type_numbers / sizeof *type_numbers;
PyArray_Descr* descriptors[dtypes];
DType by_number[NPY_NTYPES_LEGACY];

// Our arrays own their memory through a NumPy memory handler (NEP 49): their base is None, NumPy frees them by calling
// us, and no capsule object is made for each.
PyObject* handler_capsule = nullptr;

void* handler_malloc(void*, size_t bytes) {
    try {
        return allocate(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* handler_calloc(void*, size_t count, size_t bytes) {
    void* block = handler_malloc(nullptr, count * bytes);
    if (block) memset(block, 0, count * bytes);
    return block;
}
void* handler_realloc(void*, void* old, size_t bytes) {
    if (old && bytes <= capacity(old)) return old;
    void* block = handler_malloc(nullptr, bytes);
    if (block && old) memcpy(block, old, capacity(old));
    if (block) release(old);
    return block;
}
void handler_free(void*, void* block, size_t) { release(block); }

PyDataMem_Handler handler = {
    "chainrule", 1, {nullptr, handler_malloc, handler_calloc, handler_realloc, handler_free}};

int import_api() {
    import_array1(-1);
    return 0;
}

}  // namespace

void import_numpy() {
    if (import_api() < 0) throw nb::python_error();
    std::fill(by_number, by_number + NPY_NTYPES_LEGACY, DType::other);
    for (int i = 0; i < dtypes; ++i) {
        descriptors[i] = PyArray_DescrFromType(type_numbers[i]);
        by_number[type_numbers[i]] = static_cast<DType>(i);
    }
    // The C types NPY_INT64 does not name (long long beside long) hold the same numbers.
    if (sizeof(long) == sizeof(long long)) by_number[NPY_LONGLONG] = by_number[NPY_LONG] = DType::int64;
    handler_capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
    if (!handler_capsule) throw nb::python_error();
}

long item_size(DType dtype) {
    constexpr long sizes[] = {1, 1, 2, 4, 8, 1, 4, 8, 0};
    return sizes[static_cast<int>(dtype)];
}

DType Array::dtype() const {
    const PyArray_Descr* descriptor = p_->descr;
    const int number = descriptor->type_num;
    if (number < 0 || number >= NPY_NTYPES_LEGACY || !(p_->flags & NPY_ARRAY_ALIGNED)) return DType::other;
    if (descriptor->byteorder != NPY_NATIVE && descriptor->byteorder != NPY_IGNORE &&
        descriptor->byteorder != NPY_NATBYTE)
        return DType::other;
    return by_number[number];
}

bool Array::is_bfloat16() const {
    const PyArray_Descr* descriptor = p_->descr;
    return descriptor->type == 'E' && descriptor->type_num >= NPY_USERDEF && PyDataType_ELSIZE(descriptor) == 2 &&
           PyArray_ISNBO(descriptor->byteorder) && p_->flags & NPY_ARRAY_ALIGNED;
}

bool Array::dense() const {
    if (p_->flags & (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS)) return true;
    // Sorted by stride, each axis must start where the faster ones end.
    int order[max_rank], rank = 0;
    for (int i = 0; i < p_->nd; ++i) {
        if (p_->dimensions[i] == 0) return true;
        if (p_->dimensions[i] > 1) order[rank++] = i;
    }
    std::sort(order, order + rank, [&](int i, int j) { return p_->strides[i] < p_->strides[j]; });
    long expected = PyDataType_ELSIZE(p_->descr);
    for (int k = 0; k < rank; ++k) {
        if (p_->strides[order[k]] != expected) return false;
        expected *= p_->dimensions[order[k]];
    }
    return true;
}

static Owned make_array(int rank, const npy_intp* shape, PyArray_Descr* descriptor, const npy_intp* strides) {
    size_t bytes = PyDataType_ELSIZE(descriptor);
    for (int i = 0; i < rank; ++i) bytes *= shape[i];
    void* data = allocate(bytes);
    Py_INCREF(descriptor);
    PyObject* array = PyArray_NewFromDescr(&PyArray_Type, descriptor, rank, const_cast<npy_intp*>(shape),
                                           const_cast<npy_intp*>(strides), data, NPY_ARRAY_CARRAY, nullptr);
    if (!array) {
        release(data);
        throw nb::python_error();
    }
    auto* fields = reinterpret_cast<PyArrayObject_fields*>(array);
    fields->flags |= NPY_ARRAY_OWNDATA;
    fields->mem_handler = handler_capsule;
    Py_INCREF(handler_capsule);
    return Owned(array);
}

Owned make_output(int rank, const npy_intp* shape, DType dtype, const npy_intp* strides) {
    return make_array(rank, shape, descriptors[static_cast<int>(dtype)], strides);
}

Owned make_output(int rank, const npy_intp* shape, const Array& of) {
    return make_array(rank, shape, reinterpret_cast<PyArrayObject_fields*>(of.object())->descr, nullptr);
}

Owned make_like(const Array& x, DType dtype) {
    if (x.contiguous() || !x.dense()) return make_output(x.rank(), x.shape(), dtype);
    npy_intp strides[max_rank];
    const long from = PyDataType_ELSIZE(reinterpret_cast<PyArrayObject_fields*>(x.object())->descr);
    for (int i = 0; i < x.rank(); ++i) strides[i] = x.stride(i) / from * item_size(dtype);
    return make_output(x.rank(), x.shape(), dtype, strides);
}

Owned reference(const Array& x) {
    if (!x) return none();
    Py_INCREF(x.object());
    return Owned(x.object());
}

Owned contiguous(const Array& x) {
    if (x.contiguous()) return reference(x);
    Owned y = make_output(x.rank(), x.shape(), x);
    const Array to = y;
    const ReleaseGil gil(x.size() * 0.5);
    copy_elements(x.rank(), x.shape(), to.data<char>(), to.strides(), x.data<char>(), x.strides(),
                  PyDataType_ELSIZE(reinterpret_cast<PyArrayObject_fields*>(x.object())->descr));
    return y;
}

Owned none() {
    Py_INCREF(Py_None);
    return Owned(Py_None);
}

Owned not_implemented() {
    Py_INCREF(Py_NotImplemented);
    return Owned(Py_NotImplemented);
}

}  // namespace chainrule
