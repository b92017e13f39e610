"""Pure. A profile: generation parameters and a system prompt under a name, for a task or for none.

A profile's `parameters` are not checked here. What a value may be depends on the model and the
runtime, so the catalog and the model's schema decide when the profile is used or stored.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from proxy.parameters.near import hint
from proxy.parameters.tasks import TASK_NAMES

SYSTEM_OWNER = "system"

NAMESPACE = uuid.UUID("5a2d1f0e-7c1b-5e0a-9a57-2f6b8c4d9e31")
"""Ids of profiles that give none are made in this namespace; changing it would change them all."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

GPU_FLOORS: dict[str, int] = {
    "num_ctx": 4,
    "num_batch": 1,
    "num_gpu": -1,
    "main_gpu": 0,
    "num_thread": 0,
    "draft_num_predict": 0,
}
"""Ollama's whole-number load-time options with the lowest value that means something.

`num_ctx` below 4 is lifted to 4 by Ollama; `num_gpu` -1 and `num_thread` 0 mean automatic.
"""

GPU_SWITCHES: tuple[str, ...] = ("use_mmap",)
"""Ollama's load-time options that are true or false."""

GPU_OPTIONS: tuple[str, ...] = (*GPU_FLOORS, *GPU_SWITCHES)

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _without_default(schema: dict[str, Any]) -> None:
    # The empty string only stands for "left out"; a form must not offer it.
    schema.pop("default", None)
    schema["format"] = "uuid"


class Timeouts(BaseModel):
    """Limits in seconds for one upstream call; a limit left out is the upstream's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    connect: Seconds | None = None
    """Until the connection stands."""
    first_byte: Seconds | None = None
    """From the request sent to the first byte of the answer."""
    idle: Seconds | None = None
    """Between two pieces of the answer."""
    total: Seconds | None = None
    """The whole call."""


class CircuitBreaker(BaseModel):
    """Thresholds and timeouts for calls under one profile; what is left out is the upstream's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    failure_threshold: Annotated[int, Field(ge=1)] | None = None
    """Failures in a row that open the breaker."""
    failure_timeout: Seconds | None = None
    """Seconds that the breaker stays open before it lets trial calls through."""
    half_open_requests: Annotated[int, Field(ge=1)] | None = None
    """Trial calls allowed at once while half open."""
    timeouts: Timeouts | None = None


class Profile(BaseModel):
    """One profile, from a rule file or the store. Numbers are never made from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(json_schema_extra=_without_default)] = ""
    """A UUID in its canonical form. Left out: made from the name (and the owner, unless `system`)."""
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    task: str | None = None
    """One of the task types; a preset has none."""
    description: str = ""
    model: Annotated[str, Field(min_length=1)] | None = None
    """Used when the client asks for the model `auto` or names none."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Attune's own parameter names."""
    system_prompt: str | None = None
    gpu_config: dict[str, Any] = Field(default_factory=dict)
    """Ollama's load-time options, see `GPU_OPTIONS`; a change of one reloads the model."""
    circuit_breaker: CircuitBreaker | None = None
    owner: Annotated[str, Field(min_length=1)] = SYSTEM_OWNER
    """`system`, or the user whose profile it is."""

    @property
    def is_system(self) -> bool:
        """Whether it belongs to everybody and can't be changed through the API."""
        return self.owner == SYSTEM_OWNER

    @model_validator(mode="before")
    @classmethod
    def _fill_id(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("id") is not None:
            return data
        # A name of the wrong type still gets an id, so that its own fault is the only one reported.
        return {**data, "id": default_id(str(data.get("name")), str(data.get("owner", SYSTEM_OWNER)))}

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        try:
            canonical = str(uuid.UUID(value))
        except ValueError:
            canonical = None
        # UUID() also takes braces and missing hyphens, which would give one id several spellings.
        if canonical is None or value.lower() != canonical:
            raise ValueError(f"{value!r} is not a UUID like {uuid.UUID(int=1)}")
        return canonical

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str | None) -> str | None:
        if value is not None and value not in TASK_NAMES:
            raise ValueError(f"no task is called {value!r}{hint(value, TASK_NAMES)}")
        return value

    @field_validator("gpu_config")
    @classmethod
    def _check_gpu_config(cls, value: dict[str, Any]) -> dict[str, Any]:
        for option, setting in value.items():
            _check_gpu_option(option, setting)
        return value

    def copy_for(self, owner: str, name: str) -> Self:
        """The same values as a profile of `owner`, under a new name and with that name's id."""
        fields = {**self.model_dump(exclude={"id"}), "owner": owner, "name": name}
        return type(self).model_validate(fields)


def default_id(name: str, owner: str = SYSTEM_OWNER) -> str:
    """The id of a profile that gives none: the same for the same name and owner, everywhere."""
    # A name holds no "/", so an owner's profile never gets the id of a system profile.
    return str(uuid.uuid5(NAMESPACE, name if owner == SYSTEM_OWNER else f"{owner}/{name}"))


def _check_gpu_option(option: str, setting: Any) -> None:
    """Raises ValueError for what Ollama would ignore, cut off, or answer with an error."""
    if option not in GPU_OPTIONS:
        raise ValueError(f"{option!r} is not a load-time option of Ollama{hint(option, GPU_OPTIONS)}")
    if option in GPU_SWITCHES:
        if not isinstance(setting, bool):
            raise ValueError(f"{option} must be true or false, not {setting!r}")
        return
    if not isinstance(setting, int) or isinstance(setting, bool):
        raise ValueError(f"{option} must be a whole number, not {setting!r}")
    if setting < GPU_FLOORS[option]:
        raise ValueError(f"{option} must be {GPU_FLOORS[option]} or more, not {setting}")
