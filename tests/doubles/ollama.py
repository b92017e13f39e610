"""I/O. A double of Ollama for tests: real sockets, Ollama's own rules, and faults on demand.

async with OllamaDouble() as ollama:
    ollama.script = Script(text=["Hi", "!"])
    ...                                          # point the code under test at ollama.url
    assert ollama.chats[0].options == {"temperature": 0.2}
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

from tests.doubles import ollama_checks as checks
from tests.doubles.ollama_checks import Refusal
from tests.doubles.ollama_models import LoadedState, Model, default_models, since
from tests.doubles.ollama_script import Answer, Ask, Faults, Script, counters, plan, record, vector
from tests.doubles.wire import Connection, Exchange, Recorded, go_json

BUSY = "server busy, please try again.  maximum pending requests exceeded"
Body = dict[str, Any]
Runner = tuple[dict[str, Any], LoadedState]


class OllamaDouble:
    """A server on 127.0.0.1; every attribute may be read and set at any time.

    ``disconnects`` are the monotonic times at which a client left before it had its whole answer,
    ``warnings`` the option keys that the server would have logged as invalid.
    """

    def __init__(self, version: str = "0.32.15") -> None:
        self.version = version
        self.url = ""
        self.script: Answer = Script()
        self.faults = Faults()
        self.models = default_models()
        self.loaded: dict[str, LoadedState] = {}
        self.requests: list[Recorded] = []
        self.warnings: list[str] = []
        self.disconnects: list[float] = []
        self.reloads = self.active = self.connections = 0
        self.default_context = 4096
        self._open: set[Connection] = set()
        self._errors: list[Exception] = []

    @property
    def chats(self) -> list[Recorded]:
        return [request for request in self.requests if request.path == "/api/chat"]

    @property
    def open_connections(self) -> int:
        return len(self._alive())

    def _alive(self) -> list[Connection]:
        self._open = {connection for connection in self._open if not connection.lost}
        return list(self._open)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        if self._errors:
            raise self._errors[0]

    async def listen(self) -> None:
        """Accept connections: on a free port the first time, on the same one after ``refuse``."""
        loop, port = asyncio.get_running_loop(), int(self.url.rpartition(":")[2] or 0)
        accept = partial(Connection, self._accept, self._left)
        self._server = await loop.create_server(accept, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def refuse(self) -> None:
        """Stop listening and drop every connection; from now on connecting fails."""
        self._server.close()
        # A connection may have been accepted this very moment.
        await asyncio.sleep(0)
        while alive := self._alive():
            for connection in alive:
                connection.drop()
            await asyncio.wait([connection.conversation for connection in alive])
            await asyncio.sleep(0)
        await self._server.wait_closed()

    def _left(self) -> None:
        self.disconnects.append(time.monotonic())

    def _accept(self, connection: Connection) -> Coroutine[Any, Any, None]:
        self.connections += 1
        self._open.add(connection)
        return self._converse(connection)

    async def _converse(self, connection: Connection) -> None:
        try:
            if self.faults.reset_after_accept and self.faults.take():
                connection.reset()
            while request := await connection.read():
                self.requests.append(request)
                await self._respond(Exchange(connection, request))
                if request.header("connection") == "close":
                    break
        except ConnectionError:
            pass
        except Exception as error:
            # A mistake in the double itself: the test that used it must not pass.
            self._errors.append(error)
        finally:
            connection.writer.close()

    async def _respond(self, exchange: Exchange) -> None:
        request = exchange.request
        methods, handler = ROUTES.get(request.path, ((), None))
        if not checks.local(request.header("host"), request.header("origin")):
            return await exchange.answer(403, "", b"")
        if handler is None:
            return await exchange.answer(404, "text/plain", b"404 page not found")
        if request.method not in methods:
            return await exchange.answer(405, "text/plain", b"405 method not allowed")
        faults = self.faults if request.path in self.faults.paths and self.faults.take() else Faults()
        try:
            await faults.strike_early(exchange)
            await handler(self, exchange, faults)
        except Refusal as refusal:
            await exchange.json(refusal.status, {"error": refusal.message})
        return None

    async def _root(self, exchange: Exchange, _: Faults) -> None:
        await exchange.answer(200, "text/plain; charset=utf-8", b"Ollama is running")

    async def _version(self, exchange: Exchange, faults: Faults) -> None:
        await whole(exchange, faults, {"version": self.version})

    async def _tags(self, exchange: Exchange, faults: Faults) -> None:
        entries = [model.entry(self.version) for model in self.models.values()]
        await whole(exchange, faults, {"models": entries})

    async def _ps(self, exchange: Exchange, faults: Faults) -> None:
        self._expire()
        last_first = sorted(self.loaded.items(), key=lambda item: -item[1].expires_at)
        entries = [state.entry(self.models[name]) for name, state in last_first]
        await whole(exchange, faults, {"models": entries})

    async def _show(self, exchange: Exchange, faults: Faults) -> None:
        body = checks.read(checks.SHOW, exchange.request.body, "ShowRequest")
        name = body.get("model") or body.get("name") or ""
        model = checks.find(self.models, name, name if ":" in name else f"{name}:latest")
        await whole(exchange, faults, model.show(self.version, bool(body.get("verbose"))))

    async def _embed(self, exchange: Exchange, faults: Faults) -> None:
        body = checks.read(checks.EMBED, exchange.request.body, "EmbedRequest")
        model = checks.find(self.models, body.get("model"))
        texts = checks.texts(body.get("input"))
        async with self._runner(exchange, faults, model, body) as (_, state):
            await asyncio.sleep(faults.first_byte_delay)
            sizes = [len(text.split()) for text in texts]
            if body.get("truncate") is False and max(sizes, default=0) > state.context_length:
                raise Refusal(400, "the input length exceeds the context length")
            size = body.get("dimensions") or model.embedding_length
            answer = {"model": body["model"], "embeddings": [vector(text, size) for text in texts]}
            await whole(exchange, faults, answer | counters(sum(sizes), 0))

    async def _turn(self, exchange: Exchange, faults: Faults) -> None:
        kind = exchange.request.path.removeprefix("/api/")
        body = checks.read(checks.CHAT if kind == "chat" else checks.GENERATE, exchange.request.body, kind)
        if kind == "generate" and not body.get("model"):
            raise Refusal(404, "model '' not found")
        model = checks.find(self.models, body.get("model"))
        ask = Ask(kind, body, model, self.version)
        if ask.idle and body.get("keep_alive") == 0:
            self.loaded.pop(model.name, None)
            return await exchange.json(200, record(ask, [], {"done": True, "done_reason": "unload"}))
        checks.check_capabilities(kind, model, body)
        ask.effort = checks.effort(model, body, self.version)
        async with self._runner(exchange, faults, model, body) as (ask.options, state):
            if ask.idle:
                return await exchange.json(200, record(ask, [], {"done": True, "done_reason": "load"}))
            checks.check_media(model, body)
            if faults.nested_error_400:
                raise checks.too_long(ask.words, state.context_length)
            await asyncio.sleep(faults.first_byte_delay)
            await self._deliver(exchange, faults, ask)
        return None

    async def _deliver(self, exchange: Exchange, faults: Faults, ask: Ask) -> None:
        script = self.script if isinstance(self.script, Script) else self.script(exchange.request.json)
        pieces, final = plan(script, ask, faults)
        if ask.body.get("stream") is False:
            await asyncio.sleep(script.delay * len(pieces))
            if faults.error_line_after is not None:
                raise Refusal(500, faults.error)
            return await whole(exchange, faults, record(ask, pieces, final))
        for number, piece in enumerate(pieces):
            await asyncio.sleep(script.delay)
            if not number:
                await exchange.start(200, "application/x-ndjson")
            if number == faults.error_line_after:
                await exchange.send(go_json({"error": faults.error}) + b"\n")
                break
            line = go_json(record(ask, [piece], final if number == len(pieces) - 1 else {})) + b"\n"
            if not faults.midway or number != min(faults.after, len(pieces) - 1):
                await exchange.send(line)
            elif await faults.spoil(exchange, line):
                return None
        return await exchange.finish()

    def _expire(self) -> None:
        for name, state in list(self.loaded.items()):
            if not state.users and state.expires_at <= time.time():
                del self.loaded[name]

    @asynccontextmanager
    async def _runner(
        self, exchange: Exchange, faults: Faults, model: Model, body: Body
    ) -> AsyncIterator[Runner]:
        """The merged options and the runner that serves them, loaded or reloaded as they demand."""
        options, ignored = checks.merge_options(self.version, model.parameters, body.get("options") or {})
        exchange.request.effective = options
        self.warnings += ignored
        if faults.busy_503:
            raise Refusal(503, BUSY)
        state = await self._schedule(model, options, body)
        state.users += 1
        self.active += 1
        try:
            yield options, state
        finally:
            self.active -= 1
            state.users -= 1
            state.expires_at = time.time() + state.keep_alive
            self._expire()

    async def _schedule(self, model: Model, options: dict[str, Any], body: Body) -> LoadedState:
        shift = body.get("shift") if since(self.version, "0.12.6") else None
        while True:
            self._expire()
            state = self.loaded.get(model.name)
            automatic = state.context_length if state else min(self.default_context, model.context_length)
            wanted = LoadedState.wanted(model, options, shift, automatic)
            fits = state is None or model.mlx or state.serves(wanted)
            if state is None or fits or not state.users:
                break
            # A reload waits for the requests that run.
            await asyncio.sleep(0.002)
        self.reloads += not fits
        if state is None or not fits:
            state = self.loaded[model.name] = wanted
        if body.get("keep_alive") is not None:
            state.keep_alive = body["keep_alive"]
        return state


async def whole(exchange: Exchange, faults: Faults, value: Any) -> None:
    """Answer with one object, broken if a fault says so."""
    if not faults.midway:
        await exchange.json(200, value)
    elif not await faults.spoil(exchange, go_json(value)):
        await exchange.finish()


READ, WRITE = ("GET", "HEAD"), ("POST",)
ROUTES = {
    "/": (READ, OllamaDouble._root),
    "/api/version": (READ, OllamaDouble._version),
    "/api/tags": (READ, OllamaDouble._tags),
    "/api/ps": (("GET",), OllamaDouble._ps),
    "/api/show": (WRITE, OllamaDouble._show),
    "/api/chat": (WRITE, OllamaDouble._turn),
    "/api/generate": (WRITE, OllamaDouble._turn),
    "/api/embed": (WRITE, OllamaDouble._embed),
}
