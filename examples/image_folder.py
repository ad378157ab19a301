"""Images in folders, one for each class: read in batches, augmented, learnt, and a single file recognised.

python examples/image_folder.py [--quick] [FOLDER]     (pip install 'chainrule[images]')

Without a folder it makes one, of the small digits that come with the package.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import Compose, DataLoader, ImageFolder, RandomShift, load_digits, random_split

quick = "--quick" in sys.argv
given = [a for a in sys.argv[1:] if a != "--quick"]
root = Path(given[0] if given else "digits")
if not given:
    for i, (image, label) in enumerate(zip(*(part[: 500 if quick else None] for part in load_digits()), strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype(np.uint8)).resize((16, 16)).save(root / str(label) / f"{i}.png")

images = ImageFolder(root, size=16, mode="L")
print(f"{len(images)} images in {len(images.classes)} classes: {', '.join(images.classes)}")
train, test = random_split(images, [0.8, 0.2], seed=0)
loader = DataLoader(train, batch_size=32, shuffle=True, seed=0, transform=Compose([RandomShift(1)]), workers=2)

cr.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(len(images.classes)),
)
model.compile("cross_entropy", optim.Adam(model.parameters(), lr=5e-3), metrics=["accuracy"])
model.fit(loader, epochs=6 if quick else 20, verbose=0)
accuracy = model.evaluate(DataLoader(test, batch_size=100))["accuracy"]
print(f"{accuracy:.1%} of {len(test)} others right")

picture = next(root.rglob("*.png"))
pixels = np.asarray(Image.open(picture).convert("L").resize((16, 16)), dtype="float32") / 255
print(f"{picture} is a {images.classes[int(model.predict(pixels[None, None]).argmax(axis=1).item())]}")
if accuracy < 0.6:
    raise SystemExit("it learned little")
