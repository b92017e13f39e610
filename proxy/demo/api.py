"""I/O. Ollama's native API over the demo runtime, as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from proxy.demo.answer import Answer, head
from proxy.demo.embedding import DIMENSIONS, embed
from proxy.demo.generation import Prompt, TokenLogprob, chat_prompt, last_pieces, raw_prompt
from proxy.demo.options import TRAINED_CONTEXT, Options, read_options
from proxy.demo.runtime import FEATURES, LABEL, SYSTEM, VERSION, Runtime, ServedModel
from proxy.demo.wire import Body, Call, Message, Refused, dump, has_images

_JSON = "application/json; charset=utf-8"
_NDJSON = "application/x-ndjson"
_PRESENCE_CHECK = 0.01
"""Seconds between looks at whether the client of an answer that is not streamed is still there."""


class DemoApi:
    """The endpoints."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def root(self, _: Request) -> Response:
        """GET, HEAD /."""
        return PlainTextResponse(f"Ollama is running. Or rather: {LABEL}")

    async def version(self, _: Request) -> Response:
        """GET /api/version; `features` is what the demo has beyond that version."""
        return _json({"version": VERSION, "demo": True, "features": list(FEATURES)})

    async def tags(self, _: Request) -> Response:
        """GET /api/tags."""
        return _json({"models": [self._runtime.listing(model) for model in self._runtime.served.values()]})

    async def ps(self, _: Request) -> Response:
        """GET /api/ps."""
        return _json({"models": self._runtime.running()})

    async def show(self, request: Request) -> Response:
        """POST /api/show."""
        body = Body(await request.body())
        name = body.string("model") or body.string("name")
        if not name:
            raise Refused(400, "model is required")
        completed = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        return _json(self._runtime.shown(self._runtime.find(completed)))

    async def chat(self, request: Request) -> Response:
        """POST /api/chat."""
        received = time.perf_counter_ns()
        body = Body(await request.body())
        call, messages = replace(body.call(), chat=True), body.messages()
        if not call.model:
            raise Refused(400, "model is required")
        model = self._runtime.find(call.model)
        if body.array("tools"):
            raise Refused(400, f"{model.full_name} does not support tools")
        _check_abilities(call, any(message.images for message in messages))
        options = read_options(call.options)
        if not messages:
            return self._load(call, model, options)
        if messages[0].role != "system":
            messages.insert(0, Message("system", SYSTEM))
        prompt = chat_prompt(messages, options.num_ctx)
        return await self._respond(
            request, model, Answer(self._runtime.model, call, prompt, options, received)
        )

    async def generate(self, request: Request) -> Response:
        """POST /api/generate."""
        received = time.perf_counter_ns()
        body = Body(await request.body())
        raw = body.boolean("raw", False)
        call = replace(body.call(), returns_context=not raw)
        if not call.model:
            raise Refused(404, "model '' not found")
        model = self._runtime.find(call.model)
        _check_prompt_fields(body, model, raw)
        _check_abilities(call, has_images(body.array("images")))
        options = read_options(call.options)
        if not body.string("prompt"):
            return self._load(call, model, options)
        prompt = self._prompt(body, options.num_ctx, raw)
        return await self._respond(
            request, model, Answer(self._runtime.model, call, prompt, options, received)
        )

    def _prompt(self, body: Body, num_ctx: int, raw: bool) -> Prompt:
        if raw:
            return raw_prompt(body.string("prompt"), num_ctx)
        turns = [Message("user", body.string("prompt"))]
        before = self._runtime.model.decode(body.integers("context"))
        if not before:
            turns.insert(0, Message("system", body.string("system") or SYSTEM))
        return chat_prompt(turns, num_ctx, before)

    def _load(self, call: Call, model: ServedModel, options: Options) -> Response:
        with self._runtime.using(model, options.num_ctx, call.keep_alive):
            reason = "unload" if call.keep_alive == 0 else "load"
        return _json({**head(call, ""), "done": True, "done_reason": reason})

    async def _respond(self, request: Request, model: ServedModel, answer: Answer) -> Response:
        if answer.call.stream:
            return StreamingResponse(self._lines(model, answer), media_type=_NDJSON)
        return await self._whole(request, model, answer)

    async def _lines(self, model: ServedModel, answer: Answer) -> AsyncIterator[bytes]:
        with self._runtime.using(model, answer.options.num_ctx, answer.call.keep_alive):
            async with aclosing(self._runtime.paced(answer.generation, model, stream=True)) as steps:
                async for step in steps:
                    if step.text or (step.logprobs and answer.call.logprobs):
                        yield dump(answer.record(step.text, step.logprobs)) + b"\n"
            if not self._runtime.closing:
                yield dump(answer.last("", ())) + b"\n"

    async def _whole(self, request: Request, model: ServedModel, answer: Answer) -> Response:
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        looked = time.perf_counter()
        with self._runtime.using(model, answer.options.num_ctx, answer.call.keep_alive):
            async with aclosing(self._runtime.paced(answer.generation, model, stream=False)) as steps:
                async for step in steps:
                    texts.append(step.text)
                    logprobs += step.logprobs
                    if time.perf_counter() - looked > _PRESENCE_CHECK:
                        if await request.is_disconnected():
                            raise Refused(499, "request canceled")
                        looked = time.perf_counter()
        if self._runtime.closing:
            raise Refused(503, "the demo runtime is closing")
        return _json(answer.last("".join(texts), logprobs))

    async def embed(self, request: Request) -> Response:
        """POST /api/embed."""
        received = time.perf_counter_ns()
        body = Body(await request.body())
        call = body.call()
        model = self._runtime.find(call.model)
        options = read_options(call.options)
        texts = _read_input(body.any("input"))
        inputs = [last_pieces(text, TRAINED_CONTEXT + 1) for text in texts]
        if not body.boolean("truncate", True) and any(len(pieces) > options.num_ctx for pieces in inputs):
            raise Refused(400, "the input length exceeds the context length")
        inputs = [pieces[: options.num_ctx] for pieces in inputs]
        dimensions = body.integer("dimensions", DIMENSIONS)
        started = time.perf_counter_ns()
        with self._runtime.using(model, options.num_ctx, call.keep_alive):
            embeddings = [embed(pieces, dimensions) for pieces in inputs]
        measures = {
            "total_duration": time.perf_counter_ns() - received,
            "load_duration": started - received,
            "prompt_eval_count": sum(map(len, inputs)),
        }
        shown = {name: value for name, value in measures.items() if value}
        return _json({"model": call.model, "embeddings": embeddings, **shown})


