"""Rules that no request meets, and choices that are always taken back."""

from __future__ import annotations

import textwrap

import pytest

from proxy.rules.order import Order
from proxy.rules.parse import Parsed
from proxy.rules.reach import known_tasks, overridden, unheard, unmet, unreachable
from tests.rules.files import lines, parsed


def file(text: str) -> Parsed:
    return parsed("rules:\n" + textwrap.indent(textwrap.dedent(text), "  "))


def test_known_tasks_are_the_19_and_those_that_rules_set() -> None:
    text = "- {name: a, task: triage}\n- {name: b, enabled: false, task: never}\n- {name: c}"
    tasks = known_tasks([file(text)])
    assert len(tasks) == 20
    assert {"triage", "engineering"} <= tasks
    assert "never" not in tasks


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ("{task: enginering}", "no task is called 'enginering'; did you mean 'engineering'?"),
        ("{task: [foo, 'bar*']}", "no task is called 'foo' or 'bar*'"),
        ("{runtime: vllm}", "no upstream runs vllm"),
        ("{runtime: [vllm, openai]}", "no upstream runs vllm or openai"),
    ],
)
def test_tasks_and_runtimes_that_do_not_exist(match: str, words: str) -> None:
    found = parsed(
        f"""\
        upstreams: [{{name: u, url: "http://u", runtime: ollama}}]
        rules:
          - name: a
            match: {match}
            set: {{seed: 1}}
        """
    )
    assert lines(list(unmet(Order([found]), [found]))) == [f"r.yaml:4: rule 'a' can never match: {words}"]


@pytest.mark.parametrize(
    "match",
    ["{}", "{task: engineering}", "{task: 'research-*'}", "{task: [foo, analysis]}", "{task: '*'}", "{task: ''}", "{task: triage}",
     "{runtime: ollama}", "{runtime: [ollama, vllm]}"],
)  # fmt: skip
def test_tasks_and_runtimes_that_do(match: str) -> None:
    found = parsed(
        f"""\
        upstreams: [{{name: u, url: "http://u", runtime: ollama}}]
        rules: [{{name: t, task: triage}}, {{name: a, match: {match}, set: {{seed: 1}}}}]
        """
    )
    assert lines(list(unmet(Order([found]), [found]))) == []


@pytest.mark.parametrize("upstreams", ["[]", "[{name: u, url: 'http://u'}]"])
def test_a_runtime_may_still_be_found_out(upstreams: str) -> None:
    found = parsed(
        f"upstreams: {upstreams}\nrules: [{{name: a, match: {{runtime: vllm}}, set: {{seed: 1}}}}]"
    )
    assert list(unmet(Order([found]), [found])) == []


def test_experiments_that_never_match() -> None:
    text = """\
    experiments:
      - {name: e, match: {task: enginering}, variants: [{name: a, weight: 1}]}
      - {name: off, enabled: false, match: {task: foo}, variants: [{name: a, weight: 1}]}
    """
    found = parsed(text)
    [words] = lines(list(unmet(Order([found]), [found])))
    assert words.startswith("r.yaml:2: experiment 'e' can never match: no task is called 'enginering'")


def test_rules_that_do_nothing() -> None:
    found = file(
        "- {name: a, match: {model: x}, set: {}}\n- {name: b, on_violation: reject}\n- {name: c, stop: true}"
    )
    assert lines(list(unmet(Order([found]), [found]))) == ["r.yaml:2: rule 'a' does nothing"]


def stopped(text: str) -> list[str]:
    return lines(list(unreachable(Order([file(text)]))))


def test_nothing_comes_after_an_unconditional_stop() -> None:
    text = """\
    - {name: a, match: {model: x}}
    - {name: b, match: {user: '*'}, stop: true}
    - {name: c, match: {model: x}}
    - {name: d, enabled: false}
    """
    assert stopped(text) == [
        "r.yaml:4: rule 'c' can never match: rule 'b' (r.yaml:3) ends the walk for every request"
    ]


