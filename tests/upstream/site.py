"""A server of a few JSON pages, to be looked at: what a runtime shows of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.upstream.server import Peer, serving


@dataclass
class Raw:
    """An answer that is not the JSON of a 200."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"


@dataclass
class Site:
    """Path -> what is there; `pages` may be changed at any time. `None` never answers."""

    pages: dict[str, Any]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request, in their order."""
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, peer: Peer) -> None:
        while True:
            head = await peer.request()
            method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
            self.asked.append(f"{method} {path}")
            self.heads.append(head)
            page = self.pages.get(path, Raw(404, b'{"detail":"Not Found"}'))
            if page is None:
                await peer.gone()
                return
            answer = page if isinstance(page, Raw) else Raw(body=json.dumps(page).encode())
            await peer.send(
                f"HTTP/1.1 {answer.status} -\r\ncontent-type: {answer.kind}\r\n"
                f"content-length: {len(answer.body)}\r\n\r\n".encode()
                + answer.body
            )


@asynccontextmanager
async def site(pages: dict[str, Any]) -> AsyncIterator[Site]:
    """A site on a free port."""
    shown = Site(pages)
    async with serving(shown.serve) as server:
        shown.url = f"http://127.0.0.1:{server.port}"
        yield shown


def vllm(*models: dict[str, Any], version: str = "0.32.0") -> dict[str, Any]:
    """What vLLM shows."""
    entries = [{"object": "model", "owned_by": "vllm", "parent": None, **m} for m in models]
    return {"/version": {"version": version}, "/v1/models": {"object": "list", "data": entries}}


async def closed_port() -> int:
    """A port on which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
