"""The interface as an OpenAPI 3.1 document: what is sent and answered, in JSON Schema (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from ..about import version
from .drawings import MOST_DRAWINGS

Schema = dict[str, Any]
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
DIGIT: Schema = {"type": "integer", "minimum": 0, "maximum": 9}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
MODEL: Schema = TEXT | {"description": "Name of a model, of GET /models; by default the first."}


def listed(items: Schema, least: int | None = None, most: int | None = None) -> Schema:
    """A list of so many."""
    sizes = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items} | {name: n for name, n in sizes.items() if n is not None}


def record(required: Schema, optional: Schema | None = None) -> Schema:
    """An object with these properties, and no others."""
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


MILLISECONDS = {"milliseconds": {"type": "number", "minimum": 0, "description": "What it took the server."}}
STROKES = listed(listed(listed(NUMBER, 2, 2)), 0, 500) | {
    "description": "Lines of points [x, y], x to the right and y down, in any unit."
}
GREY = listed(listed(NUMBER)) | {"description": "Rows of grey values; the edge tells which is the paper."}
PEN = {"type": "number", "exclusiveMinimum": 0, "description": "Width of the lines, in the unit of the points."}
ANSWER = {
    "digit": DIGIT,
    "sure": {"type": "boolean"},
    "probabilities": listed(SHARE, 10, 10),
    "top": listed({"type": "array", "prefixItems": [DIGIT, SHARE], "minItems": 2, "maxItems": 2}, 3, 3),
    "image": listed(listed({"type": "integer", "minimum": 0, "maximum": 255}, 28, 28), 28, 28)
    | {"description": "What the network saw."},
}


def drawing(**more: Schema) -> Schema:
    """A drawing, as strokes or as a picture, and what else may be said of it."""
    return {"oneOf": [record({"strokes": STROKES}, {"pen": PEN} | more), record({"image": GREY}, more)]}


def labelled() -> Schema:
    """A drawing and the digit that it is."""
    strokes = record({"strokes": STROKES, "label": DIGIT}, {"pen": PEN, "model": MODEL})
    return {"oneOf": [strokes, record({"image": GREY, "label": DIGIT}, {"model": MODEL})]}


SCHEMAS: dict[str, Schema] = {
    "Drawing": drawing(),
    "Question": drawing(model=MODEL),
    "Batch": record({"drawings": listed(ref("Drawing"), 1, MOST_DRAWINGS)}, {"model": MODEL}),
    "Look": drawing(model=MODEL, label=DIGIT),
    "Correction": labelled(),
    "Error": record({"error": record({"code": TEXT, "message": TEXT})}),
    "Answer": record(ANSWER),
    "Prediction": record(ANSWER | MILLISECONDS),
    "Predictions": record({"predictions": listed({"oneOf": [ref("Answer"), ref("Error")]}, 1)} | MILLISECONDS),
    "Views": record(
        {
            "label": DIGIT,
            "layer": TEXT | {"description": "What made the maps; empty of a network without convolutions."},
            "maps": listed(listed(listed(NUMBER)), 0, 64),
            "saliency": listed(listed(SHARE, 28, 28), 28, 28),
        }
        | MILLISECONDS
    ),
    "Learnt": record(
        {"learnt": COUNT} | MILLISECONDS,
        {"label": DIGIT, "digit": DIGIT, "known_before": SHARE, "known_after": SHARE},
    ),
    "Health": record({"status": {"const": "ok"}}),
    "Models": record({"models": listed(TEXT, 1), "learning": {"type": "boolean"}}),
    "Model": record(
        {
            "name": TEXT,
            "parameters": COUNT,
            "input": {"const": [1, 28, 28]},
            "classes": listed(DIGIT, 10, 10),
            "sure_from": SHARE,
            "learnt": COUNT,
            "version": TEXT,
        }
    ),
}
ERRORS = {
    400: "The request is malformed.",
    403: "This server does not learn.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    409: "There is no correction to take back.",
    413: "The body or the picture is too large.",
    415: "The body is no application/json.",
    422: "This is no digit, or the model cannot do this.",
    429: "Too many requests; Retry-After says when to come again, in seconds.",
    503: "Too many requests at this moment.",
}
BODY = (408, 413, 415, 422)  # errors of what has a body


def content(schema: Schema, kind: str = "application/json") -> Schema:
    """A body."""
    return {"content": {kind: {"schema": schema}}}


def call(summary: str, answer: Schema, *errors: int, body: Schema | None = None, named: bool = False) -> Schema:
    """What one method of one path does."""
    responses = {"200": {"description": "As asked."} | answer}
    for status in sorted({*errors, *((*BODY, 400) if body else ()), 429, 503}):
        responses[str(status)] = {"description": ERRORS[status]} | content(ref("Error"))
    found: Schema = {"summary": summary, "responses": responses}
    if body:
        found["requestBody"] = {"required": True} | content(body)
    if named:
        found["parameters"] = [{"name": "model", "in": "query", "schema": MODEL}]
    return found


def document() -> Schema:
    """The whole document.

    >>> document()["openapi"], sorted(document()["paths"])[:3]
    ('3.1.0', ['/api/corrections', '/api/predict', '/api/views'])
    """
    either = {"oneOf": [ref("Question"), ref("Batch")]}
    told = {"oneOf": [ref("Prediction"), ref("Predictions")]}
    binary = content({"type": "string", "contentMediaType": "application/octet-stream"}, "application/octet-stream")
    paths = {
        "/health": {"get": call("That the server lives.", content(ref("Health")))},
        "/model": {"get": call("What answers.", content(ref("Model")), 404, 422, named=True)},
        "/models": {"get": call("The models that there are.", content(ref("Models")))},
        "/network": {"get": call("The model for JavaScript.", binary, 404, 422, named=True)},
        "/api/predict": {"post": call("Read one drawing, or several.", content(told), 404, body=either)},
        "/api/views": {"post": call("See inside the network.", content(ref("Views")), 404, body=ref("Look"))},
        "/api/corrections": {
            "post": call("Learn what a drawing is.", content(ref("Learnt")), 403, 404, body=ref("Correction")),
            "delete": call("Forget the last correction.", content(ref("Learnt")), 403, 404, 409, 422, named=True),
        },
    }
    info = {"title": "chainrule: digits", "version": version(), "summary": "Drawings of digits, read by a network."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": SCHEMAS}}
