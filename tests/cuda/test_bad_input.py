"""What goes wrong on a GPU: it is told by name, and what was there before stays."""

import gc
import os
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim, train
from chainrule.backends.cuda.memory import OutOfMemoryError
from chainrule.domain.errors import AnomalyError, DataError, DeviceError, IndexRangeError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 6)).astype(np.float32), np.arange(12) % 3


def mlp(device="cuda", hidden=5):
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 3)).to(device)


def everything(model, optimizer):
    """The values of a model and of what its optimizer remembers."""
    saved = {**model.state_dict()}
    for name, values in optimizer.state_dict()["state"].items():
        saved |= {f"{name} {key}": value for key, value in values.items()}
    return {k: v.numpy() for k, v in saved.items()}


# ---- memory


def test_a_batch_that_is_too_large_changes_nothing(gpu):
    """Neither weights nor what the optimizer knows; the next batch fits."""
    cr.cuda.empty_cache()
    model = mlp(hidden=64)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    model.compile("cross_entropy", optimizer)
    model.fit(X, Y, verbose=0)
    before = everything(model, optimizer)
    gpu.pool.limit = gpu.pool.reserved + (8 << 20)
    try:
        with pytest.raises(
            OutOfMemoryError, match=r"cuda:0 has no .* more: tensors use .*make the batch smaller"
        ) as told:
            model.fit(np.repeat(X, 4000, 0), np.repeat(Y, 4000), batch_size=48000, verbose=0)
    finally:
        gpu.pool.limit = None
    assert "parameters and optimizer are as before this batch" in told.value.__notes__[0]
    after = everything(model, optimizer)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert np.isfinite(model.fit(X, Y, verbose=0)["loss"][-1])


def test_an_optimizer_without_memory_says_so(gpu):
    cr.cuda.empty_cache()
    model = nn.Sequential(nn.Linear(6, 1 << 16), nn.Linear(1 << 16, 3)).to("cuda")
    model.compile("cross_entropy", optim.Adam(model.parameters()))
    model(cr.tensor(X[:1], device="cuda")).sum().backward()
    gpu.pool.limit = gpu.pool.reserved + (2 << 20)
    model.zero_grad()
    try:
        with pytest.raises(OutOfMemoryError) as told:
            model.fit(X[:1], Y[:1], verbose=0)
    finally:
        gpu.pool.limit = None
    assert told.value.__notes__ == [train.compiled.HALF_DONE]
    model.fit(X[:4], Y[:4], verbose=0)


def test_memory_of_a_step_that_failed_is_free_again(gpu):
    model = mlp()
    model(cr.zeros(1, 6, device="cuda"))
    gc.collect()
    cr.cuda.empty_cache()
    used = gpu.pool.in_use
    gpu.pool.limit = gpu.pool.reserved + (4 << 20)
    try:
        with pytest.raises(OutOfMemoryError):
            model(cr.zeros(100_000, 6, device="cuda"))
        gc.collect()
        assert gpu.pool.in_use == used
    finally:
        gpu.pool.limit = None


# ---- where things are


def test_mixed_devices_are_named():
    model, x, y = mlp(), cr.tensor(X), cr.tensor(Y)
    with pytest.raises(DeviceError, match=r"\[linear\] .* is on cpu .* is on cuda:0 .*Move one with x.to\(device\)"):
        model(x)
    scores = model(x.to("cuda"))
    with pytest.raises(DeviceError, match=r"\[cross_entropy\] .*cuda:0.*cpu"):
        losses.CrossEntropy()(scores, y)
    with pytest.raises(DeviceError, match=r"\[mse\] .*cuda:0.*cpu"):
        cr.mse(scores, cr.zeros(12, 3))
    with pytest.raises(DeviceError, match=r"cuda:0.*cuda:1"):
        cr.ones(2, device="cuda:0") + cr.ones(2, device="cuda:1")
    with pytest.raises(DeviceError, match=r"cuda:0.*cpu"):
        cr.concat([cr.ones(2, device="cuda"), cr.ones(2)])


