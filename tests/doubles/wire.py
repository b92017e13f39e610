"""I/O. The server's end of an HTTP/1.1 connection, raw enough to break the protocol on purpose."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from time import monotonic
from typing import Any

JSON = "application/json; charset=utf-8"


@dataclass
class Recorded:
    """A request as it came: path without query, headers in order and own spelling, raw body, monotonic time.

    ``effective`` holds all options with the layers merged, if the request got that far.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    at: float = field(default_factory=monotonic)
    effective: dict[str, Any] | None = None

    @property
    def json(self) -> Any:
        """The parsed body; ValueError when it is not JSON."""
        return json.loads(self.body)

    @property
    def options(self) -> dict[str, Any]:
        """The body's ``options``, empty when it has none."""
        return self.json.get("options") or {}

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Connection(asyncio.StreamReaderProtocol):
    """One accepted connection. While ``busy`` an answer is owed: a client that leaves then cancels it."""

    def __init__(
        self, serve: Callable[["Connection"], Coroutine[Any, Any, None]], left: Callable[[], None]
    ) -> None:
        self.reader = asyncio.StreamReader(limit=2**20)
        super().__init__(self.reader, self._accepted)
        self._serve, self._left = serve, left
        self.busy = self.lost = False

    def _accepted(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.conversation = asyncio.get_running_loop().create_task(self._serve(self))

    def eof_received(self) -> bool:
        self._leave()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self.busy:
            self.busy = False
            self._left()
            self.conversation.cancel()

    async def read(self) -> Recorded | None:
        """The next request; None when the client has gone."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            pairs = [line.partition(":") for line in head[1:] if line]
            request = Recorded(
                method, target.partition("?")[0], [(key, value.strip()) for key, _, value in pairs]
            )
            request.body = await self._body(request)
            self.busy = True
            return request
        return None

    async def _body(self, request: Recorded) -> bytes:
        if request.header("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(request.header("content-length") or 0))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")
        return body

    def drop(self) -> None:
        """End it from this side, whatever it is doing; not counted as a client that left."""
        self.busy = False
        self.writer.transport.abort()
        self.conversation.cancel()

    def reset(self) -> None:
        """Leave without goodbye: the client sees a connection reset."""
        self.busy = False
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class Exchange:
    """One request and the answer to it. ``content_type``, when set, replaces the one of the answer."""

    def __init__(self, connection: Connection, request: Recorded) -> None:
        self.connection, self.request = connection, request
        self.content_type = ""
        self.chunked = False

    async def answer(self, status: int, content_type: str, body: bytes) -> None:
        """A whole answer."""
        await self.start(status, content_type, len(body))
        await self.finish(b"" if self.request.method == "HEAD" else body)

    async def json(self, status: int, value: Any) -> None:
        await self.answer(status, JSON, go_json(value))

    async def start(self, status: int, content_type: str, length: int | None = None) -> None:
        """Status and headers; without a length the body comes in chunks."""
        self.chunked = length is None
        kind = self.content_type or content_type
        size = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {length}"
        lines = [
            f"HTTP/1.1 {status} {responses.get(status, '')}",
            *([f"Content-Type: {kind}"] if kind else []),
            size,
        ]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def finish(self, last: bytes = b"") -> None:
        """The end of the body: a client that leaves from here on has got all."""
        self.connection.busy = False
        await self.raw(last + (b"0\r\n\r\n" if self.chunked else b""))

    async def raw(self, data: bytes) -> None:
        self.connection.writer.write(data)
        await self.connection.writer.drain()

    def close(self) -> None:
        self.connection.busy = False
        self.connection.writer.close()


def go_json(value: Any) -> bytes:
    """JSON as Go writes it: UTF-8 as it is, but <, >, & and the two line separators escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
