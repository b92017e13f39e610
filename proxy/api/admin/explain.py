"""I/O. `POST /api/v1/explain`: the decision for a request that is never sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from proxy.api.admin.resource import Call
from proxy.errors import BadBody
from proxy.openai.request import NO_MESSAGES, parse_chat
from proxy.parameters.values import show

_ACCEPTED = ("model", "headers", "body")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def explain(call: Call) -> dict[str, Any]:
    """`{"model", "headers": {}, "body": {}}` -> the decision, and the body that would go upstream."""
    asked = _members("the body", call.body)
    unknown = [key for key in asked if key not in _ACCEPTED]
    if unknown:
        raise BadBody(f"unknown key {show(unknown[0])}; accepted: {', '.join(_ACCEPTED)}", param=unknown[0])
    # the members stay the bytes they came as, so that they are read as the request's own would be
    body = _part(asked, "body")
    if bytes(asked.get("model", b"null")) != b"null":
        body["model"] = asked["model"]
    body.setdefault("messages", msgspec.Raw(orjson.dumps(NO_MESSAGES)))
    chat = parse_chat(msgspec.json.encode(body))
    incoming = call.v1.incoming(_headers(asked), call.request_id, chat, call.caller)
    written = await call.v1.gateway.explain(incoming)
    return written.explanation(call.request_id)


def _headers(asked: Mapping[str, msgspec.Raw]) -> dict[bytes, bytes]:
    """The headers to explain; who asks is the caller, whatever they say."""
    given = {}
    for name, raw in _part(asked, "headers").items():
        value = orjson.loads(bytes(raw)) if bytes(raw).startswith(b'"') else None
        if value is None or not value.isascii() or not name.isascii():
            shown = bytes(raw)[:60].decode(errors="replace")
            raise BadBody(f"headers.{show(name)} must be an ASCII string, not {shown}", param="headers")
        given[name.lower().encode()] = value.encode()
    return given


def _part(asked: Mapping[str, msgspec.Raw], key: str) -> dict[str, msgspec.Raw]:
    raw = bytes(asked.get(key, b"null"))
    return {} if raw == b"null" else _members(key, raw)


def _members(name: str, raw: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object, each as bytes."""
    param = None if name == "the body" else name
    try:
        if not raw.isascii():
            raw.decode()
        return _MEMBERS.decode(raw)
    except msgspec.ValidationError:
        raise BadBody(f"{name} must be a JSON object", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        deep = isinstance(fault, RecursionError)
        words = "it is nested too deeply" if deep else str(fault)
        raise BadBody(f"{name} is not valid JSON: {words}", param=param) from None
