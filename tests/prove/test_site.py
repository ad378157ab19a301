"""The documentation is built without a warning, needs no other server, and no link in it is dead."""

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

HOME = Path(__file__).parent.parent.parent
NOT_OURS = ("genindex", "search", "py-modindex")


class Page(HTMLParser):
    """The links, the anchors, and what is loaded."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.loaded = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get("src") or (tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload")):
            self.loaded.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built anew; and the seconds that took."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-j", "auto", "-b", "html"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "-d", str(out / "trees"), "docs", str(out / "html")], cwd=HOME, capture_output=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return out / "html", time.perf_counter() - started


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site[0].rglob("*.html"))}


def test_it_is_built_whole_and_without_warnings(site, pages, record_property):
    out, seconds = site
    sources = sorted((HOME / "docs").rglob("*.md"))
    assert [p for p in sources if not (out / p.relative_to(HOME / "docs")).with_suffix(".html").exists()] == []
    record_property("pages", len(sources))
    record_property("pages with those of the source", len(pages))
    record_property("seconds", round(seconds, 1))


def test_nothing_comes_from_elsewhere(site, pages):
    loaded = [(path.name, source) for path, page in pages.items() for source in page.loaded]
    assert len(loaded) > len(pages)
    assert [x for x in loaded if re.match(r"(\w+:)?//", x[1])] == []
    for path in site[0].rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?https?:", path.read_text(encoding="utf-8")), path


def test_no_link_is_dead(pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", target) or (path.stem in NOT_OURS and not target):
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            if not there.exists() or (anchor and there in pages and unquote(anchor) not in pages[there].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []
