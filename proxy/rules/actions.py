"""Pure. What the matched rules do, folded into one value: where two say the same thing the later wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate
from proxy.rules.rule import Limits, Reject, Route, Rule


@dataclass(frozen=True, slots=True)
class SystemEdit:
    """The edits of the system message that all matched rules make together."""

    replace: str | None = None
    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def apply(self, text: str | None) -> str | None:
        """The system message after the edits; `None` when there is none."""
        base = text if self.replace is None else self.replace
        parts = [*self.prepend, *([base] if base else []), *self.append]
        return "\n\n".join(parts) or None


@dataclass(slots=True)
class Effects:
    """What a request's matched rules say."""

    names: tuple[str, ...] = ()
    candidates: list[tuple[str, Candidate]] = field(default_factory=list)
    append: dict[str, list[tuple[list[Any], str]]] = field(default_factory=dict)
    clamps: list[tuple[str, Limits, str]] = field(default_factory=list)
    """(parameter, limits, source)"""
    drop: dict[str, str] = field(default_factory=dict)
    forget: dict[str, str] = field(default_factory=dict)
    system: SystemEdit = field(default_factory=SystemEdit)
    profile: str | None = None
    profile_source: str | None = None
    upstreams: tuple[str, ...] | None = None
    model: str | None = None
    reject: Reject | None = None
    strict_by: str | None = None
    """The rule whose `on_violation: reject` makes the request strict."""


def fold(rules: Sequence[Rule]) -> Effects:
    """The effects of matched rules, in their order."""
    effects = Effects(names=tuple(rule.name for rule in rules))
    for rule in rules:
        _values(effects, rule)
        _lists(effects, rule)
        _system(effects, rule)
        _choices(effects, rule)
    return effects


def _values(effects: Effects, rule: Rule) -> None:
    source = f"rule {rule.name}"
    for layer, values in ((Layer.RULE_DEFAULT, rule.default), (Layer.RULE_SET, rule.set)):
        effects.candidates += [(name, Candidate(layer, source, value)) for name, value in values.items()]


def _lists(effects: Effects, rule: Rule) -> None:
    source = f"rule {rule.name}"
    for name, items in rule.append.items():
        effects.append.setdefault(name, []).append((items, source))
    effects.clamps += [(name, limits, source) for name, limits in rule.clamp.items()]
    effects.drop.update(dict.fromkeys(rule.drop, source))
    effects.forget.update(dict.fromkeys(rule.forget, source))


def _system(effects: Effects, rule: Rule) -> None:
    edit = rule.system_prompt
    if edit is None:
        return
    old = effects.system
    effects.system = SystemEdit(
        replace=old.replace if edit.replace is None else edit.replace,
        prepend=(edit.prepend, *old.prepend) if edit.prepend else old.prepend,
        append=(*old.append, edit.append) if edit.append else old.append,
        sources=(*old.sources, f"rule {rule.name}"),
    )


def _choices(effects: Effects, rule: Rule) -> None:
    if rule.profile is not None:
        effects.profile, effects.profile_source = rule.profile, rule.name
    if rule.route is not None:
        _route(effects, rule.route)
    if rule.reject is not None:
        effects.reject = rule.reject
    if rule.on_violation == "reject":
        effects.strict_by = rule.name


def _route(effects: Effects, route: Route) -> None:
    if route.upstream is not None:
        effects.upstreams = route.upstream
    if route.model is not None:
        effects.model = route.model
