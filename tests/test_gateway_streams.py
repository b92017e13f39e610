"""Streams: what passes, what a client sees when one breaks off, and that a good end is one."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise

import openai
import pytest

from tests.doubles.ollama_script import HUGE, Faults, Script
from tests.scenes import before, broken, events, proxied, quiet, said, streamed, upstream
from tests.upstream.server import Peer, eventually, then_wait
from tests.upstream.server import Script as ServerScript

WORDS = ["one ", "two ", "three ", "four"]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(text: str | None, reason: str | None = None) -> bytes:
    """An event of a server that speaks OpenAI's protocol."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "x", "object": "chat.completion.chunk", "model": "served", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def piece(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def then_hang_up(*segments: bytes) -> ServerScript:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*segments, gap=0.005)

    return script


# What passes


async def test_a_stream_says_what_a_whole_answer_says() -> None:
    async with proxied() as (proxy, ollama, _):
        whole, stream = said(await proxy.chat()), await proxy.chat(stream=True)
        assert streamed(stream) == whole
        assert "naïve" in whole
        headers = stream.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert headers["x-tuning-upstream"] == "a"
        assert [r.json["stream"] for r in ollama.chats] == [False, True]


async def test_words_pass_as_they_come() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.script = Script(text=WORDS, delay=0.05)
        body = {"model": "llama3:8b", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        seen: list[float] = []
        async with proxy.client.stream("POST", "/v1/chat/completions", json=body) as reply:
            async for line in reply.aiter_lines():
                if any(word in line for word in WORDS):
                    seen.append(time.monotonic())
        assert len(seen) == len(WORDS)
        gaps = [later - sooner for sooner, later in pairwise(seen)]
        assert min(gaps) > 0.02, "they came together"


async def test_a_line_of_ten_megabytes_passes() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.script, ollama.faults = Script(text=["a"]), Faults(huge_line=True)
        whole, stream = await proxy.chat(), await proxy.chat(stream=True)
        assert len(said(whole)) == len(streamed(stream)) == HUGE + 1


async def test_usage_and_the_decision_for_those_who_ask() -> None:
    async with proxied() as (proxy, _, _):
        options = {"stream_options": {"include_usage": True}, "temperature": 0.5}
        reply = await proxy.chat(stream=True, headers={"x-tuning-explain": "1"}, **options)
        first, *_, usage, done = events(reply)
        assert done == "[DONE]"
        assert first["tuning"]["parameters"]["temperature"]["value"] == 0.5
        assert first["tuning"]["request_id"] == reply.headers["x-request-id"]
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] > 0
        whole = (await proxy.chat(headers={"x-tuning-explain": "1"})).json()
        assert whole["tuning"]["upstream"] == "a"
        assert "tuning" not in (await proxy.chat()).json()


async def test_an_openai_server_s_stream_bears_the_name_that_was_asked_for() -> None:
    data = piece(chunk("Hel")) + piece(chunk("lo")) + piece(chunk(None, "stop")) + piece(DONE) + END
    async with before(then_hang_up(HEAD + data)) as proxy:
        reply = await proxy.chat("m", stream=True)
        assert streamed(reply) == "Hello"
        assert {e["model"] for e in events(reply)[:-1]} == {"m"}


# Broken off


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(error_line_after=2), None),
        (Faults(end_without_done=True), "attune_upstream_broken"),
        (Faults(reset_mid_stream=True, after=2), "attune_upstream_broken"),
        (Faults(half_line_then_close=True, after=2), "attune_upstream_broken"),
        (Faults(truncated_chunk=True, after=2), "attune_upstream_broken"),
        (Faults(garbage_line=True, after=2), "attune_upstream_broken"),
        (Faults(invalid_utf8=True, after=2), "attune_upstream_broken"),
        (Faults(hang_mid_stream=True, after=2), "attune_upstream_timeout"),
    ],
    ids=["error-line", "no-done", "reset", "half-line", "cut-chunk", "garbage", "no-utf8", "hang"],
)
async def test_a_stream_that_breaks_off(faults: Faults, code: str | None) -> None:
    async with proxied({"timeouts": {"idle": 0.1}}) as (proxy, ollama, _):
        ollama.script, ollama.faults = Script(text=WORDS), faults
        text, error = broken(await proxy.chat(stream=True))
        assert "".join(WORDS).startswith(text)
        assert text
        assert error["code"] == code
        if code is None:
            assert error["message"] == faults.error
        await eventually(lambda: quiet(proxy))
        # its own words say nothing of its health, the rest does
        assert upstream(proxy).breaker.failures == (0 if code is None else 1)
        ollama.faults = Faults()
        assert streamed(await proxy.chat(stream=True)) == "".join(WORDS)
        assert upstream(proxy).breaker.failures == 0


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (b'data: {"error":{"message":"out of memory","code":500}}\n\n' + DONE, "out of memory"),
        (b"data: not json\n\n", "not JSON"),
        (b"data: []\n\n", "not a JSON object"),
        (b"<html>\n\n", "not an event"),
        (b"", "before"),
    ],
    ids=["error-event", "no-json", "no-object", "no-event", "end"],
)
async def test_an_openai_server_s_stream_that_breaks_off(then: bytes, words: str) -> None:
    data = piece(chunk("Hel")) + (piece(then) if then else b"") + END
    async with before(then_hang_up(HEAD, data)) as proxy:
        text, error = broken(await proxy.chat("m", stream=True))
        assert text == "Hel"
        assert words in error["message"] or not then
        await eventually(lambda: quiet(proxy))


