"""Pure. The parameters that a request names, whatever spelling and place it chose.

Places, the strongest first: the top level, `generation_params`, `options`, `chat_template_kwargs` and
`reasoning` (thinking only), a `/no_think` in the text. `null` counts as not sent. What is named twice is
passed over by the stronger place, never lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import BadParameter
from proxy.parameters.catalog import CANONICAL, CATALOG, Parameter
from proxy.parameters.layers import Layer
from proxy.parameters.near import near
from proxy.parameters.resolution import Candidate, Dropped
from proxy.parameters.values import check, show

NESTED = ("options", "generation_params")
"""Objects at the top level that hold parameters, the weaker first."""

KWARGS = "chat_template_kwargs"
KWARG_SWITCHES = ("thinking", "enable_thinking")
"""The template arguments that switch thinking, the weaker first."""

FIELDS = frozenset(CANONICAL) | set(NESTED) | {"reasoning"}
"""Every top-level field that this module reads; the others are none of its business."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client named."""

    candidates: tuple[tuple[str, Candidate], ...] = ()
    """(parameter, candidate), weaker first, so that the later wins within the client layer."""
    unknown: dict[str, Dropped] = field(default_factory=dict)
    """Names inside `options` or `generation_params` that are no parameter."""
    warnings: tuple[str, ...] = ()
    spelled: frozenset[str] = frozenset()
    """The names used at the top level, and the template arguments that switch thinking."""

    def value(self, name: str) -> Any:
        """The client's winning value for a parameter, or `None`."""
        values = [c.value for n, c in self.candidates if n == name]
        return values[-1] if values else None


def read(fields: Mapping[str, Any], soft_switch: bool | None = None) -> Asked:
    """What decoded top-level `fields` name; `soft_switch` is a `/think` or `/no_think` found in the text.

    Raises `BadParameter` for a wrong type.
    """
    found: list[tuple[str, Candidate]] = []
    unknown: dict[str, Dropped] = {}
    spelled = {s for s in CANONICAL if fields.get(s) is not None}
    if soft_switch is not None:
        found.append(("think", Candidate(Layer.CLIENT, "request text", soft_switch)))
    for name, candidate, switch in _template(fields):
        found.append((name, candidate))
        if switch:
            spelled.add(switch)
    for place in NESTED:
        for name, candidate in _nested(fields, place, unknown):
            found.append((name, candidate))
    found += _top(fields)
    return Asked(tuple(found), unknown, tuple(_disagreements(found)), frozenset(spelled))


def soft_switch(text: str) -> bool | None:
    """Whether a text's last `/think` or `/no_think` word switches thinking on or off; `None`: neither."""
    for word in reversed(text.split()):
        if word in ("/think", "/no_think"):
            return word == "/think"
    return None


def _top(fields: Mapping[str, Any]) -> Iterator[tuple[str, Candidate]]:
    for parameter in CATALOG.values():
        for spelling in reversed(parameter.spellings):
            value = fields.get(spelling)
            if value is not None and parameter.name != KWARGS:
                yield parameter.name, _candidate(parameter, value, spelling, "request")


def _nested(
    fields: Mapping[str, Any], place: str, unknown: dict[str, Dropped]
) -> Iterator[tuple[str, Candidate]]:
    inner = fields.get(place)
    if inner is None:
        return
    if not isinstance(inner, dict):
        raise BadParameter(f"{place} must be an object, not {show(inner)}", param=place)
    for spelling, value in sorted(inner.items(), key=lambda item: _strength(item[0])):
        name = CANONICAL.get(spelling)
        if value is None:
            continue
        if name is None:
            unknown[f"{place}.{spelling}"] = _unknown(spelling, value, place)
        else:
            yield name, _candidate(CATALOG[name], value, f"{place}.{spelling}", f"request {place}")


def _template(fields: Mapping[str, Any]) -> Iterator[tuple[str, Candidate, str | None]]:
    """Thinking from `chat_template_kwargs` and `reasoning`, and the kwargs that are left."""
    kwargs = fields.get(KWARGS)
    if kwargs is not None:
        if not isinstance(kwargs, dict):
            raise BadParameter(f"{KWARGS} must be an object, not {show(kwargs)}", param=KWARGS)
        rest = {k: v for k, v in kwargs.items() if k not in KWARG_SWITCHES and k != "reasoning_effort"}
        if rest:
            yield KWARGS, Candidate(Layer.CLIENT, "request", rest), None
        for switch in ("reasoning_effort", *KWARG_SWITCHES):
            if kwargs.get(switch) is not None:
                path = f"{KWARGS}.{switch}"
                yield "think", _candidate(CATALOG["think"], kwargs[switch], path, f"request {KWARGS}"), switch
    reasoning = fields.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
        candidate = _candidate(CATALOG["think"], reasoning["effort"], "reasoning.effort", "request reasoning")
        yield "think", candidate, "reasoning_effort"
    elif reasoning is not None and not isinstance(reasoning, dict):
        raise BadParameter(f"reasoning must be an object, not {show(reasoning)}", param="reasoning")


def _strength(spelling: str) -> int:
    """Sorts an object's spellings so that the one that wins comes last."""
    name = CANONICAL.get(spelling)
    return -CATALOG[name].spellings.index(spelling) if name else 0


def _candidate(parameter: Parameter, value: Any, path: str, source: str) -> Candidate:
    try:
        return Candidate(Layer.CLIENT, source, check(parameter, value))
    except BadParameter as fault:
        raise BadParameter(fault.message.replace(parameter.name, path, 1), param=path) from None


def _unknown(spelling: str, value: Any, place: str) -> Dropped:
    hints = near(spelling, CANONICAL)
    hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
    return Dropped(value, Layer.CLIENT, f"request {place}", f"no such parameter{hint}", "unknown-parameter")


def _disagreements(found: list[tuple[str, Candidate]]) -> Iterator[str]:
    last: dict[str, Candidate] = dict(found)
    for name, candidate in found:
        winner = last[name]
        if candidate is not winner and candidate.value != winner.value:
            yield (
                f"{name} was named more than once: {show(winner.value)} ({winner.source}) is used, "
                f"{show(candidate.value)} ({candidate.source}) is passed over"
            )
