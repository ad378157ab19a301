"""The server under load: no request is lost, answers stay right, memory stays bounded, the end waits for what is under way."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())
CLIENTS, EACH = 12, 250
JSON = {"Content-Type": "application/json"}


def memory(process):
    """The resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def served(*options):
    """A server of its own: its process and port. At the end it must have written nothing."""
    command = [sys.executable, "-m", "chainrule", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield server, int(re.search(r":(\d+) ", server.stdout.readline())[1])
        finally:
            server.terminate()
            _, told = server.communicate(timeout=30)
    assert not told


def body_of(drawing):
    """A question about a drawing."""
    return json.dumps({"strokes": drawing["strokes"], "pen": drawing["pen"]})


def ask(port, start, count, times, wrong):
    """Ask one after the other, over one connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for i in range(count):
        drawing = DRAWINGS[(start + 7 * i) % len(DRAWINGS)]
        before = time.perf_counter()
        connection.request("POST", "/api/predict", body_of(drawing), JSON)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        times.append(time.perf_counter() - before)
        if answer.status != 200 or found["digit"] != drawing["digit"]:
            wrong.append((answer.status, drawing["digit"], found))
    connection.close()


def together(count, act):
    """Have threads act at the same time: each is given its number."""
    threads = [threading.Thread(target=act, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def at(times, part):
    """A quantile of times, in milliseconds."""
    return round(sorted(times)[int(part * len(times))] * 1000, 2)


def test_many_clients_at_a_time(record_property):
    first, times, wrong = [], [], []
    with served("--rate", "0") as (server, port):
        ask(port, 0, EACH, first, wrong)
        together(CLIENTS, lambda i: ask(port, 17 * i, 20, [], wrong))  # all threads and their memory are there
        before, start = memory(server.pid), time.perf_counter()
        together(CLIENTS, lambda i: ask(port, 17 * i, EACH, times, wrong))
        seconds, grown = time.perf_counter() - start, memory(server.pid) - before
    record_property("alone_p50_ms", at(first, 0.5))
    record_property("alone_p99_ms", at(first, 0.99))
    record_property("p50_ms", at(times, 0.5))
    record_property("p99_ms", at(times, 0.99))
    record_property("requests_per_s", round(len(times) / seconds))
    record_property("memory_mib", round(before, 1))
    record_property("memory_grown_mib", round(grown, 1))
    assert not wrong and len(times) == CLIENTS * EACH
    assert grown < 16


def test_whatever_is_sent_memory_stays_bounded(record_property):
    """Malformed, too large, cut short, many models' names, views and batches: nothing of it stays."""
    batch = json.dumps({"drawings": [json.loads(body_of(d)) for d in DRAWINGS[:64:4]]})
    mixed = [
        ("POST", "/api/predict", "{", 400),
        ("POST", "/api/predict", "[" * 200_000, 400),
        ("POST", "/api/predict", " " * 1_000_001, 413),
        ("POST", "/api/predict", json.dumps({"image": [[0, 1] * 150] * 150}), 200),
        ("POST", "/api/predict", json.dumps({"image": [[1] * 500] * 250}), 422),
        ("POST", "/api/predict", batch, 200),
        ("POST", "/api/views", body_of(DRAWINGS[3]), 200),
        ("GET", "/network", None, 200),
        ("GET", "/none", None, 404),
    ]
    wrong = []

    def send(count, number=0):
        for i in range(count):
            method, path, body, status = mixed[(i + number) % len(mixed)]
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request(method, f"{path}?model=" if method == "GET" else path, body, JSON)
                found = connection.getresponse()
                found.read()
                if found.status != status and not (status == 200 and found.status == 422):
                    wrong.append((path, status, found.status))
            except (ConnectionResetError, BrokenPipeError):  # the server read as much as it would
                if status != 413:
                    wrong.append((path, status, "reset"))
            connection.close()
            cut = HTTPConnection("127.0.0.1", port, timeout=60)  # a body that never ends
            cut.putrequest("POST", "/api/predict")
            for name, value in (JSON | {"Content-Length": "900000"}).items():
                cut.putheader(name, value)
            cut.endheaders()
            cut.send(b" " * 100_000)
            cut.close()

    with served("--rate", "0") as (server, port):
        together(4, lambda i: send(18, i))
        before = memory(server.pid)
        together(4, lambda i: send(90, i))
        grown = memory(server.pid) - before
    record_property("memory_grown_mib", round(grown, 1))
    assert not wrong and grown < 32


def test_a_flood_is_held_back_and_nothing_is_lost(record_property):
    """One client asks as quickly as it can, and again when it is told to: all is answered, at the rate that is set."""
    refused, right = [], []
    with served("--rate", "20") as (_, port):
        connection, start = HTTPConnection("127.0.0.1", port, timeout=60), time.perf_counter()
        while len(right) < 300:
            drawing = DRAWINGS[len(right) % len(DRAWINGS)]
            connection.request("POST", "/api/predict", json.dumps({"drawings": [json.loads(body_of(drawing))]}), JSON)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            if answer.status == 429:
                refused.append(int(answer.headers["Retry-After"]))
                assert found["error"]["code"] == "too_many_requests"
                time.sleep(refused[-1])
                continue
            assert answer.status == 200 and found["predictions"][0]["digit"] == drawing["digit"]
            right.append(drawing)
        seconds = time.perf_counter() - start
        connection.close()
    record_property("refused", len(refused))
    assert seconds > (300 - 180) / 20 - 0.1 and refused and max(refused) == 1


def test_the_end_waits_for_what_is_under_way():
    """A batch that has begun is answered after the server was told to end."""
    body = json.dumps({"drawings": [json.loads(body_of(d)) for d in DRAWINGS[:64]]})
    with served() as (server, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/api/predict", body, JSON)
        time.sleep(0.1)
        server.terminate()
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200
        assert [one["digit"] for one in found["predictions"]] == [d["digit"] for d in DRAWINGS[:64]]
        connection.close()
        server.wait(20)
