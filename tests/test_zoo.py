"""The models of the zoo: they train, are saved, and say what they have not."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import zoo
from chainrule.domain.errors import ArgumentError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


SHAPES = {"images": (1, 28, 28), "table": (5,), "sequences": (9, 4), "text": (8,)}
CASES = [(name, kind) for name, entry in zoo.MODELS.items() for kind in entry.takes]
SMALL = {
    "resnet": {"depth": 8, "width": 4},
    "resnet18": {"width": 4},
    "vit": {"depth": 1},
    "gpt": {"depth": 1, "context": 8},
}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_model_of_the_zoo_trains_and_is_saved(name, kind, rng, tmp_path):
    shape = SHAPES[kind]
    model = zoo.create(name, 6, kind=kind, **SMALL.get(name, {}))
    if kind == "text":
        x = rng.integers(0, 6, (8, *shape))
        y = x
    else:
        x, y = rng.random((8, *shape)).astype(np.float32), rng.integers(0, 6, 8)
    model.build((None, *shape)).compile("cross_entropy", "adam")
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=15, verbose=0, batch_size=8)
    assert model.evaluate(x, y)["loss"] < before
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors").predict(x).numpy()
    np.testing.assert_array_equal(again, model.predict(x).numpy())
    assert kind == "text" or np.allclose(again.sum(axis=1), 1, atol=1e-5)
    assert zoo.MODELS[name].about


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt", {}, "did you mean 'resnet'"),
        ("lstm", {"kind": "images"}, "takes sequences or text, not images; linear, mlp"),
        ("mlp", {"hiden": [3]}, "did you mean 'hidden'"),
        ("mlp", {"hidden": 3}, "hidden is 3, expected sizes"),
        ("resnet", {"depth": "20"}, "depth is '20', expected a size"),
        ("resnet", {"depth": 21}, "6n"),
        ("mlp", {"dropout": True}, "dropout is True, expected a number"),
        ("lstm", {"masking": 1}, "masking is 1, expected true or false"),
    ],
)
def test_what_the_zoo_has_not(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        zoo.create(name, 3, **options)
