"""Pure. One request's decision: which rules, which profile, which values, and how the runtime hears them.

    consider   match the rules, choose task and profile           (may refuse, may send elsewhere)
    decide     collect candidates, resolve, translate             (for one upstream and model)

The same snapshot, ask and target give the same decision, so one may be kept for the next request like it, and
`explain` shows what a request would get without sending it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from proxy.backends.backend import Backend, Case, Plan, Translation, runtime_bounds
from proxy.backends.facts import Target
from proxy.errors import RejectedByRule, StrictViolation, UnknownProfile
from proxy.parameters import thinking
from proxy.parameters.bounds import Bounds
from proxy.parameters.catalog import CATALOG
from proxy.parameters.client import Asked, normal
from proxy.parameters.experiments import assign
from proxy.parameters.families import Family, recommend
from proxy.parameters.layers import Layer
from proxy.parameters.near import hint
from proxy.parameters.profiles import Profile
from proxy.parameters.resolution import Candidate, Resolution
from proxy.parameters.resolve import Edits, rank, resolve
from proxy.parameters.values import show
from proxy.rules.actions import Effects, fold
from proxy.rules.match import Facts, walk
from proxy.snapshot import Snapshot

PROFILE_HEADER = "x-tuning-profile"
MOST_NAMED = 30
"""Profiles that an error lists."""
TASK_HEADER = "x-tuning-task"
SESSION_HEADER = "x-tuning-session"
STRICT_HEADER = "x-tuning-strict"


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decisions depend on."""

    vendor_defaults: bool = True
    protected: bool = False
    """Whether clients are kept from setting protected parameters."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as their key tells."""

    user: str | None = None
    default_profile: str | None = None
    strict: bool = False
    tasks: Mapping[str, str] = field(default_factory=dict)
    """The user's own choice of profile by task."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked: everything of a request that its decision depends on."""

    model: str
    """The model as the client named it, without `@PROFILE`."""
    client: Asked
    profile: str | None = None
    """The profile that the client named, by header or `@PROFILE`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = Caller()
    stream: bool = False
    tools: bool = False
    request_id: str = ""
    """The unit of experiments that deal by request."""

    @property
    def strict(self) -> bool:
        """Whether the client or its key asks for refusal instead of clamping."""
        return self.caller.strict or self.headers.get(STRICT_HEADER, "").lower() in ("1", "true", "yes")


@dataclass(frozen=True, slots=True)
class Considered:
    """What the rules say, before any value is looked at."""

    effects: Effects
    task: str | None
    profile: Profile | None
    profile_by: str | None
    warnings: tuple[str, ...]
    variants: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    """(experiment, variant, parameters)"""
    thinks: bool = False
    """Whether rules were told that the request is in thinking mode."""
    routing: frozenset[str] = frozenset()
    """The matched rules that say where the request goes."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one request, or for all that are alike."""

    model: str
    target: Target
    family: Family | None
    mode: str
    considered: Considered
    plan: Plan
    snapshot: str
    warnings: tuple[str, ...]

    @property
    def resolution(self) -> Resolution:
        return self.plan.translation.resolution


def consider(snapshot: Snapshot, ask: Ask, target: Target, first: Considered | None = None) -> Considered:
    """Matches the rules and chooses task, profile and variants.

    `first` is what was considered where the request was first bound for, before its rules sent it to
    `target`. Rules then see the new runtime, but what sent it there stands, whether the new model thinks or
    not.

    Raises `RejectedByRule`, and `UnknownProfile` for a profile that the client names and nobody has.
    """
    warnings: list[str] = []
    task = _named_task(snapshot, ask, warnings)
    family = _family(snapshot, target, ask.model)
    mode = _mode(ask.client.value("think"), family, target)
    thinks = mode == thinking.THINKING if first is None else first.thinks
    facts = Facts(
        ask.model, task, ask.headers, ask.caller.user, target.runtime, thinks, ask.stream, ask.tools
    )  # fmt: skip
    kept = first.routing if first is not None else frozenset()
    walked = walk(snapshot.rules, facts, fixed_task=task is not None, kept=kept)
    effects = fold(walked.rules)
    if first is not None:
        effects.model, effects.upstreams = first.effects.model, first.effects.upstreams
    if effects.reject is not None:
        raise RejectedByRule(effects.reject.message, status=effects.reject.status, rules=effects.names)
    profile, by = _choose_profile(snapshot, ask, effects, walked.task)
    variants = tuple(_variants(snapshot, ask, replace(facts, task=walked.task)))
    routing = frozenset(rule.name for rule in walked.rules if rule.route is not None)
    return Considered(effects, walked.task, profile, by, tuple(warnings), variants, thinks, routing)


