"""Checkpoints that would not fit into memory beside the model: the memory of a process is limited, and loading goes well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chainrule import nn

LIMITED = """
import resource, sys
import numpy as np
import chainrule as cr
from chainrule.io import load_weights

path, what = sys.argv[1:]

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

size = 64 * 1024 * 1024 * 4
layers = range(3, 4) if what == "part" else range(64)
model = cr.nn.Sequential({str(i): cr.nn.Linear(1024, 1024, bias=False) for i in layers})
if what == "drawn":
    for p in model.parameters():
        p.draw()
base, room = status("VmRSS"), 160_000_000 + {"drawn": 0, "part": 0}.get(what, size)  # less than a second copy
resource.setrlimit(resource.RLIMIT_DATA, (int(status("VmData") + room), -1))
try:
    if what == "mmap":
        resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))  # pages that may be written count, though none is
        model.load_weights(path, mmap=True)
        assert status("VmRSS") - base < size / 10, status("VmRSS") - base
    elif what == "twice":
        model.load_state_dict(load_weights(path))
    elif what == "new":
        model = cr.load(path)
    else:
        model.load_weights(path, strict=what != "part")
except MemoryError:
    print("MemoryError")
    raise SystemExit
peak = status("VmHWM") - base
assert all(p.array[0, 0] == i for i, p in zip(layers, model.parameters()))
print(peak / size)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 268 MB, in a folder of four files."""
    folder = tmp_path_factory.mktemp("large")
    made = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(64)))
    for i, parameter in enumerate(made.parameters()):
        parameter.load(np.full((1024, 1024), i, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.io.atomic.os.fsync", lambda fd: None)
        made.save(folder / "m", max_shard_size="70MB")
    return folder / "m"


@pytest.mark.parametrize("what", ["new", "drawn", "mmap", "part", "twice"])
def test_there_is_no_second_copy(large: Path, what: str) -> None:
    """The memory of the process (of Linux) is limited so that two copies do not fit; for a part, not even one of all."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(large), what], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if what == "twice":
        assert done.stdout.strip() == "MemoryError"
    elif what != "mmap":  # of which the pages that are looked at are in memory
        assert float(done.stdout) < {"drawn": 0.6, "part": 0.3}.get(what, 1.3), done.stdout


TRAINING = """
import resource, sys
import numpy as np
import chainrule as cr

path, what = sys.argv[1:]

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

model = cr.nn.Sequential(*(cr.nn.Linear(1024, 1024, bias=False) for _ in range(16))).compile("mse", "adam")
x = np.zeros((8, 1024), np.float32)
if what == "write":
    model.fit(x, x + 1, epochs=1, verbose=0, callbacks=[cr.train.Checkpoint(f"{path}/run.safetensors")])
    model.save(f"{path}/model.safetensors", optimizer=model.compiled.optimizer)
    raise SystemExit
for p in model.parameters():
    p.draw()
size, base = 16 * 1024 * 1024 * 4, status("VmRSS")
# twice the model is what Adam remembers; 60 MB are no room for the model in the file, 40 more are what a step needs
resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + 2 * size + 60_000_000 + 40_000_000 * (what == "resume"), -1))
if what == "load_training":
    cr.io.load_training(f"{path}/run.safetensors", model=model, optimizer=model.compiled.optimizer)
elif what == "resume":
    model.fit(x, x + 1, epochs=1, verbose=0, resume=f"{path}/run.safetensors")
else:
    cr.io.load_optimizer(f"{path}/model.safetensors", model)
assert len(model.compiled.optimizer.state_dict()["state"]) == 16
print((status("VmHWM") - base) / size)
"""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 201 MB: a model of 67 MB with Adam, and a training of it."""
    folder = tmp_path_factory.mktemp("training")
    subprocess.run([sys.executable, "-c", TRAINING, str(folder), "write"], check=True, timeout=120)
    return folder


@pytest.mark.parametrize("what", ["load_training", "resume", "load_optimizer"])
def test_a_training_is_not_read_whole(
    training: Path, what: str, record_property: Callable[[str, object], None]
) -> None:
    """The most memory, beside a model that is there: twice the model, which is the optimizer's, and some arrays of 4 MB."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(training), what], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    record_property("of the model", float(done.stdout))
    assert float(done.stdout) < 2.7, done.stdout
