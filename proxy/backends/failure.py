"""Pure. An upstream's own error, whatever its shape, in OpenAI's: its status and its words.

Shapes that are read, at any depth up to `_DEEPEST`:

    {"error": {"message", "type", "param", "code"}}     OpenAI, vLLM, llama.cpp
    {"object": "error", "message", "type", "code"}      vLLM 0.8
    {"type": "error", "error": {"type", "message"}}     Anthropic
    {"error": "words"}                                  Ollama, vLLM's 401
    {"error": "{\\"error\\": {...}}"}                     Ollama, handing on what llama-server said
    {"detail": "words"}, {"detail": [{"loc", "msg"}]}   FastAPI
    plain text, nothing at all, a web page, bytes that are no text

Where objects lie in each other, the innermost knows best: its type, param and code come first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Never

import orjson

from proxy.errors import UpstreamRefused

_DEEPEST = 10

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    504: "timeout_error",
}

# Our API never answers 422; 499 means a client that left, which is not what happened to ours.
_STATUSES = {422: 400, 499: 502}

_PAGE = ("<!doctype", "<html", "<head", "<body", "<?xml", "<!--")
_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)

# RFC 9110 lets a sender write dates in this one form only.
_RETRY_AFTER = re.compile(
    rb"\d{1,9}"
    rb"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}"
    rb" \d\d:\d\d:\d\d GMT"
)


@dataclass(frozen=True, slots=True)
class _Words:
    """What could be read of an error."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    copied: bool = False
    """It was JSON inside a JSON string: one server handing on what another said."""

    def within(self, parent: dict[str, Any]) -> _Words:
        """The same, completed by the object around it."""
        kind, param, code = parent.get("type"), parent.get("param"), parent.get("code")
        return replace(
            self,
            type=self.type or (kind if isinstance(kind, str) and kind != "error" else None),
            param=self.param or (param if isinstance(param, str) else None),
            code=code if self.code is None and isinstance(code, str | int) else self.code,
        )


def refused(
    status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = (), *, limit: int = 8192
) -> UpstreamRefused:
    """The error that says what the upstream said; never raises.

    `status` stays if it is 4xx or 5xx, except 422 (400) and 499 (502); anything else becomes 502. Of the
    headers only a valid `Retry-After` is kept. `limit` is the longest message, in characters.
    """
    words = _read(status, body, headers)
    final = _status(status, words)
    code = None if words.code in (status, final) or isinstance(words.code, bool) else words.code
    error = {
        "message": _cut(words.message, limit),
        "type": _cut(words.type or _TYPES.get(final, "api_error"), limit),
        "param": _cut(words.param, limit) if words.param else None,
        "code": None if code in (None, "") else _cut(_digits(code), limit),
    }
    return UpstreamRefused(final, error, _retry_after(headers))


def reported(body: bytes) -> UpstreamRefused:
    """The error for an error object that came under status 200: its integer code is the status, else 500."""
    return refused(_own_status(body), body)


def holds_error(answer: dict[str, Any]) -> bool:
    """Whether an object that came under status 200 is an error object instead of an answer."""
    return (
        bool(answer.get("error"))
        or "error" in (answer.get("object"), answer.get("type"))
        or ("error" in answer and "choices" not in answer)
    )


def read_json(data: bytes | str) -> Any:
    """Any JSON text; raises `ValueError`.

    Half a surrogate pair as `\\ud83d` is let through: JSON's grammar allows it, and clients read it.
    """
    try:
        return orjson.loads(data)
    except ValueError:
        text = data.decode() if isinstance(data, bytes) else data
    try:
        return json.loads(text, parse_constant=_not_json)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _not_json(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _read(status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> _Words:
    """The words; our own where the upstream has none that may be shown."""
    said = f"the upstream answered with status {status}"
    if 300 <= status < 400:
        return _Words(f"{said}, a redirect, which is not followed")
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text:
        return _Words(f"{said} and an empty body")
    if _is_page(text, headers):
        title = _TITLE.search(text[:4096])
        named = f' titled "{" ".join(title[1].split())}"' if title else ""
        return _Words(f"{said} and a web page{named} instead of an error object")
    if "\x00" in text:
        return _Words(f"{said} and {len(body)} bytes that are not text")
    words = _from_text(text, 0)
    return words if words.message else replace(words, message=f"{said} and no message")


def _is_page(text: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    html = any(name.lower() == b"content-type" and b"html" in value.lower() for name, value in headers)
    return text[:16].lower().startswith(_PAGE) or (html and text.startswith("<"))


def _from_text(text: str, depth: int) -> _Words:
    """JSON that is understood, else the text itself."""
    if text[:1] in ("{", "[", '"'):
        try:
            inner = _from_value(read_json(text), depth + 1)
        except ValueError:
            inner = None
        if inner is not None:
            return replace(inner, copied=True) if depth else inner
    return _Words(text)


def _from_value(value: object, depth: int) -> _Words | None:
    if isinstance(value, str):
        return _from_string(value.strip(), depth)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, list):
        return _from_list(value, depth)
    return _from_object(value, depth) if isinstance(value, dict) else None


def _from_string(text: str, depth: int) -> _Words | None:
    if not text:
        return None
    return _from_text(text, depth) if depth < _DEEPEST else _Words(text)


def _from_object(value: dict[str, Any], depth: int) -> _Words | None:
    for key in ("error", "message", "detail", "msg"):
        inner = _from_value(value.get(key), depth + 1)
        if inner is not None:
            return inner.within(value)
    # An engine that fails without a word still says which kind of failure it was.
    return _Words("").within(value) if value.keys() & {"message", "type", "code"} else None


def _from_list(items: list[object], depth: int) -> _Words | None:
    """FastAPI's complaints joined; of any other list the first item."""
    complaints = [_complaint(item) for item in items if isinstance(item, dict) and "loc" in item]
    if complaints:
        return _Words("; ".join(complaints))
    return _from_value(items[0], depth + 1) if items else None


def _complaint(item: dict[str, Any]) -> str:
    place = item["loc"]
    where = ".".join(str(step) for step in place) if isinstance(place, list) else str(place)
    return f"{where}: {item.get('msg')}"


def _status(status: int, words: _Words) -> int:
    if words.copied and status in (200, 500) and isinstance(words.code, int) and 400 <= words.code <= 499:
        status = words.code
    status = _STATUSES.get(status, status)
    return status if 400 <= status <= 599 else 502


def _own_status(body: bytes) -> int:
    try:
        value = read_json(body)
    except ValueError:
        return 500
    outer = value if isinstance(value, dict) else {}
    inner = outer.get("error")
    for holder in (inner if isinstance(inner, dict) else {}, outer):
        code = holder.get("code")
        if isinstance(code, int) and 400 <= code <= 599:
            return code
    return 500


def _digits(code: str | int | None) -> str:
    # Python refuses to print integers of thousands of digits; no error code has more than a few.
    return str(code) if isinstance(code, str) or -(10**18) < (code or 0) < 10**18 else "number"


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, all of which can be encoded."""
    short = text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"
    return short.encode("utf-8", "replace").decode()


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    for name, value in headers:
        if name.lower() == b"retry-after" and _RETRY_AFTER.fullmatch(value.strip()):
            return [("retry-after", value.strip().decode("ascii"))]
    return []
