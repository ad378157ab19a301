"""Keeps what a run proved: ``docs/proof/prove.json``, if all of this folder ran.

All of it ran if every file here gave its tests, none was left out by an option, and each of them came to its end. A run of
some of it says so and leaves the record alone: what is kept was shown in one piece, by one commit, on one machine. Failures
are recorded as such. Tests add figures to their entry with ``record_property(name, value)``.
"""

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from tests.prove.fuzz import SEED

from chainrule.apps.about import about
from chainrule.io import atomic_write

FOLDER = Path(__file__).parent
HOME = FOLDER.parent.parent
PACKAGES = ("numpy", "ml_dtypes", "safetensors", "hypothesis", "torch", "scikit-learn")
RECORD = HOME / "docs" / "proof" / "prove.json"


def said(*command):
    """What a program prints, or None if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOME, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor():
    """The name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def circumstances():
    """What a result depends on: the code, the machine, the programs beside it."""
    changed = said("git", "status", "--porcelain", "--", ".", ":!docs/proof")
    return {
        "commit": said("git", "rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),  # with changes that are not in the commit
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "about": about(),
        "packages": {
            name: installed(name)
            for name in ("numpy", "ml_dtypes", "safetensors", "hypothesis", "torch", "scikit-learn")
        },
        "compiler": (said("c++", "--version") or "none").splitlines()[0],
        "seed_of_the_fuzzers": SEED,
    }


class Recorder:
    """Collects the outcome of every test of this folder."""

    def __init__(self, config):
        self.config, self.circumstances = config, circumstances()
        self.wanted, self.tests, self.left_out = set(), {}, False

    def pytest_deselected(self, items):
        self.left_out = True

    def pytest_collection_finish(self, session):
        self.wanted = {item.nodeid for item in session.items if FOLDER in item.path.parents}
        files = {item.path for item in session.items}
        self.left_out |= any("::" in a for a in self.config.args) or not files >= set(FOLDER.glob("test_*.py"))

    def pytest_runtest_logreport(self, report):
        if report.nodeid not in self.wanted:
            return
        entry = self.tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0})
        entry["seconds"] = round(entry["seconds"] + report.duration, 3)
        if report.outcome != "passed":
            entry["outcome"] = report.outcome
        if report.when == "teardown":
            entry["ended"] = True
            entry.update({"figures": dict(report.user_properties)} if report.user_properties else {})

    def complete(self):
        ended = {name for name, entry in self.tests.items() if entry.pop("ended", False)}
        return bool(self.wanted) and ended == self.wanted and not self.left_out

    def pytest_terminal_summary(self, terminalreporter):
        if not self.complete():
            terminalreporter.write_line(f"not all of the proof ran: {RECORD.relative_to(HOME)} stays as it was")
            return
        outcomes = [entry["outcome"] for entry in self.tests.values()]
        whole = {
            **self.circumstances,
            "seconds": round(sum(entry["seconds"] for entry in self.tests.values()), 1),
            "outcomes": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        }
        lines = [json.dumps({"test": name, **entry}) for name, entry in self.tests.items()]
        text = json.dumps(whole, indent=2).removesuffix("\n}") + ',\n  "tests": [\n    ' + ",\n    ".join(lines)
        with atomic_write(RECORD, text=True) as file:
            file.write(text + "\n  ]\n}\n")
        terminalreporter.write_line(f"recorded in {RECORD.relative_to(HOME)}")


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        raise pytest.UsageError("the proof is one process: run it without -n")
    config.pluginmanager.register(Recorder(config), "proof")


def pytest_report_header():
    return f"seed of the fuzzers: {SEED} (CHAINRULE_FUZZ_SEED={SEED} repeats them)"