def test_nothing_comes_after_a_stop_for_all_that_it_matches() -> None:
    text = """\
    - {name: stop, match: {model: "qwen*", headers: {x: "*"}}, stop: true}
    - {name: within, match: {model: [qwen3, "qwen2*"], headers: {X: a}, stream: true}}
    - {name: partly, match: {model: [qwen3, llama], headers: {X: a}}}
    - {name: wider, match: {model: "qwen*"}}
    """
    assert stopped(text) == [
        "r.yaml:3: rule 'within' can never match: rule 'stop' (r.yaml:2) ends the walk for whatever it could match"
    ]


def test_a_stop_in_another_file_counts() -> None:
    files = [parsed("rules: [{name: a, stop: true}]", "one"), parsed("rules: [{name: b}]", "two")]
    assert lines(list(unreachable(Order(files)))) == [
        "two:1: rule 'b' can never match: rule 'a' (one:1) ends the walk for every request"
    ]


def test_a_task_set_in_between_leads_past_a_stop() -> None:
    stop, last = (
        "- {name: s, match: {task: analysis}, stop: true}\n",
        "- {name: l, match: {task: analysis}}\n",
    )
    assert len(stopped(stop + last)) == 1
    assert stopped(stop + "- {name: t, task: analysis}\n" + last) == []


def taken_back(text: str) -> list[str]:
    return lines(list(overridden(Order([file(text)]))))


def test_a_profile_that_a_later_rule_always_replaces() -> None:
    text = """\
    - name: a
      match: {model: "qwen3*"}
      profile: p
    - {name: b, match: {model: "qwen*"}, profile: q}
    """
    assert taken_back(text) == [
        "r.yaml:4: rule 'a' sets profile 'p' in vain: rule 'b' (r.yaml:5) matches whenever it does and sets 'q'"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "- {name: a, profile: p}\n- {name: b, match: {model: x}, profile: q}",
        "- {name: a, match: {model: x}, profile: p}\n- {name: b, profile: p}",
        "- {name: a, match: {model: x}, profile: p, stop: true}\n- {name: b, profile: q}",
        "- {name: a, match: {model: x}, profile: p}\n- {name: s, match: {user: u}, stop: true}\n- {name: b, profile: q}",
        "- {name: a, match: {task: t}, task: u, profile: p}\n- {name: b, match: {task: t}, profile: q}",
        "- {name: a, task: one}\n- {name: m, match: {task: one}}\n- {name: b, task: two}",
    ],
)
def test_choices_that_may_last(text: str) -> None:
    assert taken_back(text) == []


def test_a_task_that_a_later_rule_always_replaces() -> None:
    text = "- {name: a, match: {model: x}, task: one}\n- {name: b, task: two}"
    assert taken_back(text) == [
        "r.yaml:2: rule 'a' sets task 'one' in vain: rule 'b' (r.yaml:3) matches whenever it does and sets 'two'"
    ]


def unheard_in(text: str, other: str = "") -> list[str]:
    files = [file(text), parsed(other, "other")]
    return lines(list(unheard(Order(files), files)))


def test_a_task_that_nothing_looks_at() -> None:
    assert unheard_in("- {name: a, task: enginering}") == [
        "r.yaml:2: rule 'a' sets task 'enginering', which nothing looks at; did you mean 'engineering'?"
    ]
    assert len(unheard_in("- {name: a, task: triage}\n- {name: b, match: {task: '*'}}")) == 1


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("- {name: a, task: engineering}", ""),
        ("- {name: a, task: triage}\n- {name: b, match: {task: 'tri*'}}", ""),
        (
            "- {name: a, task: triage}",
            "experiments: [{name: e, match: {task: triage}, variants: [{name: a, weight: 1}]}]",
        ),
        (
            "- {name: a, task: triage}",
            "families: [{name: f, match: m, recommended: [{task: triage, values: {seed: 1}, source: s, grade: A}]}]",
        ),
    ],
)
def test_tasks_that_something_looks_at(text: str, other: str) -> None:
    assert unheard_in(text, other) == []
