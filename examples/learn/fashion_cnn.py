"""Photographs of clothes (Fashion-MNIST) with convolutions; half of the pictures mirrored at random.

python -m examples.learn.fashion_cnn
"""

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data import ArrayDataset, DataLoader, RandomHorizontalFlip, load_fashion_mnist
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer


def conv(channels):
    """3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU())


def learn(quick=False):
    """Train, and tell the accuracy on the 10,000 test pictures."""
    x_train, y_train, x_test, y_test = load_fashion_mnist()
    epochs = 8
    if quick:
        x_train, y_train, epochs = x_train[:1000], y_train[:1000], 1

    cr.manual_seed(0)
    model = nn.Sequential(
        conv(32),
        nn.MaxPool2d(2),
        conv(64),
        conv(64),
        nn.MaxPool2d(2),
        conv(128),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(10),
    )
    model.build((None, 1, 28, 28))
    loader = DataLoader(
        ArrayDataset(x_train, y_train), batch_size=128, shuffle=True, seed=0, transform=RandomHorizontalFlip()
    )
    optimizer = optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    model.compile(losses.CrossEntropy(label_smoothing=0.1), optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=4e-3, total=epochs * len(loader))
    timer = Timer()
    history = model.fit(loader, epochs=epochs, callbacks=[LRScheduler(schedule, every="batch"), timer])
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    return {"figure": accuracy, "model": model, "history": history, "samples": len(x_train), "seconds": timer.total}


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of the test pictures right")
