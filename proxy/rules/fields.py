"""Pure. The field types of rule files: names, globs and parameter values, each refused in words.

A mapping of parameters is checked entry by entry, so that one wrong value never hides the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from proxy.errors import BadParameter
from proxy.parameters.catalog import CANONICAL, CATALOG, Parameter
from proxy.parameters.near import hint
from proxy.parameters.schema import ParameterSchema, faults
from proxy.parameters.values import check

Runtime = Literal["ollama", "vllm", "openai"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"

KNOWN_ERRORS = frozenset(get_args(ErrorType))


class Model(BaseModel):
    """Base of everything in a rule file: immutable, no unknown keys, no type guessing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Limits(Model):
    """A range to hold a value to; for a list parameter `max` is the number of items."""

    min: float | None = Field(None, description="Smallest value.")
    max: float | None = Field(None, description="Largest value.")

    def model_post_init(self, _: Any) -> None:
        if self.min is None and self.max is None:
            raise ValueError("it says neither min nor max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")


def parameter(name: str) -> Parameter:
    """The catalogue's entry for any spelling, or a `ValueError` with near names."""
    known = CANONICAL.get(name)
    if known is None:
        raise ValueError(f"no such parameter: {name!r}{hint(name, CANONICAL)}")
    return CATALOG[known]


def one_or_many(value: Any) -> Any:
    """A single text as a tuple of one; a list as a tuple."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(value)
    raise PydanticCustomError("accepted", "{accepted}", {"accepted": "text or a list of texts"})


Convert = Callable[[Parameter, Any], Any]


def _each(value: Any, convert: Convert) -> Any:
    """A mapping from parameters to something, under Attune's names; raises the faults of all its entries."""
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    wrong: list[InitErrorDetails] = []
    spelled: dict[str, str] = {}
    for spelling, given in value.items():
        try:
            entry = parameter(spelling)
            if entry.name in spelled:
                raise ValueError(f"{spelling} and {spelled[entry.name]} are the same parameter")
            spelled[entry.name] = spelling
            out[entry.name] = convert(entry, given)
        except ValidationError as fault:
            wrong += _restated(fault, spelling)
        except (ValueError, BadParameter) as fault:
            wrong.append(_detail(str(fault), spelling, given))
    if wrong:
        raise ValidationError.from_exception_data("parameters", wrong)
    return out


def _detail(words: str, spelling: str, given: Any) -> InitErrorDetails:
    kind = PydanticCustomError("parameter", "{words}", {"words": words})
    return InitErrorDetails(type=kind, loc=(spelling,), input=given)


def _restated(fault: ValidationError, spelling: str) -> Iterator[InitErrorDetails]:
    """A nested validation's faults, one level further down."""
    for error in fault.errors(include_url=False):
        kind: Any = error["type"]
        if kind not in KNOWN_ERRORS:
            kind = PydanticCustomError(kind, "{words}", {"words": error["msg"]})
        loc = (spelling, *error["loc"])
        yield InitErrorDetails(type=kind, loc=loc, input=error["input"], ctx=error.get("ctx", {}))


def _value(entry: Parameter, given: Any) -> Any:
    if given is None:
        raise ValueError(f"{entry.name} has no value")
    return check(entry, given)


def _items(entry: Parameter, given: Any) -> Any:
    if entry.type != "list":
        raise ValueError(f"{entry.name} is not a list, so nothing can be appended to it")
    return _value(entry, given)


def _limits(entry: Parameter, given: Any) -> Limits:
    if entry.type not in ("float", "int", "list"):
        raise ValueError(f"{entry.name} is not a number, so it has no range to clamp to")
    limits = Limits.model_validate(given)
    ends = [end for end in (limits.min, limits.max) if end is not None]
    if entry.type != "float" and any(end % 1 for end in ends):
        raise ValueError(f"{entry.name} is held to whole numbers")
    if entry.type == "list" and (limits.min is not None or ends[0] < 0):
        raise ValueError(f"{entry.name} is a list: it can only be held to a max number of items")
    return limits


def _schema(entry: Parameter, given: Any) -> dict[str, Any]:
    schema = ParameterSchema.model_validate(given)
    wrong = [
        InitErrorDetails(
            type=PydanticCustomError("parameter", "{words}", {"words": f.words}), loc=f.path, input=given
        )
        for f in faults(entry, schema)
    ]
    if wrong:
        raise ValidationError.from_exception_data("schema", wrong)
    return dict(given)


def _names(value: Any) -> Any:
    """Parameters by any spelling, each under Attune's name and once."""
    names: dict[str, None] = {}
    wrong = []
    for at, spelling in enumerate(one_or_many(value)):
        try:
            names[parameter(str(spelling)).name] = None
        except ValueError as fault:
            wrong.append(_detail(str(fault), str(spelling), spelling) | {"loc": (at,)})
    if wrong:
        raise ValidationError.from_exception_data("names", wrong)
    return tuple(names)


def _lower_keys(value: Any) -> Any:
    """Header names in lower case; a name in two spellings is refused."""
    if not isinstance(value, dict):
        return value
    lower: dict[str, Any] = {}
    for key, globs in value.items():
        if key.lower() in lower:
            raise ValueError(f"{key} is there twice: header names are compared without regard to case")
        lower[key.lower()] = globs
    return lower


_TEXTS = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
    "description": "One glob, or a list of which any may match.",
}
_RUNTIMES = {"enum": list(get_args(Runtime))}
_ONE_OR_MANY_RUNTIMES = {"anyOf": [_RUNTIMES, {"type": "array", "items": _RUNTIMES, "minItems": 1}]}

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN)]
Seconds = Annotated[float, Field(gt=0, le=86400)]

Globs = Annotated[tuple[str, ...], BeforeValidator(one_or_many), Field(min_length=1), WithJsonSchema(_TEXTS)]
Headers = Annotated[dict[str, Globs], BeforeValidator(_lower_keys)]
Runtimes = Annotated[
    tuple[Runtime, ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    WithJsonSchema(_ONE_OR_MANY_RUNTIMES),
]

Values = Annotated[dict[str, Any], BeforeValidator(lambda value: _each(value, _value))]
"""Parameter values under Attune's names, each of the right type."""
Lists = Annotated[dict[str, list[Any]], BeforeValidator(lambda value: _each(value, _items))]
"""Items for list parameters."""
Clamps = Annotated[dict[str, Limits], BeforeValidator(lambda value: _each(value, _limits))]
"""Ranges for number parameters, and lengths for lists."""
Schemas = Annotated[dict[str, dict[str, Any]], BeforeValidator(lambda value: _each(value, _schema))]
"""Schema entries, as plain data."""
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names of parameters."""
