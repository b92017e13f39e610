"""I/O. Decisions, layers and models as tables, from the same JSON that the API gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.cli.layout import GAP, at_separators, cell, grid, longest_words, needed, pairs
from proxy.parameters.layers import Layer
from proxy.parameters.values import show

ROOMY = 100
"""Columns from which notes stand beside the values, not below them."""
COMFORTABLE = 40
"""Columns that notes are given before names on the wire are left in one piece."""
INDENT = "  "
LONGEST = 48
"""Characters of a value."""

AFTERWARDS = "then, in this order: append, clamp, drop, and translation into the runtime's own names"

Json = Mapping[str, Any]


def decision_table(decision: Json, *, width: int, assumed: bool = False) -> Iterator[RenderableType]:
    """A whole decision: what it is for, its values, what was left out, and what else is to be said.

    `assumed`: nobody named the runtime.
    """
    yield _head(decision, assumed)
    yield ""
    yield from _parameters(decision["parameters"], width)
    if decision["dropped"]:
        yield ""
        yield _dropped(decision["dropped"], width)
    remarks = list(_remarks(decision))
    if remarks:
        yield ""
        yield pairs(remarks)


def layers_table(width: int) -> Iterator[RenderableType]:
    """Which layer wins, as the code states it."""
    yield "Lowest first: a later layer beats an earlier one."
    yield ""
    rows = [(cell(layer.value), cell(layer.label), cell(layer.summary)) for layer in Layer]
    yield grid(("", "layer", "from"), rows, width, (2, 16, 20))
    yield ""
    yield AFTERWARDS


def layers_json() -> list[dict[str, Any]]:
    """The layers, lowest first: `[{"layer", "number", "sent", "summary"}]`."""
    return [
        {"layer": layer.label, "number": layer.value, "sent": layer.sent, "summary": layer.summary}
        for layer in Layer
    ]


def models_table(models: Sequence[Json], width: int) -> RenderableType:
    """What each upstream serves: a table, or lines for each model where a table would break words."""
    headings = ("model", "family", "context", "loaded", "can", "upstreams")
    rows = [_model(model) for model in models]
    words = longest_words(headings, rows)
    if sum(words) + GAP * (len(headings) - 1) > width:
        return Group(*(line for row in rows for line in _model_lines(row, width)))
    return grid(headings, rows, width, words)


def _model(model: Json) -> list[Text]:
    places = model["upstreams"]
    loaded = dict.fromkeys(str(p["loaded_context"]) for p in places if p["loaded_context"])
    return [
        cell(model["name"], "bold"),
        cell(model["family"]),
        cell(model["context_length"]),
        cell(", ".join(loaded)),
        cell(", ".join(model["capabilities"] or ())),
        cell(", ".join(f"{p['upstream']} ({p['runtime']})" for p in places)),
    ]


def _model_lines(row: Sequence[Text], width: int) -> Iterator[Text]:
    """A model's name on a line, what is known of it below. Parts go on in the next line between words."""
    for piece in at_separators(row[0].plain, width):
        yield Text(piece, style="bold")
    labels = ("", "context ", "loaded ", "can ", "on ")
    known = [label + text.plain for label, text in zip(labels, row[1:], strict=True) if text.plain != "-"]
    line = ""
    for part in known or ["-"]:
        if line and len(INDENT) + len(line) + GAP + len(part) > width:
            yield from _folded(line, width)
            line = ""
        line += f"{' ' * GAP if line else ''}{part}"
    yield from _folded(line, width)


def _folded(line: str, width: int) -> Iterator[Text]:
    room = max(width - len(INDENT), 1)
    for part in wrap(line, room, break_long_words=False, break_on_hyphens=False):
        for piece in at_separators(part, room):
            yield Text(INDENT + piece)


