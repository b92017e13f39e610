"""A raw server that does what a test's script says, byte for byte, and the loops to run it on."""

import asyncio
import functools
import inspect
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.pool import Exchange, Pool

PATIENCE = 20.0
"""Seconds after which a test is stuck."""


def both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on asyncio's loop and on uvloop's, within `PATIENCE`."""

    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(test(**arguments), PATIENCE))

    own = inspect.signature(test).parameters.values()
    loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*own, loop])  # type: ignore[attr-defined]
    factories = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("new_loop", factories, ids=["asyncio", "uvloop"])(run)


class Peer:
    """The server's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.requests: list[tuple[bytes, bytes]] = []

    async def request(self) -> bytes:
        """One request's head; its body goes with it into `requests`."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.requests.append((head, await self.reader.readexactly(length)))
        return head

    async def send(self, *segments: bytes, gap: float = 0.001) -> None:
        """Write segments far enough apart to arrive apart."""
        for number, segment in enumerate(segments):
            if number:
                await asyncio.sleep(gap)
            self.writer.write(segment)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the client has closed or reset the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def hang_up(self) -> None:
        """Close both directions in the kernel now, without a turn of the loop."""
        descriptor = os.dup(self.writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close with a reset, as a killed process does."""
        option = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.writer.transport.abort()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
OPEN = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"
"""An answer that is only half there."""

Script = Callable[[Peer], Awaitable[None]]


class Server:
    """Runs a script for each connection and hangs up when it returns."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.faults: list[BaseException] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.port = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        try:
            await self.script(peer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        except AssertionError as fault:
            self.faults.append(fault)
        finally:
            writer.close()

    @property
    def requests(self) -> list[tuple[bytes, bytes]]:
        return [request for peer in self.peers for request in peer.requests]


@asynccontextmanager
async def serving(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port; at the end every connection to it must have been closed by the client."""
    server = Server(script)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
        if server.tasks:
            _, stuck = await asyncio.wait(server.tasks, timeout=2)
            assert not stuck, "a connection was left open"
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        for peer in server.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
    assert not server.faults, server.faults


@asynccontextmanager
async def pooled(
    script: Script, timeouts: Timeouts | None = None, **options: Any
) -> AsyncIterator[tuple[Server, Pool]]:
    """A server and a pool to it; at the end nothing of the pool may be left."""
    async with serving(script) as server:
        pool = Pool(Origin.parse(f"http://127.0.0.1:{server.port}"), timeouts or Timeouts(), **options)
        try:
            yield server, pool
        finally:
            pool.close()
        assert (pool.active, pool.idle) == (0, 0)


def repeating(*segments: bytes, gap: float = 0.001) -> Script:
    """A script that gives the same answer to every request on a connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*segments, gap=gap)

    return script


def once(*segments: bytes) -> Script:
    """A script that answers one request and hangs up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*segments)

    return script


def then_wait(*segments: bytes, gap: float = 0.001) -> Script:
    """A script that answers one request and then waits for the client to hang up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*segments, gap=gap)
        await peer.gone()

    return script


async def whole(exchange: Exchange) -> bytes:
    """All of the body."""
    return await exchange.read_all(1 << 30)


async def ask(pool: Pool, path: str = "/", body: bytes = b"", **options: Any) -> bytes:
    """Send a request and read all of its answer."""
    exchange = await pool.send(path, body, **options)
    try:
        return await exchange.read_all(1 << 20)
    finally:
        exchange.close()


AT_ONCE = 0.5
"""Seconds within which an upstream has to see that somebody left. It takes a few milliseconds; a machine that
others share may be late."""


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `condition` holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
