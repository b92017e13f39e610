from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import BadParameter
from proxy.parameters.catalog import CATALOG, INT64, Parameter
from proxy.parameters.values import accepted, check, show, writable

quick = settings(deadline=None, max_examples=150)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KEYS = st.text(max_size=6) | st.integers() | st.booleans()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
PARAMETERS = st.sampled_from(list(CATALOG.values()))


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "value", "normal"),
    [
        ("temperature", 0, 0),
        ("temperature", 0.7, 0.7),
        ("temperature", -3, -3),
        ("temperature", 2**70, float(2**70)),
        ("max_tokens", 16.0, 16),
        ("max_tokens", -1, -1),
        ("top_k", 0, 0),
        ("seed", 2**63, 2**63),
        ("seed", 1e20, 1e20),
        ("max_tokens", -1e300, -INT64 - 1),
        ("stop", "END", ["END"]),
        ("stop", [], []),
        ("stop", ["a", ""], ["a", ""]),
        ("stop", ("a",), ["a"]),
        ("stop_token_ids", [0, 5], [0, 5]),
        ("stop_token_ids", [INT64], [INT64]),
        ("keep_alive", INT64, INT64),
        ("mirostat", 0, 0),
        ("mirostat", 2.0, 2),
        ("use_mmap", False, False),
        ("logit_bias", {}, {}),
        ("logit_bias", {50256: -100}, {"50256": -100}),
        ("think", True, True),
        ("think", False, False),
        ("think", "none", False),
        ("think", "off", False),
        ("think", "minimal", "minimal"),
        ("think", "high", "high"),
        ("think", "ultra", "ultra"),
        ("keep_alive", 0, 0),
        ("keep_alive", -1, -1),
        ("keep_alive", 0.5, 0.5),
        ("keep_alive", "10", 10),
        ("keep_alive", "-1", -1),
        ("keep_alive", "10m", "10m"),
        ("keep_alive", "1h30m", "1h30m"),
        ("keep_alive", "-1s", "-1s"),
        ("keep_alive", "+1.5h", "+1.5h"),
        ("keep_alive", ".5s", ".5s"),
        ("keep_alive", "300ms", "300ms"),
        ("response_format", {"type": "text"}, {"type": "text"}),
        ("response_format", {"type": "json_object"}, {"type": "json_object"}),
        ("response_format", "json", {"type": "json_object"}),
        ("response_format", "", {"type": "text"}),
        ("response_format", SCHEMA, AS_SCHEMA),
        ("response_format", AS_SCHEMA, AS_SCHEMA),
        ("response_format", {"type": "grammar", "grammar": "x"}, {"type": "grammar", "grammar": "x"}),
    ],
)
def test_a_normal_form(name: str, value: Any, normal: Any) -> None:
    found = check(CATALOG[name], value)
    assert found == normal
    assert type(found) is type(normal)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("temperature", "0.5", "a number"),
        ("temperature", True, "a number"),
        ("temperature", None, "a number"),
        ("temperature", [0.5], "a number"),
        ("temperature", math.nan, "a number"),
        ("temperature", math.inf, "a number"),
        ("temperature", 10**400, "a number"),
        ("max_tokens", "16", "an integer"),
        ("max_tokens", 16.5, "an integer"),
        ("max_tokens", False, "an integer"),
        ("max_tokens", math.inf, "an integer"),
        ("use_mmap", "true", "true or false"),
        ("use_mmap", 1, "true or false"),
        ("stop", 5, "a string or a list of strings"),
        ("stop", ["a", 5], "a string or a list of strings"),
        ("stop", {"a": 1}, "a string or a list of strings"),
        ("bad_words", [None], "a list of strings"),
        ("stop_token_ids", ["5"], "a list of integers"),
        ("stop_token_ids", [True], "a list of integers"),
        ("stop_token_ids", [2**80], "a list of integers"),
        ("stop_token_ids", [INT64 + 1], "a list of integers"),
        ("keep_alive", INT64 + 1, "a number of seconds"),
        ("mirostat", 3, "one of 0, 1, 2"),
        ("mirostat", True, "one of 0, 1, 2"),
        ("mirostat", "1", "one of 0, 1, 2"),
        ("think", "yes", "none, minimal, low, medium, high"),
        ("think", 1, "true, false or one of"),
        ("think", [], "true, false or one of"),
        ("keep_alive", "5x", "a duration such as 10m"),
        ("keep_alive", "", "a duration such as 10m"),
        ("keep_alive", "10 m", "a duration such as 10m"),
        ("keep_alive", "١s", "a duration such as 10m"),
        ("keep_alive", True, "a number of seconds"),
        ("keep_alive", {}, "a number of seconds"),
        ("keep_alive", math.inf, "a number of seconds"),
        ("logit_bias", [], "an object"),
        ("response_format", "xml", "json_object or json_schema"),
        ("response_format", {"type": "json_schema"}, "json_object or json_schema"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}, "json_schema"),
        ("response_format", {"type": "object", "json_schema": {}}, "json_schema"),
    ],
)
def test_a_wrong_type_is_refused_in_words(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(BadParameter) as caught:
        check(CATALOG[name], value)
    message = caught.value.message
    assert message.startswith(f"{name} must be ")
    assert wanted in message
    assert message.endswith(f", not {show(value)}")
    assert (caught.value.param, caught.value.status) == (name, 400)


@pytest.mark.parametrize(
    "p", [p for p in CATALOG.values() if p.type in ("float", "int")], ids=lambda p: p.name
)
@pytest.mark.parametrize("text", ["1", "0", "-1", "0.5", "1e3", ""])
def test_numeric_strings_are_refused(p: Parameter, text: str) -> None:
    with pytest.raises(BadParameter):
        check(p, text)


@quick
@given(PARAMETERS, JSON)
@example(CATALOG["logit_bias"], {1: {2: 2**64}})
@example(CATALOG["chat_template_kwargs"], {"a": deep(300)})
@example(CATALOG["structured_outputs"], {"json": deep(248)})
def test_whatever_comes_is_a_value_that_can_be_written_or_refused(p: Parameter, value: Any) -> None:
    try:
        normal = check(p, value)
    except BadParameter as fault:
        assert fault.message.startswith(p.name)
        return
    assert writable(normal)
    orjson.dumps({"tuning": {"parameters": {p.name: {"value": normal}}}})
    if not isinstance(normal, dict):
        assert check(p, normal) == normal


@quick
@given(PARAMETERS, JSON)
def test_checking_twice_is_checking_once(p: Parameter, value: Any) -> None:
    try:
        normal = check(p, value)
    except BadParameter:
        return
    if not (isinstance(normal, dict) and any(isinstance(v, float) for v in normal.values())):
        assert check(p, normal) == normal


def test_an_object_that_is_too_deep_says_so_under_its_name() -> None:
    with pytest.raises(BadParameter, match="logit_bias cannot be written: Recursion limit"):
        check(CATALOG["logit_bias"], {"a": deep(400)})


def test_a_list_is_a_copy() -> None:
    given_list = ["a"]
    assert check(CATALOG["stop"], given_list) is not given_list


@pytest.mark.parametrize("p", CATALOG.values(), ids=lambda p: p.name)
def test_what_is_accepted_can_be_said_of_every_parameter(p: Parameter) -> None:
    words = accepted(p)
    assert words and words == words.strip()


@quick
@given(JSON, st.integers(10, 80))
def test_a_shown_value_is_short_and_ascii(value: Any, limit: int) -> None:
    text = show(value, limit)
    assert text.isascii()
    assert len(text) <= limit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (False, "false"),
        (None, "null"),
        ("é", '"\\u00e9"'),
        ([1, "a"], '[1, "a"]'),
    ],
)
def test_a_value_is_shown_as_json(value: Any, text: str) -> None:
    assert show(value) == text
    assert json.loads(text) == value


def test_a_long_value_is_cut() -> None:
    shown = show("x" * 10_000_000)
    assert len(shown) == 60 and shown.endswith("...")
    assert show([12345], 7) == "[12345]"
    assert show([12345], 6) == "[12..."


def test_a_value_nested_beyond_showing_is_said_to_be() -> None:
    assert "too deeply" in show(deep(5000))


def test_writable() -> None:
    assert writable({"a": [1, None, "x"]})
    assert writable(deep(200))
    assert not writable(deep(250))
    assert not writable({1: 2})
    assert not writable(2**64)
