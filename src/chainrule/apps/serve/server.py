"""The server of the page, from the command line to its end."""

from __future__ import annotations

import socket
from typing import Any

from ...domain.errors import ArgumentError, MissingDependencyError
from ..predictor import DigitPredictor
from .app import LOCAL, create_app

CONNECTIONS = 64  # requests at a time; more are told to come again (503)


def serve(predictor: DigitPredictor, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve the page and its interface until Ctrl+C or SIGTERM; requests under way are finished first.

    Port 0 is any free one. A host that is not of this machine alone opens it to the network, without a password. Errors:
    ArgumentError if the address cannot be had, MissingDependencyError.
    """
    server, listening = prepared(predictor, host, port)
    name = f"[{host}]" if ":" in host else host
    opened = "" if host in LOCAL else "; anybody who reaches this machine can use it"
    print(f"Draw at http://{name}:{listening.getsockname()[1]} (Ctrl+C ends){opened}", flush=True)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def prepared(predictor: DigitPredictor, host: str, port: int) -> tuple[Any, socket.socket]:
    """The server, a ``uvicorn.Server``, and the socket for its ``run(sockets=[...])``."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError("[serve] the page needs uvicorn: pip install 'chainrule[web]'") from error
    config = uvicorn.Config(
        create_app(predictor, hosts=LOCAL if host in LOCAL else None),
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
        lifespan="off",
        server_header=False,
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
