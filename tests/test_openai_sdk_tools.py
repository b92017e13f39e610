"""Tools, structured answers and images through OpenAI's own SDK, and what Ollama then gets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessage
from pydantic import BaseModel

from tests.doubles.ollama_models import Model
from tests.doubles.ollama_script import Faults, Script
from tests.sdk import HI, Talk, check_chunks, check_completion, content, raw, talk

VISION = Model("qwen3-vl:8b", ("completion", "tools", "vision", "thinking"), 32768)
LLAMA = "llama3:8b"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()


def tool(name: str, **properties: Any) -> Any:
    """A function that the model may call."""
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"The {name}.", "parameters": schema},
    }


CITY = {"type": "string", "description": "A city & its country"}
TOOLS = [tool("weather", city=CITY), tool("time")]
CALLS = [
    {"name": "weather", "arguments": {"city": "Köln <DE>", "deep": {"a": [1, 2.5, None]}}},
    {"name": "time", "arguments": {}},
    {"name": "weather", "arguments": {"city": "東京"}},
]


@pytest_asyncio.fixture
async def one() -> AsyncIterator[Talk]:
    async with talk(VISION) as found:
        yield found


def called(body: Mapping[str, Any]) -> Script:
    """The model calls its tools first, and speaks once it has their results."""
    if any(message["role"] == "tool" for message in body["messages"]):
        return Script(text=["It is ", "warm."])
    return Script(thinking=["Let me ", "look."], tool_calls=CALLS)


def results(message: ChatCompletionMessage) -> list[Any]:
    """What came of a message's calls, the last first."""
    return [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {number}"}
        for number, call in reversed([*enumerate(message.tool_calls or [])])
    ]


FAULTS = {
    "rendered": Faults(),
    "native": Faults(tools_on_done=True),
    "old": Faults(zero_indexes=True, missing_ids=True),
}


@pytest.mark.parametrize("way", FAULTS)
@pytest.mark.parametrize("dumped", [False, True])
async def test_tools_there_and_back(one: Talk, way: str, dumped: bool) -> None:
    one.ollama.script, one.ollama.faults = called, FAULTS[way]
    create = one.sdk.chat.completions.create
    first = (await create(model=VISION.name, messages=HI, tools=TOOLS)).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.content is None
    calls = first.message.tool_calls or []
    assert [(c.type, c.function.name) for c in calls if c.type == "function"] == [
        ("function", call["name"]) for call in CALLS
    ]
    assert [json.loads(c.function.arguments) for c in calls if c.type == "function"] == [
        call["arguments"] for call in CALLS
    ]
    assert len({call.id for call in calls}) == 3

    said: Any = first.message.model_dump() if dumped else first.message
    messages = [*HI, said, *results(first.message)]
    reply = await one.sdk.chat.completions.with_raw_response.create(
        model=VISION.name, messages=messages, tools=TOOLS
    )
    assert reply.parse().choices[0].message.content == "It is warm."
    assert "x-tuning-warnings" not in reply.headers
    sent = one.ollama.chats[-1].json["messages"]
    natives = [
        {"id": call.id, "function": {"name": known["name"], "arguments": known["arguments"]}}
        for call, known in zip(calls, CALLS, strict=True)
    ]
    assert sent[1] == {"role": "assistant", "content": "", "thinking": "Let me look.", "tool_calls": natives}
    assert sent[2:] == [
        {"role": "tool", "content": f"result {n}", "tool_name": CALLS[n]["name"], "tool_call_id": calls[n].id}
        for n in (2, 1, 0)
    ]


