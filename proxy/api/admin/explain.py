"""I/O. `POST /api/v1/explain`: the decision for a request that is never sent."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.api.admin.resource import Call
from proxy.api.edge import load_object
from proxy.errors import BadBody
from proxy.openai.request import NO_MESSAGES, parse_chat
from proxy.parameters.values import show

_ACCEPTED = ("model", "headers", "body")


async def explain(call: Call) -> dict[str, Any]:
    """`{"model", "headers": {}, "body": {}}` -> the decision, and the body that would go upstream."""
    asked = load_object(call.body)
    unknown = [key for key in asked if key not in _ACCEPTED]
    if unknown:
        raise BadBody(f"unknown key {show(unknown[0])}; accepted: {', '.join(_ACCEPTED)}", param=unknown[0])
    body = _part(asked, "body")
    if asked.get("model") is not None:
        body = {**body, "model": asked["model"]}
    body.setdefault("messages", NO_MESSAGES)
    chat = parse_chat(orjson.dumps(body))
    incoming = call.v1.incoming(_headers(asked), call.request_id, chat, call.caller)
    written = await call.v1.gateway.explain(incoming)
    return written.explanation(call.request_id)


def _headers(asked: dict[str, Any]) -> dict[bytes, bytes]:
    """The headers to explain; who asks is the caller, whatever they say."""
    given = {}
    for name, value in _part(asked, "headers").items():
        if not isinstance(value, str) or not value.isascii() or not name.isascii():
            raise BadBody(f"headers.{name} must be an ASCII string, not {show(value)}", param="headers")
        given[name.lower().encode()] = value.encode()
    return given


def _part(asked: dict[str, Any], key: str) -> dict[str, Any]:
    part = asked.get(key)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise BadBody(f"{key} must be an object, not {show(part)}", param=key)
    return dict(part)
