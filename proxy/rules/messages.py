"""Pure. A validation's errors as faults for people: what is wrong, where, what is accepted, on which line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from proxy.errors import RuleFault
from proxy.parameters.catalog import CANONICAL
from proxy.parameters.near import hint
from proxy.parameters.profiles import NAME_PATTERN as PLAIN_NAME_PATTERN
from proxy.parameters.values import show
from proxy.rules.document import Lines
from proxy.rules.fields import NAME_PATTERN, VARIABLE_PATTERN
from proxy.rules.models import Path, model_at

ITEMS = {
    "upstreams": "upstream",
    "families": "family",
    "profiles": "profile",
    "rules": "rule",
    "experiments": "experiment",
}
"""A section's key -> what one of its entries is called."""

SECRET = ("api_key_env", "url")
"""Keys whose wrong values are never repeated: they are where a secret lands by mistake."""

_NAME = "1 to 64 letters, digits and any of . _ {}- that begin with a letter or digit"
_PATTERNS = {
    NAME_PATTERN: _NAME.format(": "),
    PLAIN_NAME_PATTERN: _NAME.format(""),
    VARIABLE_PATTERN: "the name of an environment variable (not the key itself)",
}
_ACCEPTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "string_too_short": "text that is not empty",
    "too_short": "at least {min_length} long",
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or less",
    "accepted": "{accepted}",
}


def explain(error: ValidationError, data: Any, file: str, lines: Lines) -> list[RuleFault]:
    """The faults in `data`, whose lines are known, in the order of their lines."""
    found: dict[Path, tuple[bool, RuleFault]] = {}
    extra: list[RuleFault] = []
    for details in error.errors(include_url=False):
        if _is_echo(details):
            continue
        path = _written(details["loc"], data)
        words = _words(details, path, data)
        path = _closer(path, words, details)
        fault = RuleFault(words, file=file, line=lines.at(path))
        if not (details["loc"] and _is_arm(details["loc"][-1])):
            extra.append(fault)
        elif path not in found or found[path][0]:
            # of the arms of `int | float` the range says more than the type, and the last type most
            found[path] = (details["type"].endswith("_type"), fault)
    return in_order([*extra, *(fault for _, fault in found.values())])


def in_order(faults: Iterable[RuleFault]) -> list[RuleFault]:
    """Faults by line, without repetitions."""
    unique = {(f.file, f.line, f.message): f for f in faults}
    return sorted(unique.values(), key=lambda f: f.line)


def place(path: Sequence[str | int], data: Any) -> str:
    """What stands at a path, in words: `set of rule 'x'`."""
    if not path:
        return "a rule file"
    if len(path) == 1:
        return str(path[0])
    item = ITEMS.get(str(path[0]), str(path[0]))
    *_, entry = _along(data, path[:2])
    name = entry.get("name") if isinstance(entry, dict) else None
    named = f"{item} {name!r}" if isinstance(name, str) else f"{item} {int(path[1]) + 1}"
    inner = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[2:])
    return f"{inner[1:]} of {named}" if inner else named


def _words(details: Any, path: Path, data: Any) -> str:
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown(path, data)
    if kind == "missing":
        return f"{place(path[:-1], data)} has no {path[-1]}"
    where = place(path, data)
    if kind == "parameter":
        return f"{place(path[:-1], data)}: {details['msg']}"
    if kind == "value_error":
        return f"{where}: {details['ctx']['error']}"
    accepted = _accepted(kind, details.get("ctx", {}))
    if accepted is None:
        return f"{where}: {details['msg']}"
    if path and path[-1] in SECRET:
        return f"{where} must be {accepted}"
    value = details["input"]
    close = hint(value, _expected(details)) if kind == "literal_error" and isinstance(value, str) else ""
    empty = ": leave the key out" if value is None else ""
    return f"{where} must be {accepted}, not {show(value)}{close}{empty}"


def _accepted(kind: str, context: dict[str, Any]) -> str | None:
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"])
    template = _ACCEPTED.get(kind)
    return template.format(**context) if template else None


def _expected(details: Any) -> list[str]:
    return str(details["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")


def _unknown(path: Path, data: Any) -> str:
    model = model_at(path[:-1])
    accepted = list(model.model_fields) if model else []
    key = str(path[-1])
    where = f" in {place(path[:-1], data)}"
    return f"unknown key {key!r}{where}{hint(key, accepted)} (accepted: {', '.join(accepted)})"


def _is_arm(step: str | int) -> bool:
    """Whether a step is pydantic's name for an arm of `int | float`, not a key."""
    return str(step).startswith("constrained-")


def _is_echo(details: Any) -> bool:
    """A list whose entries are wrong is reported as too short on top of them."""
    given = details["input"]
    return (
        details["type"] == "too_short"
        and isinstance(given, list | tuple | dict)
        and len(given) >= details["ctx"]["min_length"]
    )


def _written(loc: Path, data: Any) -> Path:
    """A model's path as a path in the file: in its spelling, without the arms of unions."""
    path: list[str | int] = []
    for at, step in enumerate(loc):
        spelling = _spelling(data, step)
        if spelling is not None:
            path.append(spelling)
            data = data[spelling]
        elif at == len(loc) - 1 and isinstance(data, dict) and step != "[key]" and not _is_arm(step):
            path.append(step)
    return tuple(path)


def _spelling(container: Any, step: str | int) -> Any:
    """How the file spells a step; `None` when it isn't there."""
    if isinstance(step, int):
        return step if isinstance(container, list) and 0 <= step < len(container) else None
    if not isinstance(container, dict):
        return None
    if step in container:
        return step
    return next((k for k in container if CANONICAL.get(k) == step or k.lower() == step), None)


def _closer(path: Path, words: str, details: Any) -> Path:
    """One step further, to the entry that the words begin with."""
    given = details["input"]
    if details["type"] != "value_error" or not isinstance(given, dict):
        return path
    first = str(details["ctx"]["error"]).split(" ", 1)[0].strip("':,")
    return (*path, first) if first in given else path


def _along(data: Any, path: Sequence[str | int]) -> Iterator[Any]:
    """What lies along a path, as far as there is something."""
    yield data
    for step in path:
        if _spelling(data, step) is None:
            return
        data = data[step]
        yield data
