"""Optimizers: their steps against the formulas in NumPy, groups, state, and what they refuse."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from tests.listeners import Heard
from tests.optim_formulas import (
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    lamb,
    lion,
    nadam,
    radam,
    rmsprop,
    sgd,
)

import chainrule as cr
from chainrule import nn, optim
from chainrule.domain.errors import AnomalyError, ArgumentError, ArgumentTypeError, NotBuiltError, StateError
from chainrule.domain.optimizer import IOptimizer
from chainrule.modes import listen

SHAPES = [(3, 4), (4,), ()]


CASES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, adam, {"lr": 0.1}),
    (optim.Adam, adam, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    (optim.Adam, adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.6)}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.2, "l1": 0.3}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.2, "decoupled": True}),
    (optim.RMSprop, rmsprop, {"lr": 0.01}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "centered": True, "eps": 1e-3}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "centered": True, "momentum": 0.5, "alpha": 0.5, "eps": 1e-3}),
    (optim.Adagrad, adagrad, {"lr": 0.1}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    (optim.Adadelta, adadelta, {"lr": 1.0}),
    (optim.Adadelta, adadelta, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    (optim.Adamax, adamax, {"lr": 0.01}),
    (optim.Adamax, adamax, {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.1}),
    (optim.NAdam, nadam, {"lr": 0.01}),
    (optim.NAdam, nadam, {"lr": 0.01, "betas": (0.8, 0.9), "momentum_decay": 0.1, "weight_decay": 0.1}),
    (optim.NAdam, nadam, {"lr": 0.01, "weight_decay": 0.1, "decoupled": True}),
    (optim.RAdam, radam, {"lr": 0.01}),
    (optim.RAdam, radam, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    (optim.LAMB, lamb, {"lr": 0.01}),
    (optim.LAMB, lamb, {"lr": 0.1, "weight_decay": 0.0, "eps": 1e-3}),
    (optim.Lion, lion, {"lr": 0.01}),
    (optim.Lion, lion, {"lr": 0.01, "weight_decay": 0.5, "betas": (0.5, 0.6)}),
    (optim.Lion, lion, {"lr": 0.01, "weight_decay": 0.5, "decoupled": False}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cls", "formula", "options"), CASES, ids=lambda v: getattr(v, "__name__", None) or str(v))
def test_steps_are_the_formula(cls, formula, options, dtype):
    """Ten steps, in which a parameter has no gradient now and then: it is left alone, and its state with it."""
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape) for shape in SHAPES]
    params = [cr.tensor(v, dtype=dtype, requires_grad=True) for v in values]
    values = [p.numpy().astype(np.float64) for p in params]
    states: list[dict] = [{} for _ in values]
    optimizer = cls(params, **options)
    for step in range(10):
        optimizer.zero_grad()
        for i, p in enumerate(params):
            if (i, step) in ((2, 0), (1, 4), (1, 5), (0, 5)):
                continue
            g = rng.standard_normal(p.shape)
            p.grad = cr.tensor(g, dtype=dtype)
            values[i] = formula(values[i], p.grad.numpy().astype(np.float64), states[i], **options)
        optimizer.step()
    for p, v in zip(params, values, strict=True):
        np.testing.assert_allclose(p.numpy(), v, rtol=1e-9, atol=1e-12 if dtype == "float64" else 2e-6)
        assert p.dtype == dtype and p.requires_grad and p.is_leaf


def problem(make, model=None):
    """A small model, a batch, and a step."""
    cr.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = make(model)
    x, y = cr.randn(8, 3), cr.randn(8, 2)

    def step():
        optimizer.zero_grad()
        loss = cr.mse(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


FUSED = {"sgd": "sgd", "adam": "adam", "adamw": "adam", "rmsprop": "rmsprop", "adagrad": "adagrad", "lion": "adaptive"}


@pytest.mark.parametrize("name", [n for n in optim.NAMES if n != "lbfgs"])
def test_a_step_reads_nothing_and_writes_in_place(name, monkeypatch):
    calls = []
    if name in FUSED:
        module, op = importlib.import_module(f"chainrule.optim.{FUSED[name]}"), name.removesuffix("w") + "_"
        original = getattr(module, op)
        monkeypatch.setattr(module, op, lambda *a, **k: calls.append(1) or original(*a, **k))
    matrices = 2 if name == "muon" else 0
    model, optimizer, step = problem(
        lambda m: optim.get(name, [p for p in m.parameters() if p.ndim >= matrices], lr=0.1)
    )
    step()
    tensors = [*model.parameters(), *(t for s in optimizer.state_dict()["state"].values() for t in s.values())]
    memory = [t.array for t in tensors]
    calls.clear()
    with listen(Heard(forbids_reading=True)):
        step()
        optimizer.lr = 0.05
        step()
    assert all(t.array is a for t, a in zip(tensors, memory, strict=True))
    assert len(calls) == 2 * (name in FUSED)  # one call for all parameters


def test_an_old_graph_notices_a_step():
    model, optimizer, step = problem(lambda m: optim.SGD(m.parameters()))
    loss = cr.mse(model(cr.ones(1, 3)), cr.ones(1, 2))
    step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_the_learning_rate_is_one_number_for_reading_and_a_tensor_for_steps():
    model, optimizer, step = problem(lambda m: optim.SGD(m.parameters(), lr=0.5))
    assert optimizer.lr == 0.5 == optimizer.param_groups[0]["lr"]
    rate = optimizer.param_groups[0].rate
    optimizer.param_groups[0]["lr"] *= 0.1
    assert optimizer.lr == 0.05 and optimizer.param_groups[0].rate is rate
    optimizer.lr = 0.0
    before = [p.tolist() for p in model.parameters()]
    step()
    assert [p.tolist() for p in model.parameters()] == before
    with pytest.raises(ArgumentError, match="learning rate is -1"):
        optimizer.lr = -1.0


def test_groups_have_options_of_their_own():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = optim.Adam(
        [{"params": model[0].parameters()}, {"params": [model[1].weight], "lr": 0.5, "weight_decay": 0.1}], lr=0.1
    )
    optimizer.add_param_group({"params": [("last", model[1].bias)], "betas": (0.5, 0.5)})
    groups = optimizer.param_groups
    assert [g["lr"] for g in groups] == [0.1, 0.5, 0.1] and groups[1]["weight_decay"] == 0.1
    assert groups[2]["betas"] == (0.5, 0.5) and groups[1]["params"][0] is model[1].weight
    assert optimizer.state_dict()["param_groups"][2]["params"] == ["last"]
    groups[0]["eps"] = 1e-4
    optimizer.lr = 0.2
    assert [g["lr"] for g in groups] == [0.2] * 3 and groups[0]["eps"] == 1e-4
    with pytest.raises(ArgumentError, match="unknown option of the group 'epsilon': did you mean 'eps'"):
        groups[0]["epsilon"] = 1.0
    assert isinstance(optimizer, IOptimizer)


def test_state_has_the_names_of_the_model():
    model, optimizer, step = problem(lambda m: optim.Adam(m.parameters()))
    [*model[0].parameters()]  # names of a part do not change those of the whole
    step()
    state = optimizer.state_dict()
    assert [*state["state"]] == ["0.weight", "0.bias", "2.weight", "2.bias"] == state["param_groups"][0]["params"]
    assert {k: v.shape for k, v in state["state"]["0.weight"].items()} == {
        "step": (), "exp_avg": (4, 3), "exp_avg_sq": (4, 3),
    }  # fmt: skip
    assert [p.name for p in model.parameters()] == [*state["state"]]


def test_tensors_without_names_or_with_the_same_get_numbers():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = optim.SGD([*a.parameters(), *b.parameters(), cr.zeros(1, requires_grad=True)])
    assert optimizer.state_dict()["param_groups"][0]["params"] == [
        "weight", "bias", "weight.0", "bias.0", "parameter.0",
    ]  # fmt: skip


@pytest.mark.parametrize(("cls", "formula", "options"), CASES, ids=lambda v: getattr(v, "__name__", None) or str(v))
def test_a_resumed_run_is_the_same_to_the_bit(cls, formula, options):
    def start():
        return problem(
            lambda m: cls([{"params": m[0].parameters()}, {"params": m[2].parameters(), "lr": 0.03}], **options)
        )

    model, optimizer, step = start()
    for _ in range(3):
        step()
    weights = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    saved = optimizer.state_dict()
    saved["state"] = {n: {k: v.numpy().copy() for k, v in s.items()} for n, s in saved["state"].items()}
    optimizer.lr = 7.0  # the saved state is apart from the optimizer
    saved_lr = [g["lr"] for g in saved["param_groups"]]
    other, resumed, other_step = start()
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    assert [g["lr"] for g in resumed.param_groups] == saved_lr
    counts = {id(s["step"]) for s in resumed.state_dict()["state"].values() if "step" in s}
    assert len(counts) in (0, 2)  # one for each group, so that a step is still one call for each
    resumed_losses = [other_step().item() for _ in range(3)]
    straight, _, straight_step = start()
    losses = [straight_step().item() for _ in range(6)]
    assert losses[3:] == resumed_losses
    for p, q in zip(straight.parameters(), other.parameters(), strict=True):
        assert (p.numpy() == q.numpy()).all()


def test_a_state_that_does_not_fit_is_told_and_nothing_is_loaded():
    model, optimizer, step = problem(lambda m: optim.Adam(m.parameters(), lr=0.5))
    step()
    saved = optimizer.state_dict()
    other = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))
    target = optim.Adam(other.parameters(), lr=0.1)
    with pytest.raises(StateError) as caught:
        target.load_state_dict(saved)
    assert str(caught.value).splitlines() == [
        "the state does not fit into Adam:",
        "  group 0 lacks: 1.weight, 1.bias",
        "  group 0 has too many: 2.weight, 2.bias",
        "  exp_avg of 0.weight: (4, 3) in the state, (4, 5) here",
        "  exp_avg_sq of 0.weight: (4, 3) in the state, (4, 5) here",
    ]
    assert target.lr == 0.1 and not target.state_dict()["state"]
    with pytest.raises(StateError, match="has the option 'betas'"):
        optim.SGD(model.parameters()).load_state_dict(saved)
    with pytest.raises(StateError, match="1 groups in the state, 2 here"):
        optim.Adam([{"params": model[0].parameters()}, {"params": model[2].parameters()}]).load_state_dict(saved)


def test_a_state_can_be_loaded_before_the_sizes_are_known():
    _, optimizer, step = problem(lambda m: optim.Adam(m.parameters()))
    step()
    lazy = nn.Sequential(nn.Linear(4), nn.Tanh(), nn.Linear(2))
    target = optim.Adam(lazy.parameters())
    target.load_state_dict(optimizer.state_dict())
    assert target.state_dict()["state"]["0.weight"]["step"].item() == 1.0


# ---- parameters


def test_placeholders_are_taken_and_named_if_stepped_too_early():
    model = nn.Sequential(nn.Linear(4), nn.Linear(1))
    for optimizer in (optim.SGD(model.parameters()), optim.Adam([*model.parameters()])):
        with pytest.raises(NotBuiltError, match="'0.weight' has no shape yet.*first input"):
            optimizer.step()
    model(cr.ones(2, 3)).sum().backward()
    before = model[0].weight.numpy().copy()
    optimizer.step()
    assert (model[0].weight.numpy() != before).any()


def test_a_frozen_parameter_is_left_alone():
    model, optimizer, step = problem(lambda m: optim.SGD(m.parameters(), lr=0.1, weight_decay=1.0))
    model[0].requires_grad_(False)
    before = model[0].weight.tolist()
    step()
    assert model[0].weight.tolist() == before


def test_zero_grad():
    model, optimizer, step = problem(lambda m: optim.SGD(m.parameters()))
    step()
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.numpy().any() for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_shared_parameters_are_stepped_once():
    layer = nn.Linear(1, 1, bias=False, init="ones")
    optimizer = optim.SGD(nn.Sequential(layer, layer).parameters(), lr=1.0)
    layer.weight.grad = cr.ones(1, 1)
    optimizer.step()
    assert layer.weight.tolist() == [[0.0]]


def test_optimizers_say_what_is_wrong():
    x = cr.zeros(1, requires_grad=True)
    with pytest.raises(ArgumentError, match="SGD got no parameters"):
        optim.SGD([])
    with pytest.raises(ArgumentTypeError, match="takes several parameters"):
        optim.SGD(x)
    with pytest.raises(ArgumentError, match="comes twice"):
        optim.SGD([x, x])
    with pytest.raises(ArgumentError, match="comes twice"):
        optim.SGD([{"params": [x]}, {"params": [x]}])
    with pytest.raises(ArgumentTypeError, match="not computed from others"):
        optim.SGD([x * 2])
    with pytest.raises(ArgumentTypeError, match="a parameter is str"):
        optim.SGD(["w"])
    with pytest.raises(ArgumentError, match="a group has no params"):
        optim.SGD([{"lr": 0.1}])
    with pytest.raises(ArgumentError, match="unknown option of Adam 'momentum'"):
        optim.Adam([{"params": [x], "momentum": 0.9}])
    for cls, options in [
        (optim.SGD, {"lr": -1.0}),
        (optim.SGD, {"lr": float("nan")}),
        (optim.SGD, {"momentum": -0.1}),
        (optim.SGD, {"nesterov": True}),
        (optim.SGD, {"weight_decay": -1.0}),
        (optim.Adam, {"betas": (0.9, 1.0)}),
        (optim.Adam, {"eps": -1.0}),
    ]:
        with pytest.raises(ArgumentError, match=next(iter(options)) if "lr" not in options else "learning rate"):
            cls([x], **options)


def test_optimizers_by_name():
    x = cr.zeros(1, requires_grad=True)
    assert type(optim.get("adamw", [x])) is optim.AdamW and optim.get("sgd", lr=0.3)([x]).lr == 0.3
    assert "lr=0.3" in repr(optim.get("sgd", [x], lr=0.3))
    with pytest.raises(ArgumentError, match="unknown optimizer 'adamm': did you mean 'adam'"):
        optim.get("adamm")
    with pytest.raises(ArgumentError, match="unknown option of SGD 'momentun': did you mean 'momentum'"):
        optim.get("sgd", momentun=0.9)


# ---- clipping


@pytest.mark.parametrize(("norm_type", "norm"), [(2.0, 13.0), (1.0, 19.0), (float("inf"), 12.0)])
def test_gradients_are_clipped_by_their_common_norm(norm_type, norm):
    params = [cr.zeros(2, requires_grad=True), cr.zeros(1, requires_grad=True), cr.zeros(1, requires_grad=True)]
    params[0].grad, params[1].grad = cr.tensor([3.0, 4.0]), cr.tensor([12.0])
    with listen(Heard(forbids_reading=True)):
        total = optim.clip_grad_norm_(params, 1.0, norm_type)
    assert total.item() == norm and params[2].grad is None
    np.testing.assert_allclose(params[0].grad.numpy(), np.array([3, 4]) / norm, rtol=1e-5)
    optim.clip_grad_norm_(params, 100.0)  # what is short enough stays as it is
    np.testing.assert_allclose(params[1].grad.numpy(), 12 / norm, rtol=1e-5)


def test_clipping_without_gradients_or_a_limit():
    assert optim.clip_grad_norm_([cr.zeros(1, requires_grad=True)], 1.0).item() == 0.0
    with pytest.raises(ArgumentError, match="max_norm is 0"):
        optim.clip_grad_norm_([], 0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "lamb", "muon", "adagrad"])
def test_maximize_is_a_step_by_the_gradient_of_the_other_sign(name):
    ends = []
    for sign in (1.0, -1.0):
        x = cr.tensor([[3.0, -4.0], [0.5, 2.0]], dtype="float64", requires_grad=True)
        optimizer = optim.get(name, [x], lr=0.1, weight_decay=0.1, maximize=sign > 0)
        for _ in range(3):
            optimizer.zero_grad()
            (sign * x * x).sum().backward()
            optimizer.step()
        np.testing.assert_array_equal(np.sign(x.grad.numpy()), np.sign(sign * x.numpy()))
        ends.append(x.numpy())
    np.testing.assert_array_equal(*ends)
    assert (np.abs(ends[0]) > [[3.0, 4.0], [0.5, 2.0]]).all()


def test_the_norm_of_gradients_that_are_no_numbers():
    x = cr.tensor([3.0, 4.0], requires_grad=True)
    x.grad = cr.tensor([float("nan"), 1.0])
    with pytest.raises(AnomalyError, match="the norm of the gradients is nan"):
        optim.clip_grad_norm_([x], 1.0, error_if_nonfinite=True)
    assert x.grad.numpy()[1] == 1.0
    assert np.isnan(optim.clip_grad_norm_([x], 1.0).item())