def decide(
    snapshot: Snapshot, ask: Ask, considered: Considered, target: Target, backend: Backend, policy: Policy
) -> Decision:
    """The values for one upstream. Raises `StrictViolation` and what a backend cannot say at all."""
    model = considered.effects.model or ask.model
    family = _family(snapshot, target, model, ask.model)
    offered = _candidates(ask, considered, target)
    think = _winner(offered.get("think", ()), "think" in considered.effects.forget)
    mode = _mode(think, family, target)

    def translate(mode: str) -> Translation:
        """The values for a mode: the vendor's depend on it."""
        candidates = dict(offered)
        if policy.vendor_defaults and family is not None:
            _add_vendor(candidates, family, mode, considered.task)
        bounds = _bounds(candidates, considered.effects, family, backend, Case(target, family, mode))
        resolution = resolve(candidates, _edits(ask, considered.effects, bounds, policy))
        return backend.translate(resolution, Case(target, family, mode, ask.client.spelled, bounds))

    translation = translate(mode)
    if think is not None and translation.resolution.value("think") is None:
        # what is not sent switches nothing: the model thinks as it does by itself
        mode = _mode(None, family, target)
        translation = translate(mode)
    translation = _with_unknown(translation, ask.client)
    strict = ask.strict or considered.effects.strict_by is not None
    if strict:
        _refuse_changes(translation.resolution, considered.effects.strict_by, ask.client.spelled)
    able = target.model.capabilities if target.model is not None else None
    plan = Plan(model, translation, orjson.dumps(translation.fields)[1:-1], capabilities=able, strict=strict)
    warnings = (*considered.warnings, *ask.client.warnings, *translation.resolution.warnings)
    return Decision(ask.model, target, family, mode, considered, plan, snapshot.hash, warnings)


def _family(snapshot: Snapshot, target: Target, *names: str) -> Family | None:
    """The family of the first name that has one; an adapter or a renamed model has its base's."""
    parent = target.model.parent if target.model is not None else None
    for name in (*names, *([parent] if parent else ())):
        family = snapshot.families.find(name)
        if family is not None:
            return family
    return None


def _named_task(snapshot: Snapshot, ask: Ask, warnings: list[str]) -> str | None:
    """The task in the header; one that nobody knows changes nothing and is said."""
    task = ask.headers.get(TASK_HEADER)
    if not task:
        return None
    if task in snapshot.tasks:
        return task
    warnings.append(f"nobody knows the task {show(task)}: it changes nothing{hint(task, snapshot.tasks)}")
    return None


def _mode(think: Any, family: Family | None, target: Target) -> str:
    capable = target.model.can("thinking") if target.model is not None else None
    return thinking.mode(think, family.known_thinking if family is not None else None, capable)


def _choose_profile(
    snapshot: Snapshot, ask: Ask, effects: Effects, task: str | None
) -> tuple[Profile | None, str | None]:
    """The first hit: the client's word, a rule's, the user's and the system's for the task, the key's."""
    if ask.profile:
        return _profile(snapshot, ask.profile), "request"
    if effects.profile:
        return _profile(snapshot, effects.profile), f"rule {effects.profile_source}"
    if task is not None and task in ask.caller.tasks:
        return _profile(snapshot, ask.caller.tasks[task]), f"user's profile for task {task}"
    if task is not None and task in snapshot.task_profiles:
        return snapshot.task_profiles[task], f"system profile for task {task}"
    if ask.caller.default_profile:
        return _profile(snapshot, ask.caller.default_profile), "key"
    return None, None


def _profile(snapshot: Snapshot, name: str) -> Profile:
    profile = snapshot.profiles.get(name) or snapshot.profiles_by_id.get(name)
    if profile is None:
        raise UnknownProfile(unknown_profile(name, snapshot), param="profile")
    return profile


def unknown_profile(name: str, snapshot: Snapshot) -> str:
    """What to say of a profile that nobody has: near names, or if there are none the first few."""
    near = hint(name, snapshot.profiles)
    some = list(snapshot.profiles)[:MOST_NAMED]
    rest = f"; there are: {', '.join(some)}" + (", ..." if len(snapshot.profiles) > MOST_NAMED else "")
    return f"there is no profile {show(name)}{near or (rest if some else '')}"


