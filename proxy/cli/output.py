"""I/O. What commands print, and the exit code they end with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import orjson
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

from proxy.errors import AttuneError, ConfigurationError

PIPED_WIDTH = 100
"""Columns where no terminal says how many it has."""

FAILED = 1
WRONG_CONFIGURATION = 2


def console() -> Console:
    """Where tables go: as wide as the terminal, colours only on one and not with `NO_COLOR`."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if known else PIPED_WIDTH, markup=False, emoji=False, highlight=False)


def draw(*parts: RenderableType, screen: Console | None = None) -> None:
    """Parts one below the other; no line ends in blanks, which tables fill their columns with."""
    screen = screen or console()
    for part in parts:
        for line in screen.render_lines(part, pad=False):
            screen.print(Segments([*_trimmed(line), Segment.line()]), end="")


def _trimmed(line: list[Segment]) -> list[Segment]:
    rest = list(line)
    while rest and not rest[-1].text.rstrip():
        rest.pop()
    if rest:
        text, style, _ = rest[-1]
        rest[-1] = Segment(text.rstrip(), style)
    return rest


def print_json(value: Any) -> None:
    """A value as indented JSON."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def reporting(*, as_json: bool = False) -> Iterator[None]:
    """Ends the command with what an error says: on stderr, or as its body on stdout."""
    try:
        yield
    except AttuneError as fault:
        if as_json:
            print_json(fault.body())
        else:
            click.echo(fault.message, err=True)
        raise click.exceptions.Exit(
            WRONG_CONFIGURATION if isinstance(fault, ConfigurationError) else FAILED
        ) from None
