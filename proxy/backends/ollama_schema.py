"""Pure. What of a tool's JSON Schema survives in Ollama.

Facts from `api/types.go` (`ToolFunctionParameters`, `ToolProperty`): the keywords below are decoded, in these
shapes; others are dropped without a word. Below `items` and `$defs` everything survives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.backends.losses import Losses, wrong
from proxy.errors import BadBody

PARAMETERS = frozenset(("type", "$defs", "items", "required", "properties"))
"""Keywords that survive at the top of `parameters`."""

PROPERTY = frozenset(("anyOf", "type", "items", "description", "enum", "properties", "required"))
"""Keywords that survive in each property."""

SAYS_NOTHING = frozenset(("$schema", "$comment"))
"""Keywords that constrain and describe nothing; losing them is no loss."""

DEEPEST = 64
"""Levels of properties within properties."""

NAMED = 8
"""Lost keywords named in a warning; the others are counted."""


def mend_parameters(function: dict[str, Any], path: str, losses: Losses) -> bool:
    """Bring `function["parameters"]` into a shape that Ollama takes; whether that changed anything.

    Without a type or properties Ollama renders `"type":""` and `"properties":null`, which templates may
    refuse: the empty object schema says the same.
    """
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        raise wrong(path, "a JSON Schema object", parameters)
    schema = dict(parameters or {})
    kind = schema.get("type")
    if isinstance(kind, list) and "object" in kind:
        losses.note(f"{path}.type", "ollama takes one type here, sent as object")
        kind = "object"
    if not isinstance(kind, str | None):
        raise wrong(f"{path}.type", "a string", kind)
    walk = _Walk(losses)
    walk.node(schema, path, PARAMETERS)
    walk.report(path)
    if not walk.mended and schema.get("type") == kind and kind and schema.get("properties") is not None:
        return False
    function["parameters"] = schema | {"type": kind or "object", "properties": schema.get("properties") or {}}
    return True


class _Walk:
    """One schema's way through the keywords that Ollama decodes."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._lost: set[str] = set()
        self.mended = False

    def node(self, schema: dict[str, Any], path: str, survive: frozenset[str], depth: int = 0) -> None:
        """Check a schema's keywords and mend the schemas within."""
        if depth > DEEPEST:
            raise BadBody(f"{path} is nested too deeply", param=path)
        for key, value in schema.items():
            if key not in survive:
                self._lost.add(key)
            elif value is not None and key in _SHAPES and not (key == "type" and depth == 0):
                fits, wanted = _SHAPES[key]
                if not fits(value):
                    raise wrong(f"{path}.{key}", wanted, value)
        properties, any_of = schema.get("properties"), schema.get("anyOf")
        if isinstance(properties, dict):
            named = [(name, value, f"{path}.properties.{name}") for name, value in properties.items()]
            schema["properties"] = dict(self._within(named, depth))
        if isinstance(any_of, list) and "anyOf" in survive:
            listed = [(index, value, f"{path}.anyOf[{index}]") for index, value in enumerate(any_of)]
            schema["anyOf"] = [value for _, value in self._within(listed, depth)]

    def _within(self, entries: list[tuple[Any, Any, str]], depth: int) -> list[tuple[Any, Any]]:
        """The schemas one level down. Ollama answers 400 to a boolean one: `true` allows all, as an empty
        schema does; what `false` forbids is best not mentioned."""
        kept: list[tuple[Any, Any]] = []
        for key, value, path in entries:
            if isinstance(value, bool):
                self.mended = True
                self._losses.note(path, f"a boolean schema, {'sent as {}' if value else 'left out'}")
                if value:
                    kept.append((key, {}))
                continue
            if value is not None and not isinstance(value, dict):
                raise wrong(path, "a JSON Schema object", value)
            if value is not None:
                self.node(value, path, PROPERTY, depth + 1)
            kept.append((key, value))
        return kept

    def report(self, path: str) -> None:
        """One warning for all keywords that are lost."""
        lost = sorted(key[:40] for key in self._lost - SAYS_NOTHING)
        if lost:
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            words = f"ollama drops the schema keywords {', '.join(lost[:NAMED])}{more}"
            self._losses.note(path, words)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (lambda value: isinstance(value, str) or _is_names(value), "a string or a list of strings"),
    "required": (_is_names, "a list of names"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "description": (lambda value: isinstance(value, str), "a string"),
    "properties": (lambda value: isinstance(value, dict), "an object"),
    "anyOf": (lambda value: isinstance(value, list), "a list"),
}
