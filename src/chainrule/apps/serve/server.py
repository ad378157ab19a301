"""The server of the page, from the command line to its end."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from ...domain.errors import ArgumentError
from ..predictor import DigitPredictor
from .app import create_app
from .limits import LOCAL, RATE, Limiter
from .shelf import at_hand

CONNECTIONS = 512  # open at a time; those of more are closed


def serve(
    predictor: DigitPredictor,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    learning: bool | None = None,
    rate: float | None = RATE,
) -> None:
    """Serve the page and its interface until Ctrl+C or SIGTERM; requests under way are finished first.

    Port 0 is any free one. A host that is not of this machine alone opens it to the network, without a password; then
    nothing is learnt unless ``learning`` says so. ``rate`` is how many drawings a second a client may ask for (None: any).
    Errors: ArgumentError if the address cannot be had, MissingDependencyError.
    """
    server, listening = prepared(predictor, host, port, learning=learning, rate=rate)
    name = f"[{host}]" if ":" in host else host
    opened = "" if host in LOCAL else "; anybody who reaches this machine can use it"
    print(f"Draw at http://{name}:{listening.getsockname()[1]} (Ctrl+C ends){opened}", flush=True)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def prepared(
    predictor: DigitPredictor,
    host: str,
    port: int,
    *,
    learning: bool | None = None,
    rate: float | None = RATE,
) -> tuple[Any, socket.socket]:
    """The server, a ``uvicorn.Server``, and the socket for its ``run(sockets=[...])``."""
    alone = host in LOCAL
    app = create_app(
        predictor,
        hosts=LOCAL if alone else None,
        models=at_hand(),
        learning=alone if learning is None else learning,
        limiter=Limiter(rate),
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # anybody could write them, and be another client each time
        ws="none",
    )
    listening = bound(host, port)
    listening.listen(128)
    return uvicorn.Server(config), listening


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Errors: ArgumentError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"[serve] {host}:{port} is no address of this machine: {error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ArgumentError(
            f"[serve] {host}:{port} cannot be had ({error.strerror}): choose another with --port"
        ) from None
    return listening
