"""A client that leaves ends the work done for it at once, wherever that work is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.api.departure import Departure
from tests.api.clients import asking, caller, nothing_left, request, within
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.running import Attune, attune
from tests.upstream.server import AT_ONCE, Peer, both_loops, eventually, serving

LEAVING = pytest.mark.parametrize("how", ["leave", "vanish"])


@asynccontextmanager
async def proxied(rules: str = "", **settings: Any) -> AsyncIterator[tuple[Attune, OllamaDouble]]:
    async with OllamaDouble() as ollama:
        text = rules.replace("URL", ollama.url)
        async with attune([] if text else [ollama.url], text, **settings) as proxy:
            await eventually(lambda: proxy.app.fleet.settled)
            yield proxy, ollama


async def leaves(proxy: Attune, ollama: OllamaDouble, how: str, body: Any, seen: bytes = b"") -> None:
    """A client that leaves once the upstream works for it and it has seen so much."""
    async with caller(proxy) as client:
        before = len(ollama.disconnects)
        await client.send(request(body))
        await eventually(lambda: ollama.active == 1)
        if seen:
            await client.until(seen)
        left = client.leave() if how == "leave" else client.vanish()
        await within(lambda: len(ollama.disconnects) > before, left)
        assert ollama.disconnects[-1] - left < AT_ONCE
    await eventually(lambda: ollama.active == 0 and nothing_left(proxy))


# On a real server


@LEAVING
@pytest.mark.parametrize("stream", [True, False])
async def test_before_the_upstream_has_said_anything(how: str, stream: bool) -> None:
    async with proxied() as (proxy, ollama):
        ollama.faults = Faults(first_byte_delay=10)
        await leaves(proxy, ollama, how, asking(stream=stream))
        assert [u.breaker.failures for u in proxy.app.fleet.upstreams.values()] == [0]


@LEAVING
async def test_in_the_middle_of_a_stream(how: str) -> None:
    async with proxied() as (proxy, ollama):
        ollama.script = Script(text=["word "] * 1000, delay=0.01)
        await leaves(proxy, ollama, how, asking(stream=True), seen=b"word ")


@LEAVING
async def test_in_the_middle_of_an_answer_without_a_stream(how: str) -> None:
    async with proxied() as (proxy, ollama):
        ollama.faults = Faults(hang_mid_stream=True)
        await leaves(proxy, ollama, how, asking())


async def test_while_the_stream_hangs() -> None:
    async with proxied() as (proxy, ollama):
        ollama.script = Script(text=["one ", "two ", "three"])
        ollama.faults = Faults(hang_mid_stream=True)
        await leaves(proxy, ollama, "leave", asking(stream=True), seen=b"one ")


@both_loops
async def test_on_both_event_loops() -> None:
    async with proxied() as (proxy, ollama):
        ollama.script = Script(text=["word "] * 1000, delay=0.01)
        for seen in (b"", b"word ", b"word "):
            await leaves(proxy, ollama, "leave", asking(stream=True), seen)


async def test_before_the_first_token_though_the_head_is_there() -> None:
    """vLLM sends its head at once and its first event only when the prompt has been read."""
    gone: list[float] = []

    async def script(peer: Peer) -> None:
        while (await peer.request()).startswith(b"GET"):
            await peer.send(b"HTTP/1.1 404 -\r\ncontent-length: 0\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await peer.gone()
        gone.append(time.monotonic())

    async with serving(script) as server:
        rules = f"upstreams: [{{name: v, url: 'http://127.0.0.1:{server.port}', runtime: vllm, models: [m]}}]"
        async with attune(rules=rules) as proxy, caller(proxy) as client:
            await client.send(request(asking("m", stream=True)))
            await eventually(lambda: any(body for _, body in server.requests))
            await asyncio.sleep(0.02)
            left = client.leave()
            await within(lambda: len(gone) == 1, left)
            await eventually(lambda: nothing_left(proxy))


async def test_while_it_waits_for_a_place() -> None:
    rules = "upstreams: [{name: gpu, url: 'URL', max_concurrency: 1}]"
    async with proxied(rules) as (proxy, ollama):
        ollama.faults = Faults(first_byte_delay=10)
        upstream = proxy.app.fleet.upstreams["gpu"]
        async with caller(proxy) as first, caller(proxy) as second:
            await first.send(request(asking()))
            await eventually(lambda: ollama.active == 1)
            await second.send(request(asking()))
            await eventually(lambda: upstream.queued == 1)
            left = second.leave()
            await within(lambda: upstream.queued == 0, left)
            assert (len(ollama.chats), upstream.active, ollama.disconnects) == (1, 1, [])
            left = first.leave()
            await within(lambda: len(ollama.disconnects) == 1, left)
        await eventually(lambda: nothing_left(proxy))


async def test_its_place_goes_to_the_next_one() -> None:
    rules = "upstreams: [{name: gpu, url: 'URL', max_concurrency: 1}]"
    async with proxied(rules) as (proxy, ollama):
        ollama.faults = Faults(first_byte_delay=10, times=1)
        async with caller(proxy) as first:
            await first.send(request(asking()))
            await eventually(lambda: ollama.active == 1)
            second = asyncio.create_task(proxy.chat())
            await eventually(lambda: proxy.app.fleet.upstreams["gpu"].queued == 1)
            first.leave()
            reply = await asyncio.wait_for(second, 2)
        assert reply.status_code == 200
        await eventually(lambda: nothing_left(proxy))


async def test_before_its_body_was_complete() -> None:
    async with proxied() as (proxy, ollama):
        async with caller(proxy) as client:
            await client.send(request(asking(), length=10_000))
            await eventually(lambda: proxy.app.v1.running == 1)
            left = client.leave()
            await within(lambda: proxy.app.v1.running == 0, left)
        assert ollama.chats == []
        await eventually(lambda: nothing_left(proxy))


async def test_right_after_the_whole_answer_harms_nothing() -> None:
    async with proxied() as (proxy, ollama):
        for _ in range(20):
            async with caller(proxy) as client:
                await client.send(request(asking(stream=True)))
                await client.until(b"data: [DONE]\n\n")
                client.vanish()
        await eventually(lambda: nothing_left(proxy))
        assert ollama.disconnects == []
        assert (await proxy.chat()).status_code == 200


async def test_many_that_leave_at_any_moment_leave_nothing() -> None:
    async with proxied() as (proxy, ollama):
        ollama.script = Script(text=["word "] * 40, delay=0.002)

        async def one(number: int) -> None:
            async with caller(proxy) as client:
                await client.send(request(asking(stream=number % 2 == 0)))
                await asyncio.sleep(0.0015 * number)
                client.vanish() if number % 3 else client.leave()

        await asyncio.gather(*(one(n) for n in range(60)))
        await eventually(lambda: nothing_left(proxy) and ollama.active == 0, 3)
        assert (await proxy.chat(stream=True)).text.endswith("data: [DONE]\n\n")


async def test_while_it_does_not_read_what_is_sent() -> None:
    async with proxied() as (proxy, ollama):
        ollama.script = Script(text=["x" * 100_000] * 1000)
        async with caller(proxy) as client:
            await client.send(request(asking(stream=True)))
            await client.until(b"xxx")
            upstream = proxy.app.fleet.upstreams.copy().popitem()[1]
            await eventually(lambda: held_back(ollama, upstream.pool.active), 3)
            assert ollama.active == 1, "a client that reads nothing holds the upstream back"
            left = client.vanish()
            await within(lambda: len(ollama.disconnects) == 1, left)
        await eventually(lambda: nothing_left(proxy))


def held_back(ollama: OllamaDouble, active: int) -> bool:
    """Whether the upstream has more to say than it gets rid of."""
    writers = [connection.writer.transport for connection in ollama._alive()]
    return active == 1 and any(writer.get_write_buffer_size() > 0 for writer in writers)


async def test_two_answers_on_one_connection_are_two_departures() -> None:
    async with proxied() as (proxy, ollama), caller(proxy) as client:
        await client.send(request(asking(stream=True)))
        await client.until(b"data: [DONE]\n\n")
        await client.until(b"0\r\n\r\n")
        ollama.faults = Faults(first_byte_delay=10)
        await client.send(request(asking(stream=True)))
        await eventually(lambda: ollama.active == 1)
        left = client.leave()
        await within(lambda: len(ollama.disconnects) == 1, left)
        await eventually(lambda: nothing_left(proxy))


# With any server's `receive()`

Message = dict[str, Any]
GONE: Message = {"type": "http.disconnect"}
MORE: Message = {"type": "http.request", "body": b"", "more_body": False}
Receive = Callable[[], Awaitable[Message]]


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def __await__(self) -> Generator[Any, None, Message]:
        yield from self._event.wait().__await__()
        return GONE


def plain(event: asyncio.Event) -> Receive:
    async def receive() -> Message:
        await event.wait()
        return GONE

    return receive


def yielding(event: asyncio.Event) -> Receive:
    """Waits on no future at first."""

    async def receive() -> Message:
        for _ in range(3):
            await asyncio.sleep(0)
        await event.wait()
        return GONE

    return receive


def stepwise(event: asyncio.Event) -> Receive:
    """Waits on one future after the other."""

    async def receive() -> Message:
        await asyncio.sleep(0.001)
        await event.wait()
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return GONE

    return receive


def repeated(event: asyncio.Event) -> Receive:
    """Has other messages before."""
    left = [MORE, MORE]

    async def receive() -> Message:
        if left:
            await asyncio.sleep(0)
            return left.pop()
        await event.wait()
        return GONE

    return receive


def awaitable(event: asyncio.Event) -> Receive:
    return lambda: Later(event)


def future(event: asyncio.Event) -> Receive:
    return lambda: asyncio.ensure_future(plain(event)())


SERVERS = pytest.mark.parametrize(
    "server", [plain, yielding, stepwise, repeated, awaitable, future], ids=lambda s: s.__name__
)
Server = Callable[[asyncio.Event], Receive]


async def work(receive: Receive, ready: asyncio.Event) -> bool:
    """What a request's task does; returns whether it was ended because the client left."""
    departure = Departure(receive)
    ready.set()
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        if not departure.gone:
            raise
        return True
    finally:
        departure.stop()
    return False


