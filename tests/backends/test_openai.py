from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.backends.backend import Case, Translation
from proxy.backends.openai import RENAMED, OpenAIBackend
from proxy.parameters.catalog import CANONICAL, CATALOG, Parameter
from proxy.parameters.families import Family
from tests.backends import cases

OPENAI = OpenAIBackend()
TARGET = cases.target("openai")
SAMPLES: dict[str, Any] = {"float": 0.5, "int": 7, "bool": True, "list": [], "enum": 1, "object": {"a": 1}}
SAMPLES |= {"string": "x"}
SPECIAL: dict[str, Any] = {"response_format": {"type": "json_object"}}
PLAIN = [
    p for p in CATALOG.values() if p.when == "request" and p.name not in ("think", "chat_template_kwargs")
]


def say(fields: dict[str, Any], of: Family | None = None, rules: Any = None) -> Translation:
    return cases.translate(OPENAI, fields, TARGET, of, rules)


def sample(p: Parameter) -> Any:
    return SPECIAL.get(p.name, SAMPLES.get(p.type))


@pytest.mark.parametrize("place", ["", "options", "generation_params"])
@pytest.mark.parametrize("spelling", [s for p in PLAIN for s in p.spellings])
def test_the_clients_own_spelling_is_kept_wherever_it_stood(spelling: str, place: str) -> None:
    p = CATALOG[CANONICAL[spelling]]
    value = sample(p)
    translation = say({place: {spelling: value}} if place else {spelling: value})
    wire = RENAMED.get(spelling, spelling)
    assert translation.fields == {wire: value}
    assert cases.wires(translation) == {p.name: wire}
    assert cases.changes(translation) == {}


@pytest.mark.parametrize("p", PLAIN, ids=lambda p: p.name)
def test_what_the_client_did_not_spell_goes_by_attunes_name(p: Parameter) -> None:
    assert say({}, rules={p.name: sample(p)}).fields == {p.name: sample(p)}


def test_a_value_that_rules_set_keeps_the_clients_spelling() -> None:
    translation = say({"max_completion_tokens": 100}, rules={"max_tokens": 50})
    assert translation.fields == {"max_completion_tokens": 50}


def test_of_two_spellings_the_winners_is_used() -> None:
    assert say({"max_tokens": 1, "max_completion_tokens": 2}).fields == {"max_completion_tokens": 2}
    assert say({"repetition_penalty": 1.2, "repeat_penalty": 1.1}).fields == {"repeat_penalty": 1.1}


def test_names_that_no_such_server_knows_are_renamed_to_names_that_it_does() -> None:
    assert set(RENAMED) <= set(CANONICAL)
    assert set(RENAMED.values()) <= set(CATALOG)


@pytest.mark.parametrize("name", [name for name, p in CATALOG.items() if p.when == "load"])
def test_load_time_options_are_dropped_and_said(name: str) -> None:
    value = "10m" if name == "keep_alive" else SAMPLES[CATALOG[name].type]
    translation = say({name: value})
    assert translation.fields == {}
    gone = translation.resolution.dropped[name]
    assert "load-time" in gone.reason
    assert (gone.code, gone.harmless) == ("unsupported-by-openai", False)


def test_no_range_is_assumed_of_a_server_that_nothing_is_known_of() -> None:
    case = Case(TARGET, None, "thinking")
    assert list(OPENAI.limits(case)) == list(OPENAI.item_limits(case)) == []
    fields = {"temperature": 5.0, "stop": list("abcdefgh"), "presence_penalty": 7}
    assert say(fields).fields == fields


@pytest.mark.parametrize("value", [0, -1, 1e-12])
def test_zero_and_no_limit_are_sent_as_they_are(value: Any) -> None:
    assert say({"temperature": abs(value)}).fields == {"temperature": abs(value)}
    assert say({"max_tokens": int(value)}).fields == {"max_tokens": int(value)}


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none"}),
        ({"reasoning": {"effort": "minimal"}}, {"reasoning_effort": "minimal"}),
        ({"chat_template_kwargs": {"thinking": False}}, {"chat_template_kwargs": {"thinking": False}}),
        ({"think": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
        ({"think": "low"}, {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}),
    ],
)
def test_thinking_of_a_model_of_no_known_family(asked: Any, fields: Any) -> None:
    translation = say(asked)
    assert translation.fields == fields
    assert cases.changes(translation) == {}


