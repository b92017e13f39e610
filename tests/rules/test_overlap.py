"""Globs against globs: `covers` is never wrong, `meet` never misses."""

from __future__ import annotations

import fnmatch
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.rules.match import Facts, compile_match
from proxy.rules.overlap import Index, Shape, can_meet, contains, covers, glob, meet, shape
from proxy.rules.rule import Match

# other work on the machine is no fault of the code
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = ["".join(t) for n in range(6) for t in itertools.product("ab", repeat=n)]
"""All texts of a and b up to five letters."""

patterns = st.text("ab*?", max_size=4)


def matched(pattern: str) -> set[str]:
    return {text for text in TEXTS if fnmatch.fnmatchcase(text, pattern)}


@relaxed
@given(patterns, patterns)
def test_what_covers_really_covers(wide: str, narrow: str) -> None:
    if covers(glob(wide), glob(narrow)):
        assert matched(narrow) <= matched(wide)


@relaxed
@given(patterns, patterns)
def test_what_has_a_text_in_common_meets(a: str, b: str) -> None:
    if matched(a) & matched(b):
        assert meet(glob(a), glob(b))
        assert meet(glob(b), glob(a))


@relaxed
@given(st.text("ab*", max_size=4), st.text("ab*", max_size=4))
def test_without_question_marks_what_meets_has_a_text_in_common(a: str, b: str) -> None:
    if meet(glob(a), glob(b)):
        longest = a.replace("*", "") + b.replace("*", "")
        texts = {"".join(t) for n in range(len(longest) + 1) for t in itertools.product("ab", repeat=n)}
        assert any(fnmatch.fnmatchcase(t, a) and fnmatch.fnmatchcase(t, b) for t in texts)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("*", "a?[b]*", True), ("a", "A", True), ("a", "b", False), ("a*", "ab*", True), ("ab*", "a*", False),
        ("*coder*", "qwen-coder*", True), ("*coder*", "*cod*er*", False), ("a?", "ab", True), ("a?", "a*", False),
        ("a?", "a?", True), ("a[bc]", "ab", True), ("a*", "a[bc]", True), ("a*c", "ab*c", True), ("a", "a*", False),
    ],
)  # fmt: skip
def test_covers(wide: str, narrow: str, expected: bool) -> None:
    assert covers(glob(wide), glob(narrow)) is expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a", "A", True), ("a", "b", False), ("qwen*", "*coder*", True), ("qwen*", "llama*", False), ("qwen*", "qwen3*", True),
        ("*:8b", "*:70b", False), ("*:8b", "qwen*", True), ("qwen3:8b", "qwen*", True), ("qwen3:8b", "llama*", False),
        ("r1*", "r10*", True), ("r1", "r10", False), ("a[bc]", "ab", True), ("a[bc]", "ad", False),
    ],
)  # fmt: skip
def test_meet(a: str, b: str, expected: bool) -> None:
    assert meet(glob(a), glob(b)) is meet(glob(b), glob(a)) is expected


