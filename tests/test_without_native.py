"""An installation without the native module: one warning, and everything computes on the reference."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import chainrule

PROGRAM = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import chainrule as cr
    model = cr.nn.Sequential(cr.nn.Conv2d(1, 2, 3), cr.nn.ReLU(), cr.nn.Flatten(), cr.nn.Linear(3))
    cr.cross_entropy(model(cr.ones(2, 1, 5, 5)), cr.tensor([0, 2])).backward()
assert [w.category for w in caught] == [RuntimeWarning], caught
print(caught[0].message, "|", cr.ones(1).backend, "|", cr.__file__)
"""


def test_the_reference_takes_over_and_says_so_once(tmp_path):
    source = Path(chainrule.__file__).parent
    shutil.copytree(source, tmp_path / "chainrule", ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    # -S: no hook of an editable installation, which would find the package that has the module
    path = [str(tmp_path), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-S", "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    warning, backend, file = done.stdout.strip().split(" | ")
    assert "the native module was not built" in warning and "compiler" in warning and "reinstall" in warning
    assert backend == "numpy" and Path(file).is_relative_to(tmp_path)
