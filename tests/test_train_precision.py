"""Training in mixed precision, losses that are scaled, and rehearsals on little data."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.domain.errors import AnomalyError, ArgumentError, ArgumentTypeError, GraphError, StateError
from chainrule.modes import listen
from chainrule.train import AverageWeights, CSVLogger, EarlyStopping, LossScaler, ModelCheckpoint, lr_find

MIXED = ["bf16-mixed", "fp16-mixed"]


def data(n=64, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 6)).astype(np.float32)
    return x, (x[:, :3] ** 2).argmax(axis=1)


def network():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def weights(model):
    return [np.array(p.numpy()) for p in model.parameters()]


class Seen:
    """The dtypes of what ``linear`` made."""

    def __init__(self, forbids_reading=False):
        self.forbids_reading, self.dtypes = forbids_reading, set()

    def launched(self, backend, name, inputs, params, outputs):
        if name == "linear":
            self.dtypes.add(str((outputs if isinstance(outputs, cr.Tensor) else outputs[0]).dtype))


# ---- LossScaler


def test_the_scale_falls_after_an_overflow_and_grows_after_good_steps():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.5, momentum=0.9)
    scaler = LossScaler(init_scale=8.0, growth_interval=2)
    found = []
    for factor in (1.0, float("inf"), 1.0, 1.0, float("nan"), 1.0, 1.0):
        before = x.tolist()
        optimizer.zero_grad()
        scaler.scale((x * factor).sum()).backward()
        stepped = scaler.step(optimizer)
        scaler.update()
        assert (x.tolist() != before) == stepped == np.isfinite(factor)
        found.append(scaler.get_scale())
    assert found == [8.0, 4.0, 4.0, 8.0, 4.0, 4.0, 8.0] and scaler.skipped == 2


def test_gradients_are_unscaled_before_they_are_clipped_and_the_step_is_as_without():
    def run(scaler):
        x = cr.tensor([3.0, 4.0], requires_grad=True)
        optimizer = optim.SGD([x], lr=1.0)
        loss = (x * x).sum()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(optimizer)
        norm = optim.clip_grad_norm_([x], 1.0)
        optimizer.step() if scaler is None else scaler.step(optimizer)
        return norm.item(), x.tolist()

    assert run(LossScaler()) == run(LossScaler(2.0**-3, dynamic=False)) == run(None)


def test_a_static_scale_stays_and_steps_that_overflow_are_left_out():
    x = cr.tensor([1.0], requires_grad=True)
    optimizer, scaler = optim.SGD([x], lr=1.0), LossScaler(4.0, dynamic=False)
    scaler.scale((x * float("inf")).sum()).backward()
    assert not scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0 and scaler.skipped == 1 and x.item() == 1.0


def test_a_scaler_goes_on_from_its_state_and_says_what_is_wrong():
    scaler = LossScaler(init_scale=16.0)
    scaler._numbers["good_steps"].fill_(7)
    scaler._numbers["skipped"].fill_(3)
    other = LossScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() == {"scale": 16.0, "good_steps": 7, "skipped": 3}
    with pytest.raises(StateError, match="expected scale, good_steps, skipped"):
        other.load_state_dict({"scale": 1.0})
    with pytest.raises(GraphError, match="there was none"):
        scaler.update()
    optimizer = optim.SGD([cr.tensor([1.0], requires_grad=True)], lr=1.0)
    scaler.unscale_(optimizer)
    with pytest.raises(GraphError, match="unscaled already"):
        scaler.unscale_(optimizer)
    for options in ({"init_scale": 0.0}, {"growth_factor": 1.0}, {"backoff_factor": 1.5}, {"growth_interval": 0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            LossScaler(**options)


# ---- compile(precision=...)


@pytest.mark.parametrize("precision", MIXED)
def test_products_are_in_16_bits_and_all_a_user_sees_in_32(precision):
    x, y = data()
    model = network()
    model.compile("cross_entropy", "adam", metrics=["accuracy"], precision=precision)
    model.compiled.optimizer.lr = 0.01
    seen = Seen()
    with listen(seen):
        history = model.fit(x, y, epochs=25, batch_size=16, verbose=0)
        logs, output = model.evaluate(x, y), model.predict(x)
    assert seen.dtypes == {"bfloat16" if precision == "bf16-mixed" else "float16"}
    assert history["loss"][-1] < 0.6 * history["loss"][0] and logs["accuracy"] > 0.8
    assert output.dtype == "float32" and all(v.dtype in ("float32", "int64") for v in model.state_dict().values())
    assert all(
        t.dtype != "float16" for s in model.compiled.optimizer.state_dict()["state"].values() for t in s.values()
    )
    assert ("skipped_steps" in history) == (precision == "fp16-mixed")
    assert model.train_on_batch(x[:8], y[:8])["loss"] < 1.0


def test_32_is_as_without():
    found = []
    for precision in (None, "32"):
        cr.manual_seed(1)
        model = network().compile("cross_entropy", "adam", precision=precision)
        model.fit(*data(), epochs=2, verbose=0)
        found.append(weights(model))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("precision", MIXED)
def test_accumulated_batches_are_the_step_of_all_but_for_rounding(precision):
    x, y = data(24)
    found = []
    for size, accumulate in ((24, 1), (10, 3)):  # the last of three batches is smaller
        cr.manual_seed(2)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        sgd = optim.SGD(model.parameters(), lr=0.5)
        model.compile("cross_entropy", sgd, clip_norm=0.5, accumulate=accumulate, precision=precision)
        model.build((None, 6))
        if precision == "fp16-mixed":
            model.compiled.precision.scaler._numbers["scale"].fill_(
                2.0**10
            )  # sums over samples overflow sooner than means
        before = weights(model)
        model.fit(x, y, batch_size=size, shuffle=False, verbose=0)
        found.append([a - b for a, b in zip(weights(model), before, strict=True)])
    norm = np.sqrt(sum((change**2).sum() for change in found[0]))
    assert abs(norm - 0.25) < 1e-3  # clipped to 0.5, and a learning rate of 0.5: they were unscaled first
    assert max(np.abs(a - b).max() for a, b in zip(*found, strict=True)) < 2.0**-7 * norm


class TwoHeads(nn.Module):
    def __init__(self):
        self.body, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x):
        h = self.body(x).tanh()
        return self.a(h), self.b(h)


@pytest.mark.parametrize("precision", MIXED)
def test_several_outputs(precision):
    x, y = data()
    model = TwoHeads().compile(["cross_entropy", "mse"], "adam", precision=precision)
    history = model.fit(x, (y, x[:, :1]), epochs=12, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    assert [output.dtype for output in model.predict(x)] == ["float32", "float32"]


def test_an_overflow_leaves_the_step_out_and_the_logs_say_so(capsys):
    x, y = data(32)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model.compile("cross_entropy", "adam", precision="fp16-mixed").build((None, 6))
    scaler = model.compiled.precision.scaler
    before = weights(model)
    scaler._numbers["scale"].fill_(2.0**40)
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, debug="nan")  # and that is no anomaly
    assert history["skipped_steps"] == [4.0, 4.0] and scaler.get_scale() == 2.0**32
    model.fit(x, y, batch_size=8, verbose=2)
    assert " · skipped_steps 4" in capsys.readouterr().out
    assert all(np.array_equal(a, b) for a, b in zip(weights(model), before, strict=True))
    history = model.fit(x, y, epochs=12, batch_size=8, verbose=0)
    assert 0 in history["skipped_steps"] and scaler.get_scale() < 2.0**20
    assert history["loss"][-1] < history["loss"][0]


def test_an_anomaly_under_a_scaler_is_found_in_the_forward():
    model = nn.Sequential(nn.Linear(6, 3)).compile("mse", "sgd", precision="fp16-mixed")
    x, _ = data(8)
    with pytest.raises(AnomalyError, match=r"epoch 1, batch 1: 0: \[cast\] made -?inf"):
        model.fit(x * 1e6, np.zeros((8, 3), np.float32), verbose=0, debug="nan")


def test_a_step_in_bfloat16_reads_nothing():
    x, y = data(8)
    model = network().compile("cross_entropy", "adam", clip_norm=1.0, precision="bf16-mixed")
    model.train_on_batch(x, y)
    batch = (cr.tensor(x), cr.tensor(y))
    with listen(Seen(forbids_reading=True)):
        model.train_step(batch)


def test_a_step_of_the_models_own_runs_in_it_too():
    class Own(nn.Sequential):
        def train_step(self, batch):
            x, y = batch
            output = self(x)
            dtypes.add(str(output.dtype))
            return super().train_step((x, y))

    dtypes, (x, y) = set(), data()
    cr.manual_seed(0)
    model = Own(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model.compile("cross_entropy", "adam", metrics=["accuracy"], precision="bf16-mixed")
    cr.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    plain.compile("cross_entropy", "adam", metrics=["accuracy"], precision="bf16-mixed")
    histories = [dict(m.fit(x, y, epochs=2, shuffle=False, verbose=0)) for m in (model, plain)]
    assert dtypes == {"bfloat16"} and histories[0] == histories[1]


def test_averages_of_weights_and_the_search_for_a_rate_go_with_it():
    x, y = data()
    for precision in MIXED:
        model = network().compile("cross_entropy", "adam", precision=precision)
        before = [np.array(v.numpy()) for v in model.build((None, 6)).state_dict().values()]
        scaler = model.compiled.precision.scaler
        if scaler is not None:
            scaler._numbers["scale"].fill_(2.0**40)  # too large: it falls, and is put back
        trial = lr_find(model, x, y, start=1e-5, stop=1.0, steps=40)
        assert scaler is None or (scaler.get_scale() == 2.0**40 and scaler.skipped == 0)
        assert 1e-5 < trial.suggestion < 1.0
        after = [v.numpy() for v in model.state_dict().values()]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        average = optim.EMA(model.parameters(), decay=0.9)
        model.fit(x, y, epochs=2, callbacks=AverageWeights(average), verbose=0)
        assert average.updates == 4 and all(p.dtype == "float32" for p in model.parameters())


def test_what_cannot_be_is_said():
    with pytest.raises(ArgumentError, match="unknown precision 'bf16-mxed': did you mean 'bf16-mixed'"):
        network().compile("mse", "sgd", precision="bf16-mxed")

    class Own:
        def step(self):
            pass

        zero_grad = step

    with pytest.raises(ArgumentTypeError, match="fp16-mixed need an optim.Optimizer"):
        network().compile("mse", Own(), precision="fp16-mixed")
    model = network()
    with pytest.raises(ArgumentError, match="LBFGS takes no scaled losses: use bf16-mixed"):
        model.compile("mse", optim.LBFGS(model.parameters()), precision="fp16-mixed")


# ---- fast_dev_run, overfit_batches


class Steps(cr.train.Callback):
    def __init__(self):
        self.batches, self.epochs = 0, 0

    def on_batch_end(self, batch, logs):
        self.batches += 1

    def on_epoch_end(self, epoch, logs):
        self.epochs += 1
        self.logs = dict(logs)


@pytest.mark.parametrize("given, batches", [(True, 1), (3, 3), (100, 4)])
def test_a_rehearsal_is_one_epoch_of_few_batches_and_writes_nothing(given, batches, tmp_path, capsys):
    x, y = data()
    steps = Steps()
    model = network().compile("cross_entropy", "adam")
    callbacks = [
        steps, ModelCheckpoint(tmp_path / "a.safetensors"), CSVLogger(tmp_path / "log.csv"), EarlyStopping("val_loss")
    ]  # fmt: skip
    history = model.fit(
        x, y, epochs=5, batch_size=16, validation_data=(x, y), validation_freq=3, callbacks=callbacks,
        fast_dev_run=given, verbose=2,
    )  # fmt: skip
    assert (steps.batches, steps.epochs, len(history["val_loss"])) == (batches, 1, 1)
    assert not [*tmp_path.iterdir()]
    many = "1 batch" if given is True else f"{given} batches"
    assert f"fast_dev_run: one epoch of {many}, without ModelCheckpoint, CSVLogger" in capsys.readouterr().out


def test_a_rehearsal_still_finds_mistakes_in_callbacks():
    model = network().compile("cross_entropy", "adam")
    with pytest.raises(ArgumentError, match="unknown value to monitor in EarlyStopping 'los'"):
        model.fit(*data(), callbacks=EarlyStopping("los"), fast_dev_run=True, verbose=0)


@pytest.mark.parametrize("given, samples", [(1, 16), (2, 32), (0.5, 32), (1.0, 64)])
def test_the_same_batches_in_each_epoch_and_validation_on_them(given, samples):
    x, y = data()

    class Recorder(nn.Sequential):
        def train_step(self, batch):
            rows.append(np.array(batch[0].numpy()))
            return super().train_step(batch)

    rows = []
    model = Recorder(nn.Linear(6, 3)).compile("cross_entropy", "sgd")
    model.compiled.optimizer.lr = 0.0
    history = model.fit(
        x, y, epochs=3, batch_size=16, validation_data=(x + 9, y), overfit_batches=given, verbose=0
    )  # the validation is not on what was given for it
    seen = np.concatenate(rows)
    assert np.array_equal(seen, np.tile(x[:samples], (3, 1)))
    assert np.allclose(history["val_loss"], history["loss"], rtol=1e-6)


def test_a_model_learns_few_batches_by_heart():
    x, y = data()
    model = network().compile("cross_entropy", "adam")
    model.compiled.optimizer.lr = 0.02
    y = np.random.default_rng(1).permutation(y)  # nothing else could be learnt
    assert model.fit(x, y, epochs=150, batch_size=16, overfit_batches=1, verbose=0)["loss"][-1] < 0.1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"fast_dev_run": 1.5}, "fast_dev_run is 1.5"),
        ({"overfit_batches": -1}, "overfit_batches is -1"),
        ({"overfit_batches": 1.5}, "overfit_batches is 1.5"),
        ({"overfit_batches": 0.01}, "of 2 that is no batch"),
        ({"overfit_batches": 1, "fast_dev_run": True}, "not both"),
    ],
)
def test_rehearsals_that_make_no_sense(options, words):
    with pytest.raises(ArgumentError, match=words):
        network().compile("cross_entropy", "adam").fit(*data(), verbose=0, **options)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_windows_skip_no_steps_that_single_batches_do_not(loss):
    x, y = data(128)
    y = x[:, :3] if loss == "mse" else y
    for accumulate in (1, 2):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        model.compile(loss, "sgd", precision="fp16-mixed", accumulate=accumulate)
        assert model.fit(x, y, batch_size=32, verbose=0)["skipped_steps"] == [0]
