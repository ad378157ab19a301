"""The page in a real browser: drawn on by mouse, finger and keys, at several sizes, with and without its server.

Needs Debian's ``chromium`` or ``chromium-headless-shell`` and the package playwright.
"""

import base64
import contextlib
import json
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from chainrule import zoo
from chainrule.apps.image import preprocess, read_grey
from chainrule.apps.predictor import DigitPredictor
from chainrule.apps.serve.server import prepared

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())
ANSWERED = "!page.busy && page.asked === page.version"
SHAPES = {"desktop": (1200, 800, 1), "sharp": (1000, 700, 2), "phone": (360, 740, 3), "wide": (800, 380, 1)}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def serving(**options):
    """The address of a server, and what ends it."""
    server, listening = prepared(DigitPredictor(), "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()

    def end():
        server.should_exit = True
        thread.join(20)
        listening.close()

    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", end
    finally:
        end()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    for name, model in (("lenet", zoo.lenet(10)), ("vit", zoo.vit(10))):
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "config.toml").write_text("")
        (folder / "runs" / name / "data.json").write_text('{"shape": [1, 28, 28], "classes": null}')
        model.build((None, 1, 28, 28)).save(folder / "runs" / name / "model.safetensors")
    with contextlib.chdir(folder), serving() as (found, _):
        yield found


@pytest.fixture
def opened(browser, address):
    """Opens the page in a window of a shape; at the end, nothing may have been told on the console."""
    contexts, told = [], []

    def open_page(shape="desktop", at=None, **options):
        width, height, ratio = SHAPES[shape]
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=ratio, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(at or address)
        expect(page.locator("#model")).to_contain_text("parameters")
        return page

    open_page.broken = False  # whether something was meant to fail, which the console tells
    yield open_page
    for context in contexts:
        context.close()
    assert open_page.broken or not [text for text in told if "422" not in text]  # the status of what is no digit yet


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


def seen(page):
    """The 28 × 28 values that are shown as what the network sees."""
    pixels = page.evaluate(
        "() => Array.from(document.querySelector('#seen').getContext('2d').getImageData(0, 0, 28, 28).data)"
    )
    return np.reshape(pixels[::4], (28, 28))


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
    strokes = page.evaluate("page.drawing.strokes.map((stroke) => stroke.points)")
    pen = page.evaluate("page.drawing.strokes[0].pen")
    until(page, ANSWERED)
    assert np.array_equal(seen(page), np.rint(preprocess(strokes, pen).image * 255))


def test_undo_redo_and_clear(opened):
    page = opened()
    draw(page, DRAWINGS[20 * 4 + 2])  # two strokes
    expect(page.locator("#says")).to_have_text("This is a 4.")
    full = ink(page)
    page.locator("#undo").click()
    until(page, "page.drawing.strokes.length === 1")
    until(page, ANSWERED)
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
    assert ink(page) == pytest.approx(before, rel=0.1) and page.evaluate("page.drawing.strokes.length") > 0
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
    opened.broken = True


def test_the_dark_page_is_dark(opened):
    page = opened(color_scheme="dark")
    draw(page, DRAWINGS[20 * 7 + 2])
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 21)"
    assert page.evaluate("page.sheet.context.strokeStyle") == "#f4f4ee"


def test_an_answer_that_comes_after_the_sheet_was_cleared_is_passed_over(opened):
    page = opened()
    waiting = []
    page.route("**/api/predict", lambda route: waiting.append(route))
    draw(page, DRAWINGS[20 * 9])
    assert waiting and page.locator("#says").inner_text() == "Draw a digit from 0 to 9."
    page.keyboard.press("Escape")
    waiting[0].continue_()
    until(page, "!page.busy")
    expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    assert page.locator("#digit").inner_text() == "?" and len(waiting) == 1


def middle(page, x=0.5, y=0.5):
    """Where a point of the sheet is in the window, in pixels."""
    box = page.locator("#sheet").bounding_box()
    side = min(box["width"], box["height"])
    return box["x"] + box["width"] / 2 + (x - 0.5) * side, box["y"] + box["height"] / 2 + (y - 0.5) * side