def _read_input(value: Any) -> list[str]:
    texts = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid input type")
    return texts


def _check_abilities(call: Call, images: bool) -> None:
    if call.thinks:
        raise Refused(400, f'"{call.model}" does not support thinking')
    if call.format == "json" or isinstance(call.format, dict):
        raise Refused(400, "the demo runtime does not support format")
    if call.format not in (None, ""):
        raise Refused(
            500,
            f'invalid format: {dump(call.format).decode()}; expected "json" or a valid JSON Schema object',
        )
    if images:
        raise Refused(500, "image input is not supported by the demo runtime")


def _check_prompt_fields(body: Body, model: ServedModel, raw: bool) -> None:
    if raw and (body.string("template") or body.string("system") or body.array("context")):
        raise Refused(400, "raw mode does not support template, system, or context")
    if body.string("template"):
        raise Refused(400, "the demo runtime does not support template")
    if body.string("suffix"):
        raise Refused(400, f"{model.full_name} does not support insert")


def _json(record: dict[str, Any], status: int = 200) -> Response:
    return Response(dump(record), status_code=status, headers={"content-type": _JSON})


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _json({"error": error.message}, error.status)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {404: "404 page not found", 405: "405 method not allowed"}.get(error.status_code, error.detail)
    return PlainTextResponse(text, error.status_code, error.headers)


async def _client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


def create_demo_app(runtime: Runtime | None = None) -> Starlette:
    """The demo runtime as an ASGI application; builds its own model unless a runtime is handed in."""
    api = DemoApi(runtime or Runtime())
    return Starlette(
        routes=[
            Route("/", api.root),
            Route("/api/version", api.version),
            Route("/api/tags", api.tags),
            Route("/api/ps", api.ps),
            Route("/api/show", api.show, methods=["POST"]),
            Route("/api/chat", api.chat, methods=["POST"]),
            Route("/api/generate", api.generate, methods=["POST"]),
            Route("/api/embed", api.embed, methods=["POST"]),
        ],
        exception_handlers={Refused: _refuse, HTTPException: _no_route, ClientDisconnect: _client_gone},
    )
