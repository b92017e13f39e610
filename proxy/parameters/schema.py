"""Pure. A model's parameter schema: what a file may say of one parameter, and whether it makes sense.

`{type?, default?, min?, max?, step?, desc?, options?, runtime?: {ollama: {...}, vllm: {...}}}`. What is left
out is the catalogue's; what a runtime's part leaves out is the entry's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from proxy.errors import BadParameter
from proxy.parameters.catalog import Parameter, Type
from proxy.parameters.values import check, show

NUMBERS = ("float", "int")


class RuntimeSchema(BaseModel):
    """What is special to one runtime."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    default: Any = None
    """What a form shows and what "reset" means; never sent by itself."""
    min: float | None = None
    """Smallest value."""
    max: float | None = None
    """Largest value; for a list the number of items."""
    step: Annotated[float, Field(gt=0)] | None = None
    """The step of a form's slider."""
    desc: str | None = None
    """One line for people."""
    options: Annotated[list[Any], Field(min_length=1)] | None = None
    """The values to choose from."""


class ParameterSchema(RuntimeSchema):
    """What a model's schema says of one parameter."""

    type: Type | None = None
    """The type; never another than the catalogue's."""
    runtime: dict[Literal["ollama", "vllm", "openai"], RuntimeSchema] = Field(default_factory=dict)
    """What is special to a runtime."""


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """What makes no sense, and where in the entry it stands."""

    path: tuple[str, ...]
    words: str


def faults(parameter: Parameter, schema: ParameterSchema) -> Iterator[SchemaFault]:
    """What makes no sense in an entry for `parameter`; nothing when all is well."""
    if schema.type is not None and schema.type != parameter.type:
        yield SchemaFault(("type",), f"{parameter.name} is of type {parameter.type}, not {schema.type}")
    yield from _part(parameter, schema, ())
    for runtime, special in schema.runtime.items():
        said = special.model_dump(exclude_unset=True)
        whole = {key: getattr(schema, key) for key in RuntimeSchema.model_fields}
        for fault in _part(parameter, RuntimeSchema.model_construct(**(whole | said)), ("runtime", runtime)):
            # what the entry itself says wrong has been reported already
            if fault.path[-1] in said:
                yield fault


def _part(parameter: Parameter, part: RuntimeSchema, path: tuple[str, ...]) -> Iterator[SchemaFault]:
    wrong = [*_ends(parameter, part), *_options(parameter, part)]
    if not wrong:
        wrong = [*_default(parameter, part)]
    yield from (SchemaFault((*path, key), words) for key, words in wrong)


def _ends(parameter: Parameter, part: RuntimeSchema) -> Iterator[tuple[str, str]]:
    ends = {key: end for key in ("min", "max") if (end := getattr(part, key)) is not None}
    if parameter.type not in NUMBERS and not (parameter.type == "list" and "min" not in ends):
        yield from ((key, f"{parameter.name} is not a number, so it has no {key}") for key in ends)
        return
    if parameter.type != "float":
        yield from ((k, f"{k} must be an integer, not {show(end)}") for k, end in ends.items() if end % 1)
    if part.min is not None and part.max is not None and part.min > part.max:
        yield "min", f"min {part.min:g} is above max {part.max:g}"
    low, high = parameter.hard.min, parameter.hard.max
    if part.max is not None and low is not None and part.max < low:
        yield "max", f"{parameter.name} is never below {low:g}, so max {part.max:g} leaves nothing"
    if part.min is not None and high is not None and part.min > high:
        yield "min", f"{parameter.name} is never above {high:g}, so min {part.min:g} leaves nothing"


def _options(parameter: Parameter, part: RuntimeSchema) -> Iterator[tuple[str, str]]:
    for option in part.options or ():
        words = _type_fault(parameter, option)
        if words:
            yield "options", words


def _default(parameter: Parameter, part: RuntimeSchema) -> Iterator[tuple[str, str]]:
    if part.default is None:
        return
    words = _type_fault(parameter, part.default)
    if words:
        yield "default", words
        return
    default = check(parameter, part.default)
    if part.options is not None and default not in [check(parameter, o) for o in part.options]:
        yield "default", f"default {show(default)} is not one of the options {show(part.options)}"
    size = len(default) if isinstance(default, list) else default
    if parameter.type in (*NUMBERS, "list"):
        if part.min is not None and size < part.min:
            yield "default", f"default {show(default)} is below min {part.min:g}"
        if part.max is not None and size > part.max:
            yield "default", f"default {show(default)} is above max {part.max:g}"


def _type_fault(parameter: Parameter, value: Any) -> str | None:
    try:
        check(parameter, value)
    except BadParameter as fault:
        return fault.message
    return None