def line(page, *points):
    """Go with the mouse from point to point of the sheet."""
    page.mouse.move(*middle(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*middle(page, *point), steps=8)
    page.mouse.up()


def test_the_eraser_makes_a_7_of_a_2_and_it_is_one_step_to_take_back(opened):
    page = opened()
    line(page, (0.3, 0.2), (0.7, 0.2), (0.3, 0.8), (0.75, 0.8))
    expect(page.locator("#says")).to_have_text("This is a 2.")
    page.keyboard.press("e")
    line(page, (0.44, 0.8), (0.85, 0.8))
    expect(page.locator("#says")).to_have_text("This is a 7.")
    page.keyboard.press("Control+z")
    expect(page.locator("#says")).to_have_text("This is a 2.")
    page.keyboard.press("Control+y")
    expect(page.locator("#says")).to_have_text("This is a 7.")
    assert page.evaluate("page.drawing.before.length") == 2
    page.keyboard.press("p")
    line(page, (0.3, 0.8), (0.75, 0.8))
    expect(page.locator("#says")).to_have_text("This is a 2.")


def test_the_pen_has_a_size(opened):
    page = opened()
    found = []
    for _ in range(2):
        line(page, (0.5, 0.2), (0.5, 0.8))
        found.append(ink(page))
        page.keyboard.press("Escape")
        for _ in range(4):
            page.keyboard.press("]")
    assert found[1] > 1.4 * found[0]


def test_a_digit_is_drawn_by_keys_alone(opened):
    page = opened()
    page.locator("#sheet").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(13):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#says")).to_have_text("This is a 1.")
    expect(page.locator("#sheet")).to_have_attribute("aria-label", "Sheet to draw on. 1 stroke is drawn.")
    for name in ("pen", "size", "undo"):  # all can be reached
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name


def test_a_picture_is_saved_opened_and_pasted(opened, tmp_path):
    page = opened(accept_downloads=True)
    draw(page, DRAWINGS[20 * 5 + 3])
    expect(page.locator("#says")).to_have_text("This is a 5.")
    with page.expect_download() as saved:
        page.locator("#save").click()
    file = tmp_path / saved.value.suggested_filename
    saved.value.save_as(file)
    assert file.name == "digit.png" and DigitPredictor()(read_grey(file)).digit == 5
    page.keyboard.press("Escape")
    expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    page.locator("#file").set_input_files(file)
    expect(page.locator("#says")).to_have_text("This is a 5.")
    assert ink(page) > 0.5  # paper and all
    page.keyboard.press("Control+z")
    expect(page.locator("#says")).to_have_text("Draw a digit from 0 to 9.")
    page.evaluate(
        "(text) => { const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); const data = new DataTransfer();"
        "data.items.add(new File([bytes], 'a.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})); }",
        base64.b64encode(file.read_bytes()).decode(),
    )
    expect(page.locator("#says")).to_have_text("This is a 5.")
    page.keyboard.press("e")  # the eraser wipes pictures, too
    for k in range(12):
        line(page, (0, k / 11), (1, k / 11))
    expect(page.locator("#says")).to_contain_text("blank")
    page.locator("#file").set_input_files(Path(__file__))
    expect(page.locator("#says")).to_contain_text("no picture that the browser can read")
    line(page, (0.5, 0.1), (0.5, 0.9))  # there is no ink to erase
    assert page.evaluate("page.drawing.picture !== null")


def test_inside_the_network(opened):
    page = opened()
    page.locator("#inside summary").click()
    expect(page.locator("#noviews")).to_have_text("Draw a digit to see inside.")
    draw(page, DRAWINGS[20 * 6 + 1])
    expect(page.locator("#maps canvas")).to_have_count(32)
    expect(page.locator("#layer")).to_contain_text("0.0 Conv2d")
    expect(page.locator("#saliencyof")).to_contain_text("its score for 6")
    shown = page.evaluate(
        "() => ['saliency', 'maps'].map((id) => { const c = document.getElementById(id);"
        "const d = (c.getContext ? c : c.children[3]).getContext('2d').getImageData(0, 0, 28, 28).data;"
        "return new Set(d).size; })"
    )
    assert min(shown) > 10  # many colours
    page.keyboard.press("Escape")
    expect(page.locator("#noviews")).to_have_text("Draw a digit to see inside.")


def test_a_correction_is_learnt_and_forgotten(browser, opened):
    with serving() as (address, _):
        page = opened(at=address)
        assert page.locator("#labels button").first.is_disabled() and page.locator("#unlearn").is_disabled()
        draw(page, DRAWINGS[20 * 2 + 4])
        expect(page.locator("#says")).to_have_text("This is a 2.")
        page.locator("#labels button").nth(2).click()
        expect(page.locator("#taught")).to_contain_text("Learnt: this is a 2. 1 drawing so far", timeout=30_000)
        page.locator("#unlearn").click()
        expect(page.locator("#taught")).to_have_text("Forgotten. 0 drawings left.")
        expect(page.locator("#unlearn")).to_be_disabled()
        page.locator("#local").check(force=True)  # the network in the browser follows
        expect(page.locator("#latency")).to_contain_text("in this browser")
        first = page.locator("#top").inner_text()
        page.locator("#labels button").nth(2).click()
        expect(page.locator("#taught")).to_contain_text("Learnt", timeout=30_000)
        until(page, ANSWERED)
        page.locator("#unlearn").click()
        expect(page.locator("#taught")).to_have_text("Forgotten. 0 drawings left.")
        until(page, ANSWERED)
        assert page.locator("#top").inner_text() == first


def test_a_server_that_does_not_learn_says_so(opened):
    with serving(learning=False) as (address, _):
        page = opened(at=address)
        draw(page, DRAWINGS[20 * 2 + 4])
        expect(page.locator("#says")).to_have_text("This is a 2.")
        expect(page.locator("#taught")).to_have_text("This server does not learn.")
        assert page.locator("#labels button").nth(2).is_disabled()


def test_the_browser_reads_as_python_does(opened):
    page = opened()
    predictor = DigitPredictor()
    found = page.evaluate(
        "async (drawings) => { const {preprocess} = await import('/digits.js');"
        "const {Network} = await import('/network.js');"
        "const network = new Network(await (await fetch('/network')).arrayBuffer());"
        "return drawings.map((d) => { const i = preprocess(d); return [Array.from(i), network.probabilities(i)]; }); }",
        [{"strokes": d["strokes"], "pen": d["pen"]} for d in DRAWINGS],
    )
    for drawing, (image, probabilities) in zip(DRAWINGS, found, strict=True):
        wanted = predictor(drawing["strokes"], drawing["pen"])
        assert np.abs(wanted.steps.image.ravel() - image).max() < 1e-6
        assert np.abs(np.subtract(wanted.probabilities, probabilities)).max() < 1e-5


def test_in_the_browser_all_goes_on_when_the_server_is_gone(opened):
    with serving() as (address, end):
        page = opened(at=address)
        page.locator("#local").check(force=True)
        expect(page.locator("#model")).to_contain_text("in this browser")
        end()
        page.locator("#inside summary").click()
        for digit in (3, 8):
            draw(page, DRAWINGS[20 * digit + 5])
            expect(page.locator("#says")).to_have_text(f"This is a {digit}.")
            expect(page.locator("#latency")).to_contain_text("ms in this browser")
            expect(page.locator("#saliencyof")).to_contain_text(f"its score for {digit}")
            expect(page.locator("#maps canvas")).to_have_count(32)
            strokes = page.evaluate("page.drawing.strokes.map((stroke) => stroke.points)")
            pen = page.evaluate("page.drawing.strokes[0].pen")
            until(page, ANSWERED)
            assert np.array_equal(seen(page), np.rint(preprocess(strokes, pen).image * 255))
            page.locator("#undo").click()
            page.keyboard.press("Escape")
        page.locator("#sheet").click()
        expect(page.locator("#says")).to_have_text("This is hardly more than a dot: draw a digit")
        page.keyboard.press("Escape")
        draw(page, DRAWINGS[20 * 8 + 5])
        expect(page.locator("#says")).to_have_text("This is a 8.")
        page.locator("#labels button").nth(8).click()
        expect(page.locator("#taught")).to_have_text("Nothing was learnt: the server did not answer.")
        page.locator("#remote").click(force=True)
        expect(page.locator("#model")).to_have_text("The server does not answer; nothing was changed.")
        assert page.locator("#local").is_checked()
        opened.broken = True


def test_another_model_is_chosen(opened):
    page = opened()
    names = page.locator("#choice option").all_inner_texts()
    assert names[0] == DigitPredictor().name and sorted(names[1:]) == ["runs/lenet", "runs/vit"]
    draw(page, DRAWINGS[20 * 3])
    expect(page.locator("#says")).to_have_text("This is a 3.")
    sure = page.locator("#top").inner_text()
    page.locator("#choice").select_option("runs/lenet")
    expect(page.locator("#model")).to_contain_text("61,706 parameters")
    until(page, ANSWERED)
    untrained = page.locator("#top").inner_text()
    assert untrained != sure
    page.locator("#local").check(force=True)
    expect(page.locator("#model")).to_contain_text("in this browser: runs/lenet")
    expect(page.locator("#latency")).to_contain_text("in this browser")
    assert page.locator("#top").inner_text() == untrained
    page.locator("#choice").select_option("runs/vit")  # which this browser cannot run
    expect(page.locator("#model")).to_contain_text("does not run in the browser: let the server read")
    assert page.locator("#choice").input_value() == "runs/lenet"
    page.locator("#remote").check(force=True)
    expect(page.locator("#model")).not_to_contain_text("in this browser")
    page.locator("#choice").select_option("runs/vit")
    expect(page.locator("#model")).to_contain_text("runs/vit")
    until(page, ANSWERED)


def test_who_draws_too_quickly_for_the_server_is_answered_all_the_same(opened):
    page = opened()
    refused = {"error": {"code": "too_many_requests", "message": "too many requests"}}
    busy = [True]
    page.route(
        "**/api/predict",
        lambda route: (
            route.fulfill(status=429, json=refused, headers={"retry-after": "1"}) if busy else route.continue_()
        ),
    )
    draw(page, DRAWINGS[20 * 7])
    expect(page.locator("#says")).to_contain_text("Too many questions at once")
    busy.clear()
    expect(page.locator("#says")).to_have_text("This is a 7.")
    opened.broken = True


def test_a_stylus_draws_and_its_other_end_erases(opened):
    page = opened()
    session = page.context.new_cdp_session(page)

    def stroke(button, buttons, *points):
        for kind, place in [
            ("mousePressed", points[0]),
            *(("mouseMoved", p) for p in points),
            ("mouseReleased", points[-1]),
        ]:
            x, y = middle(page, *place)
            held = {"button": button, "buttons": 0 if kind == "mouseReleased" else buttons, "clickCount": 1}
            session.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "pointerType": "pen", **held})

    stroke("left", 1, (0.5, 0.1), (0.5, 0.5), (0.5, 0.9))
    expect(page.locator("#says")).to_have_text("This is a 1.")
    page.evaluate(  # no tool sends the button of the other end, so the event is made by hand
        "() => { const s = document.querySelector('#sheet'), b = s.getBoundingClientRect(); s.setPointerCapture = () => {};"
        "for (const [type, y] of [['pointerdown', 0.5], ['pointermove', 0.6], ['pointerup', 0.6]]) s.dispatchEvent("
        "new PointerEvent(type, {pointerId: 7, pointerType: 'pen', button: 5, buttons: 32,"
        "clientX: b.x + b.width / 2, clientY: b.y + b.height * y})); }"
    )
    until(page, "page.drawing.strokes.length === 2")


