from __future__ import annotations

from typing import Any

import pytest

from proxy.backends import BACKENDS
from proxy.backends.backend import NEUTRAL, Case, Draft, is_neutral
from proxy.backends.facts import Target
from proxy.parameters.catalog import CATALOG
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate, Change, Decided, Dropped, Resolution
from proxy.parameters.values import check
from tests.backends import cases

TARGET = Target("u", "ollama", "0.32.15")


def draft(**values: Any) -> Draft:
    decided = {name: Decided(value, Layer.CLIENT, "request") for name, value in values.items()}
    return Draft(Resolution(decided, {}, ("before",)), TARGET)


def test_put_names_a_parameter_and_writes_it() -> None:
    d = draft(top_k=5, max_tokens=9, keep_alive=0)
    d.put("top_k", "options.top_k", 5)
    d.put("max_tokens", "options.num_predict", 9)
    d.put("keep_alive", "keep_alive", 0)
    done = d.done()
    assert done.fields == {"options": {"top_k": 5, "num_predict": 9}, "keep_alive": 0}
    assert done.resolution.parameters["max_tokens"].wire == "options.num_predict"
    assert d.pending() == []


def test_pending_is_what_is_sent_and_has_no_name_yet() -> None:
    shown = Decided(0.8, Layer.RUNTIME, "Modelfile")
    d = Draft(Resolution({"a": Decided(1, Layer.CLIENT, "request"), "b": shown, "c": shown}), TARGET)
    assert [name for name, _ in d.pending()] == ["a"]
    d.named("a", "somewhere else")
    assert d.pending() == []
    assert d.done().fields == {}


def test_what_is_only_shown_has_no_value() -> None:
    d = Draft(Resolution({"b": Decided(0.8, Layer.RUNTIME, "Modelfile")}), TARGET)
    assert (d.value("b"), d.value("missing"), d.decided("missing")) == (None, None, None)
    assert d.decided("b") is not None


@pytest.mark.parametrize(("value", "same"), [(5, True), (5.0, True), (6, False)])
def test_holding_to_the_same_value_is_no_change(value: Any, same: bool) -> None:
    d = draft(top_k=5)
    d.hold("top_k", value, "somebody")
    clamps = d.done().resolution.parameters["top_k"].clamps
    assert clamps == (() if same else (Change(5, "somebody"),))


@pytest.mark.parametrize(("old", "new"), [(True, 1), (1, True), (False, 0), ("high", True)])
def test_a_boolean_and_a_number_are_not_the_same(old: Any, new: Any) -> None:
    d = draft(think=old)
    d.hold("think", new, "somebody")
    assert d.value("think") is new


def test_extending_is_an_append() -> None:
    d = draft(stop=["a"])
    d.extend("stop", Change(["b"], "the model's own stops"))
    outcome = d.done().resolution.parameters["stop"]
    assert (outcome.value, outcome.appended) == (["a", "b"], (Change(["b"], "the model's own stops"),))


def test_dropping_says_why_and_uses_the_runtimes_code() -> None:
    d = draft(mirostat=2, top_k=5)
    d.drop("mirostat", "ignored")
    d.drop("top_k", "pointless", "own-code", harmless=True)
    done = d.done().resolution
    assert done.parameters == {}
    assert done.dropped == {
        "mirostat": Dropped(2, Layer.CLIENT, "request", "ignored", "unsupported-by-ollama-0.32", False),
        "top_k": Dropped(5, Layer.CLIENT, "request", "pointless", "own-code", True),
    }


def test_dropping_an_overruled_value_tells_the_client_of_its_own() -> None:
    asked = Candidate(Layer.CLIENT, "request", 2)
    d = Draft(Resolution({"mirostat": Decided(1, Layer.RULE_SET, "rule r", (asked,), asked=asked)}), TARGET)
    d.drop("mirostat", "ignored")
    gone = d.done().resolution.dropped["mirostat"]
    assert (gone.value, gone.layer, gone.source) == (2, Layer.CLIENT, "request")


def test_the_resolution_that_came_in_is_not_changed() -> None:
    before = Resolution({"top_k": Decided(5, Layer.CLIENT, "request")})
    d = Draft(before, TARGET)
    d.drop("top_k", "why")
    d.warn("careful")
    assert (set(before.parameters), before.dropped, before.warnings) == ({"top_k"}, {}, ())


def test_warnings_and_the_tool_limit_are_handed_on() -> None:
    d = draft()
    d.warn("careful")
    done = d.done(one_tool_call=True)
    assert done.resolution.warnings == ("before", "careful")
    assert done.one_tool_call
    assert not d.done().one_tool_call


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in NEUTRAL.items() for v in values])
def test_what_switches_a_parameter_off_is_neutral(name: str, value: Any) -> None:
    assert is_neutral(name, value)
    assert is_neutral(name, check(CATALOG[name], value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logprobs", 0),
        ("mirostat", False),
        ("n", True),
        ("typical_p", 0.9),
        ("top_k", 0),
        ("parallel_tool_calls", 1),
    ],
)
def test_what_is_not_neutral(name: str, value: Any) -> None:
    assert not is_neutral(name, value)


SAMPLES: dict[str, Any] = {"float": 0.5, "int": 1, "bool": True, "list": [], "enum": 0, "object": {"a": 1}}
SAMPLES |= {"string": "x"}
SPECIAL: dict[str, Any] = {"think": True, "keep_alive": "10m", "response_format": {"type": "json_object"}}


UPSTREAMS = [
    *(
        cases.target(runtime, version)
        for runtime in BACKENDS
        for version in (None, "0.1.0", "0.20.0", "0.32.0")
    ),
    *(Target("u", runtime) for runtime in BACKENDS),
    *(cases.target(runtime, context=0) for runtime in BACKENDS),
]


@pytest.mark.parametrize("to", UPSTREAMS, ids=lambda to: f"{to.label} {'' if to.model else 'no model'}")
def test_no_backend_loses_a_parameter_in_silence(to: Target) -> None:
    """Each one that is named comes out with a name on the wire or as a drop with a reason."""
    fields = {p.name: SPECIAL.get(p.name, SAMPLES.get(p.type)) for p in CATALOG.values()}
    translation = cases.translate(BACKENDS[to.runtime], fields, to)
    done = translation.resolution
    assert set(done.parameters) | set(done.dropped) == set(CATALOG)
    assert not set(done.parameters) & set(done.dropped)
    for name, decided in done.parameters.items():
        assert decided.wire, name
        place: Any = translation.fields
        for step in decided.wire.split(".") if ": " not in decided.wire else ():
            place = place[step]
    assert all(gone.reason and gone.code for gone in done.dropped.values())


@pytest.mark.parametrize("runtime", BACKENDS)
def test_a_backend_is_listed_under_its_own_name(runtime: str) -> None:
    assert BACKENDS[runtime].runtime == runtime


@pytest.mark.parametrize("runtime", BACKENDS)
def test_limits_are_of_known_parameters_and_say_who_sets_them(runtime: str) -> None:
    case = Case(cases.target(runtime, "0.32.0", context=4096), None, "thinking")
    for name, low, high, source in BACKENDS[runtime].limits(case):
        assert name in CATALOG and source
        assert low is None or high is None or low <= high
    for name, most, source in BACKENDS[runtime].item_limits(case):
        assert CATALOG[name].type == "list" and most > 0 and source
