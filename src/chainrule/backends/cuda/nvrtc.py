"""Kernels for a GPU: compiled by NVRTC to machine code for its architecture, each when it is first needed, and kept.

No driver is needed for that: what does not compile, or spills registers, is found on a machine without a GPU.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from ...domain.errors import DeviceError
from .sources import UNFUSED, files_of, fingerprint, home, kept, write_whole

INSTALL = "pip install chainrule[cuda]"


class Compiled(NamedTuple):
    """Machine code, the name of each instance in it, and what the compiler says of registers and spills."""

    code: bytes
    names: dict[str, str]
    log: str


@cache
def nvrtc() -> Any:
    """NVIDIA's run-time compiler. Errors: DeviceError if it is not installed."""
    try:
        return import_module("cuda.bindings.nvrtc")
    except ImportError:
        raise DeviceError(f"the compiler of CUDA kernels is not installed: {INSTALL}") from None


@cache
def version() -> str:
    """That of the compiler."""
    api = nvrtc()
    try:
        error, major, minor = api.nvrtcVersion()
    except RuntimeError as missing:  # the bindings are there, the library is not
        raise DeviceError(f"the compiler of CUDA kernels is not installed ({missing}): {INSTALL}") from None
    checked(error, "its version")
    return f"{major}.{minor}"


def checked(error: Any, what: str) -> None:
    """Errors: DeviceError unless all went well."""
    if int(error):
        raise DeviceError(f"NVRTC: {what}: {error.name}")


@cache
def architecture(capability: int) -> str:
    """What to compile for where a GPU has a compute capability (90 is 9.0): the newest that runs there.

    Machine code runs on a capability of the same first digit and no smaller second. Errors: DeviceError if the compiler
    knows none.
    """
    version()  # tells what is missing
    error, known = nvrtc().nvrtcGetSupportedArchs()
    checked(error, "its architectures")
    fitting = [a for a in known if a <= capability and a // 10 == capability // 10]
    if not fitting:
        raise DeviceError(
            f"NVRTC {version()} makes no code for compute capability {capability / 10}: it knows "
            f"{', '.join(str(a / 10) for a in known)}; install the nvidia-cuda-nvrtc of another version"
        )
    return f"sm_{max(fitting)}"


def options(room: str, architecture: str) -> list[str]:
    """What the compiler is told. Multiplications and additions are fused, but in rooms whose kernels may become one."""
    return [
        f"--gpu-architecture={architecture}", "--std=c++20", "--minimal", "--device-as-default-execution-space",
        "--ptxas-options=-v", "--ptxas-options=--warn-on-spills", *(["--fmad=false"] if room in UNFUSED else []),
    ]  # fmt: skip


def compiled(room: str, instances: list[str], architecture: str) -> Compiled:
    """Instances of the kernels of a room for an architecture ("sm_90"). Errors: DeviceError, with the compiler's words."""
    api = nvrtc()
    version()  # tells what is missing
    source, files = files_of(room)
    error, program = api.nvrtcCreateProgram(
        source, f"{room}/cuda.cu".encode(), len(files), [*files.values()], [name.encode() for name in files]
    )
    checked(error, room)
    try:
        for name in instances:
            checked(api.nvrtcAddNameExpression(program, name.encode())[0], name)
        given = [o.encode() for o in options(room, architecture)]
        (failed,) = api.nvrtcCompileProgram(program, len(given), given)
        log = (
            text_of(api.nvrtcGetProgramLogSize, api.nvrtcGetProgramLog, program)
            .decode(errors="replace")
            .rstrip("\0 \n")
        )
        if int(failed):
            raise DeviceError(
                f"{home(room) / 'cuda.cu'} does not compile for {architecture} ({failed.name}):\n{log[:4000]}"
            )
        names = {}
        for name in instances:
            error, lowered = api.nvrtcGetLoweredName(program, name.encode())
            checked(error, name)
            names[name] = lowered.decode()
        return Compiled(text_of(api.nvrtcGetCUBINSize, api.nvrtcGetCUBIN, program), names, log)
    finally:
        api.nvrtcDestroyProgram(program)


def text_of(size: Any, get: Any, program: Any) -> bytes:
    """What two functions of NVRTC give together: how many bytes, and these."""
    error, count = size(program)
    checked(error, "the size of a result")
    found = bytes(count)
    checked(get(program, found)[0], "a result")
    return found


def kernel(room: str, instance: str, architecture: str) -> tuple[bytes, str]:
    """The machine code of one kernel, and its name there: from before, or compiled now."""
    name = f"{architecture}-{room}-{fingerprint(room, instance, version(), *options(room, architecture))}.cubin"
    with suppress(OSError):  # not there yet, or the folder is nobody's to read
        lowered, _, code = (kept() / name).read_bytes().partition(b"\n")
        if code.startswith(b"\x7fELF"):
            return code, lowered.decode()
    made = compiled(room, [instance], architecture)
    with suppress(OSError):  # a folder that cannot be written to: compiled again next time
        write_whole(kept() / name, made.names[instance].encode() + b"\n" + made.code)
    return made.code, made.names[instance]
