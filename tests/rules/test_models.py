"""The models as a tree: every key is reached, and every key says what it is for."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from proxy.parameters.schema import ParameterSchema, RuntimeSchema
from proxy.rules.fields import Limits
from proxy.rules.models import below, description, docstrings, model_at, tree
from proxy.rules.rule import Family, Match, Profile, Rule, RuleFile, Variant


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ((), RuleFile),
        (("rules", 0), Rule),
        (("rules", 7, "match"), Match),
        (("rules", 0, "clamp", "top_p"), Limits),
        (("experiments", 0, "match"), Match),
        (("experiments", 0, "variants", 1), Variant),
        (("families", 0, "parameters", "top_p"), ParameterSchema),
        (("families", 0, "parameters", "top_p", "runtime", "vllm"), RuntimeSchema),
        (("rules", 0, "match", "model"), None),
        (("rules", 0, "match", "headers", "x"), None),
        (("rules", 0, "set"), None),
        (("nothing", 0), None),
        (("rules", 0, "nothing", "below"), None),
    ],
)
def test_which_model_reads_what(path: tuple[str | int, ...], model: type[BaseModel] | None) -> None:
    assert model_at(path) is model


def test_steps_to_what_is_below() -> None:
    assert below(RuleFile, "rules") == (Rule, "[]")
    assert below(Rule, "match") == (Match, "")
    assert below(Rule, "clamp") == (Limits, ".NAME")
    assert below(Family, "parameters") == (ParameterSchema, ".NAME")
    assert below(Rule, "name")[0] is None
    assert below(Rule, "set")[0] is None


def test_the_tree_reaches_everything_in_order() -> None:
    paths = [path for path, _ in tree()]
    assert paths[0] == ""
    assert [p for p in paths if p.endswith("[]") and p.count("[]") == 1] == [
        "upstreams[]", "families[]", "profiles[]", "rules[]", "experiments[]",
    ]  # fmt: skip
    assert {"rules[].match", "rules[].clamp.NAME", "experiments[].variants[]", "upstreams[].timeouts"} <= set(
        paths
    )
    assert len(paths) == len(set(paths))


def test_every_key_says_what_it_is_for() -> None:
    dumb = [
        f"{path}.{key}" for path, model in tree() for key in model.model_fields if not description(model, key)
    ]
    assert dumb == []


def test_a_line_beneath_a_field_describes_it() -> None:
    assert docstrings(Profile)["owner"] == description(Profile, "owner") != ""


def test_without_source_there_are_no_docstrings() -> None:
    made: type[BaseModel] = type(
        "Made", (BaseModel,), {"__annotations__": {"a": int}, "__module__": "nowhere"}
    )
    assert docstrings(made) == {}