@pytest.mark.parametrize("way", FAULTS)
async def test_parallel_calls_in_a_stream_stay_apart(one: Talk, way: str) -> None:
    one.ollama.script, one.ollama.faults = called, FAULTS[way]
    asked: Any = {"model": VISION.name, "messages": HI, "tools": TOOLS}
    stream = await one.sdk.chat.completions.create(**asked, stream=True)
    joined: dict[int, dict[str, str]] = {}
    chunks: list[ChatCompletionChunk] = [chunk async for chunk in stream]
    for call in [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]:
        found = joined.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
        found["id"] += call.id or ""
        assert call.function
        found["name"] += call.function.name or ""
        found["arguments"] += call.function.arguments or ""
    assert [joined[n]["name"] for n in range(3)] == [call["name"] for call in CALLS]
    assert [json.loads(joined[n]["arguments"]) for n in range(3)] == [call["arguments"] for call in CALLS]
    assert len({call["id"] for call in joined.values()}) == 3
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    check_chunks((await raw(one, True, **asked)).text)
    check_completion((await raw(one, False, **asked)).content)


async def test_the_sdk_puts_a_stream_of_calls_together(one: Talk) -> None:
    one.ollama.script = called
    async with one.sdk.chat.completions.stream(model=VISION.name, messages=HI, tools=TOOLS) as stream:
        kinds = [event.type async for event in stream]
        final = (await stream.get_final_completion()).choices[0]
    assert "tool_calls.function.arguments.done" in kinds
    assert [c.function.name for c in final.message.tool_calls or []] == [c["name"] for c in CALLS]
    assert final.finish_reason == "tool_calls"


async def test_one_call_at_a_time_when_that_is_asked(one: Talk) -> None:
    one.ollama.script = called
    asked: Any = {"model": VISION.name, "messages": HI, "tools": TOOLS, "parallel_tool_calls": False}
    whole = await one.sdk.chat.completions.create(**asked)
    assert len(whole.choices[0].message.tool_calls or []) == 1
    chunks = check_chunks((await raw(one, True, **asked)).text)
    assert sum(len(chunk.choices[0].delta.tool_calls or []) for chunk in chunks) == 1


async def test_tool_choice_is_done_as_far_as_ollama_goes(one: Talk) -> None:
    create: Any = one.sdk.chat.completions.with_raw_response.create
    asked: Any = {"model": VISION.name, "messages": HI, "tools": TOOLS}
    await create(**asked, tool_choice="none")
    assert "tools" not in one.ollama.chats[-1].json
    await create(**asked, tool_choice="auto")
    assert one.ollama.chats[-1].json["tools"] == TOOLS
    named = await create(**asked, tool_choice={"type": "function", "function": {"name": "time"}})
    assert one.ollama.chats[-1].json["tools"] == TOOLS[1:]
    assert "tool_choice" in named.headers["x-tuning-warnings"]


class Step(BaseModel):
    explanation: str
    output: float


class Solution(BaseModel):
    steps: list[Step]
    answer: int | None


SOLVED = {"steps": [{"explanation": "half of “84”", "output": 42.0}], "answer": 42}


@pytest.mark.parametrize("model", [LLAMA, VISION.name])
async def test_an_answer_becomes_the_model_that_was_asked_for(one: Talk, model: str) -> None:
    one.ollama.script = Script(text=[json.dumps(SOLVED)[:20], json.dumps(SOLVED)[20:]])
    done = await one.sdk.chat.completions.parse(model=model, messages=HI, response_format=Solution)
    assert done.choices[0].message.parsed == Solution.model_validate(SOLVED)
    sent = one.ollama.chats[-1].json["format"]
    assert sent["properties"]["steps"]["items"] == {"$ref": "#/$defs/Step"}
    assert sent["additionalProperties"] is False and sent["required"] == ["steps", "answer"]
    asked: Any = {"model": model, "messages": HI, "response_format": Solution}
    async with one.sdk.chat.completions.stream(**asked) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Solution.model_validate(SOLVED)


async def test_tools_made_from_models_are_parsed_back(one: Talk) -> None:
    one.ollama.script = Script(tool_calls=[{"name": "Solution", "arguments": SOLVED}])
    tools: Any = [openai.pydantic_function_tool(Solution)]
    done = await one.sdk.chat.completions.parse(model=LLAMA, messages=HI, tools=tools)
    (call,) = done.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == Solution.model_validate(SOLVED)


