"""Pure. The enabled rules of all files in the order in which they are walked, each with where it stands."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.errors import RuleFault
from proxy.parameters.catalog import CATALOG
from proxy.rules.overlap import Index, Shape, shape
from proxy.rules.parse import Parsed
from proxy.rules.rule import Rule

COMPARISONS = 300_000
"""The most that one question costs, so that no file takes forever to check."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule in its file."""

    rule: Rule
    parsed: Parsed
    index: int
    """Its number in the file, from 0."""
    shape: Shape

    @property
    def where(self) -> str:
        """`rule 'x' (rules.yaml:12)`"""
        return f"rule {self.rule.name!r} ({self.parsed.file}:{self.line()})"

    def line(self, *path: str) -> int:
        """The line of a key of the rule; a parameter may be spelled in any way."""
        lines, base = self.parsed.lines, ("rules", self.index)
        known = CATALOG.get(path[-1]) if len(path) > 1 else None
        ends = known.spellings if known else path[-1:]
        return max((lines.at((*base, *path[:-1], end)) for end in ends), default=lines.at(base))

    def fault(self, words: str, *path: str) -> RuleFault:
        """Something to say about the rule: `rule 'x' WORDS`."""
        message = f"rule {self.rule.name!r} {words}"
        return RuleFault(message, file=self.parsed.file, line=self.line(*path))


class Order:
    """All enabled rules, and what happens on the way from one to another."""

    def __init__(self, files: Sequence[Parsed]) -> None:
        self.rules: list[Placed] = [
            Placed(rule, parsed, index, shape(rule.match))
            for parsed in files
            if parsed.content is not None
            for index, rule in enumerate(parsed.content.rules)
            if rule.enabled
        ]
        self._indexes: list[Index] = []
        self._stops = [n for n, placed in enumerate(self.rules) if placed.rule.stop]
        self._tasks = [n for n, placed in enumerate(self.rules) if placed.rule.task is not None]

    @property
    def exhausted(self) -> bool:
        """Whether some question was given up before every pair had been compared."""
        return any(index.left <= 0 for index in self._indexes)

    def index(self, share: int = 1) -> Index:
        """An empty index for a question, or for one of `share` parts of it."""
        self._indexes.append(Index(COMPARISONS // share))
        return self._indexes[-1]

    def may_stop(self, first: int, last: int) -> bool:
        """Whether a rule from `first` up to, but not including, `last` may end the walk."""
        return bisect_left(self._stops, first) < bisect_left(self._stops, last)

    def may_move(self, first: int, last: int) -> bool:
        """Whether a rule from `first` up to, but not including, `last` may set another task."""
        return bisect_left(self._tasks, first) < bisect_left(self._tasks, last)
