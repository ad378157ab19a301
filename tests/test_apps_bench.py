"""Races, their rows and what is made of them: small sizes, no peers, no times asserted."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import backends
from chainrule.apps.bench import compare, jobs, limits, originals, race, results
from chainrule.apps.bench.contestants import ours
from chainrule.apps.bench.contestants.cases import CASES, UnavailableError, data, shapes, weights
from chainrule.apps.bench.contestants.worker import checked

NONE = limits.Limits(1, {})
QUICK = race.Plan(blocks=3, block_seconds=0.0, seconds=0.0)


def built(case, dtype, size):
    return ours.build(case, {"scale": size / case.size, "dtype": dtype, "mode": "eager"}, check=True)


SAME = {"mlp_b128", "mlp_b1024", "gpt_mid", "mnist_epoch_cnn", "conv_big_fwd", "add_64M"}  # as another, but larger


@pytest.mark.parametrize("name", [name for name in CASES if name not in SAME])
def test_every_case_computes_what_the_reference_does_in_float64(name):
    case = CASES[name]
    size = 64 if case.job == "fit" else 2 if case.what not in ("conv2d", "gpt_nano") else 1
    steps = 2 if case.job == "train" and case.what != "gpt_nano" else 1
    found = checked(built(case, "float32", size), steps)
    with backends.use("numpy"):
        expected = checked(built(case, "float64", size), steps)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=0, atol=1e-4 * float(np.abs(array).max()))


@pytest.mark.parametrize("name", ["mlp_b32", "cnn_small", "cnn_bn", "gemm_2048", "conv_big_fwd", "linear_bwd_1024"])
def test_operations_of_a_case_are_those_that_kernels_do(name):
    case = CASES[name]
    scale = 4 / case.size if case.job != "grad" else 1 / 64
    job = ours.build(case, {"scale": scale, "dtype": "float32", "mode": "eager"}, False)
    with cr.profile() as p:
        job.step()
    assert sum(p.flops.values()) == case.cost(scale)[0]


def test_weights_are_those_of_the_models():
    for what in {case.what for case in CASES.values() if case.job == "train"} - {"gpt_mid"}:
        model = ours.network(what, "float32", True)
        assert {n: p.shape for n, p in model.named_parameters()} == shapes(what)
        assert all((p.numpy() == weights(what, "float32")[n]).all() for n, p in model.named_parameters())
    x32, x64 = (data(CASES["mlp_b32"], 1.0, dtype)["x"] for dtype in ("float32", "float64"))
    assert x64.dtype == "float64" and (x32 == x64).all()


def test_a_race_of_processes(monkeypatch):
    monkeypatch.setattr(race, "fetched", lambda name: (None, f"{name} cannot be fetched"))
    entrants = [race.Entrant.of(x) for x in ("chainrule", "keydnn")]
    expected = race.exact(CASES["mlp_b32"], entrants, QUICK, 0.125)
    row = race.race(CASES["mlp_b32"], entrants, 1, QUICK, NONE, scale=0.125, expected=expected)
    assert row["size"] == 4 and list(row["contestants"]) == ["chainrule:eager"]
    mine = row["contestants"]["chainrule:eager"]
    assert mine["version"] == f"chainrule {cr.__version__}" and mine["deviation"] < 1e-6
    assert len(mine["seconds"]) == 3 and all(t > 0 for t in mine["seconds"]) and mine["peak_memory"] > 1 << 20
    assert row["unavailable"] == {"keydnn:eager": "keydnn cannot be fetched"}
    assert set(row["sentinel"]) == {"others", "stolen", "peak", "busy"}


class Fake:
    """A contestant without a process: chainrule takes 1 s, ``slow`` 3 s, ``wrong`` computes something else."""

    def __init__(self, python, entrant, spec):
        self.entrant, self.spec, self.seconds, self.steps = entrant, spec, [], 1
        self.process = type("Process", (), {"pid": 1})
        self.closed = False

    def ask(self, line):
        command, *rest = line.split()
        if command == "check":
            np.savez(rest[0], loss=2.0 + (self.entrant.side == "wrong"))
        if self.entrant.side in ("absent", "torch"):
            raise race.StoppedError("no module named absent")
        return {"version": self.entrant.side, "bytes": 10}

    def block(self):
        return {"chainrule": 1.0, "slow": 3.0}[self.entrant.side]

    def close(self):
        self.closed = True


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(race, "Contestant", Fake)


def raced(*who):
    found = limits.Limits(2, {"flops32": mlp_flops() / 0.5})
    case, entrants = CASES["mlp_b32"], [race.Entrant.of(w) for w in who]
    return race.race(case, entrants, 2, QUICK, found, expected=race.exact(case, entrants, QUICK)) | {"commit": "c"}


def mlp_flops():
    return CASES["mlp_b32"].cost(1.0)[0]


def test_the_ratio_and_the_share_of_the_limit(fakes):
    row = raced("chainrule", "slow", "wrong", "absent")
    assert row["unavailable"]["absent:eager"] == "no module named absent"
    assert "3.3e-01 away" in row["unavailable"]["wrong:eager"] or "5.0e-01 away" in row["unavailable"]["wrong:eager"]
    assert results.ratios(row, "slow:eager", "chainrule:eager") == [3.0, 3.0, 3.0]
    assert results.best(row) == (3.0, "50%")
    mine, other, *lacking = results.lines(row)
    assert "1.00 s" in mine and "50%" in mine and "3.00×" in other and len(lacking) == 2
    table = results.markdown([row, raced("chainrule", "slow")]).splitlines()
    assert len(table) == 3 and table[2].startswith("| mlp_b32 | 1.00 s / – / ") and "| 3.00 | 50% | 3.5 |" in table[2]


def test_a_folder_is_not_raced_by_another_copy_of_the_package():
    with pytest.raises(UnavailableError, match="was imported from .*, not from /old/src"):
        ours.version({"root": "/old/src"})


def test_where_pytorch_is_not_there_ours_in_float64_is_the_measure(fakes):
    case = CASES["mlp_b32"]
    assert race.exact(case, [race.Entrant.of("torch")], QUICK) == {"loss": 2.0}


def test_cases_that_a_peer_does_not_have_are_told_without_starting_it(fakes):
    row = race.race(CASES["exp_512"], [race.Entrant.of("keras")], 1, QUICK, NONE)
    assert row["unavailable"] == {"keras:jax": "Keras races in mlp, cnn_small and cnn_bn alone"}


def test_an_earlier_system_is_fetched_once(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    runs = []

    def run(command, **_):
        runs.append(command)
        if "convnet==2.5.3" in command:
            Path(command[-2]).mkdir()
        return type("Done", (), {"returncode": int("convnet==2.5.3" not in command), "stderr": "no\nno such package"})

    monkeypatch.setattr(originals.subprocess, "run", run)
    assert originals.fetched("convnet") == originals.fetched("convnet") == (tmp_path / "originals/convnet-2.5.3", "")
    assert len(runs) == 1 and "--no-deps" in runs[0]
    assert originals.fetched("keydnn") == (None, "keydnn 2.1.0 cannot be fetched: no such package")
    assert [p.name for p in (tmp_path / "originals").iterdir()] == ["convnet-2.5.3"]


def test_hogs_spin_beside_a_race_and_end_with_it(fakes):
    case, who = CASES["mlp_b32"], [race.Entrant.of("chainrule")]
    hogs = race.Hogs(2)
    with hogs as spinning:
        assert spinning == [p.pid for p in hogs.processes] and all(p.poll() is None for p in hogs.processes)
    assert len(spinning) == 2 and all(p.poll() is not None for p in hogs.processes)
    row = race.race(case, who, 1, race.Plan(blocks=1, seconds=0.0, hogs=1), NONE)
    assert row["hogs"] == 1 and not row["sentinel"]["busy"] and "mlp_b32 +1 hog" in results.lines(row)[0]
    assert len(results.markdown([row]).splitlines()) == 2


def test_rows_are_kept(fakes, tmp_path):
    row = raced("chainrule") | results.stamp()
    path = tmp_path / "deep" / "rows.jsonl"
    results.keep([row], path)
    results.keep([row], path)
    assert results.read(path) == [json.loads(json.dumps(row))] * 2
    assert {"commit", "machine", "date", "limits", "size", "flops"} <= set(row)


def test_who_is_to_race():
    of = race.Entrant.of
    assert of("keras").label == "keras:jax" and of("torch:compile").mode == "compile"
    assert of("chainrule@/old/src:jit") == race.Entrant("chainrule", "jit", "/old/src")
    with pytest.raises(cr.errors.ArgumentError, match="did you mean 'cnn_bn'"):
        race.names(["cnn_bm"])


def test_a_contestant_without_the_settings_that_would_slow_it(monkeypatch):
    seen = {}

    class Popen:
        def __init__(self, command, env, **_):
            seen.update(env, spec=json.loads(command[-1]))

    monkeypatch.setattr(race.subprocess, "Popen", Popen)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("CHAINRULE_STRICT", "1")
    race.Contestant(sys.executable, race.Entrant.of("chainrule"), {"threads": 2})
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CHAINRULE_STRICT"} & set(seen)
    assert seen["OPENBLAS_NUM_THREADS"] == seen["CHAINRULE_NUM_THREADS"] == "2"
    assert seen["PYTHONPATH"].split(":")[0] == seen["spec"]["root"] == str(Path(cr.__file__).parent.parent)
    race.Contestant(sys.executable, race.Entrant.of("chainrule@/old/src"), {"threads": 2})
    assert seen["PYTHONPATH"].split(":")[0] == seen["spec"]["root"] == "/old/src"


def row_of(times, peer=None):
    who = {"chainrule:eager": {"seconds": list(times)}} | ({"torch:eager": {"seconds": list(peer)}} if peer else {})
    return {"case": "lstm", "scale": 1.0, "dtype": "float32", "threads": 1, "contestants": who}


def verdict(before, after):
    ((change,), _) = compare.compare([before], [after])
    return change


def test_a_change_is_told_from_chance():
    r = np.random.default_rng(0)
    pairs = [(1.0 + 0.05 * r.standard_normal(9), 1.0 + 0.05 * r.standard_normal(9)) for _ in range(100)]
    assert sum(verdict(row_of(a), row_of(b)).verdict != "" for a, b in pairs) <= 3
    for a, b in pairs[:10]:
        slower = verdict(row_of(a), row_of(1.3 * b))
        assert slower.verdict == "REGRESSION" and 1.1 < slower.low < slower.ratio < slower.high
        assert verdict(row_of(1.3 * a), row_of(b)).verdict == "IMPROVEMENT"
    tiny = [1.0 + i * 1e-5 for i in range(9)]
    assert verdict(row_of(tiny), row_of([1.01 * t for t in tiny])).verdict == ""  # certain, but 1 %


def test_a_slower_machine_is_no_regression():
    times = [1.0 + i / 100 for i in range(9)]
    halved = [2 * t for t in times]
    assert verdict(row_of(times, times), row_of(halved, halved)).verdict == ""
    assert verdict(row_of(times), row_of(halved)).verdict == "REGRESSION"
    assert verdict(row_of(times, times), row_of(halved, times)).verdict == "REGRESSION"


@pytest.mark.parametrize(("m", "n", "rounded"), [(5, 5, False), (7, 12, False), (9, 9, True), (30, 25, False)])
def test_the_p_is_that_of_scipy(m, n, rounded):
    r = np.random.default_rng(m)
    a, b = r.standard_normal(m), r.standard_normal(n) + 0.8
    if rounded:
        a, b = a.round(0), b.round(0)
    method = "exact" if not rounded and max(m, n) <= 20 else "asymptotic"
    assert compare.mann_whitney(a, b) == pytest.approx(stats.mannwhitneyu(a, b, method=method).pvalue, rel=1e-9)


def test_a_busy_machine_is_told(monkeypatch):
    clock = iter([(100.0, 0.0), (100.0, 0.0), (200.0, 0.0), (103.0, 0.0)])
    monkeypatch.setattr(limits, "machine_seconds", lambda: next(clock))
    monkeypatch.setattr(limits, "own_seconds", lambda processes: 0.0)
    monkeypatch.setattr(limits.time, "monotonic", iter([0.0, 50.0, 0.0, 50.0]).__next__)
    sentinel = limits.Sentinel(NONE)
    sentinel.begin([])
    assert not sentinel.end()["busy"]
    sentinel = limits.Sentinel(NONE)
    clock = iter([(100.0, 0.0), (150.0, 0.0)])
    sentinel.begin([])
    said = sentinel.end()
    assert said["busy"] and said["others"] == 1.0


def test_without_a_compiler_there_is_no_limit(monkeypatch):
    monkeypatch.setattr(limits, "program", lambda: None)
    found = limits.Limits(1)
    assert found.found == {} and found.seconds(1e9, 1e9, "float32") is None


def test_time_of_import_and_size(monkeypatch):
    monkeypatch.setattr(jobs, "peak_bytes", lambda *a: 5_000_000)
    rows = {r["job"]: r for r in jobs.jobs([race.Entrant.of("chainrule")], race.Plan(blocks=1))}
    assert 0 < rows["import_time"]["values"]["chainrule"][0] < 60
    assert rows["installed_size"]["values"]["chainrule"][0] > 1 << 20
    assert jobs.job_lines(rows["peak_memory"]) == [f"{'peak_memory':16} {'chainrule:eager':22} 5.0 MB"]
