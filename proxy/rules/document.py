"""Pure. YAML text into plain objects, remembering the line of every key and item.

Events are read one by one, so nothing recurses and no limit is found out too late. Scalars follow YAML 1.2
and JSON: only `true` and `false` are booleans, `1e-3` is a number, a date is text. What can't be told apart
in JSON or hides something is refused: duplicate keys, keys that are no text, tags, several documents, and
aliases that unfold into more than `NODES` values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from proxy.errors import RuleFault

SIZE = 4 * 1024 * 1024
"""Bytes. The longest rule file."""
TOO_LONG = f"longer than {SIZE // 1024 // 1024} MiB"
DEPTH = 64
"""Levels of nesting."""
NODES = 1_000_000
"""Values in one file, those behind aliases counted as often as they are used."""

STR_TAG = "tag:yaml.org,2002:str"

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: twenty times as fast."""

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 400
_DISALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NOTHING: Mapping[str | int, Lines] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Lines:
    """Where a value stands, and what is in it."""

    line: int
    """From 1. Of a mapping's entry the key's line, of a list's item its first line."""
    below: Mapping[str | int, Lines] = field(default_factory=lambda: _NOTHING)

    def at(self, path: Sequence[str | int]) -> int:
        """The line of the value at `path`, or of the nearest thing around it."""
        here = self
        for step in path:
            if step not in here.below:
                break
            here = here.below[step]
        return here.line


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content as plain objects; `None` when there is none."""

    value: Any
    lines: Lines
    faults: tuple[RuleFault, ...]


def read(text: str, file: str, *, loader: Any = None) -> Document:
    """The document in `text`. Raises `RuleFault` where reading can't go on; lesser faults are collected."""
    if len(text) > SIZE or len(text.encode("utf-8", "surrogatepass")) > SIZE:
        raise RuleFault(TOO_LONG, file=file, line=1)
    if bad := _DISALLOWED.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise RuleFault(f"a character that YAML doesn't allow: {bad[0]!a}", file=file, line=line)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=loader or LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as fault:
        raise _syntax(fault, file) from None
    except yaml.YAMLError as fault:
        raise RuleFault(f"not YAML: {fault}", file=file, line=1) from None
    return builder.document()


def _syntax(fault: yaml.MarkedYAMLError, file: str) -> RuleFault:
    mark = fault.problem_mark or fault.context_mark
    words = fault.problem or "not YAML"
    if fault.context:
        words = f"{words} ({fault.context})"
    return RuleFault(f"not YAML: {words}", file=file, line=mark.line + 1 if mark else 1)


class _Absent:
    """Marks a mapping that waits for its next key."""


_ABSENT = _Absent()


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    value: dict[str, Any] | list[Any]
    line: int
    anchor: str | None
    below: dict[str | int, Lines] = field(default_factory=dict)
    key: Any = _ABSENT
    key_line: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True)
class _Node:
    """A finished value."""

    value: Any
    lines: Lines
    size: int = 1


class _Builder:
    """Puts events together."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Frame] = []
        self._anchors: dict[str, _Node] = {}
        self._root: _Node | None = None
        self._faults: list[RuleFault] = []

    def document(self) -> Document:
        root = self._root or _Node(None, Lines(1))
        return Document(root.value, root.lines, tuple(self._faults))

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            self._put(_Node(self._scalar(event, line), Lines(line)), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._open.pop()
            self._put(_Node(frame.value, Lines(frame.line, frame.below), frame.size), frame.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._put(self._alias(str(event.anchor), line), None)
        elif isinstance(event, yaml.DocumentStartEvent) and self._root is not None:
            raise self._fault("a second document: put everything under one set of keys", line)

    def _fault(self, words: str, line: int) -> RuleFault:
        return RuleFault(words, file=self._file, line=line)

    def _note(self, words: str, line: int) -> None:
        self._faults.append(self._fault(words, line))

    def _start(self, event: Any, line: int) -> None:
        if len(self._open) >= DEPTH:
            raise self._fault(f"nested more than {DEPTH} levels deep", line)
        if event.tag is not None:
            self._note(f"{event.tag} is a tag; rule files have none", line)
        value: dict[str, Any] | list[Any] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._open.append(_Frame(value, line, event.anchor))

    def _alias(self, anchor: str, line: int) -> _Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise self._fault(f"*{anchor} stands for nothing: &{anchor} has to come before it", line)
        # what is wrong behind an alias is reported where the alias stands
        return _Node(node.value, Lines(line), node.size)

    def _put(self, node: _Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node
            return
        frame = self._open[-1]
        frame.size += node.size
        if frame.size > NODES:
            raise self._fault(f"more than {NODES} values, counting those behind aliases", node.lines.line)
        if isinstance(frame.value, list):
            frame.below[len(frame.value)] = node.lines
            frame.value.append(node.value)
        elif frame.key is _ABSENT:
            frame.key, frame.key_line = node.value, node.lines.line
        else:
            self._entry(frame, frame.value, node)

    def _entry(self, frame: _Frame, mapping: dict[str, Any], node: _Node) -> None:
        key, line = frame.key, frame.key_line
        frame.key = _ABSENT
        if not isinstance(key, str):
            hint = f'; write "{json.dumps(key)}"' if isinstance(key, bool | int | float) else ""
            self._note(f"a key has to be text{hint}", line)
        elif key in mapping:
            self._note(f"duplicate key {key!r}, first on line {frame.below[key].line}", line)
        elif key == "<<":
            self._note("rule files have no merge keys (<<): write the keys out", line)
        else:
            mapping[key] = node.value
            frame.below[key] = Lines(line, node.lines.below)

    def _scalar(self, event: Any, line: int) -> Any:
        if event.tag not in (None, STR_TAG):
            self._note(f"{event.tag} is a tag; rule files have none", line)
        if event.tag is not None or not event.implicit[0]:
            return event.value
        value = plain(event.value)
        if value is _ABSENT:
            shown = event.value if len(event.value) <= 40 else event.value[:37] + "..."
            self._note(f"{shown} is no number that can be sent: it is infinite, undefined or too long", line)
            return event.value
        return value


def plain(text: str) -> Any:
    """The value of a scalar without quotes; `_ABSENT` for a number that JSON can't hold."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INT.fullmatch(text):
        return _whole(text)
    if _FLOAT.fullmatch(text):
        number = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
        return number if math.isfinite(number) else _ABSENT
    return _ABSENT if _NO_NUMBER.fullmatch(text) else text


def _whole(text: str) -> Any:
    if len(text) > _LONGEST_NUMBER:
        return _ABSENT
    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return number if -(2**63) <= number < 2**64 else _ABSENT
