"""The shape of the code: imports point inward, rooms match, a call is short, files are small, examples run."""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import Tensor, backends, ops
from chainrule.domain.backend import PRIMITIVES
from chainrule.ops._op import OPS

ROOT = Path(cr.__file__).parent
HOME = ROOT.parent.parent
FILES = sorted(p for p in ROOT.rglob("*.py") if "__pycache__" not in p.parts)

# What a part may import is itself and what stands before it. Parts of one line may not import one another.
ORDER = [
    ["domain"],
    ["modes", "tape", "dlpack", "later", "folders"],
    ["_native"],
    ["backends"],
    ["tensor", "_methods"],
    ["saved"],
    ["launch"],
    ["autograd"],
    ["ops"],
    ["random", "whereabouts"],
    ["function", "gradcheck", "creation", "profile", "precision", "anomaly", "resources", "cuda"],
    ["recording"],
    ["nn", "optim"],
    ["losses", "metrics", "zoo"],
    ["io"],
    ["data"],
    ["train"],
    ["estimators", "plots"],
    ["interop"],
    ["apps"],
    ["__init__", "__main__"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

# a room is ops/<stem>.py, native/<stem>/ where it has kernels, tests/ops/test_<stem>.py
STEMS = """
    elementwise activation attention embedding reduce gemm shape memory index conv pool softmax
    loss norm random optim ctc distance rnn
""".split()
NATIVE_ONLY = {"core", "cpp", "chain"}


def module(path):
    """``chainrule.ops.norm`` of its path."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Every module that a file imports, wherever in the file it does: at the top or inside a function."""
    package = module(path) if path.name == "__init__.py" else module(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part(name):
    """The part of the package that a dotted name belongs to."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in RANK else "__init__"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_point_inward(path):
    me = part(module(path)) if path.parent != ROOT or path.stem != "__init__" else "__init__"
    assert me in RANK, f"{me} has no place in ORDER"
    for name in imported(path):
        if name.startswith("chainrule.") and part(name) != "_methods":  # that one is for type checkers alone
            other = part(name)
            assert other == me or RANK[other] < RANK[me], f"{module(path)} imports {name}"
            if me == "ops":
                assert other != "backends", "ops reach a backend through launch only"
        if me in ("domain", "modes", "tape", "saved", "launch", "autograd", "ops"):
            assert name.split(".")[0] != "numpy", f"{module(path)} imports numpy: no device code here"
        if me == "domain":
            assert not name.startswith(("numpy", "ml_dtypes")) and other_is_domain(name)


def other_is_domain(name):
    return not name.startswith("chainrule.") or part(name) == "domain"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_are_small_and_say_what_they_are(path):
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "a module begins with what it is"
    assert len(source.splitlines()) <= 450 and max(map(len, source.splitlines())) <= 128
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")


def test_rooms_have_one_stem_everywhere():
    rooms = {p.stem for p in (ROOT / "ops").glob("[a-z]*.py")} - {"methods", "inplace"}
    assert rooms == set(STEMS)
    assert {p.name for p in (HOME / "native").iterdir() if p.is_dir()} - NATIVE_ONLY <= set(STEMS)
    assert {f"test_{s}.py" for s in STEMS} <= {p.name for p in (HOME / "tests" / "ops").glob("test_*.py")}


def test_every_primitive_is_an_op_and_has_a_kernel():
    assert {name for name, call in OPS.items() if call.op.body is None} == PRIMITIVES - {"full", "arange"}
    for backend in (backends.named("numpy"), backends.named("cpu")):
        assert set(backend.kernels) >= PRIMITIVES


def test_every_native_kernel_has_an_op():
    native = importlib.import_module("chainrule.backends.cpu").NATIVE
    names = {name.removesuffix("_vjp") for name in native}
    assert names <= set(OPS) | PRIMITIVES, names - set(OPS)


@pytest.mark.parametrize("name", sorted(importlib.import_module("chainrule.backends.cpu").NATIVE))
def test_parameters_agree_in_python_and_cpp(name):
    if name in ("full", "arange"):
        return
    op = OPS[name.removesuffix("_vjp")].op
    text = importlib.import_module("chainrule.backends.cpu").NATIVE[name].__doc__ or ""
    inside = text[text.index("(") + 1 : text.rindex(") ->")]
    keyword = re.split(r"\*(?:, |\w+(?:: \w+)?, )", inside, maxsplit=1)[1:]  # after a bare * or *tensors
    found = [p.split(":")[0].strip() for part in keyword for p in part.split(", ") if ":" in p]
    assert [p for p in found if p != "needs"] == [*op.params], f"{name}{inside}"


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_is_documented_and_differentiable_or_says_not(name):
    op = OPS[name].op
    doc = inspect.getdoc(OPS[name]) or ""
    assert ">>> " in doc, "an op has an example"
    assert op.body is not None or op.nondifferentiable or any(op.rules), "an op has a body, rules or nondifferentiable"
    if op.mutates is not None and not op.nondifferentiable:
        assert any(op.rules), "a body that writes is never run again for a gradient"


def calls(f):
    """The Python functions that run in ``f()``."""
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_qualname) if event == "call" else None)
    f()
    sys.setprofile(None)
    return seen[1:]


def test_the_indirection_budget(monkeypatch):
    monkeypatch.setattr("chainrule.launch.STRICT", False)
    x, y = Tensor([1.0], requires_grad=True), Tensor([2.0])
    assert len(calls(lambda: y + y)) <= 4
    assert len(calls(lambda: x + y)) <= 6, calls(lambda: x + y)


def test_the_methods_are_those_declared():
    tree = ast.parse((ROOT / "_methods.pyi").read_text())
    (methods,) = [n for n in tree.body if isinstance(n, ast.ClassDef)]
    declared = {f.name for f in methods.body if isinstance(f, ast.FunctionDef)}
    assert {name for name in declared if name not in vars(Tensor)} == set()
    attached = {
        name
        for name, value in vars(Tensor).items()
        if getattr(value, "__module__", "").startswith("chainrule.ops") or hasattr(value, "op")
    }
    assert attached - declared == set()


def test_import_is_light():
    code = "import sys, chainrule; print([m for m in sys.modules if m.split('.')[0] in {'safetensors', 'typer', 'rich',"
    code += " 'matplotlib', 'h5py', 'torch', 'PIL', 'scipy', 'sklearn', 'tensorboardX', 'pandas'}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LATER = {"data", "estimators", "io", "losses", "metrics", "optim", "plots", "recording", "train", "zoo", "apps"}


def test_parts_are_read_when_they_are_named():
    code = """if True:
        import sys
        import chainrule as cr
        print([m for m in sys.modules if m.startswith("chainrule.")])
        class Mine(cr.nn.Sequential):
            def fit(self, *args, **options):
                return super().fit(*args, **options, verbose=0)
        model = Mine(cr.nn.Linear(2, 1))
        print(type(cr.nn.Module.save).__name__, callable(model.compile), cr.nn.Sequential.fit.__doc__[:5])
        model.compile("mse", "sgd").fit([[1.0, 2.0]], [[1.0]])
        print({*cr.__all__} - {*dir(cr)}, [n for n in cr.__all__ if getattr(cr, n, None) is None], hasattr(cr, "lode"))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, methods, names = done.stdout.splitlines()
    assert {part(name) for name in ast.literal_eval(loaded)} & LATER == set()
    assert methods == "function True Train" and names == "set() [] False"


def test_the_native_module_is_loaded():
    assert backends.get("cpu") is backends.named("cpu")
    assert importlib.import_module("chainrule._native").__file__.endswith((".so", ".pyd"))


def test_public_names_are_documented():
    for name in ops.__all__:
        assert inspect.getdoc(getattr(ops, name)), name
