"""Batches on their way to a GPU, checkpoints between devices, and training that goes on where it was."""

import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, io, nn, optim, train
from chainrule.data import ArrayDataset, DataLoader
from chainrule.domain.errors import DTypeError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 6)).astype(np.float32), np.arange(20) % 3


# ---- the way of a batch


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"prefetch": 0}, {"shuffle": True, "seed": 3}])
def test_a_loader_gives_the_same_batches_there(gpu, options):
    found = []
    for device in ("cpu", "cuda"):
        loader = DataLoader(ArrayDataset(X, Y, X[:, :0]), 6, device=device, **options)
        held = [[*loader], [*loader]]  # all batches at once: none is written over
        assert {str(t.device) for epoch in held for batch in epoch for t in batch} == {str(cr.Device(device))}
        found.append([t.numpy() for epoch in held for batch in epoch for t in batch])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_batch_is_one_copy_and_no_wait(gpu):
    loader = DataLoader(ArrayDataset(X, Y), 5, device="cuda")
    assert len([*loader]) == 4  # memory for the way
    before, total = {**gpu.copies}, cr.zeros((), device="cuda")
    for x, _ in loader:
        total.add_(x.sum())
    assert {k: v - before[k] for k, v in gpu.copies.items()} == {"in": 4, "out": 0, "waits": 0}
    np.testing.assert_allclose(total.item(), X.sum(), rtol=1e-5)


def test_a_copy_does_not_wait_for_the_step_under_way(gpu):
    """The copying stream knows nothing of what was asked of the working one since the slot was free."""
    way = data.staging.staging(gpu)
    loader = iter(DataLoader(ArrayDataset(X), 4, device="cuda", prefetch=0))
    (x,) = next(loader)
    for _ in range(50):
        x = x + 1.0
    worked = gpu.stream.clock if gpu.driver.name == "emulated" else None
    next(loader)
    if worked is not None:
        assert way.stream.seen[gpu.stream] < worked - 50


def test_batches_grow_and_parts_have_parts():
    sizes = [1, 3, 40, 2, 100]
    way = data.staging.staging(cr.backends.get("cuda").gpu)
    for n in sizes * 2:
        rows = [RNG.standard_normal((n, 3)), np.arange(n, dtype=np.int8), np.float32(n), X[: n % 7, ::-1].T]
        for a, b in zip(rows, way.put([np.asarray(r) for r in rows]), strict=True):
            np.testing.assert_array_equal(way.gpu.download(b), a)

    class Parts:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return {"a": X[i], "b": (X[i], cr.tensor(X[i]))}, Y[i]

    for x, y in DataLoader(Parts(), 2, device="cuda"):
        assert {str(t.device) for t in (x["a"], *x["b"], y)} == {"cuda:0"}


def test_what_cannot_be_a_tensor_is_told():
    loader = DataLoader(ArrayDataset(X), 2, device="cuda", transform=lambda x: x.astype(complex))
    with pytest.raises(DTypeError, match="an array of dtype complex128 cannot be a tensor"):
        next(iter(loader))


def test_threads_send_batches_at_once():
    from concurrent.futures import ThreadPoolExecutor

    def work(seed):
        stream = cr.cuda.Stream("cuda")
        with cr.cuda.stream(stream):
            loader = DataLoader(ArrayDataset(X), 3, shuffle=True, seed=seed, device="cuda")
            return sorted(float(x.numpy().sum()) for (x,) in loader)

    def expected(seed):
        return sorted(float(x.numpy().sum()) for (x,) in DataLoader(ArrayDataset(X), 3, shuffle=True, seed=seed))

    with ThreadPoolExecutor(4) as pool:
        for seed, found in enumerate(pool.map(work, range(6))):
            assert found == expected(seed)


# ---- files


def made(device, name=optim.Adam):
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 3)).to(device)
    return model.compile("cross_entropy", name(model.parameters(), lr=0.05))


def state(model):
    return {k: v.numpy() for k, v in model.state_dict().items()}


@pytest.mark.parametrize(("there", "here"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda:1")])
def test_models_and_optimizers_move_by_file(tmp_path, there, here):
    model = made(there)
    model.fit(X, Y, epochs=1, verbose=0)
    path = tmp_path / "model.safetensors"
    io.save(model, path, optimizer=model.compiled.optimizer)
    again = cr.load(path, device=here)
    assert {str(p.device) for p in [*again.parameters(), *again.buffers()]} == {str(cr.Device(here))}
    assert all((state(again)[k] == v).all() for k, v in state(model).items())
    optimizer = optim.Adam(again.parameters(), lr=0.05)
    io.load_optimizer(path, optimizer)
    saved, taken = model.compiled.optimizer.state_dict()["state"], optimizer.state_dict()["state"]
    for name, values in saved.items():
        for key, value in values.items():
            np.testing.assert_array_equal(taken[name][key].numpy(), value.numpy())
            assert str(taken[name][key].device) == str(cr.Device(here))
    again.compile("cross_entropy", optimizer).fit(X, Y, verbose=0)


def test_a_file_of_a_gpu_is_read_where_there_is_none(tmp_path):
    model = made("cuda")
    model.fit(X, Y, epochs=2, callbacks=[train.Checkpoint(tmp_path / "run.npz")], verbose=0)
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "expected.npy", model.eval()(cr.tensor(X, device="cuda")).numpy())
    program = f"""
import numpy as np, chainrule as cr, sys
assert not cr.cuda.is_available()
for name in ("model.safetensors", "run.npz"):
    model = cr.load({str(tmp_path)!r} + "/" + name)
    x = np.load({str(tmp_path / "x.npy")!r})
    np.testing.assert_allclose(model(cr.tensor(x)).numpy(), np.load({str(tmp_path / "expected.npy")!r}), rtol=1e-4, atol=1e-5)
"""
    np.save(tmp_path / "x.npy", X)
    environment = {k: v for k, v in os.environ.items() if k != "CHAINRULE_CUDA_DRIVER"}
    subprocess.run([sys.executable, "-c", program], env={**environment, "CUDA_VISIBLE_DEVICES": ""}, check=True)


class Dies(train.Callback):
    def __init__(self, at):
        self.left = at

    def on_batch_end(self, batch, logs):
        self.left -= 1
        if not self.left:
            raise SystemExit("killed")


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("precision", ["32", "fp16-mixed"])
def test_training_goes_on_to_the_same_bits(tmp_path, jit, precision):
    def run(path, dies=None, resume=None):
        model = made("cuda")
        model.compile("cross_entropy", model.compiled.optimizer, jit=jit, precision=precision)
        callbacks = [train.Checkpoint(path, every=2)] + ([Dies(dies)] if dies else [])
        cr.manual_seed(4)
        history = model.fit(X, Y, epochs=3, batch_size=5, callbacks=callbacks, resume=resume, verbose=0)
        return model, history

    whole, expected = run(tmp_path / "whole.npz")
    with pytest.raises(SystemExit):
        run(tmp_path / "run.npz", dies=7)
    cr.manual_seed(99)
    again, found = run(tmp_path / "run.npz", resume=True)
    assert found["loss"] == expected["loss"]
    for name, value in state(whole).items():
        np.testing.assert_array_equal(state(again)[name], value, err_msg=name)