def _variants(snapshot: Snapshot, ask: Ask, facts: Facts) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The assigned variants; a request without the unit that an experiment deals by is not part of it."""
    units = {
        "session": ask.headers.get(SESSION_HEADER),
        "user": ask.caller.user,
        "request": ask.request_id,
    }
    for experiment, compiled in snapshot.experiments:
        unit = units[experiment.unit]
        if unit and compiled.holds(facts):
            variant = assign(experiment, unit)
            yield experiment.name, variant.name, variant.parameters


def _candidates(ask: Ask, considered: Considered, target: Target) -> dict[str, list[Candidate]]:
    """What every layer but `vendor` offers, by parameter."""
    offered: dict[str, list[Candidate]] = {}

    def offer(values: Mapping[str, Any], layer: Layer, source: str) -> None:
        for name, value in normal(values):
            offered.setdefault(name, []).append(Candidate(layer, source, value))

    if target.model is not None:
        source = "Modelfile" if target.runtime == "ollama" else "generation_config"
        offer(target.model.parameters, Layer.RUNTIME, source)
    profile = considered.profile
    if profile is not None:
        if target.runtime == "ollama":
            offer(profile.gpu_config, Layer.PROFILE, f"profile {profile.name} gpu_config")
        offer(profile.parameters, Layer.PROFILE, f"profile {profile.name}")
    for experiment, variant, values in considered.variants:
        offer(values, Layer.EXPERIMENT, f"experiment {experiment}/{variant}")
    for name, candidate in considered.effects.candidates:
        offer({name: candidate.value}, candidate.layer, candidate.source)
    for name, candidate in ask.client.candidates:
        offered.setdefault(name, []).append(candidate)
    return offered


def _winner(candidates: list[Candidate] | tuple[()], forget_client: bool) -> Any:
    ranked = [c for c in rank(candidates) if c.layer.sent and not (forget_client and c.layer is Layer.CLIENT)]
    return ranked[0].value if ranked else None


def _add_vendor(offered: dict[str, list[Candidate]], family: Family, mode: str, task: str | None) -> None:
    recommendation = recommend(family, mode, task)
    if recommendation is None:
        return
    evidence = f"{recommendation.source} (grade {recommendation.grade})"
    for name, value in recommendation.values.items():
        candidate = Candidate(Layer.VENDOR, f"family {family.name}", value, evidence)
        offered[name] = [*offered.get(name, ()), candidate]


def _bounds(
    offered: Mapping[str, Any], effects: Effects, family: Family | None, backend: Backend, case: Case
) -> dict[str, Bounds]:
    """The range of each parameter that is offered or appended to: only ever narrowed."""
    found = runtime_bounds(backend, case, (*offered, *effects.append))
    for name, entry in (family.parameters if family is not None else {}).items():
        if name in found and family is not None:
            special = {**entry, **(entry.get("runtime") or {}).get(case.target.runtime, {})}
            low, high = special.get("min"), special.get("max")
            found[name] = _narrow(name, found[name], low, high, f"family {family.name}")
    for name, clamp, source in effects.clamps:
        if name in found:
            found[name] = _narrow(name, found[name], clamp.min, clamp.max, source)
    return found


def _narrow(name: str, bounds: Bounds, low: float | None, high: float | None, source: str) -> Bounds:
    """The bounds cut down; for a list the upper end counts its items."""
    if CATALOG[name].type == "list":
        return bounds.narrow_items(None if high is None else int(high), source)
    return bounds.narrow(low, high, source)


def _edits(ask: Ask, effects: Effects, bounds: Mapping[str, Bounds], policy: Policy) -> Edits:
    forget = dict(effects.forget)
    if policy.protected:
        named = {name for name, _ in ask.client.candidates if CATALOG[name].protected}
        forget.update(dict.fromkeys(named, "ATTUNE_PROTECTED"))
    return Edits(append=effects.append, bounds=bounds, drop=effects.drop, forget=forget)


def _with_unknown(translation: Translation, client: Asked) -> Translation:
    """The translation with the names in `options` that are no parameter, as drops."""
    if not client.unknown:
        return translation
    old = translation.resolution
    resolution = Resolution(old.parameters, {**old.dropped, **client.unknown}, old.warnings)
    return Translation(resolution, translation.fields, translation.one_tool_call)


def _refuse_changes(resolution: Resolution, rule: str | None, spelled: frozenset[str]) -> None:
    """Strict: nothing that the client named may be clamped or dropped. It hears its own spelling."""
    by = f" (rule {rule})" if rule else ""
    for known, d in resolution.parameters.items():
        name = _spelling(known, spelled)
        if d.layer is Layer.CLIENT and d.clamps:
            before = show(d.clamps[0].before)
            why = "; ".join(c.by for c in d.clamps)
            raise StrictViolation(
                f"strict{by}: {name} is {before}, but would be clamped to {show(d.value)} ({why})", param=name
            )
        if d.forgotten_by:
            raise StrictViolation(f"strict{by}: {name} would be forgotten by {d.forgotten_by}", param=name)
    for known, gone in resolution.dropped.items():
        name = _spelling(known, spelled)
        if gone.layer is Layer.CLIENT and not gone.harmless:
            raise StrictViolation(
                f"strict{by}: {name} is {show(gone.value)}, but would be dropped: {gone.reason}", param=name
            )


def _spelling(name: str, spelled: frozenset[str]) -> str:
    """What the client called a parameter."""
    known = CATALOG.get(name)
    return known.as_spelled(spelled) if known is not None else name
