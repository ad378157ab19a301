"""The commands that measure speed run, check their results, do without a GPU, compare two runs. No time is asserted."""

import re
import time

import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule import backends
from chainrule.apps.bench import profiling, results, scaling, three_way
from chainrule.apps.bench.commands import bench
from chainrule.apps.bench.contestants import cases
from chainrule.domain.errors import ArgumentError, ChainruleError


def lines(*arguments):
    done = CliRunner().invoke(bench, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_6_without_a_gpu_the_cpu_is_measured_alone():
    told, row = lines("cpu-vs-cuda", "linear", "--sanity", "--repeats", 1, "--size", 8, "--dtype", "float64")
    assert "CPU alone: cuda:0 was asked for" in told
    assert re.match(r"linear backward 8 +cpu [\d.]+ [µm]?s +p95 [\d.]+ [µm]?s +PASS$", row)
    _, *rows = lines("cpu-vs-cuda", "linear", "pool2d", "conv2d", "ops", "--sanity", "--repeats", 1, "--size", 8)
    assert len(rows) == 1 + 7 + 6 + 10 and all(r.endswith("PASS") for r in rows)


@pytest.mark.parametrize(("command", "count"), [("conv", 1), ("pool", 2)])
def test_7_three_ways_and_the_speedups(command, count, monkeypatch):
    monkeypatch.setitem(three_way.CONV, "here", (1, 2, 6, 3, 3, 2, 1))
    monkeypatch.setitem(three_way.POOL, "here", (2, 2, 7, 3, 2))
    monkeypatch.setattr(three_way, "cores", lambda: 2)
    rows = lines("three-way", command, "--presets", "here", "--sanity", "--repeats", 1)
    assert len(rows) == count
    for row in rows:
        assert re.search(r"here +native 1t .*native 2t .*numpy .*python .*× of numpy .*× of python +PASS$", row)
    (row, *_) = lines("three-way", command, "--presets", "here", "--skip-python", "--repeats", 1)
    assert "python" not in row


def test_a_wrong_result_stops_a_benchmark(monkeypatch):
    monkeypatch.setitem(three_way.CONV, "here", (1, 1, 4, 1, 3, 1, 0))
    monkeypatch.setattr(three_way, "pure_conv", lambda *a, **k: [[[[9.0] * 2] * 2]])
    with pytest.raises(ChainruleError, match=r"conv here, python.* away from NumPy"):
        lines("three-way", "conv", "--presets", "here", "--sanity", "--repeats", 1)


def test_21_products_over_sizes_and_threads(tmp_path):
    page, out = tmp_path / "page.md", tmp_path / "rows.jsonl"
    page.write_text("before <!-- figures: begin --> old <!-- figures: end --> after")
    shown = lines(
        "scaling", "matmul", "--threads", "1,2", "--blocks", 2, "--largest", 16, "--page", page, "--out", out,
        "--plot", tmp_path / "plot.svg",
    )  # fmt: skip
    assert re.match(r"matmul +16 1t .* 2t .*× +numpy 1t .* numpy 2t ", shown[0]) and len(shown) in (
        2,
        3,
    )  # a third says so if the machine is busy
    assert shown[1].startswith("matmul: 2 threads ") and "a GPU would pay" in shown[1]
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after") and "old" not in text and "| NumPy, 1 |" in text
    assert results.read(out)[0]["op"] == "matmul" and (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_the_boundary_is_where_all_larger_sizes_pay():
    def row(size, one, two):
        card = {"gpu_estimate": 2.0, "gpu_with_transfer": 9.0}
        return {"op": "f", "size": size, "flops": 0, "bytes": 0, "seconds": {"1": [one] * 3, "2": [two] * 3}, **card}

    rows = [row(1, 1.0, 0.5), row(2, 1.0, 1.2), row(4, 3.0, 2.5), row(8, 6.0, 3.0)]
    (answer,) = scaling.answers(rows)
    assert answer["pays_from"] == 4 and answer["best_speedup"] == 2.0
    assert answer["gpu_from"] == 4 and answer["gpu_with_transfer_from"] is None
    assert scaling.answers(rows[:2])[0]["pays_from"] is None


def test_27_a_profile_and_before_against_after(monkeypatch, tmp_path):
    monkeypatch.setattr(profiling, "SECONDS", 0.001)
    (told,) = lines("run", "cnn_small", "--profile", "--threads", 1, "--out", tmp_path)
    folder = tmp_path / "cnn_small"
    assert re.match(r"cnn_small +most in \w+, \w+, \w+; arrays [\d.]+ MiB at most, ", told)
    assert {p.name for p in folder.iterdir()} >= {
        "functions.prof", "functions.txt", "kernels.txt", "trace.json", "flame.html",
    }  # fmt: skip
    assert "tottime" in (folder / "functions.txt").read_text() and "conv2d_vjp" in (folder / "kernels.txt").read_text()
    page = (folder / "flame.html").read_text()
    assert "http" not in page and "Adam.update (chainrule/optim/" in page and "Stacks" not in page
    assert "[conv2d_vjp]" in page
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    for path, factor in ((before, 1.0), (after, 2.0)):
        rows = [
            {"case": case, "scale": 1.0, "dtype": "float32", "threads": 1, "contestants": {
                "chainrule:eager": {"seconds": [k * (1 + i / 1000) for i in range(7)]}}}
            for case, k in (("mlp_b32", factor), ("lstm", 1 / factor), ("cnn_bn", 1.0))
        ]  # fmt: skip
        results.keep(rows[: 2 if factor == 2 else 3], path)
    done = CliRunner().invoke(bench, ["compare", str(before), str(after)])
    _, slower, faster, lone = done.output.splitlines()
    assert done.exit_code == 1 and "+100.0%" in slower and slower.endswith("REGRESSION")
    assert "-50.0%" in faster and faster.endswith("IMPROVEMENT") and lone == "cnn_bn 1t chainrule:eager: only before"


def test_a_flame_graph_gives_kernels_their_time(monkeypatch):
    kernels = backends.get().kernels
    exp = kernels["exp"]
    monkeypatch.setitem(kernels, "exp", lambda x: (time.sleep(0.02), exp(x))[1])
    slow = kernels["exp"]
    tree = profiling.Stacks().run(lambda: [cr.ones(3).exp() for _ in range(2)])
    found = {}

    def walk(frame):
        calls, seconds = found.get(frame.name, (0, 0.0))
        found[frame.name] = calls + frame.calls, seconds + frame.total()
        for child in frame.children.values():
            walk(child)

    walk(tree)
    assert found["[exp]"][0] == found["[full]"][0] == 2 and found["[exp]"][1] >= 0.04
    assert kernels["exp"] is slow and abs(tree.total() - sum(c.total() for c in tree.children.values())) < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["three-way", "conv", "--presets", "tinny"], "did you mean 'tiny'"),
        (["cpu-vs-cuda", "lineer"], "did you mean 'linear'"), (["run", "mlp_b64"], "did you mean 'mlp_b"),
        (["scaling", "mtmul"], "did you mean 'matmul'"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_known_is_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        CliRunner().invoke(bench, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "mlp_b32", "--threads", "two"], "not a list of numbers"), (["run", "--scales", "0"], "not above 0"),
        (["run", "--mode", "lazy"], "none of eager, jit"), (["scaling", "--gpu", "1,2"], "4 figures"),
    ],
)  # fmt: skip
def test_what_an_option_cannot_be_is_told(arguments, message):
    done = CliRunner().invoke(bench, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2 and message in done.output


def test_the_cases_are_listed():
    assert [line.split()[0] for line in lines("list")] == list(cases.CASES)
