"""The page in a real browser: drawn on by mouse, finger and keys, at several sizes, with and without its server.

Needs Debian's ``chromium`` or ``chromium-headless-shell`` and the package playwright.
"""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from chainrule.apps.image import preprocess
from chainrule.apps.predictor import DigitPredictor
from chainrule.apps.serve.server import prepared

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())
SHAPES = {"desktop": (1200, 800, 1), "sharp": (1000, 700, 2), "phone": (360, 740, 3), "wide": (800, 380, 1)}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address():
    server, listening = prepared(DigitPredictor(), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page in a window of a shape; at the end, nothing may have been told on the console."""
    contexts, told = [], []

    def open_page(shape="desktop", **options):
        width, height, ratio = SHAPES[shape]
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=ratio, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(address)
        expect(page.locator("#model")).to_contain_text("parameters")
        return page

    open_page.told = told
    yield open_page
    for context in contexts:
        context.close()
    assert not [text for text in told if "422" not in text]  # the status of what is no digit yet


def draw(page, drawing):
    """Draw with the mouse, in the middle of the sheet, whatever its size is."""
    page.locator("#sheet").scroll_into_view_if_needed()
    box = page.locator("#sheet").bounding_box()
    points = np.concatenate([np.array(stroke, float) for stroke in drawing["strokes"]])
    low, long = points.min(0), np.ptp(points, axis=0).max()
    side = min(box["width"], box["height"]) * 0.7
    corner = (
        np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]) - np.ptp(points, axis=0) / long * side / 2
    )
    for stroke in drawing["strokes"]:
        path = (np.array(stroke) - low) / long * side + corner
        page.mouse.move(*path[0])
        page.mouse.down()
        for x, y in [*path[2:-1:3], path[-1]]:  # as quick as a hand
            page.mouse.move(x, y)
        page.mouse.up()


def until(page, condition):
    """Wait until something is so in the page (whose policy forbids the browser's own way of waiting: eval)."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"it never came that {condition}")


def ink(page):
    """The pixels of the sheet that are drawn on, as a share of all."""
    return page.evaluate(
        "() => { const c = document.querySelector('#sheet');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 3; i < d.length; i += 4) n += d[i] > 127; return n / (c.width * c.height); }"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_digit_is_read_at_every_size(opened, shape):
    page = opened(shape)
    for digit in range(10):
        draw(page, DRAWINGS[20 * digit + 7])
        expect(page.locator("#says")).to_have_text(f"This is a {digit}.")
        expect(page.locator("#digit")).to_have_text(str(digit))
        shares = [float(text.removesuffix(" %")) for text in page.locator("#bars .share").all_inner_texts()]
        assert len(shares) == 10 and sum(shares) == pytest.approx(100, abs=0.6) and int(np.argmax(shares)) == digit
        page.keyboard.press("Escape")
        expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_shows_what_python_makes_of_the_strokes(opened):
    page = opened()
    draw(page, DRAWINGS[45])
    expect(page.locator("#latency")).to_contain_text("ms")
    strokes = page.evaluate("strokes.map((stroke) => stroke.points)")
    pen = page.evaluate("strokes[0].pen")
    until(page, "!busy && asked === version")
    seen = page.evaluate("Array.from(seen.getImageData(0, 0, 28, 28).data).filter((_, i) => i % 4 === 0)")
    assert np.array_equal(np.reshape(seen, (28, 28)), np.rint(preprocess(strokes, pen).image * 255))


def test_undo_redo_and_clear(opened):
    page = opened()
    draw(page, DRAWINGS[20 * 4 + 2])  # two strokes
    expect(page.locator("#says")).to_have_text("This is a 4.")
    full = ink(page)
    page.locator("#undo").click()
    until(page, "strokes.length === 1")
    until(page, "!busy && asked === version")
    assert ink(page) < full
    page.keyboard.press("Control+y")
    expect(page.locator("#says")).to_have_text("This is a 4.")
    assert ink(page) == pytest.approx(full)
    page.locator("#clear").click()
    expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    assert ink(page) == 0 and page.locator("#clear").is_disabled()
    page.keyboard.press("Control+z")  # a clear is undone as a whole
    expect(page.locator("#says")).to_have_text("This is a 4.")


def test_another_size_of_the_window_loses_nothing(opened):
    page = opened()
    draw(page, DRAWINGS[20 * 8 + 3])
    expect(page.locator("#says")).to_have_text("This is a 8.")
    before = ink(page)
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_timeout(200)
    assert ink(page) == pytest.approx(before, rel=0.1) and page.evaluate("strokes.length") > 0
    expect(page.locator("#says")).to_have_text("This is a 8.")


def test_a_finger_draws_and_does_not_scroll(opened):
    page = opened("phone", has_touch=True, is_mobile=True)
    session = page.context.new_cdp_session(page)
    page.locator("#sheet").scroll_into_view_if_needed()
    box = page.locator("#sheet").bounding_box()
    x, top, scrolled = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15, page.evaluate("scrollY")
    for kind, part in [("touchStart", 0.0), *[("touchMove", i / 20) for i in range(1, 21)], ("touchEnd", None)]:
        points = [] if part is None else [{"x": x, "y": top + part * box["height"] * 0.7}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator("#says")).to_have_text("This is a 1.")
    assert page.evaluate("scrollY") == scrolled


def test_a_dot_is_refused_politely(opened):
    page = opened()
    page.locator("#sheet").click()
    expect(page.locator("#says")).to_have_text("This is hardly more than a dot: draw a digit")


def test_without_its_server_the_page_keeps_the_drawing_and_asks_again(opened):
    page = opened()
    page.context.set_offline(True)
    draw(page, DRAWINGS[20 * 3 + 1])
    expect(page.locator("#says")).to_contain_text("No answer from the server")
    page.context.set_offline(False)
    expect(page.locator("#says")).to_have_text("This is a 3.")
    page.route("**/api/predict", lambda route: route.fulfill(status=500, body="{}"))
    draw(page, DRAWINGS[20 * 1])
    expect(page.locator("#says")).to_contain_text("no answer that this page knows")
    opened.told.clear()  # the console notes what failed


def test_the_dark_page_is_dark(opened):
    page = opened(color_scheme="dark")
    draw(page, DRAWINGS[20 * 7 + 2])
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 21)"
    assert page.evaluate("context.strokeStyle") == "#f4f4ee"


def test_an_answer_that_comes_after_the_sheet_was_cleared_is_passed_over(opened):
    page = opened()
    waiting = []
    page.route("**/api/predict", lambda route: waiting.append(route))
    draw(page, DRAWINGS[20 * 9])
    assert waiting and page.locator("#says").inner_text() == "Draw a digit from 0 to 9."
    page.keyboard.press("Escape")
    waiting[0].continue_()
    until(page, "!busy")
    expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    assert page.locator("#digit").inner_text() == "?" and len(waiting) == 1
