"""Pure. What resolving returns: for each parameter the winner, those passed over, clamps and drops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from proxy.parameters.layers import Layer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a layer offers."""

    layer: Layer
    source: str
    """Who offers it: `request`, `rule NAME`, `profile NAME`, `family NAME`, `Modelfile` ..."""
    value: Any
    evidence: str | None = None
    """For `vendor`: where the recommendation was read, and its grade."""

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"layer": self.layer.label, "source": self.source, "value": self.value}
        if self.evidence:
            out["evidence"] = self.evidence
        return out


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a value after it won: `held` to a bound or `appended` to."""

    before: Any
    by: str


@dataclass(frozen=True, slots=True)
class Decided:
    """One parameter's outcome."""

    value: Any
    layer: Layer
    source: str
    passed_over: tuple[Candidate, ...] = ()
    evidence: str | None = None
    wire: str | None = None
    """What the runtime calls it, as a path into the upstream body; `None` when not sent."""
    clamps: tuple[Change, ...] = ()
    appended: tuple[Change, ...] = ()
    asked: Candidate | None = None
    """What the client named, if it did, whoever won; also when a rule said to forget it."""
    forgotten_by: str | None = None

    @property
    def sent(self) -> bool:
        return self.layer.sent

    def held(self, value: Any, by: str) -> Decided:
        """The same outcome with its value held to `value`."""
        return replace(self, value=value, clamps=(*self.clamps, Change(self.value, by)))

    def dropped(self, reason: str, code: str, *, harmless: bool = False) -> Dropped:
        """The outcome when nothing is sent: what the client asked for, if it did, is what it misses.

        `harmless` speaks of this outcome's value, so it holds only where that is what the client asked for.
        """
        gone = self.asked or self
        return Dropped(
            gone.value, gone.layer, gone.source, reason, code, harmless and gone.value == self.value
        )

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"value": self.value, "layer": self.layer.label, "source": self.source}
        if self.evidence:
            out["evidence"] = self.evidence
        if self.asked is not None:
            out["requested"] = self.asked.value
        out["wire"] = self.wire
        if self.clamps:
            out["clamped"] = {"from": self.clamps[0].before, "by": "; ".join(c.by for c in self.clamps)}
        if self.appended:
            out["appended"] = [{"items": c.before, "by": c.by} for c in self.appended]
        if self.forgotten_by:
            out["forgotten"] = {"value": self.asked.value if self.asked else None, "by": self.forgotten_by}
        if self.passed_over:
            out["passed_over"] = [c.to_json() for c in self.passed_over]
        return out


@dataclass(frozen=True, slots=True)
class Dropped:
    """A value that does not go upstream."""

    value: Any
    layer: Layer
    source: str
    reason: str
    """For people: `ignored by ollama since 0.7.0`."""
    code: str
    """For the header: `unsupported-by-ollama-0.32`."""
    harmless: bool = False
    """Leaving it out changes nothing the client asked for, so strict mode lets it pass."""

    def to_json(self) -> dict[str, Any]:
        out = {"value": self.value, "layer": self.layer.label, "source": self.source}
        out["reason"] = self.reason
        return out | {"harmless": True} if self.harmless else out


@dataclass(frozen=True, slots=True)
class Resolution:
    """All outcomes of one request. Immutable: one may serve many requests."""

    parameters: dict[str, Decided] = field(default_factory=dict)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> Any:
        """The value that is sent for a parameter, or `None`."""
        decided = self.parameters.get(name)
        return decided.value if decided is not None and decided.sent else None

    def sent(self) -> dict[str, Decided]:
        """The outcomes that go upstream."""
        return {name: d for name, d in self.parameters.items() if d.sent}
