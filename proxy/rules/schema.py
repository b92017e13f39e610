"""Pure. Made from the models: the JSON Schema of rule files, for editors, and their reference in Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from proxy.parameters.catalog import CANONICAL, CATALOG, Parameter, Range
from proxy.parameters.profiles import GPU_FLOORS, GPU_SWITCHES
from proxy.parameters.schema import ParameterSchema
from proxy.parameters.values import OFF_WORDS
from proxy.rules.models import below, description, tree
from proxy.rules.rule import Limits, RuleFile

Schema = dict[str, Any]

REF = "#/$defs/{model}"

VALUES = {
    "Rule": ("default", "set"),
    "Profile": ("parameters",),
    "Variant": ("parameters",),
    "Recommendation": ("values",),
}
"""Models -> their keys that hold parameter values."""


def rules_schema() -> Schema:
    """The schema of a rule file, in the 2020-12 draft."""
    schema = RuleFile.model_json_schema(ref_template=REF)
    schema["$defs"] |= _definitions(ParameterSchema) | _definitions(Limits)
    models = {model.__name__: model for _, model in tree()}
    for name, definition in (("RuleFile", schema), *schema["$defs"].items()):
        _finish(definition, models[name])
    definitions = schema["$defs"]
    definitions["Values"] = _parameters(_value)
    for name, keys in VALUES.items():
        for key in keys:
            _replace(definitions[name], key, {"$ref": "#/$defs/Values"})
    rule = definitions["Rule"]
    _replace(rule, "clamp", _parameters(_limits, lambda p: p.type in ("float", "int", "list")))
    _replace(rule, "append", _parameters(_value, lambda p: p.type == "list"))
    names = {"enum": sorted(CANONICAL)}
    for key in ("drop", "forget"):
        _replace(rule, key, {"anyOf": [names, {"type": "array", "items": names}]})
    _replace(definitions["Family"], "parameters", _parameters(lambda p: {"$ref": "#/$defs/ParameterSchema"}))
    _replace(definitions["Profile"], "gpu_config", _load_options())
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Attune rule file"}
    return title | schema


def rules_reference() -> str:
    """Every key of a rule file with type, default and meaning, as Markdown."""
    schema = rules_schema()
    written: dict[str, str] = {}
    parts: list[str] = []
    for path, model in tree():
        heading = f"### `{path}`" if path else "### A rule file"
        if model.__name__ in written:
            parts += [heading, f"The same as `{written[model.__name__]}`."]
            continue
        written[model.__name__] = path
        properties = (schema if not path else schema["$defs"][model.__name__])["properties"]
        parts += [heading, _about(model), "\n".join(_table(path, model, properties))]
    parts += ["### Parameters", PARAMETERS, "\n".join(_parameter_table())]
    return "\n\n".join(parts) + "\n"


PARAMETERS = (
    "Wherever a rule file names a parameter, these names may be used, each in any of its spellings. A value "
    "beyond the range is held to it."
)


def _definitions(model: type[BaseModel]) -> dict[str, Schema]:
    schema = model.model_json_schema(ref_template=REF)
    inner = schema.pop("$defs", {})
    return {model.__name__: schema, **inner}


def _finish(definition: Schema, model: type[BaseModel]) -> None:
    """Descriptions in, the titles that pydantic makes of the keys out."""
    definition.pop("title", None)
    definition["description"] = _about(model)
    definition["additionalProperties"] = False
    for key, field in definition["properties"].items():
        field.pop("title", None)
        field["description"] = description(model, key)


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _replace(definition: Schema, key: str, schema: Schema) -> None:
    old = definition["properties"][key]
    definition["properties"][key] = {"description": old["description"]} | schema


def _parameters(
    make: Callable[[Parameter], Schema], only: Callable[[Parameter], bool] = lambda _: True
) -> Schema:
    """An object with a property for every spelling of the parameters."""
    properties: dict[str, Schema] = {}
    for spelling, name in CANONICAL.items():
        parameter = CATALOG[name]
        if only(parameter):
            other = "" if spelling == name else f"The same as {name}. "
            properties[spelling] = {"description": f"{other}{parameter.desc}"} | make(parameter)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(parameter: Parameter) -> Schema:
    special = _SPECIAL.get(parameter.name)
    if special is not None:
        return special
    if parameter.type == "enum":
        return {"enum": list(parameter.options)}
    if parameter.type == "list":
        kind = "integer" if parameter.items == "int" else "string"
        many = {"type": "array", "items": {"type": kind}}
        return many if kind == "integer" else {"anyOf": [{"type": "string"}, many]}
    return {"type": _TYPES[parameter.type]} | _ends(parameter.hard)


def _limits(parameter: Parameter) -> Schema:
    if parameter.type == "list":
        items: Schema = {"type": "integer", "minimum": 0, "description": "The most items."}
        properties = {"max": items}
    else:
        end = {"type": _TYPES[parameter.type]} | _ends(parameter.hard)
        properties = {
            "min": end | {"description": "Smallest value."},
            "max": end | {"description": "Largest value."},
        }
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def _ends(limits: Range) -> Schema:
    ends = {"minimum": limits.min, "maximum": limits.max}
    return {key: end for key, end in ends.items() if end is not None}


def _load_options() -> Schema:
    numbers: dict[str, Schema] = {
        name: {"type": "integer", "minimum": floor} for name, floor in GPU_FLOORS.items()
    }
    switches: dict[str, Schema] = {name: {"type": "boolean"} for name in GPU_SWITCHES}
    properties = {name: s | {"description": CATALOG[name].desc} for name, s in (numbers | switches).items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _table(path: str, model: type[BaseModel], properties: dict[str, Schema]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key in model.model_fields:
        inner, steps = below(model, key)
        kind = _type(properties[key])
        if inner is not None:
            words = {"[]": "list, see", ".NAME": "mapping, see"}.get(steps, "see")
            kind = f"{words} `{f'{path}.{key}{steps}'.lstrip('.')}`"
        yield _row(f"`{key}`", kind, _default(model, key), description(model, key))


def _default(model: type[BaseModel], key: str) -> str:
    field = model.model_fields[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "all defaults"
    return "" if value in (None, "") else f"`{json.dumps(value)}`"


def _parameter_table() -> Iterator[str]:
    yield "| name | type and range | other names | meaning |"
    yield "|---|---|---|---|"
    for p in CATALOG.values():
        aliases = ", ".join(f"`{alias}`" for alias in p.aliases)
        yield _row(f"`{p.name}`", _type(_value(p)), aliases, p.desc)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |"


def _type(schema: Schema) -> str:
    """A property's type in words."""
    if "anyOf" in schema:
        arms = [arm for arm in schema["anyOf"] if arm != {"type": "null"}]
        if arms[-1].get("items") == arms[0]:
            return f"{_type(arms[0])}, or a list of them"
        if any(arm.get("type") == "number" for arm in arms):
            arms = [arm for arm in arms if arm.get("type") != "integer"]
        return " or ".join(dict.fromkeys(map(_type, arms)))
    if "enum" in schema:
        return "a parameter's name" if len(schema["enum"]) == len(CANONICAL) else _choice(schema["enum"])
    if schema.get("$ref") == "#/$defs/Values":
        return "parameters to values"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        return "mapping"
    return _WORDS.get(str(kind), "any value") + _bounds(schema)


def _choice(options: list[Any]) -> str:
    shown = [o if isinstance(o, str) else json.dumps(o) for o in options]
    return ", ".join(f"`{o}`" for o in shown if o)


def _bounds(schema: Schema) -> str:
    low, high = (_number(schema.get(key)) for key in ("minimum", "maximum"))
    if low and high:
        return f", {low} to {high}"
    above = _number(schema.get("exclusiveMinimum"))
    found = [("above", above), ("from", low), ("up to", high)]
    return "".join(f", {word} {end}" for word, end in found if end)


def _number(end: float | None) -> str:
    if end is None:
        return ""
    return str(int(end)) if float(end).is_integer() else f"{end:g}"


_TYPES = {"float": "number", "int": "integer", "bool": "boolean", "string": "string", "object": "object"}
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_SPECIAL: dict[str, Schema] = {
    "think": {"enum": [*CATALOG["think"].options, *OFF_WORDS]},
    "keep_alive": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "response_format": {"anyOf": [{"type": "object"}, {"enum": ["json", ""]}]},
}