@pytest.mark.parametrize(("asked", "sent"), [("json_object", "json"), ("text", None)])
async def test_the_other_formats(one: Talk, asked: Any, sent: str | None) -> None:
    await one.sdk.chat.completions.create(model=LLAMA, messages=HI, response_format={"type": asked})
    assert one.ollama.chats[-1].json.get("format") == sent


def picture(kind: str = "png") -> Any:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{PNG}"}}


async def test_images_travel_beside_the_text(one: Talk) -> None:
    words: Any = {"type": "text", "text": "What is this?"}
    messages: Any = [{"role": "user", "content": [words, picture(), picture("jpeg")]}]
    await one.sdk.chat.completions.create(model="gemma3:4b", messages=messages)
    assert one.ollama.chats[-1].json["messages"] == [
        {"role": "user", "content": "What is this?", "images": [PNG, PNG]}
    ]
    far: Any = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}
    ]
    with pytest.raises(openai.BadRequestError, match="data URL") as refused:
        await one.sdk.chat.completions.create(model="gemma3:4b", messages=far)
    assert refused.value.code == "attune_unsupported"
    assert refused.value.param == "messages[0].content[0].image_url.url"


SCHEMA = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
EVERYTHING: dict[str, Any] = {
    "model": VISION.name,
    "messages": [
        {"role": "developer", "content": "Answer in JSON."},
        {"role": "user", "content": [{"type": "text", "text": "Which animal?"}, picture()]},
    ],
    "tools": TOOLS,
    "tool_choice": "auto",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "strict": True, "schema": SCHEMA},
    },
    "reasoning_effort": "high",
    "temperature": 0,
    "top_p": 0.95,
    "max_completion_tokens": 400,
    "seed": 11,
    "stop": ["</answer>"],
    "presence_penalty": 0.5,
    "logprobs": True,
    "top_logprobs": 1,
    "extra_body": {
        "top_k": 20,
        "min_p": 0.05,
        "num_ctx": 8192,
        "repeat_penalty": 1.05,
        "keep_alive": "30m",
        "options": {"repeat_last_n": 128, "num_keep": 8},
    },
}
ARRIVES = {
    "model": VISION.name,
    "messages": [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": "Which animal?", "images": [PNG]},
    ],
    "tools": TOOLS,
    "format": SCHEMA,
    "think": "high",
    "keep_alive": "30m",
    "logprobs": True,
    "top_logprobs": 1,
    "options": {
        "temperature": 0,
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.05,
        "num_ctx": 8192,
        "num_predict": 400,
        "num_keep": 8,
        "presence_penalty": 0.5,
        "repeat_penalty": 1.05,
        "repeat_last_n": 128,
        "seed": 11,
        "stop": ["</answer>"],
    },
}


def exact(value: Any) -> str:
    """JSON, in which 1, 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


async def test_the_whole_request_arrives_exactly_right(one: Talk) -> None:
    one.ollama.script = Script(thinking=["Four ", "legs."], text=['{"animal":', ' "cat"}'])
    whole = await one.sdk.chat.completions.with_raw_response.create(**EVERYTHING)
    assert exact(one.ollama.chats[-1].json) == exact(ARRIVES | {"stream": False})
    assert "x-tuning-changed" not in whole.headers and "x-tuning-warnings" not in whole.headers
    answer = check_completion(whole.http_response.content)
    assert json.loads(answer.choices[0].message.content or "") == {"animal": "cat"}
    assert (answer.choices[0].message.model_extra or {})["reasoning"] == "Four legs."
    assert answer.choices[0].logprobs and answer.choices[0].logprobs.content

    async with one.sdk.chat.completions.with_streaming_response.create(**EVERYTHING, stream=True) as reply:
        text = await reply.text()
    assert exact(one.ollama.chats[-1].json) == exact(ARRIVES | {"stream": True})
    assert content(check_chunks(text)) == '{"animal": "cat"}'

    def in_a_thread() -> str | None:
        return one.sync.chat.completions.create(**EVERYTHING).choices[0].message.content

    assert await asyncio.to_thread(in_a_thread) == '{"animal": "cat"}'
    assert one.ollama.reloads == 0
