"""Rules that say opposite things about a parameter."""

from __future__ import annotations

import textwrap

import pytest

from proxy.rules.contradictions import between, own
from proxy.rules.order import Order
from tests.rules.files import lines, parsed


def order(text: str) -> Order:
    return Order([parsed("rules:\n" + textwrap.indent(textwrap.dedent(text), "  "))])


def pairs(*rules: str) -> list[str]:
    """What is said of rules a, b, ... on lines 2, 3, ..."""
    text = "".join(f"- {{name: {name}, {rule}}}\n" for name, rule in zip("abcdefghijk", rules, strict=False))
    return lines(list(between(order(text))))


def alone(rule: str) -> list[str]:
    return lines(list(own(order(f"- name: a\n{textwrap.indent(textwrap.dedent(rule), '  ')}"))))


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("set: {seed: 1}", "set: {seed: 2}", "sets seed to 2, rule 'a' (r.yaml:2) to 1: where both match, the later rule wins"),
        ("set: {stop: x}", "set: {stop: ['{y}']}", "sets stop to [\"{y}\"], rule 'a' (r.yaml:2) to [\"x\"]: where both match, the later rule wins"),
        ("set: {max_tokens: 1}", "set: {num_predict: 2}", "sets max_tokens to 2, rule 'a' (r.yaml:2) to 1: where both match, the later rule wins"),
        ("set: {think: true}", "set: {think: high}", "sets think to \"high\", rule 'a' (r.yaml:2) to true: where both match, the later rule wins"),
        ("drop: [seed]", "set: {seed: 2}", "sets seed, and rule 'a' (r.yaml:2) drops it: where both match, it is dropped"),
        ("set: {seed: 2}", "drop: [seed]", "drops seed, and rule 'a' (r.yaml:2) sets it: where both match, it is dropped"),
        ("append: {stop: x}", "drop: [stop]", "drops stop, and rule 'a' (r.yaml:2) appends to it: where both match, it is dropped"),
        ("drop: [stop]", "append: {stop: x}", "appends to stop, and rule 'a' (r.yaml:2) drops it: where both match, it is dropped"),
        ("clamp: {top_p: {max: 0.5}}", "clamp: {top_p: {min: 0.6}}", "clamps top_p to 0.6.., rule 'a' (r.yaml:2) to ..0.5: no value is in both"),
        ("clamp: {top_p: {min: 0.6, max: 0.7}}", "clamp: {top_p: {max: 0.5}}", "clamps top_p to ..0.5, rule 'a' (r.yaml:2) to 0.6..0.7: no value is in both"),
        ("clamp: {top_k: {max: 9}}", "set: {top_k: 10}", "sets top_k to 10, and rule 'a' (r.yaml:2) clamps it to ..9"),
        ("set: {top_k: 10}", "clamp: {top_k: {max: 9}}", "clamps top_k to ..9, and rule 'a' (r.yaml:2) sets it to 10"),
        ("clamp: {stop: {max: 1}}", "set: {stop: [x, y]}", "sets stop to [\"x\", \"y\"], and rule 'a' (r.yaml:2) clamps it to ..1"),
    ],
)  # fmt: skip
def test_pairs_that_contradict_each_other(first: str, last: str, words: str) -> None:
    assert pairs(first, last) == [f"r.yaml:3: rule 'b' {words}"]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("set: {seed: 1}", "set: {seed: 1}"),
        ("set: {seed: 1}", "default: {seed: 2}"),
        ("set: {seed: 1}", "set: {top_k: 2}"),
        ("default: {seed: 1}", "default: {seed: 2}"),
        ("drop: [seed]", "drop: [seed]"),
        ("drop: [seed]", "default: {seed: 1}"),
        ("drop: [seed]", "forget: [seed]"),
        ("append: {stop: x}", "append: {stop: y}"),
        ("set: {stop: x}", "append: {stop: y}"),
        ("clamp: {top_p: {max: 0.5}}", "clamp: {top_p: {min: 0.5}}"),
        ("clamp: {top_k: {max: 9}}", "set: {top_k: 9}"),
        ("set: {seed: 1}, stop: true", "set: {seed: 2}"),
        ("set: {seed: 1}, enabled: false", "set: {seed: 2}"),
        ("set: {seed: 1}, match: {model: 'a*'}", "set: {seed: 2}, match: {model: 'b*'}"),
        ("set: {seed: 1}, match: {stream: true}", "set: {seed: 2}, match: {stream: false}"),
        ("set: {seed: 1}, match: {task: [analysis, primary]}", "set: {seed: 2}, match: {task: engineering}"),
    ],
)
def test_pairs_that_go_together(first: str, last: str) -> None:
    assert pairs(first, last) == []


