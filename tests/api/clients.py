"""A client that leaves when a test wants it to: bare sockets, so that nothing is tidied up behind its back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from proxy.api.v1 import CHAT
from tests.running import Attune
from tests.upstream.server import AT_ONCE, eventually


def request(body: Any, *extra: str, length: int | None = None) -> bytes:
    """A chat request on the wire; `length` is a false one."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {CHAT} HTTP/1.1",
        "host: attune",
        "content-type: application/json",
        f"content-length: {len(data) if length is None else length}",
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def asking(model: str = "llama3:8b", **values: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **values}


class Caller:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, text: bytes) -> bytes:
        """Read until this has come."""
        async with asyncio.timeout(5):
            return await self.reader.readuntil(text)

    def leave(self) -> float:
        """Close the connection with what is unread on it; returns when."""
        self.writer.close()
        return time.monotonic()

    def vanish(self) -> float:
        """Reset the connection, as a killed process does; returns when."""
        self.writer.transport.abort()
        return time.monotonic()


@asynccontextmanager
async def caller(proxy: Attune) -> AsyncIterator[Caller]:
    """A connection that is closed at the end if the test has not done so."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def within(condition: Callable[[], bool], since: float, seconds: float = AT_ONCE) -> None:
    """`condition` holds within some time after a moment."""
    await eventually(condition, max(0.0, since + seconds - time.monotonic()))


def nothing_left(proxy: Attune) -> bool:
    """Whether the proxy works on nothing any more."""
    upstreams = proxy.app.fleet.upstreams.values()
    busy = [(u.active, u.queued, u.pool.active, u.breaker.trying) for u in upstreams]
    return proxy.app.v1.running == 0 and busy == [(0, 0, 0, 0)] * len(busy) and not requests_running()


def requests_running() -> list[asyncio.Task[Any]]:
    """The server's tasks for requests, and what they left running."""
    mine = ("RequestResponseCycle.", "Departure.", "App.", "V1.")
    return [t for t in asyncio.all_tasks() if getattr(t.get_coro(), "__qualname__", "").startswith(mine)]
