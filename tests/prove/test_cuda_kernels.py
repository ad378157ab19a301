"""Every kernel of the CUDA backend, compiled by NVRTC for three generations of GPUs: none spills registers.

No GPU is needed for it. The table is kept in docs/proof/cuda_kernels.json: registers of each kernel on each architecture.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chainrule.backends.cuda import ROOMS, kernels, nvrtc
from chainrule.backends.cuda.rooms.chain import Chain
from chainrule.backends.cuda.sources import FLOATS, INSTANCES

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
RECORD = Path(__file__).parents[2] / "docs" / "proof" / "cuda_kernels.json"
PART = 60  # kernels that one run of the compiler is given
USE = re.compile(
    r"Function properties for (\S+)\n[^\n]*?\d+ bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r"\n[^\n]*Used (\d+) registers([^\n]*)"
)
kernels()


def chains():
    """Chains as steps have them, small and as large as they come: each asks for an instance."""
    for name in FLOATS:
        d, b = np.dtype(name), np.dtype(bool)
        Chain(None, [("mul_f", d, d, [(0, 0), (0, 1)], -1), ("add_f", d, d, [(1, 0), (0, 2)], -1),
                     ("gelu", d, d, [(1, 1)], 0)], [d, d, d])  # fmt: skip
        Chain(None, [("mul_f", d, d, [(0, 0), 0.8], -1), ("where_f", d, d, [(0, 1), (1, 0), 0.0], -1),
                     ("relu_vjp", d, d, [(1, 1), (0, 2)], 0)], [d, b, d])  # fmt: skip
        long = [("gelu_vjp", d, d, [(0, 0), (0, 1)], 0)]
        for i in range(2, 11):
            rows = [("silu", d, d, [(0, i)]), ("tanh_f", d, d, [(1, len(long))]), ("erf_f", d, d, [(1, len(long) + 1)])]
            long += [(*row, -1) for row in rows]
            long += [("mul_f", d, d, [(1, len(long) - 1), (1, len(long) - 4)], 1 if i == 10 else -1)]
        Chain(None, long, [d] * 10 + [d])


chains()


@pytest.fixture(scope="module")
def table():
    """What was found, by room; kept beside what is known of the rooms that did not run."""
    found = {}
    yield found
    head = {"nvrtc": nvrtc.version(), "of each": ["registers", "bytes of shared memory", "bytes spilled"]}
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if before.get("nvrtc") == head["nvrtc"]:
        found = {**before["kernels"], **found}
    rooms = []
    for room, rows in sorted(found.items()):
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(of)}" for name, of in rows.items())
        rooms.append(f"  {json.dumps(room)}: {{\n{lines}\n  }}")
    RECORD.write_text(json.dumps(head)[:-1] + ', "kernels": {\n' + ",\n".join(rooms) + "\n}}\n", encoding="utf-8")


def used(room, names, architecture):
    """Of each kernel: registers, bytes of shared memory, bytes spilled."""
    made = nvrtc.compiled(room, names, architecture)
    told = {}
    for lowered, stores, loads, registers, more in USE.findall(made.log):
        shared = re.search(r"(\d+) bytes smem", more)
        told[lowered] = int(registers), int(shared[1]) if shared else 0, int(stores) + int(loads)
    return {name: told[lowered] for name, lowered in made.names.items()}


@pytest.mark.parametrize("room", ROOMS)
def test_no_kernel_spills(room, table, record_property):
    names = [*INSTANCES.get(room, ())]
    parts = [names[i : i + PART] for i in range(0, len(names), PART)]
    rows = {name: {} for name in names}
    with ThreadPoolExecutor(2) as pool:
        jobs = [(a, pool.submit(used, room, part, a)) for a in ARCHITECTURES for part in parts]
        for architecture, job in jobs:
            for name, numbers in job.result().items():
                rows[name][architecture] = numbers
    table[room] = rows
    spilled = {f"{n} {a}": use for n, of in rows.items() for a, use in of.items() if use[2]}
    record_property("kernels", len(rows))
    assert not spilled and all(len(of) == len(ARCHITECTURES) for of in rows.values())


def test_what_does_not_compile_is_told_with_its_line(tmp_path):
    from chainrule.backends.cuda.sources import declare
    from chainrule.domain.errors import DeviceError

    (tmp_path / "cuda.cu").write_text('#include "core/device.cuh"\n\n__global__ void f(float* y) { y[0] = nothing; }\n')
    declare("broken", "f", folder=tmp_path)
    with pytest.raises(
        DeviceError, match=r'(?s)cuda.cu does not compile for sm_90.*broken/cuda.cu\(3\): error: .*"nothing"'
    ):
        nvrtc.compiled("broken", ["f"], "sm_90")


def test_what_is_compiled_is_kept_whole(tmp_path, monkeypatch):
    """A file that somebody cut short is made anew; a folder that cannot be written to is none's fault."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    code, name = nvrtc.kernel("memory", "copy<4>", "sm_90")
    (file,) = tmp_path.rglob("*.cubin")
    assert nvrtc.kernel("memory", "copy<4>", "sm_90") == (code, name) and code[:4] == b"\x7fELF"
    file.write_bytes(file.read_bytes()[: len(name)])
    assert nvrtc.kernel("memory", "copy<4>", "sm_90")[1] == name and len(file.read_bytes()) > len(code)
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(nowhere))
    assert nvrtc.kernel("memory", "copy<4>", "sm_90")[1] == name
