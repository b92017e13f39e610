"""I/O. All upstreams together: in step with the rule files, looked at in the background, asked by model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from proxy.backends.facts import ModelFacts, NumCtxPolicy
from proxy.errors import NoHealthyUpstream, UnknownModel
from proxy.parameters.near import hint
from proxy.parameters.values import show
from proxy.rules.match import globs
from proxy.rules.rule import UpstreamEntry
from proxy.upstream.discovery import Explorer, new_client
from proxy.upstream.selection import LeastLoaded
from proxy.upstream.upstream import Upstream

log = logging.getLogger("attune")

FIRST_LOOK = 5.0
"""Seconds a request waits for the first look at its upstreams, right after the start."""
LOOK_AGAIN = 2.0
"""Seconds between two extra looks that unknown models may cause, and between looks at one that is down."""
MOST_REMEMBERED = 4096
"""Model names whose upstreams are remembered."""


class Fleet:
    """The upstreams of the current snapshot."""

    def __init__(self, *, every: float, num_ctx: NumCtxPolicy, environ: Mapping[str, str]) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.generation = 0
        """Rises whenever something that decisions depend on has changed."""
        self._every = every
        self._num_ctx: NumCtxPolicy = num_ctx
        self._environ = environ
        self._explorer = Explorer(new_client())
        self._policy = LeastLoaded()
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._extra: dict[str, tuple[float, asyncio.Task[None]]] = {}
        """Upstream -> when its last extra look began, and the look."""
        self._remembered: dict[tuple[str, tuple[str, ...] | None], list[Upstream]] = {}
        self._remembered_at = -1

    def update(self, entries: Sequence[UpstreamEntry]) -> None:
        """Take over a snapshot's entries: unchanged ones live on, removed ones finish what they carry."""
        kept: dict[str, Upstream] = {}
        for entry in entries:
            old = self.upstreams.get(entry.name)
            if old is not None and old.entry == entry:
                kept[entry.name] = old
                continue
            key = self._environ.get(entry.api_key_env) if entry.api_key_env else None
            if entry.api_key_env and not key:
                log.warning("upstream %s: %s is not set, so no key is sent", entry.name, entry.api_key_env)
            kept[entry.name] = Upstream(entry, key=key, num_ctx=self._num_ctx)
        for name, upstream in self.upstreams.items():
            if kept.get(name) is not upstream:
                self._retire(upstream)
        self.upstreams = kept
        self.generation += 1
        for name, upstream in kept.items():
            if name not in self._watchers:
                self._watchers[name] = asyncio.create_task(self._watch(upstream), name=f"watch {name}")

    async def look(self, upstream: Upstream) -> None:
        """Look at one upstream now."""
        known = await self._explorer.look(upstream)
        before = upstream.known
        if upstream.learn(known):
            self.generation += 1
        if known.up is False and before.up is not False:
            log.warning("upstream %s is down: %s", upstream.name, known.error)
        elif known.up and not before.up:
            count = "any" if known.models is None else len(known.models)
            log.info(
                "upstream %s is up: %s %s, %s models", upstream.name, known.runtime, known.version, count
            )
        if known.up and known.error is None:
            upstream.breaker.success(False)

    def candidates(self, model: str, only: tuple[str, ...] | None = None) -> list[Upstream]:
        """The upstreams that serve a model or may do so, best first; `only` are a rule's globs.

        Raises `NoHealthyUpstream` when those that serve it are down, `UnknownModel` when none does.
        """
        serving = self._serving(model, only)
        usable = [u for u in serving if u.available()]
        if len(usable) == 1:
            return usable
        if usable:
            return [usable[i] for i in self._policy.order(usable)]
        if serving:
            names = ", ".join(u.name for u in serving)
            raise NoHealthyUpstream(f"no healthy upstream for {show(model)}: {names} failed too often")
        raise self._unknown(model, only)

    @property
    def settled(self) -> bool:
        """Whether every upstream has been looked at."""
        return all(u.looked.is_set() for u in self.upstreams.values())

    async def ready_for(self, model: str) -> None:
        """Makes sure that "unknown" is said of no model that was only not seen yet."""
        await self._first_looks(model)
        if not self._seen(model):
            again = [self._look_again(u) for u in self.upstreams.values() if u.allows(model)]
            if again:
                await asyncio.wait(again, timeout=FIRST_LOOK)

    def learn_loaded(self, upstream: Upstream, model: str, context: int) -> None:
        """A request made the model load with this context."""
        if upstream.learn_loaded(model, context):
            self.generation += 1

    def listing(self) -> dict[str, list[tuple[Upstream, ModelFacts]]]:
        """Every model that any upstream lists, with where it runs, in the upstreams' order."""
        found: dict[str, list[tuple[Upstream, ModelFacts]]] = {}
        for upstream in self.upstreams.values():
            for facts in (upstream.known.models or {}).values():
                if upstream.allows(facts.name):
                    found.setdefault(facts.name, []).append((upstream, facts))
        return found

    async def close(self) -> None:
        """End all looking and hang up."""
        tasks = [*self._watchers.values(), *(look for _, look in self._extra.values())]
        for upstream in self.upstreams.values():
            self._retire(upstream)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._explorer.client.aclose()

    def _serving(self, model: str, only: tuple[str, ...] | None) -> list[Upstream]:
        """Those that serve a model, else those that cannot say; remembered until something changes."""
        if self._remembered_at != self.generation:
            self._remembered.clear()
            self._remembered_at = self.generation
        key = (model, only)
        found = self._remembered.get(key)
        if found is None:
            said = [(u, u.serves(model)) for u in self._chosen(only) if u.met]
            found = [u for u, serves in said if serves] or [u for u, serves in said if serves is None]
            if len(self._remembered) < MOST_REMEMBERED:
                self._remembered[key] = found
        return found

    def _chosen(self, only: tuple[str, ...] | None) -> list[Upstream]:
        """The upstreams that a rule's globs name; all when there is no rule."""
        named = globs(only) if only is not None else None
        return [u for u in self.upstreams.values() if named is None or named(u.name)]

    async def _watch(self, upstream: Upstream) -> None:
        while True:
            await self.look(upstream)
            well = upstream.known.error is None
            await asyncio.sleep(self._every if well else min(LOOK_AGAIN, self._every))

    def _seen(self, model: str) -> bool:
        """Whether an upstream that can be used says that it serves a model."""
        return any(u.met and u.serves(model) for u in self.upstreams.values())

    async def _first_looks(self, model: str) -> None:
        """Wait until one that serves the model was looked at, or all were; one that hangs delays no other."""
        looks = {
            asyncio.ensure_future(u.looked.wait()) for u in self.upstreams.values() if not u.looked.is_set()
        }
        try:
            async with asyncio.timeout(FIRST_LOOK):
                pending = looks
                while pending and not self._seen(model):
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            log.warning("the first look at some upstreams takes long")
        finally:
            for look in looks:
                look.cancel()

    def _look_again(self, upstream: Upstream) -> asyncio.Task[None]:
        """An extra look, at most every `LOOK_AGAIN` seconds; all who ask meanwhile wait for the same one."""
        now = time.monotonic()
        began, look = self._extra.get(upstream.name, (-LOOK_AGAIN, None))
        if look is None or (look.done() and now - began >= LOOK_AGAIN):
            look = asyncio.create_task(self.look(upstream), name=f"look at {upstream.name}")
            self._extra[upstream.name] = now, look
        return look

    def _retire(self, upstream: Upstream) -> None:
        watcher = self._watchers.pop(upstream.name, None)
        if watcher is not None:
            watcher.cancel()
        _, look = self._extra.pop(upstream.name, (0.0, None))
        if look is not None:
            look.cancel()
        upstream.close()

    def _unknown(self, model: str, only: tuple[str, ...] | None) -> UnknownModel | NoHealthyUpstream:
        """Why nobody can be asked: what is down may serve it, as far as anybody knows."""
        down = [u for u in self._chosen(only) if u.allows(model) and u.known.models is None]
        down = [u for u in down if not (u.met and u.up)]
        if down:
            words = "; ".join(f"{u.name}: {u.known.error or 'not reached yet'}" for u in down)
            return NoHealthyUpstream(f"no upstream that is up serves {show(model)}; down: {words}")
        if not self.upstreams:
            return NoHealthyUpstream("no upstream is configured")
        if only is not None and not self._chosen(only):
            names = ", ".join(self.upstreams)
            return NoHealthyUpstream(
                f"a rule sends this to upstream {', '.join(only)}, which does not exist; there are: {names}"
            )
        where = f" at {', '.join(only)}" if only is not None else ""
        return UnknownModel(f"no model {show(model)}{where}{hint(model, self.listing())}")
