"""OpenAI's own SDK, sync and async, finds all that it looks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk

from tests.doubles.ollama_models import Model
from tests.doubles.ollama_script import Faults, Script
from tests.running import attune
from tests.sdk import HI, Talk, check_chunks, check_completion, content, raw, talk, until

LLAMA, QWEN = "llama3:8b", "qwen3:8b"
AWKWARD = ["hf.co/bartowski/llama-3.2-1b-gguf:q4_k_m", "mirror.example/a/b:c"]


@pytest_asyncio.fixture
async def one() -> AsyncIterator[Talk]:
    async with talk(*(Model(name) for name in AWKWARD)) as found:
        yield found


async def test_a_whole_answer(one: Talk) -> None:
    one.ollama.script = Script(text=["Hel", "lo “you” <b>\n"], prompt_tokens=11)
    answer = await one.sdk.chat.completions.create(model=LLAMA, messages=HI)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello “you” <b>\n")
    assert (choice.finish_reason, choice.index, choice.message.tool_calls) == ("stop", 0, None)
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 2)
    assert answer.model == LLAMA and answer.object == "chat.completion"
    assert abs(answer.created - time.time()) < 60


def sync_answers(client: openai.OpenAI) -> tuple[str | None, str]:
    whole = client.chat.completions.create(model=LLAMA, messages=HI)
    with client.chat.completions.create(model=LLAMA, messages=HI, stream=True) as stream:
        return whole.choices[0].message.content, "".join(c.choices[0].delta.content or "" for c in stream)


async def test_the_sync_client_hears_the_same(one: Talk) -> None:
    one.ollama.script = Script(text=["a ", "b ", "c"])
    assert await asyncio.to_thread(sync_answers, one.sync) == ("a b c", "a b c")


async def test_a_stream(one: Talk) -> None:
    one.ollama.script = Script(text=["Hel", "lo"], prompt_tokens=7)
    options: Any = {"include_usage": True}
    stream = await one.sdk.chat.completions.create(
        model=LLAMA, messages=HI, stream=True, stream_options=options
    )
    chunks = [chunk async for chunk in stream]
    assert content(chunks) == "Hello"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.total_tokens == 9


@pytest.mark.parametrize("model", [LLAMA, QWEN, "gpt-oss:20b", "gemma3:4b", "mlx-model"])
@pytest.mark.parametrize("usage", [False, True])
async def test_every_chunk_is_what_the_types_say(one: Talk, model: str, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = check_chunks((await raw(one, True, model=model, **options)).text, usage=usage)
    whole = check_completion((await raw(one, False, model=model)).content)
    assert content(chunks) == whole.choices[0].message.content
    assert chunks[0].model == whole.model == model


async def test_thinking_comes_under_both_names(one: Talk) -> None:
    one.ollama.script = Script(thinking=["Hm, ", "yes"], text=["Yes."])
    whole = await one.sdk.chat.completions.create(model=QWEN, messages=HI)
    assert (whole.choices[0].message.model_extra or {})["reasoning_content"] == "Hm, yes"
    stream = await one.sdk.chat.completions.create(model=QWEN, messages=HI, stream=True)
    deltas = [chunk.choices[0].delta.model_extra or {} async for chunk in stream]
    for key in ("reasoning", "reasoning_content"):
        assert "".join(delta.get(key) or "" for delta in deltas) == "Hm, yes"


async def test_reasoning_effort_is_heard(one: Talk) -> None:
    sent = []
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh"):
        await one.sdk.chat.completions.create(model="deepseek-r1:8b", messages=HI, reasoning_effort=effort)  # type: ignore[arg-type]
        sent.append(one.ollama.chats[-1].json["think"])
    assert sent == [False, "low", "low", "medium", "high", "max"]


async def test_logprobs(one: Talk) -> None:
    one.ollama.script = Script(text=["a", "é"])
    asked: Any = {"model": LLAMA, "messages": HI, "logprobs": True, "top_logprobs": 2}
    whole = await one.sdk.chat.completions.create(**asked)
    logprobs = whole.choices[0].logprobs
    assert logprobs and logprobs.content and [t.token for t in logprobs.content] == ["a", "é"]
    assert logprobs.content[1].bytes == [*"é".encode()] and len(logprobs.content[1].top_logprobs) == 2
    chunks = check_chunks((await raw(one, True, **asked)).text)
    found = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
    assert [t.token for tokens in found for t in tokens or ()] == ["a", "é"]
    assert check_completion((await raw(one, False, **asked)).content).choices[0].logprobs == logprobs


async def test_what_the_sdk_does_not_know_goes_in_the_extra_body(one: Talk) -> None:
    extra = {"top_k": 3, "min_p": 0.05, "num_ctx": 4096, "options": {"repeat_last_n": 32}, "keep_alive": "7m"}
    more = {"generation_params": {"repetition_penalty": 1.3}, "think": False}
    await one.sdk.chat.completions.create(model=QWEN, messages=HI, extra_body=extra | more)
    sent = one.ollama.chats[-1].json
    named = {"top_k": 3, "min_p": 0.05, "num_ctx": 4096, "repeat_last_n": 32, "repeat_penalty": 1.3}
    assert {name: sent["options"][name] for name in named} == named
    assert (sent["keep_alive"], sent["think"]) == ("7m", False)


async def test_the_tuning_headers_are_within_reach(one: Talk) -> None:
    headers = {"X-Tuning-Profile": "precise", "X-Tuning-Task": "engineering", "X-Tuning-Explain": "1"}
    asked: Any = {"model": LLAMA, "messages": HI, "temperature": 1.9, "extra_headers": headers}
    answer = await one.sdk.chat.completions.with_raw_response.create(**asked)
    assert answer.headers["x-tuning-profile"] == "precise"
    assert answer.headers["x-tuning-changed"] == "temperature=1.0;clamped-from=1.9"
    tuning = (answer.parse().model_extra or {})["tuning"]
    assert (tuning["task"], tuning["profile"]) == ("engineering", "precise")
    assert answer.parse()._request_id == answer.headers["x-request-id"] == tuning["request_id"]
    async with one.sdk.chat.completions.with_streaming_response.create(**asked, stream=True) as reply:
        assert reply.headers["x-tuning-profile"] == "precise"
        lines = [line async for line in reply.iter_lines() if line]
    assert '"tuning":' in lines[0] and lines[-1] == "data: [DONE]"


async def test_models(one: Talk) -> None:
    listed = {model.id: model async for model in one.sdk.models.list()}
    assert {LLAMA, QWEN, *AWKWARD} <= set(listed)
    for name in (LLAMA, *AWKWARD):
        found = await one.sdk.models.retrieve(name)
        assert (found.id, found.object) == (name, "model") and found.owned_by
        answer = await one.sdk.chat.completions.create(model=name, messages=HI)
        assert answer.model == name
    with pytest.raises(openai.NotFoundError) as caught:
        await one.sdk.models.retrieve("nobody/here:1b")
    assert (caught.value.code, caught.value.param) == ("attune_unknown_model", "model")


async def test_our_errors_arrive_as_the_types_that_the_sdk_has_for_them(one: Talk) -> None:
    create = one.sdk.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await create(model="llama3:9b", messages=HI)
    assert (unknown.value.code, unknown.value.param) == ("attune_unknown_model", "model")
    assert "llama3:8b" in unknown.value.message and unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        await create(model=LLAMA, messages=HI, extra_body={"temperature": "0.5"})
    assert (wrong.value.code, wrong.value.param) == ("attune_bad_parameter", "temperature")
    assert wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as strict:
        await create(
            model=LLAMA, messages=HI, temperature=1.5, extra_headers={"X-Tuning-Strict": "1"}, stream=True
        )
    assert (strict.value.code, strict.value.param) == ("attune_strict", "temperature")
    with pytest.raises(openai.BadRequestError) as profile:
        await create(model=LLAMA, messages=HI, extra_headers={"X-Tuning-Profile": "precice"})
    assert profile.value.code == "attune_unknown_profile" and "'precise'" in profile.value.message


@pytest.mark.parametrize("stream", [False, True])
async def test_ollamas_errors_keep_status_and_words(one: Talk, stream: bool) -> None:
    create, asked = one.sdk.chat.completions.create, {"model": "plain", "messages": HI, "stream": stream}
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(openai.BadRequestError, match="does not support tools") as refused:
        await create(**asked, tools=tools)  # type: ignore[call-overload]
    assert refused.value.code is None and refused.value.type == "invalid_request_error"
    one.ollama.faults = Faults(nested_error_400=True)
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size") as long:
        await create(**asked)  # type: ignore[call-overload]
    assert long.value.type == "exceed_context_size_error"
    for status, kind in ((401, openai.AuthenticationError), (429, openai.RateLimitError)):
        one.ollama.faults = Faults(status=status, error="not now")
        with pytest.raises(kind, match="not now"):
            await create(**asked)  # type: ignore[call-overload]
    one.ollama.faults = Faults(status=500, error="broken")
    with pytest.raises(openai.InternalServerError, match="broken"):
        await create(**asked)  # type: ignore[call-overload]


async def test_keys_rules_and_queues_refuse_in_types_too() -> None:
    rules = """
