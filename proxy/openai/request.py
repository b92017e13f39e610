"""Pure. A chat request, read no further than deciding needs.

Fields stay the bytes they came as: what is not changed is never parsed and never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from proxy.errors import BadBody

NO_MESSAGES = ({"role": "user", "content": ""},)
"""Stands in for messages where a request is only explained."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Message(msgspec.Struct):
    role: str


_MESSAGES = msgspec.json.Decoder(list[_Message])

_FLAGS = {b"true": True, b"false": False, b"null": False}


@dataclass(slots=True)
class ChatRequest:
    """The body of a chat completion request; the fields the proxy itself looks at, checked."""

    fields: dict[str, msgspec.Raw]
    """Top-level fields in the client's order, as bytes."""
    model: str | None
    stream: bool
    tools: bool
    """Whether any tool is offered."""

    def raw(self, name: str) -> bytes | None:
        """A field's bytes; `None` when absent or `null`."""
        value = self.fields.get(name)
        if value is None:
            return None
        data = bytes(value)
        return None if data == b"null" else data

    def decode(self, names: Iterable[str]) -> dict[str, Any]:
        """The named fields that are there, decoded."""
        return {n: _loads(n, self.fields[n]) for n in names if n in self.fields}

    @property
    def include_usage(self) -> bool:
        """Whether the client asked for a last chunk with usage."""
        data = self.raw("stream_options")
        return data is not None and orjson.loads(data).get("include_usage") is True


def parse_chat(body: bytes) -> ChatRequest:
    """The request in a body, or `BadBody` naming what is wrong with it."""
    fields = _decode(body)
    stream = _flag(fields, "stream")
    request = ChatRequest(fields, _model(fields), stream, _tools(fields))
    _check_messages(fields)
    if "stream_options" in fields:
        _check_stream_options(request)
    return request


def _decode(body: bytes) -> dict[str, msgspec.Raw]:
    if not body.strip():
        raise BadBody("the body is empty; it must be a JSON object")
    try:
        if not body.isascii():
            body.decode()
        return _FIELDS.decode(body)
    except UnicodeDecodeError as fault:
        raise BadBody(f"the body is not UTF-8: byte {fault.start} is invalid") from None
    except msgspec.ValidationError:
        raise BadBody("the body must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError) as fault:
        raise BadBody(f"the body is not valid JSON: {_reason(fault, body)}") from None


def _reason(fault: Exception, body: bytes) -> str:
    if isinstance(fault, RecursionError):
        return "it is nested too deeply"
    if "truncated" in str(fault) and b"\\ud" in body.lower():
        # the decoder says so of a surrogate without its other half, too
        return "it ends too early, or a \\u escape is half of a character"
    return str(fault)


def _loads(name: str, data: msgspec.Raw) -> Any:
    try:
        return orjson.loads(bytes(data))
    except orjson.JSONDecodeError as fault:
        raise BadBody(f"{name} is not valid JSON: {fault}", param=name) from None


def _flag(fields: dict[str, msgspec.Raw], name: str) -> bool:
    if name not in fields:
        return False
    flag = _FLAGS.get(bytes(fields[name]))
    if flag is None:
        raise BadBody(f"{name} must be true or false, not {_show(fields[name])}", param=name)
    return flag


def _model(fields: dict[str, msgspec.Raw]) -> str | None:
    raw = fields.get("model")
    if raw is None:
        return None
    model = _loads("model", raw)
    if model is not None and not isinstance(model, str):
        raise BadBody(f"model must be a string, not {_show(raw)}", param="model")
    return model or None


def _tools(fields: dict[str, msgspec.Raw]) -> bool:
    for name in ("tools", "functions"):
        if name not in fields:
            continue
        raw = bytes(fields[name])
        if raw.startswith(b"["):
            if raw[1:-1].strip():
                return True
        elif raw != b"null":
            raise BadBody(f"{name} must be a list, not {_show(raw)}", param=name)
    return False


def _check_messages(fields: dict[str, msgspec.Raw]) -> None:
    raw = fields.get("messages")
    if raw is None or bytes(raw) == b"null":
        raise BadBody("messages is required: a list with at least one message", param="messages")
    try:
        if not _MESSAGES.decode(raw):
            raise BadBody("messages must hold at least one message", param="messages")
    except msgspec.ValidationError as fault:
        raise BadBody(f"messages must be a list of objects with a role: {fault}", param="messages") from None
    except (msgspec.DecodeError, RecursionError) as fault:
        raise BadBody(f"messages is not valid JSON: {_reason(fault, bytes(raw))}", param="messages") from None


def _check_stream_options(request: ChatRequest) -> None:
    value = _loads("stream_options", request.fields["stream_options"])
    if value is None:
        return
    if not isinstance(value, dict):
        shown = _show(request.fields["stream_options"])
        raise BadBody(f"stream_options must be an object, not {shown}", param="stream_options")
    if not request.stream:
        raise BadBody("stream_options needs stream: true", param="stream_options")
    usage = value.get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        raise BadBody("stream_options.include_usage must be true or false", param="stream_options")


def _show(raw: msgspec.Raw | bytes) -> str:
    data = bytes(raw)[:60]
    return data.decode(errors="replace")
