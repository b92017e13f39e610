"""What matched rules do together: the later wins where there can be only one, the rest adds up."""

from __future__ import annotations

import copy

import pytest

from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate
from proxy.rules.actions import Effects, SystemEdit, fold
from tests.rules.files import rule


def test_no_rules_do_nothing() -> None:
    assert fold([]) == Effects()


def test_values_become_candidates_in_rule_order() -> None:
    effects = fold([rule(name="a", default={"top_p": 0.5}, set={"seed": 1}), rule(name="b", set={"seed": 2})])
    assert effects.names == ("a", "b")
    assert effects.candidates == [
        ("top_p", Candidate(Layer.RULE_DEFAULT, "rule a", 0.5)),
        ("seed", Candidate(Layer.RULE_SET, "rule a", 1)),
        ("seed", Candidate(Layer.RULE_SET, "rule b", 2)),
    ]


def test_lists_add_up_and_say_who() -> None:
    effects = fold(
        [
            rule(
                name="a",
                append={"stop": ["x"]},
                clamp={"top_p": {"max": 0.9}},
                drop=["seed"],
                forget=["top_k"],
            ),
            rule(
                name="b",
                append={"stop": ["y"], "bad_words": ["z"]},
                clamp={"top_p": {"min": 0.1}},
                drop=["seed", "n"],
            ),
        ]
    )
    assert effects.append == {
        "stop": [(["x"], "rule a"), (["y"], "rule b")],
        "bad_words": [(["z"], "rule b")],
    }
    assert [(name, limits.min, limits.max, who) for name, limits, who in effects.clamps] == [
        ("top_p", None, 0.9, "rule a"),
        ("top_p", 0.1, None, "rule b"),
    ]
    assert effects.drop == {"seed": "rule b", "n": "rule b"}
    assert effects.forget == {"top_k": "rule a"}


def test_the_later_choice_wins() -> None:
    effects = fold(
        [
            rule(name="a", profile="p", route={"upstream": ["u"], "model": "m"}, reject={"status": 403}),
            rule(name="b", profile="q", route={"model": "n"}, reject={"status": 404, "message": "gone"}),
            rule(name="c"),
        ]
    )
    assert (effects.profile, effects.profile_source) == ("q", "b")
    # each half of a route is a choice of its own
    assert (effects.upstreams, effects.model) == (("u",), "n")
    assert effects.reject is not None
    assert (effects.reject.status, effects.reject.message) == (404, "gone")


def test_strictness_stays_once_asked_for() -> None:
    assert fold([rule(name="a", on_violation="reject"), rule(name="b")]).strict_by == "a"
    assert fold([rule(name="a")]).strict_by is None


def test_system_prompts_wrap_each_other() -> None:
    effects = fold(
        [
            rule(name="a", system_prompt={"prepend": "A1", "append": "A2"}),
            rule(name="b"),
            rule(name="c", system_prompt={"prepend": "C1", "append": "C2"}),
        ]
    )
    assert effects.system.apply("text") == "C1\n\nA1\n\ntext\n\nA2\n\nC2"
    assert effects.system.sources == ("rule a", "rule c")


def test_the_later_replacement_wins_and_the_additions_stay() -> None:
    edits = [{"replace": "one", "append": "+"}, {"replace": "two"}, {"prepend": ">"}]
    effects = fold([rule(name=f"r{n}", system_prompt=edit) for n, edit in enumerate(edits)])
    assert effects.system.apply("text") == ">\n\ntwo\n\n+"
    assert effects.system.apply(None) == ">\n\ntwo\n\n+"


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (SystemEdit(), None, None),
        (SystemEdit(), "", None),
        (SystemEdit(), "text", "text"),
        (SystemEdit(replace=""), "text", None),
        (SystemEdit(replace="new"), None, "new"),
        (SystemEdit(append=("a", "b")), None, "a\n\nb"),
        (SystemEdit(prepend=("a",)), "text", "a\n\ntext"),
    ],
)
def test_edits(edit: SystemEdit, before: str | None, after: str | None) -> None:
    assert edit.apply(before) == after


def test_folding_changes_no_rule() -> None:
    rules = [
        rule(name="a", append={"stop": ["x"]}, set={"stop": ["s"]}),
        rule(name="b", append={"stop": ["y"]}),
    ]
    before = copy.deepcopy(rules)
    first = fold(rules)
    first.append["stop"].append((["z"], "test"))
    assert rules == before
    assert fold(rules).append == {"stop": [(["x"], "rule a"), (["y"], "rule b")]}
