"""What the pages of the reference list: read from their text, so that tests need no Sphinx."""

import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```\{(names|room)\} +(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def listed(page: Path, kind: str) -> Iterator[tuple[str, list[str]]]:
    """The blocks of a kind in a page: what stands after it, and the words inside of it."""
    for found, argument, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if found == kind:
            yield argument, [word for line in body.splitlines() if line[:1] != ":" for word in line.split()]
