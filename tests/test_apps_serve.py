"""The page and its interface, asked as a browser would."""

import json
import re
import signal
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest

from chainrule import errors
from chainrule.apps.predictor import DigitPredictor
from chainrule.apps.serve import app as web
from chainrule.apps.serve.server import bound, prepared

ONE = {"strokes": [[[50, 10], [52, 90]]], "pen": 9}
JSON = {"content-type": "application/json"}
DRAWINGS = json.loads((Path(__file__).parent / "fixtures" / "drawings.json").read_text())


class Answer:
    """What came back."""

    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode()

    def json(self):
        return json.loads(self.text)


class Client:
    """Asks a server that runs in a thread."""

    def __init__(self, port):
        self.port = port

    def request(self, method, path, body=None, headers=None):
        connection = HTTPConnection("localhost", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=True)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def ask(self, body):
        return self.request("POST", "/api/predict", json.dumps(body), JSON)


@pytest.fixture(scope="module")
def client():
    server, listening = prepared(DigitPredictor(), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield Client(listening.getsockname()[1])
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert names == ["style.css", "data:,", "draw.js"]
    for name, kind in (("style.css", "text/css"), ("draw.js", "text/javascript")):
        part = client.get(f"/{name}")
        assert part.status == 200 and part.headers["content-type"].startswith(kind)
        assert "://" not in part.text
    assert (
        "<script>" not in page.text and "style=" not in page.text and "onclick" not in page.text
    )  # the policy has it so


@pytest.mark.parametrize("path", ["/", "/health", "/api/predict", "/none"])
def test_every_answer_has_the_headers_that_guard_it(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-cache"


def test_a_drawing_is_read(client):
    found = client.ask(ONE)
    assert found.status == 200
    answer = found.json()
    assert answer["digit"] == 1 and answer["sure"] is True
    assert len(answer["probabilities"]) == 10 and sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["top"][0] == [1, max(answer["probabilities"])] and len(answer["top"]) == 3
    assert len(answer["image"]) == 28 and {len(row) for row in answer["image"]} == {28}
    assert max(map(max, answer["image"])) == 255 and answer["milliseconds"] > 0


def test_a_picture_is_read_as_its_strokes_are(client):
    from chainrule.apps.strokes import drawn

    sheet = (255 * (1 - drawn(ONE["strokes"], ONE["pen"]))).round().astype(int).tolist()  # dark on light
    sheet = [[255] * len(sheet[0])] * 3 + sheet + [[255] * len(sheet[0])] * 3
    assert client.ask({"image": sheet}).json()["digit"] == 1


def test_a_batch_answers_in_order_with_errors_in_their_places(client):
    some = DRAWINGS[::40]
    bodies = [{"strokes": d["strokes"], "pen": d["pen"]} for d in some] + [{"strokes": []}, {"pen": 3}]
    found = client.ask({"drawings": bodies}).json()["predictions"]
    assert [one.get("digit") for one in found[: len(some)]] == [d["digit"] for d in some]
    assert [one["error"]["code"] for one in found[len(some) :]] == ["no_digit", "bad_request"]
    single = client.ask(bodies[0]).json()
    assert single["image"] == found[0]["image"]
    assert single["probabilities"] == pytest.approx(found[0]["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"strokes": []}, 422, "no_digit", "draw a digit"),
        ({"strokes": [[[5, 5]]]}, 422, "no_digit", "hardly more than a dot"),
        ({"strokes": [[[5]]]}, 422, "no_digit", "expected points"),
        ({"strokes": 7}, 422, "no_digit", "stroke 0"),
        ({"image": [[0, 0], [0, 0]]}, 422, "no_digit", "blank"),
        ({"image": [[0], [0, 1]]}, 400, "bad_request", "rows of numbers"),
        ({"image": "abc"}, 400, "bad_request", "rows of numbers"),
        ({"image": [[0]], "strokes": []}, 400, "bad_request", "a drawing is"),
        ({**ONE, "pen": "thick"}, 400, "bad_request", "pen is 'thick'"),
        ({**ONE, "pen": -3}, 422, "no_digit", "width of the line"),
        ([1], 400, "bad_request", "expected an object"),
        ({"drawings": []}, 400, "bad_request", "a list of 1 to 64"),
        ({"drawings": [ONE] * 65}, 400, "bad_request", "a list of 1 to 64"),
        ({"drawings": "many"}, 400, "bad_request", "a list of 1 to 64"),
    ],
)
def test_bad_questions_get_errors_as_json(client, body, status, code, message):
    found = client.ask(body)
    assert (found.status, found.json()["error"]["code"]) == (status, code)
    assert message in found.json()["error"]["message"]


def test_bodies_that_are_no_json_or_too_large(client):
    cases = [
        (b"{", JSON, 400, "bad_json"),
        (b"[" * 100_000, JSON, 400, "bad_json"),
        (b"\xff\xfe", JSON, 400, "bad_json"),
        (b'{"strokes": [[[NaN, 1], [2, 3]]]}', JSON, 422, "no_digit"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b" " * (web.MOST_BYTES + 1), JSON, 413, "too_large"),
    ]
    for body, headers, status, code in cases:
        found = client.request("POST", "/api/predict", body, headers)
        assert (found.status, found.json()["error"]["code"]) == (status, code)


def test_a_body_that_does_not_tell_its_length_is_bounded_too(client):
    connection = HTTPConnection("localhost", client.port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    for name, value in (JSON | {"transfer-encoding": "chunked"}).items():
        connection.putheader(name, value)
    connection.endheaders()
    for _ in range(web.MOST_BYTES // 100_000 + 1):
        connection.send(b"%x\r\n%s\r\n" % (100_000, b" " * 100_000))
    assert connection.getresponse().status == 413
    connection.close()


def test_other_paths_methods_and_hosts(client):
    for method, path, status, code in (
        ("GET", "/none", 404, "not_found"),
        ("GET", "/api/predict", 405, "method_not_allowed"),
    ):
        found = client.request(method, path)
        assert (found.status, found.json()["error"]["code"]) == (status, code)
    assert client.get("/../app.py").status == 404
    assert client.get("/", host="elsewhere.example").json()["error"]["code"] == "wrong_host"
    assert client.get("/", host="127.0.0.1:8000").status == 200


def test_health_and_model(client):
    assert client.get("/health").json() == {"status": "ok"}
    found = client.get("/model").json()
    assert found["classes"] == list(range(10)) and found["parameters"] > 1000 and found["sure_from"] == 0.7


def test_a_fault_of_the_server_tells_nothing_of_it(monkeypatch, client):
    monkeypatch.setattr(web, "answers", lambda *_: 1 / 0)
    found = client.ask(ONE)
    assert found.status == 500 and found.json()["error"]["code"] == "internal_error"
    assert "division" not in found.text


def test_an_address_in_use_is_told():
    taken = bound("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(errors.ArgumentError, match=r"cannot be had .*choose another with --port"):
        bound("127.0.0.1", taken.getsockname()[1])
    taken.close()


def test_the_command_serves_until_it_is_told_to_end():
    command = [sys.executable, "-m", "chainrule", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        port = re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())[1]
        assert Client(int(port)).ask(ONE).json()["digit"] == 1
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=20)
    assert server.returncode in (0, -signal.SIGTERM) and "Traceback" not in told


def test_a_model_that_is_not_there_is_told_in_a_line():
    command = [sys.executable, "-m", "chainrule", "serve", "none.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "none.safetensors" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_its_packages_the_extra_is_named(missing):
    program = f"import sys; sys.modules['{missing}'] = None; sys.argv[1:] = ['serve']; import chainrule.apps.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'chainrule[web]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
