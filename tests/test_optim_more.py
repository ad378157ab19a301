"""Optimizers beyond one formula for each parameter: Muon, L-BFGS, penalties and exemptions, weight averages."""

import numpy as np
import pytest
from tests.optim_formulas import muon

import chainrule as cr
from chainrule import nn, optim, train
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, StateError


@pytest.mark.parametrize("shape", [(3, 5), (6, 2), (4, 2, 3, 3)])
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": False, "momentum": 0.5}, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.5}]
)
def test_muon(shape, options):
    rng = np.random.default_rng(0)
    value, state = rng.standard_normal(shape), {}
    p = cr.tensor(value, requires_grad=True)
    optimizer = optim.Muon([p], lr=0.1, **options)
    for _ in range(5):
        g = rng.standard_normal(shape)
        p.grad = cr.tensor(g)
        optimizer.step()
        value = muon(value, g, state, lr=0.1, **options)
    np.testing.assert_allclose(p.numpy(), value, rtol=1e-8, atol=1e-10)


def test_muon_says_what_is_wrong():
    model = nn.Linear(3, 2)
    with pytest.raises(ArgumentError, match=r"Muon: the parameter 'bias' has fewer than two axes \(1\).*AdamW"):
        optim.Muon(model.parameters())
    for options in ({"momentum": 1.0}, {"ns_steps": 0}, {"adjust_lr_fn": "none"}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            optim.Muon([model.weight], **options)


# ---- penalties


def test_decoupled_and_l1_are_options_of_all():
    for name in [n for n in optim.NAMES if n not in ("lbfgs", "lamb", "muon")]:
        x = cr.tensor([2.0, -4.0], requires_grad=True)
        optimizer = optim.get(name, [x], lr=0.1, weight_decay=0.5, decoupled=True)
        x.grad = cr.zeros(2)
        optimizer.step()
        np.testing.assert_allclose(x.numpy(), [1.9, -3.8], rtol=1e-6)
    for name, signs in (("sgd", 0.2), ("lion", 0.1), ("adam", 0.1)):
        x = cr.tensor([2.0, -4.0], requires_grad=True)
        optimizer = optim.get(name, [x], lr=0.1, l1=2.0, weight_decay=0.0)
        x.grad = cr.zeros(2)
        optimizer.step()
        np.testing.assert_allclose(x.numpy(), [2.0 - signs, -4.0 + signs], rtol=1e-6)
        assert x.grad.tolist() == [0.0, 0.0]  # what others see of the gradient stays


def test_biases_and_norms_are_exempt():
    model = nn.Sequential(nn.Linear(4), nn.BatchNorm1d(), nn.Linear(2))
    optimizer = optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5, exempt=True)
    groups = optimizer.param_groups
    assert [[e.name for e in g.entries] for g in groups] == [
        ["0.weight", "2.weight"], ["0.bias", "1.weight", "1.bias", "2.bias"],
    ]  # fmt: skip
    assert [g["weight_decay"] for g in groups] == [0.5, 0.0]
    optimizer.lr = 0.2
    assert [g["lr"] for g in groups] == [0.2, 0.2]
    only = optim.SGD([cr.zeros(2, requires_grad=True)], weight_decay=1.0, exempt=True)
    assert [g["weight_decay"] for g in only.param_groups] == [0.0]


@pytest.mark.parametrize(
    ("name", "option", "value", "state"),
    [
        ("sgd", "momentum", 0.9, "momentum_buffer"),
        ("rmsprop", "momentum", 0.9, "momentum_buffer"),
        ("rmsprop", "centered", True, "grad_avg"),
        ("adam", "amsgrad", True, "max_exp_avg_sq"),
    ],
)
def test_an_option_may_be_set_after_the_first_step(name, option, value, state):
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.get(name, [x], lr=0.1)
    for on in (False, True):
        optimizer.zero_grad()
        (x * x).sum().backward()
        optimizer.step()
        assert (state in next(iter(optimizer.state_dict()["state"].values()), {})) == on
        optimizer.param_groups[0][option] = value


