"""As much of JSON Schema as the schema of rule files uses; any other keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

ANNOTATIONS = {"description", "default", "title", "format", "$defs", "$schema"}
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int,),
}  # fmt: skip


def errors(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "$") -> Iterator[str]:
    """Where and by which keyword a value fails."""
    for keyword, wanted in schema.items():
        if keyword in ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from errors(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, path)
        elif keyword == "anyOf":
            if all(any(True for _ in errors(value, arm, root, path)) for arm in wanted):
                yield f"{path}: anyOf"
        elif keyword in CONTAINERS:
            yield from CONTAINERS[keyword](value, schema, root, path)
        elif not TESTS[keyword](value, wanted):
            yield f"{path}: {keyword}"


def _properties(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    for key, inner in schema["properties"].items():
        if isinstance(value, dict) and key in value:
            yield from errors(value[key], inner, root, f"{path}.{key}")


def _additional(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    rest = set(value) - set(schema.get("properties", ())) if isinstance(value, dict) else ()
    for key in rest:
        if schema["additionalProperties"] is False:
            yield f"{path}.{key}: additionalProperties"
        elif schema["additionalProperties"] is not True:
            yield from errors(value[key], schema["additionalProperties"], root, f"{path}.{key}")


def _names(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield from errors(key, schema["propertyNames"], root, f"{path}.{key}")


def _items(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    for at, item in enumerate(value if isinstance(value, list) else ()):
        yield from errors(item, schema["items"], root, f"{path}[{at}]")


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _same(value: Any, option: Any) -> bool:
    return value == option and isinstance(value, bool) == isinstance(option, bool)


def _number(value: Any) -> bool:
    return _is(value, "number")


CONTAINERS = {
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
}
TESTS: dict[str, Any] = {
    "type": _is,
    "enum": lambda value, options: any(_same(value, option) for option in options),
    "const": _same,
    "required": lambda value, keys: not isinstance(value, dict) or set(keys) <= set(value),
    "pattern": lambda value, pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
    "minLength": lambda value, n: not isinstance(value, str) or len(value) >= n,
    "minItems": lambda value, n: not isinstance(value, list) or len(value) >= n,
    "minProperties": lambda value, n: not isinstance(value, dict) or len(value) >= n,
    "minimum": lambda value, end: not _number(value) or value >= end,
    "maximum": lambda value, end: not _number(value) or value <= end,
    "exclusiveMinimum": lambda value, end: not _number(value) or value > end,
    "exclusiveMaximum": lambda value, end: not _number(value) or value < end,
}
