"""Blocks of the reference: ``{names} module`` documents what it lists, ``{room} modules`` the ops that they declare,
``{methods}`` the methods of a tensor that are ops, ``{commands}`` the command line.
"""

import inspect
from functools import reduce
from importlib import import_module
from pkgutil import resolve_name

import typer
from prose import converted
from sphinx.util.docutils import SphinxDirective

from chainrule import ops
from chainrule.apps.cli import app as commands
from chainrule.tensor import Tensor


def autodoc(module: str, word: str, without: list[str]) -> list[str]:
    """The directive that documents a name of a module."""
    thing = reduce(getattr, word.split("."), resolve_name(module))
    name = f"{module}.{word}"
    if inspect.isclass(thing):
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        return [f".. {kind}:: {name}", f"   :members: {', '.join(members(thing, without))}", ""]
    if inspect.ismodule(thing):
        return [f".. automodule:: {thing.__name__}", ""]
    if callable(thing):
        return [f".. autofunction:: {name}", ""]
    indexed = [] if isinstance(thing, list | dict) else ["   :no-index:"]  # else the type bool would lead to the dtype
    return [f".. py:data:: {name}", *indexed, "", f"   {value(thing)}", ""]


def members(thing: type, without: list[str]) -> list[str]:
    """The members that a class adds to its bases and documents; of a tensor those that are no ops."""
    bases = thing.__mro__[1:]
    known = {name for base in bases if not attached(base) for name in vars(base)}
    known |= {*without, *(ops.__all__ if thing is Tensor else ())}
    return [
        name
        for base in (thing, *filter(attached, bases))
        for name, member in vars(base).items()
        if name[0] != "_" and name not in known and documented(member)
    ]


def attached(base: type) -> bool:
    """Whether a base stands for the methods that other modules give to its class."""
    return base.__name__ == "Methods"


def documented(member) -> bool:
    """Whether it is a method or a property that says what it is."""
    is_one = isinstance(member, property | classmethod | staticmethod) or inspect.isroutine(member)
    return is_one and isinstance(member.__doc__, str)


def value(thing) -> str:
    """What a constant is, shortly."""
    if not isinstance(thing, list | dict):
        return f"``{thing!r}``"
    first = ", ".join(f"``{x}``" for x in [*thing][:4])
    return f"A {type(thing).__name__} of {len(thing)}: {first}, …"


class Block(SphinxDirective):
    """A block that becomes reStructuredText."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def lines(self) -> list[str]:
        raise NotImplementedError

    def run(self):
        text = "\n".join(["````{eval-rst}", *self.lines(), "````"])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Names(Block):
    """``{names} chainrule.nn`` and names: each with its docstring."""

    option_spec = {"without": lambda words: words.split()}  # members that another page has

    def lines(self):
        without = self.options.get("without", [])
        words = " ".join(self.content).split()
        return [line for word in words for line in autodoc(self.arguments[0], word, without)]


class Room(Block):
    """``{room} chainrule.ops.conv chainrule.ops._conv3d``: what these modules say of themselves, and their ops."""

    def lines(self):
        found = []
        for module in self.arguments[0].split():
            room = import_module(module)
            self.env.note_dependency(inspect.getfile(room))
            if not module.rpartition(".")[2].startswith("_"):
                found += [*converted(inspect.getdoc(room).split("\n")), ""]
        for name in ops.__all__:
            if inspect.unwrap(getattr(ops, name)).__module__ in self.arguments[0].split():
                found += [f".. autofunction:: chainrule.{name}", ""]
        return found


class Methods(Block):
    """The methods of a tensor that are ops, each with a link to its op."""

    def lines(self):
        names = [name for name in dir(Tensor) if name in ops.__all__]
        return [" · ".join(f":py:func:`~chainrule.{name}`" for name in names)]


class Commands(SphinxDirective):
    """Every command, its arguments and its options; their help is Markdown."""

    def run(self):
        text = "\n".join(command(typer.main.get_command(commands), "chainrule"))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def command(this, path: str) -> list[str]:
    """A command, or those inside of it, as Markdown."""
    inside = getattr(this, "commands", {})
    found = [f"## {path}", "", inspect.cleandoc(this.help or ""), "", inspect.cleandoc(this.epilog or ""), ""]
    params = [] if inside else [p for p in this.params if not getattr(p, "hidden", False)]
    if params:
        found += ["| argument or option | what |", "| --- | --- |"]
    for p in params:
        spelled = (
            ", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)) if p.opts[0][0] == "-" else f"`{p.name.upper()}`"
        )
        found.append(f"| {spelled} | {' '.join((p.help or '').split()).replace('|', '/')} |")
    return [*found, "", *(line for name, sub in inside.items() for line in command(sub, f"{path} {name}"))]


def setup(app):
    for name, directive in {"names": Names, "room": Room, "methods": Methods, "commands": Commands}.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
