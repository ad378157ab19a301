"""Transfer learning: a network that knows five digits learns the other five from twenty images of each.

python examples/transfer.py [--quick]
"""

import sys

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_digits

quick = "--quick" in sys.argv
x, y = load_digits()
low, high = y < 5, y >= 5


def network(classes):
    body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential({"body": body, "head": nn.Linear(16 * 4 * 4, classes)})


def learn(model, x, y, epochs):
    trained = [p for p in model.parameters() if p.requires_grad]
    model.compile("cross_entropy", optim.Adam(trained, lr=5e-3), metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=25, verbose=0)
    return model


cr.manual_seed(0)
teacher = learn(network(5), x[low], y[low], 6 if quick else 12)
teacher.save("five_digits.safetensors")

# the other digits: twenty images of each to learn from, the rest to test with
x, y = x[high], y[high] - 5
few = np.concatenate([np.flatnonzero(y == k)[:20] for k in range(5)])
rest = np.setdiff1d(np.arange(len(y)), few)

student = network(5)
student.load_weights("five_digits.safetensors", rename={"^head": None}, strict=False)  # all but the head
student["body"].requires_grad_(False)  # stays as it is
learn(student, x[few], y[few], 20 if quick else 40)

accuracy = student.evaluate(x[rest], y[rest])["accuracy"]
trained, total = (sum(p.size for p in student.parameters() if p.requires_grad or every) for every in (False, True))
print(f"{trained} of {total} weights trained on {len(few)} images: {accuracy:.1%} of {len(rest)} others right")
if accuracy < 0.85:
    raise SystemExit("nothing was transferred")
