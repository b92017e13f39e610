from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.parameters.bounds import UNBOUNDED, Bounds, hard
from proxy.parameters.catalog import CATALOG
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate, Decided, Dropped
from proxy.parameters.resolve import Edits, rank, resolve

quick = settings(deadline=None, max_examples=150)

VALUES = st.sampled_from([0, 0.0, False, [], "", 1, 2.5, ["a"], "x", -1])
OFFERS = st.lists(st.tuples(st.sampled_from(Layer), VALUES), max_size=8).map(
    lambda pairs: [Candidate(layer, f"s{index}", value) for index, (layer, value) in enumerate(pairs)]
)
ITEMS = st.lists(st.sampled_from("abcd"), max_size=3)
APPENDS = st.lists(st.tuples(ITEMS, st.sampled_from(["rule r", "rule s"])), max_size=3)


def offer(layer: Layer, value: Any, source: str = "s") -> Candidate:
    return Candidate(layer, source, value)


def one(offers: list[Candidate], **edits: Any) -> Decided | Dropped | None:
    """The outcome of a parameter called `x`; an edit's value is what it says of `x`."""
    resolution = resolve({"x": offers} if offers else {}, Edits(**{k: {"x": v} for k, v in edits.items()}))
    assert len(resolution.parameters) + len(resolution.dropped) <= 1
    return resolution.parameters.get("x") or resolution.dropped.get("x")


def decided(offers: list[Candidate], **edits: Any) -> Decided:
    outcome = one(offers, **edits)
    assert isinstance(outcome, Decided)
    return outcome


def dropped(offers: list[Candidate], **edits: Any) -> Dropped:
    outcome = one(offers, **edits)
    assert isinstance(outcome, Dropped)
    return outcome


@quick
@given(OFFERS)
def test_the_highest_layer_wins_and_within_it_the_later(offers: list[Candidate]) -> None:
    outcome = one(offers)
    if not offers:
        assert outcome is None
        return
    assert isinstance(outcome, Decided)
    top = max(c.layer for c in offers)
    expected = [c for c in offers if c.layer is top][-1]
    assert (outcome.value, outcome.layer, outcome.source) == (expected.value, expected.layer, expected.source)


@quick
@given(OFFERS, st.randoms(use_true_random=False))
def test_the_order_of_layers_in_the_list_means_nothing(offers: list[Candidate], random: Any) -> None:
    by_layer: dict[Layer, list[Candidate]] = {}
    for candidate in offers:
        by_layer.setdefault(candidate.layer, []).append(candidate)
    groups = list(by_layer.values())
    random.shuffle(groups)
    assert one([c for group in groups for c in group]) == one(offers)


@quick
@given(OFFERS, st.booleans(), st.booleans(), APPENDS)
def test_nothing_is_lost(offers: list[Candidate], forget: bool, drop: bool, append: Any) -> None:
    edits: dict[str, Any] = {"append": append} if append else {}
    edits |= {"forget": "rule f"} if forget else {}
    outcome = one(offers, **edits)
    if isinstance(outcome, Dropped):
        assert all(c.layer is Layer.CLIENT for c in offers)
        assert outcome.source == rank(offers)[0].source
    elif outcome is not None:
        left = sorted(c.source for c in offers if c.source != outcome.source)
        assert sorted(c.source for c in outcome.passed_over) == left
    else:
        assert not offers
    if drop and isinstance(outcome, Decided):
        gone = one(offers, **edits, drop="rule d")
        assert isinstance(gone, Dropped) == outcome.sent


@quick
@given(OFFERS)
def test_those_passed_over_stand_in_their_rank(offers: list[Candidate]) -> None:
    outcome = one(offers)
    if isinstance(outcome, Decided):
        assert list(outcome.passed_over) == rank(offers)[1:]


@pytest.mark.parametrize("value", [0, 0.0, False, [], ""])
@pytest.mark.parametrize("layer", [layer for layer in Layer if layer is not Layer.VENDOR])
def test_what_python_calls_false_is_a_value(layer: Layer, value: Any) -> None:
    outcome = decided([offer(layer, value), offer(Layer.VENDOR, 0.6)])
    expected = value if layer > Layer.VENDOR else 0.6
    assert outcome.value == expected
    assert isinstance(outcome.value, bool) == isinstance(expected, bool)


def test_nothing_is_invented() -> None:
    empty = resolve({}, Edits(bounds={"temperature": hard(CATALOG["temperature"])}, drop={"top_k": "rule d"}))
    assert (empty.parameters, empty.dropped, empty.warnings) == ({}, {}, ())
    assert one([], append=[([], "rule r")]) is None
    assert one([], forget="rule f") is None


