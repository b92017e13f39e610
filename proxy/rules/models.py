"""Pure. The models of rule files as a tree: which one reads what, and what each key is for.

Messages name the keys that a model accepts, the JSON Schema and the reference are made from the same tree.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from proxy.parameters.schema import ParameterSchema
from proxy.rules.rule import Family, RuleFile

Path = tuple[str | int, ...]

UNTYPED: dict[tuple[type[BaseModel], str], Any] = {(Family, "parameters"): dict[str, ParameterSchema]}
"""Fields whose entries are read by a model but kept as plain data."""

WORDS: dict[tuple[str, str], str] = {
    ("", "name"): "Shown in headers, explanations and telemetry.",
    ("", "description"): "For people.",
    ("Profile", "system_prompt"): "What the model is told before the conversation.",
    ("Profile", "gpu_config"): "Ollama's load-time options; a change of one reloads the model.",
    ("Profile", "circuit_breaker"): "Thresholds and timeouts for calls under it.",
    ("CircuitBreaker", "timeouts"): "By phase.",
    ("Experiment", "enabled"): "false takes nobody.",
}
"""(model or any, key) -> what it is for, where the source speaks to programmers or says nothing."""


def model_at(path: Path) -> type[BaseModel] | None:
    """The model that reads the mapping at `path` of a rule file."""
    here: Any = RuleFile
    for step in path:
        if _is_model(here):
            here = _annotation(here, str(step))
        else:
            here, _ = _inside(here)
    return here if _is_model(here) else None


def below(model: type[BaseModel], key: str) -> tuple[type[BaseModel] | None, str]:
    """The model of what a key holds, and how a path goes on to it: `[]` for lists, `.NAME` for mappings."""
    here, steps = _annotation(model, key), ""
    while here is not None and not _is_model(here):
        here, step = _inside(here)
        steps += step
    return here, steps


def tree(model: type[BaseModel] = RuleFile, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every (path, model) that a rule file can hold, in the order of the keys: `rules[].match`."""
    yield path, model
    for key in model.model_fields:
        inner, steps = below(model, key)
        if inner is not None:
            yield from tree(inner, f"{path}.{key}{steps}".lstrip("."))


def description(model: type[BaseModel], key: str) -> str:
    """What a key is for: its description, or the line beneath it in the source."""
    written = WORDS.get((model.__name__, key)) or model.model_fields[key].description
    return " ".join((written or docstrings(model).get(key) or WORDS.get(("", key), "")).split())


@cache
def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The texts beneath the fields of a model and of those it is made from; empty without the source."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        try:
            source = inspect.getsource(base)
        except (OSError, TypeError):
            continue
        found |= _beneath(ast.parse(textwrap.dedent(source)).body[0])
    return found


def _beneath(definition: ast.stmt) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(getattr(definition, "body", ())):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        written = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if named and written and isinstance(text.value.value, str):
            yield field.target.id, text.value.value


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _annotation(model: type[BaseModel], key: str) -> Any:
    field = model.model_fields.get(key)
    if field is None:
        return None
    return _bare(UNTYPED.get((model, key), field.annotation))


def _bare(annotation: Any) -> Any:
    """An annotation without `None` and `Annotated`."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        return next((_bare(arm) for arm in get_args(annotation) if arm is not type(None)), None)
    return annotation


def _inside(annotation: Any) -> tuple[Any, str]:
    """What a list or mapping holds, and the step to it."""
    arms = get_args(annotation)
    kind = get_origin(annotation)
    if kind is dict:
        return _bare(arms[1]), ".NAME"
    return (_bare(arms[0]), "[]") if kind in (tuple, list) and arms else (None, "")
