"""README and docs: their Python blocks run, in order, their links lead somewhere, and the site has them all.

The tutorials run in test_tutorials.py; the site is built in tests/prove.
"""

import importlib
import inspect
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name

import pytest
from tests.pages import run_page

from chainrule import Tensor, ops

HOME = Path(__file__).parent.parent
DOCS = HOME / "docs"
SITE = sorted(DOCS.rglob("*.md"))
PAGES = sorted([*HOME.glob("*.md"), *SITE])
PRINTING = [DOCS / "flow.md"]  # what their blocks print stands below them
RUNNING = [p for p in PAGES if p not in PRINTING and p.parent.name != "tutorials"]
ELSEWHERE = [HOME / "docs" / name for name in ("tutorials", "coming_from")]  # run by tests of their own
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
NAMED = re.compile(r"\]\((?:\.\./)*src/(chainrule[\w/]*)\.py#(\w+)\)")
DIRECTIVE = re.compile(r"^```\{(\w+)\} *(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
RUN = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'))"


def program(page):
    """The Python blocks of a page as one program, each line where it stands in the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * len(text.splitlines())
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start(2))
        for i, line in enumerate(match[2].splitlines()):
            lines[first + i] = line[len(match[1]) :]
    return "\n".join(lines).rstrip()


@pytest.mark.parametrize(
    "page", [p for p in PAGES if program(p) and p.parent not in ELSEWHERE], ids=lambda p: str(p.relative_to(HOME))
)
def test_code_blocks_run(page, tmp_path):
    command = [sys.executable, "-W", "error", "-c", RUN, str(page)]
    done = subprocess.run(command, input=program(page), capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOME)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PRINTING, ids=lambda p: p.stem)
def test_a_page_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_names_that_a_page_links_to_are_there():
    links = [found for page in PAGES for found in NAMED.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 10
    for module, name in links:
        assert hasattr(importlib.import_module(module.replace("/", ".")), name), f"{module}.py has no {name}"


def blocks(page, kind):
    """The directives of a kind in a page: what stands after each, and its words without options."""
    for found, argument, body in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
        if found == kind:
            yield argument, [word for line in body.splitlines() if line[:1] != ":" for word in line.split()]


def test_every_page_is_reached_from_the_index():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for _, entries in blocks(page, "toctree"):
            for entry in entries:
                if entry in ("Overview", "<self>"):
                    continue
                found = sorted(page.parent.glob(f"{entry}.md"))
                assert found, f"{page.name} has {entry} in its toctree, which is not there"
                waiting += [p for p in found if p not in reached]
    assert [p for p in SITE if p not in reached] == []


def documented():
    """The names of the reference: (page, name of a block, its object)."""
    for page in sorted((DOCS / "api").glob("*.md")):
        for module, words in blocks(page, "names"):
            for word in words:
                yield page.name, f"{module}.{word}", reduce(getattr, word.split("."), resolve_name(module))


def test_a_name_is_on_one_page_of_the_reference():
    names = [name for _, name, _ in documented()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "module",
    ["", ".nn", ".losses", ".metrics", ".optim", ".data", ".io", ".train", ".interop", ".plots", ".estimators"],
)
def test_every_public_name_is_in_the_reference(module):
    public = importlib.import_module(f"chainrule{module}")
    known = {id(thing) for *_, thing in documented()}
    missing = []
    for name in public.__all__:
        thing = getattr(public, name)
        page = DOCS / ("ops" if name == "ops" else "api") / f"{'index' if name == 'ops' else name}.md"
        if id(thing) not in known and not (inspect.ismodule(thing) and page.exists()) and not hasattr(thing, "op"):
            missing.append(name)
    assert missing == []


def test_every_op_is_in_one_room():
    rooms = [
        m for page in sorted((DOCS / "ops").glob("*.md")) for found, _ in blocks(page, "room") for m in found.split()
    ]
    assert sorted(rooms) == sorted(set(rooms))
    assert [name for name in ops.__all__ if inspect.unwrap(getattr(ops, name)).__module__ not in rooms] == []


def test_what_the_page_of_tensors_says_of_methods_is_so():
    text = (DOCS / "api" / "tensor.md").read_text(encoding="utf-8")
    in_place = {name for name in dir(Tensor) if name.endswith("_") and name[:-1] in ops.__all__}
    assert in_place <= set(re.findall(r"`(\w+_)`", text))
