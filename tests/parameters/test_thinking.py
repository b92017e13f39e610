from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.parameters.families import Thinking
from proxy.parameters.thinking import EFFORTS, NON_THINKING, THINKING, level, mode

LEVELS = ("low", "medium", "high")


def family(default: str) -> Thinking:
    switch = "none" if default == "never" else "enable_thinking"
    return Thinking.model_validate({"default": default, "switch": switch})


@pytest.mark.parametrize("think", [None, True, False, "low", "high"])
@pytest.mark.parametrize("capable", [None, True, False])
def test_what_cannot_be_switched_stays(think: Any, capable: bool | None) -> None:
    assert mode(think, family("never"), capable) == NON_THINKING
    assert mode(think, family("always"), capable) == (NON_THINKING if capable is False else THINKING)


@pytest.mark.parametrize(
    ("default", "think", "expected"),
    [
        ("on", None, THINKING),
        ("on", True, THINKING),
        ("on", "low", THINKING),
        ("on", False, NON_THINKING),
        ("off", None, NON_THINKING),
        ("off", True, THINKING),
        ("off", "minimal", THINKING),
        ("off", False, NON_THINKING),
    ],
)
def test_a_family_with_a_switch_does_as_it_is_told(default: str, think: Any, expected: str) -> None:
    assert mode(think, family(default), None) == expected
    assert mode(think, family(default), True) == expected
    assert mode(think, family(default), False) == NON_THINKING


@pytest.mark.parametrize(
    ("think", "capable", "expected"),
    [
        (None, None, NON_THINKING),
        (None, True, THINKING),
        (None, False, NON_THINKING),
        (True, None, THINKING),
        ("high", None, THINKING),
        (False, True, NON_THINKING),
        (True, False, NON_THINKING),
    ],
)
def test_a_model_of_no_known_family(think: Any, capable: bool | None, expected: str) -> None:
    assert mode(think, None, capable) == expected


@pytest.mark.parametrize(
    ("think", "levels", "expected"),
    [
        (True, LEVELS, "medium"),
        (True, ("high", "max"), "max"),
        (True, ("none", "high"), "high"),
        (False, LEVELS, "low"),
        (False, ("none", "high"), "none"),
        ("minimal", LEVELS, "low"),
        ("low", LEVELS, "low"),
        ("xhigh", LEVELS, "high"),
        ("max", LEVELS, "high"),
        ("medium", ("low", "high"), "low"),
        ("medium", ("high", "max"), "high"),
        ("max", ("low", "medium", "high", "max"), "max"),
        (True, (), None),
        (False, (), None),
        ("high", (), None),
    ],
)
def test_the_nearest_level(think: Any, levels: tuple[str, ...], expected: str | None) -> None:
    assert level(think, levels) == expected


@pytest.mark.parametrize("think", ["minimal", "low", "medium", "high"])
def test_asking_for_some_thinking_never_switches_it_off(think: str) -> None:
    assert level(think, ("none", "high")) == "high"


@pytest.mark.parametrize("think", [True, False, *EFFORTS[1:]])
def test_levels_that_nobody_can_ask_for_are_passed_over(think: Any) -> None:
    """A family's levels are free text; a word of its own must not break its requests."""
    assert level(think, ("turbo",)) is None
    assert level(think, ("turbo", "high", "ludicrous")) == "high"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([True, False, *EFFORTS[1:]]), st.lists(st.sampled_from(EFFORTS), unique=True))
def test_a_level_is_always_one_of_those_that_there_are(think: Any, chosen: list[str]) -> None:
    levels = tuple(sorted(chosen, key=EFFORTS.index))
    found = level(think, levels)
    assert (found is None) == (not levels)
    if levels:
        assert found in levels
        if isinstance(think, str) and think in levels:
            assert found == think