def test_the_runtime_layer_is_shown_never_sent_and_never_changed() -> None:
    edits = Edits(
        bounds={"top_k": UNBOUNDED.narrow(None, 20, "rule c")},
        drop={"top_k": "rule d"},
        forget={"top_k": "rule f"},
    )
    resolution = resolve({"top_k": [offer(Layer.RUNTIME, 64, "Modelfile")]}, edits)
    assert resolution.sent() == {}
    assert resolution.dropped == {}
    assert resolution.parameters["top_k"] == Decided(64, Layer.RUNTIME, "Modelfile")


def test_evidence_travels_with_the_value() -> None:
    vendor = Candidate(Layer.VENDOR, "family f", 0.6, "model card (grade B)")
    assert decided([vendor]).evidence == "model card (grade B)"
    assert decided([vendor, offer(Layer.CLIENT, 1)]).evidence is None
    assert decided([vendor, offer(Layer.CLIENT, 1)]).passed_over == (vendor,)


def test_what_the_client_asked_for_is_remembered_whoever_wins() -> None:
    asked = offer(Layer.CLIENT, 0.9, "request")
    outcome = decided([offer(Layer.CLIENT, 0.1, "request options"), asked, offer(Layer.RULE_SET, 0.2)])
    assert (outcome.value, outcome.asked) == (0.2, asked)
    assert decided([offer(Layer.PROFILE, 0.5)]).asked is None


RANGES = st.tuples(st.integers(-9, 9), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))
NUMBERS = st.lists(st.tuples(st.sampled_from(Layer), st.integers(-20, 20)), min_size=1, max_size=4).map(
    lambda pairs: [Candidate(layer, f"s{i}", value) for i, (layer, value) in enumerate(pairs)]
)


@quick
@given(NUMBERS, st.lists(RANGES, max_size=3))
def test_what_is_sent_is_inside_its_bounds(offers: list[Candidate], ranges: list[tuple[int, int]]) -> None:
    bounds = UNBOUNDED
    for low, high in ranges:
        bounds = bounds.narrow(low, high, "rule c")
    outcome = decided(offers, bounds=bounds)
    before = decided(offers)
    if not outcome.sent:
        assert outcome == before
        return
    assert bounds.low is None or outcome.value >= bounds.low.value
    assert bounds.high is None or outcome.value <= bounds.high.value
    assert bool(outcome.clamps) == (outcome.value != before.value)
    if outcome.clamps:
        assert outcome.clamps[0].before == before.value


def limited(most: float) -> Bounds:
    return hard(CATALOG["max_tokens"]).narrow(None, most, "rule short")


def test_no_limit_is_a_value_of_some_parameters_only() -> None:
    candidates = {"max_tokens": [offer(Layer.CLIENT, -1)], "top_k": [offer(Layer.CLIENT, -5)]}
    edits = Edits(bounds={name: hard(CATALOG[name]) for name in candidates})
    resolution = resolve(candidates, edits)
    assert resolution.value("max_tokens") == -1
    assert resolution.value("top_k") == -1
    assert resolution.parameters["max_tokens"].clamps == ()
    capped = resolve(candidates, Edits(bounds={"max_tokens": limited(4096)}))
    assert capped.value("max_tokens") == 4096
    assert capped.parameters["max_tokens"].clamps[0].by == "rule short: max 4096"


@quick
@given(st.lists(st.sampled_from("abcd"), unique=True, max_size=4), APPENDS)
def test_appending_twice_is_appending_once(start: list[str], append: Any) -> None:
    offers = [offer(Layer.CLIENT, start, "request")]
    once = decided(offers, append=append)
    twice = decided(offers, append=[*append, *append])
    assert twice == once
    assert once.value[: len(start)] == start
    assert len(set(once.value)) == len(once.value)
    assert set(once.value) == {*start, *(item for items, _ in append for item in items)}
    assert [item for change in once.appended for item in change.before] == once.value[len(start) :]
    assert all(change.before for change in once.appended)


def test_appending_names_the_rule_and_leaves_the_winner_its_layer() -> None:
    outcome = decided(
        [offer(Layer.CLIENT, ["a"], "request")], append=[(["b", "b"], "rule r"), (["a", "c"], "rule s")]
    )
    assert (outcome.value, outcome.layer, outcome.source) == (["a", "b", "c"], Layer.CLIENT, "request")
    assert [(change.before, change.by) for change in outcome.appended] == [
        (["b"], "rule r"),
        (["c"], "rule s"),
    ]


