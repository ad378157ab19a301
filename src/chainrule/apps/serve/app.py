"""The web application: a static page, and JSON in and out. It keeps nothing of what it is sent.

=================  =================================================================================================
GET /              the page (with ``draw.js`` and ``style.css``)
GET /health        ``{"status": "ok"}``
GET /model         what answers: name, parameters, classes, the probability from which an answer is sure
POST /api/predict  one drawing, ``{"strokes": [[[x, y], ...], ...], "pen": width}`` or ``{"image": [[grey, ...], ...]}``,
                   or up to 64 of them, ``{"drawings": [...]}``
=================  =================================================================================================

An answer has ``digit``, ``sure``, ``probabilities`` (ten), ``top`` (three pairs), ``image`` (28 rows of 0 to 255: what the
network saw) and ``milliseconds``. Every error is ``{"error": {"code": ..., "message": ...}}``; in a batch it stands in the
place of its drawing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from ...domain.errors import DataError, MissingDependencyError
from ..about import version
from ..image import Steps, preprocess
from ..predictor import SURE, DigitPredictor, Prediction

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise MissingDependencyError(
        "[serve] the page needs starlette and uvicorn: pip install 'chainrule[web]'"
    ) from error

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
MOST_BYTES, MOST_DRAWINGS, MOST_PIXELS = 1_000_000, 64, 1_000_000
PATIENCE = 10.0  # seconds for a body to arrive
LOCAL = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


def create_app(predictor: DigitPredictor | None = None, *, hosts: tuple[str, ...] | None = LOCAL) -> Any:
    """The ASGI application around a predictor, by default that of the model that comes with chainrule.

    ``hosts`` are the names under which it may be asked (None: any), so that no other page can pretend to be here.
    """
    predictor = predictor or DigitPredictor()
    routes = [Route("/", static("index.html")), Route("/health", health), Route("/model", model)]
    routes += [Route(f"/{name}", static(name)) for name in ("draw.js", "style.css")]
    routes.append(Route("/api/predict", predict, methods=["POST"]))
    handlers: Any = {HTTPException: http_error, Refused: refused, Exception: broken}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.predictor = predictor
    return Guarded(app, hosts)


class Guarded:
    """The application with headers on every answer, for the names in ``hosts`` alone."""

    def __init__(self, app: Any, hosts: tuple[str, ...] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        if self.hosts is not None and name_of(scope) not in self.hosts:
            answer = failure(421, "wrong_host", f"this server is asked as {', '.join(self.hosts)}")
            await answer(scope, receive, with_headers)
            return
        await self.app(scope, receive, with_headers)


class Refused(Exception):
    """An answer that is an error: its status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def name_of(scope: Scope) -> str:
    """The host that a request names, without its port.

    >>> name_of({"headers": [(b"host", b"localhost:8000")]}), name_of({"headers": [(b"host", b"[::1]:80")]})
    ('localhost', '::1')
    """
    host = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"host"), "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def static(name: str) -> Any:
    """What sends a file of the page; it is read once."""
    body, kind = (PAGE / name).read_bytes(), TYPES[Path(name).suffix]

    async def send(request: Request) -> Response:
        return Response(body, media_type=kind)

    return send


async def health(request: Request) -> Response:
    """That the server lives."""
    return JSONResponse({"status": "ok"})


async def model(request: Request) -> Response:
    """What answers."""
    predictor = request.app.state.predictor
    parameters = sum(p.size for p in predictor.model.parameters())
    return JSONResponse(
        {
            "name": predictor.name,
            "parameters": parameters,
            "input": [1, 28, 28],
            "classes": list(range(10)),
            "sure_from": SURE,
            "version": version(),
        }
    )


async def predict(request: Request) -> Response:
    """Read one drawing, or several."""
    given = parsed(request, await body_of(request))
    predictor, start = request.app.state.predictor, time.perf_counter()
    if "drawings" not in given:
        found = await run_in_threadpool(answers, predictor, [given])
        if isinstance(found[0], Refused):
            raise found[0]
        return JSONResponse(found[0] | {"milliseconds": spent(start)})
    drawings = given["drawings"]
    if not isinstance(drawings, list) or not 0 < len(drawings) <= MOST_DRAWINGS:
        raise Refused(400, "bad_request", f"drawings: expected a list of 1 to {MOST_DRAWINGS} drawings")
    found = await run_in_threadpool(answers, predictor, drawings)
    rows = [described(one) if isinstance(one, Refused) else one for one in found]
    return JSONResponse({"predictions": rows, "milliseconds": spent(start)})


