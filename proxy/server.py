"""I/O. Runs the application: sockets, workers, exit codes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.supervisors import Multiprocess

from proxy.api.auth import Auth, admin_key, check_exposure
from proxy.app import App
from proxy.settings import PREFIX, Settings

KEEP_ALIVE = 75
"""Seconds an idle client connection is kept; longer than the clients' own pools keep theirs."""


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers and self.servers[0].sockets:
            self._ready(_address(self.servers[0].sockets[0]))


def config(app: App | str, settings: Settings, *, factory: bool = False) -> uvicorn.Config:
    """uvicorn's configuration for one worker."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        factory=factory,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout)),
    )


def run(settings: Settings, ready: Callable[[str], None], *, demo: bool = False) -> int:
    """Serve until told to stop; returns the exit code."""
    check_exposure(settings, Auth(admin_key(settings)))
    if settings.workers > 1:
        return _run_workers(settings, ready)
    app = App(settings, os.environ, demo=demo, own_process=True)
    app.files.load()
    server = Server(config(app, settings), ready)
    server.run()
    return 0 if server.started else 1


def _run_workers(settings: Settings, ready: Callable[[str], None]) -> int:
    """Several processes on one socket; each builds its own application from the environment."""
    for name, value in settings.model_dump().items():
        if value is not None and value != ():
            os.environ[PREFIX + name.upper()] = _text(value)
    parent = config("proxy.app:create_app", settings, factory=True)
    sockets = [parent.bind_socket()]
    ready(_address(sockets[0]))
    Multiprocess(parent, sockets=sockets).run()
    return 0


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return json.dumps(value) if isinstance(value, tuple) else str(value)
