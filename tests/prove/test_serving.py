"""The server under load: no request is lost, answers stay right, memory stays bounded."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())
CLIENTS, EACH = 12, 60


def memory(process):
    """The resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def ask(port, start, times, wrong):
    """Ask one after the other, over one connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for i in range(EACH):
        drawing = DRAWINGS[(start + 7 * i) % len(DRAWINGS)]
        body = json.dumps({"strokes": drawing["strokes"], "pen": drawing["pen"]})
        before = time.perf_counter()
        connection.request("POST", "/api/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        times.append(time.perf_counter() - before)
        if answer.status != 200 or found["digit"] != drawing["digit"]:
            wrong.append((answer.status, drawing["digit"], found))
    connection.close()


def test_many_clients_at_a_time(record_property):
    command = [sys.executable, "-m", "chainrule", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = int(re.search(r":(\d+) ", server.stdout.readline())[1])
            first, times, wrong = [], [], []
            ask(port, 0, first, wrong)
            before = memory(server.pid)
            threads = [threading.Thread(target=ask, args=(port, 17 * i, times, wrong)) for i in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            grown = memory(server.pid) - before
        finally:
            server.terminate()
            _, told = server.communicate(timeout=20)
    times.sort()
    record_property("alone_p50_ms", round(sorted(first)[EACH // 2] * 1000, 2))
    record_property("p50_ms", round(times[len(times) // 2] * 1000, 2))
    record_property("p99_ms", round(times[int(0.99 * len(times))] * 1000, 2))
    record_property("memory_grown_mib", round(grown, 1))
    assert not wrong and len(times) == CLIENTS * EACH
    assert grown < 64 and not told