def test_penalties_say_what_is_wrong():
    x = cr.zeros(2, requires_grad=True)
    with pytest.raises(ArgumentError, match="l1 is -1"):
        optim.SGD([x], l1=-1.0)
    with pytest.raises(ArgumentError, match="unknown option of SGD 'l2'"):
        optim.SGD([x], l2=1.0)
    with pytest.raises(ArgumentError, match="unknown option of LAMB 'decoupled'"):
        optim.get("lamb", [x], decoupled=True)
    with pytest.raises(ArgumentError, match="unknown option of Adam 'exemt': did you mean 'exempt'"):
        optim.get("adam", [x], exemt=True)


# ---- L-BFGS


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def valley(dtype="float64", **options):
    x = [cr.tensor([-1.2, 1.0], dtype=dtype, requires_grad=True), cr.tensor([0.5], dtype=dtype, requires_grad=True)]
    optimizer = optim.LBFGS(x, **options)

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(cr.concat(x))
        loss.backward()
        return loss

    return x, optimizer, closure


def test_lbfgs_finds_the_least():
    x, optimizer, closure = valley(line_search_fn="strong_wolfe", max_iter=100)
    first = optimizer.step(closure)
    assert first.item() == pytest.approx(rosenbrock(cr.tensor([-1.2, 1.0, 0.5], dtype="float64")).item())
    np.testing.assert_allclose(np.concatenate([p.numpy() for p in x]), 1.0, atol=1e-5)
    a, b = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0])  # a quadratic, without a line search
    y = cr.zeros(2, dtype="float64", requires_grad=True)
    plain = optim.LBFGS([y], lr=0.5, max_iter=100)

    def quadratic():
        plain.zero_grad()
        loss = (y @ cr.tensor(a) @ y) / 2 - (y * cr.tensor(b)).sum()
        loss.backward()
        return loss

    plain.step(quadratic)
    np.testing.assert_allclose(y.numpy(), np.linalg.solve(a, b), atol=1e-4)


def test_lbfgs_goes_on_to_the_bit():
    x, optimizer, closure = valley(line_search_fn="strong_wolfe", max_iter=4, history_size=3)
    for _ in range(2):
        optimizer.step(closure)
    values = [p.numpy().copy() for p in x]
    state = optimizer.state_dict()
    assert state["state"]["all"]["old_dirs"].shape == (3, 3) and len(state["param_groups"][0]["params"]) == 2
    state["state"]["all"] = {k: v.numpy().copy() for k, v in state["state"]["all"].items()}
    y, resumed, other = valley(line_search_fn="strong_wolfe", max_iter=4, history_size=3)
    for p, v in zip(y, values, strict=True):
        with cr.no_grad():
            p.copy_(cr.tensor(v))
    resumed.load_state_dict(state)
    assert optimizer.step(closure).item() == resumed.step(other).item()
    assert all((p.numpy() == q.numpy()).all() for p, q in zip(x, y, strict=True))
    assert [p.tolist() for p in x] != [v.tolist() for v in values]
    with pytest.raises(StateError, match="3 values in the state, 2 here"):
        optim.LBFGS([x[0], cr.zeros(0, requires_grad=True)]).load_state_dict(state)


