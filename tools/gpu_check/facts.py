"""What the machine is: GPU, driver, compiler, PyTorch, commit."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import chainrule as cr
from chainrule.apps.bench.results import commit, machine
from chainrule.backends.cuda import driver


def said(*command: str) -> str | None:
    """What a program prints, or None."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def main(place: str) -> None:
    known = driver.connected()
    properties = cr.cuda.get_device_properties()
    packages = {}
    for name in ("cuda-bindings", "cuda-pathfinder", "numpy", "torch", "nanobind", "pytest", "nvidia-cuda-nvrtc"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine(),
        "python": sys.version.split()[0], "driver": known.name, "gpu": vars(properties), "packages": packages,
        "memory": cr.cuda.memory_stats(), "nvidia_smi": said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv"),
    }  # fmt: skip
    if known.name == "nvidia":
        from chainrule.backends.cuda import nvidia, nvrtc

        found["cuda"] = {"driver": nvidia.spoken(known.version), "nvrtc": nvrtc.version()}
        found["architecture"] = nvrtc.architecture(properties.capability)
    x = cr.arange(1000, device="cuda", dtype="float32")
    found["works"] = float((x * 2).sum()) == 999000.0
    Path(place).write_text(json.dumps(found))
    print(json.dumps(found, indent=1))
    assert found["works"]


main(sys.argv[1])
