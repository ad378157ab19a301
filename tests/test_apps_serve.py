"""The page and its interface, asked as a browser would."""

import json
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from chainrule import errors, nn, zoo
from chainrule.apps.predictor import DigitPredictor
from chainrule.apps.runs import CONFIG, DATA, MODEL
from chainrule.apps.serve import app as web
from chainrule.apps.serve import limits
from chainrule.apps.serve.network import exported
from chainrule.apps.serve.schema import document
from chainrule.apps.serve.server import bound, prepared
from chainrule.apps.serve.shelf import Shelf, at_hand

ONE = {"strokes": [[[50, 10], [52, 90]]], "pen": 9}
JSON = {"content-type": "application/json"}
DRAWINGS = json.loads((Path(__file__).parent / "fixtures" / "drawings.json").read_text())


class Answer:
    """What came back."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.text = self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.text)


class Client:
    """Asks a server that runs in a thread."""

    def __init__(self, port, app=None):
        self.port, self.app = port, app

    def request(self, method, path, body=None, headers=None):
        connection = HTTPConnection("localhost", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=True)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def ask(self, body, path="/api/predict"):
        return self.request("POST", path, json.dumps(body), JSON)


@contextmanager
def serving(**options):
    """A client of a server that runs in a thread, and then ends."""
    server, listening = prepared(DigitPredictor(), "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Client(listening.getsockname()[1], server.config.app)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client():
    with serving(rate=None) as found:
        yield found


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert names == ["style.css", "data:,", "main.js"]
    names, known = [names[0], names[2], "worker.js"], set()
    while names:
        name = names.pop()
        known.add(name)
        part = client.get(f"/{name}")
        kind = "text/css" if name.endswith("css") else "text/javascript"
        assert part.status == 200 and part.headers["content-type"].startswith(kind)
        assert "://" not in part.text and "eval(" not in part.text
        names += set(re.findall(r'from "\./(\S+)";', part.text)) - known
    assert known == {path.name for path in web.PAGE.iterdir()} - {"index.html"}
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
        ({**ONE, "pens": 3}, 400, "bad_request", "pens"),
        ({"image": [[0] * 4001]}, 413, "too_large", "no side above 4000"),
        ({**ONE, "model": "none"}, 404, "no_model", "none"),
        ({**ONE, "model": 3}, 400, "bad_request", "expected a name"),
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
    assert client.get("/model?model=none").json()["error"]["code"] == "no_model"


def suits(value, schema):
    """Whether a value is as a schema of the document says: the part of JSON Schema that it uses."""
    if "$ref" in schema:
        return suits(value, document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "oneOf" in schema:
        return sum(suits(value, one) for one in schema["oneOf"]) == 1
    if "const" in schema:
        return value == schema["const"]
    kind = schema["type"]
    if kind == "object":
        return (
            isinstance(value, dict)
            and set(schema["required"]) <= set(value) <= set(schema["properties"])
            and all(suits(one, schema["properties"][name]) for name, one in value.items())
        )
    if kind == "array":
        if not isinstance(value, list):
            return False
        items = schema.get("prefixItems") or [schema["items"]] * len(value)
        few, many = schema.get("minItems", 0), schema.get("maxItems", len(value))
        return few <= len(value) <= many and all(map(suits, value, items))
    python = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}[kind]
    if not isinstance(value, python) or (kind != "boolean" and isinstance(value, bool)):
        return False
    low, high, above = (schema.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
    return (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)


def told(path, method="get", status="200"):
    """The schema of an answer."""
    answer = document()["paths"][path][method]["responses"][status]
    return answer["content"]["application/json"]["schema"]


def test_answers_and_questions_are_what_the_schema_says(client):
    assert client.get("/openapi.json").json() == document()
    for path in ("/health", "/model", "/models"):
        assert suits(client.get(path).json(), told(path)), path
    asked = document()["paths"]["/api/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    batch = {"drawings": [ONE, {"strokes": []}]}
    for question in (ONE, batch, {"image": [[0, 255, 0]] * 30}):
        assert suits(question, asked)
        assert suits(client.ask(question).json(), told("/api/predict", "post")), question
    for question in ({}, {**ONE, "image": [[1]]}, {**ONE, "pens": 3}, {"drawings": []}, {"strokes": [[[1]]]}):
        assert not suits(question, asked)
        found = client.ask(question)
        assert suits(found.json(), told("/api/predict", "post", str(found.status)))
    assert suits(client.ask(ONE, "/api/views").json(), told("/api/views", "post"))


def test_the_schema_tells_of_every_path():
    app = web.create_app().app
    paths = {(r.path, m) for r in app.routes for m in r.methods - {"HEAD"}}
    pages = {("/", "GET"), ("/openapi.json", "GET"), *((f"/{p.name}", "GET") for p in web.PAGE.iterdir())}
    assert {(path, m.upper()) for path, methods in document()["paths"].items() for m in methods} == paths - pages


def test_the_network_is_seen_from_inside(client):
    predictor = DigitPredictor()
    found = client.ask({**ONE, "label": 7}, "/api/views").json()
    image = predictor(ONE["strokes"], ONE["pen"]).steps.image
    layer, maps = predictor.feature_maps(image)
    assert found["label"] == 7 and found["layer"] == layer
    assert np.allclose(found["maps"], maps, atol=1e-5) and np.shape(found["maps"]) == (32, 28, 28)
    assert np.allclose(found["saliency"], predictor.saliency(image, 7), atol=1e-4)
    assert client.ask(ONE, "/api/views").json()["label"] == 1
    assert client.ask({**ONE, "label": 10}, "/api/views").json()["error"]["code"] == "bad_request"


def test_what_is_learnt_can_be_taken_back():
    with serving(rate=None) as client:
        before, network = client.ask(ONE).json()["probabilities"], client.get("/network").body
        found = client.ask({**ONE, "label": 1}, "/api/corrections")
        assert found.status == 200 and suits(found.json(), told("/api/corrections", "post"))
        assert found.json()["learnt"] == 1 and found.json()["digit"] == 1
        assert client.ask(ONE).json()["probabilities"] != before
        assert client.get("/model").json()["learnt"] == 1 and client.get("/network").body != network
        undone = client.request("DELETE", "/api/corrections").json()
        assert undone["learnt"] == 0 and suits(undone, told("/api/corrections", "delete"))
        assert client.ask(ONE).json()["probabilities"] == before and client.get("/network").body == network
        assert client.request("DELETE", "/api/corrections").json()["error"]["code"] == "nothing_learnt"
        assert client.ask(ONE, "/api/corrections").json()["error"]["code"] == "bad_request"
        assert client.ask({"strokes": [], "label": 1}, "/api/corrections").status == 422


def test_one_correction_at_a_time(client):
    book = client.app.app.state.shelf[""]
    with book.alone():
        found = client.ask({**ONE, "label": 1}, "/api/corrections")
        assert found.status == 503 and found.json()["error"]["code"] == "busy" and found.headers["retry-after"] == "3"
        assert client.request("DELETE", "/api/corrections").status == 503
        assert client.ask(ONE).status == 200
    assert client.request("DELETE", "/api/corrections").json()["error"]["code"] == "nothing_learnt"


def test_a_server_for_others_does_not_learn():
    with serving(learning=False) as client:
        assert client.get("/models").json()["learning"] is False
        assert client.ask({**ONE, "label": 7}, "/api/corrections").json()["error"]["code"] == "no_learning"
    for host, learns in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
        server, listening = prepared(DigitPredictor(), host, 0)
        listening.close()
        assert server.config.app.app.state.learning is learns


def test_who_asks_too_often_is_told_when_to_come_again():
    with serving(rate=0.5) as client:
        codes = [client.get("/model").status for _ in range(int(limits.BURST) + 1)]
        assert codes == [200] * int(limits.BURST) + [429]
        found = client.ask(ONE)
        assert found.status == 429 and found.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(found.headers["retry-after"]) <= 2
        assert client.get("/health").status == 200


def test_a_batch_costs_what_its_drawings_do():
    with serving(rate=0.001) as client:
        batch = {"drawings": [{"strokes": []}] * 64}
        assert [client.ask(batch).status for _ in range(4)] == [200, 200, 429, 429]


def test_clients_have_a_bucket_each_and_few_are_remembered(monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS", 3)
    limiter = limits.Limiter(rate=1, burst=1)
    assert [limiter.wait(name, now=0) for name in "abca"] == [0, 0, 0, 1]
    assert limiter.wait("d", now=0) == 0 and len(limiter.buckets) == 3
    assert limits.Limiter(None).wait("a", 1e9) == 0
    assert (
        limits.Limiter(rate=1, burst=5).wait("a", 60, now=0) == 0
    )  # what costs more than a bucket can be had all the same
    with pytest.raises(errors.ArgumentError, match="rate is 0"):
        limits.Limiter(0)


def test_too_many_at_a_time_are_told_to_come_again(monkeypatch, client):
    monkeypatch.setattr(limits, "BUSY", 0)
    found = client.ask(ONE)
    assert found.status == 503 and found.json()["error"]["code"] == "busy" and found.headers["retry-after"] == "1"


def header(binary):
    return json.loads(binary[4 : 4 + int.from_bytes(binary[:4], "little")])


def test_the_network_for_the_browser(client):
    found = client.get("/network")
    assert found.headers["content-type"] == "application/octet-stream"
    layers = header(found.body)["layers"]
    assert [layer["kind"] for layer in layers[:4]] == ["conv2d", "scale", "relu", "max_pool"]
    weight = DigitPredictor().model.state_dict()["7.weight"].numpy()
    place = layers[-2]["weight"]
    begin = 4 + int.from_bytes(found.body[:4], "little") + 4 * place["at"]
    assert begin % 4 == 0
    assert np.array_equal(np.frombuffer(found.body, "<f4", weight.size, begin).reshape(place["shape"]), weight)


def test_a_network_that_does_not_run_in_the_browser_is_told():
    for module, name in (
        (zoo.vit(10), "1, Flatten"),
        (nn.Sequential(nn.GELU()), "0, GELU"),
        (
            nn.Sequential(nn.Residual(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")))),
            "0.body.0, Conv2d",
        ),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), "0, MaxPool2d"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "0, BatchNorm2d"),
    ):
        with pytest.raises(
            errors.NotSupportedError, match=f"layer {name}.* does not run in the browser: let the server"
        ):
            exported(module.build((None, 1, 28, 28)))
    broken = nn.Sequential(nn.Linear(2, 2))
    broken[0].weight.detach().copy_(np.nan * broken[0].weight.detach())
    with pytest.raises(errors.NotSupportedError, match="NaN"):
        exported(broken)


def test_models_of_runs_are_offered_and_read_once(tmp_path):
    for name, shape in (("mine", [1, 28, 28]), ("other", [3, 32, 32])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / CONFIG).write_text("")
        (folder / DATA).write_text(json.dumps({"shape": shape, "classes": [*"0123456789"]}))
        zoo.linear(10).build((None, *shape)).save(folder / MODEL)
    mine = str(tmp_path / "mine")
    files = at_hand(tmp_path)
    assert [*files] == [DigitPredictor().name, mine]
    shelf = Shelf(DigitPredictor(), files | {"gone": tmp_path / "gone.safetensors"})
    assert shelf[mine] is shelf[mine] and shelf[mine].predictor.name == mine and shelf[mine].network()[4:5] == b"{"
    with pytest.raises(errors.ArgumentError, match="mine"):
        shelf[mine + "s"]
    with pytest.raises(errors.ArgumentError, match="gone reads no digits"):
        shelf["gone"]


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
    assert done.returncode == 2 and "none.safetensors" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_its_packages_the_extra_is_named(missing):
    program = f"import sys; sys.modules['{missing}'] = None; sys.argv[1:] = ['serve']; import chainrule.apps.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'chainrule[web]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
