"""Pure. Static configuration: every setting with its name, default and help line.

Read once at the start from `ATTUNE_*` variables and the command line; everything that may change while
running is in the snapshot. The table in `docs/settings.md` is made from this class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from proxy.errors import ConfigurationError
from proxy.parameters.near import near

PREFIX = "ATTUNE_"
CLIENT_VARIABLES = ("URL", "API_KEY")
"""What commands that talk to a running proxy read."""

SECRET = ("admin_key", "admin_key_file", "upstreams")
"""Settings whose values no message repeats; a URL may have come with a password in it."""

_SWITCH = {
    "on": True,
    "true": True,
    "1": True,
    "yes": True,
    "off": False,
    "false": False,
    "0": False,
    "no": False,
}


def _switch(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    known = _SWITCH.get(value.strip().lower())
    if known is None:
        raise PydanticCustomError("switch", "must be on or off")
    return known


def _list(value: Any) -> Any:
    """Words between commas, or a JSON list for words that hold commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return tuple(part for part in map(str.strip, value.split(",")) if part)
    try:
        return tuple(json.loads(value))
    except ValueError as fault:
        raise PydanticCustomError("list", "is no JSON list: {why}", {"why": str(fault)}) from None


Switch = Annotated[bool, BeforeValidator(_switch)]
Words = Annotated[tuple[str, ...], BeforeValidator(_list)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Secret = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]


class Settings(BaseModel):
    """What is fixed while the process runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
    rules: Words = Field((), description="Rule files or folders, separated by commas.")
    upstreams: Words = Field((), description="Upstream URLs; none: the rule files', else OLLAMA_HOST.")
    log_format: Literal["text", "json"] = Field("text", description="Form of log lines.")
    insecure: Switch = Field(False, description="Listen beyond loopback although no key exists.")
    builtin_rules: Switch = Field(True, description="Load the families, tasks and presets that ship.")
    vendor_defaults: Switch = Field(True, description="Send the families' recommended values (layer 2).")
    virtual_models: Switch = Field(False, description="List NAME@PROFILE in /v1/models.")
    num_ctx: Literal["pin", "bucket", "free"] = Field(
        "bucket", description="How num_ctx is kept from reloading an Ollama model."
    )
    protected: Literal["allow", "drop"] = Field(
        "allow", description="Whether clients may set load-time parameters, which affect others."
    )
    max_body: int = Field(32 * 1024 * 1024, ge=1, description="Longest request body, in bytes.")
    admin_key: Secret | None = Field(None, repr=False, description="A key with all rights.")
    admin_key_file: str | None = Field(None, description="File that holds the admin key.")
    discover_every: Seconds = Field(15.0, gt=0, description="Seconds between two looks at each upstream.")
    reload_every: Seconds = Field(1.0, gt=0, description="Seconds between two looks at the rule files.")
    drain_delay: Seconds = Field(0.0, ge=0, description="Seconds to go on serving after SIGTERM, unready.")
    drain_timeout: Seconds = Field(300.0, ge=0, description="Seconds that running streams may take to end.")


def from_environment(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """The settings, `overrides` from the command line first; a bad one is named with what is accepted.

    Variables that name no setting change nothing; `strangers` tells of them.
    """
    values: dict[str, Any] = {
        name: environ[PREFIX + name.upper()]
        for name in Settings.model_fields
        if environ.get(PREFIX + name.upper(), "") != ""
    }
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as fault:
        lines = []
        for error in fault.errors():
            name = str(error["loc"][0])
            shown = "" if name in SECRET else f", not {error['input']!r}"
            lines.append(f"{PREFIX}{name.upper()}: {error['msg']}{shown}")
        raise ConfigurationError("\n".join(lines)) from None


def strangers(environ: Mapping[str, str]) -> list[str]:
    """What to say of variables that begin like a setting and name none: most often a slip of the pen."""
    known = {name.upper(): name for name in Settings.model_fields} | dict.fromkeys(CLIENT_VARIABLES)
    given = (name.removeprefix(PREFIX) for name in environ if name.startswith(PREFIX))
    said = []
    for name in sorted(name for name in given if name not in known):
        meant = near(name, known, 1)
        guess = f"; did you mean {PREFIX}{meant[0]}?" if meant else ""
        said.append(f"{PREFIX}{name} is no setting and has no effect{guess}")
    return said


def table() -> str:
    """The settings as a Markdown table."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, info in Settings.model_fields.items():
        default = "" if info.default in (None, ()) else info.default
        if isinstance(default, bool):
            default = "on" if default else "off"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {info.description} |")
    return "\n".join(lines) + "\n"
