from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.parameters.near import LONGEST_NAME, hint, near

CHOICES = ("temperature", "top_p", "top_k", "typical_p", "repeat_penalty", "num_ctx")


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("numctx", "num_ctx"),
        ("num-ctx", "num_ctx"),
        ("num.ctx", "num_ctx"),
        ("repeat-penalti", "repeat_penalty"),
    ],
)
def test_a_slip_finds_the_name_meant(name: str, best: str) -> None:
    assert near(name, CHOICES)[0] == best


def test_the_best_comes_first_and_n_limits() -> None:
    assert near("top_p", CHOICES, n=2) == ["top_p", "top_k"]
    assert near("top_p", CHOICES, n=1) == ["top_p"]
    assert near("top_p", CHOICES, n=0) == []


def test_nothing_close_gives_nothing() -> None:
    assert near("zebra", CHOICES) == []
    assert near("anything", ()) == []


def test_choices_that_differ_only_in_spelling_are_all_given_once() -> None:
    assert near("a-name", ["A_name", "a.name", "A_name", "other"]) == ["A_name", "a.name"]


def test_n_also_limits_choices_with_the_same_spelling() -> None:
    assert near("ab", ["ab", "AB", "Ab", "aB"], n=3) == ["ab", "AB", "Ab"]


def test_choices_may_be_any_iterable() -> None:
    assert near("top_k", (choice for choice in CHOICES), n=1) == ["top_k"]


def test_a_name_of_any_length_costs_little_and_gets_no_hint() -> None:
    longest = "a" * LONGEST_NAME
    assert near(longest, [longest]) == [longest]
    assert near(longest + "a", [longest + "a"]) == []
    # compared in earnest this would take hours
    assert near("a" * 10_000_000, ["a" * 10_000_000]) == []


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=10), st.integers(0, 5))
def test_it_only_gives_choices_and_never_too_many(name: str, choices: list[str], n: int) -> None:
    found = near(name, choices, n)
    assert set(found) <= set(choices)
    assert len(found) == len(set(found)) <= n


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10))
def test_a_choice_itself_is_always_near(choices: list[str]) -> None:
    assert choices[0] in near(choices[0], choices, n=len(choices))


def test_hint_is_the_end_of_a_message_or_nothing() -> None:
    assert hint("numctx", CHOICES) == "; did you mean 'num_ctx'?"
    assert hint("top", ("top_p", "top_k")) == "; did you mean 'top_p' or 'top_k'?"
    assert hint("zebra", CHOICES) == ""
