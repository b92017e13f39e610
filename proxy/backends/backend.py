"""Pure. What a dialect is: how far values may go, what they are called, and how a request is written.

A backend is asked in this order: `limits` (before clamping), `translate` (after `drop`), `write` (for each
request). The first two are the slow half: their results are kept and serve many requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from proxy.backends.answer import Answer, Translator
from proxy.backends.facts import Target
from proxy.openai.request import ChatRequest
from proxy.parameters.bounds import Bounds, hard
from proxy.parameters.catalog import CATALOG
from proxy.parameters.families import Family
from proxy.parameters.resolution import Change, Decided, Resolution

Limit = tuple[str, float | None, float | None, str]
"""(parameter, low, high, source)"""


@dataclass(frozen=True, slots=True)
class Case:
    """What a translation may look at beside the values."""

    target: Target
    family: Family | None
    mode: str
    spelled: frozenset[str] = frozenset()
    """The names that the client used, thinking's among them."""
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """What the values were clamped to."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A resolution in a runtime's words."""

    resolution: Resolution
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields of the upstream body that carry parameters."""
    one_tool_call: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a request that is the same for the next one like it."""

    model: str
    """The model to ask the upstream for."""
    translation: Translation
    fragment: bytes
    """The parameter fields as JSON members, ready to be put into a body: `"temperature":0.6,"top_k":20`."""
    capabilities: frozenset[str] | None = None
    """What the upstream says that the model can do; `None` when it does not say."""
    strict: bool = False
    """Whether a loss is an error instead of a warning."""


@dataclass(slots=True, eq=False)
class UpstreamRequest:
    """A request, ready to be sent."""

    path: str
    body: bytes
    warnings: tuple[str, ...] = ()
    """What this request lost on the way, in words."""


class Backend(Protocol):
    """One runtime's dialect."""

    runtime: str

    def limits(self, case: Case) -> Iterable[Limit]:
        """Hard bounds of this runtime, version and model."""
        ...

    def item_limits(self, case: Case) -> Iterable[tuple[str, int, str]]:
        """(parameter, most items, source) for list parameters."""
        ...

    def translate(self, resolution: Resolution, case: Case) -> Translation:
        """Names on the wire, and what has none."""
        ...

    def write(self, chat: ChatRequest, plan: Plan, messages: bytes | None) -> UpstreamRequest:
        """The request to send; `messages` when they were edited. Raises what cannot be said at all."""
        ...

    def complete(self, body: bytes, answer: Answer) -> bytes:
        """A whole answer as a chat completion."""
        ...

    def translator(self, answer: Answer) -> Translator:
        """A fresh translator for one stream."""
        ...


class Draft:
    """A resolution on its way onto the wire: parameters are named, held or dropped one by one."""

    def __init__(self, resolution: Resolution, target: Target) -> None:
        self._target = target
        self._parameters = dict(resolution.parameters)
        self._dropped = dict(resolution.dropped)
        self._warnings = list(resolution.warnings)
        self.fields: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        """The value about to be sent, or `None`."""
        decided = self._parameters.get(name)
        return decided.value if decided is not None and decided.sent else None

    def pending(self) -> list[tuple[str, Decided]]:
        """What is to be sent and has no name on the wire yet."""
        return [(n, d) for n, d in self._parameters.items() if d.sent and d.wire is None]

    def put(self, name: str, wire: str, value: Any) -> None:
        """Send `value` for a parameter at a path such as `options.top_k`."""
        decided = self._parameters[name]
        self._parameters[name] = replace(decided, wire=wire)
        place = self.fields
        *parents, last = wire.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value

    def named(self, name: str, wire: str) -> None:
        """Say where a parameter takes effect when that is no field of the body."""
        self._parameters[name] = replace(self._parameters[name], wire=wire)

    def hold(self, name: str, value: Any, by: str) -> None:
        """Change a value and say who did it; the same value is no change."""
        decided = self._parameters[name]
        if decided.value != value or isinstance(decided.value, bool) != isinstance(value, bool):
            self._parameters[name] = decided.held(value, by)

    def extend(self, name: str, change: Change) -> None:
        """Add items to a list and say where they come from."""
        old = self._parameters[name]
        value = [*old.value, *change.before]
        self._parameters[name] = replace(old, value=value, appended=(*old.appended, change))

    def decided(self, name: str) -> Decided | None:
        """A parameter's outcome so far."""
        return self._parameters.get(name)

    def drop(self, name: str, reason: str, code: str | None = None, *, harmless: bool = False) -> None:
        """Leave a parameter out and say why."""
        decided = self._parameters.pop(name)
        code = code or self._target.unsupported_code
        self._dropped[name] = decided.dropped(reason, code, harmless=harmless)

    def warn(self, words: str) -> None:
        self._warnings.append(words)

    def done(self, *, one_tool_call: bool = False) -> Translation:
        """The finished translation."""
        resolution = Resolution(self._parameters, self._dropped, tuple(self._warnings))
        return Translation(resolution, self.fields, one_tool_call)


NEUTRAL: Mapping[str, Sequence[Any]] = {
    "typical_p": (1, 1.0),
    "tfs_z": (1, 1.0),
    "mirostat": (0,),
    "min_p": (0, 0.0),
    "min_tokens": (0,),
    "thinking_token_budget": (-1,),
    "n": (1,),
    "best_of": (1,),
    "use_beam_search": (False,),
    "length_penalty": (1, 1.0),
    "include_stop_str_in_output": (False,),
    "spaces_between_special_tokens": (True,),
    "include_reasoning": (True,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "parallel_tool_calls": (True,),
    "priority": (0,),
    "logit_bias": ({},),
    "bad_words": ([],),
    "stop_token_ids": ([],),
    "stop": ([],),
}
"""Values that switch a parameter off: leaving them out changes nothing."""


def is_neutral(name: str, value: Any) -> bool:
    """Whether a value only says "off"."""
    return any(
        value == off and isinstance(value, bool) == isinstance(off, bool) for off in NEUTRAL.get(name, ())
    )


def runtime_bounds(backend: Backend, case: Case, names: Iterable[str]) -> dict[str, Bounds]:
    """The hard bounds of parameters, cut down to what a runtime, its version and the model allow."""
    found = {name: hard(CATALOG[name]) for name in names}
    for name, low, high, source in backend.limits(case):
        if name in found:
            found[name] = found[name].narrow(low, high, source)
    for name, most, source in backend.item_limits(case):
        if name in found:
            found[name] = found[name].narrow_items(most, source)
    return found


def hold_to_context(draft: Draft, case: Case, what: str) -> None:
    """No answer is longer than the model's whole context; "no limit" stays no limit."""
    model, value = case.target.model, draft.value("max_tokens")
    if value is not None and model is not None and model.context is not None and value > model.context:
        draft.hold("max_tokens", model.context, f"{model.name}: {what} {model.context}")