def made(**keys: Any) -> Shape:
    return shape(Match.model_validate(keys))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({}, {}, True),
        ({}, {"model": "x", "thinking": True}, True),
        ({"model": "a*"}, {"model": ["b*", "ab"]}, True),
        ({"model": "a*"}, {"model": "b*"}, False),
        ({"model": "a*"}, {"task": "b"}, True),
        ({"thinking": True}, {"thinking": False}, False),
        ({"thinking": True}, {"stream": False}, True),
        ({"runtime": "vllm"}, {"runtime": ["ollama", "vllm"]}, True),
        ({"runtime": "vllm"}, {"runtime": "ollama"}, False),
        ({"headers": {"X": "a"}}, {"headers": {"x": "b"}}, False),
        ({"headers": {"x": "a"}}, {"headers": {"y": "b"}}, True),
        ({"user": "*"}, {"user": "ann"}, True),
    ],
)
def test_shapes_that_can_meet(a: dict[str, Any], b: dict[str, Any], expected: bool) -> None:
    assert can_meet(made(**a), made(**b)) is can_meet(made(**b), made(**a)) is expected


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ({}, {"model": "x", "headers": {"a": "b"}}, True),
        ({"model": "*", "user": "*", "task": ["x", "*"]}, {}, True),
        ({"model": "x"}, {}, False),
        ({"model": ["a*", "b*"]}, {"model": ["ab", "b", "a?"]}, True),
        ({"model": ["a*", "b*"]}, {"model": ["ab", "c"]}, False),
        ({"headers": {"x": "*"}}, {}, False),
        ({"headers": {"x": "*"}}, {"headers": {"X": "a", "y": "b"}}, True),
        ({"thinking": True}, {}, False),
        ({"thinking": True}, {"thinking": True, "tools": False}, True),
        ({"runtime": ["ollama", "vllm"]}, {"runtime": "vllm"}, True),
        ({"runtime": "vllm"}, {"runtime": ["ollama", "vllm"]}, False),
        ({"runtime": "vllm"}, {}, False),
    ],
)
def test_shapes_that_contain_another(wide: dict[str, Any], narrow: dict[str, Any], expected: bool) -> None:
    assert contains(made(**wide), made(**narrow)) is expected


globs = st.none() | patterns | st.lists(patterns, min_size=1, max_size=2)
matches = st.fixed_dictionaries(
    {},
    optional={
        "model": globs.filter(bool),
        "user": globs.filter(bool),
        "headers": st.dictionaries(st.sampled_from("xy"), patterns, max_size=2),
        "runtime": st.sampled_from(["ollama", "vllm", ["ollama", "vllm"]]),
        "stream": st.booleans(),
    },
)
requests = st.builds(
    Facts,
    model=st.text("ab", max_size=4),
    user=st.none() | st.text("ab", max_size=3),
    headers=st.dictionaries(st.sampled_from("xy"), st.text("ab", max_size=3)),
    runtime=st.sampled_from(["ollama", "vllm"]),
    stream=st.booleans(),
)


@relaxed
@given(matches, matches, requests)
def test_shapes_agree_with_matching(a: dict[str, Any], b: dict[str, Any], facts: Facts) -> None:
    first, second = (compile_match(Match.model_validate(m)).holds(facts) for m in (a, b))
    if first and second:
        assert can_meet(made(**a), made(**b))
    if contains(made(**a), made(**b)) and second:
        assert first


@relaxed
@given(st.lists(matches, max_size=8), matches)
def test_an_index_misses_nothing_that_can_meet(known: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    index = Index(1000)
    for number, match in enumerate(known):
        index.add(number, made(**match))
    found = list(index.candidates(made(**wanted)))
    assert len(found) == len(set(found))
    assert {n for n, match in enumerate(known) if can_meet(made(**match), made(**wanted))} <= set(found)


def test_an_index_leaves_out_what_begins_otherwise() -> None:
    index = Index(1000)
    for number in range(200):
        index.add(number, made(model=f"m{number}-*", task="engineering"))
    assert list(index.candidates(made(model="m17-x", task="engineering"))) == [17]
    assert list(index.candidates(made(model="m1", task="engineering"))) == []
    assert len(list(index.candidates(made(task="engineering")))) == 200


def test_an_index_ends_when_its_share_is_used_up() -> None:
    index = Index(5)
    for number in range(9):
        index.add(number, made())
    assert list(index.candidates(made())) == [0, 1, 2, 3, 4]
    assert list(index.candidates(made())) == []
    assert index.left == 0


def test_an_index_bears_any_number_of_headers() -> None:
    index = Index(10_000)
    for number in range(100):
        index.add(number, made(headers={f"h{number}": "x"}))
    assert set(index.candidates(made(headers={"h99": "x"}))) == set(range(100))
