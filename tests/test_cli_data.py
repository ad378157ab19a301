"""The command line on data of one's own: tables, images, texts, arrays."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.commands import command_line

run = command_line  # a fixture


def test_a_table_of_ones_own(run):
    """A column of text is told from two others; scales are in the model; rows of a file are told."""
    rng = np.random.default_rng(0)
    rows = [
        (float(a), float(b), "big" if a > 1000 else "small")
        for a, b in zip(rng.normal(1000, 300, 120), rng.random(120), strict=True)
    ]
    Path("t.csv").write_text("size,other,kind\n" + "".join(f"{a:.3f},{b:.3f},{c}\n" for a, b, c in rows))
    report = run("train", "t.csv", "--target", "kind", "--epochs", "12", "--lr", "0.01", "--out", "r", "--json").json()
    assert report["test_accuracy"] > 0.8 and report["model"] == "mlp"
    Path("new.csv").write_text("other,size\n0.5,2000\n0.5,100\n")
    found = run("predict", "r", "new.csv", "--json").json()
    assert [(f["row"], f["label"]) for f in found] == [(1, "big"), (2, "small")]
    assert run("predict", "r", "new.csv").out.splitlines()[0].startswith("new.csv, row 1: big (")
    Path("town.csv").write_text(
        "id,town,size,rent\n"
        + "".join(f"n{k},{'Rome' if k % 2 else 'Bonn'},{k % 7},{300 + 400 * (k % 2)}.5\n" for k in range(90))
        + "n90,,3,5\n"
    )
    assert "'id' is text of more than 50 kinds: leave it out by --set data.drop=" in run("train", "town.csv").err
    done = run(
        "train",
        "town.csv",
        "--set",
        "data.drop=id",
        "--set",
        "hidden=[16]",
        "--lr",
        "0.02",
        "--epochs",
        "30",
        "--out",
        "t",
    )
    assert done.code == 0 and "warning: [data] town.csv: 1 of 91 rows have something missing" in done.err
    Path("new.csv").write_text("town,size\nRome,3\nBonn,3\n")
    assert " (a number, rent)" in done.out
    whole = run("train", "town.csv", "--set", "data.drop=id,rent", "--target", "size", "--epochs", "1", "--out", "w")
    assert " (7 classes)" in whole.out
    told = run(
        "train",
        "town.csv",
        "--set",
        "data.drop=id",
        "--target",
        "size",
        "--set",
        "data.task=regression",
        "--epochs",
        "1",
    )
    assert " (a number, size)" in told.out
    rents = [f["value"] for f in run("predict", "t", "new.csv", "--json").json()]
    assert rents == pytest.approx([700, 300], abs=60)
    Path("odd.csv").write_text("town,size\nParis,3\n")
    assert "odd.csv, line 2, column 'town': 'Paris'" in run("predict", "t", "odd.csv").err
    Path("price.csv").write_text("a,b\n" + "".join(f"{a:.3f},{500 + 3 * a:.3f}\n" for a, _, _ in rows))
    report = run(
        "train", "price.csv", "--model", "linear", "--epochs", "30", "--lr", "1", "--out", "p", "--json"
    ).json()
    assert report["test_r2"] > 0.99
    Path("one.csv").write_text("a\n1000\n")
    (found,) = run("predict", "p", "one.csv", "--json").json()
    assert found["value"] == pytest.approx(3500, rel=0.02)


def test_images_of_ones_own(run):
    from PIL import Image

    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Path("pictures", name).mkdir(parents=True)
        for k in range(12):
            shade = tuple(min(255, c + 4 * k) for c in colour)
            Image.new("RGB", (20 + k, 16), shade).save(f"pictures/{name}/{k}.png")
    Path("pictures/red/notes.txt").write_text("no picture")
    Path("pictures/red/broken.png").write_bytes(Path("pictures/red/3.png").read_bytes()[:50])
    done = run("train", "pictures", "--size", "8", "--epochs", "12", "--model", "cnn", "--out", "r", "--json")
    assert done.json()["test_accuracy"] == 1.0 and len(done.err.splitlines()) == 1
    assert "1 of 25 images are left out: pictures/red/broken.png cannot be read" in done.err
    found = run("predict", "r", "pictures/red/3.png", "pictures/blue/5.png", "--json").json()
    assert [f["label"] for f in found] == ["red", "blue"]
    about = run("data", "show", "pictures", "--size", "8", "--json").json()
    assert about["classes"] == ["blue", "red"] and about["shape_of_a_sample"] == [3, 8, 8]
    Path("pictures/green").mkdir()
    assert "green has no images" in run("train", "pictures").err
    Path("pictures/green/only.png").write_bytes(b"no picture")
    assert "a class has no image that can be read: pictures/green/only.png" in run("train", "pictures").err


def test_a_text_of_ones_own(run):
    Path("t.txt").write_text("abcd" * 400)
    small = ["--set", "width=16", "--set", "data.length=16", "--epochs", "12", "--batch-size", "8", "--lr", "0.02"]
    report = run("train", "t.txt", "--model", "lstm", *small, "--out", "r", "--json").json()
    assert report["test_accuracy"] > 0.9
    assert run("predict", "r", "--text", "ab", "--length", "6", "--temperature", "0").out == "abcdabcd\n"
    drawn = [
        run("predict", "r", "--text", "ab", "--length", "30", "--temperature", "3", "--seed", s).out for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    short = run("train", "t.txt", "--model", "gpt", "--set", "context=8", "--set", "data.length=16")
    assert short.code == 2 and "--set data.length=8" in short.err
    assert "'x' at 0 is not in the vocabulary" in run("predict", "r", "--text", "x").err


def test_arrays_of_ones_own(run):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    sequences = (rng.standard_normal((80, 6, 3)) + 3 * y[:, None, None]).astype(np.float32)
    np.savez("s.npz", x=sequences, y=y)
    report = run("train", "s.npz", "--model", "gru", "--epochs", "6", "--lr", "0.02", "--out", "s", "--json").json()
    assert report["test_accuracy"] == 1.0
    there = find_spec("onnxruntime") is not None
    assert (
        "ONNX Runtime computes the same" in run("export", "s", "s.onnx").out
    ) == there  # no mask, for nothing is padded
    np.save("one.npy", sequences[y == 1][0, :4])
    assert run("predict", "s", "one.npy", "--json").json()[0]["label"] == "1"
    images = (rng.integers(0, 60, (40, 1, 8, 8)) + 150 * y[:40, None, None, None]).astype(np.uint8)
    np.savez("i.npz", x_train=images[:30], y_train=y[:30], x_test=images[30:], y_test=y[30:40])
    report = run("train", "i.npz", "--model", "linear", "--lr", "0.1", "--epochs", "20", "--out", "i", "--json").json()
    assert report["test_accuracy"] == 1.0 and report["train_samples"] == 27
    np.savez("odd.npz", a=y)
    assert "odd.npz has a; expected x and y" in run("train", "odd.npz").err
    np.savez("odd.npz", x=sequences, y=y - 1)
    assert "expected labels from 0 on" in run("train", "odd.npz").err
    Path("odd.npz").write_bytes(b"PK")
    assert "odd.npz is no whole zip archive" in run("train", "odd.npz").err
