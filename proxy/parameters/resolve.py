"""Pure. Picks each parameter's winner and applies, in this order: append, clamp, drop.

Translation comes after, in the backend. Candidates come in any order; `Layer` decides. Within one layer the
later candidate wins (a later rule, a more specific source).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.parameters.bounds import UNBOUNDED, Bounds
from proxy.parameters.catalog import UNLIMITED_BELOW_ZERO
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate, Change, Decided, Dropped, Resolution

Candidates = Mapping[str, Sequence[Candidate]]


@dataclass(frozen=True, slots=True)
class Edits:
    """What matched rules do beyond offering candidates; each with the rule that said so."""

    append: Mapping[str, Sequence[tuple[list[Any], str]]] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """The range of each parameter: the runtime's, the family's and every matched rule's `clamp`."""
    drop: Mapping[str, str] = field(default_factory=dict)
    """Parameter -> who drops it."""
    forget: Mapping[str, str] = field(default_factory=dict)
    """Parameter -> who says that the client's value counts as not sent."""


def resolve(candidates: Candidates, edits: Edits) -> Resolution:
    """The outcome of every parameter that any layer or `append` names."""
    parameters: dict[str, Decided] = {}
    dropped: dict[str, Dropped] = {}
    for name in (*candidates, *(n for n in edits.append if n not in candidates)):
        outcome = _outcome(name, candidates.get(name, ()), edits)
        if isinstance(outcome, Dropped):
            dropped[name] = outcome
        elif outcome is not None:
            parameters[name] = outcome
    return Resolution(parameters, dropped)


def rank(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates from winner to last; within a layer the later one first."""
    ranked = list(candidates)
    ranked.reverse()
    ranked.sort(key=lambda c: -c.layer)
    return ranked


def _outcome(name: str, offered: Sequence[Candidate], edits: Edits) -> Decided | Dropped | None:
    ranked = rank(offered)
    asked = next((c for c in ranked if c.layer is Layer.CLIENT), None)
    forgotten_by = edits.forget.get(name) if asked is not None else None
    decided = _append(_winner(ranked, bool(forgotten_by)), edits.append.get(name, ()), ranked)
    if decided is None:
        # only a forgotten client value: the parameter is gone, and that is said
        return _forgotten(asked, forgotten_by) if asked and forgotten_by else None
    decided = replace(decided, asked=asked, forgotten_by=forgotten_by)
    if not decided.sent:
        return decided
    bounds = edits.bounds.get(name, UNBOUNDED)
    value, by = bounds.clamp(decided.value, unlimited=name in UNLIMITED_BELOW_ZERO)
    if by is not None:
        decided = decided.held(value, by)
    if name in edits.drop:
        who = edits.drop[name]
        return decided.dropped(f"dropped by {who}", _slug(who))
    return decided


def _winner(ranked: Sequence[Candidate], forget_client: bool) -> Decided | None:
    """The first in rank, and all others as passed over; a forgotten client is passed over by everybody."""
    best = next((c for c in ranked if not (forget_client and c.layer is Layer.CLIENT)), None)
    if best is None:
        return None
    others = tuple(c for c in ranked if c is not best)
    return Decided(best.value, best.layer, best.source, others, best.evidence)


def _append(
    decided: Decided | None, items: Sequence[tuple[list[Any], str]], ranked: Sequence[Candidate]
) -> Decided | None:
    """The winner with what `append` adds; what it already holds is not added again.

    Where nobody's list would be sent, the first that adds to it begins one and passes over all candidates.
    """
    for extra, source in items:
        have = _items(decided)
        new = [item for item in dict.fromkeys(extra) if item not in have]
        if not new:
            continue
        if decided is None or not decided.sent:
            decided = Decided([], Layer.RULE_SET, source, tuple(ranked))
        change = Change(new, source)
        decided = replace(decided, value=have + new, appended=(*decided.appended, change))
    return decided


def _items(decided: Decided | None) -> list[Any]:
    """What the list that is sent holds so far."""
    if decided is None or not decided.sent:
        return []
    return list(decided.value) if isinstance(decided.value, list) else [decided.value]


def _forgotten(asked: Candidate, by: str) -> Dropped:
    return Dropped(asked.value, asked.layer, asked.source, f"forgotten by {by}", f"forgotten-by-{_slug(by)}")


def _slug(text: str) -> str:
    return "-".join(text.split())
