"""Pure. How far a value may go, and who said so.

Bounds only ever narrow: a bound that would widen, or leave nothing, is cut at what stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from proxy.parameters.catalog import INT32, Parameter, Range


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range and who set it."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range a value is held to; `items` limits a list's length."""

    low: Bound | None = None
    high: Bound | None = None
    items: Bound | None = None
    whole: bool = False
    """Whether the values are whole numbers, and bounds are said as such."""

    def narrow(self, low: float | None, high: float | None, source: str) -> Bounds:
        """These bounds cut down to [low, high]; never wider, never empty."""
        new_low, new_high = self.low, self.high
        if low is not None and (self.low is None or low > self.low.value):
            new_low = Bound(low if self.high is None else min(low, self.high.value), source)
        if high is not None and (self.high is None or high < self.high.value):
            floor = new_low.value if new_low else None
            new_high = Bound(high if floor is None else max(high, floor), source)
        return replace(self, low=new_low, high=new_high)

    def narrow_items(self, most: int | None, source: str) -> Bounds:
        """At most `most` items in a list."""
        if most is None or (self.items is not None and self.items.value <= most):
            return self
        return replace(self, items=Bound(most, source))

    def clamp(self, value: Any, *, unlimited: bool = False) -> tuple[Any, str | None]:
        """The value held to the bounds, and who did it (`family llama-3: max 1.0`) or `None`.

        `unlimited`: a negative value means no limit, so only an upper bound can hold it, and one that is only
        the largest number that fits is none.
        """
        if unlimited and isinstance(value, int) and value < 0:
            return self._limit(value)
        if isinstance(value, list):
            return self._cut(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value, None
        if self.low is not None and value < self.low.value:
            return self._number(self.low), self._below(self.low)
        if self.high is not None and value > self.high.value:
            return self._number(self.high), self._above(self.high)
        return value, None

    def _limit(self, value: int) -> tuple[int, str | None]:
        """The bound for a value that means no limit."""
        if self.high is not None and self.high.value < INT32:
            return int(self.high.value), self._above(self.high)
        if self.low is not None and value < self.low.value < 0:
            return int(self.low.value), self._below(self.low)
        return value, None

    def _number(self, bound: Bound) -> float:
        """The bound as a value; a bound with a fraction stays what it is."""
        return int(bound.value) if self.whole and bound.value % 1 == 0 else float(bound.value)

    def _below(self, bound: Bound) -> str:
        return f"{bound.source}: min {self._text(bound)}"

    def _above(self, bound: Bound) -> str:
        return f"{bound.source}: max {self._text(bound)}"

    def _text(self, bound: Bound) -> str:
        return (
            str(int(bound.value))
            if self.whole
            else f"{bound.value:g}"
            if bound.value % 1
            else f"{bound.value:.1f}"
        )

    def _cut(self, value: list[Any]) -> tuple[Any, str | None]:
        if self.items is None or len(value) <= self.items.value:
            return value, None
        most = int(self.items.value)
        return value[:most], f"{self.items.source}: at most {most} items"


UNBOUNDED = Bounds()


def of_range(limits: Range, source: str) -> Bounds:
    """Bounds made from a catalogue range."""
    return UNBOUNDED.narrow(limits.min, limits.max, source)


def hard(parameter: Parameter) -> Bounds:
    """The bounds beyond which a parameter means nothing to any runtime."""
    return replace(of_range(parameter.hard, parameter.name), whole=parameter.type == "int")
