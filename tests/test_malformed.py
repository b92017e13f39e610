"""What nobody can answer is a 4xx in OpenAI's shape, at once, and never reaches an upstream."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests import malformed
from tests.malformed import RIGHT, right
from tests.standing import Standing

PATH = "/v1/chat/completions"
PATIENCE = 5.0
MAX_BODY = 1024 * 1024
AT_ONCE = 8
HEADERS = {"date", "content-type", "content-length", "x-request-id", "x-tuning-upstream"}
"""All that an error may carry here: where it was bound for is known when its values are looked at."""

Ask = Callable[[bytes], Coroutine[Any, Any, str]]
"""Sends a body and says what is wrong with the answer; nothing when all is well."""


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    standing = Standing(max_body=MAX_BODY)
    standing.start()
    yield standing
    standing.stop()


@pytest.fixture(autouse=True)
def untouched(standing: Standing) -> Iterator[None]:
    """No upstream got anything, and a right request is answered as if nothing had been."""
    before = len(standing.ollama.chats)
    yield
    assert len(standing.ollama.chats) == before
    for stream in (False, True):
        assert standing.post(PATH, RIGHT | {"stream": stream}).status_code == 200


async def send(standing: Standing, body: Any, headers: Any = None) -> httpx.Response:
    """The answer to these bytes, or to an iterator's as chunks; it comes in time."""
    async with asyncio.timeout(PATIENCE):
        told = {"content-type": "application/json", **(headers or {})}
        return await standing.attune.client.post(PATH, content=body, headers=told)


def fault(reply: httpx.Response, statuses: Sequence[int] = (400, 404)) -> str:
    """What is wrong with an error; nothing when all is well."""
    if reply.status_code not in statuses:
        return f"{reply.status_code}: {reply.text[:200]}"
    body = reply.json()
    error = body.get("error")
    if set(body) != {"error"} or set(error) != {"message", "type", "param", "code"}:
        return f"not OpenAI's shape: {reply.text[:200]}"
    if not error["code"].startswith("attune_") or not error["type"].endswith("_error"):
        return f"not our own error: {error}"
    if not error["message"].isprintable() or len(error["message"]) > 1000:
        return f"nothing to read: {error['message'][:200]!r}"
    if not isinstance(error["param"], str | None):
        return f"a param of no kind: {error}"
    strange = set(reply.headers) - HEADERS
    return f"headers {strange}" if strange else ""


def streaming(body: bytes) -> bytes:
    """The same body with `stream: true` in front of all it says itself."""
    return b'{"stream":true,' + body[1:] if body.startswith(b'{"model"') else body


