"""README and docs: their Python blocks run, in order, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md")])
ELSEWHERE = [HOME / "docs" / name for name in ("tutorials", "coming_from")]  # run by tests of their own
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
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
