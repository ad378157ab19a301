"""``predict`` and ``evaluate`` with their steps recorded: the same bits; programs that stay, and that go when they must."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics, nn, train
from chainrule.domain.errors import RecordingError
from chainrule.recording import Program


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels(n, count=3):
    return np.random.default_rng(1).integers(0, count, n)


@pytest.fixture
def replayed(monkeypatch):
    """How often programs ran."""
    runs, call = [], Program.__call__
    monkeypatch.setattr(Program, "__call__", lambda self, inputs: (runs.append(self), call(self, inputs))[1])
    return runs


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax())


def cnn():
    layers = (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    return nn.Sequential(*layers)


def two():
    x = nn.Input((6,))
    y = nn.ReLU()(nn.Linear(6, 5)(x))
    return nn.Graph(x, [nn.Linear(5, 3)(y), nn.Linear(5, 1)(y)])


def recurrent():
    return nn.Sequential(nn.GRU(5, 4, batch_first=True, return_sequences=False), nn.Linear(4, 3))


CASES = {
    "mlp": (mlp, numbers(27, 6), labels(27), "cross_entropy", {"metrics": ["accuracy"]}),
    "cnn": (cnn, numbers(27, 1, 8, 8), labels(27), "cross_entropy", {"metrics": ["accuracy", "f1"]}),
    "gru": (recurrent, numbers(27, 7, 5), numbers(27, 3), "mse", {"metrics": ["mae"]}),
    "graph": (two, numbers(27, 6), [labels(27), numbers(27, 1)], [losses.CrossEntropy(), losses.MSE()], {}),
    "bf16": (mlp, numbers(27, 6), labels(27), "cross_entropy", {"precision": "bf16-mixed"}),
}


def made(case, jit):
    make, x, y, loss, more = CASES[case]
    cr.manual_seed(0)
    return make().compile(loss, "adam", jit=jit, **more), x, y


def bits(outputs):
    return [part.numpy().tobytes() for part in (outputs if isinstance(outputs, tuple) else (outputs,))]


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_before_and_after_training(case, replayed):
    found = []
    for jit in (False, "auto"):
        model, x, y = made(case, jit)
        rows = []
        for _ in range(3):
            rows += [bits(model.predict(x, batch_size=5)), model.evaluate(x, y, batch_size=5)]
            rows.append(dict(model.fit(x, y, validation_data=(x, y), validation_batch_size=5, epochs=2, verbose=0)))
        found.append(rows)
        assert jit is not False or not replayed
    assert found[0] == found[1]
    assert len({*map(id, replayed)}) >= 2  # of prediction and of evaluation


def test_few_batches_pay_for_no_recording(replayed, monkeypatch):
    def fail(*_):
        raise AssertionError("recorded")

    model, x, y = made("mlp", "auto")
    monkeypatch.setattr("chainrule.recording.function.Recorder", fail)
    model.predict(x[:10], batch_size=5)
    model.evaluate(x[:10], y[:10], batch_size=5)
    with pytest.raises(AssertionError, match="recorded"):
        model.predict(x[:5])


def test_programs_stay_for_later_calls_and_through_training(replayed):
    model, x, y = made("mlp", "auto")
    for _ in range(3):
        model.predict(x, batch_size=9)
    replayed.clear()
    model.predict(x, batch_size=9)
    assert len(replayed) == 3 and len({*map(id, replayed)}) == 1
    model.fit(x, y, verbose=0)
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})
    replayed.clear()
    got = model.predict(x, batch_size=9)
    assert len(replayed) == 3
    model.compiled.jit = False
    assert bits(got) == bits(model.predict(x, batch_size=9))


def test_a_model_that_was_never_compiled(replayed):
    model = mlp().build((None, 6))
    found = [model.predict(numbers(27, 6), batch_size=9) for _ in range(3)]
    assert len(replayed) == 6 and len({bits(y)[0] for y in found}) == 1


def change_of_layer(model):
    model[1] = nn.Tanh()


def change_of_attribute(model):
    model[1].negative_slope = 0.5


def change_of_weight(model):
    model[0].weight.adopt(model[0].weight.detach() * 2)


def more_layers(model):
    model.add(nn.Linear(3, 3))


def a_hook(model):
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)


@pytest.mark.parametrize("change", [change_of_layer, change_of_attribute, change_of_weight, more_layers, a_hook])
def test_a_changed_model_is_recorded_anew(change):
    found = []
    for jit in (False, "auto"):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.1), nn.Linear(8, 3), nn.Softmax())
        model.compile("cross_entropy", metrics=["accuracy"], jit=jit)
        x, y = numbers(27, 6), labels(27)
        rows = []
        for _ in range(2):
            rows += [bits(model.predict(x, batch_size=5)) for _ in range(2)]
            rows += [model.evaluate(x, y, batch_size=5) for _ in range(2)]
            change(model)
        found.append(rows)
    assert found[0] == found[1]
    assert found[0][0] != found[0][4]


def test_another_loss_or_metric_or_weight_of_one_counts():
    found = []
    for jit in (False, "auto"):
        model, x, y = copy.deepcopy(made("graph", jit))
        rows = [model.evaluate(x, y, batch_size=5)]
        model.compiled.terms[1].weight = 3.0
        rows.append(model.evaluate(x, y, batch_size=5))
        model.compiled.terms[0].loss.label_smoothing = 0.2
        rows.append(model.evaluate(x, y, batch_size=5))
        model.compile("mse", metrics=[["mae"], []], jit=jit, optimizer="sgd")
        rows.append(model.evaluate(x, [numbers(27, 3), numbers(27, 1)], batch_size=5))
        found.append(rows)
    assert found[0] == found[1] and len({str(row) for row in found[0]}) == 4


def test_copies_and_files_of_a_model_have_no_programs(tmp_path):
    model, x, y = made("mlp", "auto")
    want = bits(model.predict(x, batch_size=3))
    model.evaluate(x, y, batch_size=3)
    assert [*model._replays.recorded["predict 32"].programs]
    model.save(tmp_path / "model.npz")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._replays is None
        with cr.no_grad():
            other[0].weight.mul_(0.5)
        assert bits(other.predict(x, batch_size=3)) != want
        assert bits(model.predict(x, batch_size=3)) == want


def test_a_model_goes_with_its_programs_at_once():
    model, x, y = made("mlp", "auto")
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            model.predict(x, batch_size=5)
            model.evaluate(x, y, batch_size=5)
        gone = weakref.ref(model), weakref.ref(model[0].weight)
        del model
        assert [r() for r in gone] == [None, None]
    finally:
        gc.enable()


def test_what_earlier_calls_gave_stays(replayed):
    model, x, _ = made("mlp", "auto")
    kept = [model.predict(x + i, batch_size=9) for i in range(5)]
    assert replayed
    model.compiled.jit = False
    assert [bits(y) for y in kept] == [bits(model.predict(x + i, batch_size=9)) for i in range(5)]


class Doubling(nn.Linear):
    """A layer of a user, which counts its calls."""

    calls = 0

    def forward(self, x):
        Doubling.calls += 1
        return super().forward(x) * 2


class Reading(nn.Linear):
    """A layer that reads a value."""

    def forward(self, x):
        return super().forward(x) * float(x.sum() > 1e9)


def test_own_code_runs_each_time_unless_asked_for(replayed):
    Doubling.calls = 0
    model = nn.Sequential(Doubling(6, 3))
    model.predict(numbers(25, 6), batch_size=5)
    assert Doubling.calls == 5 and not replayed
    model.compile("mse", jit=True)
    model.predict(numbers(25, 6), batch_size=5)
    assert Doubling.calls == 8 and len(replayed) == 2
    model = nn.Sequential(Reading(6, 3)).compile("mse", jit=True)
    with pytest.raises(RecordingError, match="reads a value"):
        model.predict(numbers(25, 6), batch_size=5)


def test_a_metric_that_cannot_be_recorded_is_shown_all():
    found = []
    for jit in (False, "auto"):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 1)).compile("bce_with_logits", metrics=[metrics.ROCAUC()], jit=jit)
        x, y = numbers(27, 6), (labels(27, 2)[:, None]).astype(np.float32)
        found.append([model.evaluate(x, y, batch_size=5) for _ in range(3)])
    assert found[0] == found[1] and found[0][0] == found[0][2]


def test_what_could_not_be_recorded_is_said_to_who_asks_for_it(monkeypatch):
    monkeypatch.setattr(Reading, "__module__", "chainrule.nn")  # as if it could be recorded
    model = nn.Sequential(Reading(6, 1)).compile("bce_with_logits", metrics=[metrics.ROCAUC()])
    x, y = numbers(27, 6), (labels(27, 2)[:, None]).astype(np.float32)
    for jit in ("auto", True):
        model.compiled.jit = jit
        for call in (lambda: model.predict(x, batch_size=5), lambda: model.evaluate(x, y, batch_size=5)):
            if jit == "auto":
                call()
            else:
                with pytest.raises(RecordingError, match="reads a value"):
                    call()


def test_more_kinds_of_batches_than_programs_are_kept(replayed):
    model = mlp()
    for _ in range(4):
        for n in range(1, 30):
            model.predict(numbers(n, 6))
    assert len(model._replays.recorded["predict"].programs) == 16
    assert len(replayed) == 16


def test_an_evaluation_inside_another(replayed):
    inner, x, y = made("mlp", "auto")
    want = inner.evaluate(x, y, batch_size=5)
    inside = []

    def batches():
        for i in range(0, 25, 5):
            inside.append(inner.evaluate(x, y, batch_size=5))
            yield x[i : i + 5], y[i : i + 5]

    for _ in range(2):
        assert inner.evaluate(batches()) == inner.evaluate(x[:25], y[:25], batch_size=5)
    assert inside == [want] * 10 and replayed


def test_threads_that_predict_at_once():
    model, x, _ = made("mlp", "auto")
    model.eval()
    want, found = bits(model.predict(x, batch_size=5)), []

    def work():
        found.extend(bits(model.predict(x, batch_size=5)) == want for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert found == [True] * 80


def test_an_error_in_the_data_leaves_the_replays_usable(replayed):
    model, x, y = made("mlp", "auto")
    want = model.evaluate(x, y, batch_size=5)

    def batches():
        yield from ((x[i : i + 5], y[i : i + 5]) for i in range(0, 25, 5))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        model.evaluate(batches())
    assert model.evaluate(x, y, batch_size=5) == want and replayed


def test_validation_in_fit_is_replayed(replayed):
    model, x, y = made("mlp", "auto")
    model.fit(x, y, batch_size=27, epochs=1, validation_data=(x, y), validation_batch_size=3, verbose=0)
    assert len(replayed) == 6  # of nine: two come before, one is recorded
    best = train.EarlyStopping("val_loss", patience=1)
    model.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[best], verbose=0)
