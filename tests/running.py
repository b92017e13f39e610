"""A real Attune on a real socket, in the test's own loop."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from proxy.app import App
from proxy.server import config
from proxy.settings import from_environment

START = 10.0
STOP = 10.0


@dataclass
class Attune:
    """A running proxy."""

    url: str
    app: App
    client: httpx.AsyncClient
    rules: Path

    async def chat(self, model: str = "llama3:8b", **body: Any) -> httpx.Response:
        """A chat request; `headers` go where they belong."""
        headers = body.pop("headers", None)
        body.setdefault("messages", [{"role": "user", "content": "hi"}])
        return await self.client.post("/v1/chat/completions", json={"model": model, **body}, headers=headers)

    async def explain(
        self, model: str, headers: Mapping[str, str] | None = None, **body: Any
    ) -> dict[str, Any]:
        """A decision."""
        asked = {"model": model, "headers": headers or {}, "body": body}
        reply = await self.client.post("/api/v1/explain", json=asked)
        assert reply.status_code == 200, reply.text
        return reply.json()


@asynccontextmanager
async def attune(
    upstreams: Sequence[str] = (), rules: str = "", *, demo: bool = False, **settings: Any
) -> AsyncIterator[Attune]:
    """A proxy before these upstreams, with one rule file; stopped with nothing left behind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(rules)
        environ = settings.pop("environ", {})
        chosen = from_environment({}, upstreams=tuple(upstreams), rules=(str(path),), port=0, **settings)
        app = App(chosen, environ, demo=demo)
        server = uvicorn.Server(config(app, chosen))
        task = asyncio.create_task(server._serve())
        try:
            async with asyncio.timeout(START):
                while not server.started:
                    assert not task.done(), "the server did not start"
                    await asyncio.sleep(0.005)
            host, port = server.servers[0].sockets[0].getsockname()[:2]
            url = f"http://{host}:{port}"
            async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
                yield Attune(url, app, client, path)
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, STOP)
