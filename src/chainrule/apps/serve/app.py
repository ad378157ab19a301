"""The web application: a static page, and JSON in and out. It keeps nothing of what it is sent.

=======================  ===========================================================================================
GET /                    the page
GET /health              ``{"status": "ok"}``
GET /model               what answers: name, parameters, classes, the probability from which an answer is sure
GET /models              the names of all models; whether they may be taught
GET /network             the model as one binary, for the page's own JavaScript (``network.py``)
GET /openapi.json        the interface as an OpenAPI 3.1 document with JSON Schema (``schema.py``)
POST /api/predict        one drawing, ``{"strokes": [[[x, y], ...], ...], "pen": width}`` or
                         ``{"image": [[grey, ...], ...]}``, or up to 64 of them, ``{"drawings": [...]}``
POST /api/views          feature maps and saliency of one drawing
POST /api/corrections    learn that a drawing is the digit ``label``; DELETE takes the last back
=======================  ===========================================================================================

``model``, in the body or in the address of a GET or DELETE, names another model. Every error is
``{"error": {"code": ..., "message": ...}}``; in a batch it stands in the place of its drawing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...domain.errors import ArgumentError, DataError, NotSupportedError
from ..about import version
from ..predictor import SURE, DigitPredictor
from .drawings import MOST_DRAWINGS, answers, label_of, parsed, read, views
from .limits import LOCAL, MOST_BYTES, Guarded, Limiter, Refused, body_of, client_of
from .schema import document
from .shelf import Book, Shelf

__all__ = ["LOCAL", "MOST_BYTES", "create_app"]

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
VIEWS, LESSON = 10.0, 60.0  # what they cost, in drawings


def create_app(
    predictor: DigitPredictor | None = None,
    *,
    hosts: tuple[str, ...] | None = LOCAL,
    models: Mapping[str, Path] | None = None,
    learning: bool = True,
    limiter: Limiter | None = None,
) -> Any:
    """The ASGI application around a predictor, by default that of the model that comes with chainrule.

    ``hosts`` are the names under which it may be asked (None: any), so that no other page can pretend to be here.
    ``models`` are files of further models by name. Without ``learning`` corrections are refused. ``limiter`` says how much
    a client may ask for.
    """
    limiter = limiter or Limiter()
    routes = [Route("/", static("index.html")), Route("/openapi.json", described), Route("/health", health)]
    routes += [Route(f"/{p.name}", static(p.name)) for p in sorted(PAGE.iterdir()) if p.suffix in (".js", ".css")]
    routes += [Route("/model", model), Route("/models", models_at_hand), Route("/network", network)]
    routes += [Route("/api/predict", predict, methods=["POST"]), Route("/api/views", look, methods=["POST"])]
    routes.append(Route("/api/corrections", correct, methods=["POST", "DELETE"]))
    handlers: Any = {HTTPException: http_error, Refused: refused, Exception: broken}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.shelf, app.state.learning, app.state.limiter = (
        Shelf(predictor or DigitPredictor(), models),
        learning,
        limiter,
    )
    return Guarded(app, hosts, limiter)


def static(name: str) -> Any:
    """What sends a file of the page; it is read once."""
    body, kind = (PAGE / name).read_bytes(), TYPES[Path(name).suffix]

    async def send(request: Request) -> Response:
        return Response(body, media_type=kind)

    return send


async def health(request: Request) -> Response:
    """That the server lives."""
    return JSONResponse({"status": "ok"})


async def described(request: Request) -> Response:
    """What this interface is."""
    return JSONResponse(document())


async def model(request: Request) -> Response:
    """What answers."""
    book = await chosen(request, request.query_params.get("model", ""))
    predictor = book.predictor
    return JSONResponse(
        {
            "name": predictor.name,
            "parameters": sum(p.size for p in predictor.model.parameters()),
            "input": [1, 28, 28],
            "classes": list(range(10)),
            "sure_from": SURE,
            "learnt": book.learnt,
            "version": version(),
        }
    )


async def models_at_hand(request: Request) -> Response:
    """The models that there are."""
    state = request.app.state
    return JSONResponse({"models": state.shelf.names, "learning": state.learning})


async def network(request: Request) -> Response:
    """The model for the browser."""
    book = await chosen(request, request.query_params.get("model", ""))
    try:
        body = await run_in_threadpool(book.network)
    except NotSupportedError as error:
        raise Refused(422, "not_in_browser", str(error)) from None
    return Response(body, media_type="application/octet-stream")


async def predict(request: Request) -> Response:
    """Read one drawing, or several."""
    given, start = await asked(request), time.perf_counter()
    book = await chosen(request, given.pop("model", ""))
    if "drawings" not in given:
        found = await run_in_threadpool(answers, book.predictor, [given])
        if isinstance(found[0], Refused):
            raise found[0]
        return JSONResponse(found[0] | {"milliseconds": spent(start)})
    drawings = given["drawings"]
    if not isinstance(drawings, list) or not 0 < len(drawings) <= MOST_DRAWINGS:
        raise Refused(400, "bad_request", f"drawings: expected a list of 1 to {MOST_DRAWINGS} drawings")
    charge(request, len(drawings) - 1)
    found = await run_in_threadpool(answers, book.predictor, drawings)
    rows = [one.described() if isinstance(one, Refused) else one for one in found]
    return JSONResponse({"predictions": rows, "milliseconds": spent(start)})


async def look(request: Request) -> Response:
    """What goes on in the network as it reads a drawing."""
    given, start = await asked(request), time.perf_counter()
    charge(request, VIEWS)
    book, label = await chosen(request, given.pop("model", "")), label_of(given) if "label" in given else None
    found = await run_in_threadpool(lambda: views(book.predictor, read(given), label))
    return JSONResponse(found | {"milliseconds": spent(start)})


async def correct(request: Request) -> Response:
    """Learn what a drawing is, or forget the last lesson."""
    if not request.app.state.learning:
        raise Refused(403, "no_learning", "this server does not learn: start it with --learn, or on this machine alone")
    start = time.perf_counter()
    if request.method == "DELETE":
        book = await chosen(request, request.query_params.get("model", ""))
        if not await run_in_threadpool(book.unlearn):
            raise Refused(409, "nothing_learnt", "there is no correction to take back")
        return JSONResponse({"learnt": book.learnt, "milliseconds": spent(start)})
    given = await asked(request)
    charge(request, LESSON)
    book, label = await chosen(request, given.pop("model", "")), label_of(given)
    try:
        found = await run_in_threadpool(lambda: book.learn(read(given), label))
    except (ArgumentError, DataError) as error:
        raise Refused(422, "not_learnt", str(error)) from None
    return JSONResponse(found | {"milliseconds": spent(start)})


async def asked(request: Request) -> dict[str, Any]:
    """The object in the body. Errors: Refused."""
    return parsed(request.headers.get("content-type", ""), await body_of(request))


async def chosen(request: Request, name: Any) -> Book:
    """The model of a name. Errors: Refused."""
    if not isinstance(name, str):
        raise Refused(400, "bad_request", f"model is {name!r:.40}, expected a name")
    shelf = request.app.state.shelf
    try:
        return await run_in_threadpool(shelf.__getitem__, name)
    except (ArgumentError, DataError) as error:
        raise Refused(404 if name not in shelf.names else 422, "no_model", str(error)) from None


def charge(request: Request, cost: float) -> None:
    """Have the client pay for what takes longer than a drawing. Errors: Refused."""
    request.app.state.limiter.charge(client_of(request.scope), cost)


def spent(start: float) -> float:
    """Milliseconds since ``start``."""
    return round((time.perf_counter() - start) * 1000, 3)


async def refused(request: Request, error: Refused) -> Response:
    """The answer to what is refused."""
    return error.response()


async def http_error(request: Request, error: HTTPException) -> Response:
    """The answer for a page that is not there, or a method that it has not."""
    code = error.detail.lower().replace(" ", "_")
    answer = Refused(error.status_code, code, f"{request.url.path}: {error.detail}").response()
    answer.headers.update(error.headers or {})
    return answer


async def broken(request: Request, error: Exception) -> Response:
    """The answer when the server is at fault; the log has the rest."""
    return Refused(500, "internal_error", "the server failed: its log says why").response()
