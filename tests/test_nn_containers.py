"""Containers: what they compute, that they are in state_dicts, files and summaries, and their errors."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

RNG = np.random.default_rng(0)


def x(*shape):
    return Tensor(RNG.standard_normal(shape), dtype="float32")


def branches():
    return nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Tanh())


MODELS = {
    "residual": lambda: nn.Sequential(nn.Residual(nn.Sequential(nn.Linear(4), nn.ReLU())), nn.Linear(2)),
    "shortcut": lambda: nn.Sequential(nn.Residual(nn.Linear(3), nn.Linear(4, 3, bias=False)), nn.ReLU(), nn.Linear(2)),
    "nested": lambda: nn.Sequential(nn.Residual(nn.Parallel(nn.Linear(1), nn.Linear(3))), nn.Linear(2)),
    "shared": lambda: (lambda shared: nn.Sequential(shared, nn.Residual(shared), nn.Linear(2)))(nn.Linear(4, 4)),
    **{
        merge: lambda merge=merge: nn.Sequential(nn.Parallel(*branches(), merge=merge), nn.Linear(2))
        for merge in ("concat", "sum", "mean", "mul", "max")
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_they_train_and_are_saved_and_loaded(name, tmp_path):
    cr.manual_seed(0)
    model, data = MODELS[name](), x(32, 4)
    target = Tensor(np.arange(32) % 2)
    model.compile("cross_entropy", cr.optim.Adam(model.parameters(), lr=0.03))
    history = model.fit(data, target, epochs=5, batch_size=8, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(data).numpy(), model(data).numpy())
    assert nn.describe(again) == nn.describe(model) and len(again.parameters()) == len(model.parameters())
    assert copy.deepcopy(model)(data).tolist() == model(data).tolist()
    assert model.summary((None, 4)).total == sum(p.size for p in model.parameters())


def test_residual():
    body, shortcut, data = nn.Linear(4, 4), nn.Linear(4, 4), x(2, 4)
    np.testing.assert_allclose(nn.Residual(body)(data).numpy(), (body(data) + data).numpy())
    np.testing.assert_allclose(nn.Residual(body, shortcut)(data).numpy(), (body(data) + shortcut(data)).numpy())
    with pytest.raises(ShapeError, match=r"the body makes \(2, 3\) of x, \(2, 4\), but beside it is \(2, 4\)"):
        nn.Residual(nn.Linear(4, 3))(data)
    with pytest.raises(ArgumentTypeError, match=r"Residual takes modules, not .*: write ReLU\(\)"):
        nn.Residual(nn.ReLU)


@pytest.mark.parametrize(
    ("merge", "formula"),
    [
        ("concat", lambda a, b: np.concatenate([a, b], 1)),
        ("sum", np.add),
        ("mean", lambda a, b: (a + b) / 2),
        ("mul", np.multiply),
        ("max", np.maximum),
    ],
)
def test_parallel(merge, formula):
    (a, b), data = branches(), x(5, 4)
    expected = formula(a(data).numpy(), b(data).numpy())
    np.testing.assert_allclose(nn.Parallel(a, b, merge=merge)(data).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(nn.Parallel({"a": a, "b": b}, merge=merge)(data).numpy(), expected, rtol=1e-6)


def test_parallel_without_merging():
    model = nn.Parallel([nn.Linear(4, 3), nn.Linear(4, 2)], merge="none")
    assert [y.shape for y in model(x(5, 4))] == [(5, 3), (5, 2)]
    assert [*model.state_dict()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with pytest.raises(ShapeError, match=r"\[parallel\] sum needs one shape, but the branches give .*'1': \(5, 2\)"):
        nn.Parallel(nn.Linear(4, 3), nn.Linear(4, 2), merge="sum")(x(5, 4))
    with pytest.raises(ArgumentError, match="merge of Parallel 'cat'"):
        nn.Parallel(nn.ReLU(), merge="cat")
    with pytest.raises(ArgumentError, match="there are no modules"):
        nn.Parallel()


@nn.register
class Heads(nn.Module):
    """Modules in a list and by name, as a user has them."""

    def __init__(self, depth=2):
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["b"](x)


def test_lists_and_dicts_belong_to_their_module(tmp_path):
    model, data = Heads(3), x(2, 4)
    names = [*model.state_dict()]
    assert names[:2] == ["blocks.0.weight", "blocks.0.bias"] and "heads.b.weight" in names and len(names) == 10
    model.save(tmp_path / "tower.safetensors")
    np.testing.assert_array_equal(cr.load(tmp_path / "tower.safetensors")(data).numpy(), model(data).numpy())
    for container in (model.blocks, model.heads):
        again = nn.create(nn.describe(container))
        again.load_state_dict(container.state_dict())
        assert nn.describe(again) == nn.describe(container) and type(again) is type(container)


def test_a_list_of_modules():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    blocks = nn.ModuleList([a]).append(c)
    blocks.insert(1, b)
    assert [*blocks] == [a, b, c] and blocks[-1] is c and len(blocks) == 3 and [*blocks[1:]] == [b, c]
    blocks[0] = c
    del blocks[1]
    assert [*blocks] == [c, c] and [name for name, _ in blocks.named_children()] == ["0", "1"]
    with pytest.raises(IndexError):
        blocks[2]
    with pytest.raises(ArgumentTypeError, match="ModuleList takes modules, not 3"):
        blocks.append(3)
    with pytest.raises(NotImplementedError, match=r"ModuleList needs a forward"):
        blocks(x(1, 1))


def test_modules_by_name():
    a, b = nn.ReLU(), nn.Tanh()
    found = nn.ModuleDict({"a": a})
    found["b"] = b
    assert [*found] == [*found.keys()] == ["a", "b"] and [*found.values()] == [a, b] and dict(found.items())["b"] is b
    assert found.pop("a") is a and "a" not in found and len(found) == 1
    del found["b"]
    with pytest.raises(ArgumentError, match="module of this ModuleDict 'b'"):
        found["b"]
    with pytest.raises(ArgumentError, match="'a.b' cannot be the name of a module"):
        found["a.b"] = a
