"""Recurrent layers: what they compute, what they return, their parameters, files, and learning."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.ops import rows_rnn as oracle

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

R = np.random.default_rng(0)
X = R.standard_normal((6, 3, 4)).astype("float32")
KINDS: dict[str, Any] = {
    "RNN": (nn.RNN, oracle.RNN, 1),
    "GRU": (nn.GRU, oracle.GRU, 1),
    "LSTM": (nn.LSTM, oracle.LSTM, 2),
}
each = pytest.mark.parametrize("name", KINDS)


def x() -> cr.Tensor:
    return cr.tensor(X)


def weights(layer: Any, suffix: str) -> list[Any]:
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(layer, k + suffix).detach().numpy().astype(float) for k in kinds]


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


@each
def test_two_layers_both_ways(name: str) -> None:
    make, numpy, states = KINDS[name]
    layer = make(4, 5, num_layers=2, bidirectional=True)
    y, state = layer(x())
    there, *a = numpy(X.astype(float), *weights(layer, "_l0"))
    back, *b = numpy(X.astype(float), *weights(layer, "_l0_reverse"), reverse=True)
    middle = np.concatenate([there, back], 2)
    there, *c = numpy(middle, *weights(layer, "_l1"))
    back, *d = numpy(middle, *weights(layer, "_l1_reverse"), reverse=True)
    close(y, np.concatenate([there, back], 2))
    for k, s in enumerate(state if states == 2 else (state,)):
        close(s, np.stack([a[k], b[k], c[k], d[k]]))


@each
def test_what_a_call_returns(name: str) -> None:
    make, _, states = KINDS[name]
    torn = (lambda s: s) if states == 2 else (lambda s: (s,))

    def same(**flags: Any) -> Any:
        layer = make(4, 5, **flags)
        layer.load_state_dict(model.state_dict())
        return layer

    model = make(4, 5)
    y, state = model(x())
    assert y.shape == (6, 3, 5) and [s.shape for s in torn(state)] == [(1, 3, 5)] * states
    last = y[-1]
    h = torn(state)[0]
    close(h[0], last.detach().numpy())
    close(same(return_sequences=True)(x()), y.detach().numpy())
    for flags in ({"return_sequences": False}, {"return_state": False}):
        close(same(**flags)(x()), last.detach().numpy())
    out, ends = same(return_state=True)(x())
    close(out, last.detach().numpy())
    assert [s.shape for s in torn(ends)] == [(1, 3, 5)] * states
    out, ends = same(return_sequences=True, return_state=True)(x())
    close(out, y.detach().numpy())
    close(nn.Sequential(model)(x()), last.detach().numpy())
    for flags in ({"return_sequences": True}, {"return_sequences": True, "return_state": True}):
        close(nn.Sequential(same(**flags))(x()), y.detach().numpy())
    close(nn.Sequential(same(return_state=True))(x()), last.detach().numpy())
    # the tuples of KeyDNN
    out, ends = same(keras_compat=False)(x())
    close(out, y.detach().numpy())
    assert [s.shape for s in torn(ends)] == [(3, 5)] * states
    found = same(keras_compat=False, return_sequences=False)(x())
    if states == 1:
        close(found, last.detach().numpy())
    else:
        close(found[0], last.detach().numpy())
        close(found[1][0], last.detach().numpy())
    close(same(keras_compat=False, return_sequences=False, return_state=False)(x()), last.detach().numpy())


@each
def test_batch_first(name: str) -> None:
    make, _, _ = KINDS[name]
    layer = make(4, 5, bidirectional=True)
    turned = make(4, 5, bidirectional=True, batch_first=True)
    turned.load_state_dict(layer.state_dict())
    y, s = layer(x(), lengths=[6, 2, 4])
    z, t = turned(x().permute(axes=(1, 0, 2)), lengths=[6, 2, 4])
    close(z, y.detach().numpy().transpose(1, 0, 2))
    for a, b in zip(s, t, strict=True):
        close(a, b.detach().numpy())
    mask = np.arange(6) < np.array([[6], [2], [4]])
    close(turned(x().permute(axes=(1, 0, 2)), mask=mask)[0], z.detach().numpy())


@each
def test_lengths_are_a_mask(name: str) -> None:
    """A padded sequence gives what it gives alone; the last output is that of its last step."""
    make, _, _ = KINDS[name]
    layer = make(4, 5, return_state=True, bidirectional=True)
    lengths = [4, 6, 1]
    out, _ = layer(x(), lengths=lengths)
    for n, length in enumerate(lengths):
        close(layer(x()[:length, n : n + 1])[0][0], out.detach().numpy()[n])
    padded = X.copy()
    padded[4:, 0] = 1e3
    close(layer(cr.tensor(padded), lengths=cr.tensor(lengths))[0], out.detach().numpy())


@each
def test_first_states_and_their_gradients(name: str) -> None:
    """Two halves of a sequence, the state handed over, are the whole; and gradients go through the state."""
    make, _, states = KINDS[name]
    layer = make(4, 5, num_layers=2)
    y, end = layer(x())
    first, middle = layer(x()[:3])
    second, last = layer(x()[3:], middle)
    close(first, y.detach().numpy()[:3])
    close(second, y.detach().numpy()[3:])
    begin = [cr.randn(2, 3, 5, requires_grad=True) for _ in range(states)]
    out, _ = layer(x(), tuple(begin) if states == 2 else begin[0])
    out.sum().backward()
    for b in begin:
        assert b.grad.shape == (2, 3, 5) and float(b.grad.abs().sum().item()) > 0
        eps, moved = 1e-2, [t.detach() for t in begin]
        k = next(i for i, t in enumerate(begin) if t is b)
        ends = []
        for sign in (1, -1):
            moved[k] = b.detach() + sign * eps
            ends.append(layer(x(), tuple(moved) if states == 2 else moved[0])[0].sum().item())
        assert (ends[0] - ends[1]) / (2 * eps) == pytest.approx(float(b.grad.sum().item()), rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@each
def test_bidirectional(name: str, merge: str) -> None:
    make, numpy, _ = KINDS[name]
    layer = nn.Bidirectional(make(4, 5, return_sequences=True), merge_mode=merge)
    there, h, *_ = numpy(X.astype(float), *weights(layer.forward_layer, "_l0"))
    back, b, *_ = numpy(X.astype(float), *weights(layer.backward_layer, "_l0"), reverse=True)
    merged = {
        "concat": lambda p, q: np.concatenate([p, q], -1),
        "sum": np.add,
        "mul": np.multiply,
        "ave": lambda p, q: (p + q) / 2,
    }[merge]
    close(layer(x()), merged(there, back))
    assert not np.allclose(back[-1], back[0])
    layer.return_sequences = False
    close(layer(x()), merged(h, back[0]))  # the way back ends at the first step
    close(nn.Sequential(layer)(x()), merged(h, b))
    layer.return_state = True
    out, (forwards, backwards) = layer(x())
    close(out, merged(h, b))
    assert type(forwards) is type(backwards)


def test_bidirectional_has_each_parameter_once() -> None:
    """KeyDNN had every parameter of a Bidirectional twice, and an optimizer stepped twice."""
    layer = nn.Bidirectional(nn.LSTM(4, 5))
    assert len(layer.parameters()) == 8
    names = [n for n, _ in layer.named_parameters()]
    assert names[0] == "forward_layer.weight_ih_l0" and names[-1] == "backward_layer.bias_hh_l0"
    ways = layer.forward_layer.weight_ih_l0.numpy(), layer.backward_layer.weight_ih_l0.numpy()
    assert not np.allclose(*ways), "each way is drawn by itself"
    y, (there, back) = layer(x())
    y.sum().backward()
    assert y.shape == (6, 3, 10) and len(there) == len(back) == 2
    assert all(float(p.grad.abs().sum().item()) > 0 for p in layer.parameters())
    before = layer.forward_layer.bias_ih_l0.numpy().copy()
    gradient = layer.forward_layer.bias_ih_l0.grad.numpy()
    cr.optim.SGD(layer.parameters(), lr=0.1).step()
    close(layer.forward_layer.bias_ih_l0, before - 0.1 * gradient)


def test_bidirectional_begins_with_states() -> None:
    layer = nn.Bidirectional(nn.GRU(4, 5))
    y, (there, back) = layer(x())
    z, _ = layer(x(), (there, back))
    close(z[..., :5], layer.forward_layer(x(), there)[0].detach().numpy())
    close(z[..., 5:], layer.backward_layer(x(), back, reverse=True)[0].detach().numpy())


EXAMPLES = [
    (nn.RNN(4, 5, nonlinearity="relu", bias=False), X.shape),
    (nn.GRU(4, 5, num_layers=2, dropout=0.5, reset_after=False), X.shape),
    (nn.LSTM(4, 5, batch_first=True, bidirectional=True, return_sequences=True), X.shape),
    (nn.LSTM(5, init="orthogonal", return_state=True), X.shape),
    (nn.Bidirectional(nn.LSTM(4, 5, num_layers=2), merge_mode="sum", return_sequences=True), X.shape),
    (nn.RNNCell(4, 5), (3, 4)),
    (nn.GRUCell(4, 5, bias=False), (3, 4)),
    (nn.LSTMCell(4, 5), (3, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=repr)
def test_files(layer: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    model, given = nn.Sequential(layer), cr.randn(*shape)
    results = []
    for _ in range(2):
        y = model.eval()(given)
        results.append(y[0].numpy() if isinstance(y, tuple) else y.numpy())
        model.save(tmp_path / "m.safetensors")
        again = cr.load(tmp_path / "m.safetensors")
        assert repr(again) == repr(model)
        assert again.state_dict().keys() == model.state_dict().keys()
        model = again  # type: ignore[assignment]
    np.testing.assert_array_equal(*results)


def test_parameters_are_named_and_drawn_as_in_pytorch() -> None:
    layer = nn.LSTM(100, 16, num_layers=2, bidirectional=True)
    state = layer.state_dict()
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert [*state] == [k + s for s in suffixes for k in kinds]
    assert state["weight_ih_l0"].shape == (64, 100) and state["weight_ih_l1"].shape == (64, 32)
    assert all(float(v.abs().amax().item()) <= 0.25 for v in state.values())
    assert float(state["weight_ih_l0"].std().item()) == pytest.approx(0.25 / 3**0.5, rel=0.02)
    assert [*nn.GRU(2, 3, bias=False).state_dict()] == ["weight_ih_l0", "weight_hh_l0"]


@pytest.mark.parametrize(("make", "blocks"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_orthogonal(make: Any, blocks: int) -> None:
    state = make(7, 6, init="orthogonal").state_dict()
    for block in np.split(state["weight_hh_l0"].numpy().astype(float), blocks):
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-5)
    bias = np.zeros((blocks, 6))
    if blocks == 4:
        bias[1] = 1
    np.testing.assert_array_equal(state["bias_ih_l0"].numpy(), bias.ravel())
    assert not state["bias_hh_l0"].numpy().any()
    assert float(state["weight_ih_l0"].abs().amax().item()) <= np.sqrt(6 / (7 + 6 * blocks))


def test_dropout_acts_between_layers_in_training() -> None:
    layer = nn.GRU(4, 5, num_layers=2, dropout=0.5)
    assert not np.allclose(layer(x())[0].detach().numpy(), layer(x())[0].detach().numpy())
    layer.eval()
    close(layer(x())[0], layer(x())[0].detach().numpy())
    assert np.isfinite(nn.GRU(4, 5, num_layers=2, dropout=1.0)(x())[0].detach().numpy()).all()


@pytest.mark.parametrize("make", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells(make: Any) -> None:
    cell = make(5)
    layer = getattr(nn, make.__name__.removesuffix("Cell"))(4, 5)
    state: Any = None
    outputs = []
    for step in x():
        state = cell(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    layer.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
    close(cr.stack(outputs), layer(x())[0].detach().numpy())
    assert repr(cell) == f"{make.__name__}(input_size=4, hidden_size=5)"


def test_lazy_layers_and_float64() -> None:
    model = nn.Sequential(nn.LSTM(8, return_sequences=True), nn.Bidirectional(nn.GRU(4)), nn.Linear(2))
    assert model.build((6, 3, 4))(x()).shape == (3, 2)
    wide = nn.LSTM(4, 5, dtype="float64")
    assert wide(x().to("float64"))[0].dtype == "float64"


def test_backward_hooks_see_the_tensors_among_inputs_and_outputs() -> None:
    layer, seen = nn.LSTM(4, 5), []
    layer.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
    given = cr.tensor(X, requires_grad=True)
    y, (h, c) = layer(given)
    (y.sum() + h.sum()).backward()
    ((inputs, outputs),) = seen
    assert inputs[0].shape == (6, 3, 4) and outputs[0].shape == (6, 3, 5) and outputs[1] is None
    np.testing.assert_array_equal(given.grad.numpy(), inputs[0].numpy())
    layer(given, (h.detach(), c.detach()))[0].sum().backward()
    assert len(seen) == 2 and seen[1][0][1] is None


def test_summary_shows_shapes() -> None:
    text = str(nn.Sequential(nn.LSTM(4, 8), nn.Linear(8, 2)).summary((6, 3, 4)))
    assert "(3, 8)" in text and "448" in text


@each
def test_learning_a_short_task(name: str) -> None:
    """Which of the first inputs was the larger: the last step has to remember."""
    make, _, _ = KINDS[name]
    cr.manual_seed(0)
    r = np.random.default_rng(1)
    data = r.standard_normal((8, 32, 2)).astype("float32")
    labels = (data[0, :, 0] > data[0, :, 1]).astype("int64")
    model = nn.Sequential(make(2, 16), nn.Linear(16, 2))
    optimizer, loss = cr.optim.Adam(model.parameters(), lr=0.02), cr.losses.CrossEntropy()
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(model(cr.tensor(data)), cr.tensor(labels))
        value.backward()
        optimizer.step()
    assert value.item() < 0.05


def test_fit_decreases_the_loss() -> None:
    cr.manual_seed(0)
    r = np.random.default_rng(1)
    data = r.standard_normal((64, 5, 3)).astype("float32")
    model = nn.Sequential(nn.RNN(8, batch_first=True), nn.Linear(1))
    history = model.compile(loss="mse", optimizer="adam").fit(data, data.sum((1, 2))[:, None], epochs=8, verbose=0)
    assert all(a > b for a, b in pairwise(history.history["loss"]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.LSTM(4, 5)(x()[0]),
            ShapeError,
            r"\[lstm\] x has shape \(3, 4\); it should be \(time, batch, features\)",
        ),
        (lambda: nn.Sequential(nn.LSTM(4, 5), nn.LSTM(5, 5))(x()), ShapeError, "1: .*return_sequences=True"),
        (
            lambda: nn.LSTM(3, 5)(x()),
            ShapeError,
            r"x has 4 features .* but weight_ih has shape|weight_ih has shape \(20, 3\)",
        ),
        (lambda: nn.LSTM(4, 5)(x(), cr.zeros(1, 3, 5)), ArgumentTypeError, r"expected a tuple \(h, c\)"),
        (lambda: nn.GRU(4, 5)(x(), cr.zeros(2, 3, 5)), ShapeError, r"\(2, 3, 5\); GRU needs \(1, batch, 5\)"),
        (lambda: nn.GRU(4, 5)(x(), lengths=[1, 2]), ShapeError, r"lengths has shape \(2,\), expected \(3,\)"),
        (lambda: nn.GRU(4, 5)(x(), lengths=[1, 2, 7]), ArgumentError, r"lengths are \[1, 2, 7\], expected .* 0 to 6"),
        (lambda: nn.GRU(4, 5)(x(), lengths=[1, 2, 3], mask=np.ones((6, 3))), ArgumentError, "both mask and lengths"),
        (lambda: nn.GRU(4, 5)(x(), mask=np.ones((3, 6))), ShapeError, r"mask has shape \(3, 6\)"),
        (lambda: nn.GRU(4, 5, dropout=0.5), ArgumentError, "acts between layers, but num_layers is 1"),
        (lambda: nn.GRU(4, 5, num_layers=2, dropout=2), ArgumentError, "expected a probability"),
        (lambda: nn.GRU(4, 5, num_layers=2, keras_compat=False), ArgumentError, "for one layer in one direction"),
        (lambda: nn.GRU(4, 5, init="xavier"), ArgumentError, "unknown init of GRU 'xavier'"),
        (lambda: nn.RNN(4, 5, nonlinearity="sigmoid"), ArgumentError, "unknown nonlinearity of RNN"),
        (lambda: nn.RNN(4, 0), ArgumentError, "RNN: hidden_size is 0, expected a positive integer"),
        (lambda: nn.Bidirectional(nn.Linear(2)), ArgumentTypeError, "takes a layer RNN, GRU or LSTM"),  # type: ignore[arg-type]
        (lambda: nn.Bidirectional(nn.RNN(2, bidirectional=True)), ArgumentError, "goes one way"),
        (lambda: nn.Bidirectional(nn.RNN(2), merge_mode="avg"), ArgumentError, "did you mean 'ave'"),
        (lambda: nn.RNNCell(4, 5)(x()), ShapeError, r"\[rnncell\] x has shape \(6, 3, 4\)"),
        (lambda: nn.LSTMCell(4, 5)(x()[0], cr.zeros(3, 5)), ArgumentTypeError, r"LSTMCell takes \(h, c\)"),  # type: ignore[arg-type]
    ],
)
def test_errors(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
