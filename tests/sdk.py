"""OpenAI's own SDK before a proxy, and its types as a measure of what the proxy answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_models import Model
from tests.running import Attune, attune

HI: Any = [{"role": "user", "content": "hi"}]
PATIENCE = 5.0


@dataclass
class Talk:
    """A double, a proxy before it, and both of the SDK's clients."""

    ollama: OllamaDouble
    attune: Attune
    sdk: openai.AsyncOpenAI
    sync: openai.OpenAI


@asynccontextmanager
async def talk(*models: Model, rules: str = "", **settings: Any) -> AsyncIterator[Talk]:
    """All that a conversation needs; `models` are the double's beside its own. `rules` may say `URL`."""
    async with OllamaDouble() as ollama:
        ollama.models |= {model.name: model for model in models}
        urls = () if "URL" in rules else (ollama.url,)
        async with attune(urls, rules.replace("URL", ollama.url), **settings) as running:
            options: dict[str, Any] = {"base_url": f"{running.url}/v1", "api_key": "unused", "max_retries": 0}
            async with openai.AsyncOpenAI(**options, timeout=PATIENCE) as sdk:
                with openai.OpenAI(**options, timeout=PATIENCE) as sync:
                    yield Talk(ollama, running, sdk, sync)


KNOWN_CHUNK = {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
REASONING = {"reasoning", "reasoning_content"}


def check_completion(raw: bytes) -> ChatCompletion:
    """A whole answer, after the SDK's types have been held to it strictly."""
    answer = ChatCompletion.model_validate_json(raw, strict=True)
    fields = json.loads(raw)
    assert set(fields) == KNOWN_CHUNK
    assert answer.choices and answer.usage and answer.id.startswith("chatcmpl-")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    for choice in answer.choices:
        assert not set(choice.model_extra or {})
        assert set(choice.message.model_extra or {}) <= REASONING
    return answer


def check_chunks(raw: str, *, usage: bool = False) -> list[ChatCompletionChunk]:
    """A stream's chunks, after the SDK's types have been held to each one strictly."""
    *events, done, end = raw.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") for event in events)
    texts = [event.removeprefix("data: ") for event in events]
    chunks = [ChatCompletionChunk.model_validate_json(text, strict=True) for text in texts]
    for chunk, text in zip(chunks, texts, strict=True):
        assert set(json.loads(text)) == KNOWN_CHUNK - (set() if usage else {"usage"})
        for choice in chunk.choices:
            assert set(choice.delta.model_extra or {}) <= REASONING
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    last = [chunks.pop()] if usage else []
    assert [(c.choices, bool(c.usage)) for c in last] == ([([], True)] if usage else [])
    assert [chunk for chunk in chunks if len(chunk.choices) != 1] == []
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [bool(chunk.choices[0].finish_reason) for chunk in chunks].count(True) == 1
    assert chunks[-1].choices[0].finish_reason
    return [*chunks, *last]


def content(chunks: list[ChatCompletionChunk]) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def raw(talk: Talk, stream: bool, **body: Any) -> httpx.Response:
    """An answer that no SDK has touched."""
    reply = await talk.attune.chat(**body, stream=stream)
    assert reply.status_code == 200, reply.text
    return reply


async def until(holds: Callable[[], Any]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)
