"""What a wheel carries of the kernels: every file that compiling them takes, on a GPU and on the emulated driver."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from chainrule.backends.cuda import ROOMS, kernels
from chainrule.backends.cuda.sources import INSTANCES, folder, home

HOME = Path(__file__).parents[2]
NATIVE = HOME / "native"


def installed(path):
    """Whether CMake puts a file of native/ into the package."""
    text = (HOME / "CMakeLists.txt").read_text()
    (rule,) = re.findall(
        r"install\(DIRECTORY \$\{native\}/ DESTINATION chainrule/_cuda\s+FILES_MATCHING([^)]*)\)", text
    )
    return any(fnmatch(path.name, pattern) for pattern in re.findall(r'PATTERN "([^"]+)"', rule))


def taken(path, found):
    """A source and all that it includes from native/."""
    found.add(path)
    for name in re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE):
        inner = next((p for p in (NATIVE / name, path.parent / name) if p.is_file()), None)
        assert inner is not None, f"{path} includes {name}, which is not there"
        if inner not in found:
            taken(inner, found)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_wheel_has_every_file(room):
    kernels()
    if room in INSTANCES:
        assert home(room) == folder() / room
        files = taken(NATIVE / room / "cuda.cu", set()) | taken(NATIVE / "core" / "emulator_host.h", set())
        assert [str(p.relative_to(NATIVE)) for p in sorted(files) if not installed(p)] == []


def test_kernels_include_nothing_of_the_system_but_for_the_emulator():
    """NVRTC has no headers of the system: <...> stands in emulator files alone."""
    for path in [*NATIVE.rglob("*.cu"), *NATIVE.rglob("*.cuh")]:
        for name in re.findall(r"^\s*#include <([^>]+)>", path.read_text(), re.MULTILINE):
            raise AssertionError(f"{path.relative_to(NATIVE)} includes <{name}>")
