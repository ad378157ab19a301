"""Training that is killed, at any moment and on a full disk, and goes on until it is done: the same bytes as without."""

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.prove.fuzz import SEED

from chainrule import errors, nn, optim
from chainrule.io import load_training, save_weights
from chainrule.io.weights import read
from chainrule.train import AverageWeights, Checkpoint, CSVLogger, EarlyStopping, Timer

PROGRAM = '''
"""A training with all that has a state: ``python this FOLDER EVERY SEED``."""
import json, sys
from pathlib import Path
import numpy as np
import chainrule as cr
from chainrule import nn, optim
from chainrule.data import ArrayDataset, GaussianNoise
from chainrule.optim import schedules
from chainrule.train import *

folder, every, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rng = np.random.default_rng(5)
x, y = rng.normal(size=(120, 1, 8, 8)).astype(np.float32), rng.integers(0, 4, 120)
w = rng.uniform(0.5, 2.0, 120).astype(np.float32)
cr.manual_seed(seed)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4))
model.compile("cross_entropy", "adam", ["accuracy"], accumulate=3, precision="fp16-mixed", clip_norm=1.0)
model(cr.tensor(x[:2]))
callbacks = [
    LRScheduler(schedules.Cosine(model.compiled.optimizer, 200), every="batch"),
    ReduceLROnPlateau("loss", patience=0, factor=0.7),
    EarlyStopping("val_loss", patience=50),
    AverageWeights(optim.EMA(model.parameters(), decay=0.8)),  # what the model has in the end
    ModelCheckpoint(folder / "best-{epoch}.safetensors", save_top_k=2, save_last=True, save_optimizer=True),
    CSVLogger(folder / "log.csv"),
    JSONLLogger(folder / "log.jsonl"),
    Checkpoint(folder / "run.safetensors", every=every if every == "epoch" else int(every)),
]
history = model.fit(
    ArrayDataset(x, y, w, transform=GaussianNoise(0.1)), epochs=6, batch_size=4, validation_split="auto",
    class_weight={0: 2.0}, callbacks=callbacks, resume=True, verbose=0,
)
model.save(folder / "final.safetensors", optimizer=model.compiled.optimizer)
history.to_csv(folder / "history.csv")
rows = [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]
for row in rows:
    del row["seconds"]  # on a clock
Path(folder, "rows.json").write_text(json.dumps(rows))
'''
KILLS = 24


