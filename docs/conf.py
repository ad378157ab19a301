"""The documentation site: ``make docs`` builds it into build/docs. Nothing in it comes from another server."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src"), str(HERE.parent)]

from source import linkcode_resolve  # noqa: E402, F401

import chainrule  # noqa: E402

project = "chainrule"
author = "the authors of chainrule"
version = release = chainrule.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "directives", "prose", "source"]
exclude_patterns = ["_ext"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "attrs_inline"]

# Pages that others add may be missing; everything else is an error (-W).
suppress_warnings = ["toc.empty_glob"]

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 84
add_module_names = False
toc_object_entries_show_parents = "hide"

smartquotes = False  # "auto" is to be typed as it stands
html_theme = "furo"
html_title = "chainrule"
html_static_path = ["_static"]
html_css_files = ["chainrule.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "github-dark"
