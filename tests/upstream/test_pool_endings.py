"""Connections that cannot be made, and what is left when something ends."""

import asyncio
import gc
import socket
import time

import pytest

from proxy.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from proxy.upstream.connection import Connection
from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.pool import Pool
from tests.upstream.server import (
    AT_ONCE,
    OK,
    OPEN,
    Peer,
    ask,
    both_loops,
    eventually,
    once,
    pooled,
    repeating,
    then_wait,
)

# No connection


@both_loops
async def test_refused():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        pool = Pool(Origin("http", "127.0.0.1", port, ""), Timeouts(), headers=[("authorization", "hunter2")])
        with pytest.raises(UpstreamUnreachable) as refusal:
            await pool.send("/", b"")
    assert f"127.0.0.1:{port}" in refusal.value.message
    assert "refused" in refusal.value.message
    assert "hunter2" not in refusal.value.message
    assert (pool.active, pool.opened) == (0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid"])
@both_loops
async def test_unresolvable(host):
    pool = Pool(Origin("http", host, 80, ""), Timeouts(connect=15))
    with pytest.raises(UpstreamUnreachable, match=f"{host}:80.*resolved"):
        await pool.send("/", b"")


def fill(listener: socket.socket) -> list[socket.socket]:
    """Fill the queue of a listener, so that the next connection is neither taken nor refused."""
    waiting = []
    for _ in range(2):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    return waiting


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    return listener, fill(listener)


@pytest.mark.parametrize(
    ("timeouts", "phase"),
    [(Timeouts(connect=0.1), "connect"), (Timeouts(connect=3, total=0.1), "total")],
)
@both_loops
async def test_no_connection_in_time(timeouts, phase):
    listener, waiting = full_listener()
    pool = Pool(Origin("http", "127.0.0.1", listener.getsockname()[1], ""), timeouts)
    started = time.perf_counter()
    with pytest.raises(UpstreamTimeout, match=r"no connection within 0\.1 s") as timeout:
        await pool.send("/", b"")
    assert time.perf_counter() - started < 5
    assert timeout.value.phase == phase
    for end in (listener, *waiting):
        end.close()


@both_loops
async def test_no_replacement_in_time():
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    loop = asyncio.get_running_loop()
    pool = Pool(Origin("http", "127.0.0.1", listener.getsockname()[1], ""), Timeouts(total=0.3))
    first = asyncio.ensure_future(ask(pool))
    await asyncio.sleep(0.02)
    end, _ = listener.accept()
    end.sendall(OK)
    assert await first == b"hello"
    waiting = fill(listener)
    started = time.perf_counter()
    loop.call_later(0.2, end.close)
    with pytest.raises(UpstreamTimeout, match="no connection within") as timeout:
        await ask(pool)
    assert 0.25 < time.perf_counter() - started < 5
    assert timeout.value.phase == "total"
    for each in (listener, *waiting):
        each.close()


@both_loops
async def test_cancelled_while_connecting():
    listener, waiting = full_listener()
    pool = Pool(Origin("http", "127.0.0.1", listener.getsockname()[1], ""), Timeouts())
    sending = asyncio.ensure_future(pool.send("/", b""))
    await asyncio.sleep(0.02)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (pool.active, pool.opened, pool.idle) == (0, 0, 0)
    for end in (listener, *waiting):
        end.close()


@both_loops
async def test_a_server_that_speaks_first_is_no_http_server():
    async def script(peer: Peer) -> None:
        await peer.send(b"220 mail.example ESMTP\r\n")
        await peer.gone()

    async with pooled(script) as (_, pool):
        with pytest.raises(UpstreamBroken):
            await ask(pool)


@both_loops
async def test_a_server_that_hangs_up_at_once():
    async def script(peer: Peer) -> None:
        peer.reset()

    async with pooled(script) as (server, pool):
        for _ in range(20):
            with pytest.raises(UpstreamBroken, match=f"127.0.0.1:{server.port} closed"):
                await ask(pool)
        assert len(server.peers) == 20


@both_loops
async def test_a_connection_that_ended_before_it_was_used(monkeypatch):
    made = Connection.connection_made
    monkeypatch.setattr(
        Connection, "connection_made", lambda self, transport: (made(self, transport), self.abort())
    )
    async with pooled(then_wait(), Timeouts(first_byte=0.2)) as (_, pool):
        with pytest.raises(UpstreamBroken, match="before a request was sent"):
            await ask(pool)
        assert (pool.active, pool.opened) == (0, 0)


# Ending


@both_loops
async def test_a_cancelled_send_closes_the_connection_at_once():
    seen = []

    async def script(peer: Peer) -> None:
        await peer.request()
        seen.append("request")
        await peer.gone()
        seen.append(time.perf_counter())

    async with pooled(script) as (_, pool):
        sending = asyncio.ensure_future(pool.send("/", b"x" * 1000))
        await eventually(lambda: seen == ["request"])
        cancelled = time.perf_counter()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (pool.active, pool.idle) == (0, 0)
        await eventually(lambda: len(seen) == 2)
        assert seen[1] - cancelled < AT_ONCE


@both_loops
async def test_a_send_cancelled_in_the_turn_its_answer_comes(monkeypatch):
    feed = Connection.data_received
    async with pooled(then_wait(OPEN)) as (server, pool):
        sending = asyncio.ensure_future(pool.send("/", b""))
        monkeypatch.setattr(
            Connection, "data_received", lambda self, data: (feed(self, data), sending.cancel())
        )
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (pool.active, pool.idle) == (0, 0)
        await eventually(lambda: server.tasks[0].done())


@both_loops
async def test_a_coroutine_thrown_away_leaves_nothing():
    async with pooled(then_wait(OK)) as (server, pool):
        await ask(pool)
        sending = pool.send("/", b"")
        sending.send(None)
        assert pool.active == 1
        sending.close()
        assert (pool.active, pool.idle) == (0, 0)
        await eventually(lambda: server.tasks[0].done())


@both_loops
async def test_close_ends_free_connections_now_and_busy_ones_later():
    async def script(peer: Peer) -> None:
        while True:
            if b"/slow" in await peer.request():
                await peer.send(OPEN, b"world", gap=0.05)
            else:
                await peer.send(b"", OK, gap=0.02)

    async with pooled(script) as (server, pool):
        _, slow = await asyncio.gather(ask(pool), pool.send("/slow", b""))
        assert (pool.idle, pool.active) == (1, 1)
        pool.close()
        assert (pool.idle, pool.active) == (0, 1)
        await eventually(lambda: sum(task.done() for task in server.tasks) == 1, 0.1)
        assert await slow.read_all(100) == b"helloworld"
        assert (pool.idle, pool.active) == (0, 0)
        await eventually(lambda: all(task.done() for task in server.tasks), 0.1)
        assert pool._sweeper is None


@both_loops
async def test_a_closed_pool_still_sends_but_keeps_nothing():
    async with pooled(repeating(OK)) as (_, pool):
        pool.close()
        assert await ask(pool) == b"hello"
        assert pool.idle == 0


@both_loops
async def test_no_garbage_cycles_are_left():
    async with pooled(once(OK)) as (_, pool):
        await ask(pool)
        await eventually(lambda: pool.idle == 0)
        await asyncio.sleep(0.01)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await ask(pool)
                await eventually(lambda: pool.idle == 0)
            await asyncio.sleep(0.01)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(thing).__name__ for thing in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left & {"Connection", "Exchange", "HttpResponseParser"}
