"""How an answer is read, held back and ended."""

import asyncio
import time

import pytest

from proxy.errors import UpstreamBroken
from proxy.upstream.connection import HIGH
from proxy.upstream.origin import Timeouts
from tests.upstream.server import (
    AT_ONCE,
    OK,
    OPEN,
    Peer,
    both_loops,
    eventually,
    pooled,
    repeating,
    then_wait,
    whole,
)

# Reading


@both_loops
async def test_a_read_gives_all_there_is():
    async with pooled(then_wait(OPEN, b"wor", b"ld")) as (_, pool):
        exchange = await pool.send("/", b"")
        await asyncio.sleep(0.05)
        assert exchange.complete
        assert await exchange.read() == b"helloworld"
        assert await exchange.read() == b""
        assert await exchange.read() == b""


@both_loops
async def test_read_nowait():
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await release.wait()
        await peer.send(b"hi")
        await peer.gone()

    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        assert exchange.read_nowait() is None
        release.set()
        await eventually(lambda: exchange.complete)
        assert exchange.read_nowait() == b"hi"
        assert exchange.read_nowait() == b""


@both_loops
async def test_a_cancelled_read_loses_nothing():
    async with pooled(then_wait(OPEN, b"world", gap=0.1)) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(exchange.read(), 0.01)
        assert await exchange.read() == b"world"
        assert await exchange.read() == b""


@both_loops
async def test_two_tasks_cannot_read():
    async with pooled(then_wait(OPEN)) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        first = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await exchange.read()
        exchange.close()
        with pytest.raises(UpstreamBroken, match="closed"):
            await first


@both_loops
async def test_read_all_stops_at_its_limit():
    async with pooled(repeating(OK)) as (_, pool):
        assert await (await pool.send("/", b"")).read_all(5) == b"hello"
        with pytest.raises(UpstreamBroken, match="above 4 bytes"):
            await (await pool.send("/", b"")).read_all(4)
    async with pooled(then_wait(OPEN)) as (_, pool):
        exchange = await pool.send("/", b"")
        with pytest.raises(UpstreamBroken, match="above 4 bytes"):
            await exchange.read_all(4)


@both_loops
async def test_header():
    async with pooled(
        repeating(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n")
    ) as (_, pool):
        exchange = await pool.send("/", b"")
        assert exchange.header(b"set-cookie") == b"a"
        assert exchange.header(b"x-none") is None


# Back-pressure

BIG = 50_000_000


async def flood(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
    for _ in range(BIG // 100_000):
        await peer.send(b"x" * 100_000)
    await peer.gone()


@both_loops
async def test_nobody_reads_so_little_is_kept():
    timeouts = Timeouts(idle=0.05)
    async with pooled(flood, timeouts) as (_, pool):
        exchange = await pool.send("/", b"")
        await asyncio.sleep(0.2)
        assert HIGH < exchange.unread <= 2 * HIGH
        size = 0
        while piece := await exchange.read():
            size += len(piece)
            assert exchange.unread <= 2 * HIGH
        assert size == BIG
        assert exchange.complete


@both_loops
async def test_pause_and_resume():
    async with pooled(flood) as (_, pool):
        exchange = await pool.send("/", b"")
        exchange.pause()
        exchange.pause()
        await asyncio.sleep(0.02)
        unread = exchange.unread
        assert unread <= 2 * HIGH
        size = len(exchange.read_nowait() or b"")
        await asyncio.sleep(0.02)
        assert exchange.read_nowait() is None
        exchange.resume()
        exchange.resume()
        while piece := await exchange.read():
            size += len(piece)
        assert size == BIG
        exchange.pause()
        exchange.resume()


@both_loops
async def test_resume_does_not_lift_the_automatic_pause():
    async with pooled(flood) as (_, pool):
        exchange = await pool.send("/", b"")
        await eventually(lambda: exchange.unread > HIGH)
        exchange.pause()
        exchange.resume()
        await asyncio.sleep(0.02)
        assert exchange.unread <= 2 * HIGH
        exchange.pause()
        assert exchange.read_nowait()
        await asyncio.sleep(0.02)
        assert exchange.read_nowait() is None
        exchange.close()


@both_loops
async def test_a_connection_paused_to_the_end_can_be_used_again():
    # The last piece is large enough to stop reading by itself.
    body = b"x" * (HIGH + 1)
    async with pooled(repeating(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)) as (
        _,
        pool,
    ):
        for _ in range(5):
            exchange = await pool.send("/", b"")
            await eventually(lambda exchange=exchange: exchange.unread > HIGH or exchange.complete)
            assert await whole(exchange) == body
        assert pool.opened == 1


@both_loops
async def test_an_answer_that_ends_in_spite_of_a_pause_leaves_a_connection_that_reads():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        connection = exchange._connection
        assert connection is not None
        exchange.pause()
        # As a loop does that had this in its hands already.
        connection.data_received(b"world")
        assert await whole(exchange) == b"helloworld"
        assert await whole(await pool.send("/", b"")) == b"hello"
        assert pool.opened == 1


# Ending


@both_loops
async def test_close_in_the_middle_reaches_the_server_at_once():
    seen: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        await peer.gone()
        seen.append(time.perf_counter())

    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        closed = time.perf_counter()
        exchange.close()
        exchange.close()
        assert pool.active == 0
        await eventually(lambda: bool(seen))
        assert seen[0] - closed < AT_ONCE
        with pytest.raises(UpstreamBroken, match="closed"):
            await exchange.read()


@both_loops
async def test_close_of_a_complete_answer_keeps_the_connection():
    async with pooled(repeating(OK)) as (_, pool):
        for _ in range(3):
            exchange = await pool.send("/", b"")
            await eventually(lambda exchange=exchange: exchange.complete)
            exchange.close()
            assert await exchange.read() == b""
        assert (pool.opened, pool.idle) == (1, 1)


@both_loops
async def test_answers_on_one_connection_do_not_mix():
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % len(peer.requests))

    async with pooled(script) as (_, pool):
        exchanges = []
        for _ in range(3):
            exchanges.append(await pool.send("/", b""))
            await eventually(lambda: exchanges[-1].complete)
        assert pool.opened == 1
        assert [await whole(exchange) for exchange in exchanges] == [b"1", b"2", b"3"]


@both_loops
async def test_close_wakes_the_reader():
    async with pooled(then_wait(OPEN)) as (_, pool):
        exchange = await pool.send("/", b"")
        await exchange.read()
        reader = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0.01)
        exchange.close()
        with pytest.raises(UpstreamBroken, match="closed"):
            await reader


@both_loops
async def test_an_old_exchange_does_not_touch_the_next_one():
    async with pooled(repeating(OK)) as (_, pool):
        first = await pool.send("/", b"")
        await eventually(lambda: first.complete)
        sending = asyncio.ensure_future(pool.send("/", b""))
        await asyncio.sleep(0)
        assert pool.active == 1
        first.pause()
        first.close()
        second = await sending
        assert await whole(second) == b"hello"
        assert pool.opened == 1
