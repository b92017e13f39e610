"""Pure. Model families: which one a model's name belongs to, and what is known of it.

A family is data: globs over model names, how its chat template switches thinking, and the values
that its vendor recommends per mode and task, each with the source and the grade of the evidence.
The entries live in rule files; this module says what an entry may look like and finds the right one.

Grades: A the vendor's own repository or documentation; B the vendor's model card or generation
configuration as quoted elsewhere; C a runtime project restating the vendor; D a third party's table.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

# As a recommendation's mode or task: it holds for all of them.
ANY: Final = "any"

# Nothing longer is a model's name: it is the longest path Linux takes, and vLLM serves paths as names.
LONGEST_NAME = 4096

# Glob parts that stand for more than themselves; what is left of a pattern is literal.
_WILDCARD = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


def _as_tuple(value: object) -> object:
    """YAML knows lists only, and strict tuples take none."""
    return tuple(value) if isinstance(value, list) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else _as_tuple(value)


def _some(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs:
        raise ValueError("needs at least one pattern")
    return globs


def _undo_yaml_switch(value: object) -> object:
    """`on` and `off` without quotes are booleans to YAML 1.1."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value


_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_as_tuple)]
_Globs = Annotated[
    tuple[_Text, ...],
    BeforeValidator(_one_or_many),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}
    ),
]
_Tokens = Annotated[int, Field(gt=0)]


class _Entry(BaseModel):
    """What all parts of a family share: immutable, no unknown keys, no text taken for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Recommendation(_Entry):
    """The values that somebody recommends for one mode and one task of a family."""

    mode: Literal["any", "thinking", "non-thinking"] = Field(
        default=ANY, description="The mode they are meant for."
    )
    task: _Text = Field(default=ANY, description="The task they are meant for, by its name.")
    # No neutral value where the source says nothing: it would shadow the model's own default.
    values: dict[str, Any] = Field(min_length=1, description="By Attune's own parameter names.")
    source: _Text = Field(description="Where the values were read, for people.")
    grade: Literal["A", "B", "C", "D"] = Field(description="How good the evidence is, A the best.")
    note: str | None = Field(
        default=None, description="What the values alone don't tell: ranges, conditions, doubts."
    )


class Thinking(_Entry):
    """How a family thinks, and what its chat template wants to hear to change that."""

    default: Annotated[Literal["always", "on", "off", "never"], BeforeValidator(_undo_yaml_switch)] = Field(
        default="never", description="What it does unless told; `always` and `never` can't be switched."
    )
    switch: Literal["enable_thinking", "thinking", "reasoning_effort", "none"] = Field(
        default="none",
        description="A `chat_template_kwargs` name, or the request's `reasoning_effort`.",
    )
    levels: _Texts = Field(
        default=(), description="Effort levels its template knows; empty: none, or not known."
    )
    soft: bool = Field(default=False, description="Understands `/think` and `/no_think` in the text.")

    @model_validator(mode="after")
    def _never_has_no_switch(self) -> Self:
        if self.default == "never" and (self.switch != "none" or self.levels or self.soft):
            raise ValueError("a family that never thinks has no switch, levels or soft tokens")
        return self


class Family(_Entry):
    """One family of models. Only `name` and `match` are required in a rule file."""

    # Built-in names are lower-case words joined by hyphens; a version keeps its dot, as in `qwen3.5`.
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Shown wherever it is used.")
    match: Annotated[_Globs, AfterValidator(_some)] = Field(
        description="Globs over model names; any of them takes a model in."
    )
    exclude: _Globs = Field(default=(), description="Globs over model names; any of them keeps a model out.")
    thinking: Thinking = Field(default_factory=Thinking, description="How it thinks. Left out: not known.")
    context: _Tokens | None = Field(default=None, description="Native context, in tokens.")
    output: _Tokens | None = Field(
        default=None, description="Recommended room for the answer, in tokens. Advice: never sent."
    )
    # Judged where the parameter catalogue is at hand.
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Schema entries special to this family, by parameter name."
    )
    recommended: Annotated[tuple[Recommendation, ...], BeforeValidator(_as_tuple)] = Field(
        default=(), description="Values per mode and task, at most one entry for each pair."
    )
    notes: str | None = Field(default=None, description="What else people should know of it.")

    # Not a field, so that no file can claim it: the loader knows where an entry came from.
    _builtin: bool = PrivateAttr(default=False)

    @property
    def builtin(self) -> bool:
        """Whether the family ships with Attune; every family that doesn't beats those that do."""
        return self._builtin

    @property
    def known_thinking(self) -> Thinking | None:
        """How it thinks, or `None` for a family of yours that leaves `thinking` out: nothing is known."""
        return self.thinking if self._builtin or "thinking" in self.model_fields_set else None

    def as_builtin(self) -> Self:
        """The same family, as one of those that ship with Attune."""
        copy = self.model_copy()
        copy._builtin = True
        return copy

    @model_validator(mode="after")
    def _one_recommendation_each(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for entry in self.recommended:
            key = (entry.mode, entry.task)
            if key in seen:
                raise ValueError(f"two recommendations for mode {entry.mode} and task {entry.task}")
            seen.add(key)
        return self


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.lower()))


def _literals(pattern: str) -> int:
    return len(_WILDCARD.sub("", pattern))


def names(model: str) -> tuple[str, ...]:
    """The spellings a model is matched under, in lower case: its full name and what follows the last `/`."""
    full = model.lower()
    tail = full.rstrip("/").rpartition("/")[2]
    return (full, tail) if tail and tail != full else (full,)


class FamilyIndex:
    """Families ready for look-up: patterns are compiled and ranked once, answers remembered."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = tuple(families)
        ranked = sorted(
            (
                (not family.builtin, _literals(pattern), position, pattern)
                for position, family in enumerate(self.families)
                for pattern in family.match
            ),
            reverse=True,
        )
        self._patterns = tuple((_compiled(pattern), position) for *_, position, pattern in ranked)
        self._excludes = tuple(tuple(map(_compiled, family.exclude)) for family in self.families)
        self._search = lru_cache(maxsize=1024)(self._first)

    def find(self, model: str) -> Family | None:
        """The family of a model: yours before built-in ones, then the pattern with most literal
        characters, then the later family. None if no pattern takes the model in."""
        return None if len(model) > LONGEST_NAME else self._search(model)

    def _first(self, model: str) -> Family | None:
        spellings = names(model)
        for pattern, position in self._patterns:
            if any(map(pattern.match, spellings)) and not self._excluded(position, spellings):
                return self.families[position]
        return None

    def _excluded(self, position: int, spellings: tuple[str, ...]) -> bool:
        return any(pattern.match(name) for pattern in self._excludes[position] for name in spellings)


def find(families: Sequence[Family], model: str) -> Family | None:
    """`FamilyIndex.find` for a single question; keep an index where there are many."""
    return FamilyIndex(families).find(model)


def recommend(family: Family, mode: str, task: str | None) -> Recommendation | None:
    """The most specific recommendation for a mode and a task; the task weighs more than the mode."""
    offered: dict[tuple[str, str], Recommendation] = {
        (entry.mode, entry.task): entry for entry in family.recommended
    }
    wanted = task or ANY
    for key in ((mode, wanted), (ANY, wanted), (mode, ANY), (ANY, ANY)):
        if (entry := offered.get(key)) is not None:
            return entry
    return None
