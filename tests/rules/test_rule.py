"""The models of rule files: defaults, limits, and that nothing unknown gets in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from proxy.parameters.experiments import Experiment as BaseExperiment
from proxy.parameters.families import Family as BaseFamily
from proxy.parameters.profiles import Profile as BaseProfile
from proxy.rules.models import tree
from proxy.rules.rule import Experiment, Family, Match, Profile, Rule, RuleFile, UpstreamEntry
from tests.rules.files import rule

MODELS = {model for _, model in tree()}


@pytest.mark.parametrize("model", sorted(MODELS, key=lambda m: m.__name__), ids=lambda m: m.__name__)
def test_every_model_refuses_unknown_keys_and_is_immutable(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"quite_unknown": 1})
    assert "extra_forbidden" in {error["type"] for error in caught.value.errors()}
    assert model.model_config["frozen"]
    assert model.model_config["strict"]


def test_a_rule_s_defaults() -> None:
    plain = rule()
    assert plain.enabled
    assert plain.match == Match.model_validate({})
    assert (plain.default, plain.set, plain.clamp, plain.append) == ({}, {}, {}, {})
    assert (plain.drop, plain.forget, plain.profile, plain.task) == ((), (), None, None)
    assert (plain.route, plain.reject, plain.system_prompt) == (None, None, None)
    assert (plain.on_violation, plain.stop) == ("clamp", False)


def test_a_reject_has_a_default_status_and_message() -> None:
    refused = rule(reject={}).reject
    assert refused is not None
    assert refused.status == 403
    assert refused.message


@pytest.mark.parametrize("name", ["a", "A9", "a.b_c:d-e", "0" * 64])
def test_names(name: str) -> None:
    assert rule(name=name).name == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "a" * 65, "a\n", 5, None])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(ValidationError):
        rule(name=name)


@pytest.mark.parametrize(
    "keys",
    [
        {"enabled": "true"},
        {"enabled": 1},
        {"stop": "no"},
        {"match": {"tools": 0}},
        {"reject": {"status": 399}},
        {"reject": {"status": 500}},
        {"reject": {"status": "403"}},
        {"on_violation": "warn"},
        {"route": {"upstream": []}},
        {"system_prompt": "text"},
        {"profile": 5},
    ],
)
def test_what_a_rule_does_not_take(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**keys)


def test_an_upstream_s_defaults() -> None:
    entry = UpstreamEntry.model_validate({"name": "a", "url": "http://a"})
    assert (entry.runtime, entry.models, entry.weight, entry.max_concurrency) == (None, ("*",), 1, None)
    assert (entry.timeouts.connect, entry.timeouts.first_byte, entry.timeouts.idle, entry.timeouts.total) == (
        5,
        300,
        120,
        None,
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"weight": 1001},
        {"weight": True},
        {"max_concurrency": 0},
        {"max_queue": -1},
        {"queue_timeout": 0},
        {"timeouts": {"connect": None}},
        {"timeouts": {"idle": 86401}},
        {"timeouts": {"total": "5"}},
        {"api_key_env": "not a name"},
        {"models": []},
        {"runtime": "llama.cpp"},
        {"num_ctx": True},
    ],
)
def test_what_an_upstream_does_not_take(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UpstreamEntry.model_validate({"name": "a", "url": "http://a", **keys})


def test_entries_of_files_are_what_the_parameters_room_knows() -> None:
    family = Family.model_validate({"name": "f", "match": "a*"})
    assert isinstance(family, BaseFamily)
    assert family.as_builtin().builtin
    profile = Profile.model_validate({"name": "p", "parameters": {"num_predict": 5}})
    assert isinstance(profile, BaseProfile)
    assert profile.id == BaseProfile.model_validate({"name": "p"}).id
    assert profile.copy_for("ann", "q").parameters == {"max_tokens": 5}
    test = Experiment.model_validate({"name": "e", "variants": [{"name": "a", "weight": 1}]})
    assert isinstance(test, BaseExperiment)
    assert test.match == Match.model_validate({})


def test_two_recommendations_for_the_same_are_refused() -> None:
    same = {"values": {"seed": 1}, "source": "s", "grade": "A"}
    with pytest.raises(ValidationError, match="two recommendations"):
        Family.model_validate({"name": "f", "match": "a", "recommended": [same, same]})


def test_a_section_is_a_list_of_entries() -> None:
    empty = RuleFile.model_validate({"rules": None, "profiles": []})
    assert (empty.rules, empty.profiles, empty.upstreams) == ((), (), ())
    for wrong in ({}, "ab", 5, [None]):
        with pytest.raises(ValidationError):
            RuleFile.model_validate({"rules": wrong})
    assert [r.name for r in RuleFile.model_validate({"rules": [{"name": "b"}, {"name": "a"}]}).rules] == [
        "b",
        "a",
    ]


def test_rules_compare_by_what_they_say() -> None:
    assert rule(set={"num_predict": 1}) == rule(set={"max_tokens": 1})
    assert isinstance(rule(), Rule)
