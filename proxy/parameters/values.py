"""Pure. Whether a value has the right type for a parameter, and its normal form.

Wrong types are refused with words that name the parameter, the value and what is accepted; numeric strings
are wrong types. Ranges are not judged here: they clamp (see `bounds`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from proxy.errors import BadParameter
from proxy.parameters.catalog import INT64, Parameter

_DURATION = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")
_WHOLE = re.compile(r"-?\d{1,18}")

OFF_WORDS = ("none", "off")
LEVEL_WORDS = {"ultra": "max"}


def check(parameter: Parameter, value: Any) -> Any:
    """The value in its normal form, or `BadParameter`.

    Normal forms: a whole float becomes an int where an int is wanted, a single stop string a list, a `think`
    word its level (`none` is `False`), and a `keep_alive` of bare digits a number of seconds, because Ollama
    refuses digits without a unit.
    """
    special = _SPECIAL.get(parameter.name)
    normal = special(value) if special else _CHECKS[parameter.type](parameter, value)
    if normal is _WRONG:
        raise BadParameter(
            f"{parameter.name} must be {accepted(parameter)}, not {show(value)}", param=parameter.name
        )
    return normal


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
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Wrong:
    """Marks a value of the wrong type; `None` and `False` are values."""


_WRONG = _Wrong()


def _float(_: Parameter, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    return value if isinstance(value, float) or abs(value) <= INT64 else float(value)


def _int(_: Parameter, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    if isinstance(value, float):
        return int(value) if value.is_integer() else _WRONG
    return value


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
    want = int if parameter.items == "int" else str
    if any(isinstance(item, bool) or not isinstance(item, want) for item in value):
        return _WRONG
    return list(value)


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
    word = LEVEL_WORDS.get(value, value)
    if word in OFF_WORDS:
        return False
    return word if word in ("minimal", "low", "medium", "high", "xhigh", "max") else _WRONG


def _keep_alive(value: Any) -> Any:
    if isinstance(value, bool):
        return _WRONG
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return _WRONG
    if _WHOLE.fullmatch(value):
        return int(value)
    return value if _DURATION.fullmatch(value) else _WRONG


def _response_format(value: Any) -> Any:
    """OpenAI's object, or Ollama's `format` (`"json"` or a schema), as OpenAI's object."""
    if value in ("json", ""):
        return {"type": "json_object" if value else "text"}
    if not isinstance(value, dict):
        return _WRONG
    if value.get("type") in ("text", "json_object", "structural_tag"):
        return value
    if value.get("type") == "json_schema" and "json_schema" in value:
        inner = value["json_schema"]
        return value if isinstance(inner, dict) and isinstance(inner.get("schema"), dict) else _WRONG
    if "json_schema" in value:
        return _WRONG
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}


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
    "think": "true, false or one of none, minimal, low, medium, high, xhigh, max",
    "keep_alive": "a number of seconds or a duration such as 10m, 1h30m or -1",
    "response_format": "an object of type text, json_object or json_schema, or Ollama's format",
    "stop": "a string or a list of strings",
}
