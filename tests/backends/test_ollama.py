from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.backends.backend import Case, Translation
from proxy.backends.ollama import (
    ADDED,
    MLX_IGNORES,
    OPTIONS,
    REMOVED,
    TOP_LEVEL,
    OllamaBackend,
)
from proxy.backends.ollama_lost import LONGEST_NAME, MOST_NAMES
from proxy.errors import ClientError, Unsupported
from proxy.parameters.catalog import CATALOG
from tests.backends import cases

OLLAMA = OllamaBackend()
NEWEST = "0.32.15"
NO_OPTION = "ollama has no such option"


def say(fields: dict[str, Any], version: str | None = NEWEST, rules: Any = None, **facts: Any) -> Translation:
    return cases.translate(OLLAMA, fields, cases.target("ollama", version, **facts), rules=rules)


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"max_completion_tokens": 9}, {"options": {"num_predict": 9}}),
        ({"max_tokens": 9}, {"options": {"num_predict": 9}}),
        ({"max_completion_tokens": 9, "max_tokens": 5}, {"options": {"num_predict": 9}}),
        ({"max_tokens": 0}, {"options": {"num_predict": 0}}),
        ({"max_tokens": -1}, {"options": {"num_predict": -1}}),
        ({"max_tokens": -2}, {"options": {"num_predict": -2}}),
        ({"temperature": 0}, {"options": {"temperature": 0}}),
        ({"temperature": 9.5}, {"options": {"temperature": 9.5}}),
        ({"top_p": 0.0}, {"options": {"top_p": 0.0}}),
        ({"seed": 0}, {"options": {"seed": 0}}),
        (
            {"presence_penalty": -3, "frequency_penalty": 3},
            {"options": {"presence_penalty": -3, "frequency_penalty": 3}},
        ),
        ({"temperature": None, "stop": None}, {}),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"stop": list("abcdef")}, {"options": {"stop": list("abcdef")}}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
                }
            },
            {"format": {"type": "object"}},
        ),
        ({"format": "json"}, {"format": "json"}),
        ({"format": {"type": "array"}}, {"format": {"type": "array"}}),
        ({"reasoning_effort": "high"}, {"think": "high"}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"think": True}),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"top_k": 5, "min_p": 0.1}, {"options": {"top_k": 5, "min_p": 0.1}}),
        ({"typical_p": 0.5, "repeat_last_n": -1}, {"options": {"typical_p": 0.5, "repeat_last_n": -1}}),
        ({"num_ctx": 4096, "num_keep": -1}, {"options": {"num_ctx": 4096, "num_keep": -1}}),
        (
            {"num_gpu": -1, "num_batch": 8, "main_gpu": 0},
            {"options": {"num_gpu": -1, "num_batch": 8, "main_gpu": 0}},
        ),
        ({"num_thread": 0, "use_mmap": False}, {"options": {"num_thread": 0, "use_mmap": False}}),
        ({"draft_num_predict": 4}, {"options": {"draft_num_predict": 4}}),
        ({"repetition_penalty": 1.2}, {"options": {"repeat_penalty": 1.2}}),
        ({"keep_alive": "10m"}, {"keep_alive": "10m"}),
        ({"keep_alive": "-1"}, {"keep_alive": -1}),
        ({"keep_alive": "300"}, {"keep_alive": 300}),
        ({"keep_alive": 0}, {"keep_alive": 0}),
        ({"keep_alive": 2.5}, {"keep_alive": 2.5}),
        ({"keep_alive": "-1m"}, {"keep_alive": "-1m"}),
        ({"truncate": False, "shift": True}, {"truncate": False, "shift": True}),
    ],
)
@pytest.mark.parametrize("place", ["", "options", "generation_params"])
def test_openais_names_in_ollamas_words(place: str, asked: dict[str, Any], fields: dict[str, Any]) -> None:
    translation = say({place: asked} if place else asked)
    assert translation.fields == fields
    assert cases.changes(translation) == {}
    assert not translation.one_tool_call


def test_a_name_on_the_wire_is_a_path_into_the_body() -> None:
    translation = say({"max_tokens": 9, "think": True, "format": "json", "keep_alive": 0, "top_k": 1})
    assert cases.wires(translation) == {
        "max_tokens": "options.num_predict",
        "top_k": "options.top_k",
        "think": "think",
        "response_format": "format",
        "keep_alive": "keep_alive",
    }


