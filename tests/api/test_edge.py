"""Bodies in, errors out, one request id for both."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from proxy.api import edge
from proxy.errors import (
    AttuneError,
    BadBody,
    BodyTooLarge,
    Draining,
    TooManyRequests,
    UpstreamRefused,
    WrongContentType,
)

LIMIT = 100
GONE = {"type": "http.disconnect"}


def part(body: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def receiving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


class Sent:
    """What went to the client."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def json(self) -> Any:
        return orjson.loads(self.messages[1]["body"])


# The request id


@pytest.mark.parametrize("given", [b"a", b"req_1-2.3", b"A" * 64, b"0"])
def test_a_harmless_request_id_is_kept(given: bytes) -> None:
    assert edge.request_id({b"x-request-id": given}) == given.decode()


@pytest.mark.parametrize(
    "given",
    [b"", b"A" * 65, b"a b", b"a\n", b"a;b", b"../x", b'"', b"\xe9", b"<script>", b"a\r\nset-cookie: x"],
)
def test_any_other_is_replaced(given: bytes) -> None:
    made = edge.request_id({b"x-request-id": given})
    assert edge._REQUEST_ID.fullmatch(made.encode())
    assert made.encode() != given


def test_made_ids_differ() -> None:
    assert len({edge.request_id({}) for _ in range(1000)}) == 1000


# The body


async def test_a_body_in_one_piece() -> None:
    assert await edge.read_body({}, receiving(part(b"abc")), LIMIT) == b"abc"
    assert await edge.read_body({}, receiving({"type": "http.request"}), LIMIT) == b""


async def test_a_body_in_many_pieces() -> None:
    pieces = receiving(part(b"a", True), part(b"", True), part(b"bc", True), part(b"d"))
    assert await edge.read_body({}, pieces, LIMIT) == b"abcd"


@pytest.mark.parametrize("size", [0, LIMIT])
async def test_a_body_as_long_as_allowed(size: int) -> None:
    headers = {b"content-length": str(size).encode()}
    assert await edge.read_body(headers, receiving(part(b"x" * size)), LIMIT) == b"x" * size


async def test_a_body_declared_too_long_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge, match=r"longer than 100 bytes \(ATTUNE_MAX_BODY\)") as caught:
        await edge.read_body({b"content-length": b"101"}, receiving(), LIMIT)
    assert caught.value.status == 413


async def test_a_body_in_one_piece_that_is_too_long() -> None:
    with pytest.raises(BodyTooLarge):
        await edge.read_body({}, receiving(part(b"x" * (LIMIT + 1))), LIMIT)


async def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_long() -> None:
    messages = receiving(part(b"x" * 60, True), part(b"x" * 60, True))
    with pytest.raises(BodyTooLarge):
        await edge.read_body({b"content-length": b"junk"}, messages, LIMIT)


@pytest.mark.parametrize("before", [(), (part(b"a", True),)])
async def test_a_client_that_leaves_before_the_end_of_its_body(before: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(edge.ClientLeft) as caught:
        await edge.read_body({}, receiving(*before, GONE), LIMIT)
    assert caught.value.status == 499


@pytest.mark.parametrize(
    "declared",
    [
        None,
        b"application/json",
        b"application/json; charset=utf-8",
        b"Application/JSON",
        b"text/json",
        b"application/vnd.api+json",
        b" application/json ",
    ],
)
def test_what_counts_as_json(declared: bytes | None) -> None:
    edge.check_json({} if declared is None else {b"content-type": declared})


@pytest.mark.parametrize(
    "declared",
    [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"", b"json"],
)
def test_what_does_not(declared: bytes) -> None:
    with pytest.raises(WrongContentType, match="must be application/json, not ") as caught:
        edge.check_json({b"content-type": declared})
    assert caught.value.status == 415


def test_a_compressed_body_is_refused() -> None:
    edge.check_json({b"content-encoding": b"Identity"})
    with pytest.raises(WrongContentType, match="compressed"):
        edge.check_json({b"content-encoding": b"gzip"})


def test_a_control_body_is_a_json_object() -> None:
    assert edge.load_object(b'{"a": [1]}') == {"a": [1]}
    with pytest.raises(BadBody, match="not valid JSON"):
        edge.load_object(b"{")
    with pytest.raises(BadBody, match="must be a JSON object"):
        edge.load_object(b"[]")


# Errors


async def test_an_error_in_openai_s_shape() -> None:
    send = Sent()
    await edge.send_error(send, TooManyRequests("full", retry_after=7), "rid-1")
    assert send.status == 429
    assert send.headers[b"retry-after"] == b"7"
    assert send.headers[b"x-request-id"] == b"rid-1"
    assert send.headers[b"content-type"] == b"application/json"
    assert int(send.headers[b"content-length"]) == len(send.messages[1]["body"])
    expected = {"type": "rate_limit_error", "param": None, "code": "attune_too_many_requests"}
    assert send.json == {"error": {"message": "full", **expected}}
    assert not send.messages[1].get("more_body")


async def test_an_upstreams_own_words() -> None:
    send = Sent()
    error = {"message": "no", "type": "t", "param": "p", "code": "c"}
    await edge.send_error(send, UpstreamRefused(418, error, [("retry-after", "3")]), "r")
    assert (send.status, send.json, send.headers[b"retry-after"]) == (418, {"error": error}, b"3")


async def test_draining_closes_the_connection() -> None:
    send = Sent()
    await edge.send_error(send, Draining("bye"), "r")
    assert (send.status, send.headers[b"connection"]) == (503, b"close")


def test_a_fault_that_nobody_foresaw_tells_the_client_nothing_of_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("attune"), "propagate", True)
    try:
        raise KeyError("secret detail")
    except KeyError as fault:
        error = edge.as_error(fault, "rid-9")
    assert type(error) is AttuneError
    assert (error.status, error.code) == (500, "attune_internal_error")
    assert "secret" not in error.message
    assert "rid-9" in error.message
    assert "secret detail" in caplog.text
    assert "rid-9" in caplog.text


def test_our_own_errors_pass_as_they_are() -> None:
    error = Draining("bye")
    assert edge.as_error(error, "r") is error
