from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BadParameter, ClientError
from proxy.parameters.catalog import CANONICAL, CATALOG
from proxy.parameters.client import FIELDS, KWARG_SWITCHES, MOST_HINTS, Asked, read, soft_switch
from proxy.parameters.layers import Layer
from proxy.parameters.values import check

quick = settings(deadline=None, max_examples=150)

GOOD: dict[str, Any] = {
    "float": 0.5,
    "int": 7,
    "bool": False,
    "list": [],
    "enum": 2,
    "string": "10m",
    "object": {"a": 1},
    "think": "low",
    "response_format": {"type": "json_object"},
}


def sample(spelling: str) -> Any:
    p = CATALOG[CANONICAL[spelling]]
    return GOOD.get(p.name, GOOD[p.type])


def named(asked: Asked, name: str) -> list[tuple[str, Any]]:
    return [(c.source, c.value) for n, c in asked.candidates if n == name]


PLACES = pytest.mark.parametrize("place", ["", "generation_params", "options"])


@PLACES
@pytest.mark.parametrize("spelling", CANONICAL)
def test_every_spelling_is_read_in_every_place(spelling: str, place: str) -> None:
    value = sample(spelling)
    fields = {place: {spelling: value}} if place else {spelling: value}
    asked = read(fields)
    assert asked.value(CANONICAL[spelling]) == check(CATALOG[CANONICAL[spelling]], value)
    assert {c.layer for _, c in asked.candidates} == {Layer.CLIENT}
    assert {c.source for _, c in asked.candidates} == {f"request {place}".strip()}
    assert spelling in asked.spelled
    assert (asked.unknown, asked.warnings) == ({}, ())


@PLACES
@pytest.mark.parametrize("spelling", CANONICAL)
def test_null_counts_as_not_sent(spelling: str, place: str) -> None:
    assert read({place: {spelling: None}} if place else {spelling: None}) == Asked()


@pytest.mark.parametrize("field", ["options", "generation_params", "reasoning", "chat_template_kwargs"])
def test_an_object_that_is_null_or_empty_names_nothing(field: str) -> None:
    assert read({field: None}) == read({field: {}}) == Asked()


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0), ("think", False), ("stop", []), ("logit_bias", {}), ("top_p", 0.0)],
)
def test_zero_false_and_empty_are_values(name: str, value: Any) -> None:
    asked = read({name: value})
    assert named(asked, name) == [("request", value)]
    assert asked.value(name) == value and asked.value(name) is not None


def test_a_name_nobody_used_has_no_value() -> None:
    assert read({"temperature": 1}).value("top_p") is None


def test_fields_that_are_no_parameters_are_left_alone() -> None:
    assert read({"model": "m", "messages": 5, "user": {}, "temprature": 1}) == Asked()


def test_the_stronger_place_wins_and_the_others_are_passed_over() -> None:
    asked = read({"options": {"top_k": 1}, "top_k": 3, "generation_params": {"top_k": 2}})
    assert named(asked, "top_k") == [("request options", 1), ("request generation_params", 2), ("request", 3)]
    assert asked.warnings == (
        "top_k was named more than once: 3 (request) is used, 1 (request options) is passed over",
        "top_k was named more than once: 3 (request) is used, 2 (request generation_params) is passed over",
    )


def test_the_same_value_twice_is_no_disagreement() -> None:
    asked = read({"options": {"top_k": 3}, "top_k": 3})
    assert asked.value("top_k") == 3
    assert asked.warnings == ()


@pytest.mark.parametrize("order", [1, -1])
@PLACES
def test_the_stronger_spelling_wins_whatever_its_position(place: str, order: int) -> None:
    spelled = {"num_predict": 1, "max_output_tokens": 2, "max_tokens": 3, "max_completion_tokens": 4}
    inner = dict(list(spelled.items())[::order])
    asked = read({place: inner} if place else inner)
    assert asked.value("max_tokens") == 4
    assert len(asked.warnings) == 3
    assert asked.spelled == set(spelled)


