"""Pure. A rule file's text into a checked `RuleFile`, or into all its faults at once.

`document` reads the YAML, the models check it, `messages` puts what they say into words with file and line.
Nothing here raises: what is wrong with a file is part of the answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import ValidationError

from proxy.errors import RuleFault
from proxy.rules.document import Document, Lines, read
from proxy.rules.messages import explain, in_order
from proxy.rules.rule import RuleFile

EMPTY = RuleFile.model_validate({})


@dataclass(frozen=True, slots=True)
class Parsed:
    """One rule file, read and checked by itself; what it refers to is `check`'s business."""

    file: str
    content: RuleFile | None
    """`None` when the file has faults."""
    faults: tuple[RuleFault, ...]
    """In line order."""
    lines: Lines
    hash: str
    """SHA-256 of the text, in hex; empty when there is no text."""
    builtin: bool


def parse(text: str, file: str, *, builtin: bool = False) -> Parsed:
    """The rule file in `text`; `file` is what its faults call it. Never raises."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        document = read(text, file)
    except RuleFault as fault:
        return Parsed(file, None, (fault,), Lines(1), digest, builtin)
    content, faults = _validated(document, file)
    return Parsed(file, None if faults else content, tuple(faults), document.lines, digest, builtin)


def unreadable(file: str, message: str, *, line: int = 1, builtin: bool = False) -> Parsed:
    """A file of which there is no text, for a reason."""
    fault = RuleFault(message, file=file, line=line)
    return Parsed(file, None, (fault,), Lines(1), "", builtin)


def _validated(document: Document, file: str) -> tuple[RuleFile | None, list[RuleFault]]:
    if document.value is None:
        return EMPTY, list(document.faults)
    try:
        content = RuleFile.model_validate(document.value)
    except ValidationError as error:
        reported = {fault.line for fault in document.faults}
        found = explain(error, document.value, file, document.lines)
        # what the YAML got wrong makes the models stumble over the same spot
        return None, in_order([*document.faults, *(f for f in found if f.line not in reported)])
    return content, in_order(document.faults)