def test_levels_are_those_of_the_family_whatever_the_server() -> None:
    gpt_oss = cases.family(
        "gpt-oss", default="always", switch="reasoning_effort", levels=["low", "medium", "high"]
    )
    translation = say({"reasoning_effort": "xhigh"}, gpt_oss)
    assert translation.fields == {"reasoning_effort": "high"}
    assert cases.changes(translation) == {"think": "family gpt-oss: one of low, medium, high"}


def test_ultra_is_held_to_a_word_that_servers_know_and_said() -> None:
    translation = say({"reasoning_effort": "ultra"})
    assert translation.fields == {"reasoning_effort": "max"}
    assert cases.changes(translation)["think"].startswith("openai: one of none, minimal")


def test_vllms_own_parameters_go_as_they_are() -> None:
    fields = {"guided_regex": "a+", "guided_choice": ["a"], "best_of": 3, "repetition_detection": {"a": 1}}
    assert say(fields).fields == fields


def test_a_family_whose_levels_are_words_of_its_own_takes_any() -> None:
    odd = cases.family("odd", default="on", switch="reasoning_effort", levels=["turbo"])
    assert say({"think": "low"}, odd).fields == {"reasoning_effort": "low"}


def test_the_rest_of_the_template_arguments_is_a_copy() -> None:
    kwargs = {"tone": "dry"}
    translation = say({}, rules={"chat_template_kwargs": kwargs, "think": False})
    assert translation.fields == {"chat_template_kwargs": {"tone": "dry", "enable_thinking": False}}
    assert kwargs == {"tone": "dry"}


def test_a_lower_layers_template_argument_is_below_the_clients_thinking() -> None:
    translation = say({"chat_template_kwargs": {"tone": "dry"}}, rules={"think": False})
    assert translation.fields == {"chat_template_kwargs": {"tone": "dry", "enable_thinking": False}}


def test_the_body() -> None:
    messages = b'[{"role":"user","content":"\\u00e9\xc3\xa9"} ]'
    custom = b'{"b":1.50e2,"a":[ ]}'
    client = (
        b'{"temperature":0.50,"messages":' + messages + b',"custom":' + custom
        + b',"model":"m","options":{"num_ctx":1,"top_k":4},"truncate":true,"null":null}'
    )  # fmt: skip
    sent, warnings = cases.write(OPENAI, client, TARGET)
    fields, rest = sent.split(b',"messages":', 1)
    assert rest == messages + b',"custom":' + custom + b',"null":null}'
    assert orjson.loads(fields + b"}") == {
        "model": "upstream-name",
        "temperature": 0.5,
        "top_k": 4,
        "truncate": True,
    }
    assert warnings == ()


def test_a_body_without_parameters() -> None:
    sent, _ = cases.write(OPENAI, b'{"messages":' + cases.MESSAGES + b"}", TARGET)
    assert sent == b'{"model":"upstream-name","messages":' + cases.MESSAGES + b"}"


def test_odd_field_names_are_written_as_json() -> None:
    client = b'{"messages":' + cases.MESSAGES + b',"a\\u0000\\"b\xc3\xa9":1,"":2}'
    sent, _ = cases.write(OPENAI, client, TARGET)
    assert orjson.loads(sent) == {"model": "upstream-name", **orjson.loads(client)}


def test_edited_messages_take_the_place_of_the_clients() -> None:
    sent, _ = cases.write(OPENAI, b'{"messages":' + cases.MESSAGES + b',"x":1}', TARGET, messages=b"[5]")
    assert sent == b'{"model":"upstream-name","messages":[5],"x":1}'
