"""The commands that measure speed run, check their results, do without a GPU, compare two runs. No time is asserted."""

import json
import re

import pytest
from benchmarks import three_way


def lines(capsys, *arguments):
    three_way.main([*arguments])
    return capsys.readouterr().out.splitlines()


def test_6_without_a_gpu_the_cpu_is_measured_alone(capsys):
    told, row = lines(capsys, "linear", "--sanity", "--repeats", "1", "--size", "8", "--dtype", "float64")
    assert "no CUDA" in told and re.match(r"linear backward 8 +cpu [\d.]+ us +PASS$", row)
    _, *rows = lines(capsys, "ops", "--sanity", "--repeats", "1", "--size", "8")
    assert len(rows) == 8 and all(r.endswith("PASS") for r in rows)


@pytest.mark.parametrize(("command", "count"), [("conv", 1), ("pool", 2)])
def test_7_three_ways_and_the_speedups(command, count, capsys, monkeypatch):
    monkeypatch.setitem(three_way.CONV, "here", (1, 2, 6, 3, 3, 2, 1))
    monkeypatch.setitem(three_way.POOL, "here", (2, 2, 7, 3, 2))
    rows = lines(capsys, command, "--presets", "here", "--sanity", "--repeats", "1")
    assert len(rows) == count
    for row in rows:
        assert re.search(r"here +native .* us +numpy .* us +python .* us .*x of numpy .*x of python +PASS$", row)
    (row, *_) = lines(capsys, command, "--presets", "here", "--skip-python", "--repeats", "1")
    assert "python" not in row


def test_a_wrong_result_stops_a_benchmark(monkeypatch):
    monkeypatch.setitem(three_way.CONV, "here", (1, 1, 4, 1, 3, 1, 0))
    monkeypatch.setattr(three_way, "pure_conv", lambda *a, **k: [[[[9.0] * 2] * 2]])
    with pytest.raises(AssertionError):
        three_way.main(["conv", "--presets", "here", "--sanity", "--repeats", "1"])


def test_21_products_over_sizes_and_threads(capsys):
    rows = lines(capsys, "matmul", "--sizes", "16", "--threads", "2", "--repeats", "1", "--sanity")
    assert [r.split("  ")[0] for r in rows] == ["matmul 16, 2 threads"]
    assert all(r.count("GFLOP/s") == 2 and "of numpy" in r for r in rows)


def test_27_a_profile_and_before_against_after(capsys, tmp_path):
    rows = lines(capsys, "profile", "--samples", "64", "--out", str(tmp_path / "run.jsonl"))
    assert len(rows) == 2 and all("MiB" in r for r in rows)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"mlp.prof", "mlp.txt", "cnn.prof", "cnn.txt"}
    assert "cumulative" in (tmp_path / "run" / "mlp.txt").read_text()
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    for path, times in (
        (before, {"a": 100.0, "b": 10.0, "c": 5.0, "old": 1.0}),
        (after, {"a": 50.0, "b": 20.0, "c": 5.1}),
    ):
        path.write_text("".join(json.dumps({"name": n, "native_us": t}) + "\n" for n, t in times.items()))
    _, a, b, c, old = lines(capsys, "compare", str(before), str(after))
    assert (
        "-50.0% faster" in a and "+100.0% SLOWER" in b and c.rstrip().endswith("+2.0%") and old.endswith("only before")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["conv", "--presets", "tinny"], "no preset 'tinny'; it has mnist, tiny"), (["compare", "x"], "before and after")],
)
def test_what_a_benchmark_cannot_do_is_told(arguments, message, capsys):
    with pytest.raises(SystemExit):
        three_way.main(arguments)
    assert message in capsys.readouterr().err
