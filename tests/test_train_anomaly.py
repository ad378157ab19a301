"""The first NaN or infinity of a training: where it is, forward and backward, and what is none."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import AnomalyError, ArgumentError


class Exp(nn.Module):
    def forward(self, x):
        return cr.exp(x)


class Root(nn.Module):
    def forward(self, x):
        return cr.sqrt(cr.relu(x))


class Block(nn.Module):
    def __init__(self, inner):
        self.fc1 = nn.Linear(4, 4)
        self.inner = inner

    def forward(self, x):
        return self.inner(self.fc1(x))


class Model(nn.Module):
    def __init__(self, inner):
        self.blocks = [Block(nn.Tanh()), Block(nn.Tanh()), Block(inner)]
        self.out = nn.Linear(4, 1)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def message(run):
    with pytest.raises(AnomalyError) as caught:
        run()
    return str(caught.value)


def test_an_overflow_deep_in_a_model_is_named_with_its_numbers():
    model = Model(Exp())
    model.blocks[2].fc1.bias.load(np.array([0.0, 0.0, 100.0, 0.0], np.float32))
    with cr.detect_anomaly(model):
        text = message(lambda: model(cr.zeros(2, 4)))
    assert text.startswith("blocks.2.inner: [exp] made inf at (0, 2) of its output (2, 4) float32, 2 of 8 not finite")
    assert "layer: Exp()" in text and "x: (2, 4) float32 from " in text and " to 100" in text and "88.7" in text
    model(cr.zeros(2, 4))  # unwatched again
    assert all(module._hooks is None for module in model.modules())


def test_a_derivative_that_is_infinite_is_named_by_the_call_it_belongs_to():
    model = Model(Root())
    for p in model.blocks[2].fc1.parameters():
        p.load(np.zeros(p.shape, np.float32))
    with cr.detect_anomaly(model):
        loss = model(cr.ones(3, 4)).sum()
        text = message(loss.backward)
    assert text.startswith("in the gradient of [sqrt], called at ")
    assert f"{__file__}:" in text and "in blocks.2.inner: Root()" in text and "sqrt(x + 1e-12)" in text


def test_a_gradient_says_what_its_rule_kept():
    x = cr.tensor([4.0, 0.0], requires_grad=True)
    with cr.detect_anomaly():
        text = message(lambda: (x.sqrt() * 3.0).sum().backward())
        assert ": made inf at (1,) of that of x (2,) float32, 1 of 2 not finite" in text
        assert "gradient of the output: (2,) float32 from 3 to 3" in text and "\n  y: (2,) float32 from 0 to 2" in text
        text = message(lambda: cr.checkpoint(lambda x: x.sqrt(), x).sum().backward())
        assert text.startswith("in the gradient of [sqrt]")


def test_what_a_body_hides_is_no_anomaly():
    p, y = cr.tensor([0.0, 1.0], requires_grad=True), cr.tensor([0.0, 1.0])
    with cr.detect_anomaly():
        cr.bce(p, y).backward()  # its logarithms are cut at -100
        cr.norm(cr.zeros(3, requires_grad=True)).backward()


def test_infinity_that_was_put_in_is_no_anomaly():
    scores, mask = cr.randn(3, 4), cr.tensor([[True, True, False, False]] * 3)
    scores.requires_grad = True
    attention, x = nn.MultiHeadAttention(8, 2), cr.randn(2, 5, 8)
    with cr.detect_anomaly(attention):
        cr.where(mask, scores, float("-inf")).softmax(axis=-1).sum().backward()
        bias = cr.where(mask, 0.0, cr.full((), float("-inf")))
        cr.log_softmax(scores + bias, axis=-1)[:, :2].sum().backward()
        attention(x, is_causal=True).sum().backward()
        cr.scaled_dot_product_attention(
            x, x, x, cr.where(cr.ones(5, 5).tril() > 0, 0.0, cr.full((), float("-inf")))
        ).sum()
        cr.max_pool2d(cr.randn(1, 1, 4, 4), kernel_size=3, padding=1)


def test_a_row_that_is_masked_whole_is_one():
    with cr.detect_anomaly():
        assert "masked" in message(lambda: cr.softmax(cr.full((2, 3), float("-inf"))))


def test_a_logarithm_of_zero_is_one_although_where_hides_it_and_the_way_out_works():
    x = cr.tensor([0.0, 2.0], requires_grad=True)
    with cr.detect_anomaly():
        assert "[log] made -inf" in message(lambda: cr.where(x > 0, x.log(), 0.0))
        cr.where(x > 0, cr.where(x > 0, x, 1.0).log(), 0.0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.5]


def test_what_is_wrong_with_an_input_is_said_of_the_input():
    model = Model(nn.Tanh())
    for value in (float("inf"), float("nan")):
        x = np.zeros((2, 4), np.float32)
        x[1, 1] = value
        with cr.detect_anomaly(model):
            assert message(lambda x=x: model(cr.tensor(x))).startswith(
                "input 0 of the model has NaN or infinity: (2, 4)"
            )


def test_a_step_that_breaks_a_parameter_is_named():
    model = nn.Sequential(nn.Linear(2, 1))
    optimizer = cr.optim.SGD(model.parameters(), lr=1e38)
    with cr.detect_anomaly(model):
        (model(cr.ones(1, 2)) * 100.0).sum().backward()
        text = message(optimizer.step)
    assert text.startswith("[sgd_] made -inf at (0, 0) of its parameter 0.weight (1, 2) float32")
    assert (
        "lr: " in text and "gradient: (1, 2) float32 from 100 to 100" in text and "learning rate is too large" in text
    )


def data(n=12):
    x = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    return x, x[:, :1].copy()


def test_fit_says_when_and_where():
    model = Model(Exp()).compile("mse", "sgd")
    model.compiled.optimizer.lr = 1e4
    x, y = data()
    text = message(lambda: model.fit(x, y, epochs=50, batch_size=4, verbose=0, debug="nan"))
    assert text.startswith("epoch 1, batch ") and "learning rate" in text
    assert "[" in text and "] made " in text and "float32" in text


def test_fit_looks_at_every_batch_of_a_loader():
    for part in (0, 1):
        pair = data()
        pair[part][9, 0] = -np.inf
        batches = [tuple(array[i : i + 4] for array in pair) for i in (0, 4, 8)]
        model = Model(nn.Tanh()).compile("mse", "sgd")
        text = message(lambda model=model, batches=batches: model.fit(iter(batches), verbose=0, debug="nan"))
        assert text.startswith(f"epoch 1, batch 3: part {part} of the data has NaN or infinity: (4, ")


def test_a_training_without_anomaly_is_the_same_watched_or_not():
    x, y = data()
    found = []
    for debug in (None, "nan"):
        cr.manual_seed(5)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        model.compile("mse", "adam")
        model.fit(x, y, epochs=3, batch_size=4, verbose=0, debug=debug, validation_split=1 / 3)
        found.append([v.numpy() for v in model.state_dict().values()])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_validation_is_looked_at_too():
    model = nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.999999), Exp()).compile("mse", "sgd")
    x, y = data()
    text = message(lambda: model.fit(x, y, validation_data=(x * 1e4, y), verbose=0, debug="nan"))
    assert text.startswith("epoch 1, validation batch 1: 2: [exp] made inf")


def test_another_debug_is_an_error():
    model = Model(nn.Tanh()).compile("mse", "sgd")
    with pytest.raises(ArgumentError, match="unknown debug 'nam': did you mean 'nan'"):
        model.fit(*data(), verbose=0, debug="nam")


HEALTHY = [
    lambda s, t: cr.losses.CrossEntropy(label_smoothing=0.1, ignore_index=1)(s, t),
    lambda s, t: cr.losses.CategoricalCrossEntropy()(s.softmax(axis=-1), cr.tensor(np.eye(3, dtype=np.float32))),
    lambda s, t: cr.kl_div(s.log_softmax(axis=-1), cr.tensor(np.eye(3, dtype=np.float32))),
    lambda s, t: cr.losses.BCEWithLogits()(s * 1e4, (s.detach() > 0).float()),
    lambda s, t: cr.losses.Focal()(s * 100.0, (s.detach() > 0).float()),
    lambda s, t: cr.log_cosh(s * 1e4, s.detach()),
    lambda s, t: cr.triplet_margin(s, s.detach(), s * 2.0),
    lambda s, t: cr.losses.CTC()(
        s.reshape(3, 1, 3).log_softmax(axis=-1), cr.tensor([[1, 2]]), cr.tensor([3]), cr.tensor([2])
    ),
]


@pytest.mark.parametrize("loss", HEALTHY)
def test_losses_at_their_edges_are_none(loss):
    scores = cr.randn(3, 3, requires_grad=True)
    with cr.detect_anomaly():
        loss(scores, cr.tensor([0, 1, 2])).backward()
    assert np.isfinite(scores.grad.numpy()).all()
