"""Decisions that need the rules, the family and the runtime together."""

from __future__ import annotations

from typing import Any

import pytest

from proxy import explain
from proxy.backends import BACKENDS
from proxy.backends.facts import ModelFacts, Target
from proxy.decision import Ask, Decision, Policy, consider, decide
from proxy.parameters.client import read
from proxy.snapshot import build
from tests.rules.files import parsed

FAMILIES = """
families:
  - name: hybrid
    match: ["hybrid*"]
    thinking: {default: "on", switch: enable_thinking}
    parameters: {stop: {max: 2}, temperature: {max: 0.9}}
    recommended:
      - {mode: thinking, values: {temperature: 0.6}, source: a card, grade: A}
      - {mode: non-thinking, values: {temperature: 0.7}, source: a card, grade: A}
  - name: fixed
    match: ["fixed*"]
    thinking: {default: "on", switch: none}
    recommended:
      - {mode: thinking, values: {temperature: 0.6}, source: a card, grade: A}
      - {mode: non-thinking, values: {temperature: 0.7}, source: a card, grade: A}
"""


def decided(model: str, rules: str = "", target: Target | None = None, **fields: Any) -> Decision:
    snapshot = build([parsed(FAMILIES + rules)])
    target = target or Target("gpu", "vllm", "0.32.0", ModelFacts(model))
    asked = Ask(model, read(fields))
    considered = consider(snapshot, asked, target)
    return decide(snapshot, asked, considered, target, BACKENDS[target.runtime], Policy())


def test_a_familys_range_of_a_list_counts_its_items() -> None:
    outcome = decided("hybrid", stop=["a", "b", "c"]).resolution.parameters["stop"]
    assert outcome.value == ["a", "b"]
    assert outcome.clamps[0].by == "family hybrid: at most 2 items"


@pytest.mark.parametrize("rules", ["", "rules: [{name: r, drop: [think]}]"])
def test_a_think_that_is_not_sent_switches_no_mode(rules: str) -> None:
    """Either the family has no switch, or a rule drops it: the model thinks all the same."""
    found = decided("hybrid" if rules else "fixed", rules, think=False)
    assert "think" in found.resolution.dropped
    assert found.mode == "thinking"
    assert found.resolution.value("temperature") == 0.6


def test_a_think_that_is_sent_switches_it() -> None:
    found = decided("hybrid", think=False)
    assert (found.mode, found.resolution.value("temperature")) == ("non-thinking", 0.7)


@pytest.mark.parametrize("runtime", ["vllm", "ollama"])
def test_a_template_switch_in_a_rule_is_a_think(runtime: str) -> None:
    rules = "rules: [{name: r, set: {chat_template_kwargs: {enable_thinking: false, tone: dry}}}]"
    target = Target("gpu", runtime, None, ModelFacts("hybrid", capabilities=frozenset({"thinking"})))
    found = decided("hybrid", rules, target, think=True)
    think = found.resolution.parameters["think"]
    assert (think.value, think.source, think.asked and think.asked.value) == (False, "rule r", True)
    assert found.mode == "non-thinking"
    if runtime == "vllm":
        said = found.plan.translation.fields["chat_template_kwargs"]
        assert said == {"tone": "dry", "enable_thinking": False}
    else:
        assert found.plan.translation.fields["think"] is False


def test_a_drop_that_changes_nothing_is_no_change() -> None:
    target = Target("gpu", "ollama", "0.32.15", ModelFacts("hybrid"))
    found = decided("hybrid", "", target, n=1, mirostat=0, mirostat_tau=3)
    assert set(found.resolution.dropped) == {"n", "mirostat", "mirostat_tau"}
    assert explain.changes(found.resolution) == ["mirostat_tau;dropped=unsupported-by-ollama-0.32"]


def test_an_adapter_belongs_to_the_family_of_its_base() -> None:
    target = Target("gpu", "vllm", None, ModelFacts("my-adapter", parent="org/hybrid-8b"))
    found = decided("my-adapter", "", target)
    assert found.family is not None and found.family.name == "hybrid"


def test_an_experiment_sees_the_task_that_a_rule_set() -> None:
    rules = """
rules: [{name: r, task: engineering}]
experiments:
  - {name: e, match: {task: engineering}, unit: request, variants: [{name: only, weight: 1, parameters: {seed: 3}}]}
"""
    snapshot = build([parsed(FAMILIES + rules)])
    asked = Ask("hybrid", read({}), request_id="r1")
    target = Target("gpu", "vllm")
    considered = consider(snapshot, asked, target)
    assert [(e, v) for e, v, _ in considered.variants] == [("e", "only")]
    found = decide(snapshot, asked, considered, target, BACKENDS["vllm"], Policy(vendor_defaults=False))
    assert found.resolution.value("seed") == 3
