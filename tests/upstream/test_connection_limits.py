"""How long each phase of an exchange may take."""

import asyncio
import time

import pytest

from proxy.errors import UpstreamTimeout
from proxy.upstream.origin import Timeouts
from tests.upstream.server import (
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


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


@both_loops
async def test_first_byte():
    async with pooled(silent, Timeouts(first_byte=0.05)) as (server, pool):
        started = time.perf_counter()
        with pytest.raises(UpstreamTimeout, match=r"first_byte took longer than 0\.05 s") as timeout:
            await pool.send("/", b"")
        assert 0.04 < time.perf_counter() - started < 5
        assert timeout.value.phase == "first_byte"
        assert (len(server.peers), pool.active) == (1, 0)


@both_loops
async def test_first_byte_means_the_whole_head():
    async with pooled(
        then_wait(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200"), Timeouts(first_byte=0.05)
    ) as (
        _,
        pool,
    ):
        with pytest.raises(UpstreamTimeout) as timeout:
            await pool.send("/", b"")
        assert timeout.value.phase == "first_byte"


@pytest.mark.parametrize("first_byte", [None, 0.02, 30.0])
@both_loops
async def test_idle(first_byte):
    async with pooled(then_wait(OPEN), Timeouts(first_byte=first_byte, idle=0.08)) as (_, pool):
        started = time.perf_counter()
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        with pytest.raises(UpstreamTimeout) as timeout:
            await exchange.read()
        assert timeout.value.phase == "idle"
        assert 0.07 < time.perf_counter() - started < 5


@both_loops
async def test_idle_counts_from_a_late_head():
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.1)
        await peer.send(OPEN)
        await peer.gone()

    async with pooled(script, Timeouts(first_byte=1.0, idle=0.06)) as (_, pool):
        exchange = await pool.send("/", b"")
        started = time.perf_counter()
        assert await exchange.read() == b"hello"
        with pytest.raises(UpstreamTimeout):
            await exchange.read()
        assert 0.05 < time.perf_counter() - started < 5


@both_loops
async def test_a_trickle_is_not_idle():
    segments = [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"] + [b"x"] * 10
    async with pooled(then_wait(*segments, gap=0.03), Timeouts(idle=0.1)) as (_, pool):
        assert await whole(await pool.send("/", b"")) == b"x" * 10


@both_loops
async def test_idle_runs_though_nobody_waits():
    async with pooled(then_wait(OPEN), Timeouts(idle=0.05)) as (server, pool):
        exchange = await pool.send("/", b"")
        await eventually(lambda: server.tasks[0].done())
        assert pool.active == 0
        assert await exchange.read() == b"hello"
        with pytest.raises(UpstreamTimeout):
            await exchange.read()


@both_loops
async def test_a_pause_is_not_idle():
    async with pooled(then_wait(OPEN), Timeouts(idle=0.05)) as (_, pool):
        exchange = await pool.send("/", b"")
        exchange.pause()
        await asyncio.sleep(0.2)
        exchange.resume()
        assert await exchange.read() == b"hello"
        resumed = time.perf_counter()
        with pytest.raises(UpstreamTimeout):
            await exchange.read()
        assert 0.04 < time.perf_counter() - resumed < 5


@both_loops
async def test_total_in_spite_of_a_trickle():
    segments = [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"] + [b"x"] * 20
    timeouts = Timeouts(idle=1.0, total=0.12)
    async with pooled(then_wait(*segments, gap=0.02), timeouts) as (_, pool):
        started = time.perf_counter()
        with pytest.raises(UpstreamTimeout) as timeout:
            await whole(await pool.send("/", b""))
        assert timeout.value.phase == "total"
        assert 0.1 < time.perf_counter() - started < 5


@both_loops
async def test_total_before_the_head():
    async with pooled(silent, Timeouts(first_byte=None, total=0.05)) as (_, pool):
        with pytest.raises(UpstreamTimeout) as timeout:
            await pool.send("/", b"")
        assert timeout.value.phase == "total"


@both_loops
async def test_total_counts_the_try_on_a_stale_connection():
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number > 0:
            return await peer.gone()
        await peer.send(OK)
        await peer.request()
        return await asyncio.sleep(0.15)

    async with pooled(script) as (server, pool):
        assert await whole(await pool.send("/", b"")) == b"hello"
        started = time.perf_counter()
        with pytest.raises(UpstreamTimeout) as timeout:
            await pool.send("/", b"", timeouts=Timeouts(total=0.25))
        assert timeout.value.phase == "total"
        assert 0.2 < time.perf_counter() - started < 5
        assert len(server.peers) == 2


@both_loops
async def test_a_connection_takes_its_timer_along():
    async with pooled(repeating(OK)) as (_, pool):
        assert await whole(await pool.send("/", b"")) == b"hello"
        connection = pool._free[0]
        timer = connection._timer
        assert timer is not None
        pool.close()
        await eventually(timer.cancelled)


@both_loops
async def test_each_request_has_limits_of_its_own():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await silent(peer)

    async with pooled(script) as (_, pool):
        assert await whole(await pool.send("/", b"")) == b"hello"
        with pytest.raises(UpstreamTimeout):
            await pool.send("/", b"", timeouts=Timeouts(first_byte=0.05))
        assert pool.opened == 1


@both_loops
async def test_limits_count_anew_for_each_request():
    async with pooled(repeating(b"", OK, gap=0.03), Timeouts(first_byte=0.07, idle=0.07)) as (_, pool):
        for _ in range(6):
            assert await whole(await pool.send("/", b"")) == b"hello"
        assert pool.opened == 1


@both_loops
async def test_without_limits_there_is_no_timer():
    unlimited = Timeouts(first_byte=None, idle=None)
    async with pooled(then_wait(OPEN, b"world", gap=0.05), unlimited) as (_, pool):
        exchange = await pool.send("/", b"")
        connection = exchange._connection
        assert connection is not None
        assert connection._timer is None
        assert await whole(exchange) == b"helloworld"
