"""Pure. The parameters that a request names, whatever spelling and place it chose.

Places, the strongest first: the top level, `generation_params`, `options`, `reasoning` and
`chat_template_kwargs` (thinking only), a `/no_think` in the text. `null` counts as not sent. What is named
twice is passed over by the stronger place, never lost. A level of thinking says more than `true` and does not
contradict it, so it is used wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import BadParameter
from proxy.parameters.catalog import CANONICAL, CATALOG, Parameter
from proxy.parameters.layers import Layer
from proxy.parameters.near import near
from proxy.parameters.resolution import Candidate, Dropped
from proxy.parameters.values import check, show, writable

NESTED = ("options", "generation_params")
"""Objects at the top level that hold parameters, the weaker first."""

KWARGS = "chat_template_kwargs"
KWARG_SWITCHES = ("reasoning_effort", "thinking", "enable_thinking")
"""The template arguments that switch thinking, the weaker first."""

REASONING = "reasoning"
"""OpenAI's object for thinking, of which `effort` is read."""

FIELDS = frozenset(CANONICAL) | set(NESTED) | {REASONING}
"""Every top-level field that this module reads; the others are none of its business."""

MOST_HINTS = 8
"""Unknown names that get a "did you mean": comparing names costs time, and a client chooses how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client named."""

    candidates: tuple[tuple[str, Candidate], ...] = ()
    """(parameter, candidate), weaker first, so that the later wins within the client layer."""
    unknown: dict[str, Dropped] = field(default_factory=dict)
    """Names inside `options`, `generation_params` or `reasoning` that are no parameter, by their path."""
    warnings: tuple[str, ...] = ()
    spelled: frozenset[str] = frozenset()
    """The names that were used, wherever, and the template arguments that switch thinking."""

    def value(self, name: str) -> Any:
        """The client's winning value for a parameter, or `None`."""
        values = [c.value for n, c in self.candidates if n == name]
        return values[-1] if values else None


def read(fields: Mapping[str, Any], soft_switch: bool | None = None) -> Asked:
    """What decoded top-level `fields` name; `soft_switch` is a `/think` or `/no_think` found in the text.

    Raises `BadParameter` for a wrong type.
    """
    reading = _Reading()
    if soft_switch is not None:
        reading.found.append(("think", Candidate(Layer.CLIENT, "request text", soft_switch)))
    rest = reading.template(fields.get(KWARGS), KWARGS, f"request {KWARGS}")
    reading.reasoning(fields.get(REASONING))
    for place in NESTED:
        reading.nested(fields.get(place), place)
    reading.top(fields)
    if rest:
        reading.offer(KWARGS, rest, KWARGS, "request")
    found = _how_hard(reading.found)
    return Asked(tuple(found), reading.unknown, tuple(_disagreements(found)), frozenset(reading.spelled))


def normal(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameter values of a profile, rule or variant, with a template's thinking switch said as `think`."""
    for name, value in values.items():
        switches = [s for s in KWARG_SWITCHES if name == KWARGS and isinstance(value.get(s), bool)]
        rest = {k: v for k, v in value.items() if k not in switches} if switches else value
        if rest or not switches:
            yield name, rest
        if switches and "think" not in values:
            yield "think", value[switches[-1]]


def soft_switch(text: str) -> bool | None:
    """Whether a text's last `/think` or `/no_think` word switches thinking on or off; `None`: neither."""
    for word in reversed(text.split()):
        if word in ("/think", "/no_think"):
            return word == "/think"
    return None


class _Reading:
    """What has been found so far, the weaker first."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Candidate]] = []
        self.unknown: dict[str, Dropped] = {}
        self.spelled: set[str] = set()

    def offer(self, spelling: str, value: Any, path: str, source: str) -> None:
        """A value under a spelling that is known."""
        name = CANONICAL[spelling]
        self.spelled.add(spelling)
        self.found.append((name, _candidate(CATALOG[name], value, path, source)))

    def top(self, fields: Mapping[str, Any]) -> None:
        """The top level, but for the template's arguments."""
        for parameter in CATALOG.values():
            for spelling in reversed(parameter.spellings):
                value = fields.get(spelling)
                if value is not None and spelling != KWARGS:
                    self.offer(spelling, value, spelling, "request")

    def nested(self, inner: Any, place: str) -> None:
        """An object of parameters."""
        for spelling, value in sorted(_object(inner, place).items(), key=lambda item: _strength(item[0])):
            path, source = f"{place}.{spelling}", f"request {place}"
            if value is None:
                continue
            if spelling == KWARGS:
                value = self.template(value, path, source)
                if not value:
                    continue
            if spelling in CANONICAL:
                self.offer(spelling, value, path, source)
            else:
                self.refuse(place, spelling, value, CANONICAL)

    def template(self, kwargs: Any, path: str, source: str) -> dict[str, Any]:
        """Thinking from a template's arguments; returns those that are left."""
        rest = dict(_object(kwargs, path))
        for switch in KWARG_SWITCHES:
            value = rest.pop(switch, None)
            if value is not None:
                self.spelled.add(switch)
                self.found.append(("think", _candidate(CATALOG["think"], value, f"{path}.{switch}", source)))
        return rest

    def reasoning(self, value: Any) -> None:
        """OpenAI's `reasoning` object."""
        for key, inner in _object(value, REASONING).items():
            if inner is None:
                continue
            if key == "effort":
                self.offer("reasoning_effort", inner, f"{REASONING}.effort", f"request {REASONING}")
            else:
                self.refuse(REASONING, key, inner, ("effort",))

    def refuse(self, place: str, name: str, value: Any, choices: Iterable[str]) -> None:
        """Report a name that nobody knows."""
        hints = near(name, choices) if len(self.unknown) < MOST_HINTS else []
        hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
        shown = value if writable(value) else show(value)
        self.unknown[f"{place}.{name}"] = Dropped(
            shown, Layer.CLIENT, f"request {place}", f"no such parameter{hint}", "unknown-parameter"
        )


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadParameter(f"{path} must be an object, not {show(value)}", param=path)
    return value


def _strength(spelling: str) -> int:
    """Sorts an object's spellings so that the one that wins comes last."""
    if spelling == KWARGS:
        return -len(CANONICAL)
    name = CANONICAL.get(spelling)
    return -CATALOG[name].spellings.index(spelling) if name else 0


def _candidate(parameter: Parameter, value: Any, path: str, source: str) -> Candidate:
    try:
        return Candidate(Layer.CLIENT, source, check(parameter, value))
    except BadParameter as fault:
        raise BadParameter(fault.message.replace(parameter.name, path, 1), param=path) from None


def _how_hard(found: list[tuple[str, Candidate]]) -> list[tuple[str, Candidate]]:
    """The same, with thinking's strongest level last where all that wins is that there be thinking."""
    thinks = [each for each in found if each[0] == "think"]
    levels = [each for each in thinks if isinstance(each[1].value, str)]
    if not levels or thinks[-1][1].value is not True:
        return found
    return [*(each for each in found if each is not levels[-1]), levels[-1]]


def _disagreements(found: list[tuple[str, Candidate]]) -> Iterator[str]:
    last: dict[str, Candidate] = dict(found)
    for name, candidate in found:
        winner = last[name]
        agreed = candidate.value is True and isinstance(winner.value, str)
        if candidate is not winner and candidate.value != winner.value and not agreed:
            yield (
                f"{name} was named more than once: {show(winner.value)} ({winner.source}) is used, "
                f"{show(candidate.value)} ({candidate.source}) is passed over"
            )
