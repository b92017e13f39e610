"""I/O. One request's way: choose, decide, send, and hand back a reply that only streams.

`open` does all that may still be refused, retried or answered with a status; what it returns owns the
upstream's answer and is closed even if nobody reads it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import orjson

from proxy.backends import BACKENDS
from proxy.backends.answer import Answer, Translator
from proxy.backends.facts import Target
from proxy.backends.failure import refused
from proxy.decider import Decider, Incoming, Moved, Prepared
from proxy.errors import (
    AttuneError,
    ClientError,
    NoHealthyUpstream,
    TooManyRequests,
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.openai import sse
from proxy.parameters.profiles import Profile
from proxy.snapshot import Snapshot
from proxy.upstream.fleet import Fleet
from proxy.upstream.origin import Timeouts
from proxy.upstream.pool import Exchange
from proxy.upstream.upstream import Place, Upstream
from proxy.writing import Written, write

log = logging.getLogger("attune")

LONGEST_ERROR = 1 << 20
"""Bytes of an upstream's error body that are read."""
LONGEST_ANSWER = 1 << 28
"""Bytes of a whole answer that are held in memory."""
EXPLAIN_HEADER = b"x-tuning-explain"
RETRIED_STATUSES = frozenset({502, 503, 504})
UNHEALTHY = (UpstreamBroken, UpstreamUnreachable, UpstreamTimeout)
"""What says something bad of an upstream's health; its own refusals are answers."""
LINGER = 0.5
"""Seconds that an upstream may take to end its body after its end mark, to keep the connection."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Reply:
    """A whole answer."""

    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._headers = [*headers, (b"content-type", b"application/json"), _length(body)]
        self._body = body

    async def deliver(self, send: Send) -> None:
        """Send it to the client."""
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})

    def close(self) -> None:
        """Nothing is held."""


class StreamReply:
    """An answer that has begun: its first events are here, the rest comes from the upstream."""

    def __init__(
        self, headers: list[tuple[bytes, bytes]], first: bytes, exchange: Exchange, translator: Translator,
        place: Place,
    ) -> None:  # fmt: skip
        self._headers = headers + sse.HEADERS
        self._first = first
        self._exchange = exchange
        self._translator = translator
        self._place = place

    async def deliver(self, send: Send) -> None:
        """Pass on what comes, as it comes; what one read brought is written once."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            if self._first:
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
            last = await self._pass_on(send)
            await send({"type": "http.response.body", "body": last})
        finally:
            self.close()

    def close(self) -> None:
        """Cut the upstream off if it is still talking; give the place back."""
        self._exchange.close()
        self._place.leave()

    async def _pass_on(self, send: Send) -> bytes:
        """Returns the last bytes, which end the body."""
        translator, read = self._translator, self._exchange.read
        try:
            while translator.failure is None and not translator.finished:
                data = await read()
                out = translator.feed(data) if data else translator.close()
                if translator.finished and self._exchange.complete:
                    self._place.success()
                    return out
                if out:
                    await send({"type": "http.response.body", "body": out, "more_body": True})
            failure = translator.failure
        except UpstreamError as fault:
            failure = fault
        if failure is None:
            self._place.success()
            await self._rest()
            return b""
        if isinstance(failure, UNHEALTHY):
            self._place.failure()
        log.warning("stream broke off: %s", failure)
        return sse.error_event(failure)

    async def _rest(self) -> None:
        """Wait a moment for the end of a body that has said all: whatever comes now, the answer stands."""
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._exchange.read():
                    pass


