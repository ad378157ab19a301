"""Everything that only a GPU can show, by one command: ``python3 tools/gpu_check --out FOLDER``.

It needs Python, a C++ compiler, CMake and an NVIDIA driver; what else is missing comes from wheels in ``--wheels``, which
``python3 tools/gpu_check --bring FOLDER`` loads on a machine with a network. Each stage runs in a process of its own, with a
time limit: one that fails leaves the others their results. They are in gpu_check.json, gpu_check.md and logs.txt; the exit
code says how many stages failed. ``--emulated`` runs the same stages without a GPU, on small arrays, and times nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import report  # noqa: E402
import wheels  # noqa: E402

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1]
# stages, each with the seconds that it may take; "tests" are several processes at once
STAGES = {
    "install": 40, "build": 200, "facts": 40, "kernels": 100, "exchange": 40, "tests": 140, "bench": 120, "slowest": 30,
}  # fmt: skip
TESTS = [
    ["tests/prove/test_cuda_parity.py::test_value_and_gradient_in_float64"],
    ["tests/cuda/test_parity.py::test_float32"],
    ["tests/prove/test_cuda_parity.py::test_16_bits_are_float32_rounded_once"],
    ["tests/cuda", "--ignore=tests/cuda/test_parity.py"],
]
FEW = [
    ["tests/cuda/test_parity.py::test_float32", "-k", "neg or add or mul"],
    ["tests/cuda/test_interchange.py", "-k", "views or streams"],
]


class Check:
    """The stages, what they gave, and how long is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.begin = time.monotonic()
        self.slow = 20 if options.emulated else 1  # it compiles kernels of which a GPU has the code by then
        self.out = Path(options.out).resolve()
        self.work = Path(options.work or self.out / "work").resolve()
        for folder in (self.out, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        for old in [*self.work.glob("part_*.json"), *self.work.glob("log_*.txt")]:
            if not options.only:
                old.unlink()
        self.result: dict = {"stages": {}, "emulated": options.emulated}
        self.python = sys.executable
        self.site = self.work / "site"
        paths = [HERE, self.site, HOME / "src", HOME]
        self.environment = {
            **os.environ, "CHAINRULE_CUDA_DRIVER": "emulated" if options.emulated else "nvidia",
            "CHAINRULE_CACHE": str(self.work / "cache"), "CHAINRULE_STRICT": "1", "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of other packages there
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
            "PATH": os.pathsep.join([os.environ.get("PATH", ""), str(self.site / "bin")]),
        }  # fmt: skip
        if options.emulated:
            self.environment["CHAINRULE_CACHE"] = os.environ.get("CHAINRULE_CACHE", "")
        libraries = [str(p) for p in wheels.libraries(self.site)[:1]]
        self.environment["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, [os.environ.get("LD_LIBRARY_PATH"), *libraries])
        )

    def left(self) -> float:
        return self.options.limit * self.slow - (time.monotonic() - self.begin)

    def run(self, stage: str, *commands: list) -> bool:
        """Commands, all at once; whether each ended with 0 in time. What they print is kept in a file each."""
        limit, begin = min(STAGES[stage] * self.slow, self.left()), time.monotonic()
        noted = self.result["stages"][stage] = {"limit": round(limit, 1), "commands": []}
        if limit < 3:
            noted["result"] = "no time was left"
            return False
        running = []
        for i, command in enumerate(commands):
            log = self.work / f"log_{stage}{i or ''}.txt"
            with log.open("wb") as file:
                running.append((
                    command, log,
                    subprocess.Popen(
                        [*map(str, command)], stdout=file, stderr=subprocess.STDOUT, env=self.environment, cwd=HOME,
                        start_new_session=True,
                    ),
                ))  # fmt: skip
        good = True
        for command, log, process in running:
            try:
                code = process.wait(max(0.1, limit - (time.monotonic() - begin)))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                code = "too slow"
            tail = log.read_text(errors="replace")[-1500:] if code != 0 else ""
            noted["commands"].append({"command": " ".join(map(str, command))[:300], "code": code, "tail": tail})
            good &= code == 0
        noted["seconds"] = round(time.monotonic() - begin, 1)
        noted["result"] = "good" if good else "failed"
        print(f"{stage:10} {noted['result']:8} {noted['seconds']:6.1f} s", flush=True)
        if not good:
            print("\n".join(c["tail"][-600:] for c in noted["commands"] if c["tail"])[-1800:], flush=True)
        self.write()
        return good

    def write(self) -> None:
        """All that is known so far."""
        for part in sorted(self.work.glob("part_*.json")):
            with suppress(ValueError):  # its process was ended while it wrote
                self.result[part.stem.removeprefix("part_")] = json.loads(part.read_text())
        logs = sorted(self.work.glob("log_*.txt"), key=lambda log: log.stat().st_mtime)
        text = "".join(f"==== {log.stem}\n{log.read_text(errors='replace')[-200_000:]}\n" for log in logs)
        (self.out / "logs.txt").write_text(text)
        self.result["seconds"] = round(time.monotonic() - self.begin, 1)
        (self.out / "gpu_check.json").write_text(json.dumps(self.result, indent=1))
        try:
            page = report.page(self.result)
        except Exception as error:  # the results are more than their page
            page = f"The page could not be made: {error!r}\n"
        (self.out / "gpu_check.md").write_text(page)

    def stage(self, name: str, *more: str) -> bool:
        """One of the programs beside this one."""
        part = self.work / f"part_{name}.json"
        tiny = ["--tiny"] if self.options.emulated else []
        return self.run(name, [self.python, HERE / f"{name}.py", part, *tiny, *more])

    def all(self) -> int:
        """Every stage that was asked for; how many failed."""
        chosen, tiny = self.options.only or STAGES, self.options.emulated
        steps = {
            "install": lambda: self.run("install", wheels.install(self.python, self.options.wheels, self.site)),
            "build": lambda: self.run("build", wheels.build(self.python, self.work / "build", HOME, tiny)),
            "facts": lambda: self.stage("facts"),
            "kernels": lambda: self.stage("kernels"),
            "exchange": lambda: self.stage("exchange"),
            "tests": lambda: self.tests(FEW if self.options.emulated else TESTS),
            "bench": lambda: self.stage("bench", "--seconds", str(int(min(STAGES["bench"], self.left()) - 8))),
            "slowest": lambda: self.stage("slowest", str(self.work / "part_bench.json")),
        }
        failed = sum(not step() for name, step in steps.items() if name in chosen)
        self.write()
        print((self.out / "gpu_check.md").read_text()[-9000:])
        return failed

    def tests(self, chosen: list) -> bool:
        """The tests of the backend; how far each op is from what was expected."""
        commands = []
        for i, which in enumerate(chosen):
            part = self.work / f"part_tests{i}.json"
            options = [
                "-q",
                "-p",
                "deviations",
                "--deviations",
                str(part),
                "--no-header",
                "-o",
                "filterwarnings=default",
                "-x",
            ]
            commands.append(
                [self.python, "-m", "pytest", *(options if self.options.emulated else options[:-1]), *which]
            )
        return self.run("tests", *commands)


def main() -> int:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="gpu_check_out", help="folder for the results")
    parser.add_argument("--work", help="folder for what is built and compiled; in --out if not given")
    parser.add_argument("--wheels", default=str(HOME / ".wheels"), help="folder with wheels of what is missing")
    parser.add_argument("--bring", metavar="FOLDER", help="load these wheels now (with a network), and stop")
    parser.add_argument("--python-version", default="3.12", help="of the machine that --bring is for")
    parser.add_argument("--cuda", default="12,13", help="CUDA versions that --bring is for")
    parser.add_argument("--limit", type=float, default=525, help="seconds for all stages")
    parser.add_argument("--only", nargs="+", choices=STAGES, help="these stages alone")
    parser.add_argument("--emulated", action="store_true", help="without a GPU, small, and untimed")
    options = parser.parse_args()
    if options.bring:
        return wheels.bring(options.bring, options.python_version, options.cuda.split(","))
    return Check(options).all()


if __name__ == "__main__":
    raise SystemExit(main())
