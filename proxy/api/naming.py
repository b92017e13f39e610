"""Pure. Which model and profile a request names: `NAME@PROFILE`, `auto`, or no model at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.backends.facts import Target
from proxy.decision import PROFILE_HEADER, Ask, Caller, consider, unknown_profile
from proxy.errors import BadBody, UnknownProfile
from proxy.parameters.client import Asked
from proxy.snapshot import Snapshot

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Named:
    """What a request names."""

    model: str
    asked: str
    """The answer's `model`."""
    profile: str | None


def split(model: str, snapshot: Snapshot, serves: Callable[[str], bool]) -> tuple[str, str | None]:
    """`NAME@PROFILE` taken apart; a name that is served as it stands is one name.

    Raises `UnknownProfile` when the part before `@` is a model and the part behind it is no profile.
    """
    name, at, profile = model.rpartition("@")
    if not at or not name or serves(model):
        return model, None
    if profile in snapshot.profiles or profile in snapshot.profiles_by_id:
        return name, profile
    if name == AUTO or serves(name):
        raise UnknownProfile(unknown_profile(profile, snapshot), param="model")
    return model, None


def name(
    asked: str | None,
    headers: dict[str, str],
    snapshot: Snapshot,
    caller: Caller,
    serves: Callable[[str], bool],
) -> Named:
    """The model and profile of a request; for `auto` and for none, the model of the profile that applies.

    That profile then applies to the model too, even if a rule chose it for the name `auto` alone.
    """
    model, profile = split(asked, snapshot, serves) if asked is not None else (AUTO, None)
    profile = headers.get(PROFILE_HEADER) or profile
    if model != AUTO or serves(AUTO):
        return Named(model, asked or model, profile)
    ask, nowhere = Ask(AUTO, Asked(), profile=profile, headers=headers, caller=caller), Target(None, "openai")
    chosen = consider(snapshot, ask, nowhere).profile
    if chosen is None or chosen.model is None:
        which = (
            f"profile {chosen.name} names none" if chosen is not None else "no profile applies that names one"
        )
        raise BadBody(f"model is required: the request names {asked or 'none'}, and {which}", param="model")
    if consider(snapshot, replace(ask, model=chosen.model), nowhere).profile is not chosen:
        profile = chosen.name
    return Named(chosen.model, asked or chosen.model, profile)
