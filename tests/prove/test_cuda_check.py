"""tools/gpu_check, on the emulated driver: every stage runs, what fails is told, and what was found is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]


def checked(out, *options):
    """The exit code, and the results."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, HOME / "tools" / "gpu_check", "--emulated", "--out", out, *options]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, cwd=HOME)
    return done.returncode, json.loads((out / "gpu_check.json").read_text()), done.stdout + done.stderr


def test_every_stage(tmp_path):
    code, found, said = checked(tmp_path)
    assert code == 0, said[-3000:]
    assert {name: stage["result"] for name, stage in found["stages"].items()} == dict.fromkeys(
        ["install", "build", "facts", "kernels", "exchange", "tests", "bench", "slowest"], "good"
    )
    assert found["facts"]["driver"] == "emulated" and found["facts"]["works"]
    assert found["tests0"]["outcomes"].keys() == {"passed"} and found["tests0"]["deviations"]
    assert all(0 <= row["of_allowed"] <= 1 for row in found["tests0"]["deviations"].values())
    assert len(found["bench"]["rows"]) > 20 and all(not row["us"] and row["finite"] for row in found["bench"]["rows"])
    assert [row for row in found["bench"]["rows"] if "errors" in row] == []
    assert found["exchange"]["same_bits"] == "good" and found["slowest"][0]["ours"][0]["us"] is None
    page = (tmp_path / "gpu_check.md").read_text()
    assert "untimed" in page and "| tests | good |" in page
    assert len([*tmp_path.glob("*.*")]) == 3


def test_a_stage_that_fails_leaves_the_others_theirs(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "part_bench.json").write_text('{"rows": []}')
    code, found, _ = checked(tmp_path, "--only", "slowest", "facts")
    assert code == 1 and found["stages"]["slowest"]["result"] == "failed" and found["facts"]["works"]
    assert "AssertionError" in found["stages"]["slowest"]["commands"][0]["tail"]


def test_what_takes_too_long_is_ended(tmp_path):
    code, found, _ = checked(tmp_path, "--limit", "0.2", "--only", "exchange", "tests")
    assert code == 2 and found["stages"]["exchange"]["commands"][0]["code"] == "too slow"
    assert found["stages"]["tests"]["result"] == "no time was left" and found["seconds"] < 20
