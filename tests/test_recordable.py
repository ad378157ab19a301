"""A training step reads nothing back: a recorder that forbids it can listen to the whole of it."""

import numpy as np
import pytest
from tests.listeners import Heard

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.modes import listen

OPTIMIZERS = ["sgd", "adam", "adamw", "rmsprop", "lion"]


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_step_reads_nothing_back(backend, optimizer):
    with cr.backends.use(backend):
        x = cr.tensor(np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32))
        y = cr.tensor(np.arange(8) % 3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(3),
        ).build(x)  # fmt: skip
        loss_of, accuracy = losses.CrossEntropy(), metrics.get("accuracy", losses.CrossEntropy())
        step = optim.get(optimizer, model.parameters())

        def run():
            step.zero_grad()
            output = model(x)
            loss = loss_of(output, y)
            loss.backward()
            step.step()
            accuracy.update(output.detach(), y)
            return loss

        run()  # state is made at the first step
        before = model[0].weight.numpy().copy()
        with listen(Heard(forbids_reading=True)) as first:
            run()
        with listen(Heard(forbids_reading=True)) as second:
            run()
        assert first.names == second.names and {"conv2d" if backend == "cpu" else "matmul"} <= set(first.names)
        assert not np.array_equal(before, model[0].weight.numpy())
