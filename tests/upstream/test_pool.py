"""What goes out, and over which connection."""

import asyncio
import socket

import pytest

from proxy.errors import UpstreamBroken, UpstreamTimeout
from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.pool import MAX_HEADS, Pool
from tests.upstream.server import (
    OK,
    OPEN,
    Peer,
    ask,
    both_loops,
    eventually,
    once,
    pooled,
    repeating,
    serving,
    then_wait,
)

# What goes out


@both_loops
async def test_the_request_byte_for_byte():
    async with serving(repeating(OK)) as server:
        origin = Origin("http", "127.0.0.1", server.port, "/base")
        pool = Pool(origin, Timeouts(), headers=[("authorization", "Bearer k")])
        await ask(
            pool, "/v1/x?y=1", b'{"a": 1}', accept=b"text/event-stream", headers=[("traceparent", "00-é")]
        )
        await ask(pool, "/v1/x?y=1", b"")
        await ask(pool, "/v1/models", b"", method="GET")
        await ask(pool, "/api/delete", b"{}", method="DELETE")
        pool.close()
    start = (
        b"%b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: attune\r\naccept: %b\r\n"
        b"accept-encoding: identity\r\nauthorization: Bearer k\r\n"
    )
    end = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    post = b"POST /base/v1/x?y=1"
    assert server.requests == [
        (
            start % (post, server.port, b"text/event-stream") + b"traceparent: 00-\xe9\r\n" + end % 8,
            b'{"a": 1}',
        ),
        (start % (post, server.port, b"*/*") + end % 0, b""),
        (start % (b"GET /base/v1/models", server.port, b"*/*") + b"\r\n", b""),
        (start % (b"DELETE /base/api/delete", server.port, b"*/*") + end % 2, b"{}"),
    ]


@both_loops
async def test_head_and_body_are_one_write():
    async with pooled(repeating(OK)) as (_, pool):
        await ask(pool)
        writes = []
        connection = pool._free[0]

        class Spy:
            def __init__(self, transport):
                self.transport = transport

            def __getattr__(self, name):
                return getattr(self.transport, name)

            def write(self, data):
                writes.append(data)
                self.transport.write(data)

        connection.transport = Spy(connection.transport)
        await ask(pool, "/", b"x" * 100_000)
        assert len(writes) == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("x", "a\r\nb: c")],
        [("x", "a\nb")],
        [("x", "a\rb")],
        [("x", "a\0b")],
        [("x\r\ny", "a")],
        [("x\n", "a")],
        [("x\0", "a")],
        [("x y", "a")],
        [("x:", "a")],
        [("", "a")],
        [("good", "a"), ("x", "\u20ac")],
        [("Content-Length", "5")],
        [("transfer-encoding", "chunked")],
        [("Host", "elsewhere")],
        [("connection", "close")],
    ],
)
@both_loops
async def test_headers_that_would_break_the_head_are_refused(headers):
    origin = Origin("http", "127.0.0.1", 1, "")
    with pytest.raises(ValueError):
        Pool(origin, Timeouts(), headers=headers)
    pool = Pool(origin, Timeouts())
    with pytest.raises(ValueError):
        await pool.send("/", b"", headers=headers)
    assert pool.active == 0


def test_a_refused_value_is_not_repeated():
    with pytest.raises(ValueError, match="authorization") as refusal:
        Pool(Origin("http", "x", 1, ""), Timeouts(), headers=[("authorization", "hunter2\n")])
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("POST", "", b"*/*"),
        ("POST", "v1", b"*/*"),
        ("POST", "/a b", b"*/*"),
        ("POST", "/a\r\nx: y", b"*/*"),
        ("POST", "/a\0", b"*/*"),
        ("POST", "/\u00fc", b"*/*"),
        ("POST", "/a#b", b"*/*"),
        ("PO ST", "/", b"*/*"),
        ("", "/", b"*/*"),
        ("POST\r\n", "/", b"*/*"),
        ("POST", "/", b"*/*\r\nx: y"),
    ],
)
@both_loops
async def test_a_request_line_that_is_none_is_refused(method, path, accept):
    with pytest.raises(ValueError):
        await Pool(Origin("http", "127.0.0.1", 1, ""), Timeouts()).send(
            path, b"", method=method, accept=accept
        )


@both_loops
async def test_prebuilt_heads_are_bounded():
    async with pooled(repeating(OK)) as (_, pool):
        for number in range(MAX_HEADS + 10):
            assert await ask(pool, f"/{number}") == b"hello"
        assert len(pool._heads) <= MAX_HEADS


# Which connection


@both_loops
async def test_connections_are_used_again():
    async with pooled(repeating(OK)) as (server, pool):
        for _ in range(20):
            assert await ask(pool) == b"hello"
        assert (len(server.peers), pool.opened, pool.idle, pool.active) == (1, 1, 1, 0)


@both_loops
async def test_many_at_once_and_the_last_one_used_first():
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if peer.number == 4:
                arrived.set()
            await arrived.wait()
            await peer.send(OK)

    async with pooled(script) as (server, pool):
        await asyncio.gather(*[ask(pool) for _ in range(5)])
        assert (len(server.peers), pool.opened, pool.idle, pool.active) == (5, 5, 5, 0)
        last = pool._free[-1]
        for _ in range(10):
            await ask(pool)
            assert pool._free[-1] is last
        assert pool.opened == 5


