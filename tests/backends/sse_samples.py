"""Streams of chat chunks as servers write them, whole and faulty, what builds them, and a way to run them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from openai._streaming import SSEDecoder

from proxy.backends.answer import Answer
from proxy.backends.sse_stream import EventStream
from proxy.errors import AttuneError

MODEL = "qwen3:8b"
SAME = Answer(id="chatcmpl-x", created=1, model=MODEL)
ALIAS = Answer(id="chatcmpl-x", created=1, model="my/älias@precise")
TUNED = Answer(id="chatcmpl-x", created=1, model=MODEL, tuning=b'{"family":"qwen3"}')
BOTH = Answer(id="chatcmpl-x", created=1, model="alias", tuning=b'{"family":"qwen3"}')
ANSWERS = {"same": SAME, "alias": ALIAS, "tuned": TUNED, "both": BOTH}

DONE = b"data: [DONE]\n\n"
ROLE = {"role": "assistant", "content": ""}


def chunk(delta: object, *, reason: str | None = None, index: int = 0, **more: object) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    choice["token_ids"] = None
    if reason:
        choice["stop_reason"] = None
    head = {"id": "chatcmpl-9f0f", "object": "chat.completion.chunk", "created": 1795449600, "model": MODEL}
    return {**head, "choices": [choice], **more}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    return {**chunk({}), "choices": [], "usage": counts}


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"


def sse(*chunks: object, end: bytes = DONE) -> bytes:
    return b"".join(map(event, chunks)) + end


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    head = {"id": f"chatcmpl-tool-{index}", "type": "function"} if name else {}
    return {"content": None, "tool_calls": [{**head, "index": index, "function": function}]}


PLAIN = sse(
    chunk(ROLE, prompt_token_ids=None, prompt_text=None),
    *(
        chunk({"content": text})
        for text in ("Grüße", " 👋🏽", "", ' "quoted" \\ back\n', "", "日本", " model")
    ),
    chunk({"content": " end."}, reason="stop"),
    usage(12, 9),
)
TOOLS = sse(
    chunk(ROLE),
    chunk(call(0, "", "weather")),
    *(chunk(call(0, piece)) for piece in ('{"city"', ': "', "Köln", '"}')),
    chunk(call(1, "", "weather")),
    *(chunk(call(1, piece)) for piece in ('{"city": ', '"Bonn"}')),
    chunk({"content": ""}, reason="tool_calls"),
    usage(5, 20),
)
TWO = sse(
    chunk(ROLE, index=0),
    chunk(ROLE, index=1),
    *(chunk({"content": f"w{i}"}, index=i % 2) for i in range(6)),
    chunk({"content": "!"}, reason="length", index=1),
    chunk({"content": " more"}, index=0),
    chunk({"content": "?"}, reason="stop", index=0),
)
REASONING = sse(
    chunk(ROLE),
    *(chunk({"reasoning": text}) for text in ("Let", " me", ' "think"', "\n", " ü")),
    chunk({"reasoning": None, "content": "So"}),
    *(chunk({"content": text}) for text in (":", " 42")),
    chunk({"content": "."}, reason="stop"),
)
OLD_REASONING = REASONING.replace(b'"reasoning":', b'"reasoning_content":')
ALIVE = b": keep-alive\n\n" * 2 + PLAIN.replace(b"\n\ndata", b"\n\n: keep-alive\n\ndata", 4)
SPACED = b"".join(
    b"data: " + orjson.dumps(chunk(delta, reason=reason)).replace(b'":', b'": ').replace(b',"', b', "') + b"\n\n"
    for delta, reason in [(ROLE, None), ({"content": "a"}, None), ({"content": "b"}, None), ({}, "stop")]
) + DONE  # fmt: skip
BURSTS = sse(
    chunk(ROLE),
    *(chunk({"content": f" w{i}"}) for i in range(12)),
    *(chunk({"reasoning": f' "{i}"' if i % 9 == 8 else f" r{i}"}) for i in range(16)),
    *(chunk({"content": " c"}, usage=usage(3, i)["usage"]) for i in range(6)),
    chunk({}, reason="stop"),
)
LLAMA = (
    b": ping\r\n\r\n"
    + b"".join(
        b'data: {"choices":[{"finish_reason":%s,"index":0,"delta":%s}],"created":17954496%02d,'
        b'"id":"chatcmpl-Q","model":"qwen3:8b","system_fingerprint":"b6000",'
        b'"object":"chat.completion.chunk"}\r\n\r\n' % (reason, delta, 10 + i // 3)
        for i, (reason, delta) in enumerate(
            [
                (b"null", b'{"role":"assistant","content":null}'),
                *((b"null", b'{"content":"t%d"}' % n) for n in range(8)),
                (b'"stop"', b"{}"),
            ]
        )
    )
    + b"data:\r\n\r\ndata: [DONE]\r\n\r\n"
)
FAULT = (
    b'{"error": {"message": "grammar d\\u00e9fect", "type": "BadRequestError", "param": null, "code": 400}}'
)
ERROR_FIRST = b": keep-alive\n\n" + event(FAULT) + DONE
ERROR_LATER = sse(chunk(ROLE), chunk({"content": "Hi"}), chunk({"content": " you"}), FAULT)
ERROR_NAMED = sse(chunk(ROLE), end=b'event: error\ndata: {"message":"engine dead","code":503}\n\n')
ERROR_FLAT = sse(chunk(ROLE), {"object": "error", "message": "flat", "type": "x", "param": None, "code": 404})
ERROR_LLAMA = b'error: {"code":400,"message":"too long","type":"invalid_request_error"}\n\n' + DONE
BROKEN = sse(chunk(ROLE), b'{"choices": [', chunk({"content": "never"}))

SAMPLES = {
    "plain": PLAIN,
    "tools": TOOLS,
    "two": TWO,
    "reasoning": REASONING,
    "old reasoning": OLD_REASONING,
    "alive": ALIVE,
    "spaced": SPACED,
    "bursts": BURSTS,
    "llama": LLAMA,
    "error first": ERROR_FIRST,
    "error later": ERROR_LATER,
    "error named": ERROR_NAMED,
    "error flat": ERROR_FLAT,
    "error llama": ERROR_LLAMA,
    "broken": BROKEN,
    "no done": PLAIN.removesuffix(DONE),
    "no blank line": PLAIN.removesuffix(b"\n\n"),
    "cut off": PLAIN[:-700],
}


@dataclass(frozen=True)
class Outcome:
    out: bytes
    failure: tuple[type, int, str] | None
    finished: bool
    finish_reason: str | None
    usage: tuple[int, int] | None


def said(failure: AttuneError | None) -> tuple[type, int, str] | None:
    return None if failure is None else (type(failure), failure.status, orjson.dumps(failure.body()).decode())


def run(pieces: list[bytes], answer: Answer = SAME) -> Outcome:
    stream = EventStream(answer)
    out = b"".join([stream.feed(piece) for piece in pieces]) + stream.close()
    assert stream.feed(b"data: {}\n\n") == b""
    assert stream.close() == b""
    assert stream.finished is (stream.failure is None)
    return Outcome(out, said(stream.failure), stream.finished, stream.finish_reason, stream.usage)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def chunks(out: bytes) -> list[dict[str, Any]]:
    """As OpenAI's own client cuts and reads them."""
    data = [found.data for found in SSEDecoder().iter_bytes(iter([out]))]
    return [orjson.loads(text) for text in data if text != "[DONE]"]


def pause(stream: EventStream, parts: bytes) -> list[bytes]:
    """What goes out for each event when each comes as one read."""
    return [stream.feed(part + b"\n\n") for part in parts.removesuffix(b"\n\n").split(b"\n\n")]
