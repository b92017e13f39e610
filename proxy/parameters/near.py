"""Pure. Names close to one that nobody knows, for "did you mean" hints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_NAME = 256
"""Characters. A longer name is no typing slip, and comparing it costs time its sender chooses: no hint."""


def near(name: str, choices: Iterable[str], n: int = 3) -> list[str]:
    """At most `n` of `choices` that look like `name`, best first; empty when none does.

    Letter case and the difference between `-`, `_` and `.` don't count. Choices come back as they
    were given. `n` below 1 gives an empty list.
    """
    if n < 1 or len(name) > LONGEST_NAME:
        return []
    spellings: dict[str, list[str]] = {}
    for choice in dict.fromkeys(choices):
        spellings.setdefault(_plain(choice), []).append(choice)
    close = difflib.get_close_matches(_plain(name), spellings, n=n)
    return [choice for spelling in close for choice in spellings[spelling]][:n]


def hint(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?` to put behind an error message, or an empty string."""
    names = near(name, choices)
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
