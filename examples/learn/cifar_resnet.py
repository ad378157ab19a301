"""Photographs of ten kinds of things (CIFAR-10) with a small residual network, cropped and mirrored at random.

python -m examples.learn.cifar_resnet
"""

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data import ArrayDataset, Compose, DataLoader, Normalize, RandomCrop, RandomHorizontalFlip, load_cifar10
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer

WIDTH = 16


def conv(channels):
    """3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU())


def smaller(channels):
    """As ``conv``, to a picture of half the height and width."""
    return nn.Sequential(conv(channels), nn.MaxPool2d(2))


def residual(channels):
    """What two convolutions make of a picture is added to it (He et al., 2015)."""
    return nn.Residual(nn.Sequential(conv(channels), conv(channels)))


def learn(quick=False):
    """Train, and tell the accuracy on the 10,000 test photographs."""
    x_train, y_train, x_test, y_test = load_cifar10(raw=True)
    epochs = 12
    if quick:
        x_train, y_train, epochs = x_train[:500], y_train[:500], 1

    cr.manual_seed(0)
    model = nn.Sequential(
        conv(WIDTH),
        smaller(2 * WIDTH),
        residual(2 * WIDTH),
        smaller(4 * WIDTH),
        smaller(8 * WIDTH),
        residual(8 * WIDTH),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Linear(10),
    )
    model.build((None, 3, 32, 32))
    normalize = Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    changes = Compose([RandomCrop(padding=4, mode="reflect"), RandomHorizontalFlip(), normalize])
    loader = DataLoader(ArrayDataset(x_train, y_train), batch_size=128, shuffle=True, seed=0, transform=changes)
    optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4, exempt=True)
    model.compile(losses.CrossEntropy(label_smoothing=0.1), optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=0.2, total=epochs * len(loader))
    timer = Timer()
    history = model.fit(loader, epochs=epochs, callbacks=[LRScheduler(schedule, every="batch"), timer])
    accuracy = model.evaluate(normalize(x_test), y_test)["accuracy"]
    return {"figure": accuracy, "model": model, "history": history, "samples": len(x_train), "seconds": timer.total}


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of the test photographs right")
