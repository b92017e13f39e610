"""I/O. One server we send to: its connections, its breaker, its places, and what is known of it."""

from __future__ import annotations

import asyncio
import fnmatch
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proxy.backends.facts import ModelFacts, NumCtxPolicy, Target
from proxy.errors import TooManyRequests, UpstreamUnreachable
from proxy.parameters.profiles import CircuitBreaker
from proxy.rules.rule import UpstreamEntry
from proxy.upstream.breaker import Breaker, State
from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.pool import Pool


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the last look at an upstream found. Replaced whole, never changed."""

    runtime: str
    version: str | None = None
    features: frozenset[str] = frozenset()
    models: Mapping[str, ModelFacts] | None = None
    """By name (Ollama's in lower case); `None` when it lists none or was never reached."""
    up: bool | None = None
    """Whether the last look succeeded; `None` before the first."""
    error: str | None = None


@dataclass(slots=True)
class Place:
    """A request's place at an upstream, to be given back exactly once."""

    upstream: Upstream
    trial: bool
    own: Breaker | None = None
    """The breaker of the profile that the call is under, beside the upstream's."""
    own_trial: bool = False
    open: bool = field(default=True)

    def success(self) -> None:
        """The upstream answered."""
        self.upstream.breaker.success(self.trial)
        if self.own is not None:
            self.own.success(self.own_trial)
        self.trial = self.own_trial = False

    def failure(self) -> None:
        """The upstream failed in a way that says something about its health."""
        now = time.monotonic()
        self.upstream.breaker.failure(self.trial, now)
        if self.own is not None:
            self.own.failure(self.own_trial, now)
        self.trial = self.own_trial = False

    def leave(self) -> None:
        """Give the place back."""
        if self.open:
            self.open = False
            self.upstream.breaker.end(self.trial)
            if self.own is not None:
                self.own.end(self.own_trial)
            self.upstream.give_back()


class Upstream:
    """A configured server. Lives as long as its entry in the rule files stays the same."""

    def __init__(self, entry: UpstreamEntry, *, key: str | None, num_ctx: NumCtxPolicy) -> None:
        self.entry = entry
        self.name = entry.name
        self.origin = Origin.parse(re.sub(r"/v1/?$", "", entry.url))
        self.key = key
        self.pool = Pool(self.origin, timeouts(entry), headers=self.auth_headers)
        self.breaker = Breaker()
        self.active = 0
        self.looked = asyncio.Event()
        """Set once the first look at it has ended, well or not."""
        self.known = Knowledge(entry.runtime or "openai")
        self.met = entry.runtime is not None
        """Whether its runtime is known, so that a request can be put into its words."""
        self._policy: NumCtxPolicy = entry.num_ctx or num_ctx
        self._own_breakers: dict[tuple[int | None, float | None, int | None], Breaker] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._globs = [re.compile(fnmatch.translate(g.lower())) for g in entry.models]
        self._named = frozenset(g.lower() for g in entry.models if not re.search(r"[*?\[]", g))
        self._targets: dict[str, Target] = {}

    @property
    def auth_headers(self) -> tuple[tuple[str, str], ...]:
        """The upstream's own key; the client's never goes upstream."""
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()

    @property
    def weight(self) -> int:
        return self.entry.weight

    @property
    def full(self) -> bool:
        """Whether a request would have to wait."""
        most = self.entry.max_concurrency
        return most is not None and self.active >= most

    @property
    def up(self) -> bool:
        """Whether the last look at it did not fail."""
        return self.known.up is not False

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return sum(not waiter.done() for waiter in self._waiting)

    def state(self) -> State:
        """Where its breaker stands."""
        return self.breaker.state(time.monotonic())

    def available(self) -> bool:
        """Whether a request may be sent now."""
        return self.breaker.opened_at is None or self.breaker.allows(time.monotonic())

    def learn(self, known: Knowledge) -> bool:
        """Take in what a look found; returns whether anything changed."""
        self.looked.set()
        self.met = self.met or known.up is True
        if known == self.known:
            return False
        self.known = known
        self._targets = {}
        return True

    def learn_loaded(self, model: str, context: int) -> bool:
        """A model was asked to load with this context; the next look corrects it if it did not."""
        found = self.find(model)
        models = self.known.models
        if found is None or models is None or found.loaded == context:
            return False
        key = self._key(model)
        return self.learn(replace(self.known, models={**models, key: replace(found, loaded=context)}))

    def allows(self, model: str) -> bool:
        """Whether its entry lets it serve a model."""
        name = model.lower()
        return any(g.match(name) for g in self._globs)

    def serves(self, model: str) -> bool | None:
        """Whether it serves a model; `None` when it may, but nobody says so.

        The globs of a server that lists no models count as its listing, unless they are only `*`. What a
        listing leaves out may still be served if the entry names it outright.
        """
        if not self.allows(model):
            return False
        if self.find(model) is not None:
            return True
        if self.known.models is None:
            return True if any(g != "*" for g in self.entry.models) else None
        return None if model.lower() in self._named else False

    def find(self, model: str) -> ModelFacts | None:
        """What is known of a model, under any spelling that the runtime takes."""
        models = self.known.models
        return None if models is None else models.get(self._key(model))

    def _key(self, model: str) -> str:
        return ollama_key(model) if self.known.runtime == "ollama" else model

    def target(self, model: str) -> Target:
        """Where a decision for `model` is made."""
        target = self._targets.get(model)
        if target is None:
            known = self.known
            target = Target(
                self.name, known.runtime, known.version, self.find(model), self._policy, known.features
            )
            if len(self._targets) < 4096:
                self._targets[model] = target
        return target

    async def place(self, limits: CircuitBreaker | None = None) -> Place:
        """A place for one request, waited for in a bounded queue. `limits` are those of the call's profile.

        Raises `TooManyRequests` beyond the queue, `UpstreamUnreachable` when the breaker opened meanwhile.
        """
        most = self.entry.max_concurrency
        if most is not None and self.active >= most:
            await self._wait()
        else:
            self.active += 1
        breaker = self.breaker
        own = self._own_breaker(limits) if limits is not None else None
        if breaker.opened_at is None and (own is None or own.opened_at is None):
            return Place(self, False, own)
        now = time.monotonic()
        if not breaker.allows(now) or not (own is None or own.allows(now)):
            self.give_back()
            raise UpstreamUnreachable(f"{self.name} failed too often")
        return Place(self, breaker.begin(now), own, own is not None and own.begin(now))

    def _own_breaker(self, limits: CircuitBreaker) -> Breaker | None:
        """The breaker of calls under a profile; profiles with the same thresholds share one."""
        key = (limits.failure_threshold, limits.failure_timeout, limits.half_open_requests)
        if key == (None, None, None):
            return None
        if key not in self._own_breakers:
            usual = self.breaker
            threshold, cooldown, trials = key
            self._own_breakers[key] = Breaker(
                threshold or usual.threshold, cooldown or usual.cooldown, trials or usual.trials
            )
        return self._own_breakers[key]

    def give_back(self) -> None:
        """Hand the place to the next one waiting, or free it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.active -= 1

    def close(self) -> None:
        """Hang up idle connections; running requests finish."""
        self.pool.close()

    async def _wait(self) -> None:
        if self.queued >= self.entry.max_queue:
            raise TooManyRequests(
                f"{self.name} serves {self.active} requests and {self.queued} wait: its queue is full",
                retry_after=self._retry_after(),
            )
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.entry.queue_timeout):
                await waiter
        except TimeoutError:
            self._forget(waiter)
            raise TooManyRequests(
                f"no place at {self.name} became free within {self.entry.queue_timeout:g} s",
                retry_after=self._retry_after(),
            ) from None
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        """A waiter gives up; a place that was handed to it in the same moment goes on."""
        if waiter.done() and not waiter.cancelled():
            self.give_back()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)

    def _retry_after(self) -> int:
        return max(1, min(30, self.queued))


def ollama_key(model: str) -> str:
    """Ollama takes names in any case, and without a tag means `latest`; its own library need not be named."""
    name = model.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def timeouts(entry: UpstreamEntry) -> Timeouts:
    """An entry's limits as the pool takes them."""
    phases = entry.timeouts
    return Timeouts(phases.connect, phases.first_byte, phases.idle, phases.total)