def parsed(request: Request, body: bytes) -> dict[str, Any]:
    """The object in a body of JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "unsupported_media_type", "expected Content-Type: application/json")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise Refused(400, "bad_request", 'expected an object {"strokes": ...}, {"image": ...} or {"drawings": ...}')
    return given


async def body_of(request: Request) -> bytes:
    """The body, if it is not too large and comes in time."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise Refused(413, "too_large", f"the body is larger than {MOST_BYTES} bytes")
                parts.append(part)
    except TimeoutError:
        raise Refused(408, "timeout", f"the body did not come in {PATIENCE:g} seconds") from None
    except ClientDisconnect:
        raise Refused(400, "bad_request", "the body was cut short") from None
    return b"".join(parts)


def answers(predictor: DigitPredictor, drawings: list[Any]) -> list[Any]:
    """For each drawing its answer, or why there is none; the network runs once for all."""
    steps: list[Any] = []
    for drawing in drawings:
        try:
            steps.append(read(drawing))
        except DataError as error:
            steps.append(Refused(422, "no_digit", str(error)))
        except Refused as error:
            steps.append(error)
    found = iter(predictor.predict([one for one in steps if isinstance(one, Steps)]))
    return [one if isinstance(one, Refused) else answer(next(found)) for one in steps]


def read(drawing: Any) -> Steps:
    """What the network is to see of a drawing. Errors: DataError, Refused."""
    if not isinstance(drawing, dict) or ("strokes" in drawing) == ("image" in drawing):
        raise Refused(
            400, "bad_request", 'a drawing is {"strokes": [[[x, y], ...], ...]} or {"image": [[grey, ...], ...]}'
        )
    if "strokes" in drawing:
        pen = drawing.get("pen")
        if pen is not None and (isinstance(pen, bool) or not isinstance(pen, (int, float))):
            raise Refused(400, "bad_request", f"pen is {pen!r:.40}, expected a number")
        return preprocess(drawing["strokes"] if isinstance(drawing["strokes"], list) else [drawing["strokes"]], pen)
    try:
        picture = np.array(drawing["image"], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise Refused(400, "bad_request", "image: expected rows of numbers, all of one length") from None
    if picture.size > MOST_PIXELS:
        raise Refused(413, "too_large", f"the picture has {picture.size} pixels, expected {MOST_PIXELS} at most")
    return preprocess(picture)


def answer(found: Prediction) -> dict[str, Any]:
    """A prediction for JSON."""
    return {
        "digit": found.digit,
        "sure": found.sure,
        "probabilities": found.probabilities,
        "top": found.top(),
        "image": np.rint(found.steps.image * 255).astype(int).tolist(),
    }


def spent(start: float) -> float:
    """Milliseconds since ``start``."""
    return round((time.perf_counter() - start) * 1000, 3)


def described(error: Refused) -> dict[str, Any]:
    """An error for JSON."""
    return {"error": {"code": error.code, "message": error.message}}


def failure(status: int, code: str, message: str) -> JSONResponse:
    """An answer that is an error."""
    return JSONResponse(described(Refused(status, code, message)), status)


async def refused(request: Request, error: Refused) -> Response:
    """The answer to what is refused; a body that was not read to its end ends the connection."""
    answer = failure(error.status, error.code, error.message)
    if error.status in (408, 413):
        answer.headers["connection"] = "close"
    return answer


async def http_error(request: Request, error: HTTPException) -> Response:
    """The answer for a page that is not there, or a method that it has not."""
    answer = failure(error.status_code, error.detail.lower().replace(" ", "_"), f"{request.url.path}: {error.detail}")
    answer.headers.update(error.headers or {})
    return answer


async def broken(request: Request, error: Exception) -> Response:
    """The answer when the server is at fault; the log has the rest."""
    return failure(500, "internal_error", "the server failed: its log says why")
