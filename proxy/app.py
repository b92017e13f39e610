"""I/O. Builds everything once and hands it in; the ASGI application of one worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy.api import operations
from proxy.api.admin import RESOURCES
from proxy.api.admin.resource import Call, Resource
from proxy.api.auth import Auth, admin_key
from proxy.api.edge import Receive, Scope, Send, as_error, check_json, read_body, request_id
from proxy.api.v1 import CHAT, V1
from proxy.decider import Decider
from proxy.decision import Policy
from proxy.demo.server import DemoServer, serve_demo
from proxy.drain import Drain
from proxy.errors import AttuneError, MethodNotAllowed, NotFound
from proxy.gateway import Gateway
from proxy.reload import RuleFiles
from proxy.rules.rule import UpstreamEntry
from proxy.settings import Settings, from_environment, strangers
from proxy.snapshot import Snapshot
from proxy.telemetry.log import configure
from proxy.upstream.fleet import Fleet
from proxy.upstream.origin import Origin

log = logging.getLogger("attune")

COLLECT_AT = (50_000, 20, 50)
"""Allocations, and collections of the younger generation, before one collection of the next."""

DEFAULT_OLLAMA = "http://127.0.0.1:11434"


class App:
    """One worker: the hot route is called at once, everything else goes through Starlette's router."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], *, demo: bool = False, own_process: bool = False
    ) -> None:
        self.settings = settings
        self.files = RuleFiles([Path(p) for p in settings.rules], builtin=settings.builtin_rules)
        self._environ = environ
        self._wants_demo = demo
        self._own_process = own_process
        """Whether the process is the server's, so that signals mean the application."""
        self._demo: DemoServer | None = None
        self._ready = True
        self._auth = Auth(admin_key(settings))
        self.fleet = Fleet(every=settings.discover_every, num_ctx=settings.num_ctx, environ=environ)
        policy = Policy(settings.vendor_defaults, settings.protected == "drop")
        self.gateway = Gateway(self.fleet, Decider(policy), lambda: self.files.current)
        self.v1 = V1(settings, self._auth, self.gateway, self.files, int(time.time()))
        self._watcher: asyncio.Task[None] | None = None
        self._rest = self._routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"] == CHAT and scope["method"] == "POST":
                await self.v1.chat(scope, receive, send)
            else:
                await self._named(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _named(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything but the hot route: one request id for what is done and what is answered."""
        rid = request_id(dict(scope["headers"]))
        scope["attune.request_id"] = rid

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", rid.encode())]}
            await send(message)

        await self._rest(scope, receive, named)

    def unready(self) -> None:
        """Tell orchestrators to send no more; what comes is still served."""
        self._ready = False

    def refuse(self) -> None:
        """Take no new work; what runs may finish."""
        self._ready = False
        self.v1.draining = True

    async def start(self) -> None:
        """Read the rules, meet the upstreams. A bad rule file stops the start, a dead upstream does not."""
        for words in strangers(self._environ):
            log.warning("%s", words)
        snapshot = self.files.load()
        if self._wants_demo:
            self._demo = await serve_demo()
        self.fleet.update(self._entries(snapshot))
        self.files.subscribe(self._swap)
        if self._own_process:
            Drain(self, self.settings.drain_delay)
        self._watcher = asyncio.create_task(self.files.watch(self.settings.reload_every), name="rules")
        # What was built so far lives as long as the process: the collector need not look at it again.
        # Requests leave no cycles behind, so it may look for them less often.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)

    async def stop(self) -> None:
        """Leave nothing behind."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.fleet.close()
        if self._demo is not None:
            await self._demo.close()

    def _swap(self, snapshot: Snapshot) -> None:
        self.fleet.update(self._entries(snapshot))

    def _entries(self, snapshot: Snapshot) -> Sequence[UpstreamEntry]:
        """The command line's upstreams, else the rule files', else the local Ollama."""
        if self._demo is not None:
            return [_entry({"name": "demo", "url": self._demo.url, "runtime": "ollama"})]
        if self.settings.upstreams:
            return entries(self.settings.upstreams)
        return snapshot.upstreams or entries([ollama_url(self._environ.get("OLLAMA_HOST", ""))])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except AttuneError as fault:
            log.error("%s", fault.message)
            await send({"type": "lifespan.startup.failed", "message": fault.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _routes(self) -> Starlette:
        routes = [
            Route("/livez", _livez, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{model:path}", self._model, methods=["GET"]),
            Route(CHAT, self._never, methods=["POST"]),
        ]
        routes += [Route(path, self._resource(call), methods=[method]) for method, path, call in RESOURCES]
        app = Starlette(
            routes=routes,
            exception_handlers={AttuneError: _on_error, HTTPException: _on_http_error, Exception: _on_error},
        )
        # A redirect would be built from the client's own Host.
        app.router.redirect_slashes = False
        return app

    async def _readyz(self, _: Request) -> Response:
        status, body = operations.readyz(self._ready, self.files.faults)
        return JSONResponse(body, status)

    async def _models(self, request: Request) -> Response:
        self._auth.caller(dict(request.scope["headers"]))
        return JSONResponse(await self.v1.models())

    async def _model(self, request: Request) -> Response:
        self._auth.caller(dict(request.scope["headers"]))
        return JSONResponse(await self.v1.model(request.path_params["model"]))

    async def _never(self, request: Request) -> Response:
        """The chat route is answered before routing; it stands here so that other methods are a 405."""
        raise NotFound("no such path")

    def _resource(self, resource: Resource) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            headers = dict(request.scope["headers"])
            caller = self._auth.caller(headers)
            check_json(headers)
            body = await read_body(headers, request.receive, self.settings.max_body)
            call = Call(self.v1, caller, self.files, body, headers, request.scope["attune.request_id"])
            return JSONResponse(await resource(call))

        return endpoint


def create_app() -> App:
    """The application of one worker process, from the environment alone."""
    settings = from_environment(os.environ)
    configure(settings.log_format)
    return App(settings, os.environ, own_process=True)


def entries(urls: Sequence[str]) -> list[UpstreamEntry]:
    """Upstreams named on the command line, called by host and port, and by number where that repeats."""
    found: list[UpstreamEntry] = []
    for url in urls:
        if "://" not in url:
            url = f"http://{url}"
        origin = Origin.parse(url)
        host = re.sub(r"[^A-Za-z0-9.-]", ".", origin.host).strip(".-")[:48] or "upstream"
        name = f"{host}:{origin.port}"
        same = sum(other.name.partition("_")[0] == name for other in found)
        found.append(_entry({"name": f"{name}_{same + 1}" if same else name, "url": url}))
    return found


def _entry(values: Mapping[str, str]) -> UpstreamEntry:
    return UpstreamEntry.model_validate(values)


def ollama_url(host: str) -> str:
    """`OLLAMA_HOST` in any of its forms as a URL; an address that means "all" is this machine.

    As Ollama reads it (`envconfig/config.go`): the port is 11434, or the scheme's own where one is given.
    """
    host = host.strip().strip("\"'")
    if not host:
        return DEFAULT_OLLAMA
    scheme, _, rest = host.rpartition("://")
    address, slash, path = rest.partition("/")
    if address.count(":") > 1 and "[" not in address:
        address = f"[{address}]"  # a bare IPv6 address
    name, bracket, port = address.rpartition("]")
    name, port = (f"{name}]", port.lstrip(":")) if bracket else address.partition(":")[::2]
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)
    usual = {"http": "80", "https": "443"}.get(scheme, "11434")
    return f"{scheme or 'http'}://{name}:{port or usual}{slash}{path}".rstrip("/")


async def _livez(_: Request) -> Response:
    return JSONResponse(operations.livez())


async def _on_error(request: Request, fault: Exception) -> Response:
    error = as_error(fault, request.scope["attune.request_id"])
    decided = {name.decode(): value.decode("latin-1") for name, value in error.decided}
    return JSONResponse(error.body(), error.status, {**decided, **dict(error.headers())})


async def _on_http_error(request: Request, fault: Exception) -> Response:
    status = getattr(fault, "status_code", 500)
    if status == 405:
        allowed = (getattr(fault, "headers", None) or {}).get("Allow", "")
        return await _on_error(request, MethodNotAllowed(request.method, allowed))
    return await _on_error(request, NotFound(f"no such path: {request.url.path}"))
