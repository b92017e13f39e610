"""Pure. The message list as bytes: edited without parsing what is not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from proxy.errors import BadBody

SYSTEM_ROLES = ("system", "developer")

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Role(msgspec.Struct):
    role: str


_ROLE = msgspec.json.Decoder(_Role)


def edit_system(messages: bytes, edit: Callable[[str | None], str | None]) -> bytes:
    """The list with its leading system message edited; everything else stays the same bytes.

    `edit` gets the text of the first message if that is a system (or developer) message, else `None`, and
    returns the new text, or `None` for no system message.
    """
    items = _LIST.decode(messages)
    is_system = bool(items) and _ROLE.decode(items[0]).role in SYSTEM_ROLES
    first = _MEMBERS.decode(items[0]) if is_system else {}
    before = _text_of(first)
    after = edit(before)
    if after == before:
        return messages
    rest: list[bytes | msgspec.Raw] = [*items[1:]] if is_system else [*items]
    if after is None and not rest:
        after = ""  # an empty list asks Ollama to load the model
    if after is not None:
        first = {"role": msgspec.Raw(b'"system"'), **first, "content": msgspec.Raw(orjson.dumps(after))}
        rest.insert(0, msgspec.json.encode(first))
    return b"[" + b",".join(rest) + b"]"


def switch_texts(messages: bytes) -> list[str]:
    """Where a `/no_think` counts: the texts of the last system and the last user message, in their order."""
    found: dict[str, str] = {}
    for item in reversed(_LIST.decode(messages)):
        role = _ROLE.decode(item).role
        role = "system" if role in SYSTEM_ROLES else role
        if role in ("system", "user") and role not in found:
            found[role] = _text_of(_MEMBERS.decode(item)) or ""
            if len(found) == 2:
                break
    return [*reversed(found.values())]


def text(content: Any) -> str | None:
    """A message's text: the string itself, or its text parts joined by line ends."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadBody("a message's content must be a string, a list of parts or null", param="messages")
    parts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text"]
    return "\n".join(p for p in parts if isinstance(p, str))


def _text_of(members: dict[str, msgspec.Raw]) -> str | None:
    content = members.get("content")
    if content is None:
        return None
    try:
        return text(orjson.loads(bytes(content)))
    except orjson.JSONDecodeError as fault:
        raise BadBody(f"a message's content cannot be read: {fault}", param="messages") from fault
