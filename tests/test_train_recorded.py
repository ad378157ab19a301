"""``fit`` with its step recorded: the same history and the same weights, to the bit; and when it is not recorded."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim, train
from chainrule.domain.errors import ArgumentError, RecordingError


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def classes(count, n=26, seed=1):
    return np.random.default_rng(seed).integers(0, count, n)


class Attention(nn.Module):
    """A user's own layer."""

    def __init__(self):
        self.attend, self.norm = nn.MultiHeadAttention(8, 2, dropout=0.1), nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(x + self.attend(x)).mean(axis=1)


def graph():
    x = nn.Input((3, 8, 8))
    y = nn.Conv2d(3, 4, 3, padding=1)(x)
    y = nn.ReLU()(nn.BatchNorm2d(4)(y))
    z = nn.Conv2d(4, 4, 3, padding=1)(y) + y
    flat = nn.Flatten()(nn.MaxPool2d(2)(z))
    return nn.Graph(x, [nn.Linear(64, 3)(flat), nn.Linear(64, 1)(flat)])


LAST = {"batch_first": True, "return_sequences": False}
CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)), (6,), "adam", {}),
    "lazy": (lambda: nn.Sequential(nn.Linear(8), nn.GELU(), nn.Linear(3), nn.Softmax()), (6,), "sgd", {}),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(64, 3),
        ), (1, 8, 8), "adamw", {"clip_norm": 1.0},
    ),
    "lstm": (lambda: nn.Sequential(nn.LSTM(5, 6, **LAST), nn.Linear(6, 3)), (7, 5), "rmsprop", {"clip_value": 0.1}),
    "gru": (lambda: nn.Sequential(nn.Bidirectional(nn.GRU(5, 4, **LAST)), nn.Linear(8, 3)), (7, 5), "nadam", {}),
    "attention": (lambda: nn.Sequential(Attention(), nn.Linear(8, 3)), (5, 8), "adam", {"jit": True}),
    "bf16": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), (6,), "adam", {"precision": "bf16-mixed"}),
}  # fmt: skip


def trained(case, jit, **more):
    make, shape, optimizer, options = CASES[case]
    cr.manual_seed(0)
    model = make().compile("cross_entropy", optimizer, metrics=["accuracy"], **{"jit": jit, **options, **more})
    if jit is False:
        model.compiled.jit = False
    history = model.fit(numbers(26, *shape), classes(3), epochs=3, batch_size=4, validation_split=0.2, verbose=0)
    return model, history


@pytest.mark.parametrize("case", CASES)
def test_the_same_history_and_weights(case):
    (a, first), (b, second) = trained(case, False), trained(case, "auto")
    assert a.compiled.why_not == "compile(jit=False)" and b.compiled.why_not == ""
    assert dict(first) == dict(second)
    state = b.state_dict()
    assert all(v.numpy().tobytes() == state[k].numpy().tobytes() for k, v in a.state_dict().items())


def test_several_outputs_weights_of_samples_schedules_and_averages():
    found = []
    for jit in (False, "auto"):
        cr.manual_seed(0)
        model = graph()
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
        model.compile([losses.CrossEntropy(), losses.MSE()], optimizer, loss_weights=[1.0, 0.3], jit=jit)
        callbacks = [
            train.LRScheduler(optim.schedules.Exponential(optimizer, 0.9), every="batch"),
            train.AverageWeights(optim.EMA(model.parameters(), 0.9)),
        ]
        weights = np.linspace(0.1, 2.0, 26).astype(np.float32)
        history = model.fit(
            numbers(26, 3, 8, 8),
            [classes(3), numbers(26, 1, seed=5)],
            sample_weight=weights,
            epochs=3,
            batch_size=5,
            callbacks=callbacks,
            verbose=0,
        )
        assert model.compiled.why_not == ("compile(jit=False)" if jit is False else "")
        found.append((dict(history), {k: v.numpy().tobytes() for k, v in model.state_dict().items()}))
    assert found[0] == found[1]


def why_not(model, **options):
    model.compile(options.pop("loss", "cross_entropy"), options.pop("optimizer", "sgd"), **options)
    model.fit(numbers(12, 6), classes(3, 12), batch_size=4, epochs=2, verbose=0)
    return model.compiled.why_not


def simple():
    return nn.Sequential(nn.Linear(6, 3))


@nn.register_function
def twice(x):
    return x * 2


class Counting(nn.Linear):
    """A layer that does something in Python."""

    calls = 0

    def forward(self, x):
        Counting.calls += 1
        return super().forward(x)


def test_what_is_not_recorded_says_why():
    assert why_not(nn.Sequential(Counting(6, 3))) == "0 is a Counting, which may do something else in each step"
    assert Counting.calls == 6
    assert "Lambda" in why_not(nn.Sequential(nn.Linear(6, 3), nn.Lambda(twice)))
    assert "loss or metric of your own" in why_not(simple(), loss=lambda y, t: cr.cross_entropy(y, t))
    assert "batches are accumulated" in why_not(simple(), accumulate=2)
    assert "closure" in why_not(simple(), optimizer="lbfgs")
    assert why_not(simple(), precision="fp16-mixed") == ""
    hooked = simple()
    hooked[0].register_forward_hook(lambda *_: None)
    assert "hooks" in why_not(hooked)
    assert why_not(simple(), jit=False) == "compile(jit=False)"


def test_what_looked_at_a_model_leaves_it_as_it_was():
    model = simple()
    model.summary((None, 6))
    with cr.profile(model), cr.detect_anomaly(model):
        model(cr.ones(2, 6))
    model[0].register_forward_hook(lambda *_: None).remove()
    assert why_not(model) == ""


def test_own_code_is_recorded_if_asked_for():  # after the first batch, whose labels are looked at, and one more
    Counting.calls = 0
    assert (
        why_not(nn.Sequential(Counting(6, 3)), jit=True) == "" and Counting.calls == 3
    )  # the first, whose labels are looked at, one more, and the recorded one


def test_a_step_that_cannot_be_recorded_raises_if_asked_for():
    def loss(y, t):
        return cr.cross_entropy(y, t) * float(y.sum() > 0)

    with pytest.raises(RecordingError, match=r"test_train_recorded.py:\d+ reads a value"):
        why_not(simple(), loss=loss, jit=True)
    with pytest.raises(ArgumentError, match="jit is 'yes', expected"):
        simple().compile("mse", jit="yes")


def test_each_step_of_a_model_that_cannot_be_recorded_is_made_once():
    found = []
    for jit in (False, "auto"):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Masking(0.0), nn.LSTM(5, 4, **LAST), nn.Linear(4, 3))
        model.compile("cross_entropy", "adam", metrics=["accuracy"], jit=jit)
        x = numbers(12, 6, 5)
        x[:, 4:] = 0
        history = model.fit(x, classes(3, 12), batch_size=4, epochs=2, verbose=0)
        found.append(dict(history))
    assert found[0] == found[1]
