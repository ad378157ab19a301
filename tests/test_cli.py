"""The command line, as a user starts it: what it prints, what it leaves behind, how it fails."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from chainrule import load
from chainrule.apps.digits import train_digits

QUICK = ["--limit-train", "1500", "--epochs", "2", "--model", "mlp"]


def run(*args, cwd=None, **env):
    command = [sys.executable, "-W", "error", "-m", "chainrule", *map(str, args)]
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", **env}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which ``chainrule train mnist`` was run, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = run("train", "mnist", *QUICK, "--out", "runs/mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "mine", done.stdout


def test_train_prints_an_epoch_a_line_and_keeps_a_report(trained):
    folder, out = trained
    lines = out.splitlines()
    assert lines[0].startswith("Epoch 1/2 · ") and lines[1].startswith("Epoch 2/2 · ")
    report = json.loads((folder / "report.json").read_text())
    assert lines[2].startswith(f"test accuracy {report['test_accuracy']:.4f}, ")
    assert report["test_accuracy"] > 0.8
    assert report["epochs"] == 2 and report["train_samples"] == 1500 and report["model"] == "mlp"
    assert report["samples_per_second"] == pytest.approx(3000 / report["train_seconds"], rel=0.05)
    assert report["checkpoint"] == os.path.join("runs", "mine", "model.safetensors")
    assert sorted(p.name for p in folder.iterdir()) == [
        "history.csv",
        "history.png",
        "model.safetensors",
        "report.json",
    ]
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_the_same_seed_gives_the_same_network_for_any_number_of_threads(trained, tmp_path, mnist):
    folder, _ = trained
    again = run("train", "mnist", *QUICK, "--out", tmp_path, "--threads", "1", "--json")
    assert again.returncode == 0, again.stderr
    first, second = json.loads((folder / "report.json").read_text()), json.loads(again.stdout)
    assert second["test_accuracy"] == first["test_accuracy"] and second["test_loss"] == first["test_loss"]
    assert second["threads"] == 1
    other = train_digits(tmp_path / "other", model="mlp", epochs=2, limit_train=1500, seed=1, verbose=0)
    assert other.test_loss != first["test_loss"]
    one, two = load(folder / "model.safetensors"), load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(one.predict(mnist.x_test[:100]).numpy(), two.predict(mnist.x_test[:100]).numpy())


def test_evaluate_agrees_with_the_report(trained):
    folder, _ = trained
    done = run("evaluate", folder / "model.safetensors", "--json")
    report = json.loads((folder / "report.json").read_text())
    assert json.loads(done.stdout) == {
        "loss": report["test_loss"],
        "accuracy": report["test_accuracy"],
        "samples": 10000,
    }
    shown = run("evaluate", folder / "model.safetensors").stdout
    assert f"{report['test_accuracy']:.4g}" in shown


def test_predict_reads_pictures_dark_on_light_and_light_on_dark(trained, tmp_path, mnist):
    from PIL import Image

    folder, _ = trained
    model = load(folder / "model.safetensors")
    sure = np.flatnonzero(model.predict(mnist.x_test[:200]).numpy().max(axis=1) > 0.95)[:4]
    expected = model.predict(mnist.x_test[sure]).numpy().argmax(axis=1).tolist()
    for i, place in enumerate(sure):
        image = mnist.x_test[place, 0]
        if i % 2:
            np.save(tmp_path / f"{i}.npy", image)
        else:
            large = Image.fromarray(np.round(255 * (1 - image)).astype(np.uint8)).resize(
                (280, 280), Image.Resampling.BOX
            )
            sheet = Image.new("L", (500, 400), 255)
            sheet.paste(large, (60, 90))
            sheet.save(tmp_path / f"{i}.png")
    pictures = sorted(tmp_path.iterdir())
    done = run("predict", folder / "model.safetensors", *pictures, "--json")
    results = json.loads(done.stdout)
    assert [result["digit"] for result in results] == expected
    assert all(len(result["top"]) == 3 and 0 < result["probability"] <= 1 for result in results)
    line = run("predict", folder / "model.safetensors", pictures[0]).stdout
    assert line.startswith(f"{pictures[0]}: {expected[0]} (")


def test_info():
    found = json.loads(run("info", "--json", CHAINRULE_NUM_THREADS="1").stdout)
    assert found["backend"] == "cpu" and found["threads"] == 1 and found["version"] and found["gpu"] is None
    assert found["simd"] in ("baseline", "avx2", "avx512", "neon")
    assert found["memory_gib"] > 0.1 and found["cores"] >= 1
    assert "simd" in run("info").stdout


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_has_examples(args):
    done = run(*args)
    assert done.returncode == 0 and "chainrule train mnist" in done.stdout or "Example: chainrule" in done.stdout


def test_the_script_is_installed_as_declared():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"chainrule": "chainrule.apps.cli:main"}
    from chainrule.apps.cli import main

    assert callable(main)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["evaluate", "none.safetensors"], 1, "chainrule: .*none.safetensors does not exist"),
        (["evaluate", "report.json"], 1, "chainrule: .*report.json is JSON by its name"),
        (["evaluate", "cut.safetensors"], 1, "chainrule: .*cut.safetensors"),
        (["predict", "model.safetensors", "none.png"], 1, "chainrule: .*there is no file none.png"),
        (["predict", "model.safetensors", "blank.npy"], 1, "chainrule: .*blank"),
        (["train", "mnist", "--lr", "-1"], 1, "chainrule: the learning rate is -1.0"),
        (
            ["train", "mnist", "--limit-train", "10", "--epochs", "1", "--out", "report.json"],
            1,
            "chainrule: .*report.json",
        ),
        (["train", "cifar"], 2, "'cifar' is not one of 'mnist'"),
        (["train", "mnist", "--epochs", "0"], 2, "--epochs"),
        (["train", "mnist", "--model", "resnet"], 2, "--model"),
        (["train", "mnist", "--threads", "0"], 2, "--threads"),
        (["predict", "model.safetensors"], 2, "(?i)missing argument"),
        (["fly"], 2, "No such command 'fly'"),
        ([], 2, ""),
    ],
)
def test_errors_are_one_clear_line_and_an_exit_code(trained, tmp_path, args, code, message):
    import re

    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "blank.npy", np.ones((28, 28)))
    done = run(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.splitlines()) == 1
