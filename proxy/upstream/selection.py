"""Pure. Which of several upstreams gets the next request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Seen(Protocol):
    """What a policy may look at."""

    @property
    def weight(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def up(self) -> bool: ...


@dataclass(slots=True)
class LeastLoaded:
    """The fewest requests per weight; ties take turns.

    An upstream of weight 0 is a spare, for when no other has room. One that is full comes after one that has
    room, and one whose last look failed after one that is up.
    """

    turn: int = 0

    def order(self, candidates: Sequence[Seen]) -> list[int]:
        """Indexes of all candidates, the one to try first at the front."""
        self.turn += 1
        count = len(candidates)

        def rank(index: int) -> tuple[bool, bool, bool, float, int]:
            seen = candidates[index]
            load = (seen.active + 1) / (seen.weight or 1)
            return not seen.up, seen.full, seen.weight == 0, load, (index - self.turn) % count

        return sorted(range(count), key=rank)