def refused(standing: Standing, cases: Sequence[tuple[str, bytes]], ask: Ask) -> list[str]:
    """What is wrong with the answers to these cases, several asked at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, body: bytes) -> str:
        async with places:
            try:
                wrong = await ask(body)
            except (TimeoutError, httpx.HTTPError) as error:
                wrong = repr(error)
            return wrong and f"{name}: {wrong}"

    async def every() -> list[str]:
        return await asyncio.gather(*(one(name, body) for name, body in cases))

    return [wrong for wrong in standing.run(every()) if wrong]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", malformed.KINDS)
def test_what_is_malformed_is_refused(standing: Standing, kind: str, stream: bool) -> None:
    async def ask(body: bytes) -> str:
        return fault(await send(standing, streaming(body) if stream else body))

    assert refused(standing, [*malformed.KINDS[kind]()], ask) == []


@pytest.mark.parametrize("kind", malformed.KINDS)
def test_an_explanation_is_refused_with_the_same_words(standing: Standing, kind: str) -> None:
    async def ask(body: bytes) -> str:
        async with asyncio.timeout(PATIENCE):
            explained = await standing.attune.client.post("/api/v1/explain", content=b'{"body":%b}' % body)
        if wrong := fault(explained):
            return wrong
        reply = await send(standing, body)
        said, meant = (re.sub(r"byte \d+", "byte N", r.text) for r in (explained, reply))
        same = (explained.status_code, said) == (reply.status_code, meant)
        return "" if same else f"{said[:200]} != {meant[:200]}"

    # an explanation does without messages, and what is no JSON at all makes the question none either
    cases = [case for case in malformed.KINDS[kind]() if case[0] != "no messages"]
    if kind != "no_json":
        assert refused(standing, cases, ask) == []
    for _, body in cases if kind == "no_json" else ():
        question = b'{"body":%b}' % body
        reply = standing.run(standing.attune.client.post("/api/v1/explain", content=question))
        assert not fault(reply)


KINDS_OF_BODY = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "image/png",
    "x",
]
KINDS_OF_BODY += [
    "application/xml",
    "application/octet-stream",
    "",
    "json",
    "application/jsonp",
    "application/json-seq",
]
ENCODINGS = ["gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "x"]


@pytest.mark.parametrize("kind", KINDS_OF_BODY)
def test_only_json_is_taken(standing: Standing, kind: str) -> None:
    assert not fault(standing.run(send(standing, right(), {"content-type": kind})), [415])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_packed_is_taken(standing: Standing, encoding: str) -> None:
    body = gzip.compress(right())
    assert not fault(standing.run(send(standing, body, {"content-encoding": encoding})), [415])


def test_a_body_may_be_as_long_as_the_limit_and_no_longer(standing: Standing) -> None:
    too_long = right() + b" " * (MAX_BODY + 1 - len(right()))
    assert not fault(standing.run(send(standing, too_long)), [413])
    assert not fault(standing.run(send(standing, too_long * 40)), [413])
    assert not fault(standing.run(send(standing, too_long[1:-1] + b"]")))


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_body_in_chunks_is_judged_as_a_whole(standing: Standing, size: int) -> None:
    for _, body in list(malformed.no_json())[::12]:
        assert not fault(standing.run(send(standing, pieces(body[:2000], size))))
    too_long = right() + b" " * MAX_BODY
    assert not fault(standing.run(send(standing, pieces(too_long, size * 8192))), [413])


@pytest.mark.parametrize("path", [PATH, "/api/v1/explain"])
def test_a_client_that_leaves_in_mid_upload_disturbs_nobody(standing: Standing, path: str) -> None:
    async def leave() -> None:
        host, _, port = standing.attune.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n"
        writer.write(head.encode() + right())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while standing.attune.app.v1.running:
                await asyncio.sleep(0.005)

    standing.run(leave())


STRANGE = [
    "nobody",
    "precise/x",
    "\xff\xfe",
    "a" * 6000,
    "%0d%0aX-Evil: 1",
    "a;b,c=d",
    '"precise"',
    "../x",
    "*",
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_profile_is_named_in_the_error_and_nowhere_else(standing: Standing, name: str) -> None:
    headers = [("x-tuning-profile", name.encode("latin-1"))]
    reply = standing.run(standing.attune.client.post(PATH, json=RIGHT, headers=headers))
    assert not fault(reply, [400])
    assert reply.json()["error"]["code"] == "attune_unknown_profile"


@pytest.mark.parametrize("rid", ["a b", "a" * 65, "\xe9", "<script>", "a,b", ""])
def test_a_request_id_that_is_not_harmless_is_not_repeated(standing: Standing, rid: str) -> None:
    headers = [("x-request-id", rid.encode("latin-1")), ("content-type", "application/json")]
    reply = standing.run(standing.attune.client.post(PATH, content=b"[]", headers=headers))
    assert not fault(reply)
    assert reply.headers["x-request-id"].isalnum() and reply.headers["x-request-id"] != rid


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", PATH, 405), ("PUT", PATH, 405), ("POST", "/v1/chat", 404)]
)
def test_other_methods_and_paths_answer_in_the_same_shape(
    standing: Standing, method: str, path: str, status: int
) -> None:
    reply = standing.run(standing.attune.client.request(method, path, json=RIGHT))
    assert reply.status_code == status
    assert reply.json()["error"]["code"] in ("attune_not_found", "attune_method_not_allowed")


def test_there_are_enough_cases() -> None:
    names = [f"{kind}: {name}" for kind, cases in malformed.KINDS.items() for name, _ in cases()]
    assert len(names) > 600
    assert len(set(names)) == len(names)
