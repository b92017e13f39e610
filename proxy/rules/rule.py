"""Pure. What a rule file may say, as models. Unknown keys are refused everywhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool

from proxy.parameters.experiments import Experiment as ExperimentBase
from proxy.parameters.experiments import Variant as VariantBase
from proxy.parameters.families import Family as FamilyBase
from proxy.parameters.families import Recommendation as RecommendationBase
from proxy.parameters.profiles import Profile as ProfileBase
from proxy.rules.fields import (
    Clamps,
    Globs,
    Headers,
    Limits,
    Lists,
    Model,
    Name,
    Names,
    Runtime,
    Runtimes,
    Schemas,
    Seconds,
    Values,
    Variable,
)

__all__ = [
    "Experiment",
    "Family",
    "Limits",
    "Match",
    "PhaseTimeouts",
    "Profile",
    "Recommendation",
    "Reject",
    "Route",
    "Rule",
    "RuleFile",
    "SystemPrompt",
    "UpstreamEntry",
    "Variant",
]


class Match(Model):
    """When a rule applies: all keys must hold; a list means any of its globs. An empty match always holds."""

    model: Globs | None = Field(None, description="Globs for the model that the client asks for.")
    task: Globs | None = Field(None, description="Globs for the task; the empty one means no task.")
    headers: Headers = Field(
        default_factory=dict, description="Header name to globs; an absent header never matches."
    )
    user: Globs | None = Field(
        None, description="Globs for the user of the client's key; the empty one means nobody."
    )
    runtime: Runtimes | None = Field(None, description="ollama, vllm or openai, or a list of them.")
    thinking: StrictBool | None = Field(None, description="Whether the request is in thinking mode.")
    stream: StrictBool | None = Field(None, description="Whether the client streams.")
    tools: StrictBool | None = Field(None, description="Whether the request offers tools.")


class SystemPrompt(Model):
    """Edits of the system message."""

    prepend: str | None = Field(None, description="Text put before it, with a blank line between.")
    append: str | None = Field(None, description="Text put after it, with a blank line between.")
    replace: str | None = Field(None, description="Text that takes its place.")


class Route(Model):
    """Where the request goes."""

    upstream: Globs | None = Field(None, description="Globs for the names of the upstreams to choose from.")
    model: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The model to ask the upstream for."
    )


class Reject(Model):
    """Refuse the request."""

    status: Annotated[int, Field(ge=400, le=499)] = Field(403, description="HTTP status.")
    message: str = Field("This request is not allowed here.", description="What the client is told.")


class Rule(Model):
    """One rule: when it applies and what it does. Every matched rule applies, in file order."""

    name: Name = Field(description="Shown in headers, explanations and telemetry.")
    description: str = Field("", description="For people.")
    enabled: StrictBool = Field(True, description="false leaves the rule out.")
    match: Match = Field(default_factory=lambda: Match.model_validate({}), description="When it applies.")
    default: Values = Field(default_factory=dict, description="Values below the client's (layer 6).")
    set: Values = Field(default_factory=dict, description="Values above the client's (layer 9).")
    clamp: Clamps = Field(
        default_factory=dict, description="Ranges to hold values to; they only ever narrow."
    )
    append: Lists = Field(default_factory=dict, description="Items added to list parameters.")
    drop: Names = Field((), description="Parameters that are not sent.")
    forget: Names = Field((), description="Parameters whose client value counts as not sent.")
    system_prompt: SystemPrompt | None = Field(None, description="Edits of the system message.")
    profile: str | None = Field(None, description="The profile to use, unless the client names one.")
    task: str | None = Field(None, description="The task, unless the client names one.")
    route: Route | None = Field(None, description="Where the request goes.")
    reject: Reject | None = Field(None, description="Refuse the request.")
    on_violation: Literal["clamp", "reject"] = Field(
        "clamp", description="reject turns every clamp or drop of a client's value into a 400."
    )
    stop: StrictBool = Field(False, description="true ends the walk after this rule.")


class PhaseTimeouts(Model):
    """Seconds each phase of an upstream call may take."""

    connect: Seconds = Field(5.0, description="To open a connection.")
    first_byte: Seconds | None = Field(300.0, description="From the request to the answer's head.")
    idle: Seconds | None = Field(120.0, description="Between two pieces of an answer.")
    total: Seconds | None = Field(None, description="For the whole call.")


class UpstreamEntry(Model):
    """A server to send to. The only place an address comes from."""

    name: Name = Field(description="Shown in headers, explanations and telemetry.")
    url: str = Field(description="http:// or https://, with a path if the server has one.")
    runtime: Runtime | None = Field(None, description="Found by probing when absent.")
    models: Globs = Field(("*",), description="Globs for the models it may serve.")
    weight: Annotated[int, Field(ge=0, le=1000)] = Field(1, description="Share of requests; 0 is a spare.")
    max_concurrency: Annotated[int, Field(ge=1)] | None = Field(None, description="Requests at a time.")
    max_queue: Annotated[int, Field(ge=0)] = Field(64, description="Requests that may wait for a place.")
    queue_timeout: Seconds = Field(30.0, description="How long one may wait before a 429.")
    api_key_env: Variable | None = Field(None, description="Environment variable that holds its key.")
    num_ctx: Literal["pin", "bucket", "free"] | None = Field(
        None, description="How num_ctx is kept from reloading an Ollama model; default ATTUNE_NUM_CTX."
    )
    timeouts: PhaseTimeouts = Field(
        default_factory=lambda: PhaseTimeouts.model_validate({}), description="By phase."
    )


class Recommendation(RecommendationBase):
    """The values that somebody recommends for one mode and one task of a family."""

    values: Annotated[Values, Field(min_length=1)]
    """By Attune's own parameter names; nothing where the source says nothing, not even a neutral value."""