def _head(decision: Json, assumed: bool) -> Table:
    runtime = " ".join(filter(None, (decision["runtime"], decision["runtime_version"])))
    profile, by = decision["profile"], decision.get("profile_by")
    variants = decision.get("experiments", {})
    rows = {
        "model": decision["model"],
        "sent as": decision.get("upstream_model"),
        "upstream": f"{decision['upstream'] or 'none named'} ({runtime}{', assumed' if assumed else ''})",
        "family": decision["family"] or "unknown",
        "mode": decision["mode"],
        "task": decision["task"],
        "profile": f"{profile} (by {by})" if profile and by else profile,
        "rules": ", ".join(decision["rules"]),
        "experiments": ", ".join(f"{name}/{variant}" for name, variant in variants.items()),
        "snapshot": decision["snapshot"][:12],
    }
    return pairs((name, value, "") for name, value in rows.items() if value)


def _parameters(parameters: Mapping[str, Json], width: int) -> Iterator[RenderableType]:
    if not parameters:
        yield "No parameter is sent: the runtime uses its own values."
        return
    notes = {name: "\n".join(_notes(entry)) for name, entry in parameters.items()}
    rows = [_row(name, entry) for name, entry in parameters.items()]
    headings, caps = ["parameter", "value", "layer", "source", "wire"], [20, 12, 16, 20, 22]
    if width >= ROOMY:
        rows = [[*row, cell(note, blank="")] for row, note in zip(rows, notes.values(), strict=True)]
        headings, caps = [*headings, "notes"], [*caps, 24]
    values, beside = needed(headings, rows)[:5], needed(headings, rows)[5:]
    if sum(values) + sum(min(COMFORTABLE, wide) for wide in beside) + GAP * (len(headings) - 1) > width:
        rows = [[*row[:4], _broken(row[4]), *row[5:]] for row in rows]
    yield grid(headings, rows, width, caps)
    below = [(name, note, "") for name, note in notes.items() if note]
    if width < ROOMY and below:
        yield ""
        yield pairs(below, heading="notes")


def _row(name: str, entry: Json) -> list[Text]:
    style = "dim" if entry["layer"] == Layer.RUNTIME.label else "yellow" if "clamped" in entry else "bold"
    return [
        cell(name, style),
        cell(_show(entry["value"]), style),
        cell(entry["layer"]),
        cell(entry["source"]),
        cell(entry["wire"]),
    ]


def _broken(wire: Text) -> Text:
    """A path on the wire on two lines, the last name on one of its own."""
    parent, dot, last = wire.plain.rpartition(".")
    return Text(f"{parent}.\n{last}") if dot else wire


def _notes(entry: Json) -> Iterator[str]:
    """What happened to a value on its way, and what it was preferred to."""
    if entry["layer"] == Layer.RUNTIME.label:
        yield "(shown only)"
    if "clamped" in entry:
        yield f"clamped from {_show(entry['clamped']['from'])} ({entry['clamped']['by']})"
    for added in entry.get("appended", ()):
        yield f"appended {_show(added['items'])} ({added['by']})"
    if "forgotten" in entry:
        yield f"forgot {_show(entry['forgotten']['value'])} ({entry['forgotten']['by']})"
    for other in entry.get("passed_over", ()):
        source = f" ({other['source']})" if other["source"] != "request" else ""
        yield f"over {other['layer']} {_show(other['value'])}{source}"


def _dropped(dropped: Mapping[str, Json], width: int) -> Table:
    rows = []
    for name, entry in dropped.items():
        source = f" ({entry['source']})" if entry["source"] != "request" else ""
        value, reason = cell(_show(entry["value"])), cell(f"{entry['reason']}{source}")
        rows.append([cell(name, "red"), value, cell(entry["layer"]), reason])
    return grid(("dropped", "value", "layer", "reason"), rows, width, (28, 12, 16, 24))


def _remarks(decision: Json) -> Iterator[tuple[str, str, str]]:
    """What is to be said beneath the tables: (name, text, style)."""
    if decision["system_prompt"]:
        yield "system prompt", f"from {decision['system_prompt']['source']}", ""
    won = [e for e in decision["parameters"].values() if e["layer"] == Layer.VENDOR.label]
    vendor = [e["evidence"] for e in won if "evidence" in e]
    for evidence in dict.fromkeys(vendor):
        yield "vendor values", f"from {evidence}", ""
    for warning in decision["warnings"]:
        yield "warning", warning, "yellow"


def _show(value: Any) -> str:
    return show(value, LONGEST)