@pytest.mark.parametrize(
    ("asked", "name", "reason", "harmless"),
    [
        ({"logit_bias": {"5": 1}}, "logit_bias", NO_OPTION, False),
        ({"logit_bias": {}}, "logit_bias", NO_OPTION, True),
        ({"n": 1}, "n", NO_OPTION, True),
        ({"min_tokens": 5}, "min_tokens", NO_OPTION, False),
        ({"min_tokens": 0}, "min_tokens", NO_OPTION, True),
        ({"ignore_eos": True}, "ignore_eos", NO_OPTION, False),
        ({"stop_token_ids": [5]}, "stop_token_ids", NO_OPTION, False),
        ({"bad_words": ["x"]}, "bad_words", NO_OPTION, False),
        ({"allowed_token_ids": [1]}, "allowed_token_ids", NO_OPTION, False),
        ({"skip_special_tokens": True}, "skip_special_tokens", NO_OPTION, True),
        ({"thinking_token_budget": 5}, "thinking_token_budget", NO_OPTION, False),
        ({"thinking_token_budget": -1}, "thinking_token_budget", NO_OPTION, True),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs", NO_OPTION, False),
        ({"chat_template_kwargs": {"tone": "dry"}}, "chat_template_kwargs", NO_OPTION, False),
        ({"priority": 0}, "priority", NO_OPTION, True),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", NO_OPTION, True),
        ({"response_format": {"type": "text"}}, "response_format", "ollama has no format text", True),
        ({"response_format": {"type": "grammar"}}, "response_format", "ollama has no format grammar", False),
        ({"stop": []}, "stop", "an empty list would wipe the model's own stops", True),
    ],
)
def test_what_ollama_cannot_do_is_dropped_and_said(
    asked: Any, name: str, reason: str, harmless: bool
) -> None:
    translation = say(asked)
    assert translation.fields == {}
    gone = translation.resolution.dropped[name]
    assert (gone.reason, gone.harmless) == (reason, harmless)


@pytest.mark.parametrize("rules", [None, {"n": 3}])
def test_several_answers_are_refused(rules: Any) -> None:
    with pytest.raises(Unsupported, match="one answer per request, and n is 3") as caught:
        say({"n": 3}, rules=rules)
    assert (caught.value.status, caught.value.param) == (400, "n")


def test_one_tool_call_at_a_time_is_the_answers_work() -> None:
    translation = say({"parallel_tool_calls": False})
    assert translation.one_tool_call
    assert translation.fields == {}
    assert cases.wires(translation) == {
        "parallel_tool_calls": "answer: only the first tool call is passed on"
    }
    assert not say({"parallel_tool_calls": True}).one_tool_call


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def before(version: tuple[int, ...]) -> str:
    """The release before this one, near enough."""
    major, minor, patch = version
    return dotted((major, minor, patch - 1) if patch else (major, minor - 1, 99))


def probe(name: str) -> dict[str, Any]:
    values = {"mirostat": 2, "keep_alive": "5m"}
    kind = {"float": 0.5, "int": 4096, "bool": True}
    return {name: values.get(name, kind.get(CATALOG[name].type))}


@pytest.mark.parametrize("name", REMOVED)
def test_removed_options(name: str) -> None:
    asked = {"low_vram": True, **probe(name)}
    assert say(asked, before(REMOVED[name])).fields["options"][OPTIONS[name]] == asked[name]
    for version in (dotted(REMOVED[name]), NEWEST, None):
        translation = say(asked, version)
        assert name not in translation.fields.get("options", {})
        assert (
            translation.resolution.dropped[name].reason == f"ignored by ollama since {dotted(REMOVED[name])}"
        )


@pytest.mark.parametrize("name", ADDED)
def test_added_options(name: str) -> None:
    asked = probe(name)
    assert name in cases.wires(say(asked, dotted(ADDED[name])))
    assert name in cases.wires(say(asked, None))
    older = say(asked, before(ADDED[name]))
    assert older.fields == {}
    assert older.resolution.dropped[name].reason == f"unknown to ollama before {dotted(ADDED[name])}"


def test_the_history_is_the_known_one() -> None:
    assert {name: dotted(version) for name, version in REMOVED.items()} == {
        "embedding_only": "0.1.28",
        **dict.fromkeys("num_gqa rope_frequency_base rope_frequency_scale".split(), "0.1.35"),
        "numa": "0.3.4",
        "tfs_z": "0.5.2",
        "penalize_newline": "0.5.5",
        **dict.fromkeys("low_vram f16_kv logits_all vocab_only use_mlock".split(), "0.7.0"),
        **dict.fromkeys("mirostat mirostat_tau mirostat_eta".split(), "0.7.0"),
    }
    assert {name: dotted(version) for name, version in ADDED.items()} == {
        "min_p": "0.3.1",
        "draft_num_predict": "0.30.0",
        **dict.fromkeys(("shift", "truncate"), "0.12.6"),
        **dict.fromkeys(("logprobs", "top_logprobs"), "0.12.11"),
    }
    assert "typical_p" not in REMOVED


