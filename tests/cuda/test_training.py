"""Training on a GPU: what it gives, and that nothing but the batch goes there and nothing comes back."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics, nn, optim, train, zoo

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 6)).astype(np.float32), np.arange(12) % 3
IMAGES = RNG.standard_normal((6, 1, 8, 8)).astype(np.float32)
STEPS = RNG.standard_normal((6, 3, 4)).astype(np.float32)
STEPS[::2, 2] = 0  # masked
TOKENS = RNG.integers(1, 11, (6, 5))
OF_6 = Y[:6]
ZOO = {
    "linear": (lambda: zoo.linear(3), X, Y),
    "mlp": (lambda: zoo.mlp(3, hidden=(5,)), X, Y),
    "lenet": (lambda: zoo.lenet(3), RNG.standard_normal((2, 1, 28, 28)).astype(np.float32), Y[:2]),
    "cnn": (lambda: zoo.cnn(3, channels=(2, 3), hidden=5), IMAGES, OF_6),
    "vgg": (lambda: zoo.vgg(3, channels=(2, 3)), IMAGES, OF_6),
    "resnet": (lambda: zoo.resnet(3, depth=8, width=2), IMAGES, OF_6),
    "resnet18": (lambda: zoo.resnet18(3, width=2), IMAGES, OF_6),
    "vit": (lambda: zoo.vit(3, width=8, depth=1, heads=2), IMAGES, OF_6),
    "lstm": (lambda: zoo.lstm(3, width=4), STEPS, OF_6),
    "gru": (lambda: zoo.gru(3, width=4), STEPS, OF_6),
    "transformer": (lambda: zoo.transformer(3, width=8, heads=2, depth=1), STEPS, OF_6),
    "gpt": (lambda: zoo.gpt(11, width=8, heads=2, depth=1, context=8), TOKENS, TOKENS),
}


def mlp(device="cuda", dropout=0.2):
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3)).to(device)


def trained(model, x, y, optimizer="sgd", *, epochs=2, batch=4, shuffle=False, callbacks=(), fit=None, **options):
    """What ``fit`` reports, and the state afterwards."""
    model.compile(options.pop("loss", "cross_entropy"), optimizer, **options)
    history = model.fit(
        x, y, epochs=epochs, batch_size=batch, shuffle=shuffle, callbacks=callbacks, verbose=0, **(fit or {})
    )
    return history.history, {k: v.numpy() for k, v in model.state_dict().items()}


def same(one, other):
    """Whether two trainings are equal to the bit."""
    assert one[0] == other[0]
    for name, value in one[1].items():
        np.testing.assert_array_equal(other[1][name], value, err_msg=name)


def close(one, other, rtol=1e-4):
    for name, values in one[0].items():
        np.testing.assert_allclose(other[0][name], values, rtol, 1e-6, err_msg=name)
    for name, value in one[1].items():
        np.testing.assert_allclose(other[1][name], value, 1e-3, 2e-5, err_msg=name)


@pytest.mark.parametrize("name", ZOO)
def test_models_of_the_zoo(name):
    """The same training on the CPU and, with recorded steps and without, on a GPU; predict and evaluate."""
    make, x, y = ZOO[name]
    found = []
    for device, jit in (("cpu", False), ("cuda", False), ("cuda", True)):
        cr.manual_seed(0)
        model = make().to(device)
        history, state = trained(
            model, x, y, optim.SGD(model.parameters(), lr=0.01), batch=6 if name == "resnet18" else 2, epochs=1, jit=jit
        )
        with cr.no_grad():
            history["again"], state["predicted"] = [model.evaluate(x, y)["loss"]], model.predict(x).numpy()
        found.append((history, state))
        assert {str(p.device) for p in model.parameters()} == {"cpu" if device == "cpu" else "cuda:0"}
    close(found[0], found[1])
    same(found[1], found[2])


def test_no_model_is_missing():
    assert ZOO.keys() == zoo.MODELS.keys()


OPTIONS = {
    "accumulate": {"accumulate": 2},
    "clip_norm": {"clip_norm": 0.1},
    "class weights": {"fit": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}},
    "sample weights": {"fit": {"sample_weight": np.linspace(0.1, 2.0, 12).astype(np.float32)}},
    "metrics": {"metrics": ["accuracy", metrics.F1("macro")]},
    "validation": {"fit": {"validation_data": (X[:5], Y[:5])}},
    "smoothing": {"loss": losses.CrossEntropy(label_smoothing=0.1)},
    "shuffle": {"shuffle": True},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_training(option):
    found = []
    for device, jit in (("cpu", False), ("cuda", False), ("cuda", "auto")):
        model = mlp(device, 0.0 if option == "shuffle" else 0.2)  # on the CPU one generator serves both
        options = {k: dict(v) if isinstance(v, dict) else v for k, v in OPTIONS[option].items()}
        found.append(trained(model, X, Y, optim.AdamW(model.parameters(), lr=0.05), jit=jit, **options))
    close(found[0], found[1])
    same(found[1], found[2])


def test_schedules_averages_and_early_stopping():
    found = []
    for device, jit in (("cpu", False), ("cuda", False), ("cuda", True)):
        model = mlp(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        average = optim.EMA(model.parameters(), decay=0.5)
        callbacks = [
            train.LRScheduler(lambda epoch, lr: 0.1 / (epoch + 1)),
            train.AverageWeights(average),
            train.EarlyStopping(monitor="loss", patience=1, min_delta=10.0, restore_best_weights=True),
        ]
        found.append(trained(model, X, Y, optimizer, epochs=4, callbacks=callbacks, jit=jit))
        assert average.updates == 9 and len(found[-1][0]["loss"]) == 3
    close(found[0], found[1])
    same(found[1], found[2])


def test_several_inputs_and_outputs():
    found = []
    for device, jit in (("cpu", False), ("cuda", False), ("cuda", True)):
        cr.manual_seed(0)
        a, b = nn.Input((6,), name="a"), nn.Input((6,), name="b")
        both = nn.Merge("concat")(nn.Linear(6, 3)(a), nn.Linear(6, 4)(b))
        model = nn.Graph([a, b], {"kind": nn.Linear(7, 3)(both), "value": nn.Linear(7, 1)(both)}).to(device)
        loss = {"kind": "cross_entropy", "value": "mse"}
        y = {"kind": Y, "value": X[:, :1]}
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        found.append(trained(model, {"a": X, "b": X[::-1].copy()}, y, optimizer, loss=loss, jit=jit))
    close(found[0], found[1])
    same(found[1], found[2])


# ---- nothing leaves the device


class Traffic(train.Callback):
    """What each batch copied and waited for, and what it launched."""

    def __init__(self, gpu):
        self.gpu, self.batches, self.launches = gpu, [], []

    def on_train_begin(self, logs):
        self.before, self.launched = {**self.gpu.copies}, self.gpu.driver.launches

    def on_batch_end(self, batch, logs):
        self.batches.append({k: v - self.before[k] for k, v in self.gpu.copies.items()})
        self.launches.append(self.gpu.driver.launches - self.launched)
        self.on_train_begin(logs)


def small_cnn():
    return nn.Sequential(
        *(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)),
        *(nn.Flatten(), nn.Linear(32, 3)),
    )


SMALL = {
    "mlp": (mlp, X[:6], OF_6),
    "cnn": (small_cnn, IMAGES, OF_6),
    "gpt": (lambda: zoo.gpt(11, width=8, heads=2, depth=1, context=8), TOKENS, TOKENS),
    "lstm": (lambda: zoo.lstm(3, width=4), STEPS, OF_6),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        (name, p)
        for name in SMALL
        for p in ("32", "bf16-mixed", "fp16-mixed")
        if p != "bf16-mixed" or name in ("mlp", "cnn")
    ],
)
def test_a_step_copies_the_batch_and_waits_for_nothing(gpu, name, precision, jit):
    make, x, y = SMALL[name]
    model, traffic = make().to("cuda"), Traffic(gpu)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    options = {"metrics": ["accuracy"], "clip_norm": 1.0, "precision": precision, "jit": jit}
    trained(model, x, y, optimizer, batch=2, epochs=2, callbacks=[traffic], **options)
    quiet = {"in": 1, "out": 0, "waits": 0}
    assert traffic.batches[4:] == [quiet] * 2
    assert (
        precision == "fp16-mixed" or traffic.batches[1:3] == [quiet] * 2
    )  # float16 may overflow before there is a state
    if jit:
        assert model.compiled.why_not == "" and traffic.launches[-1] <= 4 < traffic.launches[1]
    reads = []
    for size in (2, 6):
        before = gpu.copies["out"]
        model.evaluate(x, y, batch_size=size)
        reads.append(gpu.copies["out"] - before)
    assert reads[0] == reads[1], "the first batch's labels, and the averages at the end"


@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_mixed_precision(precision):
    found = []
    for device, jit in (("cpu", False), ("cuda", False), ("cuda", True)):
        model = mlp(device)
        found.append(
            trained(model, X, Y, optim.SGD(model.parameters(), lr=0.1), epochs=3, precision=precision, jit=jit)
        )
        assert {str(p.dtype) for p in model.parameters()} == {"float32"}
    np.testing.assert_allclose(found[1][0]["loss"], found[0][0]["loss"], 2e-2)
    same(found[1], found[2])


@pytest.mark.parametrize("average", [optim.EMA, optim.SWA])
@pytest.mark.parametrize("before", [0, 2])
def test_an_average_follows_the_model(average, before):
    def run(move):
        model = mlp("cpu")
        known = average(model.parameters())
        for i in range(4):
            if i == before:
                model.to("cuda" if move else "cpu")
            with cr.no_grad():
                for p in model.parameters():
                    p.add_(p * 0.5)
            known.update()
        with known.applied():
            found = [p.numpy() for p in model.parameters()]
        model.to("cpu")
        known.swap()
        return found + [p.numpy() for p in model.parameters()]

    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(one, other, 1e-6)