def test_all_points_between_two_frames_are_drawn(opened):
    page = opened()
    x, y = middle(page, 0.3, 0.5)
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(
        "([x, y]) => document.querySelector('#sheet').dispatchEvent(new PointerEvent('pointermove', {pointerId: 1,"
        "clientX: x + 90, clientY: y, coalescedEvents: [30, 60, 90].map((d) => new PointerEvent('pointermove',"
        "{pointerId: 1, clientX: x + d, clientY: y - d}))}))",
        [x, y],
    )
    page.mouse.up()
    points = np.array(page.evaluate("page.drawing.strokes[0].points"))
    assert len(points) == 4 and (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) < 0).all()


def test_two_fingers_draw_two_strokes(opened):
    page = opened("phone", has_touch=True, is_mobile=True)
    session = page.context.new_cdp_session(page)
    page.locator("#sheet").scroll_into_view_if_needed()
    for kind, part in [("touchStart", 0.0), *[("touchMove", i / 10) for i in range(1, 11)], ("touchEnd", None)]:
        points = []
        if part is not None:
            places = [middle(page, x, 0.2 + 0.6 * part) for x in (0.3, 0.7)]
            points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(page, ANSWERED)
    assert [len(s) > 5 for s in page.evaluate("page.drawing.strokes.map((s) => s.points)")] == [True, True]


def test_it_is_told_to_those_who_do_not_see(opened):
    page = opened()
    draw(page, DRAWINGS[20 * 4 + 2])
    expect(page.get_by_role("status").first).to_have_text("This is a 4.")
    expect(page.get_by_role("meter", name="Digit 4")).to_have_attribute("aria-valuenow", re.compile(r"9\d\.\d|100\.0"))
    for role, name in (
        ("radio", "Eraser"),
        ("slider", "Size"),
        ("button", "It is a 3: learn it"),
        ("combobox", "Model"),
    ):
        expect(page.get_by_role(role, name=name)).to_be_attached()
    assert (
        page.evaluate(  # nothing that can be used is without a name
            "() => Array.from(document.querySelectorAll('button, input, select, canvas')).filter((e) => !e.hidden && "
            "!(e.textContent || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length)).length"
        )
        == 0
    )
