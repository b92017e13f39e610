"""Pure. Server-sent events as OpenAI's clients read them."""

from __future__ import annotations

import orjson

from proxy.errors import AttuneError

DONE = b"data: [DONE]\n\n"

HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def error_event(error: AttuneError) -> bytes:
    """One `data: {"error": {...}}` event; the stream ends after it, with no `[DONE]`."""
    return b"data: " + orjson.dumps(error.body()) + b"\n\n"
