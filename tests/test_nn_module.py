"""Modules: what belongs to them, their state, hooks, errors, files' view of them."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, NotBuiltError, ShapeError, StateError
from chainrule.domain.module import IModule


class Block(nn.Module):
    def __init__(self, width=4):
        self.fc1 = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc2(self.act(self.fc1(x)))


class Net(nn.Module):
    """Members in every place that counts."""

    def __init__(self):
        self.scale = nn.Parameter([2.0])
        self.blocks = [Block(), Block()]
        self.heads = {"left": nn.Linear(4, 1), "right": nn.Linear(4, 2)}
        self.register_buffer("seen", cr.tensor(0))
        self.register_buffer("scratch", cr.zeros(2), persistent=False)
        self.label = "a net"

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["left"](x * self.scale)


def test_members_in_lists_and_dicts_belong_to_a_module():
    net = Net()
    names = [name for name, _ in net.named_parameters()]
    assert names[:3] == ["scale", "blocks.0.fc1.weight", "blocks.0.fc1.bias"]
    assert names[-4:] == ["heads.left.weight", "heads.left.bias", "heads.right.weight", "heads.right.bias"]
    assert len(names) == len(net.parameters()) == 13 and net.parameters().names == names
    assert [name for name, _ in net.named_children()] == ["blocks.0", "blocks.1", "heads.left", "heads.right"]
    assert [name for name, _ in net.named_buffers()] == ["seen", "scratch"]
    assert net.blocks[1].fc2.weight.name == "blocks.1.fc2.weight"
    assert isinstance(net, IModule) and not hasattr(net.blocks, "training")


def test_names_of_parameters_do_not_get_shorter():
    net = Net()
    [*net.named_parameters()]
    [*net.blocks[0].named_parameters()]
    assert net.blocks[0].fc1.weight.name == "blocks.0.fc1.weight"


def test_state_dict_is_ordered_shares_memory_and_has_no_history():
    net = Net()
    state = net.state_dict()
    assert [*state][:3] == ["scale", "seen", "blocks.0.fc1.weight"] and "scratch" not in state
    assert not any(value.requires_grad for value in state.values())
    net.scale.load([7.0])
    assert state["scale"].tolist() == [7.0]


def test_load_state_dict_copies_values():
    a, b = Net(), Net()
    assert b.load_state_dict(a.state_dict()) == ([], [])
    x = cr.randn(3, 4)
    assert (a(x).numpy() == b(x).numpy()).all()
    a.scale.load([0.0])
    assert b.scale.tolist() == [2.0]


def test_a_state_that_does_not_fit_is_told_whole_and_nothing_is_loaded():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["0.weight"] = np.zeros((3, 5))
    del state["0.bias"], state["1.bias"]
    state["1.num_batches_tracked"] = np.array(0.5)
    state["2.weight"] = np.zeros(3)
    with pytest.raises(StateError) as caught:
        model.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        "the state does not fit into Sequential:",
        "  missing: 0.bias, 1.bias",
        "  unexpected: 2.weight",
        "  0.weight: (3, 5) in the state, (3, 2) in the model",
        "  1.num_batches_tracked: float64 in the state, int64 in the model",
    ]
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, ValueError)
    assert all((model.state_dict()[name].numpy() == value).all() for name, value in before.items())
    with pytest.raises(StateError, match="0.weight"):  # another shape is never right
        model.load_state_dict(state, strict=False)


def test_what_is_missing_or_too_much_is_returned_if_not_strict():
    model = nn.Linear(2, 1)
    found = model.load_state_dict({"weight": [[1.0, 2.0]], "extra": [1.0]}, strict=False)
    assert found.missing == ["bias"] and found.unexpected == ["extra"] and model.weight.tolist() == [[1.0, 2.0]]


def test_loading_sizes_a_layer_that_has_none():
    source, target = nn.Linear(5, 3), nn.Linear(3)
    target.load_state_dict(source.state_dict())
    assert target.in_features == 5 and target.is_built
    assert (target(cr.ones(1, 5)).numpy() == source(cr.ones(1, 5)).numpy()).all()
    with pytest.raises(StateError, match=r"weight: \(3, 5\) in the state, \(4, \?\) in the model"):
        nn.Linear(4).load_state_dict(source.state_dict(), strict=False)


def test_a_state_without_shapes_names_the_parameter_and_the_remedy():
    with pytest.raises(NotBuiltError, match="'0.weight' has no shape yet.*build"):
        nn.Sequential(nn.Linear(3)).state_dict()


def test_shared_parameters_appear_once_under_their_first_name():
    encoder, decoder = nn.Linear(3, 3), nn.Linear(3, 3)
    decoder.weight = encoder.weight
    model = nn.Sequential(encoder, decoder, encoder)
    assert model.parameters().names == ["0.weight", "0.bias", "1.bias"] == [*model.state_dict()]
    assert len([*model.named_children()]) == 3 and len([*model.modules()]) == 3
    state = {name: value.numpy() + 1 for name, value in model.state_dict().items()}
    state["1.weight"] = state.pop("0.weight")  # a file may have it under the other name
    model.load_state_dict(state)
    assert (encoder.weight.numpy() == state["1.weight"]).all()
    tied = copy.deepcopy(model)
    assert tied[0].weight is tied[1].weight is not encoder.weight


def test_train_eval_apply_requires_grad_zero_grad():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen[:4] == ["Linear", "ReLU", "Linear", "Block"] and seen[-1] == "Net"
    net.blocks[0].requires_grad_(False)
    net(cr.ones(1, 4)).sum().backward()
    assert net.blocks[0].fc1.weight.grad is None and net.blocks[1].fc1.weight.grad is not None
    net.zero_grad()
    assert net.blocks[1].fc1.weight.grad is None


def test_to_another_dtype_keeps_the_parameters_and_leaves_integers():
    net = nn.Sequential(nn.Linear(4), nn.BatchNorm1d(4))
    weight = net[0].weight
    net.to("float64")
    assert net[0].weight is weight and not net.is_built
    out = net(cr.ones(2, 3, dtype="float64"))
    assert out.dtype == weight.dtype == net[1].running_mean.dtype == "float64"
    assert net[1].num_batches_tracked.dtype == "int64"
    assert Net().to("float64").scratch.dtype == "float64"


def test_repr_is_a_tree():
    assert repr(nn.Sequential(Block(2), nn.Dropout(0.25))).splitlines() == [
        "Sequential(",
        "  (0): Block(",
        "    (fc1): Linear(in_features=2, out_features=2)",
        "    (act): ReLU()",
        "    (fc2): Linear(in_features=2, out_features=2)",
        "  )",
        "  (1): Dropout(p=0.25)",
        ")",
    ]


def test_mistakes_with_attributes_are_told():
    layer = nn.Linear(2, 2)
    with pytest.raises(ArgumentTypeError, match=r"Linear.weight is a parameter.*weight.load"):
        layer.weight = cr.zeros(2, 2)
    layer.bias = None
    assert layer.parameters().names == ["weight"] and layer(cr.ones(1, 2)).shape == (1, 2)
    with pytest.raises(ArgumentError, match="'weight' cannot be the name of a buffer"):
        layer.register_buffer("weight", cr.zeros(1))
    with pytest.raises(TypeError):
        nn.ReLU(3)
    with pytest.raises(NotImplementedError, match="Module needs a forward"):
        nn.Module()(1)


class Scaled(nn.Module):
    def __init__(self):
        self.factor = 3

    @property
    def factor(self):
        return self._factor

    @factor.setter
    def factor(self, value):
        self._factor = float(value)


def test_properties_of_a_subclass_work():
    assert Scaled().factor == 3.0


# ---- errors say where


def test_an_error_is_prefixed_with_the_path_to_its_layer():
    model = nn.Sequential(Block(4), nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 1)))
    with pytest.raises(ShapeError) as caught:
        model(cr.zeros(2, 4))
    assert str(caught.value).startswith("1.1: [linear] x has 3 features") and caught.value.path == ["1", "1"]
    assert "5" in str(caught.value)
    with pytest.raises(ShapeError, match=r"^0\.fc1: \[linear\] x has 6 features .*expects 4"):
        model(cr.zeros(2, 6))
    with pytest.raises(ShapeError, match=r"^blocks\.0\.fc1: \[linear\]"):
        Net()(cr.zeros(1, 3))
    with pytest.raises(ShapeError, match=r"^\[linear\]"):
        nn.Linear(2, 2)(cr.zeros(1, 3))


# ---- hooks


def test_forward_hooks_see_and_replace():
    layer, seen = nn.Linear(2, 2), []
    handles = [
        layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] * 0,)),
        layer.register_forward_hook(lambda m, inputs, output: seen.append((inputs[0].tolist(), output.shape))),
        layer.register_forward_hook(lambda m, inputs, output: output + 10),
    ]
    assert layer(cr.ones(1, 2)).tolist() == [[10.0, 10.0]] and seen == [([[0.0, 0.0]], (1, 2))]
    for handle in handles:
        handle.remove()
        handle.remove()
    assert layer(cr.zeros(1, 2)).tolist() == [[0.0, 0.0]] and len(seen) == 1


def test_backward_hooks_see_and_replace_gradients():
    layer, seen = nn.Linear(2, 1, bias=False), []
    layer.weight.load([[3.0, 4.0]])

    def hook(module, gradients_in, gradients_out):
        seen.append((module is layer, gradients_in[0].tolist(), gradients_out[0].tolist()))
        return (gradients_in[0] * 2,)

    handle = layer.register_full_backward_hook(hook)
    x = cr.ones(1, 2, requires_grad=True)
    (layer(x * 1.0) * 5.0).sum().backward()
    assert seen == [(True, [[15.0, 20.0]], [[5.0]])] and x.grad.tolist() == [[30.0, 40.0]]
    assert layer.weight.grad.tolist() == [[5.0, 5.0]]
    handle.remove()
    layer(x).sum().backward()
    assert len(seen) == 1


def test_a_backward_hook_of_a_layer_whose_input_needs_no_gradient():
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(cr.ones(3, 2)).sum().backward()
    assert seen == [((None,), [[1.0], [1.0], [1.0]])]


# ---- files


@nn.register
class Tower(nn.Module):
    def __init__(self, width, *, depth=2, body=None, **more):
        self.blocks = [nn.Linear(width, width * 2) for _ in range(depth)]
        self.body, self.more = body, more

    def forward(self, x):
        return self.body(x)


def test_arguments_are_recorded_and_make_the_module_again():
    tower = Tower(3, depth=1, body=nn.Sequential(nn.Linear(2, 2), nn.ReLU()), note="hi")
    text = nn.describe(tower)
    assert text["config"]["width"] == 3 and text["config"]["depth"] == 1 and text["config"]["note"] == "hi"
    again = nn.create(text)
    assert repr(again) == repr(tower) and again.more == {"note": "hi"}
    again.load_state_dict(tower.state_dict())
    assert inspect.signature(Tower).parameters.keys() == {"width", "depth", "body", "more"}
    assert [*inspect.signature(nn.Conv2d).parameters][:3] == ["in_channels", "out_channels", "kernel_size"]


def test_a_layer_describes_itself_as_it_is_now():
    dropout, linear = nn.Dropout(0.5), nn.Linear(3, bias=False, init="normal")
    dropout.p = 0.1
    linear(cr.zeros(1, 7))
    assert dropout.get_config() == {"p": 0.1}
    assert linear.get_config() == {
        "in_features": 7,
        "out_features": 3,
        "bias": False,
        "activation": None,
        "init": "normal",
        "dtype": "float32",
    }


LAYERS = [
    nn.Linear(3, 4, init={"name": "normal", "std": 0.1}),
    nn.Linear(5, bias=False),
    nn.Conv2d(4, 8, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2, bias=False),
    nn.Conv2d(8, kernel_size=3, padding="same"),
    nn.MaxPool2d(3, 2, 1),
    nn.AvgPool2d((2, 1), count_include_pad=False),
    nn.GlobalAvgPool2d(),
    nn.Flatten(2),
    nn.Identity(),
    nn.Dropout(0.3),
    nn.BatchNorm1d(4, eps=1e-3, momentum=0.5),
    nn.BatchNorm2d(affine=False, track_running_stats=False),
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.GELU("tanh"),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softmax(1),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_every_layer_is_made_again_from_its_config(layer):
    import json

    text = json.loads(json.dumps(nn.describe(layer)))
    again = nn.create(text)
    assert type(again) is type(layer) and nn.describe(again) == text and repr(again) == repr(layer)
    assert {n: p.sizes for n, p in again.named_parameters()} == {n: p.sizes for n, p in layer.named_parameters()}


def test_every_layer_is_among_the_examples():
    """Here, or in the EXAMPLES (layer, shape of an input) of a test beside this one."""
    from importlib import import_module
    from pathlib import Path

    from chainrule.nn.layer import Layer

    examples = {type(layer) for layer in LAYERS}
    for path in Path(__file__).parent.glob("test_nn_*.py"):
        if "\nEXAMPLES = " in path.read_text():
            examples |= {type(layer) for layer, *_ in import_module(f"tests.{path.stem}").EXAMPLES}
    assert {cls for cls in nn.REGISTRY.values() if issubclass(cls, Layer)} - examples == set()


def test_a_sequential_is_described_with_its_children_and_what_they_share():
    shared = nn.ReLU()
    model = nn.Sequential({"fc": nn.Linear(2, 2), "a": shared, "inner": nn.Sequential(nn.Linear(2, 2), shared)})
    again = nn.create(nn.describe(model))
    assert repr(again) == repr(model) and again["a"] is again["inner"][1]


def test_what_a_file_cannot_hold_is_told():
    class Private(nn.Module):
        pass

    with pytest.raises(ArgumentError, match="Private cannot be written.*@nn.register"):
        nn.describe(nn.Sequential(Private()))
    with pytest.raises(ArgumentError, match="the argument body is a object"):
        nn.describe(Tower(1, body=object(), depth=0))
    with pytest.raises(ArgumentError, match="unknown layer type 'Liner': did you mean 'Linear'"):
        nn.create({"type": "Liner"})
    with pytest.raises(ArgumentError, match="layer '1' of type Linear cannot be made from {'units': 3}"):
        nn.create({"type": "Sequential", "children": {"1": {"type": "Linear", "config": {"units": 3}}}})
    with pytest.raises(ArgumentError, match="'Linear' is taken"):
        nn.register(type("Linear", (nn.Module,), {}))


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])  # noqa: S301
def test_copies_of_models_are_apart(make):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(1))
    other = make(model)
    x = cr.randn(4, 2)
    model[0].weight.draw()
    assert not other.is_built
    other.load_state_dict({**model.build((None, 2)).state_dict()})
    assert (model(x).numpy() == other(x).numpy()).all()
    model[0].weight.load(np.zeros((2, 2)))
    assert other[0].weight.numpy().any() and other[2].get_config()["out_features"] == 1


# ---- values are drawn once, in order


def test_values_do_not_depend_on_the_order_of_use():
    def weights(use):
        cr.manual_seed(5)
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        for p in model.parameters() if use == "parameters" else model.state_dict().values():
            p.numpy()
        model[1](cr.zeros(1, 3))
        return [p.tolist() for p in model.parameters()]

    assert weights("parameters") == weights("state_dict")


def test_threads_that_meet_a_new_model_see_the_same_values():
    model, x, results = nn.Sequential(nn.Linear(64, 64), nn.Linear(64)), cr.ones(1, 64), []
    threads = [threading.Thread(target=lambda: results.append(model(x).tolist())) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 8 and all(r == results[0] for r in results)


def test_build_sizes_and_draws_without_leaving_traces():
    model = nn.Sequential(nn.Conv2d(4, kernel_size=3), nn.BatchNorm2d(), nn.Flatten(), nn.Dropout(), nn.Linear(3))
    model[3].eval()
    assert not model.is_built
    assert model.build((None, 1, 6, 6)) is model and model.is_built
    assert model[4].in_features == 64 and model[0].in_channels == 1
    assert model.training and not model[3].training and model[1].num_batches_tracked.item() == 0
    assert all(p.pending is None and p.grad is None for p in model.parameters())
    assert nn.Linear(2).build(cr.ones(5, 7)).in_features == 7
