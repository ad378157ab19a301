"""Packages for a machine without a network: which wheels to bring, and which of them it still needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# what is needed to build, run and test; NumPy, ml_dtypes and safetensors come with PyTorch's and JAX's installations mostly
NAMES = (
    "cuda-pathfinder", "nanobind", "ninja", "ml_dtypes", "safetensors", "typer", "click", "rich", "shellingham",
    "typing_extensions", "markdown-it-py", "mdurl", "pytest", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis",
    "sortedcontainers", "attrs", "numpy",
)  # fmt: skip
BINDINGS = {"12": "cuda-bindings==12.9.*", "13": "cuda-bindings==13.0.*"}
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_12",
             "manylinux2010", "manylinux1")  # fmt: skip
NEWEST = ("nanobind", "pytest", "hypothesis", "pluggy", "iniconfig")  # taken from the wheels whatever is there

# folder, Python, tree: the native module, beside the Python files
BUILD = """
set -e
cmake -S "$3" -B "$1" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCHAINRULE_IN_SOURCE=ON -DPython_EXECUTABLE="$2"
cmake --build "$1"
"$2" -c "import chainrule, chainrule._native as n; print(n.__file__)"
"""


def bring(folder: str, python: str, cuda: list[str]) -> int:
    """Load the wheels for Linux on x86-64 with a version of Python; the exit code of pip."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    platforms = [part for name in PLATFORMS for part in ("--platform", f"{name}_x86_64")]
    for wanted in (NAMES, *((BINDINGS[major],) for major in cuda)):
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python,
            "--implementation", "cp", *platforms, "-d", str(target), *wanted,
        ]  # fmt: skip
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
    size = sum(p.stat().st_size for p in target.glob("*.whl"))
    print(f"{len([*target.glob('*.whl')])} wheels, {size / 2**20:.1f} MiB, in {target}")
    return 0


def build(python: str, folder: Path, home: Path, here: bool) -> list:
    """The command that builds the native module of a tree, or, ``here``, looks whether it is built."""
    if here:
        return [python, "-c", "import chainrule._native"]
    return ["bash", "-c", BUILD, "build", folder, python, home]


def libraries(site: Path) -> list[Path]:
    """The folders with NVRTC: of Python's packages, of a toolkit. The loader may not look there by itself."""
    places = [
        site,
        *(Path(p) for p in {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], *sys.path} if p),
    ]
    found = [p.parent for place in places for p in (place / "nvidia").glob("*/lib/libnvrtc.so.*")]
    for root in [*sorted(Path("/usr/local").glob("cuda*"), reverse=True)]:
        found += [p.parent for p in root.glob("lib64/libnvrtc.so.*")]
    return list(dict.fromkeys(found))


def major(site: Path) -> str:
    """The CUDA version of the NVRTC here: "12" or "13"."""
    names = [p.name for folder in libraries(site) for p in folder.glob("libnvrtc.so.1?")]
    return names[0].rsplit(".", 1)[-1] if names else "13"


def there(name: str) -> bool:
    """Whether a package is installed for this Python."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def install(python: str, folder: str, site: Path) -> list:
    """The command that installs what is missing from the wheels in a folder."""
    wanted = []
    bindings = []
    for wheel in sorted(Path(folder).glob("*.whl")):
        name = wheel.name.split("-")[0].replace("_", "-").lower()
        if name == "cuda-bindings":
            bindings.append(wheel)
        elif name in NEWEST or not there(name):
            wanted.append(wheel)
    fitting = [w for w in bindings if w.name.split("-")[1].startswith(major(site))]
    if bindings and not there("cuda-bindings"):
        wanted += fitting[:1] or bindings[-1:]
    if not wanted:
        return [python, "-c", "print('nothing is missing')"]
    return [
        python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade",
        "--target", site, *wanted,
    ]  # fmt: skip