def test_attunes_name_beats_an_alias() -> None:
    assert read({"repetition_penalty": 1.3, "repeat_penalty": 1.1}).value("repeat_penalty") == 1.1
    assert read({"format": "json", "response_format": {"type": "text"}}).value("response_format") == {
        "type": "text"
    }


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"temperature": "0.7"}, "temperature", 'temperature must be a number, not "0.7"'),
        ({"num_predict": "5"}, "num_predict", 'num_predict must be an integer, not "5"'),
        ({"n": 1.5}, "n", "n must be an integer, not 1.5"),
        (
            {"options": {"num_predict": True}},
            "options.num_predict",
            "options.num_predict must be an integer, not true",
        ),
        (
            {"generation_params": {"stop": 5}},
            "generation_params.stop",
            "generation_params.stop must be a string or a list of strings, not 5",
        ),
        (
            {"chat_template_kwargs": {"enable_thinking": "false"}},
            "chat_template_kwargs.enable_thinking",
            "chat_template_kwargs.enable_thinking must be true, false or one of",
        ),
        (
            {"options": {"chat_template_kwargs": {"thinking": 1}}},
            "options.chat_template_kwargs.thinking",
            "options.chat_template_kwargs.thinking must be true, false or one of",
        ),
        (
            {"reasoning": {"effort": "hard"}},
            "reasoning.effort",
            "reasoning.effort must be true, false or one of",
        ),
        (
            {"reasoning_effort": 3},
            "reasoning_effort",
            "reasoning_effort must be true, false or one of none, minimal, low, medium, high, xhigh, max, ultra",
        ),
        ({"options": [1]}, "options", "options must be an object, not [1]"),
        ({"options": "top_k=1"}, "options", 'options must be an object, not "top_k=1"'),
        ({"generation_params": 0}, "generation_params", "generation_params must be an object, not 0"),
        ({"reasoning": "high"}, "reasoning", 'reasoning must be an object, not "high"'),
        (
            {"chat_template_kwargs": []},
            "chat_template_kwargs",
            "chat_template_kwargs must be an object, not []",
        ),
        ({"mirostat": 5}, "mirostat", "mirostat must be one of 0, 1, 2, not 5"),
    ],
)
def test_a_wrong_type_names_path_value_and_what_is_accepted(fields: Any, path: str, words: str) -> None:
    with pytest.raises(BadParameter) as caught:
        read(fields)
    assert caught.value.message.startswith(words)
    assert caught.value.param == path
    assert caught.value.status == 400


def test_an_unknown_name_is_reported_with_near_names() -> None:
    gone = read({"options": {"temprature": 0.5, "top_k": 5}}).unknown["options.temprature"]
    assert gone.reason == "no such parameter; did you mean temperature?"
    assert (gone.value, gone.layer, gone.source, gone.code) == (
        0.5,
        Layer.CLIENT,
        "request options",
        "unknown-parameter",
    )
    assert not gone.harmless


def test_an_unknown_name_like_no_other_has_no_hint() -> None:
    asked = read({"generation_params": {"zzzzz": 1, "quux_frequently": 2.0}})
    assert asked.unknown["generation_params.zzzzz"].reason == "no such parameter"
    assert set(asked.unknown) == {"generation_params.zzzzz", "generation_params.quux_frequently"}
    assert asked.candidates == ()


def test_option_names_are_compared_letter_by_letter_as_ollama_does() -> None:
    asked = read({"options": {"Temperature": 0.5}})
    assert asked.value("temperature") is None
    assert "temperature" in asked.unknown["options.Temperature"].reason


def test_what_reasoning_says_beside_effort_is_not_lost_in_silence() -> None:
    asked = read({"reasoning": {"effort": "low", "summary": "auto", "exclude": None}})
    assert asked.value("think") == "low"
    assert set(asked.unknown) == {"reasoning.summary"}


def test_hints_are_for_people_not_for_floods() -> None:
    asked = read({"options": {f"temperatur{i}": i for i in range(50)}})
    assert len(asked.unknown) == 50
    assert sum("did you mean" in gone.reason for gone in asked.unknown.values()) == MOST_HINTS


def test_an_unknown_value_too_deep_to_repeat_is_shown_instead() -> None:
    value: Any = 1
    for _ in range(600):
        value = [value]
    gone = read({"options": {"x": value}}).unknown["options.x"]
    orjson.dumps({"tuning": {"dropped": {"options.x": gone.to_json()}}})


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"think": "high"}, "request"),
        ({"reasoning_effort": "high"}, "request"),
        ({"reasoning": {"effort": "high"}}, "request reasoning"),
        ({"chat_template_kwargs": {"reasoning_effort": "high"}}, "request chat_template_kwargs"),
        ({"chat_template_kwargs": {"enable_thinking": "high"}}, "request chat_template_kwargs"),
        ({"options": {"think": "high"}}, "request options"),
        ({"generation_params": {"reasoning_effort": "high"}}, "request generation_params"),
        ({"generation_params": {"chat_template_kwargs": {"thinking": "high"}}}, "request generation_params"),
    ],
)
def test_thinking_in_every_spelling(fields: Any, source: str) -> None:
    asked = read(fields)
    assert named(asked, "think") == [(source, "high")]
    assert asked.value("chat_template_kwargs") is None


@pytest.mark.parametrize(("value", "expected"), [(False, False), (True, True), ("none", False)])
@pytest.mark.parametrize("switch", KWARG_SWITCHES)
def test_a_template_switch_is_thinking(switch: str, value: Any, expected: bool) -> None:
    asked = read({"chat_template_kwargs": {switch: value}})
    assert named(asked, "think") == [("request chat_template_kwargs", expected)]
    assert asked.spelled == {switch}


def test_the_strength_of_thinkings_spellings() -> None:
    fields = {
        "think": "max",
        "reasoning_effort": "xhigh",
        "generation_params": {"think": "high"},
        "options": {"think": "medium", "chat_template_kwargs": {"enable_thinking": "low"}},
        "reasoning": {"effort": "minimal"},
        "chat_template_kwargs": {"enable_thinking": False, "thinking": True, "reasoning_effort": "low"},
    }
    values = [value for _, value in named(read(fields, soft_switch=False), "think")]
    assert values == [False, "low", True, False, "minimal", "low", "medium", "high", "xhigh", "max"]


