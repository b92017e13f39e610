"""Against a real vLLM 0.32: what it refuses, clamps or ignores, and what the client is told of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.real_vllm.conftest import ALIAS, MODEL
from tests.running import Attune, attune

pytestmark = pytest.mark.real_vllm

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HARD = {
    "temperature": 3,
    "top_k": 10,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "num_ctx": 4096,
    "mirostat": 2,
    "typical_p": 0.9,
    "repeat_last_n": 64,
    "stop": ["q1", "q2", "q3", "q4", "q5"],
    "max_tokens": 9000,
    "reasoning_effort": "none",
    "seed": 3,
}
"""Values that vLLM would refuse (temperature, five stops, max_tokens), ignore, or know by other names."""


@pytest.fixture
async def proxy(vllm: str) -> AsyncIterator[Attune]:
    rules = f"""
upstreams:
  - {{name: real, url: "{vllm}", api_key_env: REAL_KEY}}
"""
    async with attune(rules=rules, environ={"REAL_KEY": "the-upstreams-own-key"}) as running:
        yield running


async def test_it_is_recognised(proxy: Attune) -> None:
    await proxy.chat(MODEL, max_tokens=1)
    entry = (await proxy.client.get("/api/v1/upstreams")).json()["upstreams"][0]
    assert (entry["runtime"], entry["healthy"]) == ("vllm", True)
    assert entry["version"].startswith("0.32")
    models = (await proxy.client.get("/api/v1/models")).json()["models"]
    assert {m["name"]: m["context_length"] for m in models} == {MODEL: 2048, ALIAS: 2048}


async def test_what_it_would_refuse_is_held_and_what_it_would_ignore_is_dropped(proxy: Attune) -> None:
    reply = await proxy.chat(MODEL, headers={"x-tuning-explain": "1"}, ignore_eos=True, **HARD)
    assert reply.status_code == 200, reply.text
    ChatCompletion.model_validate(reply.json())
    tuning = reply.json()["tuning"]
    sent = {name: p["value"] for name, p in tuning["parameters"].items() if p["wire"]}
    assert sent["temperature"] == 2
    assert sent["stop"] == ["q1", "q2", "q3", "q4"]
    assert sent["max_tokens"] == 2048
    assert tuning["parameters"]["repeat_penalty"]["wire"] == "repetition_penalty"
    assert set(tuning["dropped"]) == {"num_ctx", "mirostat", "typical_p", "repeat_last_n"}
    changed = reply.headers["x-tuning-changed"]
    for words in ("temperature=2.0;clamped-from=3", "mirostat;dropped=unsupported-by-vllm-0.32"):
        assert words in changed


async def test_the_same_request_sent_straight_is_refused(vllm: str, proxy: Attune) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **HARD}
    headers = {"authorization": "Bearer the-upstreams-own-key"}
    reply = await proxy.client.post(f"{vllm}/v1/chat/completions", json=body, headers=headers)
    assert reply.status_code == 400


async def test_strict_says_what_would_change(proxy: Attune) -> None:
    reply = await proxy.chat(MODEL, temperature=3, headers={"x-tuning-strict": "1"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "temperature"


async def test_streams_with_usage_and_reasoning_under_both_names(proxy: Attune) -> None:
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="client-key") as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hi"}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
            seed=4,
        )
        chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump())
    deltas = [c.choices[0].delta.model_dump() for c in chunks if c.choices]
    thoughts = [d for d in deltas if d.get("reasoning")]
    assert thoughts and all(d["reasoning"] == d["reasoning_content"] for d in thoughts)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 12


async def test_thinking_is_switched_off_in_the_templates_words(proxy: Attune) -> None:
    reply = await proxy.chat(
        MODEL, chat_template_kwargs={"enable_thinking": False}, max_tokens=4, return_prompt_text=True
    )
    assert reply.json()["choices"][0]["message"].get("reasoning") is None
    assert "</think>" in reply.json()["prompt_text"]


async def test_a_tool_call_comes_back_whole(proxy: Attune) -> None:
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    for stream in (False, True):
        reply = await proxy.chat(
            MODEL, tools=[TOOL], think=False, stream=stream, max_tokens=120,
            structured_outputs={"choice": [call]},
        )  # fmt: skip
        assert reply.status_code == 200, reply.text
        assert "get_weather" in reply.text and "tool_calls" in reply.text


async def test_a_schema_is_followed(proxy: Attune) -> None:
    # An enumeration, because a random model fills an object with endless white space.
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"enum": ["yes", "no"]}}}
    reply = await proxy.chat(MODEL, response_format=shape, think=False, max_tokens=60, temperature=0)
    assert json.loads(reply.json()["choices"][0]["message"]["content"]) in ("yes", "no")


async def test_an_error_line_under_200_becomes_a_status(proxy: Attune) -> None:
    reply = await proxy.chat(MODEL, stream=True, stop_token_ids=[999999])
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("token_id(s) [999999]")


async def test_the_sdk_sees_its_own_error_types(proxy: Attune) -> None:
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(BadRequestError, match="vocab"):
            await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": "hi"}],
                logit_bias={"999999": 1},
                max_tokens=1,
            )


async def test_the_answer_names_the_model_that_was_asked_for(proxy: Attune) -> None:
    for stream in (False, True):
        reply = await proxy.chat(ALIAS, max_tokens=1, stream=stream)
        assert f'"model":"{ALIAS}"' in reply.text.replace('": "', '":"')


async def test_a_prompt_beyond_the_context_is_the_servers_own_400(proxy: Attune) -> None:
    reply = await proxy.chat(MODEL, messages=[{"role": "user", "content": "lamp " * 5000}])
    assert reply.status_code == 400
    assert "2048" in reply.json()["error"]["message"]
