"""What ``make demo`` promises, twice: accuracy, time, and the same network from the same seed. Kept in docs/proof."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from chainrule.apps.about import about
from chainrule.apps.demo import EPOCHS
from chainrule.apps.digits import train_digits

HOME = Path(__file__).parent.parent.parent


def test_the_demo_reaches_its_accuracy_in_time_and_repeats_itself(tmp_path):
    first, second = (train_digits(tmp_path / name, epochs=EPOCHS, verbose=2) for name in "ab")
    describe = [
        "git",
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]  # -dirty: with changes beside it
    commit = subprocess.run(describe, capture_output=True, text=True, cwd=HOME).stdout.strip()
    proof = {
        "what": "make demo: MNIST, 60,000 training and 10,000 test images, trained twice from one seed",
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": about(),
        "test_accuracy": [first.test_accuracy, second.test_accuracy],
        "test_loss": [first.test_loss, second.test_loss],
        "train_seconds": [first.train_seconds, second.train_seconds],
        "epochs": EPOCHS,
    }
    folder = HOME / "docs" / "proof"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mnist_demo.json").write_text(json.dumps(proof, indent=2) + "\n")
    assert first.test_accuracy >= 0.985
    assert (first.test_accuracy, first.test_loss) == (second.test_accuracy, second.test_loss)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert min(first.train_seconds, second.train_seconds) <= 90