upstreams: [{name: small, url: "URL", max_concurrency: 1, max_queue: 0}]
rules: [{name: not-him, match: {model: "qwen*"}, reject: {status: 403, message: "Not that one."}}]
"""
    async with talk(rules=rules, admin_key="a-long-secret") as one:
        with pytest.raises(openai.AuthenticationError) as key:
            await one.sdk.chat.completions.create(model=LLAMA, messages=HI)
        assert key.value.code == "attune_invalid_api_key"
        sdk = one.sdk.with_options(api_key="a-long-secret")
        with pytest.raises(openai.PermissionDeniedError, match="Not that one") as rule:
            await sdk.chat.completions.create(model=QWEN, messages=HI)
        assert rule.value.code == "attune_rejected_by_rule"
        one.ollama.script = Script(text=["x"] * 200, delay=0.02)
        stream = await sdk.chat.completions.create(model=LLAMA, messages=HI, stream=True)
        with pytest.raises(openai.RateLimitError) as full:
            await sdk.chat.completions.create(model=LLAMA, messages=HI)
        assert full.value.code == "attune_too_many_requests"
        assert int(full.value.response.headers["retry-after"]) >= 1
        await stream.close()


async def test_an_error_in_mid_stream_is_raised(one: Talk) -> None:
    one.ollama.script, one.ollama.faults = Script(text=["a", "b", "c"]), Faults(error_line_after=2)
    stream = await one.sdk.chat.completions.create(model=LLAMA, messages=HI, stream=True)
    got: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError, match="unexpectedly stopped"):
        async for chunk in stream:
            got.append(chunk)
    assert content(got) == "ab"
    assert not [chunk for chunk in got if chunk.choices[0].finish_reason]


async def test_a_stream_that_is_closed_early_closes_the_upstream(one: Talk) -> None:
    one.ollama.script = Script(text=["x"] * 500, delay=0.01)
    stream = await one.sdk.chat.completions.create(model=LLAMA, messages=HI, stream=True)
    async for _ in stream:
        break
    assert one.ollama.active == 1
    await stream.close()
    await until(lambda: one.ollama.disconnects and not one.ollama.active)
    await until(lambda: not one.attune.app.v1.running)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("delay", ["before headers", "before the first token"])
async def test_a_client_that_gives_up_closes_the_upstream(one: Talk, stream: bool, delay: str) -> None:
    hang = delay == "before headers"
    one.ollama.faults = Faults(hang_before_headers=hang, first_byte_delay=0.0 if hang else 30.0)
    began = time.monotonic()
    with pytest.raises(openai.APITimeoutError):
        await one.sdk.chat.completions.create(model=LLAMA, messages=HI, stream=stream, timeout=0.2)  # type: ignore[call-overload]
    await until(lambda: one.ollama.disconnects)
    assert one.ollama.disconnects[0] - began < 1.0
    await until(lambda: not one.attune.app.v1.running)


async def test_a_cancelled_call_closes_the_upstream(one: Talk) -> None:
    one.ollama.script = Script(text=["x"] * 500, delay=0.01)
    call = asyncio.create_task(one.sdk.chat.completions.create(model=LLAMA, messages=HI))
    await until(lambda: one.ollama.active)
    call.cancel()
    await until(lambda: one.ollama.disconnects and not one.ollama.active)
    assert (await asyncio.gather(call, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_the_demo_speaks_with_it_too() -> None:
    async with (
        attune(demo=True) as demo,
        openai.AsyncOpenAI(base_url=f"{demo.url}/v1", api_key="x", max_retries=0, timeout=10) as sdk,
    ):
        models = [model.id async for model in sdk.models.list()]
        asked: Any = {"model": models[0], "messages": HI, "max_tokens": 12, "seed": 5, "temperature": 0.9}
        first, second = [await sdk.chat.completions.create(**asked) for _ in range(2)]
        assert first.choices[0].message.content == second.choices[0].message.content != ""
        assert (
            first.choices[0].finish_reason == "length" and first.usage and first.usage.completion_tokens == 12
        )
        stream = await sdk.chat.completions.create(**asked, stream=True)
        assert content([chunk async for chunk in stream]) == first.choices[0].message.content
        reply = await demo.chat(**asked, stream=True, logprobs=True, top_logprobs=3)
        assert all(c.choices[0].logprobs for c in check_chunks(reply.text) if c.choices[0].delta.content)
        check_completion((await demo.chat(**asked)).content)
