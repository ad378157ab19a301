"""Wheels: built and installed afresh for every CPython found here, and once where no compiler works."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent.parent
MINORS = range(11, 15)
UNSET = ("PYTHONPATH", "VIRTUAL_ENV", "CHAINRULE_REQUIRE_NATIVE", "CHAINRULE_STRICT", "CHAINRULE_SIMD")


def clean(**more):
    """The environment without what belongs to the checkout."""
    return {**{name: value for name, value in os.environ.items() if name not in UNSET}, **more}


def asked(python, code):
    """What a Python prints, or None if it does not run or has no venv."""
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, env=clean(), timeout=60, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def pythons():
    """One interpreter for each minor version: on the path, or among those that pyenv has installed."""
    roots = [Path(os.environ["PYENV_ROOT"])] if "PYENV_ROOT" in os.environ else []
    if shutil.which("pyenv"):
        roots.append(Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()))
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for name in [f"3.{minor}" for minor in MINORS]:
        installed = [str(p) for root in roots for p in sorted(root.glob(f"versions/{name}.*/bin/python"))]
        for candidate in filter(None, [shutil.which(f"python{name}"), *installed]):
            code = "import sys, venv, ensurepip; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
            if name not in found and asked(candidate, code) == f"cpython {name}":
                found[name] = candidate
    return found


PYTHONS = pythons()


def run(*command, cwd, **environment):
    done = subprocess.run(
        list(map(str, command)),
        env=clean(**environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def installed(python, folder, **environment):
    """A wheel of this checkout in a venv of its own. Returns the venv's Python and the name of the wheel."""
    source = folder / "source"  # as a fresh checkout: the build leaves nothing here
    names = ("src", "native", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
    for name in names:
        kept = HOME / name
        if kept.is_dir():
            shutil.copytree(kept, source / name, ignore=shutil.ignore_patterns("*.so", "_native.pyi", "__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(kept, source / name)
    run(python, "-m", "venv", folder / "venv", cwd=folder)
    own = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(own, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=23.1", cwd=folder)
    run(own, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder, **environment)
    (wheel,) = folder.glob("chainrule-*.whl")
    run(own, "-m", "pip", "install", "--quiet", wheel, "pytest>=8", cwd=folder)
    shutil.copytree(HOME / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "prove"))
    shutil.copy(HOME / "pyproject.toml", folder)
    return own, wheel.name


def facts(python, folder):
    code = (
        "import json, sys, chainrule; from importlib.metadata import version; from chainrule.apps.about import about;"
        "print(json.dumps({'numpy': version('numpy'), 'file': chainrule.__file__, **about()}))"
    )
    return json.loads(run(python, "-W", "ignore", "-c", code, cwd=folder))


@pytest.mark.parametrize("version", PYTHONS)
def test_a_wheel_works(version, tmp_path, record_property):
    start = time.monotonic()
    python, wheel = installed(PYTHONS[version], tmp_path, CHAINRULE_REQUIRE_NATIVE="1")
    record_property("wheel", wheel)
    assert "none-any" not in wheel  # it holds native code: the platform is in its name
    record_property("install_seconds", round(time.monotonic() - start, 1))
    about = facts(python, tmp_path)
    record_property("python", about["python"])
    record_property("numpy", about["numpy"])
    assert about["python"].startswith(version + ".") and about["backend"] == "cpu"
    assert str(tmp_path) in about["file"] and "source" not in about["file"]
    # test_structure reads the source tree, which a wheel has not
    tests = ["tests/test_tiny.py", "tests/core", "--ignore=tests/core/test_structure.py"]
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=tmp_path)
    record_property("tests", said.strip().splitlines()[-1])


IMPORT = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import chainrule as cr
    cr.ones(2) + cr.ones(2)
    cr.zeros(3).sum()
assert [w.category for w in caught] == [RuntimeWarning], caught
print(caught[0].message)
"""


def test_without_a_compiler(tmp_path, record_property):
    """The installation succeeds as pure Python; the import says once how to get the fast path; everything works."""
    python, wheel = installed(sys.executable, tmp_path, CC="/bin/false", CXX="/bin/false")
    record_property("wheel", wheel)
    about = facts(python, tmp_path)
    assert about["backend"] == "numpy" and about["backends"] == ["numpy"] and about["simd"] is None
    said = run(python, "-c", IMPORT, cwd=tmp_path)
    assert "NumPy reference" in said and "compiler" in said and "reinstall" in said
    record_property("warning", said.strip())
    warned = ["-W", "default:chainrule runs on its NumPy reference:RuntimeWarning"]
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *warned, "tests/test_tiny.py", cwd=tmp_path)
    record_property("tests", said.strip().splitlines()[-1])
