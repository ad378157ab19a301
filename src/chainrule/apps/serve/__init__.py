"""Digits read in the browser: a page to draw on, and the JSON interface that it uses."""

from ...domain.errors import MissingDependencyError

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        "[serve] the page needs starlette and uvicorn: pip install 'chainrule[web]'"
    ) from error

from .app import create_app
from .server import serve

__all__ = ["create_app", "serve"]
