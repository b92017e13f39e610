"""Pure. Thinking mode: what a resolved `think` means for a family, and its spelling for a template.

A mode is part of the key of every recommendation, so it is known before vendor values are chosen.
"""

from __future__ import annotations

from typing import Any

from proxy.parameters.catalog import THINK_LEVELS
from proxy.parameters.families import Thinking

THINKING = "thinking"
NON_THINKING = "non-thinking"

EFFORTS = ("none", *THINK_LEVELS)
"""Effort levels as `reasoning_effort` spells them, the weakest first."""


def mode(think: Any, family: Thinking | None, capable: bool | None) -> str:
    """`thinking` or `non-thinking`.

    `think` is the resolved value (`None`: nobody said), `capable` what the upstream says of the model
    (`None`: unknown). A model of an unknown family that can think does so unless told otherwise, as Ollama
    does since 0.12.4.
    """
    if capable is False:
        return NON_THINKING
    default = family.default if family is not None else None
    if default == "always":
        return THINKING
    if default == "never":
        return NON_THINKING
    if think is None:
        return THINKING if default == "on" or (default is None and capable) else NON_THINKING
    return NON_THINKING if think is False else THINKING


def level(think: Any, levels: tuple[str, ...]) -> str | None:
    """The nearest of the effort levels `levels`, weakest first, for a resolved `think`; `None` for no levels.

    `True` is `medium` where there is one, else the strongest; `False` is `none` where there is one, else the
    weakest, which is as near to off as such a model comes. A level never becomes `none`.
    """
    levels = tuple(name for name in levels if name in EFFORTS)
    if not levels:
        return None
    if think is True:
        return "medium" if "medium" in levels else levels[-1]
    if think is False:
        return "none" if "none" in levels else levels[0]
    want = EFFORTS.index(think)
    return min(levels, key=lambda name: (name == "none", abs(EFFORTS.index(name) - want)))
