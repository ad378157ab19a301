"""The command line, as a user starts it: what it prints, what it leaves behind, how it fails."""

import io
import json
import os
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.commands import command_line
from typer.testing import CliRunner

import chainrule as cr
from chainrule.apps.cli import app
from chainrule.apps.cli import main as start
from chainrule.random import manual_seed

QUICK = ["--limit-train", "600", "--epochs", "2", "--model", "mlp", "--set", "hidden=[32]", "--lr", "0.01"]
HOME = Path(__file__).parent.parent
PAGE = (HOME / "docs" / "cli.md").read_text(encoding="utf-8")


run = command_line  # a fixture


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run on 600 digits, and what was printed."""
    folder = tmp_path_factory.mktemp("trained") / "runs" / "mine"
    done = CliRunner().invoke(app, ["train", "digits", *QUICK, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder, done.output


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """The folder of a run on irises."""
    folder = tmp_path_factory.mktemp("flowers") / "iris"
    done = CliRunner().invoke(app, ["train", "iris", "--epochs", "10", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_train_prints_an_epoch_a_line_and_keeps_a_run(trained):
    folder, out = trained
    lines = out.splitlines()
    assert lines[0] == "digits: 540 images to train on, 60 to validate, 360 to test with (10 classes)"
    assert lines[3].startswith("Epoch 1/2 · ") and " lr " in lines[3] and lines[4].startswith("Epoch 2/2 · ")
    report = json.loads((folder / "report.json").read_text())
    assert lines[5].startswith(f"test accuracy {report['test_accuracy']:.4f}, ")
    assert report["test_accuracy"] > 0.6 and report["epochs"] == 2 and report["train_samples"] == 540
    assert report["samples_per_second"] == pytest.approx(1080 / report["train_seconds"], rel=0.05)
    assert {p.name for p in folder.iterdir()} == {
        "checkpoints", "config.toml", "data.json", "environment.json", "history.jsonl", "log.txt", "model.safetensors",
        "report.json",
    }  # fmt: skip
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2] and {"loss", "val_loss", "lr", "seconds"} <= rows[0].keys()

    def timeless(line):
        return re.sub(r"[\d.]+k? samples/s|[\d.]+ s ", "", line)

    assert [timeless(line) for line in (folder / "log.txt").read_text().splitlines()] == [*map(timeless, lines[3:5])]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["numpy"] == np.__version__ and environment["backend"] == "cpu" and environment["date"]


def test_the_config_of_a_run_gives_the_same_model_again(trained, run):
    folder, _ = trained
    manual_seed(123)  # whatever was drawn before does not count
    again = run("train", "--config", folder / "config.toml", "--out", "again", "--threads", "1", "--json").json()
    first = json.loads((folder / "report.json").read_text())
    assert again["test_loss"] == first["test_loss"] and again["threads"] == 1
    assert Path("again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    other = run("train", "--config", folder / "config.toml", "--out", "other", "--seed", "1", "--json").json()
    assert other["test_loss"] != first["test_loss"]


def test_a_run_that_was_stopped_goes_on_to_the_same_model(run, monkeypatch):
    """Ctrl-C comes with the first checkpoint, after 135 of 270 steps."""
    from chainrule.train import Checkpoint

    small = [*QUICK, "--batch-size", "4"]
    run("train", "digits", *small, "--out", "straight")
    write, times = Checkpoint.write, []

    def interrupted(self):
        write(self)
        times.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", interrupted)
    stopped = run("train", "digits", *small, "--out", "cut")
    assert stopped.code == 130 and "chainrule resume cut goes on" in stopped.out
    assert json.loads(Path("cut/report.json").read_text())["interrupted"] is True
    monkeypatch.setattr(Checkpoint, "write", write)
    steps, told = Checkpoint.on_batch_end, []
    monkeypatch.setattr(Checkpoint, "on_batch_end", lambda *a: (told.append(1), steps(*a)))
    done = run("resume", "cut", "--json").json()
    assert done["epochs"] == 2 and not done["interrupted"]
    assert Path("cut/model.safetensors").read_bytes() == Path("straight/model.safetensors").read_bytes()
    assert len(Path("cut/history.jsonl").read_text().splitlines()) == 2
    assert len(told) == 135, "what was done is not done again"
    more = run("resume", "cut", "--epochs", "3", "--json").json()
    assert more["epochs"] == 3 and tomllib.loads(Path("cut/config.toml").read_text())["train"]["epochs"] == 3
    less = run("resume", "cut", "--epochs", "2")
    assert less.code == 2 and "has 3 epochs already" in less.err


def test_evaluate_agrees_with_the_report(trained, run):
    folder, _ = trained
    report = json.loads((folder / "report.json").read_text())
    values = {"loss": report["test_loss"], "accuracy": report["test_accuracy"], "samples": 360}
    assert run("evaluate", folder, "--json").json() == values
    assert run("evaluate", folder / "model.safetensors", "--json").json() == values
    assert f"{report['test_accuracy']:.4g}" in run("evaluate", folder).out
    classes = run("evaluate", folder, "--per-class", "--json").json()["classes"]
    assert list(classes) == list("0123456789") and sum(c["samples"] for c in classes.values()) == 360
    shown = run("evaluate", folder, "--per-class").out
    assert "precision" in shown and re.search(r"accuracy +0\.\d{3}$", shown, re.MULTILINE)


def test_predict_reads_pictures_dark_on_light_and_light_on_dark(run, mnist, tmp_path):
    from PIL import Image

    from chainrule.apps.predictor import SHIPPED

    expected = mnist.y_test[:4].tolist()
    for i, image in enumerate(mnist.x_test[:4, 0]):
        if i % 2:
            np.save(f"{i}.npy", image)
        else:
            large = Image.fromarray(np.round(255 * (1 - image)).astype(np.uint8)).resize(
                (280, 280), Image.Resampling.BOX
            )
            sheet = Image.new("L", (500, 400), 255)
            sheet.paste(large, (60, 90))
            sheet.save(f"{i}.png")
    pictures = sorted(p.name for p in tmp_path.iterdir())
    results = run("predict", SHIPPED, *pictures, "--json").json()
    assert [result["digit"] for result in results] == expected
    assert all(len(result["top"]) == 3 and 0 < result["probability"] <= 1 for result in results)
    assert run("predict", SHIPPED, pictures[0]).out.startswith(f"{pictures[0]}: {expected[0]} (")


def test_export_and_summary(flowers, run):
    said = run("export", flowers, "m.onnx", "--json").json()
    assert said["target_format"] == "onnx"
    if find_spec("onnxruntime") is None:
        assert said["largest_difference"] is None
    else:
        assert 0 <= said["largest_difference"] < 1e-4
    assert "m.keras: model, keras" in run("export", flowers, "m.keras").out
    table = run("summary", flowers, "--json").json()
    assert (
        table["layers"][-1]["output"] == "(None, 3)"
        and run("summary", "m.keras", "--json").json()["total"] == table["total"]
    )
    assert "11,689,512 parameters" in run("summary", "resnet18", "--outputs", "1000", "--depth", "1").out
    assert run("summary", "lstm", "--input-shape", "20,12", "--json").json()["total"] > 0


def test_models_of_other_formats_are_used_as_ours(run, flowers):
    for name in ("m.onnx", "m.keras"):
        run("export", flowers, name)
    Path("iris.csv").write_text("sepal length,sepal width,petal length,petal width\n5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n")
    found = run("predict", flowers, "iris.csv", "--json").json()
    assert [f["label"] for f in found] == ["setosa", "virginica"]
    ours = run("evaluate", flowers, "--data", "iris", "--json").json()
    for name in ("m.onnx", "m.keras"):
        theirs = run("evaluate", name, "--data", "iris", "--json").json()
        assert theirs["accuracy"] == ours["accuracy"] and theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)


def test_plot_compares_runs_and_writes_where_it_is_told(run, flowers):
    run("train", "iris", "--epochs", "2", "--set", "train.tensorboard=true", "--out", "other")
    assert any(Path("other/tensorboard/validation").iterdir())
    done = run("plot", "other", "--against", flowers)
    assert "val_loss over epochs" in done.out and f"a other   b {flowers}" in done.out and "⠉" in done.out
    assert Path("other/plots/compare.png").stat().st_size > 1000 and "written: other/plots/compare.png" in done.out
    (made,) = run("plot", "other", "--out", "deep/h.svg", "--json").json()
    assert made["path"] == "deep/h.svg" and Path("deep/h.svg").read_text().count("<svg") == 1
    assert made["values"]["epoch"] == [1, 2]
    assert run("plot", "other", "graph", "--against", flowers).code == 2
    assert "written" not in run("plot", "other", "--text").out


def test_data(run, monkeypatch, mnist):
    from chainrule.data import cache_folder

    found = {d["name"]: d for d in run("data", "list", "--json").json()}
    assert (
        found["mnist"]["here"]
        and found["iris"]["fetch"] == ""
        and found["mnist"]["function"] == "chainrule.data.load_mnist"
    )
    states = run("data", "verify", "mnist", "--json").json()
    assert [s["state"] for s in states] == ["whole"] * 4
    root = Path("cache")
    (root / "mnist").mkdir(parents=True)
    labels = (cache_folder() / "mnist" / "t10k-labels-idx1-ubyte").read_bytes()
    (root / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(labels[:-1] + b"x")
    monkeypatch.setenv("CHAINRULE_CACHE", str(root))
    damaged = run("data", "verify", "mnist")
    assert damaged.code == 1 and "damaged: " in damaged.out and damaged.out.count("missing") == 3
    about = run("data", "show", "digits", "--json").json()
    assert about["to_train_on"] == 1437 and sum(about["samples_of_class"].values()) == 1437
    shown = run("data", "show", "digits", "--count", "2", "--out", "d.png")
    assert "█" in shown.out and Path("d.png").stat().st_size > 1000


def test_info_and_doctor(run, monkeypatch):
    found = run("info", "--json").json()
    assert found["backend"] == "cpu" and found["version"] and found["simd"] in ("baseline", "avx2", "avx512", "neon")
    assert found["memory_gib"] > 0.1 and found["cores"] >= 1 and "simd" in run("info").out
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr("chainrule.apps.doctor.find_spec", lambda name: None if name == "h5py" else object())
    checks = {c["what"]: c for c in run("doctor", "--json").json()}
    assert checks["kernels"]["state"] == "ok" and checks["OpenBLAS"]["state"] == "slow"
    assert checks["h5py"]["state"] == "missing" and checks["h5py"]["do"] == "pip install 'chainrule[h5]'"
    monkeypatch.setenv("CHAINRULE_CACHE", "/proc/nothing")
    broken = run("doctor")
    assert broken.code == 1 and "CHAINRULE_CACHE" in broken.out


COMMANDS = "train resume evaluate predict draw serve summary export inspect convert plot report info doctor".split()


@pytest.mark.parametrize("command", [*COMMANDS, "data list", "data download", "data verify", "data show"])
def test_every_command_has_help_with_an_example_that_fits(command, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 40)
    done = run(*command.split(), "--help")
    assert done.code == 0 and f"Example: chainrule {command}" in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 40
    assert f"`chainrule {command}" in PAGE or f"chainrule {command} " in PAGE, "docs/cli.md does not show it"


def test_version_and_completion(run, monkeypatch):
    assert re.fullmatch(r"chainrule \d+\.\d+\.\d+\n", run("--version").out)
    monkeypatch.setenv("_CHAINRULE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "chainrule train --model res")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run().out.split() == ["resnet", "resnet18"]


@pytest.mark.parametrize(("command", "shown"), [("data list", "28 x 28"), ("summary mlp", "----\n0  Flatten")])
def test_a_terminal_that_has_only_ascii(command, shown, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["chainrule", *command.split()])
    with pytest.raises(SystemExit) as end:
        start()
    sys.stdout.flush()
    assert not end.value.code and shown in raw.getvalue().decode("ascii")


def test_the_script_is_installed_as_declared():
    project = tomllib.loads((HOME / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"chainrule": "chainrule.apps.cli:main"}


def test_the_settings_that_the_docs_show_are_all_there_are():
    from chainrule.apps.settings import Settings

    tables = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])
    found = Settings.of(tables)
    assert {name: {*entries} for name, entries in found.tables().items()} == {n: {*e} for n, e in tables.items()}
    assert Settings.of(tomllib.loads(found.to_toml())) == found


def test_settings_in_yaml_are_those_in_toml(tmp_path):
    from chainrule.apps.settings import read

    (tmp_path / "a.toml").write_text('[model]\nname = "mlp"\nhidden = [32]\n[train]\nlr = 3e-3\nepochs = 2\n')
    (tmp_path / "a.yaml").write_text("model:\n  name: mlp\n  hidden: [32]\ndata:\ntrain:\n  lr: 3e-3\n  epochs: 2\n")
    found = read(tmp_path / "a.yaml")
    assert found == read(tmp_path / "a.toml") and found.train.lr == 0.003
    (tmp_path / "b.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(cr.errors.ArgumentError, match=r"b\.yaml is not YAML: could not determine a constructor"):
        read(tmp_path / "b.yaml")


def test_names_of_the_command_line_are_those_of_the_parts():
    """They stand there again so that help and completion need nothing else."""
    from chainrule import zoo
    from chainrule.apps import training
    from chainrule.apps.commands.shared import DATA, MODELS, OPTIMIZERS
    from chainrule.apps.datasets import KNOWN
    from chainrule.apps.figures import DRAWN, TEXTS, Figures
    from chainrule.apps.kinds import KINDS

    assert OPTIMIZERS == [*training.OPTIMIZERS]
    assert [*zoo.MODELS] == MODELS and [*KNOWN] == DATA and {*DRAWN, *TEXTS} == {*KINDS}
    assert all(hasattr(Figures, kind) for kind in DRAWN) and all(hasattr(Figures, f"{kind}_text") for kind in TEXTS)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["evaluate", "none.safetensors"], 2, "none.safetensors does not exist"),
        (["evaluate", "report.json"], 1, "report.json"),
        (["evaluate", "cut.safetensors"], 1, "cut.safetensors"),
        (
            ["evaluate", "RUN", "--data", "iris"],
            2,
            r"iris has samples \[4\] and 3 outputs, but the model was trained on digits",
        ),
        (["evaluate", "RUN", "--data", "mnst"], 2, "did you mean 'mnist'"),
        (["predict", "model.safetensors", "none.png"], 2, "there is no file none.png"),
        (["predict", "model.safetensors", "blank.npy"], 1, "blank"),
        (["predict", "alone.safetensors", "digit.npy"], 2, "does not say what it reads.*the folder of its run"),
        (["predict", "RUN", "--text", "a"], 2, "--text is for models of text"),
        (["predict", "RUN"], 2, "(?i)missing argument"),
        (["train", "digits", *QUICK, "--lr", "-1"], 2, "the learning rate is -1.0"),
        (["train", "digits", *QUICK, "--out", "report.json"], 1, "report.json cannot be a folder"),
        (["train", "digits", *QUICK, "--out", "RUN"], 1, "has a run already"),
        (["train", "digits", "--model", "lstm"], 2, "lstm takes sequences or text, not images"),
        (["train", "iris", "--set", "hiden=[3]"], 2, "did you mean 'hidden'"),
        (["train", "iris", "--set", "hidden=3"], 2, r"hidden is 3, expected sizes, as \[64, 32\]"),
        (["train", "iris", "--set", "hidden"], 2, "NAME=VALUE"),
        (["train", "iris", "--set", "train.epoch=3"], 2, "did you mean 'epochs'"),
        (["train", "iris", "--schedule", "cosin"], 2, "did you mean 'cosine'"),
        (["train", "iris", "--augment", "flip"], 2, "iris is table, not images"),
        (["train", "iris", "--patience", "2", "--validation", "0"], 2, "there is no validation"),
        (["train", "--config", "none.toml"], 2, "there is no file none.toml"),
        (["train", "--config", "bad.toml"], 2, "bad.toml is not TOML"),
        (["train", "--config", "odd.toml"], 2, "train.epochs is '3', expected a whole number"),
        (["train", "--config", "a.yaml"], 2, "a.yaml is not YAML"),
        (["train", "a.yaml"], 2, "settings are given as --config a.yaml"),
        (["train", "one.npz"], 1, "one class alone, 0"),
        (["train", "cut.npz"], 1, r"\[data\] cut.npz"),
        (["evaluate", "one.npz"], 1, "one.npz has weights, and no model"),
        (["train", "digits.txt"], 1, "tokens are too few"),
        (["train", "cifar"], 2, "did you mean 'cifar10'"),
        (["train", "mnist", "--epochs", "0"], 2, "--epochs"),
        (["train", "mnist", "--model", "mpl"], 2, "did you mean 'mlp'"),
        (["train", "mnist", "--threads", "0"], 2, "--threads"),
        (["train", "mnist", "--data", "iris"], 2, "give one of them"),
        (["resume", "none"], 2, "none does not exist"),
        (["resume", "model.safetensors"], 2, "is a file, not the folder of a run"),
        (["resume", "."], 2, "is no run"),
        (["plot", "RUN", "histroy"], 2, "did you mean 'history'"),
        (["plot", "RUN", "history", "lr", "--out", "a.png"], 2, "give one KIND"),
        (["plot", "RUN", "history", "--out", "a.xyz"], 2, "unknown format of a.xyz"),
        (["plot", "RUN", "boundary"], 2, "this is a figure for table"),
        (["plot", "RUN", "attention"], 2, "no MultiHeadAttention"),
        (["plot", "RUN", "filters", "--text"], 2, "as text there are"),
        (["report", "RUN", "--out", "a.txt"], 2, "expected .html"),
        (["export", "none", "a.onnx"], 2, "none does not exist"),
        (["export", "RUN", "a.foo"], 2, "what is written ends in"),
        (["summary", "resnt"], 2, "did you mean 'resnet'"),
        (["data", "download", "nope"], 2, "unknown data set 'nope'"),
        (["data", "verify", "iris"], 2, "iris is not fetched"),
        (["fly"], 2, "No such command 'fly'"),
        ([], 2, ""),
    ],
)
def test_errors_are_one_clear_line_and_an_exit_code(trained, run, args, code, message):
    for path in trained[0].iterdir():
        if path.is_file() and path.suffix != ".toml":
            Path(path.name).write_bytes(path.read_bytes())
    whole = Path("model.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    np.save("blank.npy", np.ones((28, 28)))
    np.save("digit.npy", np.pad(np.ones((14, 4)), ((7, 7), (12, 12))))
    cr.nn.Sequential(cr.nn.Flatten(), cr.nn.Linear(9, 10)).save("alone.safetensors")
    np.savez("one.npz", x=np.zeros((20, 2), np.float32), y=np.zeros(20, int))
    Path("cut.npz").write_bytes(b"PK\x03\x04")
    Path("data.json").unlink()
    Path("bad.toml").write_text("[train\n")
    Path("odd.toml").write_text('[train]\nepochs = "3"\n')
    Path("a.yaml").write_text("train: [")
    Path("digits.txt").write_text("0123456789")
    done = run(*(str(trained[0]) if a == "RUN" else a for a in args))
    assert done.code == code, done.err
    assert re.search(message, " ".join(re.sub("[│╭╮╰╯─]", " ", done.err).split())), done.err
    if code == 1 or done.err.startswith("chainrule"):
        assert len(done.err.splitlines()) == 1 and done.err.startswith("chainrule: ")


def test_a_reader_that_has_seen_enough_is_no_error():
    """As ``chainrule data list --json | head -1``."""
    import subprocess

    command = [sys.executable, "-W", "error", "-m", "chainrule", "data", "list", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "80"}
    ) as one:
        one.stdout.close()
        error = one.stderr.read().decode()
    assert error == ""
