"""Which rules apply: globs, all keys, file order, `stop`, and the task that rules hand on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.rules.match import Compiled, Facts, compile_match, globs, walk
from proxy.rules.rule import Match, Rule
from tests.rules.files import rule

# other work on the machine is no fault of the code
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FACTS = Facts(
    model="Qwen3:8b",
    task="engineering",
    headers={"user-agent": "aider/0.9", "x-team": ""},
    user="Ann",
    runtime="ollama",
    thinking=True,
    stream=True,
    tools=False,
)


def holds(facts: Facts = FACTS, **keys: Any) -> bool:
    return compile_match(Match.model_validate(keys)).holds(facts)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True), ("*", "x", True), ("", "", True), ("", "x", False),
        ("qwen3", "qwen3", True), ("qwen3", "qwen3:8b", False), ("QWEN3", "qWen3", True),
        ("qwen3*", "Qwen3:8b", True), ("*coder*", "qwen3-Coder:30b", True), ("*-coder", "qwen3-coder:30b", False),
        ("qwen?", "qwen3", True), ("qwen?", "qwen", False), ("qwen[23]", "qwen3", True), ("qwen[!23]", "qwen3", False),
        ("a.c", "abc", False), ("a+", "aa", False), ("(a|b)", "a", False), ("a|b", "a", False), ("^a$", "a", False),
        ("[", "[", True), ("a[", "a[", True), ("*\n*", "a\nb", True), ("a*", "a\nb", True), ("a", "a\n", False),
        ("*/qwen*", "Qwen/Qwen3-8B", True), ("İ", "i̇", True),
    ],
)  # fmt: skip
def test_globs(pattern: str, text: str, expected: bool) -> None:
    assert globs((pattern,))(text) is expected
    # among others too, where all are one expression
    assert globs((pattern, "never[q]"))(text) is expected


def test_any_of_several_globs() -> None:
    matches = globs(("a*", "b", "c?"))
    assert [text for text in ("abc", "b", "bb", "c1", "c", "d") if matches(text)] == ["abc", "b", "c1"]
    assert globs(("a", "B"))("b")
    assert globs(("a", "*"))("anything")


@relaxed
@given(st.lists(st.text("ab*?[]!.-", max_size=8), min_size=1, max_size=4), st.text("ab.-[", max_size=8))
def test_several_globs_are_the_any_of_each(patterns: list[str], text: str) -> None:
    assert globs(patterns)(text) == any(globs((p,))(text) for p in patterns)


def test_an_empty_match_always_holds() -> None:
    assert holds()
    assert holds(Facts(model=""))
    assert compile_match(Match.model_validate({})) == Compiled(())


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("model", "qwen*", "llama*"),
        ("model", ["llama*", "qwen3:8b"], ["llama*", "gemma*"]),
        ("task", "eng*", "analysis"),
        ("user", "ann", "bob"),
        ("runtime", "ollama", "vllm"),
        ("runtime", ["vllm", "ollama"], ["vllm", "openai"]),
        ("thinking", True, False),
        ("stream", True, False),
        ("tools", False, True),
        ("headers", {"User-Agent": "AIDER*"}, {"User-Agent": "cline*"}),
        ("headers", {"x-team": "*"}, {"x-absent": "*"}),
        ("headers", {"x-team": "", "user-agent": "*"}, {"x-team": "", "user-agent": ""}),
    ],
)
def test_each_key(key: str, good: Any, bad: Any) -> None:
    assert holds(**{key: good})
    assert not holds(**{key: bad})


def test_all_keys_must_hold() -> None:
    everything = {"model": "qwen*", "task": "engineering", "user": "*", "runtime": "ollama", "thinking": True,
                  "stream": True, "tools": False, "headers": {"user-agent": "aider*"}}  # fmt: skip
    assert holds(**everything)
    for changed in (
        {"model": "x"}, {"task": None}, {"runtime": None}, {"thinking": False}, {"stream": False}, {"tools": True}, {"headers": {}},
    ):  # fmt: skip
        assert not holds(replace(FACTS, **changed), **everything)


def test_what_is_unknown_is_the_empty_text() -> None:
    nobody = Facts(model="m")
    assert holds(nobody, user="*", task="*")
    assert holds(nobody, user="", task=["", "analysis"])
    assert not holds(nobody, user="?*")
    assert not holds(nobody, task="engineering")
    assert not holds(nobody, runtime="ollama")
    assert not holds(nobody, headers={"a": ["", "*"]})


def compiled(*rules: Rule) -> list[tuple[Rule, Compiled]]:
    return [(r, compile_match(r.match)) for r in rules]


def walked(*rules: Rule, facts: Facts = FACTS, fixed_task: bool = False) -> tuple[list[str], str | None]:
    result = walk(compiled(*rules), facts, fixed_task=fixed_task)
    return [r.name for r in result.rules], result.task


def test_every_matched_rule_applies_in_file_order() -> None:
    a, b, c = rule(name="a"), rule(name="b", match={"model": "llama*"}), rule(name="c")
    assert walked(a, b, c) == (["a", "c"], "engineering")
    assert walked(c, b, a) == (["c", "a"], "engineering")
    assert walked() == ([], "engineering")


def test_stop_ends_the_walk_only_where_it_matches() -> None:
    first, last = rule(name="first"), rule(name="last")
    assert walked(first, rule(name="s", stop=True), last) == (["first", "s"], "engineering")
    assert walked(first, rule(name="s", stop=True, match={"user": "bob"}), last) == (
        ["first", "last"],
        "engineering",
    )


def test_later_rules_see_the_task_that_a_rule_sets() -> None:
    setter = rule(name="setter", match={"headers": {"user-agent": "aider*"}}, task="analysis")
    sees = rule(name="sees", match={"task": "analysis"})
    was = rule(name="was", match={"task": "engineering"})
    assert walked(sees, was, setter, sees, was) == (["was", "setter", "sees"], "analysis")


def test_the_last_task_counts() -> None:
    assert walked(rule(name="a", task="analysis"), rule(name="b", task="formatting")) == (
        ["a", "b"],
        "formatting",
    )
    chain = [
        rule(name="a", task="one"),
        rule(name="b", match={"task": "one"}, task="two"),
        rule(name="c", match={"task": "one"}),
    ]
    assert walked(*chain) == (["a", "b"], "two")


def test_a_task_that_the_client_named_stays() -> None:
    rules = [
        rule(name="a", task="analysis"),
        rule(name="b", match={"task": "analysis"}),
        rule(name="c", match={"task": "eng*"}),
    ]
    assert walked(*rules, fixed_task=True) == (["a", "c"], "engineering")


def test_a_stopping_rule_still_sets_its_task() -> None:
    assert walked(rule(name="a", task="analysis", stop=True), rule(name="b")) == (["a"], "analysis")


def test_a_walk_leaves_the_facts_alone() -> None:
    facts = Facts(model="m")
    walk(compiled(rule(task="analysis")), facts, fixed_task=False)
    assert facts.task is None


steps = st.builds(
    lambda n, wants, sets, stop: rule(
        name=f"r{n}", match={} if wants is None else {"task": wants}, task=sets, stop=stop
    ),
    st.integers(0, 99),
    st.none() | st.sampled_from(["a", "b", "?", "*", "", ["a", "b"]]),
    st.none() | st.sampled_from(["a", "b"]),
    st.sampled_from([False, False, False, True]),
)


@relaxed
@given(st.lists(steps, max_size=8), st.sampled_from([None, "a", "b"]), st.booleans())
def test_the_walk_is_one_step_after_another(rules: list[Rule], task: str | None, fixed: bool) -> None:
    """The same as asking each rule alone, with the task as it is by then."""
    expected: list[Rule] = []
    now = task
    for step in rules:
        if not compile_match(step.match).holds(Facts(model="m", task=now)):
            continue
        expected.append(step)
        now = step.task if step.task and not fixed else now
        if step.stop:
            break
    result = walk(compiled(*rules), Facts(model="m", task=task), fixed_task=fixed)
    assert (list(result.rules), result.task) == (expected, now)
