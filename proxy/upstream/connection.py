"""I/O. One connection to an upstream, and one exchange on it.

This is the hot path: per request it makes two objects (an `Exchange` and a future), per piece of body it runs
one Python function, `Connection.data_received`. What keeps it so:

- The parser appends body pieces to a list by itself (`on_body` is `list.append`). The exchange reads from
  that same list until it is complete; then it takes its content along and the connection is free.
- Time limits are looked at by one timer per connection, which is neither cancelled nor re-armed when a
  request ends. It is due no later than any limit of the present exchange; when it fires it looks at the
  clock and arms itself for what is then the next limit.
- A connection is always ended by `abort`: there is never anything left to flush that somebody waits for,
  and the server has to see at once that nobody listens any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from proxy.upstream.origin import Timeouts

HEAD_LIMIT = 64 * 1024
"""Bytes of a response's head, interim (1xx) heads included."""
HIGH = 256 * 1024
"""Unread bytes of a body above which nothing more is taken from the socket."""
CLOCK = 0.001
"""Seconds: resolution of uvloop's clock and timers."""


_TOO_LONG = "a response head above 64 KiB"


class _Stop(Exception):
    """Ends parsing from inside one of the parser's callbacks."""


class Connection(asyncio.Protocol):
    """One connection; carries one exchange at a time.

    `released(connection, reusable)` is called when an exchange leaves it, `dropped(connection)` when it ends
    while it carries none.
    """

    __slots__ = (
        "_bodiless",
        "_done",
        "_dropped",
        "_exchange",
        "_fault",
        "_feed",
        "_headers",
        "_keep",
        "_limits",
        "_loop",
        "_now",
        "_parser",
        "_paused",
        "_pieces",
        "_received",
        "_released",
        "_started",
        "_timer",
        "_timer_due",
        "_written",
        "closed",
        "on_body",
        "pooled",
        "stale",
        "touched",
        "transport",
        "used",
        "where",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        where: str,
        released: Callable[[Connection, bool], None],
        dropped: Callable[[Connection], None],
    ) -> None:
        self.where = where
        self._released = released
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._headers: list[tuple[bytes, bytes]] = []
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._exchange: Exchange | None = None
        self._limits = Timeouts()
        self._started = self._written = self.touched = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = inf
        self._received = 0
        self._fault = ""
        self._bodiless = self._done = self._keep = self._paused = False
        self.closed = self.pooled = self.stale = self.used = False

    # What the pool calls

    def begin(
        self, request: bytes, limits: Timeouts, started: float, bodiless: bool
    ) -> tuple[Exchange, asyncio.Future[None]]:
        """Write `request`; the future is done when the head of the response is there or will never be."""
        waiter = self._loop.create_future()
        exchange = self._exchange = Exchange(self, self._pieces, waiter)
        self._received = 0
        self._done = self._keep = False
        self._bodiless = bodiless
        self._limits = limits
        self._started = started
        self._written = now = self._now()
        due = now + limits.soonest
        if limits.total is not None:
            due = min(due, started + limits.total)
        if due < self._timer_due:
            self._arm(due, now)
        self.transport.write(request)
        return exchange, waiter

    def abort(self) -> None:
        """End the connection at once."""
        if not self.closed:
            self.closed = True
            self.transport.abort()

    # What an exchange calls

    def pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self.touched = self._now()
            self.transport.resume_reading()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # Nobody asked for this, so an answer that follows it could not be trusted either.
            self._end_idle()
            return
        self.touched = self._now()
        self._received += len(data)
        fault = ""
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keep = False
            fault = self._fault or str(error)
        if self._done:
            self._finish(exchange)
        elif fault:
            self._fail(UpstreamBroken(f"{self.where} did not answer in HTTP/1.1: {fault}"))
        elif exchange.status:
            self._progress(exchange, len(data))
        elif self._received > HEAD_LIMIT:
            self._fail(UpstreamBroken(f"{self.where} sent {_TOO_LONG}"))

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._ended(exc)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The parser holds bound methods of this object, and this object the parser.
        del self._feed, self._parser

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._done:
            # More than was asked for.
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers = self._headers
        if status < 200:
            headers.clear()
            if status < 100 or status == 101:
                self._fault = f"status {status}"
                raise _Stop
            return
        if self._received > HEAD_LIMIT and sum(len(n) + len(v) + 4 for n, v in headers) > HEAD_LIMIT:
            self._fault = _TOO_LONG
            raise _Stop
        exchange = self._exchange
        assert exchange is not None
        exchange.status = status
        exchange.headers = headers
        self._headers = []
        if self._bodiless:
            # The parser does not know that this answers a HEAD request; it would wait for a body.
            self._done = True
            raise _Stop

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.status:
            self._headers.clear()
            # The parser resets itself when this returns: the only moment to ask.
            self._keep = self._parser.should_keep_alive()
            self._done = True

    # Steps of an exchange

    def _progress(self, exchange: Exchange, size: int) -> None:
        exchange.unread += size
        if exchange.unread > HIGH:
            if not self._pieces:
                self._fail(UpstreamBroken(f"{self.where} sent chunk headers or trailers without end"))
                return
            exchange._hold()
        exchange._wake()

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        if self._paused:
            self.resume()
        exchange._completed()
        # An answer that came before the whole request was written leaves the rest of it in the way.
        self._released(self, self._keep and not self.transport.get_write_buffer_size())

    def _fail(self, error: UpstreamError) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            exchange._failed(error)
            self._released(self, False)

    def _ended(self, exc: Exception | None) -> None:
        """The server has closed or reset the connection."""
        exchange = self._exchange
        if exchange is None:
            self._end_idle()
        elif not exchange.status:
            self.stale = self.used and not self._received
            self._fail(UpstreamBroken(f"{self.where} closed the connection without an answer"))
        elif exc is None and _until_close(exchange.headers):
            self._finish(exchange)
        else:
            self._fail(UpstreamBroken(f"{self.where} broke off in the middle of its answer"))

    def _end_idle(self) -> None:
        self.abort()
        self._dropped(self)

    # Time limits

    def _arm(self, due: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if due < inf:
            self._timer = self._loop.call_later(due - now, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_due = inf
        if self._exchange is None:
            return
        now = self._now()
        phase, due = self._next_limit(self._exchange, now)
        if due > now + CLOCK:
            idle = self._limits.idle
            # The head may come at any moment, and the idle limit counts from there.
            self._arm(due if idle is None else min(due, now + idle), now)
            return
        seconds = getattr(self._limits, phase)
        self._fail(UpstreamTimeout(f"{self.where}: {phase} took longer than {seconds:g} s", phase=phase))

    def _next_limit(self, exchange: Exchange, now: float) -> tuple[str, float]:
        """The phase that would be over its limit first, and when."""
        limits = self._limits
        phase, start, limit = "idle", self.touched, limits.idle
        if not exchange.status:
            phase, start, limit = "first_byte", self._written, limits.first_byte
        elif self._paused:
            start = now
        due = inf if limit is None else start + limit
        if limits.total is not None and self._started + limits.total < due:
            return "total", self._started + limits.total
        return phase, due


class Exchange:
    """A request's answer: its head from the start, its body as it comes.

    Made by `Pool.send`. Whoever holds it must `close` it, read or not; closing twice does nothing.
    A cancelled `read` loses nothing: the next one goes on from there. One task at a time may read.
    """

    __slots__ = (
        "_connection",
        "_full",
        "_held",
        "_pieces",
        "_waiter",
        "complete",
        "error",
        "headers",
        "status",
        "unread",
    )

    def __init__(self, connection: Connection, pieces: list[bytes], waiter: asyncio.Future[None]) -> None:
        self._connection: Connection | None = connection
        self._pieces = pieces
        self._waiter: asyncio.Future[None] | None = waiter
        self.error: UpstreamError | None = None
        self._full = self._held = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case, in the order and number they came in."""
        self.complete = False
        """The whole answer has arrived, though perhaps not all of it was read."""
        self.unread = 0
        """Bytes that came and were not read; counts the framing too."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self) -> bytes:
        """All that has come since the last read, as one piece; waits when that is nothing.

        `b""` is the end of the body. Raises `UpstreamBroken` or `UpstreamTimeout` once what had come
        before is read.
        """
        while (data := self.read_nowait()) is None:
            connection = self._connection
            if self._waiter is not None or connection is None:
                raise RuntimeError("another task is reading this exchange")
            waiter = self._waiter = connection._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        return data

    def read_nowait(self) -> bytes | None:
        """Like `read`, but `None` instead of waiting."""
        pieces = self._pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.unread = 0
            if self._full:
                self._full = False
                if not self._held:
                    self.resume()
            return data
        if self.complete:
            return b""
        if self.error is not None:
            raise self.error
        return None

    async def read_all(self, limit: int) -> bytes:
        """The whole body; `UpstreamBroken`, and the exchange closed, when it is above `limit` bytes."""
        pieces = []
        size = 0
        while data := await self.read():
            size += len(data)
            if size > limit:
                self.close()
                raise UpstreamBroken(f"the upstream's answer is above {limit} bytes")
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def pause(self) -> None:
        """Take nothing more from the upstream until `resume`; what has come may still be read."""
        self._held = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """End a `pause`."""
        self._held = False
        if self._connection is not None and not self._full:
            self._connection.resume()

    def close(self) -> None:
        """Be done with it: an unfinished answer's connection is cut off at once."""
        connection = self._connection
        if connection is not None:
            connection._fail(UpstreamBroken("the exchange was closed"))
        self._pieces.clear()
        self.unread = 0

    # What the connection calls

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _hold(self) -> None:
        self._full = True
        if self._connection is not None:
            self._connection.pause()

    def _completed(self) -> None:
        self.complete = True
        self._connection = None
        # The list stays with the connection, whose parser appends to it.
        pieces = self._pieces
        self._pieces = pieces[:]
        pieces.clear()
        self._wake()

    def _failed(self, error: UpstreamError) -> None:
        self.error = error
        self._connection = None
        self._wake()


def _until_close(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body with these headers ends where the connection does."""
    coding = b""
    for name, value in headers:
        if name == b"content-length":
            return False
        if name == b"transfer-encoding":
            coding = value
    return coding.rpartition(b",")[2].strip().lower() != b"chunked"
