"""I/O. Tables in the house's form: no frames, every cell whole, never wider than the screen.

What is shown comes from files, clients and upstreams, so it is never read as markup, and control characters
are written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

GAP = 2
"""Columns of the screen between two of a table."""
NARROWEST = 4
SEPARATORS = "/:-_"
"""After these a name may go on in the next line."""


def grid(headings: Sequence[str], rows: Sequence[Sequence[Text]], width: int, caps: Sequence[int]) -> Table:
    """A table whose columns get narrower no further than their longest word, or `caps` for very long ones."""
    words = longest_words(headings, rows)
    floors = [min(word, cap) for word, cap in zip(words, caps, strict=True)]
    table = _bare(show_header=True)
    widths = fit(needed(headings, rows), floors, width - GAP * (len(headings) - 1))
    for heading, room in zip(headings, widths, strict=True):
        table.add_column(heading, width=room, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def needed(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[int]:
    """How wide each column is when nothing is folded."""
    texts = [[heading, *(row[i].plain for row in rows)] for i, heading in enumerate(headings)]
    return [max(len(line) for text in column for line in text.split("\n")) for column in texts]


def longest_words(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[int]:
    """How wide each column is when it is folded between words only."""
    texts = [[heading, *(row[i].plain for row in rows)] for i, heading in enumerate(headings)]
    return [max(len(word) for text in column for word in text.split() or [""]) for column in texts]


def at_separators(name: str, room: int) -> list[str]:
    """A name in pieces that fit into the room, each as long as its separators allow."""
    pieces = []
    while len(name) > room:
        end = max(name.rfind(mark, 0, room) for mark in SEPARATORS) + 1 or room
        pieces.append(name[:end])
        name = name[end:]
    return [*pieces, name]


def fit(wanted: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """The widths that fit into the room: what is missing is taken where most is to spare.

    When the floors give way, the first column's, which holds names, does so last.
    """
    widths = list(wanted)
    narrowest = [NARROWEST] * len(widths)
    for least in (list(floors), [floors[0], *narrowest[1:]], narrowest):
        while sum(widths) > room:
            spare = [width - floor for width, floor in zip(widths, least, strict=True)]
            if max(spare) <= 0:
                break
            widths[spare.index(max(spare))] -= 1
    return widths


def pairs(rows: Iterable[tuple[str, Any, str]], heading: str = "") -> Table:
    """Names and what belongs to them: (name, value, style)."""
    table = _bare(show_header=bool(heading))
    table.add_column(heading, style="" if heading else "cyan", overflow="fold")
    table.add_column("", overflow="fold")
    for name, value, style in rows:
        table.add_row(cell(name), cell(value, style))
    return table


def cell(value: Any, style: str = "", *, blank: str = "-") -> Text:
    """A value as it is; `blank` for nothing."""
    text = blank if value is None or value == "" else str(value)
    return Text("".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text), style=style)


def _bare(*, show_header: bool) -> Table:
    # the line under a heading stands for one of the columns between two
    gap = GAP - 1 if show_header else GAP
    lines = box.SIMPLE_HEAD if show_header else None
    return Table(box=lines, show_header=show_header, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