@pytest.mark.parametrize(
    "fields",
    [
        {"think": True, "reasoning_effort": "high"},
        {"reasoning_effort": "high", "think": True},
        {"think": "high", "reasoning_effort": True},
        {"options": {"reasoning_effort": "high", "think": True}},
        {"think": True, "reasoning": {"effort": "high"}},
        {"think": True, "options": {"think": "high"}},
        {"think": "high", "chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"reasoning_effort": "high", "enable_thinking": True}},
    ],
)
def test_how_hard_says_more_than_that_there_be_thinking(fields: dict[str, Any]) -> None:
    asked = read(fields, soft_switch=True)
    assert asked.value("think") == "high"
    assert asked.warnings == ()
    assert {value for _, value in named(asked, "think")} == {True, "high"}


@pytest.mark.parametrize(
    ("fields", "used", "warnings"),
    [
        ({"think": False, "reasoning_effort": "high"}, False, 1),
        ({"think": True, "reasoning_effort": "none"}, True, 1),
        ({"think": "low", "reasoning_effort": "high"}, "low", 1),
        ({"think": "low", "options": {"think": "none"}}, "low", 1),
        ({"think": True, "reasoning_effort": "low", "options": {"think": "high"}}, "low", 1),
        ({"think": True, "options": {"think": False}, "reasoning": {"effort": "low"}}, "low", 1),
        ({"think": True, "options": {"think": True}}, True, 0),
    ],
)
def test_where_thinking_contradicts_itself_the_stronger_place_wins(
    fields: dict[str, Any], used: Any, warnings: int
) -> None:
    asked = read(fields)
    assert asked.value("think") == used and type(asked.value("think")) is type(used)
    assert len(asked.warnings) == warnings


def test_the_text_says_it_last() -> None:
    assert named(read({}, soft_switch=False), "think") == [("request text", False)]
    asked = read({"chat_template_kwargs": {"enable_thinking": True}}, soft_switch=False)
    assert asked.value("think") is True
    assert len(asked.warnings) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 2+2? /no_think", False),
        ("/think hard", True),
        ("/no_think and then /think", True),
        ("/think\n\n/no_think\n", False),
        ("see /etc/think or /thinking, http://x/no_think", None),
        ("", None),
    ],
)
def test_a_soft_switch_is_a_word_and_the_last_one_counts(text: str, expected: bool | None) -> None:
    assert soft_switch(text) is expected


def test_template_arguments_that_are_no_switch_are_kept() -> None:
    asked = read({"chat_template_kwargs": {"enable_thinking": False, "tone": "dry", "custom": [1, None]}})
    assert asked.value("think") is False
    assert named(asked, "chat_template_kwargs") == [("request", {"tone": "dry", "custom": [1, None]})]


def test_the_top_level_template_arguments_beat_nested_ones() -> None:
    asked = read(
        {"chat_template_kwargs": {"a": 1}, "options": {"chat_template_kwargs": {"a": 2, "thinking": True}}}
    )
    assert asked.value("chat_template_kwargs") == {"a": 1}
    assert asked.value("think") is True
    assert len(asked.warnings) == 1


def test_the_clients_objects_are_not_changed() -> None:
    fields = {"chat_template_kwargs": {"enable_thinking": False, "a": 1}, "options": {"stop": ["x"]}}
    before = orjson.dumps(fields)
    read(fields)
    assert orjson.dumps(fields) == before


def test_every_field_that_carries_a_parameter_is_listed() -> None:
    assert set(CANONICAL) | {"options", "generation_params", "reasoning"} == FIELDS


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*CANONICAL, *KWARG_SWITCHES, "effort", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@quick
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=5), st.none() | st.booleans())
def test_any_fields_are_read_or_refused(fields: dict[str, Any], soft: bool | None) -> None:
    try:
        asked = read(fields, soft)
    except ClientError as fault:
        assert fault.status == 400
        assert fault.param is not None
        return
    assert all(candidate.value is not None for _, candidate in asked.candidates)
    assert {name for name, _ in asked.candidates} <= set(CATALOG)
    for spelling, value in fields.items():
        if value is not None and spelling in CANONICAL and spelling != "chat_template_kwargs":
            assert CANONICAL[spelling] in {name for name, _ in asked.candidates}


@quick
@given(
    st.dictionaries(st.sampled_from(["top_k", "seed", "n"]), st.integers(1, 9)),
    st.permutations(["", "options"]),
)
def test_the_order_of_fields_in_the_body_means_nothing(values: dict[str, int], order: list[str]) -> None:
    fields: dict[str, Any] = {}
    for place in order:
        fields |= {"options": {k: v + 1 for k, v in values.items()}} if place else values
    asked = read(fields)
    assert {name: asked.value(name) for name in values} == values