async def test_after_the_first_byte_nothing_is_tried_again() -> None:
    async with proxied({}, {"weight": 0}) as (proxy, first, second):
        first.script, first.faults = Script(text=WORDS), Faults(reset_mid_stream=True, after=2)
        text, error = broken(await proxy.chat(stream=True))
        assert text == "one two "
        assert error["code"] == "attune_upstream_broken"
        assert second.chats == []


async def test_streams_that_always_break_off_open_the_breaker() -> None:
    async with proxied({}, {"weight": 0}) as (proxy, first, second):
        first.script, first.faults = Script(text=WORDS), Faults(end_without_done=True)
        for _ in range(5):
            broken(await proxy.chat(stream=True))
        assert second.chats == []
        assert streamed(await proxy.chat(stream=True))
        assert len(second.chats) == 1


async def test_openai_s_own_client_sees_an_error() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.script, ollama.faults = Script(text=WORDS), Faults(error_line_after=2)
        async with openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1", api_key="none", max_retries=0, http_client=proxy.client
        ) as client:
            text = ""
            with pytest.raises(openai.APIError, match="model runner has unexpectedly stopped"):
                async for part in await client.chat.completions.create(
                    model="llama3:8b", stream=True, messages=[{"role": "user", "content": "hi"}]
                ):
                    text += part.choices[0].delta.content or ""
        assert text == "one two "


# The end


async def test_a_stream_that_is_done_is_not_held_up_by_an_upstream_that_does_not_end() -> None:
    data = piece(chunk("Hi", "stop")) + piece(DONE)
    async with before(then_wait(HEAD, data)) as proxy:
        started = time.monotonic()
        assert streamed(await proxy.chat("m", stream=True)) == "Hi"
        assert time.monotonic() - started < 1.5
        await eventually(lambda: quiet(proxy))
        assert upstream(proxy, "raw").breaker.failures == 0


@pytest.mark.parametrize(
    "after", [b"", piece(b"data: more\n\n"), piece(b'data: {"error": "late"}\n\n'), b"junk"]
)
async def test_what_comes_after_the_end_mark_changes_nothing(after: bytes) -> None:
    data = piece(chunk("Hi", "stop")) + piece(DONE)
    async with before(then_hang_up(HEAD + data, after)) as proxy:
        assert streamed(await proxy.chat("m", stream=True)) == "Hi"
        await eventually(lambda: quiet(proxy))


async def test_an_openai_server_that_forgets_the_end_mark() -> None:
    data = piece(chunk("Hi", "stop")) + END
    async with before(then_hang_up(HEAD, data)) as proxy:
        assert streamed(await proxy.chat("m", stream=True)) == "Hi"


async def test_an_end_in_a_packet_of_its_own_keeps_the_connection() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(HEAD, piece(chunk("Hi", "stop")) + piece(DONE), END, gap=0.02)

    async with before(script) as proxy:
        for _ in range(3):
            assert streamed(await proxy.chat("m", stream=True)) == "Hi"
        pool = upstream(proxy, "raw").pool
        assert (pool.opened, pool.idle) == (1, 1)


async def test_streams_at_the_same_time_share_nothing() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.script = Script(delay=0.002)

        async def one(number: int) -> bool:
            words = f"number {number} speaks"
            reply = await proxy.chat(stream=True, messages=[{"role": "user", "content": words}])
            return streamed(reply).startswith(f"Echo: {words} ")

        assert all(await asyncio.gather(*(one(n) for n in range(40))))
        await eventually(lambda: quiet(proxy))
        assert upstream(proxy).pool.opened <= 40