def start(folder, every, seed=0, **options):
    environment = {**os.environ, "CHAINRULE_STRICT": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(every), str(seed)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def ends_well(process):
    text, _ = process.communicate()
    assert process.returncode == 0, text


def files(folder):
    """All that a training leaves, but for the clock's."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("log.jsonl", "run.safetensors")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    begin = time.perf_counter()
    process = start(folder, "epoch")
    ends_well(process)
    found = files(folder)
    assert {"final.safetensors", "history.csv", "last.safetensors", "log.csv", "rows.json"} <= found.keys()
    return found, time.perf_counter() - begin


def killed(folder, every, kills, seconds, chance):
    """Kill a training at random moments until it was killed ``kills`` times, then let it end. Returns how often it died."""
    died = 0
    for attempt in range(40 * kills):
        exists = (folder / "run.safetensors").exists()
        process = start(folder, every, seed=attempt if exists else 0)
        if died < kills:
            # from the first file of this attempt on, so that there is some way forward, or from the start of the program
            before = stamp(folder)
            until = time.perf_counter() + 60
            while chance.random() < 0.98 and stamp(folder) == before and process.poll() is None:
                assert time.perf_counter() < until
                time.sleep(0.002)
            time.sleep(chance.uniform(0, seconds))
            process.kill()
            text, _ = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), text
            died += process.returncode != 0
            if process.returncode == 0:
                break
        else:
            ends_well(process)
            break
    return died


def stamp(folder):
    """What changes when the file is replaced."""
    path = folder / "run.safetensors"
    return path.stat().st_ino if path.exists() else None


@pytest.mark.parametrize("every", ["1", "7", "epoch"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, straight, every, record_property):
    chance, died = random.Random(f"{SEED} {every}"), 0
    whole, _ = straight
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        died += killed(folder, every, KILLS - died, {"1": 0.03, "7": 0.06, "epoch": 0.2}[every], chance)
        assert files(folder) == whole
        if died >= KILLS:
            break
    assert died >= KILLS
    record_property("kills", died)


def test_on_a_full_disk_it_ends_and_goes_on_where_there_is_room(straight, record_property):
    """On a file system of 64 KiB where one can be mounted; elsewhere no file may be larger than it."""
    whole, _ = straight
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "small")
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
        small = mounted.returncode == 0
        record_property("full disk by", "tmpfs" if small else "RLIMIT_FSIZE")
        try:
            limit = None if small else (lambda: _limited(12_000))
            process = start(folder, "7", preexec_fn=limit)
            text, _ = process.communicate()
            assert process.returncode != 0 and "FileWriteError" in text and "was not written" in text, text
            assert not [*folder.glob(".*")]  # nothing half written is left
            before = (folder / "run.safetensors").read_bytes() if (folder / "run.safetensors").exists() else None
            if before is not None:
                load_training(folder / "run.safetensors")
            if small:
                subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True)
            process = start(folder, "7", seed=0 if before is None else 3)
            ends_well(process)
            assert files(folder) == whole
        finally:
            if small:
                subprocess.run(["umount", folder], check=True)


def _limited(size):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_readers_in_other_programs_see_whole_files(tmp_path, straight, record_property):
    """Two programs read the file without pause, while a training replaces it after every batch."""
    path = tmp_path / "run.safetensors"
    reader = (
        "import sys, chainrule as cr\n"
        "while True:\n"
        "    state = cr.io.load_training(sys.argv[1])\n"
        "    assert set(state) >= {'model', 'optimizer', 'where'}\n"
        "    print(state['where']['batches'], flush=True)\n"
    )
    process = start(tmp_path, "1")
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.002)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", reader, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    texts = [[], []]
    threads = [
        threading.Thread(target=lambda r=r, t=t: t.extend(r.stdout), daemon=True)
        for r, t in zip(readers, texts, strict=True)
    ]
    for thread in threads:
        thread.start()
    ends_well(process)
    for one, thread in zip(readers, threads, strict=True):
        failed = one.poll() is not None
        one.kill()
        thread.join()
        one.stdout.close()
        with one.stderr:
            assert not failed, one.stderr.read()
        one.wait()
    seen = {int(line) for text in texts for line in text if line.strip()}
    record_property("files read", sum(map(len, texts)))
    assert len(seen) > 5 and files(tmp_path) == straight[0]


def test_any_value_in_the_file_replaced_is_an_error_that_names_it_or_a_training(tmp_path, record_property):
    """Files whose checksums are good but which were made by hand: the model of another program is left as it was."""
    x, y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2

    def fit(path, resume, epochs, model=None):
        model = model or nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        model.compile("cross_entropy", "adam", ["accuracy"], accumulate=2, precision="fp16-mixed")
        average = optim.EMA(model.parameters())
        callbacks = [EarlyStopping("loss"), AverageWeights(average), Timer(), CSVLogger(tmp_path / "log.csv")]
        saved = [Checkpoint(path, every=3)] if resume is None else []
        return model.fit(
            x, y, epochs=epochs, batch_size=3, callbacks=[*callbacks, *saved], resume=resume, verbose=0,
            validation_split="auto", steps_per_epoch=7,
        )  # fmt: skip

    class Enough(Exception):
        pass

    def stop(_, epoch, logs):
        if epoch == 1:
            raise Enough

    path, bad = tmp_path / "run.safetensors", tmp_path / "bad.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CSVLogger, "on_epoch_end", stop)
        with pytest.raises(Enough):
            fit(path, None, 2)
    arrays, metadata = read(path)
    assert metadata["state"]["where"]["batch"] == 5 and metadata["state"]["updates"]["batches"] == 1
    tried, refused = 0, 0
    for parent, key in places(metadata):
        kept = parent[key]
        for other in (None, -1, "x", [None], {"$array": "none"}, 1e999, 2**70):
            parent[key] = other
            save_weights(bad, arrays, metadata)
            model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
            before = [value.numpy().tobytes() for value in model.state_dict().values()]
            tried += 1
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fit(bad, bad, 1, model)  # has nothing to do but to take it up
            except errors.ChainruleError as error:
                refused += 1
                assert str(bad) in str(error) or not isinstance(error, errors.FileFormatError), error
                after = [value.numpy().tobytes() for value in model.state_dict().values()]
                assert before == after, (key, other)
        parent[key] = kept
    record_property("files", tried)
    record_property("refused", refused)
    assert refused > 100


def places(tree):
    """Every (list or dict, key) inside a tree of JSON, but for what is looked at only when training ends."""
    for key, value in [*(tree.items() if isinstance(tree, dict) else enumerate(tree))]:
        if key == "kept":
            continue
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def test_what_writing_costs(tmp_path, record_property):
    """A Checkpoint of a model of 100 MB with Adam, 300 MB, beside the bare bytes of it."""
    model = nn.Sequential(*[nn.Linear(1600, 1600) for _ in range(10)], nn.Linear(1600, 1)).compile("mse", "adam")
    path, x = tmp_path / "run.safetensors", np.ones((2, 1600), np.float32)
    model.fit(x, np.ones((2, 1), np.float32), callbacks=Checkpoint(path), verbose=0)
    times = []

    class Timed(Checkpoint):
        def write(self):
            begin = time.perf_counter()
            super().write()
            times.append(time.perf_counter() - begin)

    model.fit(x, np.ones((2, 1), np.float32), epochs=3, callbacks=Timed(path), verbose=0)
    size, content = path.stat().st_size, path.read_bytes()
    bare = []
    for _ in range(3):
        begin = time.perf_counter()
        with open(tmp_path / "bare", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        bare.append(time.perf_counter() - begin)
    record_property("megabytes", round(size / 1e6))
    record_property("seconds to write", round(statistics.median(times), 3))
    record_property("seconds to write the bare bytes", round(statistics.median(bare), 3))
    assert size > 300e6
