"""I/O. The ASGI edge: bodies in, errors out, one request id for both.

The one place with a broad `except` on a request's way: whatever happens inside, the client gets an answer.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from proxy.errors import AttuneError, BadBody, BodyTooLarge, ClientError, WrongContentType

log = logging.getLogger("attune")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS = os.urandom(8).hex()
_COUNT = itertools.count(1)
"""Request ids need to be unique, not secret."""
_JSON_TYPES = (b"application/json", b"text/json")


class ClientLeft(AttuneError):
    """The client hung up while its body was read; there is nobody to answer."""

    status = 499
    code = "attune_client_left"

    def __init__(self) -> None:
        super().__init__("the client left before its request was complete")


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's `X-Request-Id` if it is harmless to repeat, else one of our own."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS}{next(_COUNT):08x}"


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole request body, refused as soon as it is known to be too long."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    pieces: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuses a body that is declared to be something other than JSON, or encoded."""
    declared = headers.get(b"content-type")
    if declared is not None and declared != b"application/json":
        kind = declared.partition(b";")[0].strip().lower()
        if kind not in _JSON_TYPES and not kind.endswith(b"+json"):
            shown = kind.decode("latin-1")[:80]
            raise WrongContentType(f"the body must be application/json, not {shown!r}")
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() not in (b"identity", b""):
        raise WrongContentType("the body must not be compressed: send it without Content-Encoding")


def load_object(body: bytes) -> dict[str, Any]:
    """A control API body: a JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise BadBody(f"the body is not valid JSON: {fault}") from None
    if not isinstance(value, dict):
        raise BadBody("the body must be a JSON object")
    return value


def as_error(fault: Exception, rid: str) -> AttuneError:
    """What the client is told of any exception; one that nobody foresaw is logged with its traceback."""
    if isinstance(fault, AttuneError):
        return fault
    log.error("request %s failed inside Attune", rid, exc_info=fault)
    return AttuneError(f"Attune failed inside; its log has the details under request id {rid}")


async def send_error(send: Send, error: AttuneError, rid: str) -> None:
    """An error as the whole answer."""
    body = orjson.dumps(error.body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", rid.encode()),
        *error.decided,
        *((name.encode(), value.encode("latin-1")) for name, value in error.headers()),
    ]
    if not isinstance(error, ClientError):
        log.info("request %s: %s %s", rid, error.status, error.message)
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is longer than {limit} bytes (ATTUNE_MAX_BODY)")