class Family(FamilyBase):
    """One family of models, with its recommended values."""

    parameters: Schemas = Field(default_factory=dict)
    """Schema entries special to this family, by parameter name."""
    recommended: Annotated[tuple[Recommendation, ...], Field(strict=False)] = ()
    """Values per mode and task; at most one entry for each pair."""


class Profile(ProfileBase):
    """Parameters and a system prompt under a name, for a task or for none."""

    parameters: Values = Field(default_factory=dict, description="Values by Attune's parameter names.")


class Variant(VariantBase):
    """One arm of an experiment."""

    parameters: Values = Field(
        default_factory=dict, description="Values; empty for the arm that changes nothing."
    )


class Experiment(ExperimentBase):
    """An A/B test of parameters, with the requests it concerns."""

    match: Match = Field(
        default_factory=lambda: Match.model_validate({}), description="The requests that take part."
    )
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, strict=False)] = Field(
        description="The arms, each with its share."
    )


def _section(value: Any) -> Any:
    """A section may be left empty; a text is no sequence of entries."""
    return () if value is None else tuple(value) if isinstance(value, list) else value


class RuleFile(Model):
    """A whole rule file. Every section may be left out."""

    model_config = ConfigDict(title="Attune rule file")

    upstreams: Annotated[tuple[UpstreamEntry, ...], BeforeValidator(_section)] = Field(
        (), description="Servers to send to."
    )
    families: Annotated[tuple[Family, ...], BeforeValidator(_section)] = Field(
        (), description="Model families and their recommended values."
    )
    profiles: Annotated[tuple[Profile, ...], BeforeValidator(_section)] = Field(
        (), description="Named sets of parameters."
    )
    rules: Annotated[tuple[Rule, ...], BeforeValidator(_section)] = Field(
        (), description="What to do with which request, in order."
    )
    experiments: Annotated[tuple[Experiment, ...], BeforeValidator(_section)] = Field(
        (), description="A/B tests of parameters."
    )