def test_a_removed_option_that_is_off_is_missed_by_nobody() -> None:
    dropped = say({"mirostat": 0, "tfs_z": 1.0, "mirostat_tau": 5.0}).resolution.dropped
    assert {name: gone.harmless for name, gone in dropped.items()} == {
        "mirostat": True,
        "tfs_z": True,
        "mirostat_tau": False,
    }
    assert dropped["mirostat"].code == "unsupported-by-ollama-0.32"


def test_a_runtime_may_announce_abilities_beyond_its_version() -> None:
    translation = say({"mirostat": 2, "tfs_z": 0.5}, features=frozenset({"mirostat"}))
    assert translation.fields == {"options": {"mirostat": 2}}
    assert set(translation.resolution.dropped) == {"tfs_z"}


@pytest.mark.parametrize("name", MLX_IGNORES)
def test_what_has_no_effect_on_mlx(name: str) -> None:
    value = {"response_format": {"type": "json_object"}, "stop": ["x"], "typical_p": 0.5, "num_keep": 5}[name]
    translation = say({name: value}, format="safetensors", parameters={"stop": ["own"]})
    assert translation.fields == {}
    assert translation.resolution.dropped[name].code == "no-effect-on-mlx"
    assert say({name: value}, format="gguf").fields != {}


def test_other_options_reach_mlx() -> None:
    assert say({"top_k": 5, "num_predict": 0}, format="safetensors").fields == {
        "options": {"top_k": 5, "num_predict": 0}
    }


@pytest.mark.parametrize(
    ("asked", "own", "sent", "added"),
    [
        (["x"], ["<|end|>"], ["x", "<|end|>"], ["<|end|>"]),
        (["<|end|>"], ["<|end|>"], ["<|end|>"], None),
        (["<|end|>", "x"], ["a", "<|end|>", "b"], ["<|end|>", "x", "a", "b"], ["a", "b"]),
        (["x"], [], ["x"], None),
        (["x"], None, ["x"], None),
    ],
)
def test_the_models_own_stops_stay_in_force(asked: Any, own: Any, sent: Any, added: Any) -> None:
    """A list in a request replaces the model's: without its own it may never end."""
    translation = say({"stop": asked}, parameters={} if own is None else {"stop": own})
    assert translation.fields == {"options": {"stop": sent}}
    outcome = translation.resolution.parameters["stop"]
    assert [change.before for change in outcome.appended] == ([added] if added else [])
    assert all(change.by == "the model's own stops" for change in outcome.appended)
    assert outcome.asked is not None and outcome.asked.value == asked


@pytest.mark.parametrize(("asked", "sent"), [(-1, 0), (0, 0), (20, 20), (21, 20)])
def test_the_one_range_that_ollama_enforces(asked: int, sent: int) -> None:
    translation = say({"top_logprobs": asked})
    assert translation.fields == {"top_logprobs": sent}
    assert bool(cases.changes(translation)) == (asked != sent)


@pytest.mark.parametrize(
    ("asked", "context", "sent"), [(9000, 8192, 8192), (8192, 8192, 8192), (-1, 8192, -1), (9000, None, 9000)]
)
def test_no_answer_is_longer_than_the_trained_context(asked: int, context: int | None, sent: int) -> None:
    translation = say({"max_tokens": asked}, context=context)
    assert translation.fields == {"options": {"num_predict": sent}}
    assert cases.changes(translation) == ({"max_tokens": "m: trained context 8192"} if sent != asked else {})


def test_limits_without_a_model() -> None:
    case = Case(cases.Target("u", "ollama"), None, "thinking")
    assert [name for name, *_ in OLLAMA.limits(case)] == ["top_logprobs"]
    assert list(OLLAMA.item_limits(case)) == []


def test_no_option_is_named_twice() -> None:
    assert not set(OPTIONS) & set(TOP_LEVEL)
    assert len(set(OPTIONS.values())) == len(OPTIONS)
    assert {*OPTIONS, *TOP_LEVEL, *ADDED, *REMOVED, *MLX_IGNORES} <= set(CATALOG)


def body(**fields: Any) -> bytes:
    return b'{"model":"m@p","messages":' + cases.MESSAGES + b"," + orjson.dumps(fields)[1:]


TARGET = cases.target("ollama", NEWEST)


@pytest.mark.parametrize(("stream", "sent"), [(True, b"true"), (False, b"false"), (None, b"false")])
def test_stream_is_said_outright(stream: bool | None, sent: bytes) -> None:
    """Ollama's own default is to stream."""
    written, warnings = cases.write(OLLAMA, body(stream=stream), TARGET)
    assert written == b'{"model":"upstream-name","messages":' + cases.MESSAGES + b',"stream":' + sent + b"}"
    assert warnings == ()


