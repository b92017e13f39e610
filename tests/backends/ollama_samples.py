"""Ollama's answers, and how OpenAI's own SDK reads ours."""

import json
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.backends.answer import Answer

ANSWER = Answer(id="chatcmpl-7x", created=1755738123, model="llama3:8b")
DONE = b"data: [DONE]\n\n"


def record(content: str = "", *, done: bool = False, **more: Any) -> dict[str, Any]:
    """A record; message fields (`thinking`, `tool_calls`) go into the message."""
    message = {"role": "assistant", "content": content}
    message |= {key: more.pop(key) for key in ("thinking", "tool_calls") if key in more}
    stamp = {"model": "upstream-name", "created_at": "2026-08-21T01:02:03.4Z"}
    return {**stamp, "message": message, "done": done, **more}


def final(content: str = "", reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """The done record as Ollama sends it, with its durations."""
    counts = {"total_duration": 5043500667, "load_duration": 502, "prompt_eval_count": 26, "eval_count": 290}
    reasons = {} if reason is None else {"done_reason": reason}
    return record(content, done=True, **{**counts, **reasons, **more})


def call(name: str = "f", arguments: Any = None, id: str | None = None, index: int = 0) -> dict[str, Any]:
    given = {} if id is None else {"id": id}
    return {
        **given,
        "function": {"index": index, "name": name, "arguments": {} if arguments is None else arguments},
    }


def lines(*records: Any, end: bytes = b"\n") -> bytes:
    """NDJSON as Go writes it."""
    return b"".join(go_json(item) + end for item in records)


def go_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def token(text: str, **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": -0.25, "bytes": [*text.encode()], **more}


SAMPLES = {
    "text": lines(record("Hi"), record(" <b>né & 你😀\u2028\n\"q\"\\"), final()),
    "thinking, then text": lines(record(thinking="Hm"), record(thinking=" so"), record("Yes"), final()),
    "thinking and text at once": lines(record("Yes", thinking="Hm"), final()),
    "tools before the end, all indexes 0": lines(
        record(tool_calls=[call("f", {"a": 1}, "call_a")]), record(tool_calls=[call("g", {}, "call_b")]), final()
    ),
    "tools on the done record, no ids": lines(
        record("Let me"), final(" see", tool_calls=[call("f", {"x": "<é>"}), call("g")])
    ),
    "length": lines(record(thinking="Hm"), final(reason="length")),
    "logprobs": lines(record("Hi", logprobs=[token("Hi", top_logprobs=[token("Hi")])]), final(logprobs=[token("")])),
    "line ends of another kind, blank lines": b"\r\n" + lines(record("Hi"), final(), end=b"\r\n\n \n"),
    "no end of line": lines(record("Hi"), final()).rstrip(),
    "load": lines(final(reason="load")),
    "an error after some text": lines(record("Hi"), {"error": "boom"}),
    "an error at once": lines({"error": "boom"}),
    "no done record": lines(record("Hi"), record(" there")),
    "garbage in the middle": lines(record("Hi")) + b"<html>\n" + lines(final()),
    "records after the end": lines(record("Hi"), final(), record("late"), {"error": "late"}) + b"garbage",
    "nothing": b"",
}  # fmt: skip


def payloads(events: bytes) -> list[dict[str, Any]]:
    """What the events say, `[DONE]` left out; every event is checked for its form and its type."""
    assert events == b"" or events.endswith(b"\n\n")
    bodies = events.split(b"\n\n")[:-1]
    assert all(body.startswith(b"data: ") and b"\n" not in body and b"\r" not in body for body in bodies)
    said = [body.removeprefix(b"data: ") for body in bodies if body + b"\n\n" != DONE]
    for chunk in said:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    return [json.loads(chunk) for chunk in said]


def completion(body: bytes) -> dict[str, Any]:
    """The completion, checked against OpenAI's type."""
    ChatCompletion.model_validate_json(body, strict=True)
    said: dict[str, Any] = json.loads(body)
    return said