def test_a_gradient_on_another_device_is_refused():
    parameter = nn.Parameter([1.0, 2.0])
    optimizer = optim.Adam([parameter])
    with pytest.raises(DeviceError, match="cuda:0"):
        parameter.grad = cr.ones(2, device="cuda")
        optimizer.step()


def test_a_device_that_is_not_there():
    with pytest.raises(DeviceError, match=r"cuda:7 was asked for, but of GPUs there is cuda:0"):
        nn.Linear(2, 1).to("cuda:7")
    with pytest.raises(DeviceError, match="cuda:7"):
        cr.data.DataLoader(cr.data.ArrayDataset(X), device="cuda:7")


@pytest.mark.parametrize("given", ["numpy", "cpu", "cuda"])
def test_fit_takes_data_from_anywhere(given):
    as_given = {"numpy": lambda a: a, "cpu": cr.tensor, "cuda": lambda a: cr.tensor(a, device="cuda")}[given]
    model = mlp().compile("cross_entropy", "sgd")
    history = model.fit(as_given(X), as_given(Y), verbose=0, validation_data=(as_given(X), as_given(Y)))
    assert np.isfinite(history["val_loss"][0])
    batches = [(as_given(X[i : i + 4]), as_given(Y[i : i + 4])) for i in (0, 4, 8)]
    model.fit((batch for batch in batches), verbose=0)
    assert model.predict(as_given(X)).device == "cuda:0"


# ---- values


def test_labels_out_of_range():
    model = mlp().compile("cross_entropy", "sgd")
    before = {k: v.numpy() for k, v in model.state_dict().items()}
    with pytest.raises(IndexRangeError, match="y is 3 at row 2, but the model has 3 classes"):
        model.fit(X, Y + 1, verbose=0)
    for name, value in before.items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), value)
    cr.cross_entropy(cr.zeros(2, 3, device="cuda"), cr.tensor([0, 5], device="cuda"))
    with pytest.raises(IndexRangeError, match="5"):
        cr.cuda.synchronize()
    cr.cuda.synchronize()  # told once
    nn.Embedding(4, 2).to("cuda")(cr.tensor([1, 4], device="cuda"))
    with pytest.raises(IndexRangeError, match="4"):
        cr.cuda.synchronize()


def test_no_data_and_no_elements():
    model = mlp().compile("cross_entropy", "sgd")
    with pytest.raises(DataError):
        model.fit(X[:0], Y[:0], verbose=0)
    for make in (lambda x: x + 1, lambda x: x.exp().sum(axis=0), lambda x: x.T @ x, lambda x: x.softmax(axis=1)):
        expected, found = make(cr.zeros(0, 3)), make(cr.zeros(0, 3, device="cuda"))
        assert found.shape == expected.shape and found.tolist() == expected.tolist()
    assert model(cr.zeros(0, 6, device="cuda")).shape == (0, 3)


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (4, 6)),
    "conv": (lambda: nn.Conv2d(3, 2, 3), (2, 3, 5, 6)),
    "norm": (lambda: nn.LayerNorm(6), (4, 6)),
    "batch norm": (lambda: nn.BatchNorm2d(3), (2, 3, 5, 6)),
    "pool": (lambda: nn.MaxPool2d(2), (2, 3, 4, 6)),
    "softmax": (lambda: nn.Softmax(), (4, 6)),
    "lstm": (lambda: nn.LSTM(6, 3), (2, 4, 6)),
    "attention": (lambda: nn.MultiHeadAttention(6, 2), (2, 4, 6)),
}


