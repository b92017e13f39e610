"""I/O. What OpenAI clients call: chat completions (the hot route, raw ASGI) and the model list."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from proxy.api.auth import Auth
from proxy.api.departure import Departure
from proxy.api.edge import (
    ClientLeft,
    Receive,
    Scope,
    Send,
    as_error,
    check_json,
    read_body,
    request_id,
    send_error,
)
from proxy.api.naming import name
from proxy.decider import Incoming, looked_at
from proxy.decision import Caller
from proxy.errors import Draining, UnknownModel
from proxy.gateway import Gateway, Reply, StreamReply
from proxy.openai.request import ChatRequest, parse_chat
from proxy.parameters.near import hint
from proxy.parameters.values import show
from proxy.reload import RuleFiles
from proxy.settings import Settings
from proxy.upstream.fleet import FIRST_LOOK

CHAT = "/v1/chat/completions"


class V1:
    """The OpenAI side of one worker."""

    def __init__(
        self, settings: Settings, auth: Auth, gateway: Gateway, files: RuleFiles, started: int
    ) -> None:
        self.gateway = gateway
        self.draining = False
        self.running = 0
        """Requests being worked on."""
        self._settings = settings
        self._auth = auth
        self._files = files
        self._started = started

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/chat/completions`, streaming and not."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        rid = request_id(headers)
        departure: Departure | None = None
        reply: Reply | StreamReply | None = None
        self.running += 1
        try:
            if self.draining:
                raise Draining("Attune is shutting down")
            caller = self._auth.caller(headers)
            check_json(headers)
            body = await read_body(headers, receive, self._settings.max_body)
            incoming = self.incoming(headers, rid, parse_chat(body), caller)
            departure = Departure(receive)
            reply = await self.gateway.open(incoming)
            await reply.deliver(send)
        except ClientLeft:
            return
        except asyncio.CancelledError:
            if departure is None or not departure.gone:
                raise
        except Exception as fault:  # whatever happened, the client is told
            if reply is not None:
                raise
            await send_error(send, as_error(fault, rid), rid)
        finally:
            self.running -= 1
            if departure is not None:
                departure.stop()

    def incoming(self, headers: dict[bytes, bytes], rid: str, chat: ChatRequest, caller: Caller) -> Incoming:
        """A parsed request with what it names."""
        snapshot = self._files.current
        model = chat.model
        profile = headers.get(b"x-tuning-profile")
        if model is None or "@" in model or model == "auto":
            named = name(model, looked_at(snapshot, headers), snapshot, caller, self.serves)
            return Incoming(chat, named.model, named.asked, named.profile, headers, caller, rid)
        chosen = profile.decode("latin-1") if profile else None
        return Incoming(chat, model, model, chosen, headers, caller, rid)

    def serves(self, model: str) -> bool:
        """Whether any upstream says that it serves a model."""
        return any(u.serves(model) for u in self.gateway.fleet.upstreams.values())

    async def settle(self) -> None:
        """Right after the start, wait a moment for what the first looks at the upstreams find."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                for upstream in list(self.gateway.fleet.upstreams.values()):
                    await upstream.looked.wait()

    async def models(self) -> dict[str, Any]:
        """`GET /v1/models`: the union over upstreams, and the virtual names when they are switched on."""
        await self.settle()
        entries = [self._entry(n, places[0][0].name) for n, places in self.gateway.fleet.listing().items()]
        if self._settings.virtual_models:
            profiles = self._files.current.profiles
            entries += [self._entry(f"{e['id']}@{p}", e["owned_by"]) for e in list(entries) for p in profiles]
        return {"object": "list", "data": entries}

    async def model(self, model: str) -> dict[str, Any]:
        """`GET /v1/models/{id}`."""
        await self.gateway.fleet.ready_for(model)
        listing = self.gateway.fleet.listing()
        base, _, profile = model.rpartition("@")
        virtual = self._settings.virtual_models and profile in self._files.current.profiles
        for upstream in self.gateway.fleet.upstreams.values():
            if upstream.serves(model) or (virtual and upstream.serves(base)):
                return self._entry(model, upstream.name)
        raise UnknownModel(f"no model {show(model)}{hint(model, listing)}")

    def _entry(self, model: str, owner: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": self._started, "owned_by": owner}
