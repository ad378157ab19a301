"""Memory of a GPU between libraries: here between our own tensors, in tools/gpu_check with PyTorch, too."""

import gc
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cuda import exchange
from chainrule.domain.errors import DeviceError, DTypeError, RecordingError

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


class Theirs:
    """An array of a library that speaks DLPack: it hands over what a tensor would, and notes what it was asked for."""

    def __init__(self, tensor, **options):
        self.tensor, self.options, self.asked = tensor, options, []

    def __dlpack__(self, **asked):
        self.asked.append(asked)
        if self.options.get("old") and "max_version" in asked:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        capsule = self.tensor.__dlpack__(**asked)
        if "changed" in self.options:
            name = exchange.name_of(capsule)
            form = exchange.FORMS[name].from_address(exchange.pointer_of(capsule, name))
            self.options["changed"](form)
        return capsule

    def __dlpack_device__(self):
        return self.options.get("device") or self.tensor.__dlpack_device__()


def nothing_is_held():
    gc.collect()
    return not exchange.HELD


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_memory_is_the_same(dtype, old):
    x = cr.tensor([[0, 1, 1], [1, 0, 1]], device="cuda").to(dtype)
    y = cr.from_dlpack(Theirs(x, old=old))
    assert y.dtype == dtype and y.device == "cuda:0" and y.array.pointer == x.array.pointer
    one = True if dtype == "bool" else 1
    y[0, 0] = one
    x[1, 1] = one
    assert x.tolist() == y.tolist() == [[1, 1, 1], [1, 1, 1]]
    turned = cr.from_dlpack(x.T)
    assert turned.shape == (3, 2) and turned.array.strides == x.T.array.strides
    del y, turned
    assert nothing_is_held()


def test_views_and_odd_shapes():
    x = cr.arange(24, device="cuda").reshape(2, 3, 4)
    for view in (x[1], x[:, 1:, ::2], x[0, 0, 3], x[:, :0], x[1, 2, 3]):
        y = cr.from_dlpack(view)
        assert y.shape == view.shape and y.tolist() == view.tolist()
    with pytest.raises(BufferError, match="no negative strides"):
        cr.from_dlpack(x[::-1])
    del y
    assert nothing_is_held()


def test_a_copy_and_another_device():
    x = cr.tensor([1.0, 2.0], device="cuda")
    y = cr.from_dlpack(x, copy=True)
    y[0] = 5
    assert x.tolist() == [1, 2]
    on_host = cr.from_dlpack(x, device="cpu")
    assert on_host.device == "cpu" and on_host.tolist() == [1, 2]
    assert np.from_dlpack(Theirs(cr.tensor([3.0]))).tolist() == [3]
    assert np.from_dlpack(x, device="cpu").tolist() == [1, 2]
    z = cr.from_dlpack(Theirs(x, changed=lambda form: setattr(form, "flags", exchange.READ_ONLY)))
    z[0] = 7
    assert x.tolist() == [1, 2] and z.tolist() == [7, 2]


def test_memory_lives_as_long_as_anybody_looks_at_it():
    found = [cr.from_dlpack(cr.full((1000,), i, device="cuda")) for i in range(20)]
    parts = [y[10:20] for y in found]
    del found
    gc.collect()
    assert [p.tolist() for p in parts] == [[i] * 10 for i in range(20)]
    before = cr.cuda.memory_stats()["in_use"]
    del parts
    assert nothing_is_held() and before - cr.cuda.memory_stats()["in_use"] == 20 * 8192


def test_a_capsule_that_nobody_takes():
    x = cr.ones(1000, device="cuda")
    capsules = [x.__dlpack__(), x.__dlpack__(max_version=(1, 1)), x.__dlpack__(max_version=(0, 8))]
    assert [exchange.name_of(c) for c in capsules] == [b"dltensor", b"dltensor_versioned", b"dltensor"]
    assert len(exchange.HELD) == 3
    del capsules
    assert nothing_is_held()


def test_streams_wait_for_each_other(gpu):
    """What another stream made is used without a word: the one who gives it makes the other wait."""
    side = cr.cuda.Stream()
    with cr.cuda.stream(side):
        x = cr.full((8,), 3.0, device="cuda")
        theirs = Theirs(x)
    y = cr.from_dlpack(x_of(theirs, side))
    assert (y * 2).tolist() == [6.0] * 8
    assert theirs.asked[0]["stream"] == gpu.driver.address_of(gpu.stream)