@pytest.mark.parametrize("way", ["transposed", "reversed", "every other", "spread"])
@pytest.mark.parametrize("name", LAYERS)
def test_inputs_that_are_not_dense(name, way):
    make, shape = LAYERS[name]
    cr.manual_seed(0)
    layer = make().eval()
    whole = RNG.standard_normal(shape[::-1] if way == "transposed" else shape[:-1] + (2 * shape[-1],)).astype(
        np.float32
    )

    def look(x):
        if way == "transposed":
            return x.permute(tuple(reversed(range(x.ndim))))
        if way == "spread":
            return x[:1, ..., : shape[-1]].expand(shape)
        return x[..., ::2] if way == "every other" else x[..., : shape[-1]].flip(0)

    found = []
    for device in ("cpu", "cuda"):
        layer.to(device)
        x = cr.tensor(whole, device=device, requires_grad=True)
        y = layer(look(x))
        y = y[0] if isinstance(y, tuple) else y
        (y * y).sum().backward()
        found.append((y.numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, 1e-4, 1e-5)


def test_strides_beyond_2_to_the_31():
    """Numbers of elements that no 32 bits hold, without the memory for them."""
    x = cr.arange(6, dtype="float32", device="cuda").reshape(2, 3)
    wide = x[:, None, :].expand(2, 1 << 31, 3)
    assert wide.size == 6 << 31
    assert wide[1, (1 << 31) - 2, 2].item() == 5.0
    assert wide[:, :: 1 << 29].sum(axis=1).tolist() == [[0.0, 4.0, 8.0], [12.0, 16.0, 20.0]]
    with pytest.raises(OutOfMemoryError, match="49152.0 MiB more"):
        wide + 1.0


def test_nan_goes_where_it_goes_on_the_cpu():
    x = X.copy()
    x[3, 2], x[5, 1], x[6, 0] = np.nan, np.inf, -np.inf
    found = []
    for device in ("cpu", "cuda"):
        model = mlp(device).eval()
        y = cr.tensor(x, device=device, requires_grad=True)
        loss = cr.cross_entropy(model(y), cr.tensor(Y, device=device), reduction="none")
        loss.sum().backward()
        found.append([np.isnan(a.numpy()) for a in (loss, y.grad, *(p.grad for p in model.parameters()))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- looking inside


def test_anomalies_are_found_there():
    told = []
    for device in ("cpu", "cuda"):
        model = mlp(device).compile("cross_entropy", "sgd")
        model[0].weight.load(np.full((5, 6), 1e38))
        with pytest.raises(AnomalyError, match=r"epoch 1, batch 1: .*\[linear\]") as error:
            model.fit(X * 10, Y, debug="nan", shuffle=False, verbose=0)
        told.append(str(error.value).split(" at ")[-1])
    assert told[0] == told[1]


def test_a_profile_of_a_step():
    model = mlp()
    x = cr.tensor(X, device="cuda")
    with cr.profile() as found:
        model(x).sum().backward()
    assert "linear" in str(found)


def test_several_threads_use_the_device_at_once():
    expected = mlp().eval()(cr.tensor(X, device="cuda")).numpy()
    model, found, wrong = mlp().eval(), [], []

    def work(seed):
        try:
            with cr.no_grad():
                for _ in range(5):
                    found.append(model(cr.tensor(X, device="cuda")).numpy())
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(found) == 20
    for y in found:
        np.testing.assert_array_equal(y, expected)


def test_a_process_made_by_fork_is_told():
    cr.ones(2, device="cuda").tolist()
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            cr.ones(2, device="cuda").tolist()
            os.write(start, b"nothing was said")
        except DeviceError as error:
            os.write(start, str(error).encode())
        finally:
            os._exit(0)
    os.close(start)
    with os.fdopen(end, "rb") as read:
        told = read.read().decode()
    os.waitpid(child, 0)
    assert "fork" in told and "spawn" in told
    assert cr.ones(2, device="cuda").tolist() == [1.0, 1.0]


def test_callbacks_that_read_each_batch_are_told_the_truth(gpu):
    """A callback that looks at the loss waits for it; that is all that waits."""
    losses_seen = []

    class Looks(train.Callback):
        def on_batch_end(self, batch, logs):
            losses_seen.append(logs["loss"])

    model = mlp().compile("cross_entropy", "sgd")
    model.fit(X, Y, batch_size=4, callbacks=Looks(), verbose=0)
    assert len(losses_seen) == 3 and all(isinstance(v, float) for v in losses_seen)
