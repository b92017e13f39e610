"""Pure. A decision in words: the `tuning` object, the response headers, the rows of a table.

All three are read off the same `Decision`, so they cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from proxy.backends.facts import Target
from proxy.decision import Decision
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Decided, Resolution

LONGEST_HEADER = 4096
"""Characters; servers and clients commonly limit a header line to 8 KiB."""
LONGEST_VALUE = 60
"""Characters of one value in a header."""


def to_json(
    decision: Decision, request_id: str, warnings: Iterable[str] = (), system_prompt: str | None = None
) -> dict[str, Any]:
    """The decision in the shape of `tuning` and `POST /api/v1/explain`."""
    considered, resolution = decision.considered, decision.resolution
    profile = considered.profile
    out: dict[str, Any] = {
        "request_id": request_id,
        "model": decision.model,
        "upstream": decision.target.upstream,
        "runtime": decision.target.runtime,
        "runtime_version": decision.target.version,
        "family": decision.family.name if decision.family else None,
        "mode": decision.mode,
        "task": considered.task,
        "profile": profile.name if profile else None,
        "profile_by": considered.profile_by,
        "rules": list(considered.effects.names),
        "snapshot": decision.snapshot,
        "parameters": {name: d.to_json() for name, d in resolution.parameters.items()},
        "dropped": {name: d.to_json() for name, d in resolution.dropped.items()},
        "system_prompt": {"source": system_prompt} if system_prompt else None,
        "warnings": [*decision.warnings, *warnings],
    }
    if decision.plan.model != decision.model:
        out["upstream_model"] = decision.plan.model
    if considered.variants:
        out["experiments"] = {experiment: variant for experiment, variant, _ in considered.variants}
    return out


def about(profile: str | None, rules: Iterable[str], target: Target) -> list[tuple[str, str]]:
    """The headers that stand before any value is decided: profile, rules and upstream."""
    out = [("x-tuning-profile", profile)] if profile is not None else []
    names = _joined(map(_safe, rules), ",")
    if names:
        out.append(("x-tuning-rules", names))
    if target.upstream is not None:
        out.append(("x-tuning-upstream", target.upstream))
    return out


def headers(decision: Decision, warnings: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The `X-Tuning-*` response headers that say what was decided."""
    profile = decision.considered.profile
    out = about(profile.name if profile else None, decision.considered.effects.names, decision.target)
    changed = changes(decision.resolution)
    if changed:
        out.append(("x-tuning-changed", _joined(changed, ", ")))
    said = [*decision.warnings, *warnings]
    if said:
        out.append(("x-tuning-warnings", _joined(map(_safe, said), "; ")))
    return out


def changes(resolution: Resolution) -> list[str]:
    """What is not as the client asked, like `temperature=1.0;clamped-from=1.6`. No item holds a `, `.

    A drop that changes nothing, such as a `mirostat` of 0 where there is none, is no change.
    """
    out = []
    for name, decided in resolution.parameters.items():
        notes = _notes(decided)
        if notes:
            out.append(f"{name}={_value(decided.value)};" + ";".join(notes))
    for name, gone in resolution.dropped.items():
        if gone.layer in (Layer.CLIENT, Layer.RULE_SET) and not gone.harmless:
            out.append(f"{quote(name)};dropped={_safe(gone.code)}")
    return out


def _notes(decided: Decided) -> list[str]:
    notes = []
    asked = decided.asked
    if decided.forgotten_by and asked is not None:
        notes.append(f"forgotten={_value(asked.value)}")
    elif asked is not None and decided.layer > Layer.CLIENT and decided.value != asked.value:
        notes.append(f"asked={_value(asked.value)};set-by={_slug(decided.source)}")
    if decided.layer is Layer.CLIENT and decided.clamps:
        notes.append(f"clamped-from={_value(decided.clamps[0].before)}")
    if decided.sent:
        notes += [f"appended={_value(change.before)};by={_slug(change.by)}" for change in decided.appended]
    return notes


def _value(value: Any) -> str:
    """A value as JSON that neither ends an item of the list (`, `) nor a note (`;`), cut to a fair length."""
    text = json.dumps(value, separators=(",", ":"), default=str)
    # between its strings compact JSON has no space and no semicolon
    text = text.replace(" ", "\\u0020").replace(";", "\\u003b")
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _slug(text: str) -> str:
    return _safe("-".join(text.split()))


def _safe(text: str) -> str:
    """Text that may stand in a header: printable ASCII; anything else percent-encoded."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~")


def _joined(items: Iterable[str], separator: str) -> str:
    """The items as one header value, cut at the longest that is safe to send."""
    kept: list[str] = []
    length = 0
    rest = list(items)
    for index, item in enumerate(rest):
        length += len(item) + len(separator)
        if length > LONGEST_HEADER:
            return separator.join([*kept, f"and {len(rest) - index} more"])
        kept.append(item)
    return separator.join(kept)
