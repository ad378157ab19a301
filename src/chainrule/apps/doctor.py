"""Whether all is well here: what runs, what is missing, and what to do about it."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from .. import backends
from ..data import cache_folder
from .about import about, gpu, native

EXTRAS = {
    "matplotlib": ("plot", "figures: chainrule plot, report"),
    "PIL": ("images", "pictures: folders of images, predict"),
    "h5py": ("h5", "files of HDF5 and Keras"),
    "onnx": ("onnx", "files of ONNX"),
    "sklearn": ("sklearn", "estimators, small tables"),
    "starlette": ("web", "chainrule serve"),
    "tensorboardX": ("tensorboard", "logs for TensorBoard"),
    "yaml": ("yaml", "settings in YAML"),
}
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "PyYAML"}
THREADS = ("CHAINRULE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Check:
    """Something that was looked at. ``state`` is "ok", "missing" (of use, not needed), "slow" or "broken"; ``do`` mends it."""

    what: str
    state: str
    found: str
    do: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def checks() -> list[Check]:
    """All of them.

    >>> {check.state for check in checks()} <= {"ok", "missing", "slow", "broken"}
    True
    """
    return [*kernels(), *environment(), cache(), *extras(), graphics(), terminal()]


def kernels() -> list[Check]:
    """The native module, its instruction set and threads, and whether it computes."""
    known, module = about(), native()
    version = f"chainrule {known['version']}, Python {known['python']}, {known['system']}"
    found = [Check("version", "ok", version)]
    if module is None:
        do = "install a C++ compiler (Debian: apt install g++), then pip install --force-reinstall chainrule"
        return [*found, Check("native module", "slow", "missing: all runs on the NumPy reference", do)]
    chosen = os.environ.get("CHAINRULE_SIMD")
    simd = str(known["simd"])
    if chosen and simd in ("baseline", "avx2"):
        found.append(
            Check("instruction set", "slow", f"{simd}, by CHAINRULE_SIMD", "unset CHAINRULE_SIMD for the best there is")
        )
    else:
        do = "" if simd != "baseline" else "this processor has no AVX2: kernels run, but several times slower"
        found.append(Check("instruction set", "slow" if do else "ok", simd, do))
    cores, threads = int(known["cores"] or 1), int(known["threads"])
    do = f"chainrule can use {cores}: CHAINRULE_NUM_THREADS={cores}" if threads < cores else ""
    do = f"more than the {cores} cores: CHAINRULE_NUM_THREADS={cores}" if threads > cores else do
    found.append(Check("threads", "slow" if do else "ok", f"{threads} of {cores} cores", do))
    x = backends.get("cpu")
    import chainrule as cr

    y = (cr.arange(6, dtype="float32").reshape(2, 3) @ cr.ones(3, 2)).numpy().tolist()
    right = y == [[3.0, 3.0], [12.0, 12.0]]
    return [*found, Check("kernels", "ok" if right else "broken", f"{x.name}: a product is {'right' if right else y}")]


def environment() -> list[Check]:
    """Variables that make other libraries slow, or ours."""
    told = {name: os.environ[name] for name in THREADS[1:] if os.environ.get(name)}
    found = []
    if told:
        text = ", ".join(f"{name}={value}" for name, value in told.items())
        found.append(Check("BLAS threads", "ok", f"{text}; for NumPy, ours are CHAINRULE_NUM_THREADS"))
    core = os.environ.get("OPENBLAS_CORETYPE")
    if core:
        do = "unset OPENBLAS_CORETYPE: NumPy's products may be slower by it (chainrule has kernels of its own)"
        found.append(Check("OpenBLAS", "slow", f"OPENBLAS_CORETYPE={core}", do))
    if os.environ.get("CHAINRULE_STRICT") == "1":
        do = "it is for tests: unset it"
        found.append(Check("strict mode", "slow", "CHAINRULE_STRICT=1 checks every kernel call", do))
    return found


def cache() -> Check:
    """Whether data can be kept."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        do = "set CHAINRULE_CACHE to a folder that can be written"
        return Check("data cache", "broken", f"{folder}: {error.strerror}", do)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return Check("data cache", "ok", f"{folder}, {size / 1e6:,.0f} MB")


def extras() -> list[Check]:
    """Packages that some things need."""
    found = []
    for module, (extra, use) in EXTRAS.items():
        if find_spec(module) is None:
            found.append(
                Check(PACKAGES.get(module, module), "missing", f"for {use}", f"pip install 'chainrule[{extra}]'")
            )
            continue
        name = PACKAGES.get(module, module)
        try:
            number = metadata.version(name)
        except metadata.PackageNotFoundError:
            number = "there"
        found.append(Check(name, "ok", f"{number}; {use}"))
    return found


def graphics() -> Check:
    """A GPU."""
    device = gpu()
    return Check("GPU", "ok" if device else "missing", device or "none that chainrule can use: all runs on the CPU")


def terminal() -> Check:
    """Whether it can show what we print."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    if encoding.replace("-", "") == "utf8":
        return Check("terminal", "ok", "UTF-8")
    return Check("terminal", "missing", f"{encoding}: plots in ASCII", "export LANG=C.UTF-8, or PYTHONIOENCODING=utf-8")
