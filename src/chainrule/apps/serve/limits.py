"""What stands before the application: headers on every answer, the names it may be asked by, and limits of rate and load."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from ...domain.errors import ArgumentError

MOST_BYTES = 1_000_000  # of a body
PATIENCE = 10.0  # seconds for a body to arrive
RATE, BURST = 60.0, 180.0  # drawings a second that a client may ask for in the long run, and at once
CLIENTS = 4096  # that are remembered
BUSY = 64  # requests at a time
LOCAL = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class Refused(Exception):
    """An answer that is an error: its status, code and message, and the seconds after which to ask again, if it may be."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def described(self) -> dict[str, Any]:
        """The error for JSON."""
        return {"error": {"code": self.code, "message": self.message}}

    def response(self) -> JSONResponse:
        """The answer; one that leaves a body unread ends the connection."""
        headers = {} if self.retry_after is None else {"retry-after": str(max(1, ceil(self.retry_after)))}
        if self.status in (408, 413):
            headers["connection"] = "close"
        return JSONResponse(self.described(), self.status, headers)


class Limiter:
    """A bucket of tokens for each client: ``burst`` at first, ``rate`` more a second. None for ``rate``: no limit.

    >>> limiter = Limiter(rate=2, burst=3)
    >>> [limiter.wait("a", now=0.0) for _ in range(4)]
    [0.0, 0.0, 0.0, 0.5]
    >>> limiter.wait("b", now=0.0), limiter.wait("a", now=0.5)
    (0.0, 0.0)
    """

    def __init__(self, rate: float | None = RATE, burst: float = BURST) -> None:
        if rate is not None and (rate <= 0 or burst < 1):
            raise ArgumentError(
                f"[serve] rate is {rate} and burst {burst}, expected above 0 and 1 or more; None: no limit"
            )
        self.rate, self.burst = rate, burst
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait(self, client: str, cost: float = 1.0, now: float | None = None) -> float:
        """Take tokens and return 0; or take none, and return the seconds until there will be enough.

        What costs more than a full bucket is had for a full one.
        """
        if self.rate is None:
            return 0.0
        now, cost = time.monotonic() if now is None else now, min(cost, self.burst)
        tokens, then = self.buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        enough = tokens >= cost
        self.buckets[client] = (tokens - cost if enough else tokens, now)
        if len(self.buckets) > CLIENTS:
            self.buckets.popitem(last=False)
        return 0.0 if enough else (cost - tokens) / self.rate

    def charge(self, client: str, cost: float = 1.0) -> None:
        """The same, but Refused is raised if there are not enough."""
        if seconds := self.wait(client, cost):
            raise Refused(429, "too_many_requests", f"too many requests: ask again in {seconds:.2g} seconds", seconds)


class Guarded:
    """The application with headers on every answer, for the names in ``hosts`` alone, and for so many requests at a time."""

    def __init__(self, app: Any, hosts: tuple[str, ...] | None, limiter: Limiter) -> None:
        self.app, self.hosts, self.limiter, self.busy = app, hosts, limiter, 0

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

        try:
            self.admit(scope)
        except Refused as error:
            await error.response()(scope, receive, with_headers)
            return
        self.busy += 1
        try:
            await self.app(scope, receive, with_headers)
        finally:
            self.busy -= 1

    def admit(self, scope: Scope) -> None:
        """Raise Refused for what is not to be answered now."""
        if self.hosts is not None and name_of(scope) not in self.hosts:
            raise Refused(421, "wrong_host", f"this server is asked as {', '.join(self.hosts)}")
        if scope["path"] == "/health":
            return
        if self.busy >= BUSY:
            raise Refused(503, "busy", f"{BUSY} requests are being answered: ask again in a second", 1)
        self.limiter.charge(client_of(scope))


def name_of(scope: Scope) -> str:
    """The host that a request names, without its port.

    >>> name_of({"headers": [(b"host", b"localhost:8000")]}), name_of({"headers": [(b"host", b"[::1]:80")]})
    ('localhost', '::1')
    """
    host = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"host"), "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def client_of(scope: Scope) -> str:
    """Who asks: an address; of IPv6 the network of 64 bits, as one host has many addresses in it.

    >>> client_of({"client": ("192.0.2.7", 5000)}), client_of({"client": ("2001:db8:1:2:3::4", 5000)})
    ('192.0.2.7', '2001:db8:1:2::')
    """
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    return str(IPv6Address(int(address) >> 64 << 64)) if isinstance(address, IPv6Address) else host


async def body_of(request: Request) -> bytes:
    """The body, if it is not too large and comes in time. Errors: Refused."""
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
