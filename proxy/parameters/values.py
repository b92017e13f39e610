"""Pure. Whether a value has the right type for a parameter, and its normal form.

Wrong types are refused with words that name the parameter, the value and what is accepted; numeric strings
are wrong types. Ranges are not judged here: they clamp (see `bounds`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

from proxy.errors import BadParameter
from proxy.parameters.catalog import INT64, THINK_LEVELS, Parameter

_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")

UINT64 = 2**64 - 1
"""The largest integer that JSON writers here know."""

DEPTH = 12
"""Levels of nesting left for what is written around a value."""

OFF_WORDS = ("none", "off")


def check(parameter: Parameter, value: Any) -> Any:
    """The value in its normal form, or `BadParameter`.

    Normal forms: a whole float becomes an int where an int is wanted (if 64 bits hold it), a single stop
    string a list, a `think` word its level (`none` is `False`), the keys of an object strings, and a
    `keep_alive` of bare digits a number of seconds, because Ollama refuses digits without a unit.
    """
    special = _SPECIAL.get(parameter.name)
    normal = special(value) if special else _CHECKS[parameter.type](parameter, value)
    if normal is _WRONG:
        raise BadParameter(
            f"{parameter.name} must be {accepted(parameter)}, not {show(value)}", param=parameter.name
        )
    return _written(parameter, normal) if isinstance(normal, dict) else normal


def accepted(parameter: Parameter) -> str:
    """What a parameter takes, in words, for messages: `an integer`."""
    if parameter.name in _SPECIAL_WORDS:
        return _SPECIAL_WORDS[parameter.name]
    if parameter.type == "enum":
        return "one of " + ", ".join(json.dumps(o) for o in parameter.options)
    if parameter.type == "list":
        return f"a list of {'integers' if parameter.items == 'int' else 'strings'}"
    return _WORDS[parameter.type]


def show(value: Any, limit: int = 60) -> str:
    """A value for a message or header: JSON in ASCII, cut to `limit` characters."""
    if isinstance(value, str):
        value = value[: limit + 1]
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except RecursionError:
        return "a value nested too deeply to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def writable(value: Any) -> bool:
    """Whether a value can stand in a body or report: JSON nests it no deeper than writers here go."""
    try:
        orjson.dumps(_nested(value))
    except TypeError:
        return False
    return True


class _Wrong:
    """Marks a value of the wrong type; `None` and `False` are values."""


_WRONG = _Wrong()


def _float(_: Parameter, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    if isinstance(value, int) and abs(value) <= INT64:
        return value
    try:
        number = float(value)
    except OverflowError:
        return _WRONG
    return number if math.isfinite(number) else _WRONG


def _int(_: Parameter, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    if isinstance(value, float) and not value.is_integer():
        return _WRONG
    if value > UINT64:
        return float(value)  # a number that no bound lets through, but that can be said as it was asked
    return max(-INT64 - 1, int(value))


def _bool(_: Parameter, value: Any) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _string(_: Parameter, value: Any) -> Any:
    return value if isinstance(value, str) else _WRONG


def _object(_: Parameter, value: Any) -> Any:
    return value if isinstance(value, dict) else _WRONG


def _list(parameter: Parameter, value: Any) -> Any:
    if parameter.items == "string" and isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        return _WRONG
    fits = _is_id if parameter.items == "int" else _is_text
    return list(value) if all(fits(item) for item in value) else _WRONG


def _is_id(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and abs(item) <= INT64


def _is_text(item: Any) -> bool:
    return isinstance(item, str)


def _enum(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    for option in parameter.options:
        # 1 == True in Python, but not in JSON
        if option == value and isinstance(option, bool) == isinstance(value, bool):
            return option
    return _WRONG


def _think(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _WRONG
    if value in OFF_WORDS:
        return False
    return value if value in THINK_LEVELS else _WRONG


def _keep_alive(value: Any) -> Any:
    if isinstance(value, bool):
        return _WRONG
    if isinstance(value, int | float):
        return value if abs(value) <= INT64 else _WRONG
    if not isinstance(value, str):
        return _WRONG
    if _WHOLE.fullmatch(value):
        return int(value)
    return value if _DURATION.fullmatch(value) else _WRONG


def _response_format(value: Any) -> Any:
    """OpenAI's object, or Ollama's `format` (`"json"` or a schema), as OpenAI's object.

    A type that neither OpenAI nor JSON Schema knows is left to the runtime: some have more of them.
    """
    if value in ("json", ""):
        return {"type": "json_object" if value else "text"}
    if not isinstance(value, dict):
        return _WRONG
    kind = value.get("type")
    if kind == "json_schema":
        inner = value.get("json_schema")
        return value if isinstance(inner, dict) and isinstance(inner.get("schema"), dict) else _WRONG
    if "json_schema" in value:
        return _WRONG
    if isinstance(kind, str) and kind not in _SCHEMA_TYPES:
        return value
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}


def _written(parameter: Parameter, value: dict[Any, Any]) -> dict[str, Any]:
    """The object with text keys, as JSON has them; YAML takes `{50256: -100}` for numbers."""
    if writable(value):
        return value
    try:
        again: Any = orjson.loads(orjson.dumps(_nested(value), option=orjson.OPT_NON_STR_KEYS))
    except TypeError as fault:
        raise BadParameter(f"{parameter.name} cannot be written: {fault}", param=parameter.name) from None
    for _ in range(DEPTH):
        again = again[0]
    return dict(again)


def _nested(value: Any) -> Any:
    for _ in range(DEPTH):
        value = [value]
    return value


_SCHEMA_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))


_CHECKS: dict[str, Callable[[Parameter, Any], Any]] = {
    "float": _float,
    "int": _int,
    "bool": _bool,
    "string": _string,
    "object": _object,
    "list": _list,
    "enum": _enum,
}
_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "think": _think,
    "keep_alive": _keep_alive,
    "response_format": _response_format,
}
_WORDS = {
    "float": "a number",
    "int": "an integer",
    "bool": "true or false",
    "string": "a string",
    "object": "an object",
}
_SPECIAL_WORDS = {
    "think": "true, false or one of none, minimal, low, medium, high, xhigh, max, ultra",
    "keep_alive": "a number of seconds or a duration such as 10m, 1h30m or -1",
    "response_format": "an object of type text, json_object or json_schema, or Ollama's format",
    "stop": "a string or a list of strings",
}