@SERVERS
async def test_leaving_ends_the_work(server: Server) -> None:
    gone, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(work(server(gone), ready))
    await ready.wait()
    await asyncio.sleep(0.01)
    assert not task.done()
    gone.set()
    assert await asyncio.wait_for(task, 1) is True
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@SERVERS
async def test_after_the_end_of_the_work_nobody_waits_any_more(server: Server) -> None:
    gone = asyncio.Event()
    departure = Departure(server(gone))
    await asyncio.sleep(0.01)
    departure.stop()
    departure.stop()
    await asyncio.sleep(0)
    if server is not future:
        assert not gone._waiters  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}
    gone.set()
    await asyncio.sleep(0.005)
    assert not departure.gone


@SERVERS
async def test_stopped_before_the_loop_has_turned(server: Server) -> None:
    departure = Departure(server(asyncio.Event()))
    departure.stop()
    await asyncio.sleep(0.005)
    assert not departure.gone


@SERVERS
async def test_a_cancellation_of_another_kind_stays_one(server: Server) -> None:
    ready = asyncio.Event()
    task = asyncio.create_task(work(server(asyncio.Event()), ready))
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_had_left_before() -> None:
    async def receive() -> Message:
        return GONE

    assert await asyncio.wait_for(work(receive, asyncio.Event()), 1) is True


async def test_leaving_in_the_moment_in_which_the_work_ends() -> None:
    gone = asyncio.Event()
    departure = Departure(plain(gone))
    gone.set()
    departure.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not departure.gone
