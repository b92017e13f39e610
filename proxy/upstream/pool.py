"""I/O. The connections to one upstream, and requests sent over them.

Free connections are a stack: the one used last is taken first, so the ones that are too many grow old at
the other end and are swept away. Nothing here limits how many there are in use; that is decided before a
request is sent.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from proxy.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from proxy.upstream.connection import Connection, Exchange
from proxy.upstream.origin import Origin, Timeouts

__all__ = ["Exchange", "Pool"]

MAX_HEADS = 256
"""Prebuilt request heads kept per pool."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"""/[!"$-~]*""")
_BODY_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


class Pool:
    """Keep-alive connections to one origin.

    `headers` go with every request, such as the upstream's key. `keepalive` is how many seconds a free
    connection is kept; it stays below vLLM's (uvicorn's) 5 seconds, so that it is us who hang up.
    `ssl_context` replaces the system's trust store for an https origin.
    """

    def __init__(
        self,
        origin: Origin,
        timeouts: Timeouts,
        *,
        keepalive: float = 4.0,
        max_idle: int = 1024,
        headers: Sequence[tuple[str, str]] = (),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.origin = origin
        self.timeouts = timeouts
        self.active = 0
        """Exchanges under way."""
        self.opened = 0
        """Connections made so far."""
        self._keepalive = keepalive
        self._max_idle = max_idle
        self._constant = _lines(headers)
        self._ssl = (ssl_context or ssl.create_default_context()) if origin.scheme == "https" else None
        self._where = f"{origin.host}:{origin.port}"
        self._heads: dict[tuple[str, str, bytes], bytes] = {}
        self._free: deque[Connection] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Free connections."""
        return len(self._free)

    async def send(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        timeouts: Timeouts | None = None,
        accept: bytes = b"*/*",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Exchange:
        """Send a request; returns when the head of the answer is there, whatever its status.

        A request is sent a second time only when a connection from the pool ended before one byte of
        an answer had come. Cancelling the caller cuts the connection off. A closed pool still sends,
        over a connection of its own.

        Raises `UpstreamUnreachable`, `UpstreamBroken`, `UpstreamTimeout`; `ValueError` for a path or
        header that does not belong in a request head.
        """
        head = self._heads.get((method, path, accept)) or self._head(method, path, accept)
        if headers:
            head += _lines(headers)
        if body or method not in _BODILESS:
            request = b"".join((head, _BODY_HEAD % len(body), body))
        else:
            request = head + b"\r\n"
        limits = self.timeouts if timeouts is None else timeouts
        loop = asyncio.get_running_loop()
        started = loop.time()
        connection = self._take(started) or await self._connect(limits, limits.total)
        while True:
            exchange, waiter = connection.begin(request, limits, started, method == "HEAD")
            self.active += 1
            answered = False
            try:
                await waiter
                answered = exchange.status > 0
            finally:
                if not answered:
                    exchange.close()
            if answered:
                return exchange
            if exchange.error is not None and not connection.stale:
                raise exchange.error
            left = None if limits.total is None else started + limits.total - loop.time()
            connection = await self._connect(limits, left)

    def close(self) -> None:
        """Hang up free connections now, and those in use when their exchange ends."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._free:
            self._discard(self._free.pop())

    def _head(self, method: str, path: str, accept: bytes) -> bytes:
        """The part of a request's head that does not change, kept for the next time."""
        if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(path):
            raise ValueError(f"not a method and a path: {method!r} {path!r}")
        own = [
            ("host", self.origin.authority),
            ("user-agent", "attune"),
            ("accept", accept.decode("latin-1")),
            ("accept-encoding", "identity"),
        ]
        start = f"{method} {self.origin.path}{path} HTTP/1.1\r\n".encode("ascii")
        head = start + b"".join([_line(name, value) for name, value in own]) + self._constant
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[method, path, accept] = head
        return head

    # Connections

    def _take(self, now: float) -> Connection | None:
        """The free connection used last; those too old are closed."""
        free = self._free
        while free:
            connection = free.pop()
            connection.pooled = False
            if connection.touched + self._keepalive > now:
                return connection
            connection.abort()
        return None

    async def _connect(self, limits: Timeouts, left: float | None) -> Connection:
        """A new connection; `left` is what remains of the total limit, in seconds."""
        origin = self.origin
        phase, seconds = "connect", limits.connect
        if left is not None and left < seconds:
            phase, seconds = "total", left
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds) as clock:
                _, connection = await loop.create_connection(
                    lambda: Connection(self._where, self._release, self._drop),
                    origin.host,
                    origin.port,
                    ssl=self._ssl,
                )
        except (OSError, UnicodeError) as error:
            if clock.expired():
                message = f"{self._where}: no connection within {seconds:g} s"
                raise UpstreamTimeout(message, phase=phase) from None
            raise UpstreamUnreachable(f"could not connect to {self._where}: {_reason(error)}") from error
        if connection.closed:
            raise UpstreamBroken(f"{self._where} closed a new connection before a request was sent")
        self.opened += 1
        return connection

    def _release(self, connection: Connection, reusable: bool) -> None:
        """An exchange has left `connection`."""
        self.active -= 1
        if not reusable or self._closed or len(self._free) >= self._max_idle:
            connection.abort()
            return
        connection.used = connection.pooled = True
        self._free.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._keepalive, self._sweep)

    def _drop(self, connection: Connection) -> None:
        """A connection ended while it carried nothing."""
        if connection.pooled:
            connection.pooled = False
            self._free.remove(connection)

    def _discard(self, connection: Connection) -> None:
        connection.pooled = False
        connection.abort()

    def _sweep(self) -> None:
        """Close what is too old; the oldest are on the left."""
        self._sweeper = None
        free = self._free
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._keepalive
        while free and free[0].touched <= oldest:
            self._discard(free.popleft())
        if free:
            self._sweeper = loop.call_later(free[0].touched - oldest, self._sweep)


def _lines(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines for names that are not the client's own business; `ValueError` for what cannot be one."""
    for name, _ in headers:
        _check_name(name)
    return b"".join([_line(name, value) for name, value in headers])


def _line(name: str, value: str) -> bytes:
    if "\r" in value or "\n" in value or "\0" in value:
        # The value may be a secret.
        raise ValueError(f"the value of header {name} holds a line break or NUL")
    return f"{name}: {value}\r\n".encode("latin-1")


@lru_cache(maxsize=256)
def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"header {name} is written by the upstream client itself")


def _reason(error: OSError | UnicodeError) -> str:
    """Why no connection came about, in the system's words."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the host name cannot be resolved"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or type(error).__name__}"
    if error.errno:
        return os.strerror(error.errno)
    return type(error).__name__ if not str(error) else str(error)
