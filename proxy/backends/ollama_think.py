"""Pure. `think` for Ollama: a switch or a level, and only for models that can."""

from __future__ import annotations

from typing import Any

from proxy.backends.backend import Case, Draft
from proxy.parameters.families import Thinking
from proxy.parameters.thinking import level

SINCE = (0, 9, 0)
LEVELS_SINCE = (0, 11, 1)
MAX_SINCE = (0, 22, 0)
LEVELS = ("low", "medium", "high", "max")

LIKE = {"minimal": "low", "xhigh": "max"}
"""Levels of OpenAI's -> what Ollama's own OpenAI endpoint makes of them."""


def put_think(draft: Draft, case: Case) -> None:
    """Sends `think` as this model and version take it, or drops it and says why."""
    think = draft.value("think")
    if think is None:
        return
    if _cannot(case):
        reason = f"{case.target.model.name if case.target.model else 'the model'} cannot think"
        draft.drop("think", reason, "model-cannot-think", harmless=think is False)
    elif not case.target.since(*SINCE):
        draft.drop("think", f"unknown to ollama before {'.'.join(map(str, SINCE))}", harmless=think is False)
    else:
        _hold_level(draft, case, think)
        draft.put("think", "think", draft.value("think"))


def _cannot(case: Case) -> bool:
    model = case.target.model
    capable = model.can("thinking") if model is not None else None
    if capable is not None:
        return not capable
    thinking = case.family.known_thinking if case.family is not None else None
    return thinking is not None and thinking.default == "never"


def _hold_level(draft: Draft, case: Case, think: Any) -> None:
    """The nearest that this version takes and this family knows."""
    target, family = case.target, case.family
    levels, who = _known(case), target.label
    thinking = family.known_thinking if family is not None else None
    own = tuple(name for name in levels if thinking is not None and name in thinking.levels)
    if family is not None and own:
        levels, who = own, f"family {family.name}"
    if think is False and thinking is not None and own and _only_levels(thinking):
        draft.hold("think", own[0], f"{who}: thinking cannot be turned off")
    if isinstance(think, str):
        draft.hold("think", level(LIKE.get(think, think), levels), f"{who}: one of {', '.join(levels)}")
    if isinstance(draft.value("think"), str) and not target.since(*LEVELS_SINCE):
        draft.hold("think", True, f"{target.label}: on or off, no levels")


def _only_levels(thinking: Thinking) -> bool:
    """Whether a level is all the template hears, and none of them is off."""
    return thinking.switch == "reasoning_effort" and "none" not in thinking.levels


def _known(case: Case) -> tuple[str, ...]:
    return LEVELS if case.target.since(*MAX_SINCE) else LEVELS[:-1]
