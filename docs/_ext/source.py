"""The source of the package as pages of the site, light ones, and the links to it: [source] beside what is documented."""

import inspect
import re
from functools import reduce
from html import escape
from pathlib import Path
from pkgutil import resolve_name

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PACKAGE = Path(__file__).parent.parent.parent / "src" / "chainrule"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title><link rel="stylesheet" href="{up}source.css"></head>
<body><p><a href="{up}../index.html">chainrule</a> / <code>{name}</code></p>
{code}</body></html>
"""
STYLE = """body { margin: 1rem 2rem; font-family: sans-serif; }
pre { line-height: 1.4; font-size: 0.85rem; overflow-x: auto; }
span:target, a:target { outline: 2px solid #2962ff; }
.linenos { padding-right: 1.5em; user-select: none; opacity: 0.5; }
"""


def line(thing, file: Path, name: str) -> int:
    """Where something is defined; an op that one call declares is found by its name."""
    found = re.search(rf"^{name}(: \\w+)? = ", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found:
        return file.read_text(encoding="utf-8").count("\n", 0, found.start()) + 1
    return inspect.getsourcelines(thing)[1]


def linkcode_resolve(domain, info):
    """The page and line of a documented object, seen from a page in a folder of the site; None for what has none."""
    if domain != "py" or not info["module"] or info["fullname"].startswith("chainrule."):
        return None  # constants, by their whole names, have no line
    thing = reduce(getattr, info["fullname"].split("."), resolve_name(info["module"]))
    thing = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
    try:
        file = Path(inspect.getsourcefile(thing) or "")
    except TypeError:
        return None
    if PACKAGE not in file.parents:  # a method that scikit-learn gives
        return None
    there = file.relative_to(PACKAGE).with_suffix(".html").as_posix()
    return f"../source/{there}#L-{line(thing, file, info['fullname'])}"


def write(app, error):
    """The pages, when all others are there."""
    if error or app.builder.format != "html":
        return
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=False, style=app.config.pygments_style)
    dark = HtmlFormatter(style=app.config.pygments_dark_style).get_style_defs(".highlight")
    out = Path(app.outdir) / "source"
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE)
        page = out / name.with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        code = highlight(file.read_text(encoding="utf-8"), PythonLexer(stripnl=False), formatter)
        up = "../" * (len(name.parts) - 1)
        page.write_text(PAGE.format(name=escape(f"chainrule/{name.as_posix()}"), up=up, code=code), encoding="utf-8")
    night = "body { background: #131416; color: #ddd; } a { color: #6cf; }"
    styles = (
        f"{STYLE}{formatter.get_style_defs('.highlight')}\n@media (prefers-color-scheme: dark) {{ {night} {dark} }}\n"
    )
    (out / "source.css").write_text(styles, encoding="utf-8")


def setup(app):
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
