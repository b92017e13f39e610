"""A request of which one part is something else: Attune refuses it, or Ollama takes what Attune made of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.doubles.ollama_models import Model
from tests.standing import Standing

MODEL = "qwen-vl:8b"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "enum": ["x"], "description": "d", "items": {"type": "string"}}
    },
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"b": {"type": "integer"}},
}
FUNCTION = {"name": "f", "description": "does", "strict": True, "parameters": SCHEMA}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "x"}'}}
PARTS = [
    {"type": "text", "text": "see"},
    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
]
WHOLE: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "d"},
        {"role": "user", "content": PARTS},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [CALL],
            "reasoning_content": "hm",
            "refusal": None,
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "x"}]},
        {
            "role": "assistant",
            "function_call": {"name": "f", "arguments": "{}"},
            "content": "",
            "thinking": "hm",
        },
        {"role": "function", "name": "f", "content": "y"},
        {"role": "user", "content": "go on", "images": ["AAAA"]},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "strict": True, "schema": SCHEMA},
    },
    "reasoning_effort": "high",
    "reasoning": {"effort": "low"},
    "temperature": 0.5,
    "max_completion_tokens": 100,
    "stop": ["a", "b"],
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 2},
    "keep_alive": "10m",
    "options": {"num_ctx": 4096, "top_k": 5, "think": True, "stop": "c", "seed": -1},
    "generation_params": {"min_p": 0.1, "use_mmap": True, "format": "json", "num_gpu": 1},
    "chat_template_kwargs": {"enable_thinking": False, "more": [1]},
    "metadata": {"a": "b"},
    "user": "me",
}
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    5,
    10**20,
    "",
    "x",
    "none",
    "json",
    [],
    {},
    [None],
    ["x"],
    [[]],
]
ODD += [
    {"a": None},
    {"type": "text"},
    {"type": "function", "function": {"name": "f"}},
    [{}],
    "data:;base64,AA",
    "ü\n",
]

Path = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where every part of a value is."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))


def holder(whole: Any, path: Path) -> Any:
    """What holds the part at a path."""
    for step in path[:-1]:
        whole = whole[step]
    return whole


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """The whole request with one or two parts replaced, left out or said twice."""
    whole = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(paths(whole))))
        inside = holder(whole, path)
        action = draw(st.sampled_from(["replace", "replace", "replace", "leave out", "repeat"]))
        if action == "leave out":
            del inside[path[-1]]
        elif action == "repeat" and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[int(path[-1])]))
        else:
            inside[path[-1]] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return whole


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    standing = WithEyes()
    standing.start()
    yield standing
    standing.stop()


class WithEyes(Standing):
    """With a model that can do everything."""

    def prepare(self) -> None:
        able = ("completion", "tools", "vision", "audio", "thinking")
        self.ollama.models[MODEL] = Model(MODEL, able, 32768)


def test_the_whole_request_is_right(standing: Standing) -> None:
    reply = standing.post("/v1/chat/completions", WHOLE)
    assert reply.status_code == 200
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("part", "word"), [(PARTS[1], "vision"), (PARTS[2], "audio")])
def test_media_for_a_model_without_the_sense_are_refused_before_anything_is_sent(
    standing: Standing, part: Any, word: str
) -> None:
    before = len(standing.ollama.chats)
    body = {"model": "llama3:8b", "messages": [{"role": "user", "content": [PARTS[0], part]}]}
    reply = standing.post("/v1/chat/completions", body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("attune_unsupported", "messages")
    assert error["message"].endswith(f"llama3:8b does not have the capability {word}")
    assert len(standing.ollama.chats) == before


@settings(
    max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(body=bodies())
def test_one_part_may_be_anything(standing: Standing, body: dict[str, Any]) -> None:
    before = len(standing.ollama.chats)
    reply = standing.post("/v1/chat/completions", body)
    sent = standing.ollama.chats[before:]
    if reply.status_code == 200:
        assert len(sent) == 1
        assert '"error"' not in reply.text
        return
    assert not sent, reply.text
    assert reply.status_code in (400, 404), reply.text
    error = reply.json()["error"]
    assert error["code"].startswith("attune_") and error["message"].isprintable()
