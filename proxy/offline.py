"""Pure. The decision for a request that is never sent, from rule files alone: no upstream is asked.

What only an upstream could tell (its version, its models' context and defaults) stays unknown here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.backends.facts import NumCtxPolicy, Target
from proxy.decider import Decider, Incoming, Moved, Prepared
from proxy.rules.match import globs
from proxy.rules.rule import UpstreamEntry
from proxy.snapshot import Snapshot
from proxy.writing import Written, write

ASSUMED = "ollama"
"""The runtime where nothing names one."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The upstreams as the rule files describe them."""

    upstreams: Sequence[UpstreamEntry]
    runtime: str | None = None
    """The runtime to decide for; `None`: what the upstream's entry declares."""
    num_ctx: NumCtxPolicy = "bucket"

    def serves(self, model: str) -> bool:
        """Whether an upstream's globs name the model; `*` alone says nothing about it."""
        return any(_names(entry, model) for entry in self.upstreams)

    def target(self, model: str, only: Sequence[str] | None = None) -> Target:
        """Where a request for `model` would go first; `only` are the upstreams that a rule chose."""
        entry = self._first(model, only)
        if entry is None:
            return Target(None, self.runtime or ASSUMED, num_ctx=self.num_ctx)
        runtime = self.runtime or entry.runtime or ASSUMED
        return Target(entry.name, runtime, num_ctx=entry.num_ctx or self.num_ctx)

    def declares(self, target: Target) -> bool:
        """Whether somebody named the target's runtime, or it is only assumed."""
        declared = {entry.runtime for entry in self.upstreams if entry.name == target.upstream}
        return self.runtime is not None or bool(declared - {None})

    def _first(self, model: str, only: Sequence[str] | None) -> UpstreamEntry | None:
        """The entry that an idle proxy tries first: one that names the model, no spare, the heaviest."""
        chosen = globs(only) if only is not None else None
        usable = [
            entry
            for entry in self.upstreams
            if globs(entry.models)(model)
            and (chosen is None or chosen(entry.name))
            and (self.runtime is None or entry.runtime in (None, self.runtime))
        ]
        return min(usable, key=lambda e: (not _names(e, model), e.weight == 0, -e.weight), default=None)


def explain(snapshot: Snapshot, incoming: Incoming, decider: Decider, scene: Scene) -> Written:
    """What would be sent, following the rules' routes. Raises what the gateway would refuse."""
    return write(incoming, _decide(snapshot, incoming, decider, scene))


def _decide(snapshot: Snapshot, incoming: Incoming, decider: Decider, scene: Scene) -> Prepared:
    found = decider.decide(snapshot, 0, incoming, scene.target(incoming.model))
    while isinstance(found, Moved):
        target = scene.target(found.model, found.upstreams)
        found = decider.decide(snapshot, 0, incoming, target, found)
    return found


def _names(entry: UpstreamEntry, model: str) -> bool:
    return any(pattern != "*" for pattern in entry.models) and globs(entry.models)(model)
