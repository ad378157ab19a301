"""The earlier systems: their released packages, fetched by pip into the cache when one is to race."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from ...data.packages import pip
from ...folders import cache_folder

VERSIONS = {"keydnn": "2.1.0", "convnet": "2.5.3", "mpneuralnetwork": "1.1.1"}


def fetched(name: str) -> tuple[Path | None, str]:
    """The folder of a package, fetched if it is not there yet; or None and why it cannot be had."""
    folder = cache_folder() / "originals" / f"{name}-{VERSIONS[name]}"
    if folder.is_dir():
        return folder, ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "package"
        command = [*pip(), "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(made)]
        done = subprocess.run([*command, f"{name}=={VERSIONS[name]}"], capture_output=True, text=True, timeout=300)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["pip failed"]
            return None, f"{name} {VERSIONS[name]} cannot be fetched: {said[-1]}"
        made.rename(folder)
    return folder, ""
