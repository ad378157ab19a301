"""Steps: those of optimizers that call for the loss, those that a model has itself, those on scores before a head."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, losses, nn, optim
from chainrule.data import ArrayDataset
from chainrule.train import EarlyStopping

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(22, 3)).astype("f"), RNG.normal(size=(22, 2)).astype("f")
LABELS = RNG.integers(0, 4, 22)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


# ---- heads


def test_a_graph_of_one_output_and_a_linear_layer_with_a_sigmoid_end_in_heads():
    x = np.array([[1.0], [-1.0]], "f")

    def one():
        node = nn.Input((1,))
        return nn.Graph(node, nn.Sigmoid()(nn.Linear(1)(node)))

    fused = nn.Linear(1, 1, activation="sigmoid")
    for model in (one(), nn.Sequential(fused), nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Sigmoid()))):
        next(iter(model.parameters())).load([[1e4]])
        model.compile("bce", "sgd", metrics="accuracy")
        assert model.evaluate(x, [[0.0], [0.0]]) == pytest.approx({"loss": 5e3, "accuracy": 0.5}, rel=1e-3)
        assert model.predict(x).tolist() == [[1.0], [0.0]]


def test_what_weighs_a_yes_stays_under_a_sigmoid():
    x, y = RNG.normal(size=(6, 2)).astype("f"), np.array([[1.0], [0.0]] * 3, "f")
    layer = nn.Linear(2, 1)
    loss = losses.BCEWithLogits(pos_weight=[3.0])
    bare = nn.Sequential(layer).compile(loss).evaluate(x, y)
    assert nn.Sequential(layer, nn.Sigmoid()).compile(loss).evaluate(x, y) == bare


def test_heads_are_found_where_they_are_inside():
    class Own(nn.Sequential):
        pass

    def sequel(head):
        return Own(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), *head)

    def network(head):
        node = nn.Input((3,))
        return nn.Graph(node, nn.Sequential(nn.Linear(5, 4), *head)(nn.Tanh()(nn.Linear(3, 5)(node))))

    for make in (sequel, network):
        histories = []
        for head in ((), (nn.Softmax(),), (nn.Softmax(temperature=1.0),)):
            cr.manual_seed(3)
            model = make(head)
            model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1), metrics=["accuracy", "log_loss"])
            histories.append(model.fit(A, LABELS, epochs=2, verbose=0).history)
        for name in ("loss", "accuracy"):
            assert histories[0][name] == histories[1][name] == histories[2][name]
        np.testing.assert_allclose(histories[1]["log_loss"], histories[0]["log_loss"], rtol=1e-5)
        assert model.predict(A, steps=1, batch_size=5).shape == (5, 4)
    warm = network((nn.Softmax(temperature=2.0),)).compile("cross_entropy")
    with_head = losses.CategoricalCrossEntropy()(warm(cr.tensor(A)), cr.tensor(LABELS)).item()
    assert warm.evaluate(A, LABELS)["loss"] == pytest.approx(with_head, rel=1e-6)


# ---- optimizers that call for the loss themselves


def test_lbfgs_fits_a_line_in_a_step_of_the_whole_data():
    x = RNG.normal(size=(64, 3)).astype(np.float64)
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 0.25
    model = nn.Sequential(nn.Linear(3, 1, dtype="float64"))
    model.compile("mse", optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe"))
    history = model.fit(x, y, batch_size=64, epochs=3, verbose=0)
    np.testing.assert_allclose(model[0].weight.numpy(), [[1.0, -2.0, 0.5]], atol=1e-4)
    assert history["loss"][-1] < 1e-6
    assert model.train_on_batch(x, y)["loss"] < 1e-9
    with pytest.raises(errors.ArgumentError, match="leave out accumulate"):
        model.compile("mse", optim.LBFGS(model.parameters()), accumulate=2)


def test_a_step_of_lbfgs_is_that_of_its_closure():
    def closure():
        optimizer.zero_grad()
        loss = losses.CrossEntropy()(other(cr.tensor(A)), cr.tensor(LABELS))
        loss.backward()
        optim.clip_grad_norm_(other.parameters(), 0.05)
        return loss

    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax())
    model.compile("cross_entropy", optim.LBFGS(model.parameters(), lr=0.5, max_iter=4), clip_norm=0.05)
    cr.manual_seed(1)
    other = nn.Sequential(nn.Linear(3, 4))
    optimizer = optim.LBFGS(other.parameters(), lr=0.5, max_iter=4)
    history = model.fit(A, LABELS, batch_size=22, shuffle=False, epochs=2, verbose=0)
    seen = [optimizer.step(closure).item() for _ in range(2)]
    np.testing.assert_array_equal(weights(model), weights(other))
    assert history["loss"] == pytest.approx(seen, rel=1e-6)


# ---- steps of the model's own


class Plain(nn.Module):
    def __init__(self):
        self.down, self.up = nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, x):
        return self.up(cr.tanh(self.down(x)))


class Autoencoder(Plain):
    def train_step(self, batch):
        (x,) = batch
        loss = losses.mse(self(x), x)
        self.compiled.optimizer.zero_grad()
        loss.backward()
        self.compiled.step()
        return {"loss": loss, "size": (self.down(x).detach() ** 2).mean()}

    def test_step(self, batch):
        return losses.mse(self(batch[0]), batch[0])


def test_a_model_with_a_step_of_its_own():
    cr.manual_seed(0)
    model = Autoencoder()
    model.compile(optimizer=optim.Adam(model.parameters(), lr=0.05))
    history = model.fit(A, epochs=20, batch_size=8, validation_data=ArrayDataset(B @ np.ones((2, 3), "f")), verbose=0)
    assert history["loss"][-1] < history["loss"][0] and list(history) == ["loss", "size", "val_loss"]
    cr.manual_seed(0)
    plain = Plain()
    plain.compile("mse", optim.Adam(plain.parameters(), lr=0.05))
    plain.fit(A, A, epochs=20, batch_size=8, verbose=0)
    np.testing.assert_array_equal(weights(plain), weights(model))
    assert model.evaluate(A)["loss"] == pytest.approx(((model.predict(A).numpy() - A) ** 2).mean(), rel=1e-5)


def test_a_step_of_its_own_may_call_the_usual_one_and_add_to_what_it_reports():
    class Mixed(nn.Sequential):
        def train_step(self, batch):
            x, y = batch
            logs = super().train_step((x[::2], y[::2]))
            return {**logs, "half": float(len(x[::2]))}

    def new(kind):
        cr.manual_seed(4)
        model = kind(nn.Linear(3, 4))
        return model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1), ["accuracy"], accumulate=2)

    model, plain = new(Mixed), new(nn.Sequential)
    stopping = EarlyStopping("half", mode="min", patience=1)
    history = model.fit(A[:16], LABELS[:16], batch_size=8, shuffle=False, epochs=4, callbacks=stopping, verbose=0)
    plain.fit(A[:16:2], LABELS[:16:2], batch_size=4, shuffle=False, epochs=2 + 1, verbose=0)
    assert history["half"] == [4.0, 4.0, 4.0] and list(history) == ["loss", "accuracy", "half"]
    assert len(history.epoch) == 3
    assert model.evaluate(A, LABELS).keys() == {"loss", "accuracy"}


def test_compiled_metrics_in_a_step_of_its_own_begin_again_with_each_epoch():
    class Own(nn.Sequential):
        def shown(self, batch):
            x, y = batch
            (accuracy,) = self.compiled.metrics
            output = self(x)
            accuracy.update(output.detach(), y)
            return {"loss": losses.cross_entropy(output, y), "accuracy": accuracy}

        train_step = test_step = shown

    cr.manual_seed(4)
    model = Own(nn.Linear(3, 4)).compile(metrics=["accuracy"])
    history = model.fit(A, LABELS, batch_size=8, epochs=2, validation_data=(A[:5], LABELS[:5]), verbose=0)
    expected = (model.predict(A).numpy().argmax(axis=1) == LABELS).mean()
    assert history["accuracy"] == pytest.approx([expected] * 2)
    first = (model.predict(A).numpy().argmax(axis=1) == LABELS)[:5].mean()
    assert history["val_accuracy"] == pytest.approx([first] * 2)
    assert model.train_on_batch(A, LABELS)["accuracy"] == pytest.approx(expected)


def test_what_a_step_of_its_own_must_return():
    class Silent(nn.Sequential):
        def train_step(self, batch):
            return None

    with pytest.raises(errors.ArgumentError, match="train_step returned NoneType, expected what it reports"):
        Silent(nn.Linear(3, 4)).compile().fit(A, LABELS, verbose=0)
    with pytest.raises(errors.ArgumentError, match="the model has no loss"):
        Silent(nn.Linear(3, 4)).compile().evaluate(A, LABELS)
