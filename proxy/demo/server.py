"""I/O. The demo runtime on a loopback socket, inside the process that asked for it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.demo.api import create_demo_app
from proxy.demo.runtime import Runtime

_START_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 5.0


class LocalHostsOnly:
    """403 for a `Host` that is not this machine, so that no web page reaches it by a name of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_local(
            dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        ):
            await Response(status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DemoServer:
    """The demo runtime on a socket of 127.0.0.1, in this event loop. `serve_demo` makes one; `close` it."""

    def __init__(self, runtime: Runtime, server: uvicorn.Server, listener: socket.socket) -> None:
        self.runtime = runtime
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        """Where it listens, without a slash at the end."""
        self._server = server
        self._serving = asyncio.create_task(server.serve(sockets=[listener]), name="attune-demo")

    async def started(self) -> None:
        """Returns once connections are taken."""
        async with asyncio.timeout(_START_TIMEOUT):
            while not self._server.started:
                if self._serving.done():
                    self._serving.result()
                    raise RuntimeError("the demo runtime stopped while it was starting")
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Break off what is being answered and free the port. May be called again."""
        self.runtime.closing = True
        self._server.should_exit = True
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await self._serving


async def serve_demo(port: int = 0) -> DemoServer:
    """Serve the demo runtime on 127.0.0.1; port 0 takes a free one. `OSError` if the port is taken."""
    runtime = Runtime()
    config = uvicorn.Config(
        LocalHostsOnly(create_demo_app(runtime)),
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = DemoServer(runtime, _Server(config), socket.create_server(("127.0.0.1", port)))
    try:
        await server.started()
    except BaseException:
        await server.close()
        raise
    return server
