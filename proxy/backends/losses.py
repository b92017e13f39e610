"""Pure. What a translation could not keep, in words for people, and what it could not read."""

from __future__ import annotations

import re
from typing import Any

from proxy.errors import BadBody

MOST = 32
"""Lines; a request of odd shape must not grow its own report without end."""

LONGEST = 240
"""Characters of one line."""

_INDEX = re.compile(r"\[\d+\]")

_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}


class Losses:
    """Warnings in the order of their first cause; the same loss at another index is only counted.

    Lines name paths such as `messages[2].name` and never hold what people wrote.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}
        self._more: dict[tuple[str, str], int] = {}

    def note(self, path: str, words: str) -> None:
        """One loss at one place."""
        key = (_INDEX.sub("[]", path), words)
        if key in self._first:
            self._more[key] = self._more.get(key, 0) + 1
        else:
            self._first[key] = path

    def note_unread(self, path: str, value: dict[str, Any], read: frozenset[str]) -> None:
        """Every key that has no counterpart; `null` and empty values lose nothing."""
        for key, item in value.items():
            if key not in read and item not in (None, "", [], {}):
                self.note(f"{path}.{key[:60]}", "ollama has no such field, lost")

    def lines(self) -> tuple[str, ...]:
        """The warnings: `path: words`, with the number of further places."""
        found = [_line(path, key[1], self._more.get(key, 0)) for key, path in self._first.items()]
        if len(found) > MOST:
            found[MOST - 1 :] = [f"and {len(found) - MOST + 1} more warnings"]
        return tuple(found)


def _line(path: str, words: str, more: int) -> str:
    count = f" (and at {more} more place{'s' if more > 1 else ''})" if more else ""
    room = LONGEST - len(words) - len(count) - 2
    return f"{path if len(path) <= room else path[: room - 3] + '...'}: {words}{count}"


def wrong(path: str, wanted: str, value: Any) -> BadBody:
    """The error for a value of the wrong shape: where it is, what is accepted, what kind it has."""
    kind = "null" if value is None else _KINDS.get(type(value), "an object")
    return BadBody(f"{path} must be {wanted}, not {kind}", param=path)
