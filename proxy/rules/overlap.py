"""Pure. Whether two matches can hold for the same request, and whether one holds whenever another does.

Both questions are answered from the globs alone. `meet` may say yes where a request that satisfies both is
hard to imagine; `covers` says yes only when it is certain.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from proxy.rules.rule import Match

_WILD = re.compile(r"\[!?\]?[^\]]*\]|[*?]")

END = "\0"
"""No text holds it: it ends the literal prefix of a glob without wildcards, so that only equals share it."""

INDEXED = 64
"""Characters of a prefix that an index looks at."""
DIMENSIONS = 16
"""Dimensions that an index looks at: model, task, user and the first headers."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in lower case, and the text that everything it matches begins and ends with."""

    text: str
    prefix: str
    suffix: str
    literal: bool

    def matches(self, text: str) -> bool:
        return text == self.text if self.literal else _compiled(self.text).match(text) is not None


@lru_cache(maxsize=8192)
def glob(pattern: str) -> Glob:
    """The parts of a pattern."""
    text = pattern.lower()
    wild = list(_WILD.finditer(text))
    if not wild:
        return Glob(text, text + END, END + text, True)
    return Glob(text, text[: wild[0].start()], text[wild[-1].end() :], False)


def meet(a: Glob, b: Glob) -> bool:
    """Whether some text can match both."""
    if a.literal or b.literal:
        return a.matches(b.text) if b.literal else b.matches(a.text)
    # with a wildcard in each, what lies between the ends can always be made to fit
    return _either(str.startswith, a.prefix, b.prefix) and _either(str.endswith, a.suffix, b.suffix)


def covers(wide: Glob, narrow: Glob) -> bool:
    """Whether `wide` certainly matches whatever `narrow` matches."""
    if wide.text == narrow.text or wide.text == "*":
        return True
    if narrow.literal:
        return wide.matches(narrow.text)
    if wide.literal or _WILD.sub("", wide.text) != wide.text.replace("*", ""):
        return False
    # a stand-in that no literal equals has to fall into one of wide's stars, and so does all it stands for
    return wide.matches(_WILD.sub(END, narrow.text))


Globs = tuple[Glob, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A match in a form that can be compared and hashed."""

    texts: tuple[tuple[str, Globs], ...]
    """(dimension, globs) of `model`, `task`, `user` and `header NAME`; one that isn't there holds for all."""
    runtimes: frozenset[str] | None
    flags: tuple[bool | None, ...]
    """thinking, stream, tools"""

    def globs(self, dimension: str) -> Globs | None:
        return next((globs for name, globs in self.texts if name == dimension), None)


def shape(match: Match) -> Shape:
    """A match's shape. What holds for everything is left out."""
    given = [(name, getattr(match, name)) for name in ("model", "task", "user")]
    texts = [(name, _globs(patterns)) for name, patterns in given if patterns and "*" not in patterns]
    texts += [(f"header {name}", _globs(patterns)) for name, patterns in sorted(match.headers.items())]
    runtimes = frozenset(match.runtime) if match.runtime else None
    return Shape(tuple(texts), runtimes, (match.thinking, match.stream, match.tools))


def can_meet(a: Shape, b: Shape) -> bool:
    """Whether both can hold for one request."""
    if any(x is not None and y is not None and x != y for x, y in zip(a.flags, b.flags, strict=True)):
        return False
    if a.runtimes is not None and b.runtimes is not None and not a.runtimes & b.runtimes:
        return False
    for name, globs in a.texts:
        others = b.globs(name)
        if others is not None and not any(meet(x, y) for x in globs for y in others):
            return False
    return True


def contains(wide: Shape, narrow: Shape) -> bool:
    """Whether `wide` certainly holds whenever `narrow` does."""
    if any(w is not None and w != n for w, n in zip(wide.flags, narrow.flags, strict=True)):
        return False
    if wide.runtimes is not None and not (narrow.runtimes and narrow.runtimes <= wide.runtimes):
        return False
    for name, globs in wide.texts:
        others = narrow.globs(name)
        if others is None or not all(any(covers(w, n) for w in globs) for n in others):
            return False
    return True


class Index:
    """Shapes under numbers, found again by what their globs begin with, so that few have to be compared."""

    def __init__(self, most: int) -> None:
        self.left = most
        """How many candidates it still gives; each costs its reader a comparison."""
        self._all: list[int] = []
        self._free: dict[str, list[int]] = {}
        """Dimension -> those that say nothing about it."""
        self._at: dict[tuple[str, str], list[int]] = defaultdict(list)
        """(dimension, prefix) -> those with a glob of that prefix."""
        self._below: dict[tuple[str, str], list[int]] = defaultdict(list)
        """(dimension, prefix) -> those with a glob of a longer prefix that begins so."""

    def add(self, number: int, new: Shape) -> None:
        """Takes a shape in; numbers only ever rise, or only ever fall."""
        said = dict(new.texts)
        for name in said:
            if len(self._free) < DIMENSIONS:
                self._free.setdefault(name, list(self._all))
        for name, free in self._free.items():
            if name not in said:
                free.append(number)
                continue
            for prefix in {g.prefix[:INDEXED] for g in said[name]}:
                self._at[name, prefix].append(number)
                for end in range(len(prefix)):
                    self._below[name, prefix[:end]].append(number)
        self._all.append(number)

    def candidates(self, wanted: Shape) -> Iterator[int]:
        """Numbers of all shapes that may meet `wanted`, and of some that don't, until none are left."""
        best, size = [self._all], len(self._all)
        for name, globs in wanted.texts:
            if name in self._free:
                lists = self._lists(name, globs)
                if (total := sum(map(len, lists))) < size:
                    best, size = lists, total
        seen: set[int] = set()
        for number in chain.from_iterable(best):
            if self.left <= 0:
                return
            self.left -= 1
            if number not in seen:
                seen.add(number)
                yield number

    def _lists(self, name: str, globs: Globs) -> list[list[int]]:
        found = [self._free[name]]
        for prefix in {g.prefix[:INDEXED] for g in globs}:
            spots = [(name, prefix[:end]) for end in range(len(prefix) + 1)]
            found += [self._at[spot] for spot in spots if spot in self._at]
            if (name, prefix) in self._below:
                found.append(self._below[name, prefix])
        return found


def _globs(patterns: Iterable[str]) -> Globs:
    return tuple(dict.fromkeys(glob(p) for p in patterns))


def _either(test: Callable[[str, str], bool], a: str, b: str) -> bool:
    return test(a, b) or test(b, a)


@lru_cache(maxsize=8192)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))
