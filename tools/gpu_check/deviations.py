"""A plugin of pytest: how far results were from what was expected, by op and test, while the tests of the backend run.

On a GPU it leaves out what asks the emulated driver for something that no GPU has.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

EMULATED = ("emulated", "shuffled")  # fixtures
ALONE = {  # of test_emulator.py: what holds on a GPU, too; the others do on purpose what ends a process there
    "test_collectives", "test_additions_of_many_blocks", "test_every_16_bit_float_there_and_back",
    "test_floats_are_rounded_to_nearest_even", "test_a_product_on_tensor_cores",
}  # fmt: skip


class Deviations:
    """What the tests gave, and the largest deviations by test and op."""

    def __init__(self, place: str) -> None:
        self.place = Path(place)
        self.worst: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, int] = {}
        self.failed: list[dict[str, str]] = []
        self.left_out: list[str] = []
        self.now = ("", "")
        self.written = 0.0

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        kept = []
        on_gpu = os.environ.get("CHAINRULE_CUDA_DRIVER") == "nvidia"
        for item in items:
            asks = any(name in EMULATED for name in item.fixturenames)
            faulty = item.path.name == "test_emulator.py" and item.originalname not in ALONE
            (self.left_out if on_gpu and (asks or faulty) else kept).append(item)
        config.hook.pytest_deselected(items=self.left_out)
        self.left_out = [item.nodeid for item in self.left_out]
        items[:] = kept
        for module in {item.module for item in kept}:
            if hasattr(module, "close") and module.__name__.endswith("_parity"):
                module.close = self.noting(module.close)

    def noting(self, close: Any) -> Any:
        """A comparison that notes how far apart values are before it judges."""

        def noted(found: Any, expected: Any, rtol: float, atol: float, *more: Any) -> Any:
            for y, e in zip(found, expected, strict=False):
                self.note(np.asarray(y.to("cpu").numpy() if hasattr(y, "numpy") else y), np.asarray(e), rtol, atol)
            return close(found, expected, rtol, atol, *more)

        return noted

    def note(self, y: Any, e: Any, rtol: float, atol: float) -> None:
        if y.shape != e.shape or not y.size or y.dtype.kind in "iub" or e.dtype.kind in "iub":
            return
        y, e = y.astype(np.float64), e.astype(np.float64)
        both = np.isfinite(y) & np.isfinite(e)
        apart = np.abs(y - e)[both]
        if not apart.size:
            return
        allowed = np.maximum(atol + rtol * np.abs(e[both]), 1e-300)  # both may be 0
        of_allowed = float((apart / allowed).max())
        row = self.worst.setdefault(" ".join(self.now), {"absolute": 0.0, "of_allowed": 0.0})
        row["absolute"] = max(row["absolute"], float(apart.max()))
        row["of_allowed"] = max(row["of_allowed"], of_allowed)

    def pytest_runtest_setup(self, item: Any) -> None:
        sample = getattr(getattr(item, "callspec", None), "params", {}).get("sample")
        self.now = (item.originalname or item.name, getattr(sample, "op", ""))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] = self.outcomes.get(report.outcome, 0) + 1
            if report.failed and len(self.failed) < 200:
                self.failed.append({"test": report.nodeid, "error": str(report.longrepr)[-800:]})
        if time.monotonic() - self.written > 5:
            self.write()

    def pytest_sessionfinish(self) -> None:
        self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        found = {
            "outcomes": self.outcomes, "failed": self.failed, "left_out": self.left_out,
            "deviations": dict(sorted(self.worst.items(), key=lambda row: -row[1]["of_allowed"])),
        }  # fmt: skip
        self.place.write_text(json.dumps(found))


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--deviations", default="deviations.json", help="file for deviations, as JSON")


def pytest_configure(config: Any) -> None:
    config.pluginmanager.register(Deviations(config.getoption("--deviations")))
