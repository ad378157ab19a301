"""``make demo``: a network learns to read handwritten digits, from the download to the first predictions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from .. import plots
from ..data import load_mnist
from ..domain.errors import ChainruleError, MissingDependencyError
from ..io import load
from ..zoo import cnn
from .runs import Run
from .settings import Settings
from .training import train

OUT = "runs/demo"
EPOCHS = 4
SHADES = " .:-=+*#%@"


def drawn(image: np.ndarray) -> list[str]:
    """A picture (28, 28) as lines of text, every second row.

    >>> max(map(len, drawn(np.eye(28)))), len(drawn(np.eye(28)))
    (28, 14)
    """
    shades = np.rint(np.maximum(image[::2], image[1::2]) * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[v] for v in row) for row in shades]


def learn(out: str | Path, *, epochs: int = EPOCHS, limit: int = 0, verbose: int | str = "auto") -> dict[str, Any]:
    """Train on MNIST, all of it or the first ``limit`` digits, test, and draw the curves; what ``report.json`` has."""
    told = {"model.name": "cnn", "data.validation": 0.0, "data.limit": limit, "train.epochs": epochs}
    report = train(Settings().changed(told), out, overwrite=True, verbose=verbose)
    if report["epochs"]:
        try:
            plots.history(Run(Path(out)).history(), Path(out) / "history.png")
        except MissingDependencyError as error:
            print(error, file=sys.stderr)
    return report


def main() -> None:
    """Run it all."""
    print("chainrule learns to read digits: 60,000 pictures to learn from, 10,000 it will never see in training.\n")
    print(cnn().build((None, 1, 28, 28)).summary((None, 1, 28, 28)), "\n")
    report = learn(OUT)
    if report["interrupted"]:
        print(f"\nInterrupted after {report['epochs']} epochs; what was learnt is in {report['checkpoint']}.")
        return
    print(
        f"\nOf the 10,000 test digits it reads {report['test_accuracy']:.2%}, after {report['train_seconds']:.0f} s of"
        f" training ({report['samples_per_second']:,.0f} samples/s, {report['threads']} threads).\n"
        f"Saved in {OUT}: model.safetensors, report.json, history.jsonl, history.png and more.\n"
    )
    _, _, x_test, y_test = load_mnist()
    model = load(report["checkpoint"])
    chances = model.predict(x_test[:4]).numpy()
    print("Loaded back from its file, it says of the first test digits:\n")
    for lines in zip(*(drawn(image[0]) for image in x_test[:4]), strict=True):
        print("".join(lines).rstrip())
    says = [f"{p.argmax()} ({p.max():.1%}), is {y}" for p, y in zip(chances, y_test[:4], strict=True)]
    print("".join(text.center(28) for text in says).rstrip())
    print(
        "\nWhat to try next:\n"
        "  .venv/bin/chainrule predict runs/demo/model.safetensors MY_DIGIT.png   a digit of your own\n"
        "  .venv/bin/chainrule report runs/demo                                   all about it in one page\n"
        "  .venv/bin/chainrule train mnist --model mlp --out runs/mlp             another network\n"
        "  .venv/bin/chainrule info                                               what this machine runs it on\n"
        "  examples/                                                              programs to start from\n"
        "  README.md, docs/flow.md                                                how it works inside"
    )


if __name__ == "__main__":
    try:
        main()
    except ChainruleError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