def test_overlapping_matches_are_enough() -> None:
    assert (
        len(
            pairs(
                "set: {seed: 1}, match: {model: 'qwen*'}",
                "set: {seed: 2}, match: {model: '*coder*', user: ann}",
            )
        )
        == 1
    )


def test_each_pair_is_told_but_not_endlessly() -> None:
    assert len(pairs(*(f"set: {{seed: {n}}}" for n in range(3)))) == 3
    # 1 + 2 + 3 + 3 + 3
    assert len(pairs(*(f"set: {{seed: {n}}}" for n in range(6)))) == 12


def test_rules_that_say_the_same_are_told_apart_once() -> None:
    found = pairs("set: {seed: 1}", "set: {seed: 1}", "set: {seed: 2}")
    assert found == [
        "r.yaml:4: rule 'c' sets seed to 2, rule 'a' (r.yaml:2) to 1: where both match, the later rule wins"
    ]


def test_pairs_over_files() -> None:
    files = [
        parsed("rules: [{name: a, set: {seed: 1}}]", "one"),
        parsed("rules:\n  - name: b\n    set:\n      seed: 2\n", "two"),
    ]
    [words] = lines(list(between(Order(files))))
    assert words.startswith("two:4: rule 'b' sets seed to 2, rule 'a' (one:1) to 1")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "set: {seed: 1}\ndefault: {seed: 2}",
            "4: rule 'a' has a default for seed that its set always beats",
        ),
        ("forget: [seed]\ndrop: [seed]", "3: rule 'a' drops seed, so to forget it has no effect"),
        ("drop: [seed]\nset: {seed: 1}", "4: rule 'a' drops seed, so its set has no effect"),
        ("drop: [seed]\ndefault: {seed: 1}", "4: rule 'a' drops seed, so its default has no effect"),
        ("drop: [stop]\nappend: {stop: x}", "4: rule 'a' drops stop, so its append has no effect"),
        ("clamp: {top_k: {max: 5}}\nset: {top_k: 6}", "4: rule 'a' sets top_k to 6 and clamps it to ..5"),
        (
            "clamp: {top_k: {min: 5}}\ndefault: {top_k: 4}",
            "4: rule 'a' defaults top_k to 4 and clamps it to 5..",
        ),
        ("set: {temperature: -1}", "3: rule 'a' sets temperature to -1, but it only goes from 0"),
        ("default: {top_p: 2}", "3: rule 'a' defaults top_p to 2, but it only goes from 0 to 1"),
        ("clamp: {top_p: {min: 2}}", "3: rule 'a' clamps top_p to 2.., but it only goes from 0 to 1"),
    ],
)
def test_rules_that_contradict_themselves(rule: str, words: str) -> None:
    assert alone(rule) == [f"r.yaml:{words}"]


@pytest.mark.parametrize(
    "rule",
    [
        "set: {seed: 1}\ndefault: {top_k: 2}",
        "forget: [seed]\nset: {seed: 1}",
        "clamp: {top_k: {max: 5}}\nset: {top_k: 5}",
        "set: {think: true, stop: [a], temperature: 0}",
        "append: {stop: x}\nset: {stop: y}",
        "clamp: {presence_penalty: {min: -1}}",
    ],
)
def test_rules_that_do_not(rule: str) -> None:
    assert alone(rule) == []
