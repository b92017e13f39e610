"""Pure. Experiments: the same caller always meets the same variant, with nothing stored.

A unit (a session, user or request) is hashed together with the experiment's name into a point
between 0 and the sum of the weights; the variants lie along that line in the order in which they
are written. So:

- a unit keeps its variant on every worker, replica and restart;
- experiments are independent: adding or removing one moves nobody in another;
- renaming an experiment deals all units anew;
- changing weights moves the units between the old and the new borders, and nobody else;
  reordering the variants moves the borders too, so write new ones last.
"""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from proxy.parameters.profiles import NAME_PATTERN

Name = Annotated[str, Field(pattern=NAME_PATTERN)]

# The upper bound keeps the sum of the weights finite.
Weight = Annotated[int, Field(gt=0, le=10**9)] | Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]

HASH_BITS = 53
"""As many bits as a float holds exactly."""


class Variant(BaseModel):
    """One arm of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    weight: Weight
    """Its share of the units, relative to the sum over all variants."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Attune's parameter names; empty for the arm that changes nothing."""


class Experiment(BaseModel):
    """Variants that share out the requests that match."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    match: Any = Field(default_factory=dict)
    """Which requests take part; its form belongs to the rules, which check it."""
    unit: Literal["session", "user", "request"] = "session"
    """What keeps its variant."""
    # A file or JSON gives a list; only the sequence's type is lenient, not what is in it.
    variants: Annotated[tuple[Variant, ...], Field(strict=False, json_schema_extra={"minItems": 1})]
    enabled: bool = True
    """A disabled experiment takes nobody; `assign` leaves it to the caller to ask."""

    @field_validator("variants")
    @classmethod
    def _check_variants(cls, value: tuple[Variant, ...]) -> tuple[Variant, ...]:
        # `min_length` would count the well-formed variants only, and report a second fault for each bad one.
        if not value:
            raise ValueError("an experiment needs at least one variant")
        names = [variant.name for variant in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"variant names must differ, used more than once: {', '.join(twice)}")
        return value


def assign(experiment: Experiment, unit_key: str) -> Variant:
    """The variant of the unit known as `unit_key`; the same one as long as the experiment is not edited."""
    borders = list(accumulate(float(variant.weight) for variant in experiment.variants))
    point = _fraction(experiment.name, unit_key) * borders[-1]
    for variant, border in zip(experiment.variants, borders, strict=True):
        if point < border:
            return variant
    # With the smallest weights a float can hold, the product rounds up to the last border.
    return experiment.variants[-1]


def _fraction(experiment_name: str, unit_key: str) -> float:
    """A number from 0 up to but not including 1, spread evenly over the keys."""
    # A name holds no NUL, so two different pairs never make the same text; surrogates may come from headers.
    text = f"{experiment_name}\0{unit_key}".encode("utf-8", "surrogatepass")
    first = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    return float(first >> (64 - HASH_BITS)) / float(1 << HASH_BITS)
