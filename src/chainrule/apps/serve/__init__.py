"""Digits read in the browser: a page to draw on, and the JSON interface that it uses."""

from .app import create_app
from .server import serve

__all__ = ["create_app", "serve"]