class Gateway:
    """The way of every request of one worker."""

    def __init__(self, fleet: Fleet, decider: Decider, current: Callable[[], Snapshot]) -> None:
        self.fleet = fleet
        self._decider = decider
        self._current = current

    async def open(self, incoming: Incoming) -> Reply | StreamReply:
        """The reply to a request, or the error that says why there is none."""
        snapshot = self._current()
        failure: AttuneError | None = None
        upstreams, moved, model, prepared = await self._route(snapshot, incoming)
        for upstream in upstreams:
            if prepared is None:
                prepared = self._decide(snapshot, incoming, upstream.target(model), moved)
            try:
                return await self._attempt(incoming, upstream, write(incoming, prepared))
            except (UpstreamError, ClientError) as fault:
                fault.decided = prepared.headers
                if isinstance(fault, ClientError) and not isinstance(fault, TooManyRequests):
                    raise
                if isinstance(fault, UpstreamError) and not fault.retryable:
                    raise
                log.warning("upstream %s: %s", upstream.name, fault)
                failure = failure if isinstance(failure, TooManyRequests) else fault
                prepared = None
        raise _last_word(failure)

    def _decide(
        self, snapshot: Snapshot, incoming: Incoming, target: Target, moved: Moved | None
    ) -> Prepared:
        """The decision for a target that stands, even if this target's rules would send the request on."""
        while True:
            prepared = self._decider.decide(snapshot, self.fleet.generation, incoming, target, moved)
            if isinstance(prepared, Prepared):
                return prepared
            moved = prepared

    async def explain(self, incoming: Incoming) -> Written:
        """What `open` would send, without sending it."""
        snapshot = self._current()
        upstreams, moved, model, prepared = await self._route(snapshot, incoming)
        if prepared is None:
            prepared = self._decide(snapshot, incoming, upstreams[0].target(model), moved)
        return write(incoming, prepared)

    async def _route(
        self, snapshot: Snapshot, incoming: Incoming
    ) -> tuple[list[Upstream], Moved | None, str, Prepared | None]:
        """The upstreams to try, best first, the rules' word if they chose them, the model to ask for, and the
        decision for the first of them if it is made already."""
        model = incoming.model
        if not self.fleet.settled:
            await self.fleet.ready_for(model)
        try:
            upstreams = self.fleet.candidates(model)
        except AttuneError:
            upstreams = await self._look_first(snapshot, incoming)
        target = upstreams[0].target(model)
        chosen = self._decider.decide(snapshot, self.fleet.generation, incoming, target)
        if not isinstance(chosen, Moved):
            return upstreams, None, model, chosen
        return await self._find(chosen.model, chosen.upstreams), chosen, chosen.model, None

    async def _find(self, model: str, only: tuple[str, ...] | None = None) -> list[Upstream]:
        """The upstreams for a model; for one that nobody serves so far they are looked at once more."""
        try:
            return self.fleet.candidates(model, only)
        except AttuneError:
            await self.fleet.ready_for(model)
            return self.fleet.candidates(model, only)

    async def _look_first(self, snapshot: Snapshot, incoming: Incoming) -> list[Upstream]:
        """A model that nobody serves so far: look once more; a rule may route it whoever serves it."""
        await self.fleet.ready_for(incoming.model)
        try:
            return self.fleet.candidates(incoming.model)
        except AttuneError:
            for upstream in self.fleet.upstreams.values():
                target = upstream.target(incoming.model)
                found = self._decider.decide(snapshot, self.fleet.generation, incoming, target)
                if isinstance(found, Moved):
                    return [upstream]
            raise

    async def _attempt(self, incoming: Incoming, upstream: Upstream, written: Written) -> Reply | StreamReply:
        """One try at one upstream."""
        profile = written.prepared.decision.considered.profile
        place = await upstream.place(profile.circuit_breaker if profile is not None else None)
        reply: Reply | StreamReply | None = None
        try:
            reply = await self._send(incoming, upstream, written, place)
            if place.trial or isinstance(reply, Reply):
                # a stream is a success when it has ended well, but others need not wait for that
                place.success()
            return reply
        except UNHEALTHY:
            place.failure()
            raise
        except UpstreamRefused as fault:
            if not fault.retryable:
                place.success()
            raise
        finally:
            if not isinstance(reply, StreamReply):
                place.leave()

    async def _send(
        self, incoming: Incoming, upstream: Upstream, written: Written, place: Place
    ) -> Reply | StreamReply:
        decision = written.prepared.decision
        limits = _timeouts(decision.considered.profile, upstream.pool.timeouts)
        exchange = await upstream.pool.send(written.request.path, written.request.body, timeouts=limits)
        kept = False
        try:
            if exchange.status != 200:
                raise await _refusal(exchange)
            answer = _answer(incoming, written)
            backend = BACKENDS[decision.target.runtime]
            headers = [(b"x-request-id", incoming.request_id.encode()), *written.headers]
            if not incoming.chat.stream:
                body = exchange.read_nowait() if exchange.complete else None
                if body is None:
                    body = await exchange.read_all(LONGEST_ANSWER)
                self._learn(upstream, written)
                return Reply(headers, backend.complete(body, answer))
            translator = backend.translator(answer)
            first = await _first_events(exchange, translator)
            self._learn(upstream, written)
            kept = True
            return StreamReply(headers, first, exchange, translator, place)
        finally:
            if not kept:
                exchange.close()

    def _learn(self, upstream: Upstream, written: Written) -> None:
        """The context that a model was just asked to load with."""
        decision = written.prepared.decision
        if decision.target.runtime != "ollama":
            return
        sent = decision.resolution.value("num_ctx")
        if sent is not None:
            self.fleet.learn_loaded(upstream, decision.plan.model, sent)


async def _first_events(exchange: Exchange, translator: Translator) -> bytes:
    """The first complete events: the last moment for a status or a retry."""
    while True:
        data = await exchange.read()
        out = translator.feed(data) if data else translator.close()
        if translator.failure is not None and not out:
            raise translator.failure
        if out or not data:
            return out


async def _refusal(exchange: Exchange) -> UpstreamRefused:
    body = b""
    with suppress(UpstreamError):  # the status stands, whatever becomes of its words
        body = await exchange.read_all(LONGEST_ERROR)
    error = refused(exchange.status, body, exchange.headers)
    error.retryable = exchange.status in RETRIED_STATUSES
    return error


def _answer(incoming: Incoming, written: Written) -> Answer:
    tuning = None
    if incoming.headers.get(EXPLAIN_HEADER) in (b"1", b"true", b"yes"):
        tuning = orjson.dumps(written.tuning(incoming.request_id))
    chat = incoming.chat
    return Answer(
        f"chatcmpl-{incoming.request_id}",
        int(time.time()),
        incoming.asked_model,
        chat.stream and chat.include_usage,
        tuning,
        written.prepared.decision.plan.translation.one_tool_call,
    )


def _timeouts(profile: Profile | None, usual: Timeouts) -> Timeouts | None:
    """The profile's limits over the upstream's; `None` when it has none."""
    breaker = profile.circuit_breaker if profile is not None else None
    if breaker is None or breaker.timeouts is None:
        return None
    own = breaker.timeouts
    return Timeouts(
        own.connect or usual.connect, own.first_byte or usual.first_byte, own.idle or usual.idle,
        own.total or usual.total,
    )  # fmt: skip


def _last_word(failure: AttuneError | None) -> AttuneError:
    """What the client is told when every upstream failed."""
    if failure is None:
        return NoHealthyUpstream("no healthy upstream")
    if not isinstance(failure, UpstreamUnreachable):
        return failure
    error = NoHealthyUpstream(f"no healthy upstream: {failure}")
    error.decided = failure.decided
    return error


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