def test_lbfgs_says_what_is_wrong():
    x = cr.zeros(1, requires_grad=True)
    with pytest.raises(ArgumentTypeError, match="step needs a closure"):
        optim.LBFGS([x]).step()
    for options in ({"max_iter": 0}, {"history_size": 0}, {"line_search_fn": "armijo"}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            optim.LBFGS([x], **options)
    with pytest.raises(ArgumentError, match="one group"):
        optim.LBFGS([{"params": [x]}, {"params": [cr.zeros(1, requires_grad=True)]}])


def test_gradients_are_clipped_by_value():
    x, y = cr.zeros(3, requires_grad=True), cr.zeros(1, requires_grad=True)
    x.grad = cr.tensor([-3.0, 0.5, 2.0])
    gradient = x.grad
    optim.clip_grad_value_([x, y], 1.0)
    assert x.grad is gradient and x.grad.tolist() == [-1.0, 0.5, 1.0] and y.grad is None
    with pytest.raises(ArgumentError, match="clip_value is 0"):
        optim.clip_grad_value_(x, 0)


# ---- averages


def trained(average):
    """A model, its average, and the values it had."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    kept, values = average(model.parameters()), []
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        cr.mse(model(cr.randn(8, 2)), cr.ones(8, 1)).backward()
        optimizer.step()
        kept.update()
        values.append({k: v.numpy().copy() for k, v in model.state_dict().items() if "running" not in k})
    return model, kept, values


@pytest.mark.parametrize(
    ("make", "weights"),
    [(lambda p: optim.EMA(p, 0.8), [0.512, 0.128, 0.16, 0.2]), (optim.SWA, [0.25] * 4)],
    ids=["ema", "swa"],
)
def test_averages_of_weights(make, weights):
    model, kept, values = trained(make)
    names = [name for name, _ in model.named_parameters()]
    wanted = {name: sum(w * v[name] for w, v in zip(weights, values, strict=True)) for name in names}
    with kept.applied():
        for name, p in model.named_parameters():
            np.testing.assert_allclose(p.numpy(), wanted[name], rtol=1e-5, atol=1e-6)
    for name, p in model.named_parameters():
        assert (p.numpy() == values[-1][name]).all()
    other = make(model.parameters())
    other.load_state_dict({"updates": 4, "values": {k: v.numpy() for k, v in kept.state_dict()["values"].items()}})
    kept.update()
    other.update()
    assert all((kept.values[k].numpy() == other.values[k].numpy()).all() for k in names)
    with pytest.raises(StateError, match="does not fit"):
        make(nn.Linear(1, 1).parameters()).load_state_dict(kept.state_dict())


def test_averages_say_what_is_wrong():
    x = cr.zeros(1, requires_grad=True)
    with pytest.raises(StateError, match="no average yet"):
        optim.SWA([x]).swap()
    with pytest.raises(ArgumentError, match="decay is 2"):
        optim.EMA([x], decay=2.0)
    with pytest.raises(ArgumentError, match="no parameters"):
        optim.SWA([])


def test_update_bn_puts_all_back():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, momentum=0.3), nn.Dropout(0.5)).train()
    model[2].eval()
    batches = [(cr.randn(6, 2), cr.zeros(6)) for _ in range(3)]
    optim.update_bn(model, batches)
    seen = [model[0](x).detach().numpy() for x, _ in batches]
    np.testing.assert_allclose(model[1].running_mean.numpy(), np.mean([s.mean(0) for s in seen], 0), atol=1e-6)
    np.testing.assert_allclose(
        model[1].running_var.numpy(), np.mean([s.var(0, ddof=1) for s in seen], 0), rtol=1e-5, atol=1e-6
    )
    assert model[1].momentum == 0.3 and model[1].training and not model[2].training


class Watch(train.Callback):
    """Keeps the weights after each batch."""

    def __init__(self, seen):
        self.seen = seen

    def on_batch_end(self, batch, logs):
        self.seen.append(self.model[0].weight.numpy().copy())


@pytest.mark.parametrize(
    ("every", "start", "updates"), [("batch", 0, 9), ("batch", 1, 6), ("epoch", 1, 2), ("epoch", 5, 0)]
)
def test_the_callback_averages_weights(every, start, updates):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)).astype("f"), np.ones((12, 1), "f")
    model = nn.Sequential(nn.Linear(3, 1)).compile("mse", "sgd")
    average, seen = optim.SWA(model.parameters()), []
    callbacks = [Watch(seen), train.AverageWeights(average, every, start)]
    model.fit(x, y, epochs=3, batch_size=4, callbacks=callbacks, verbose=0)
    assert average.updates == updates
    kept = seen[3 * start :] if every == "batch" else seen[3 * start + 2 :: 3]
    wanted = np.mean(kept, axis=0) if kept else seen[-1]
    np.testing.assert_allclose(model[0].weight.numpy(), wanted, rtol=1e-5)
    if updates:
        average.swap()
        np.testing.assert_array_equal(model[0].weight.numpy(), seen[-1])


def test_the_callback_says_what_is_wrong():
    average = optim.EMA(nn.Linear(1, 1).parameters())
    with pytest.raises(ArgumentTypeError, match="expected an average of parameters"):
        train.AverageWeights(0.99)
    with pytest.raises(ArgumentError, match="unknown every of AverageWeights"):
        train.AverageWeights(average, "step")
    with pytest.raises(ArgumentError, match="start is -1"):
        train.AverageWeights(average, start=-1)
