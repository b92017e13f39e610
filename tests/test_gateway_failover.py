"""Several upstreams: a failure that another can make good is none, and who gets how much."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from proxy.upstream.breaker import State
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.running import Attune, attune
from tests.scenes import broken, error, events, proxied, quiet, rules, said, streamed, upstream
from tests.upstream.server import eventually
from tests.upstream.site import closed_port

SPARE = {"weight": 0}
"""Asked only when the first one fails or is full."""
BOTH = (False, True)


async def answered_by(proxy: Attune, name: str, **body: Any) -> None:
    for stream in BOTH:
        reply = await proxy.chat(stream=stream, **body)
        assert reply.status_code == 200, reply.text
        assert streamed(reply) if stream else said(reply)
        assert reply.headers["x-tuning-upstream"] == name


# Before the first byte


async def test_failures_before_the_first_byte_are_made_good() -> None:
    async with proxied({}, SPARE) as (proxy, first, second):
        for faults in (
            Faults(reset_after_accept=True),
            Faults(garbage=True),
            Faults(busy_503=True),
            Faults(status=502),
            Faults(status=504),
            Faults(garbage_line=True, after=0),
            Faults(half_line_then_close=True, after=0),
        ):
            first.faults = faults
            await answered_by(proxy, "b")
            upstream(proxy, "a").breaker.success(False)
        assert len(second.chats) == 14
        await eventually(lambda: quiet(proxy))
        first.faults = Faults()
        await answered_by(proxy, "a")


async def test_a_whole_answer_that_breaks_in_its_middle_is_asked_for_again() -> None:
    async with proxied({}, SPARE) as (proxy, first, _):
        for faults in (
            Faults(reset_mid_stream=True),
            Faults(truncated_chunk=True),
            Faults(garbage_line=True),
        ):
            first.faults = faults
            reply = await proxy.chat()
            assert reply.headers["x-tuning-upstream"] == "b"
            assert said(reply)


async def test_one_that_refuses_connections_is_passed_over() -> None:
    async with proxied({}, SPARE) as (proxy, first, _):
        await first.refuse()
        await answered_by(proxy, "b")
        await first.listen()


async def test_its_own_errors_are_not_asked_for_again() -> None:
    async with proxied({}, SPARE) as (proxy, first, second):
        for faults in (
            Faults(status=400),
            Faults(status=429),
            Faults(status=500),
            Faults(nested_error_400=True),
        ):
            first.faults = faults
            assert (await proxy.chat()).status_code >= 400
        assert second.chats == []


async def test_one_that_hangs_is_not_asked_again_but_times_out() -> None:
    """It may well be working: asking another would do the work twice."""
    async with proxied({"timeouts": {"first_byte": 0.1}}, SPARE) as (proxy, first, second):
        first.faults = Faults(hang_before_headers=True)
        assert (await proxy.chat()).status_code == 504
        assert second.chats == []


async def test_when_all_fail_the_last_word_counts() -> None:
    async with proxied({}, SPARE) as (proxy, first, second):
        first.faults, second.faults = Faults(busy_503=True), Faults(busy_503=True)
        reply = await proxy.chat()
        assert reply.status_code == 503
        assert error(reply)["message"].startswith("server busy")
        second.faults = Faults(garbage=True)
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (502, "attune_upstream_broken")
        await first.refuse()
        await second.refuse()
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (503, "attune_no_healthy_upstream")
        await first.listen()
        await second.listen()


async def test_each_is_asked_in_its_own_words() -> None:
    """What goes to the second is decided for the second: its name, its runtime, its models."""
    only_b = {"name": "only-b", "match": {"runtime": "ollama"}, "set": {"seed": 7}}
    dead = {"name": "dead", "url": f"http://127.0.0.1:{await closed_port()}", "runtime": "vllm"}
    async with OllamaDouble() as ollama:
        entries = ({**dead, "models": ["llama3:8b"]}, {"name": "b", "url": ollama.url, **SPARE})
        async with attune(rules=rules(*entries, rules=[only_b])) as proxy:
            await eventually(lambda: proxy.app.fleet.settled)
            reply = await proxy.chat(top_k=3)
            assert reply.status_code == 200, reply.text
            assert reply.headers["x-tuning-upstream"] == "b"
            assert ollama.chats[0].options["seed"] == 7
            assert ollama.chats[0].options["top_k"] == 3


async def test_one_that_dies_under_load_costs_no_client_an_error() -> None:
    async with proxied({}, {}) as (proxy, first, second):
        first.script = second.script = Script(text=["word "] * 4, delay=0.002)
        broken_off = 0

        async def client(number: int) -> None:
            nonlocal broken_off
            for turn in range(10):
                if number == 0 and turn == 4:
                    await first.refuse()
                if number % 2:
                    assert said(await proxy.chat()) == "word " * 4
                    continue
                reply = await proxy.chat(stream=True)
                if '"error"' not in reply.text:
                    assert streamed(reply) == "word " * 4
                else:
                    broken(reply)
                    assert len(events(reply)) > 1, "nothing had been sent: it could have been made good"
                    broken_off += 1

        await asyncio.gather(*(client(n) for n in range(8)))
        assert broken_off <= 4, "only what streamed in the moment of its death"
        assert 0 < len(first.chats) < len(second.chats)
        await eventually(lambda: quiet(proxy))
        await first.listen()


# The breaker


async def test_the_breaker_opens_after_five_failures_and_recovers() -> None:
    async with proxied() as (proxy, ollama, _):
        breaker = upstream(proxy).breaker
        ollama.faults = Faults(garbage=True)
        for _ in range(5):
            assert (await proxy.chat()).status_code == 502
        assert len(ollama.chats) == 5
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (503, "attune_no_healthy_upstream")
        assert "a failed too often" in error(reply)["message"]
        assert reply.headers["retry-after"]
        assert len(ollama.chats) == 5, "nothing is sent while it is open"
        breaker.cooldown = 0.0
        assert (await proxy.chat()).status_code == 502
        breaker.cooldown = 60.0
        assert (await proxy.chat()).status_code == 503
        breaker.cooldown, ollama.faults = 0.0, Faults()
        assert (await proxy.chat()).status_code == 200
        assert (upstream(proxy).state(), breaker.failures, breaker.trying) == (State.CLOSED, 0, 0)


async def test_half_open_lets_one_request_find_out() -> None:
    async with proxied() as (proxy, ollama, _):
        breaker = upstream(proxy).breaker
        breaker.failures, breaker.opened_at, breaker.cooldown = 5, 0.0, 0.0
        ollama.faults = Faults(first_byte_delay=0.1)
        replies = await asyncio.gather(*(proxy.chat(stream=n % 2 == 0) for n in range(6)))
        counts = Counter(reply.status_code for reply in replies)
        assert counts == {200: 1, 503: 5}
        assert upstream(proxy).state() is State.CLOSED
        assert (await proxy.chat()).status_code == 200


async def test_an_upstream_s_own_refusal_closes_a_half_open_breaker() -> None:
    async with proxied() as (proxy, ollama, _):
        breaker = upstream(proxy).breaker
        breaker.failures, breaker.opened_at, breaker.cooldown = 5, 0.0, 0.0
        ollama.faults = Faults(status=400)
        assert (await proxy.chat()).status_code == 400
        assert (upstream(proxy).state(), breaker.failures) == (State.CLOSED, 0)


async def test_while_one_is_open_the_other_serves() -> None:
    async with proxied({}, {}) as (proxy, first, second):
        breaker = upstream(proxy, "a").breaker
        breaker.failures, breaker.opened_at, breaker.cooldown = 5, 1e12, 60.0
        for _ in range(4):
            await answered_by(proxy, "b")
        assert first.chats == []
        assert len(second.chats) == 8


async def test_a_breaker_that_opens_while_requests_wait_sends_them_on() -> None:
    options = {"max_concurrency": 1, "timeouts": {"first_byte": 0.1}}
    async with proxied(options, {"weight": 0, "max_concurrency": 1}) as (proxy, first, second):
        breaker = upstream(proxy, "a").breaker
        breaker.threshold, breaker.cooldown = 1, 60.0
        second.script = Script(text=["x"], delay=0.15)
        first.faults = Faults(hang_before_headers=True)
        tasks = [asyncio.create_task(proxy.chat()) for _ in range(2)]
        await eventually(lambda: upstream(proxy, "a").full and upstream(proxy, "b").full)
        # both are full now: this one waits for the first
        waiting = asyncio.create_task(proxy.chat())
        await eventually(lambda: upstream(proxy, "a").queued + upstream(proxy, "b").queued == 1)
        counts = Counter([r.status_code for r in await asyncio.gather(*tasks, waiting)])
        assert counts == {504: 1, 200: 2}
        await eventually(lambda: quiet(proxy))


# Places


async def test_beyond_places_and_queue_it_is_too_many() -> None:
    async with proxied({"max_concurrency": 2, "max_queue": 3}) as (proxy, ollama, _):
        ollama.script = Script(text=["x"], delay=0.1)
        tasks = [asyncio.create_task(proxy.chat(stream=n % 2 == 0)) for n in range(5)]
        await eventually(lambda: upstream(proxy).queued == 3)
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (429, "attune_too_many_requests")
        assert error(reply)["type"] == "rate_limit_error"
        assert int(reply.headers["retry-after"]) >= 1
        assert ollama.active == 2
        assert {r.status_code for r in await asyncio.gather(*tasks)} == {200}
        await eventually(lambda: quiet(proxy))


async def test_who_waits_too_long_for_a_place() -> None:
    async with proxied({"max_concurrency": 1, "queue_timeout": 0.05}) as (proxy, ollama, _):
        ollama.faults = Faults(first_byte_delay=0.2)
        first = asyncio.create_task(proxy.chat())
        await eventually(lambda: ollama.active == 1)
        reply = await proxy.chat()
        assert reply.status_code == 429
        assert "within 0.05 s" in error(reply)["message"]
        assert (await first).status_code == 200


async def test_what_does_not_fit_goes_to_the_spare() -> None:
    full = {"max_concurrency": 1, "max_queue": 0}
    async with proxied(full, {**full, **SPARE}) as (proxy, first, second):
        first.script = second.script = Script(text=["x"], delay=0.2)
        tasks = [asyncio.create_task(proxy.chat())]
        await eventually(lambda: first.active == 1)
        tasks.append(asyncio.create_task(proxy.chat()))
        await eventually(lambda: second.active == 1)
        assert (await proxy.chat()).status_code == 429
        replies = await asyncio.gather(*tasks)
        assert [r.headers["x-tuning-upstream"] for r in replies] == ["a", "b"]


async def test_who_finds_one_queue_full_waits_in_the_other() -> None:
    full = {"max_concurrency": 1, "max_queue": 0}
    async with proxied(full, {**full, "max_queue": 9}) as (proxy, first, second):
        first.script = second.script = Script(text=["x"], delay=0.1)
        tasks = [asyncio.create_task(proxy.chat()) for _ in range(2)]
        await eventually(lambda: first.active == second.active == 1)
        tasks += [asyncio.create_task(proxy.chat()) for _ in range(4)]
        await eventually(lambda: upstream(proxy, "b").queued == 4)
        assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}
        assert len(first.chats) == 1


async def test_one_that_failed_over_to_a_full_one_is_told_to_come_again() -> None:
    async with proxied({"max_concurrency": 5}, {"max_concurrency": 1, "max_queue": 0, **SPARE}) as (
        proxy,
        first,
        second,
    ):
        first.faults, second.faults = Faults(garbage=True), Faults(first_byte_delay=0.2)
        held = asyncio.create_task(proxy.chat())
        await eventually(lambda: second.active == 1)
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (429, "attune_too_many_requests")
        assert (await held).status_code == 200


async def test_a_broken_stream_gives_its_place_back() -> None:
    async with proxied({"max_concurrency": 1, "max_queue": 0}) as (proxy, ollama, _):
        for faults in (
            Faults(reset_mid_stream=True),
            Faults(error_line_after=1),
            Faults(end_without_done=True),
        ):
            ollama.faults = faults
            assert '"error"' in (await proxy.chat(stream=True)).text
        ollama.faults = Faults()
        assert streamed(await proxy.chat(stream=True))


# Shares


async def test_load_is_shared_by_weight() -> None:
    async with proxied({"weight": 3}, {"weight": 1}) as (proxy, first, second):
        first.faults = second.faults = Faults(first_byte_delay=0.15)
        await asyncio.gather(*(proxy.chat() for _ in range(40)))
        assert (len(first.chats), len(second.chats)) == (30, 10)


async def test_equals_take_turns() -> None:
    async with proxied({}, {}) as (proxy, first, second):
        for _ in range(10):
            assert (await proxy.chat()).status_code == 200
        assert (len(first.chats), len(second.chats)) == (5, 5)
