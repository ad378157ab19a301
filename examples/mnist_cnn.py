"""Train a CNN on the MNIST digits with fit, watch it, keep the best, save it, use it.

python examples/mnist_cnn.py [--quick]
"""

import sys

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_mnist
from chainrule.train import EarlyStopping, ModelCheckpoint

quick = "--quick" in sys.argv
x_train, y_train, x_test, y_test = load_mnist()
if quick:
    x_train, y_train = x_train[:1000], y_train[:1000]

cr.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128),  # its input size is found when the first batch arrives
    nn.ReLU(),
    nn.Dropout(0.25),
    nn.Linear(10),
    nn.Softmax(),  # predict gives probabilities; training works on the scores before
)
print(model.summary((None, 1, 28, 28)))

model.compile("cross_entropy", optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4), metrics=["accuracy"])
history = model.fit(
    x_train,
    y_train,
    epochs=2 if quick else 8,
    batch_size=64,
    validation_split=0.1,
    callbacks=[
        EarlyStopping("val_loss", patience=1),
        ModelCheckpoint("runs/example/best.safetensors", save_best_only=True),
    ],
)
print(model.evaluate(x_test, y_test))
history.to_csv("runs/example/history.csv")
model.save("runs/example/model.safetensors")

again = cr.load("runs/example/model.safetensors")
for image, label in zip(x_test[:5], y_test[:5], strict=True):
    (chances,) = again.predict(image[None]).numpy()
    print(f"says {chances.argmax()} ({chances.max():.1%}), is {label}")