def test_appending_to_nothing_begins_a_list() -> None:
    outcome = decided([], append=[(["a"], "rule r"), (["b"], "rule s")])
    assert (outcome.value, outcome.layer, outcome.source, outcome.sent) == (
        ["a", "b"],
        Layer.RULE_SET,
        "rule r",
        True,
    )


def test_appending_leaves_the_runtimes_own_list_alone() -> None:
    own = offer(Layer.RUNTIME, ["<|end|>"], "Modelfile")
    outcome = decided([own], append=[(["a"], "rule r")])
    assert (outcome.value, outcome.passed_over) == (["a"], (own,))


def test_appending_makes_a_list_of_a_single_value() -> None:
    assert decided([offer(Layer.CLIENT, "a")], append=[(["a", "b"], "rule r")]).value == ["a", "b"]


def test_the_candidates_own_list_is_not_changed() -> None:
    value = ["a"]
    decided([offer(Layer.CLIENT, value)], append=[(["b"], "rule r")])
    assert value == ["a"]


def test_append_comes_before_clamp() -> None:
    outcome = decided(
        [offer(Layer.CLIENT, ["a"])],
        append=[(["b", "c"], "rule r")],
        bounds=UNBOUNDED.narrow_items(2, "vllm 0.32.0"),
    )
    assert outcome.value == ["a", "b"]
    assert (outcome.clamps[0].before, outcome.clamps[0].by) == (
        ["a", "b", "c"],
        "vllm 0.32.0: at most 2 items",
    )


def test_drop_comes_last_and_is_reported() -> None:
    gone = dropped(
        [offer(Layer.CLIENT, 5, "request")], bounds=UNBOUNDED.narrow(None, 3, "rule c"), drop="rule no args"
    )
    assert gone == Dropped(5, Layer.CLIENT, "request", "dropped by rule no args", "rule-no-args")


def test_a_list_that_rules_began_may_be_dropped_by_a_rule() -> None:
    gone = dropped([], append=[(["a"], "rule r")], drop="rule d")
    assert (gone.value, gone.layer) == (["a"], Layer.RULE_SET)


def test_a_forgotten_client_counts_as_not_there_but_is_remembered() -> None:
    asked = offer(Layer.CLIENT, 0, "request")
    outcome = decided([offer(Layer.VENDOR, 0.6), asked], forget="rule quirk")
    assert (outcome.value, outcome.layer, outcome.asked) == (0.6, Layer.VENDOR, asked)
    assert outcome.forgotten_by == "rule quirk"
    assert outcome.passed_over == (asked,)


def test_a_forgotten_client_that_nobody_replaces_is_a_drop() -> None:
    gone = dropped([offer(Layer.CLIENT, 0, "request")], forget="rule agent quirk")
    assert gone == Dropped(
        0, Layer.CLIENT, "request", "forgotten by rule agent quirk", "forgotten-by-rule-agent-quirk"
    )


def test_forgetting_uncovers_what_the_runtime_uses() -> None:
    outcome = decided([offer(Layer.RUNTIME, 0.8), offer(Layer.CLIENT, 0)], forget="rule quirk")
    assert (outcome.value, outcome.sent, outcome.forgotten_by) == (0.8, False, "rule quirk")


def test_nobody_is_forgotten_but_the_client() -> None:
    outcome = decided([offer(Layer.RULE_SET, 0.2), offer(Layer.PROFILE, 0.4)], forget="rule quirk")
    assert (outcome.value, outcome.forgotten_by) == (0.2, None)


def test_forgotten_and_dropped_the_client_is_told() -> None:
    gone = dropped(
        [offer(Layer.CLIENT, 0.9, "request"), offer(Layer.PROFILE, 0.4)], forget="rule f", drop="rule d"
    )
    assert (gone.value, gone.layer, gone.reason) == (0.9, Layer.CLIENT, "dropped by rule d")


def test_each_parameter_is_its_own() -> None:
    resolution = resolve(
        {"top_k": [offer(Layer.CLIENT, 5)], "top_p": [offer(Layer.CLIENT, 0.5)]},
        Edits(append={"stop": [(["a"], "rule r")]}, drop={"top_p": "rule d"}),
    )
    assert list(resolution.parameters) == ["top_k", "stop"]
    assert list(resolution.dropped) == ["top_p"]
