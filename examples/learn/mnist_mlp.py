"""Handwritten digits with linear layers alone: 784 pixels, two hidden layers, ten classes.

python -m examples.learn.mnist_mlp
"""

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_mnist
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer


def learn(quick=False):
    """Train, and tell the accuracy on the 10,000 test digits."""
    x_train, y_train, x_test, y_test = load_mnist()
    epochs = 8
    if quick:
        x_train, y_train, epochs = x_train[:1000], y_train[:1000], 1

    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(10),
    )
    model.build((None, 1, 28, 28))
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    model.compile("cross_entropy", optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=3e-3, total=epochs * -(-len(x_train) // 128))
    timer = Timer()
    history = model.fit(
        x_train, y_train, epochs=epochs, batch_size=128, callbacks=[LRScheduler(schedule, every="batch"), timer]
    )
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    return {"figure": accuracy, "model": model, "history": history, "samples": len(x_train), "seconds": timer.total}


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of the test digits right")
