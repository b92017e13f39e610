"""Pure. Ollama's native wire format, as far as the demo runtime speaks it: bodies read, refusals worded.

Top-level keys match whatever their case, unknown ones are ignored, and so are bytes after the first JSON
value. What the real server refuses is refused with its status and, where its wording does not depend on a
JSON decoder, its words.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

MAX_TOP_LOGPROBS = 20

FOREVER = math.inf
"""A `keep_alive` that never ends, in seconds."""

_NAME_PART = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_NAME = re.compile(rf"(?:{_NAME_PART}(?::\d+)?/)?(?:{_NAME_PART}/)?({_NAME_PART})(?::({_NAME_PART}))?")
_HOME = ("registry.ollama.ai/library/", "library/")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Refused(Exception):
    """A request that is answered with `{"error": message}` and this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` in lower case, not validated."""

    role: str
    content: str
    images: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What /api/chat, /api/generate and /api/embed have in common."""

    model: str
    """As sent."""
    stream: bool
    keep_alive: float | None
    """Seconds, `FOREVER`, or `None` for no change."""
    options: Mapping[str, Any] = field(default_factory=dict)
    logprobs: bool = False
    top_logprobs: int = 0
    thinks: bool = False
    format: Any = None
    chat: bool = False
    """Whether the answer's text goes into a message."""
    returns_context: bool = False
    """Whether the last record carries the tokens of the conversation."""


def kind(value: Any) -> str:
    """What JSON calls the type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


class Body:
    """A JSON object with the readers that endpoints need; each refuses what has the wrong type with a 400."""

    def __init__(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").lstrip("\ufeff \t\r\n")
        if not text:
            raise Refused(400, "missing request body")
        try:
            value, _ = _DECODER.raw_decode(text)
            value = _without_surrogates(value) if "\\ud" in text.lower() else value
        except RecursionError:
            raise Refused(400, "json: exceeded max depth") from None
        except ValueError as error:
            raise Refused(400, f"invalid JSON: {error}") from None
        if not isinstance(value, dict):
            raise Refused(400, f"json: cannot unmarshal {kind(value)} into Go value of type object")
        self._fields = {name.lower(): item for name, item in value.items()}

    def any(self, name: str) -> Any:
        """The value, or `None`."""
        return self._fields.get(name)

    def _typed(self, name: str, wanted: str, default: Any) -> Any:
        value = self._fields.get(name)
        if value is None:
            return default
        if kind(value) != wanted:
            _mistyped(name, value, wanted)
        return value

    def string(self, name: str) -> str:
        """A string; absent and null are empty."""
        text: str = self._typed(name, "string", "")
        return text

    def boolean(self, name: str, default: bool) -> bool:
        """A boolean; absent and null are the default."""
        return bool(self._typed(name, "bool", default))

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._typed(name, "number", default)
        if not isinstance(value, int):
            _mistyped(name, value, "int")
        return value

    def array(self, name: str) -> list[Any]:
        """A list; absent and null are empty."""
        items: list[Any] = self._typed(name, "array", [])
        return items

    def integers(self, name: str) -> list[int]:
        """A list of whole numbers; absent and null are empty."""
        items = self.array(name)
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int):
                _mistyped(name, item, "int")
        return items

    def object(self, name: str) -> dict[str, Any]:
        """An object; absent and null are empty."""
        members: dict[str, Any] = self._typed(name, "object", {})
        return members

    def call(self) -> Call:
        """The common fields; any may be refused with a 400."""
        top_logprobs = self.integer("top_logprobs", 0)
        if not 0 <= top_logprobs <= MAX_TOP_LOGPROBS:
            raise Refused(400, f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
        return Call(
            model=self.string("model"),
            stream=self.boolean("stream", True),
            keep_alive=read_keep_alive(self.any("keep_alive")),
            options=self.object("options"),
            logprobs=self.boolean("logprobs", False),
            top_logprobs=top_logprobs,
            thinks=_read_think(self.any("think")),
            format=self.any("format"),
        )

    def messages(self) -> list[Message]:
        """The conversation."""
        return [_read_message(item) for item in self.array("messages")]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"invalid literal {name}")


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {text} out of range")
    return value


def _finite_integer(text: str) -> int:
    _finite_float(text)
    return int(text)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite_float, parse_int=_finite_integer)


def _without_surrogates(value: Any) -> Any:
    """Halves of surrogate pairs, which JSON can spell and UTF-8 cannot, become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _mistyped(name: str, value: Any, wanted: str) -> NoReturn:
    raise Refused(400, f"json: cannot unmarshal {kind(value)} into Go struct field .{name} of type {wanted}")


def _read_message(item: Any) -> Message:
    if not isinstance(item, dict):
        _mistyped("messages", item, "Message")
    role, content = item.get("role"), item.get("content")
    for name in ("role", "content", "thinking", "tool_name", "tool_call_id"):
        if not isinstance(item.get(name), str | None):
            _mistyped(f"messages.{name}", item[name], "string")
    for call in _list_of(item, "tool_calls"):
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(arguments, dict | None):
            _mistyped("messages.tool_calls.function.arguments", arguments, "object")
    return Message((role or "").lower(), content or "", has_images(_list_of(item, "images")))


def _list_of(item: dict[str, Any], name: str) -> list[Any]:
    value = item.get(name)
    if not isinstance(value, list | None):
        _mistyped(f"messages.{name}", value, "array")
    return value or []


def has_images(images: list[Any]) -> bool:
    """Whether there are images; each must be plain base64."""
    for image in images:
        if not isinstance(image, str):
            _mistyped("images", image, "string")
        try:
            base64.b64decode(image, validate=True)
        except binascii.Error:
            raise Refused(400, "illegal base64 data") from None
    return bool(images)


def _read_think(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if value in ("low", "medium", "high", "max"):
        return True
    raise Refused(
        400, f'invalid think value: {json.dumps(value)} (must be "high", "medium", "low", true, or false)'
    )


def read_keep_alive(value: Any) -> float | None:
    """Seconds; a negative number or duration is `FOREVER`; absent is `None`; 400 for anything else."""
    if value is None:
        return None
    if kind(value) not in ("number", "string"):
        raise Refused(400, f"Unsupported type: '{kind(value)}'")
    seconds = _read_duration(value) if isinstance(value, str) else float(value)
    return FOREVER if seconds < 0 else seconds


def _read_duration(text: str) -> float:
    """Go's duration syntax: `1h30m`, `-1s`, `.5m`, `0`; in seconds."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _DURATION_PART.match(rest, position):
        number, unit = match.groups()
        if not unit:
            raise Refused(400, f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise Refused(400, f'time: unknown unit "{unit}" in duration "{text}"')
        seconds += float(number) * _UNITS[unit]
        position = match.end()
    if position == 0 or position != len(rest):
        raise Refused(400, f'time: invalid duration "{text}"')
    return -seconds if text.startswith("-") else seconds


def canonical_name(name: str) -> str:
    """A model's name in lower case with its tag; 400 where it cannot be a name."""
    lowered = name.lower()
    match = _NAME.fullmatch(lowered)
    if match is None:
        raise Refused(400, "invalid model name")
    for home in _HOME:
        lowered = lowered.removeprefix(home)
    return lowered if match.group(2) else f"{lowered}:latest"


def dump(record: Any) -> bytes:
    """JSON as Go writes it: `<`, `>` and `&` escaped, no line break inside."""
    text = orjson.dumps(record)
    for mark in (b"<", b">", b"&"):
        text = text.replace(mark, b"\\u%04x" % mark[0])
    return text
