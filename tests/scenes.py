"""Proxies between a test and doubles of upstreams, and what a client reads of an answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import yaml

from proxy.upstream.upstream import Upstream
from tests.doubles.ollama import OllamaDouble
from tests.running import Attune, attune
from tests.upstream.server import Peer, Script, eventually, serving


def rules(*upstreams: dict[str, Any], **sections: Any) -> str:
    """A rule file."""
    return yaml.safe_dump({"upstreams": list(upstreams), **sections}, sort_keys=False)


@asynccontextmanager
async def proxied(
    *options: dict[str, Any], sections: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Attune, OllamaDouble, OllamaDouble]]:
    """A proxy before as many doubles as there are options for upstreams, called a, b, ... (one at least).

    Gives the first two doubles; the second is the first again if there is one only.
    """
    settings = {"discover_every": 60.0, "builtin_rules": False, **settings}
    async with AsyncExitStack() as stack:
        doubles = [await stack.enter_async_context(OllamaDouble()) for _ in options or ({},)]
        entries = [
            {"name": "abcdef"[n], "url": double.url, **given}
            for n, (double, given) in enumerate(zip(doubles, options or ({},), strict=True))
        ]
        proxy = await stack.enter_async_context(attune(rules=rules(*entries, **(sections or {})), **settings))
        await eventually(lambda: proxy.app.fleet.settled, 3)
        yield proxy, doubles[0], doubles[-1]


@asynccontextmanager
async def before(
    script: Script, *, sections: dict[str, Any] | None = None, **entry: Any
) -> AsyncIterator[Attune]:
    """A proxy before a raw server, which is called `raw`, is an OpenAI server unless said, and serves `m`.

    The script gets the connections of chats only.
    """

    async def scripted(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            await peer.send(b"HTTP/1.1 404 -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        # the script reads the request itself
        peer.reader._buffer[:0] = head  # type: ignore[attr-defined]
        await script(peer)

    async with serving(scripted) as server:
        url = f"http://127.0.0.1:{server.port}"
        given = {"name": "raw", "url": url, "runtime": "openai", "models": ["m"], **entry}
        async with attune(
            rules=rules(given, **(sections or {})), discover_every=60.0, builtin_rules=False
        ) as proxy:
            await eventually(lambda: proxy.app.fleet.settled, 3)
            yield proxy


def upstream(proxy: Attune, name: str = "a") -> Upstream:
    return proxy.app.fleet.upstreams[name]


def quiet(proxy: Attune) -> bool:
    """Whether nothing is under way."""
    busy = [(u.active, u.queued, u.pool.active) for u in proxy.app.fleet.upstreams.values()]
    return proxy.app.v1.running == 0 and busy == [(0, 0, 0)] * len(busy)


def error(reply: httpx.Response) -> dict[str, Any]:
    """The error of an answer, which must have OpenAI's shape."""
    body = reply.json()
    assert list(body) == ["error"], body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    return dict(body["error"])


def said(reply: httpx.Response) -> str:
    """The text of a whole answer."""
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def events(reply: httpx.Response) -> list[Any]:
    """A stream's events, `[DONE]` as text."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = [part.removeprefix("data: ") for part in reply.text.split("\n\n") if part]
    return [part if part == "[DONE]" else json.loads(part) for part in found]


def streamed(reply: httpx.Response) -> str:
    """The text of a stream that ended well."""
    *chunks, done = events(reply)
    assert done == "[DONE]"
    finals = [c for c in chunks for choice in c["choices"] if choice["finish_reason"]]
    assert len(finals) == 1
    return joined(chunks)


def broken(reply: httpx.Response) -> tuple[str, dict[str, Any]]:
    """The text and the error of a stream that broke off: one error event, no end mark of any kind."""
    *chunks, last = events(reply)
    assert list(last) == ["error"], last
    assert all("choices" in chunk for chunk in chunks)
    assert not [c for c in chunks for choice in c["choices"] if choice["finish_reason"]]
    return joined(chunks), last["error"]


def joined(chunks: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for c in chunks for choice in c["choices"])