def test_a_body_has_what_ollama_reads_and_nothing_else() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    written, warnings = cases.write(
        OLLAMA,
        body(
            stream=True,
            stream_options={"include_usage": True},
            tools=[tool],
            tool_choice="auto",
            temperature=0.5,
            options={"num_ctx": 4096},
            generation_params={"keep_alive": 0},
            reasoning={"effort": "low"},
            response_format={"type": "json_object"},
        ),
        TARGET,
    )
    assert orjson.loads(written) == {
        "model": "upstream-name",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "tools": [tool],
        "options": {"temperature": 0.5, "num_ctx": 4096},
        "think": "low",
        "format": "json",
        "keep_alive": 0,
    }
    assert warnings == ()


LEFT_OUT = (
    "user store metadata service_tier prompt_cache_key safety_identifier verbosity prediction modalities "
    "web_search_options"
).split()


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_field_that_ollama_does_not_take_is_named(name: str) -> None:
    written, warnings = cases.write(OLLAMA, body(**{name: {"a": 1}}), TARGET)
    assert orjson.loads(written).keys() == {"model", "messages", "stream"}
    assert warnings == (f"ollama does not take {name}: left out",)
    assert cases.write(OLLAMA, body(**{name: None}), TARGET)[1] == ()


def test_a_flood_of_fields_makes_one_short_warning() -> None:
    _, warnings = cases.write(OLLAMA, body(**{f"x{i}": 1 for i in range(500)}, **{"y" * 5000: 1}), TARGET)
    (warning,) = warnings
    assert f"and {501 - MOST_NAMES} more: left out" in warning
    assert len(warning) < 60 + MOST_NAMES * (LONGEST_NAME + 2)
    assert "y" * 100 not in cases.write(OLLAMA, body(**{"y" * 5000: 1}), TARGET)[1][0]


def test_as_many_names_as_fit_are_all_told() -> None:
    names = [f"x{i}" for i in range(MOST_NAMES)]
    _, warnings = cases.write(OLLAMA, body(**dict.fromkeys(names, 1)), TARGET)
    assert warnings == (f"ollama does not take {', '.join(names)}: left out",)


def test_tools_are_left_out_when_none_may_be_called() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    written, _ = cases.write(OLLAMA, body(tools=[tool], tool_choice="none"), TARGET)
    assert "tools" not in orjson.loads(written)
    written, _ = cases.write(OLLAMA, body(tools=[], tool_choice="auto"), TARGET)
    assert "tools" not in orjson.loads(written)


def test_a_choice_without_tools_is_refused_only_if_it_asks_for_a_call() -> None:
    with pytest.raises(ClientError):
        cases.write(OLLAMA, body(tool_choice="required"), TARGET)
    for choice in ("auto", "none", None):
        assert "tools" not in orjson.loads(cases.write(OLLAMA, body(tool_choice=choice), TARGET)[0])


def test_a_forced_call_is_warned_of() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    _, warnings = cases.write(OLLAMA, body(tools=[tool], tool_choice="required"), TARGET)
    assert len(warnings) == 1 and "tool_choice" in warnings[0]


def test_the_old_names_of_tools() -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    written, _ = cases.write(OLLAMA, body(functions=[function], function_call="auto"), TARGET)
    assert orjson.loads(written)["tools"] == [{"type": "function", "function": function}]


def test_messages_are_translated_or_taken_as_edited() -> None:
    client = b'{"messages":[{"role":"developer","content":"d"}]}'
    written, _ = cases.write(OLLAMA, client, TARGET)
    assert orjson.loads(written)["messages"] == [{"role": "system", "content": "d"}]
    written, _ = cases.write(OLLAMA, client, TARGET, messages=cases.MESSAGES)
    assert orjson.loads(written)["messages"] == orjson.loads(cases.MESSAGES)


def test_what_messages_lose_is_said_before_what_fields_lose() -> None:
    client = b'{"messages":[{"role":"user","content":"hi","name":"n"}],"user":"u"}'
    _, warnings = cases.write(OLLAMA, client, TARGET)
    assert warnings[0].startswith("messages[0].name: ")
    assert warnings[1:] == ("ollama does not take user: left out",)


def test_what_cannot_be_said_at_all_is_refused() -> None:
    client = b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}]}'
    with pytest.raises(ClientError):
        cases.write(OLLAMA, client, TARGET)


def test_the_path() -> None:
    chat = cases.parse_chat(body(seed=1))
    plan = cases.Plan("m", say({}), b"")
    assert OLLAMA.write(chat, plan, None).path == "/api/chat"
