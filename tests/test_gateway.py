"""What a client is told when an upstream fails before its answer has begun, and where requests go."""

from __future__ import annotations

import asyncio
import re

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.running import Attune, attune
from tests.scenes import before, error, events, proxied, quiet, rules, said, streamed, upstream
from tests.upstream.server import Peer, eventually, once, then_wait
from tests.upstream.server import Script as ServerScript
from tests.upstream.site import closed_port

BOTH = (False, True)
"""Without and with a stream."""
BRIEF = {"timeouts": {"connect": 1, "first_byte": 0.1, "idle": 0.1}}


def answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


def turns(*answers: bytes) -> ServerScript:
    """A script that gives one answer to each connection, one after the other, and hangs up."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(left.pop(0))

    return script


# Nobody there


async def test_an_upstream_that_refuses() -> None:
    url = f"http://127.0.0.1:{await closed_port()}"
    entry = {"name": "a", "url": url, "runtime": "ollama", "models": ["llama3:8b"]}
    async with attune(rules=rules(entry)) as proxy:
        for stream in BOTH:
            reply = await proxy.chat(stream=stream)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
            found = error(reply)
            assert found["code"] == "attune_no_healthy_upstream"
            assert "Connection refused" in found["message"]
        await eventually(lambda: quiet(proxy))


async def test_an_upstream_whose_runtime_nobody_knows_yet() -> None:
    url = f"http://127.0.0.1:{await closed_port()}"
    async with attune([url]) as proxy:
        for stream in BOTH:
            reply = await proxy.chat(stream=stream)
            assert (reply.status_code, error(reply)["code"]) == (503, "attune_no_healthy_upstream")


# Too slow


async def test_one_that_hangs_before_its_head() -> None:
    async with proxied(BRIEF) as (proxy, ollama, _):
        ollama.faults = Faults(hang_before_headers=True)
        for stream in BOTH:
            reply = await proxy.chat(stream=stream)
            assert reply.status_code == 504
            found = error(reply)
            assert (found["type"], found["code"]) == ("timeout_error", "attune_upstream_timeout")
            assert "first_byte took longer than 0.1 s" in found["message"]
        await eventually(lambda: quiet(proxy) and len(ollama.disconnects) == 2)


async def test_one_that_hangs_in_the_middle_of_a_whole_answer() -> None:
    async with proxied(BRIEF) as (proxy, ollama, _):
        ollama.faults = Faults(hang_mid_stream=True)
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (504, "attune_upstream_timeout")
        assert "idle took longer" in error(reply)["message"]
        await eventually(lambda: quiet(proxy))


async def test_one_that_sends_its_head_and_no_event() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: still here\n\n"
    async with before(then_wait(head), **BRIEF) as proxy:
        reply = await proxy.chat("m", stream=True)
        assert (reply.status_code, error(reply)["code"]) == (504, "attune_upstream_timeout")


async def test_the_total_limit() -> None:
    async with proxied({"timeouts": {"total": 0.15}}) as (proxy, ollama, _):
        ollama.script = Script(text=["word "] * 100, delay=0.02)
        whole, stream = await asyncio.gather(proxy.chat(), proxy.chat(stream=True))
        assert whole.status_code == 504
        for failure in (error(whole), events(stream)[-1]["error"]):
            assert failure["code"] == "attune_upstream_timeout"
            assert "total took longer than 0.15 s" in failure["message"]


async def test_a_profiles_own_limits() -> None:
    hasty = {"name": "hasty", "circuit_breaker": {"timeouts": {"first_byte": 0.05}}}
    async with proxied(sections={"profiles": [hasty]}) as (proxy, ollama, _):
        ollama.faults = Faults(first_byte_delay=0.15)
        for stream in BOTH:
            reply = await proxy.chat(stream=stream, headers={"x-tuning-profile": "hasty"})
            assert (reply.status_code, error(reply)["code"]) == (504, "attune_upstream_timeout")
        assert (await proxy.chat()).status_code == 200
        limits = upstream(proxy).pool.timeouts
        assert (limits.first_byte, limits.idle) == (300, 120)


# Broken answers


async def broken_answers(proxy: Attune, ollama: OllamaDouble, faults: Faults, *streams: bool) -> None:
    for stream in streams:
        ollama.faults = faults
        reply = await proxy.chat(stream=stream)
        assert (reply.status_code, error(reply)["code"]) == (502, "attune_upstream_broken"), faults
        await eventually(lambda: quiet(proxy))
        ollama.faults = Faults()
        assert (await proxy.chat(stream=stream)).status_code == 200


async def test_no_answer_at_all() -> None:
    async with proxied() as (proxy, ollama, _):
        for fault in ("reset_after_accept", "garbage"):
            for stream in BOTH:
                ollama.faults = Faults(**{fault: True})
                reply = await proxy.chat(stream=stream)
                assert (reply.status_code, error(reply)["code"]) == (502, "attune_upstream_broken")
        await eventually(lambda: quiet(proxy))


async def test_a_whole_answer_that_breaks() -> None:
    async with proxied() as (proxy, ollama, _):
        for fault in ("reset_mid_stream", "half_line_then_close", "truncated_chunk", "garbage_line"):
            await broken_answers(proxy, ollama, Faults(**{fault: True}), False)
        await broken_answers(proxy, ollama, Faults(invalid_utf8=True), False)
        await broken_answers(proxy, ollama, Faults(end_without_done=True), False)


async def test_nonsense_in_the_first_line_of_a_stream() -> None:
    async with proxied() as (proxy, ollama, _):
        for fault in ("half_line_then_close", "garbage_line", "invalid_utf8"):
            await broken_answers(proxy, ollama, Faults(after=0, **{fault: True}), True)


async def test_a_200_that_is_no_answer() -> None:
    bodies = [b"", b"<html>hello</html>", b"[]", b'"x"', b"{}", b"\xff", b'{"choices": 1}']
    async with before(turns(*[answer(b) for b in bodies for _ in BOTH])) as proxy:
        upstream(proxy, "raw").breaker.threshold = 100
        for body in bodies:
            for stream in BOTH:
                reply = await proxy.chat("m", stream=stream)
                assert (reply.status_code, error(reply)["code"]) == (502, "attune_upstream_broken"), body


# An upstream's own errors


async def test_an_error_under_200_in_the_first_line_is_a_status() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.faults = Faults(error_line_after=0)
        for stream in BOTH:
            reply = await proxy.chat(stream=stream)
            assert reply.status_code == 500
            told = {"message": ollama.faults.error, "type": "api_error", "param": None, "code": None}
            assert error(reply) == told


async def test_an_error_event_that_comes_first() -> None:
    body = b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}'
    event = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    async with before(turns(answer(body), answer(event))) as proxy:
        for stream in BOTH:
            reply = await proxy.chat("m", stream=stream)
            assert (reply.status_code, error(reply)["message"]) == (400, "too long")


async def test_the_nested_error_of_llama_server() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.faults = Faults(nested_error_400=True)
        for stream in BOTH:
            reply = await proxy.chat(stream=stream)
            assert reply.status_code == 400
            found = error(reply)
            assert re.match(r"request \(\d+ tokens\) exceeds the available context size", found["message"])
            assert not str(found["code"]).startswith("attune_")


async def test_an_upstreams_own_status_and_words() -> None:
    as_it_is = {status: status for status in (400, 401, 403, 404, 413, 418, 429, 500, 501, 502, 503, 504)}
    async with proxied() as (proxy, ollama, _):
        for status, told in {**as_it_is, 422: 400, 499: 502, 204: 502, 302: 502}.items():
            for stream in BOTH:
                ollama.faults = Faults(status=status, error="the upstream's words")
                reply = await proxy.chat(stream=stream)
                assert reply.status_code == told, status
                if status >= 400:
                    assert error(reply)["message"] == "the upstream's words"
        await eventually(lambda: quiet(proxy))
        assert upstream(proxy).breaker.failures == 0
        assert ollama.disconnects == []


async def test_a_busy_upstream_that_is_alone() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.faults = Faults(busy_503=True)
        reply = await proxy.chat()
        assert reply.status_code == 503
        assert error(reply)["message"].startswith("server busy, please try again.")


async def test_a_status_stands_whatever_becomes_of_its_words() -> None:
    body = b"x" * 2_000_000
    data = b"HTTP/1.1 500 -\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with before(turns(data, data[:1000])) as proxy:
        for _ in range(2):
            reply = await proxy.chat("m")
            assert reply.status_code == 500
            assert error(reply)["message"] == "the upstream answered with status 500 and an empty body"


async def test_a_redirect_is_not_followed_and_retry_after_is_passed_on() -> None:
    moved = b"HTTP/1.1 307 -\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"
    busy = b"HTTP/1.1 429 -\r\nretry-after: 17\r\nx-secret: 1\r\ncontent-length: 0\r\n\r\n"
    async with before(turns(moved, busy)) as proxy:
        reply = await proxy.chat("m")
        assert reply.status_code == 502
        assert "redirect" in error(reply)["message"]
        reply = await proxy.chat("m")
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "17")
        assert "x-secret" not in reply.headers


# Where requests go


async def test_a_model_that_nobody_serves() -> None:
    async with proxied() as (proxy, ollama, _):
        reply = await proxy.chat("lama3:8b")
        assert reply.status_code == 404
        found = error(reply)
        assert (found["code"], found["param"]) == ("attune_unknown_model", "model")
        assert "llama3:8b" in found["message"].replace('"lama3:8b"', "")
        assert ollama.chats == []


async def test_requests_go_where_their_model_is() -> None:
    async with proxied({"models": ["llama*"]}, {"models": ["qwen*"]}) as (proxy, first, second):
        assert (await proxy.chat("llama3:8b")).headers["x-tuning-upstream"] == "a"
        assert (await proxy.chat("qwen3:8b")).headers["x-tuning-upstream"] == "b"
        assert [r.json["model"] for r in first.chats] == ["llama3:8b"]
        assert [r.json["model"] for r in second.chats] == ["qwen3:8b"]


async def test_a_rule_sends_to_another_upstream_and_model() -> None:
    away = {"name": "away", "match": {"model": "gpt-*"}, "route": {"upstream": "b*", "model": "qwen3:8b"}}
    async with proxied({}, {}, sections={"rules": [away]}) as (proxy, first, second):
        for stream in BOTH:
            reply = await proxy.chat("gpt-4o", stream=stream)
            assert reply.status_code == 200
            assert reply.headers["x-tuning-upstream"] == "b"
            assert reply.headers["x-tuning-rules"] == "away"
            shown = events(reply)[0] if stream else reply.json()
            assert shown["model"] == "gpt-4o", "the answer bears the name that was asked for"
        assert first.chats == []
        assert [r.json["model"] for r in second.chats] == ["qwen3:8b"] * 2


async def test_a_rule_sends_to_a_model_that_nobody_has() -> None:
    away = {"name": "away", "route": {"model": "nobody-has-this"}}
    async with proxied(sections={"rules": [away]}) as (proxy, _, _):
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (404, "attune_unknown_model")


async def test_a_rule_refuses() -> None:
    no = {"name": "no", "match": {"model": "qwen*"}, "reject": {"status": 451, "message": "not here"}}
    async with proxied(sections={"rules": [no]}) as (proxy, ollama, _):
        reply = await proxy.chat("qwen3:8b")
        assert (reply.status_code, error(reply)["message"]) == (451, "not here")
        assert error(reply)["code"] == "attune_rejected_by_rule"
        assert ollama.chats == []
        assert (await proxy.chat()).status_code == 200


async def test_a_profile_behind_the_model() -> None:
    terse = {"name": "terse", "parameters": {"max_tokens": 7}}
    async with proxied(sections={"profiles": [terse]}) as (proxy, ollama, _):
        reply = await proxy.chat("llama3:8b@terse")
        assert reply.headers["x-tuning-profile"] == "terse"
        assert reply.json()["model"] == "llama3:8b@terse"
        assert ollama.chats[0].json["model"] == "llama3:8b"
        assert ollama.chats[0].options["num_predict"] == 7
        reply = await proxy.chat("llama3:8b@ters")
        assert (reply.status_code, error(reply)["code"]) == (400, "attune_unknown_profile")
        assert "terse" in error(reply)["message"]


async def test_the_model_of_the_profile_that_applies() -> None:
    chatty = {"name": "chatty", "model": "qwen3:8b"}
    async with proxied(sections={"profiles": [chatty]}) as (proxy, ollama, _):
        for model in ("auto", None, ""):
            reply = await proxy.chat(model, headers={"x-tuning-profile": "chatty"})  # type: ignore[arg-type]
            assert reply.status_code == 200, reply.text
            assert ollama.chats[-1].json["model"] == "qwen3:8b"
            reply = await proxy.chat(model)  # type: ignore[arg-type]
            assert (reply.status_code, error(reply)["param"]) == (400, "model")


async def test_a_glob_that_names_a_model_on_a_server_that_lists_none() -> None:
    body = b'{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
    async with before(once(answer(body))) as proxy:
        assert said(await proxy.chat("m")) == "hi"
        assert (await proxy.chat("other")).status_code == 404


# Request ids


async def test_the_clients_request_id_comes_back() -> None:
    async with proxied() as (proxy, ollama, _):
        for stream in BOTH:
            reply = await proxy.chat(stream=stream, headers={"x-request-id": "mine-1.2_3"})
            assert reply.headers["x-request-id"] == "mine-1.2_3"
            shown = events(reply)[0] if stream else reply.json()
            assert shown["id"] == "chatcmpl-mine-1.2_3"
            reply = await proxy.chat("nobody-has-this", stream=stream, headers={"x-request-id": "mine-2"})
            assert (reply.status_code, reply.headers["x-request-id"]) == (404, "mine-2")
        assert not any(r.header("x-request-id") for r in ollama.chats)


async def test_a_forged_one_is_replaced() -> None:
    async with proxied() as (proxy, _, _):
        for forged in ("a b", "x" * 65, '"quoted"', "a;b=c", "{}"):
            reply = await proxy.chat(headers={"x-request-id": forged})
            made = reply.headers["x-request-id"]
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", made)
            assert made != forged


# Connections


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with proxied() as (proxy, ollama, _):
        for _ in range(3):
            assert (await proxy.chat()).status_code == 200
            assert streamed(await proxy.chat(stream=True))
            assert (await proxy.chat(stream=True, tools="wrong")).status_code == 400
            ollama.faults = Faults(status=400, times=1)
            assert (await proxy.chat()).status_code == 400
        pool = upstream(proxy).pool
        assert (pool.opened, pool.idle, pool.active) == (1, 1, 0)