def x_of(theirs, side):
    """The same, but what is handed over is asked of the stream on which it was made."""

    class There(Theirs):
        def __dlpack__(self, **asked):
            with cr.cuda.stream(side):
                return theirs.__dlpack__(**asked)

    return There(theirs.tensor)


@pytest.mark.parametrize("stream", [None, -1, 1, 2])
def test_default_streams(stream):
    assert exchange.name_of(cr.ones(2, device="cuda").__dlpack__(stream=stream)) == b"dltensor"
    assert nothing_is_held()


@pytest.mark.parametrize("stream", [0, -2, "1", True])
def test_what_is_no_stream(stream):
    with pytest.raises(BufferError, match="is none: give -1"):
        cr.ones(2, device="cuda").__dlpack__(stream=stream)


def complex_elements(form):
    form.tensor.code, form.tensor.bits = 5, 64


@pytest.mark.parametrize(
    "given, error, message",
    [
        (lambda x: Theirs(x, device=(2, 9)), DeviceError, "of GPUs there is"),
        (lambda x: Theirs(x, device=(10, 0)), DeviceError, r"on the device \(10, 0\)"),
        (lambda x: Theirs(x, changed=complex_elements), DTypeError, "kind 5 of DLPack"),
        (lambda x: Theirs(x, changed=lambda form: setattr(form, "major", 2)), BufferError, r"of DLPack 2.0; expected 1"),
    ],
)  # fmt: skip
def test_errors(given, error, message):
    with pytest.raises(error, match=message):
        cr.from_dlpack(given(cr.ones(2, device="cuda")))
    assert nothing_is_held()


def test_a_tensor_on_another_device_is_not_handed_over():
    with pytest.raises(BufferError, match=r"cannot be handed over on \(2, 7\)"):
        cr.ones(2, device="cuda").__dlpack__(dl_device=(2, 7))
    assert cr.ones(2).__dlpack_device__() == (1, 0)


class Interface:
    """An array of a library with ``__cuda_array_interface__``."""

    def __init__(self, tensor, **more):
        self.tensor = tensor
        self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, **more}


def test_the_cuda_array_interface(gpu):
    x = cr.arange(12, device="cuda", dtype="float32").reshape(3, 4)
    told = x.T.__cuda_array_interface__
    assert told == {
        "shape": (4, 3), "typestr": "<f4", "data": (x.array.pointer, False), "strides": (4, 16), "version": 3,
        "stream": gpu.driver.address_of(gpu.stream),
    }  # fmt: skip
    for given in (x, x.T, x[:, ::2], x[::-1]):
        y = cr.as_tensor(Interface(given))
        assert y.tolist() == given.tolist() and y.array.pointer == given.array.pointer
    y[0, 0] = 50
    assert x[2, 0].item() == 50
    z = cr.as_tensor(Interface(x, data=(x.array.pointer, True), stream=None))
    z[0, 0] = 60
    assert x[0, 0].item() == 0 and z[0, 0].item() == 60
    assert cr.as_tensor(Interface(x, shape=(0,), data=(0, False), strides=None)).shape == (0,)
    held = cr.as_tensor(Interface(cr.full((300,), 4, device="cuda")))
    gc.collect()
    cr.zeros(300, device="cuda")
    assert held.tolist() == [4] * 300
    assert not hasattr(cr.ones(1), "__cuda_array_interface__")
    with pytest.raises(DTypeError, match="complex64"):
        cr.as_tensor(Interface(x, typestr="<c8"))
    with pytest.raises(DTypeError, match="mask"):
        cr.as_tensor(Interface(x, mask=x))


def test_not_while_a_step_is_recorded():
    @cr.jit
    def step(x):
        x.__dlpack__()
        return x * 2

    step(cr.ones(2, device="cuda"))  # as it is
    with pytest.raises(RecordingError, match="reads a value"):
        step(cr.ones(2, device="cuda"))


def test_at_the_end_of_a_process():
    program = (
        "import chainrule as cr\nx = cr.ones(4, device='cuda')\nkept = [cr.from_dlpack(x), x.__dlpack__()]\n"
        "print(kept[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[1.0, 1.0, 1.0, 1.0]\n", "")
