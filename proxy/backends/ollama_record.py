"""Pure. A record of Ollama's `/api/chat`: a line of its stream, or the whole of an answer without one.

Text stays the JSON string it came as: its bytes go into the answer without being read.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from proxy.backends.answer import Answer
from proxy.backends.failure import refused
from proxy.errors import UpstreamBroken
from proxy.openai import chunks

FINGERPRINT = "fp_ollama"

ERROR_STATUS = 500
"""For an error that comes under 200, unless it says its own status."""

_EMPTY = msgspec.Raw(b'""')
_NONE = msgspec.Raw(b"null")
_QUOTE = ord('"')


class _Alternative(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprob(msgspec.Struct):
    """As in OpenAI's answers, where `bytes` and `top_logprobs` are always there."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_Alternative] = []


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: msgspec.Raw = _NONE


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: str | None = None


class Message(msgspec.Struct, gc=False):
    """A piece of the assistant's message."""

    content: msgspec.Raw = _EMPTY
    thinking: msgspec.Raw = _EMPTY
    tool_calls: list[_Call] | None = None


class Record(msgspec.Struct):
    """What is read of a record."""

    message: Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int = 0
    eval_count: int = 0
    logprobs: list[_Logprob] | None = None
    error: msgspec.Raw = _NONE


_RECORD = msgspec.json.Decoder(Record)


def read(data: bytes) -> Record:
    """The record in `data`.

    Raises `UpstreamRefused` for `{"error": ...}` and `UpstreamBroken` for what is no record.
    """
    try:
        record = _RECORD.decode(data)
        if not data.isascii():
            data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBroken(f"ollama sent what is no record: {_reason(error)}") from error
    if record.error is not _NONE and bytes(record.error) != b"null":
        raise refused(ERROR_STATUS, data)
    return record


def _reason(error: Exception) -> str:
    """Why, without the data: the text of a decoding error quotes it."""
    return "invalid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def text(raw: msgspec.Raw) -> bytes:
    """The JSON string of a text; nothing for an empty one or `null`."""
    words = bytes(raw)
    if words[0] == _QUOTE:
        return b"" if len(words) == 2 else words
    if words == b"null":
        return b""
    raise UpstreamBroken("ollama sent a text that is no string")


def logprobs(record: Record) -> bytes:
    """OpenAI's logprobs object for the tokens of a record, `null` when it has none."""
    return chunks.logprobs(msgspec.json.encode(record.logprobs)) if record.logprobs else chunks.NULL


def head(answer: Answer) -> chunks.Head:
    """What names the answer."""
    return chunks.Head(answer.id, answer.created, answer.model, FINGERPRINT, answer.tuning)


def finish_reason(record: Record, called: bool) -> str:
    """OpenAI's reason. Ollama ends a turn that calls tools with `stop`, and loading with words of its own."""
    if record.done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


class Calls:
    """The tool calls of one answer, numbered and named.

    Ollama's own indexes are not used: some of its parsers leave them all at 0.
    """

    def __init__(self, answer: Answer) -> None:
        self._base = "call_" + answer.id.removeprefix("chatcmpl-")
        self._one = answer.one_tool_call
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        """Whether there was any."""
        return bool(self._ids)

    def take(self, message: Message) -> list[tuple[int, bytes]]:
        """(index, object) of each call of a message that the client is to see."""
        taken = []
        for call in message.tool_calls or ():
            if self._one and self._ids:
                break
            index = len(self._ids)
            name, arguments = call.function.name, _arguments(call.function.arguments)
            taken.append((index, chunks.tool_call(self._name(call.id, index), name, arguments)))
        return taken

    def _name(self, given: str | None, index: int) -> str:
        """The call's own id, else one made of answer and index; never one twice, for results refer to it."""
        name = given if given and given not in self._ids else f"{self._base}_{index}"
        while name in self._ids:
            name += "_"
        self._ids.add(name)
        return name


def _arguments(raw: msgspec.Raw) -> str:
    """The arguments as JSON text: the very bytes, unless they came as such a text already."""
    words = bytes(raw)
    if words == b"null":
        return "{}"
    if words[0] == _QUOTE:
        said: Any = orjson.loads(words)
        return str(said) or "{}"
    return words.decode()
