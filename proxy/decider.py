"""Pure. Decisions, kept: requests that are alike are decided once.

What a decision depends on is its key, so that a kept one is the one that would be made again. The cache is
emptied when the snapshot or anything known of the upstreams changes, and when it is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy import explain
from proxy.backends import BACKENDS
from proxy.backends.facts import Target
from proxy.decision import (
    PROFILE_HEADER,
    SESSION_HEADER,
    STRICT_HEADER,
    TASK_HEADER,
    Ask,
    Caller,
    Considered,
    Decision,
    Policy,
    consider,
    decide,
)
from proxy.errors import ClientError, RejectedByRule
from proxy.openai.messages import switch_texts
from proxy.openai.request import ChatRequest
from proxy.parameters.client import FIELDS, read, soft_switch
from proxy.snapshot import Snapshot

MOST = 2048
"""Decisions kept."""
LONGEST_VALUE = 2048
"""Bytes of one parameter beyond which a decision is not kept: a large schema is rarely sent twice."""


@dataclass(slots=True, eq=False)  # one per request: a frozen one takes three times as long to make
class Incoming:
    """A chat request as it came in."""

    chat: ChatRequest
    model: str
    """Without `@PROFILE`."""
    asked_model: str
    """As the client said it; the answer carries it."""
    profile: str | None
    """The profile that the client named."""
    headers: Mapping[bytes, bytes]
    caller: Caller
    request_id: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A rule sends the request elsewhere; the decision is made there."""

    model: str
    upstreams: tuple[str, ...] | None
    considered: Considered
    """What the rules said where the request was first bound for; it stands wherever the request goes."""
    origin: Target
    """Where it was first bound for."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decision and what can be made of it once."""

    decision: Decision
    headers: tuple[tuple[bytes, bytes], ...]
    """The `X-Tuning-*` response headers."""


@dataclass(frozen=True, slots=True)
class World:
    """What all keys of one snapshot and generation have in common, looked up once."""

    snapshot: str = ""
    generation: int = -1
    keeps: bool = True
    """Experiments that deal by request make every decision a new one."""
    headers: tuple[bytes, ...] = ()
    """The request headers that decisions look at."""


@dataclass(slots=True)
class Decider:
    """Makes and keeps decisions for one worker."""

    policy: Policy
    kept: dict[object, Prepared | Moved] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    world: World = field(default_factory=World)

    def decide(
        self,
        snapshot: Snapshot,
        generation: int,
        incoming: Incoming,
        target: Target,
        moved: Moved | None = None,
    ) -> Prepared | Moved:
        """The decision for a target, kept or made. `moved`: a rule has already chosen where to go; then the
        answer is a `Prepared`."""
        world = self.world
        if world.generation != generation or world.snapshot != snapshot.hash:
            self.kept.clear()
            self.world = world = _world(snapshot, generation)
        soft = _soft_switch(snapshot, incoming)
        key = _key(world, incoming, target, moved, soft)
        found = self.kept.get(key) if key is not None else None
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        made = self._make(snapshot, _ask(snapshot, incoming, soft), target, moved)
        if key is not None:
            if len(self.kept) >= MOST:
                self.kept.clear()
            self.kept[key] = made
        return made

    def _make(self, snapshot: Snapshot, asked: Ask, target: Target, moved: Moved | None) -> Prepared | Moved:
        try:
            considered = consider(snapshot, asked, target, moved.considered if moved else None)
        except RejectedByRule as refusal:
            refusal.decided = _encoded(explain.about(None, refusal.rules, target))
            raise
        effects = considered.effects
        if moved is None and (effects.upstreams is not None or effects.model is not None):
            return Moved(effects.model or asked.model, effects.upstreams, considered, target)
        try:
            decision = decide(snapshot, asked, considered, target, BACKENDS[target.runtime], self.policy)
        except ClientError as refusal:
            profile = considered.profile.name if considered.profile else None
            refusal.decided = _encoded(explain.about(profile, effects.names, target))
            raise
        return Prepared(decision, encode_headers(decision))


def _ask(snapshot: Snapshot, incoming: Incoming, soft: bool | None) -> Ask:
    """What a request asks, decoded as far as deciding needs."""
    chat = incoming.chat
    return Ask(
        model=incoming.model,
        client=read(chat.decode(FIELDS), soft),
        profile=incoming.profile,
        headers=looked_at(snapshot, incoming.headers),
        caller=incoming.caller,
        stream=chat.stream,
        tools=chat.tools,
        request_id=incoming.request_id,
    )


def encode_headers(decision: Decision, warnings: tuple[str, ...] = ()) -> tuple[tuple[bytes, bytes], ...]:
    """The `X-Tuning-*` headers as a server sends them."""
    return _encoded(explain.headers(decision, warnings))


def _encoded(headers: list[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((n.encode(), v.encode("latin-1")) for n, v in headers)


def looked_at(snapshot: Snapshot, headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The request headers that rules and choices look at, as text."""
    names = (*snapshot.headers, TASK_HEADER, STRICT_HEADER, SESSION_HEADER, PROFILE_HEADER)
    return {n: headers[n.encode()].decode("latin-1") for n in names if n.encode() in headers}


def _soft_switch(snapshot: Snapshot, incoming: Incoming) -> bool | None:
    """A `/think` or `/no_think` in the text, for families that know it."""
    family = snapshot.families.find(incoming.model)
    if family is None or not family.thinking.soft:
        return None
    messages = bytes(incoming.chat.fields["messages"])
    if b"think" not in messages:
        return None
    found = None
    for words in switch_texts(messages):
        switch = soft_switch(words)
        found = found if switch is None else switch
    return found


def _world(snapshot: Snapshot, generation: int) -> World:
    by_request = any(e.unit == "request" for e, _ in snapshot.experiments)
    headers = [
        TASK_HEADER,
        STRICT_HEADER,
        *([SESSION_HEADER] if snapshot.experiments else ()),
        *snapshot.headers,
    ]
    return World(snapshot.hash, generation, not by_request, tuple(h.encode() for h in headers))


def _key(
    world: World, incoming: Incoming, target: Target, moved: Moved | None, soft: bool | None
) -> object | None:
    """Everything the decision depends on; `None` when it must not be kept."""
    if not world.keeps:
        return None
    chat, caller = incoming.chat, incoming.caller
    named = [(n, bytes(raw)) for n, raw in chat.fields.items() if n in FIELDS]
    for _, raw in named:
        if len(raw) > LONGEST_VALUE:
            return None
    get = incoming.headers.get
    return (
        target.upstream, target.runtime, moved and (moved.origin.upstream, moved.origin.runtime),
        incoming.model, incoming.profile, tuple(named), tuple([get(n) for n in world.headers]), caller.user,
        caller.default_profile, caller.strict, tuple(caller.tasks.items()), chat.stream, chat.tools, soft,
    )  # fmt: skip