@both_loops
async def test_active_counts_exchanges_under_way():
    async with pooled(then_wait(OPEN)) as (_, pool):
        exchange = await pool.send("/", b"")
        assert (pool.active, pool.idle) == (1, 0)
        exchange.close()
        assert (pool.active, pool.idle) == (0, 0)


@both_loops
async def test_no_more_than_max_idle_are_kept():
    async with pooled(repeating(b"", OK, gap=0.01), max_idle=2) as (server, pool):
        await asyncio.gather(*[ask(pool) for _ in range(4)])
        assert pool.idle == 2
        await eventually(lambda: sum(task.done() for task in server.tasks) == 2)


@both_loops
async def test_free_connections_grow_old():
    async with pooled(repeating(b"", OK, gap=0.01), keepalive=0.1) as (server, pool):
        await asyncio.gather(ask(pool), ask(pool))
        await asyncio.sleep(0.06)
        await ask(pool)
        assert pool.idle == 2
        await eventually(lambda: pool.idle == 1)
        assert pool._sweeper is not None
        await eventually(lambda: pool.idle == 0)
        assert pool._sweeper is None
        await eventually(lambda: all(task.done() for task in server.tasks))


@both_loops
async def test_an_old_connection_is_not_used_though_nobody_swept():
    async with pooled(repeating(OK), keepalive=0.05) as (_, pool):
        await ask(pool)
        assert pool._sweeper is not None
        pool._sweeper.cancel()
        await asyncio.sleep(0.08)
        assert pool.idle == 1
        await ask(pool)
        assert pool.opened == 2


@both_loops
async def test_a_connection_the_server_closes_leaves_the_pool():
    async with pooled(once(OK)) as (_, pool):
        await ask(pool)
        await eventually(lambda: pool.idle == 0)
        assert await ask(pool) == b"hello"
        assert pool.opened == 2


@both_loops
async def test_bytes_nobody_asked_for_close_a_free_connection():
    async with pooled(then_wait(OK, OK, gap=0.02)) as (_, pool):
        await ask(pool)
        assert pool.idle == 1
        await eventually(lambda: pool.idle == 0)
        assert await ask(pool) == b"hello"
        assert pool.opened == 2


@both_loops
async def test_nagle_is_off():
    async with pooled(then_wait(OPEN)) as (_, pool):
        exchange = await pool.send("/", b"")
        end = exchange._connection.transport.get_extra_info("socket")
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        exchange.close()


# Stale connections


@both_loops
async def test_a_connection_closed_in_the_kernel_is_replaced_once():
    async with pooled(repeating(OK)) as (server, pool):
        await ask(pool, "/1")
        server.peers[0].hang_up()
        assert pool.idle == 1
        assert await ask(pool, "/2", b"body") == b"hello"
        assert (pool.opened, len(server.peers)) == (2, 2)
        assert [body for _, body in server.peers[1].requests] == [b"body"]


@pytest.mark.parametrize("reset", [False, True])
@both_loops
async def test_a_pooled_connection_that_ends_instead_of_an_answer_is_replaced(reset):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await peer.request()
            if reset:
                peer.reset()
            return
        await peer.gone()

    async with pooled(script) as (server, pool):
        assert await ask(pool) == b"hello"
        assert await ask(pool, "/again", b"x") == b"hello"
        assert [len(peer.requests) for peer in server.peers] == [2, 1]
        assert server.peers[0].requests[1] == server.peers[1].requests[0]


@both_loops
async def test_it_is_replaced_once_only():
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(OK)
            await peer.request()

    async with pooled(script) as (server, pool):
        await ask(pool)
        with pytest.raises(UpstreamBroken, match="without an answer"):
            await ask(pool)
        assert len(server.peers) == 2


@both_loops
async def test_the_replacement_is_a_new_connection():
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(peer.requests) == 2 and peer.number < 2:
                return
            await peer.send(b"", OK, gap=0.01)

    async with pooled(script) as (server, pool):
        await asyncio.gather(ask(pool), ask(pool))
        assert pool.idle == 2
        assert await ask(pool) == b"hello"
        # The other free connection would have been stale too.
        assert len(server.peers) == 3


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n"])
@both_loops
async def test_nothing_is_sent_twice_once_an_answer_has_begun(start):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(start)

    async with pooled(script) as (server, pool):
        await ask(pool)
        with pytest.raises(UpstreamBroken):
            await ask(pool)
        assert len(server.peers) == 1


@pytest.mark.parametrize("reset", [False, True])
@both_loops
async def test_nothing_is_sent_twice_on_a_new_connection(reset):
    async def script(peer: Peer) -> None:
        await peer.request()
        if reset:
            peer.reset()

    async with pooled(script) as (server, pool):
        with pytest.raises(UpstreamBroken, match=f"127.0.0.1:{server.port} closed the connection"):
            await ask(pool)
        assert len(server.peers) == 1


@both_loops
async def test_a_time_limit_on_a_pooled_connection_is_not_a_stale_one():
    async with pooled(then_wait(OK)) as (server, pool):
        await ask(pool)
        with pytest.raises(UpstreamTimeout):
            await ask(pool, timeouts=Timeouts(first_byte=0.03))
        assert len(server.peers) == 1
