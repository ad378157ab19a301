"""Handwritten digits with convolutions, on pictures shifted a little at random.

python -m examples.learn.mnist_cnn
"""

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import ArrayDataset, DataLoader, RandomCrop, load_mnist
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer


def block(channels):
    """3×3 convolution, batch norm, ReLU, and a maximum of each 2×2 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)
    )


def learn(quick=False):
    """Train, and tell the accuracy on the 10,000 test digits."""
    x_train, y_train, x_test, y_test = load_mnist()
    epochs = 6
    if quick:
        x_train, y_train, epochs = x_train[:1000], y_train[:1000], 1

    cr.manual_seed(0)
    model = nn.Sequential(
        block(32), block(64), block(128), nn.Flatten(), nn.Linear(128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10)
    )
    model.build((None, 1, 28, 28))
    loader = DataLoader(
        ArrayDataset(x_train, y_train), batch_size=128, shuffle=True, seed=0, transform=RandomCrop(padding=2)
    )
    optimizer = optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    model.compile("cross_entropy", optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=4e-3, total=epochs * len(loader))
    timer = Timer()
    history = model.fit(loader, epochs=epochs, callbacks=[LRScheduler(schedule, every="batch"), timer])
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    return {"figure": accuracy, "model": model, "history": history, "samples": len(x_train), "seconds": timer.total}


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of the test digits right")
