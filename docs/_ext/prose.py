"""Docstrings as they are written here, prose with ``literals`` and examples, made into what Sphinx reads."""

import re
from os.path import relpath
from pathlib import Path

from sphinx.util.nodes import make_refnode
from tests.ops.samples import SAMPLES

from chainrule import Tensor
from chainrule.ops._op import OPS

DOCS = Path(__file__).parent.parent
HOME = DOCS.parent
ELSEWHERE = {HOME / "README.md": "index", HOME / "CONTRIBUTING.md": "contributing", HOME / "native/README.md": "native"}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")
TENSOR = re.compile(r"~chainrule\.tensor\.(?=Tensor\b)")
CODE = re.compile(r"\[`?([^\]`]+)`?\]\((?:\.\./)*src/(chainrule[\w/]*)\.py#(\w+)\)")
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LITERAL = re.compile(r"(``.+?``(?!`)|\*\*[A-Z][^*]*\*\*)", re.DOTALL)
SPECIAL = re.compile(r"([\\*|`]|_(?=\W|$)|_(?=_))")
ITEM = re.compile(r"^(\s*[*-] )")
FACT = re.compile(r"(Formula|Gradient|Shapes): ")


def plain(text: str) -> str:
    """Text in which only literals and the bullets of lists mean anything."""
    parts = LITERAL.split(text)
    for i in range(0, len(parts), 2):
        lines = []
        for line in parts[i].split("\n"):
            bullet = ITEM.match(line) if i == 0 or lines else None
            start = bullet[0] if bullet else ""
            lines.append(start + SPECIAL.sub(r"\\\1", line[len(start) :]))
        parts[i] = "\n".join(lines)
    return "".join(parts)


def example(block: list[str]) -> list[str]:
    """A doctest as code."""
    return [".. code-block:: pycon", "", *("" if x.strip() == "<BLANKLINE>" else f"   {x}" for x in block), ""]


def facts(text: str) -> list[str]:
    """``Formula: …. Gradient: …. Shapes: …`` as a list of fields."""
    _, *parts = FACT.split(" ".join(text.split()))
    return [f":{name}: {plain(said.strip().rstrip('.'))}" for name, said in zip(parts[::2], parts[1::2], strict=True)]


def converted(lines: list[str]) -> list[str]:
    """A whole docstring."""
    found: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        if paragraph.lstrip().startswith(">>>"):
            found += example(paragraph.split("\n"))
        elif paragraph.startswith("Formula: "):
            found += facts(paragraph)
        else:
            found += plain(paragraph).split("\n")
        found.append("")
    return found


def links(text: str, folder: Path, here: Path) -> str:
    """A page of ``folder`` with its links as they are from the folder ``here``; pages of ``ELSEWHERE`` have another name.

    A link to a name in a file of the package leads to what the reference says of it.
    """

    def moved(found):
        path = (folder / found[2]).resolve()
        path = DOCS / f"{ELSEWHERE[path]}.md" if path in ELSEWHERE else path
        return f"{found[1]}{Path(relpath(path, here)).as_posix()}{found[3]}" if path.exists() else found[0]

    def named(found):
        return f"{{py:obj}}`{found[1]} <{found[2].replace('/', '.')}.{found[3]}>`"

    return LINK.sub(moved, CODE.sub(named, text))


def page(app, name, source):
    """What Sphinx reads of a page: ``{include}`` of a page from elsewhere is done here, so that its links lead somewhere."""
    here = (DOCS / name).parent

    def included(found):
        path = (here / found[1]).resolve()
        app.env.note_dependency(str(path))
        return links(path.read_text(encoding="utf-8"), path.parent, here)

    source[0] = INCLUDE.sub(included, links(source[0], here, here))


def tried(name: str) -> str:
    """The shapes that the tests give to an op, and those that it makes of them."""
    found = []
    for sample in SAMPLES:
        shapes = [getattr(a, "shape", a) for a in sample.args if a is not None]
        if sample.op == name and all(0 not in s for s in shapes if isinstance(s, tuple)) and len(found) < 4:
            made = OPS[name](*[Tensor(a) if hasattr(a, "shape") else a for a in sample.args], **sample.params)
            made = made if isinstance(made, tuple) else (made,)
            given = "".join(f", {key}={value!r}" for key, value in sample.params.items())
            text = f"``{', '.join(map(str, shapes))}{given} → {', '.join(str(y.shape) for y in made)}``"
            found += [text] * (text not in found)
    return "; ".join(found)


def docstring(app, what, name, obj, options, lines):
    """What autodoc hands over before it reads it."""
    lines[:] = converted(lines)
    after = next((i + 1 for i, line in enumerate(lines) if line.startswith(":Shapes:")), None)
    shapes = tried(name.rpartition(".")[2]) if after else ""
    if shapes:
        lines.insert(after, f":Such as: {shapes}")


def signature(app, what, name, obj, options, arguments, result):
    """Types that say nothing are left out; that of tensors, which many have, makes no line long."""
    told = arguments and TENSOR.sub("", re.sub(r": ~typing\.Any(?=[,)]| = )", "", arguments))
    return told, "" if result in ("~typing.Any", "None", None) else TENSOR.sub("", result)


def public(app, env, node, contnode):
    """A type of ours that is named by where it is written leads to where it is documented."""
    before, _, last = node.get("reftarget", "").rpartition(".")
    if node.get("refdomain") != "py" or not (before.startswith("chainrule.") or last == "Tensor"):
        return None
    objects = env.domains.python_domain.objects
    found = [name for name in objects if name.rpartition(".")[2] == last and objects[name].objtype != "method"]
    if len(found) != 1:
        return None
    there = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], there.docname, there.node_id, contnode, found[0])


def setup(app):
    app.connect("source-read", page)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
