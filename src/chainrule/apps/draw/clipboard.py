"""A picture from the clipboard, as far as the platform lets it be read.

Pillow reads it: on Windows and macOS by itself, elsewhere with xclip or wl-paste where these are there. On X11 Tk reads PNG
too, of up to about 250 kB. The path of a file, or its address, ``file:///...``, is read everywhere.
"""

from __future__ import annotations

import io
import threading
import tkinter as tk
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...domain.errors import DataError
from ..image import grey_of, read_grey

PATIENCE = 3.0  # seconds
NOTHING = "[paste] there is no picture in the clipboard: copy one, or the path of a file"


def pasted(root: tk.Misc) -> Any:
    """The picture in the clipboard, grey (h, w). Errors: DataError if there is none, and those of ``read_grey``."""
    if path := path_in(owned(root, "UTF8_STRING") or owned(root, "STRING")):
        return read_grey(path)
    x11 = root.tk.call("tk", "windowingsystem") == "x11"
    if not x11 or "image/png" in owned(root, "TARGETS").split():
        if (found := by_pillow()) is not None:
            return found
        if png := packed(owned(root, "image/png")):
            return grey_of(io.BytesIO(png), "the picture in the clipboard")
    raise DataError(NOTHING)


def owned(root: tk.Misc, kind: str) -> str:
    """What the clipboard has of a kind, or nothing."""
    try:
        return str(root.tk.call("selection", "get", "-selection", "CLIPBOARD", "-type", kind))
    except tk.TclError:
        return ""


def packed(text: str) -> bytes:
    """The bytes that Tk writes as numbers.

    >>> packed("0x89 0x50 0x4e 0x47")
    b'\\x89PNG'
    """
    return bytes(int(number, 16) & 0xFF for number in text.split())


def path_in(text: str) -> Path | None:
    """The file that a text names, if there is one.

    >>> path_in("what is this?") is None, path_in(f"file://{Path(__file__).as_posix()}") == Path(__file__)
    (True, True)
    """
    first = text.strip().splitlines()[0].strip() if text.strip() else ""
    if first.startswith("file://"):
        first = unquote(urlsplit(first).path)
    try:
        return Path(first) if first and Path(first).is_file() else None
    except (OSError, ValueError):  # no path at all: too long, with a zero in it
        return None


def by_pillow() -> Any:
    """What Pillow finds in the clipboard, or None; also where the program that owns it does not answer."""
    found: list[Any] = []

    def grab() -> None:
        with suppress(ImportError, NotImplementedError, OSError):
            from PIL import ImageGrab

            found.append(ImageGrab.grabclipboard())

    thread = threading.Thread(target=grab, name="clipboard", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    given = found[0] if found else None
    if isinstance(given, list):
        return read_grey(given[0]) if given else None
    if given is None:
        return None
    file = io.BytesIO()
    given.save(file, "PNG")
    file.seek(0)
    return grey_of(file, "the picture in the clipboard")
