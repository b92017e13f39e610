"""Pure. Chat completions and their chunks, put together from pieces that are JSON already.

Everything that is the same for all chunks of an answer is built once; a chunk is its delta between two
constant pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

NULL = b"null"

CHUNK = b"chat.completion.chunk"
COMPLETION = b"chat.completion"


@dataclass(frozen=True, slots=True)
class Head:
    """The members that name an answer."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    fingerprint: str
    tuning: bytes | None = None
    """A JSON object for the member `tuning`, in the body or the first chunk."""

    def members(self, kind: bytes) -> bytes:
        """`"id":...,` to `"system_fingerprint":...,`, without `tuning`."""
        return b'"id":%b,"object":"%b","created":%d,"model":%b,"system_fingerprint":%b,' % (
            orjson.dumps(self.id),
            kind,
            self.created,
            orjson.dumps(self.model),
            orjson.dumps(self.fingerprint),
        )

    def extra(self) -> bytes:
        """`"tuning":{...},`, or nothing."""
        return b"" if self.tuning is None else b'"tuning":%b,' % self.tuning


class Chunks:
    """The server-sent events of one streamed answer.

    With `include_usage` every chunk has a `usage` member, which is null in all but the last.
    """

    def __init__(self, head: Head, *, include_usage: bool = False) -> None:
        self._extra = head.extra()
        self._members = head.members(CHUNK)
        self._before = b"data: {" + self._members + b'"choices":[{"index":0,"delta":'
        self._after = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self.before_content = self._before + b'{"content":'
        """What stands before the JSON string of a chunk that is text and nothing else."""
        self.after_content = b'},"logprobs":null,"finish_reason":null' + self._after

    def chunk(self, delta: bytes, logprobs: bytes = NULL, finish_reason: bytes = NULL) -> bytes:
        """One chunk; all arguments are JSON."""
        parts = (self._before, delta, b',"logprobs":', logprobs, b',"finish_reason":', finish_reason)
        return b"".join((*parts, self._after))

    def first(self) -> bytes:
        """The chunk that opens the message; it carries `tuning` if anything does."""
        opening = self.chunk(b'{"role":"assistant","content":""}')
        return b"data: {" + self._extra + opening[len(b"data: {") :]

    def reasoning(self, words: bytes, logprobs: bytes = NULL) -> bytes:
        """A chunk of reasoning, from a JSON string, under both names that clients look for."""
        return self.chunk(b'{"reasoning_content":%b,"reasoning":%b}' % (words, words), logprobs)

    def tool_call(self, index: int, call: bytes) -> bytes:
        """A whole tool call, from its object."""
        return self.chunk(b'{"tool_calls":[{"index":%d,%b]}' % (index, call[1:]))

    def finish(self, reason: str) -> bytes:
        """The chunk that ends the message."""
        return self.chunk(b"{}", NULL, orjson.dumps(reason))

    def usage(self, prompt: int, completion: int) -> bytes:
        """The last chunk, for clients that asked for usage."""
        return b'data: {%b"choices":[],"usage":%b}\n\n' % (self._members, usage(prompt, completion))


def usage(prompt: int, completion: int) -> bytes:
    """The usage object, from counts of tokens."""
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
        prompt,
        completion,
        prompt + completion,
    )


def tool_call(id: str, name: str, arguments: str) -> bytes:
    """A tool call's object; `arguments` is the JSON text of them."""
    function = {"name": name, "arguments": arguments}
    return orjson.dumps({"id": id, "type": "function", "function": function})


def message(content: bytes, reasoning: bytes | None = None, tool_calls: list[bytes] | None = None) -> bytes:
    """An assistant's message; `content` and `reasoning` are JSON, `tool_calls` their objects."""
    parts = [b'{"role":"assistant","content":', content, b',"refusal":null']
    if reasoning is not None:
        parts += [b',"reasoning_content":', reasoning, b',"reasoning":', reasoning]
    if tool_calls:
        parts += [b',"tool_calls":[', b",".join(tool_calls), b"]"]
    return b"".join([*parts, b"}"])


def completion(head: Head, message: bytes, finish_reason: str, usage: bytes, logprobs: bytes = NULL) -> bytes:
    """A whole answer; `message`, `usage` and `logprobs` are JSON."""
    choice = (b'{"index":0,"message":', message, b',"logprobs":', logprobs, b',"finish_reason":')
    parts = (b"{", head.extra(), head.members(COMPLETION), b'"choices":[', *choice)
    return b"".join((*parts, orjson.dumps(finish_reason), b'}],"usage":', usage, b"}"))


def logprobs(content: bytes) -> bytes:
    """The logprobs object, from the JSON list of tokens."""
    return b'{"content":%b,"refusal":null}' % content
