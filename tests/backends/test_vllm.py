from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.backends.backend import Translation
from proxy.backends.vllm import CONSTRAINTS, EFFORTS_SINCE, REMOVED, SINCE, UNSUPPORTED, WIRE, VllmBackend
from proxy.parameters.catalog import CATALOG
from proxy.parameters.families import Family
from proxy.parameters.thinking import EFFORTS
from tests.backends import cases

VLLM = VllmBackend()
NEWEST = "0.32.0"


def say(
    fields: dict[str, Any], version: str | None = NEWEST, of: Family | None = None, **facts: Any
) -> Translation:
    return cases.translate(VLLM, fields, cases.target("vllm", version, **facts), of)


@pytest.mark.parametrize(
    ("option", "value", "fields"),
    [
        ("temperature", 0.7, {"temperature": 0.7}),
        ("temperature", 0, {"temperature": 0}),
        ("top_p", 0.9, {"top_p": 0.9}),
        ("top_k", 40, {"top_k": 40}),
        ("top_k", 0, {"top_k": 0}),
        ("top_k", -1, {"top_k": -1}),
        ("min_p", 0.05, {"min_p": 0.05}),
        ("repeat_penalty", 1.1, {"repetition_penalty": 1.1}),
        ("presence_penalty", 1.5, {"presence_penalty": 1.5}),
        ("frequency_penalty", -2.0, {"frequency_penalty": -2.0}),
        ("seed", 0, {"seed": 0}),
        ("seed", -1, {"seed": -1}),
        ("num_predict", 100, {"max_tokens": 100}),
        ("stop", "END", {"stop": ["END"]}),
        ("stop", [], {"stop": []}),
        ("format", "json", {"response_format": {"type": "json_object"}}),
        (
            "format",
            {"type": "object"},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                }
            },
        ),
        ("think", True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("think", False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("think", "low", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}),
        ("logprobs", True, {"logprobs": True}),
        ("top_logprobs", 5, {"top_logprobs": 5}),
    ],
)
@pytest.mark.parametrize("place", ["", "options"])
def test_ollamas_names_in_vllms_words(place: str, option: str, value: Any, fields: dict[str, Any]) -> None:
    translation = say({place: {option: value}} if place else {option: value})
    assert translation.fields == fields
    assert cases.changes(translation) == {}


@pytest.mark.parametrize(
    "name",
    "typical_p tfs_z mirostat mirostat_tau mirostat_eta penalize_newline repeat_last_n num_ctx num_keep truncate shift "
    "keep_alive num_batch num_gpu main_gpu use_mmap use_mlock num_thread numa low_vram f16_kv vocab_only logits_all "
    "draft_num_predict num_gqa rope_frequency_base rope_frequency_scale embedding_only best_of".split(),
)
def test_what_vllm_would_ignore_is_dropped_and_said(name: str) -> None:
    values = {"keep_alive": "10m", "mirostat": 2, "best_of": 3}
    value = values.get(name, True if CATALOG[name].type == "bool" else 1)
    translation = say({name: value if CATALOG[name].type != "float" else 0.5})
    assert translation.fields == {}
    gone = translation.resolution.dropped[name]
    assert gone.reason
    assert (gone.code, gone.harmless) == ("unsupported-by-vllm-0.32", False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 1.0),
        ("tfs_z", 1),
        ("mirostat", 0),
        ("repeat_last_n", -1),
        ("truncate", False),
        ("shift", False),
    ],
)
def test_leaving_out_what_vllm_does_anyway_is_harmless(name: str, value: Any) -> None:
    assert say({name: value}).resolution.dropped[name].harmless


def test_every_parameter_has_a_name_or_a_reason() -> None:
    for name, p in CATALOG.items():
        assert (name in WIRE) + (name in UNSUPPORTED) + (name in ("think", "chat_template_kwargs")) == (
            0 if p.when == "load" and name not in UNSUPPORTED else 1
        )


@pytest.mark.parametrize(
    ("name", "value", "sent", "by"),
    [
        ("temperature", 2.5, 2.0, "vllm 0.32.0: max 2.0"),
        ("temperature", -1, 0.0, "temperature: min 0.0"),
        ("temperature", 0.001, 0.01, "vllm 0.32.0: min 0.01 above 0"),
        ("top_p", 0, 1e-9, "vllm 0.32.0: min 1e-09"),
        ("top_p", 1.5, 1.0, "top_p: max 1.0"),
        ("top_k", -2, -1, "top_k: min -1"),
        ("top_k", 2**70, 2**31 - 1, "top_k: max 2147483647"),
        ("min_p", 1.5, 1.0, "min_p: max 1.0"),
        ("repeat_penalty", 0, 0.01, "vllm 0.32.0: min 0.01"),
        ("presence_penalty", 2.5, 2.0, "vllm 0.32.0: max 2.0"),
        ("presence_penalty", -2.5, -2.0, "vllm 0.32.0: min -2.0"),
        ("frequency_penalty", 3, 2.0, "vllm 0.32.0: max 2.0"),
        ("seed", 2**63, 2**63 - 1, "seed: max 9223372036854775807"),
        ("n", 0, 1, "n: min 1"),
        ("n", 20_000, 16384, "n: max 16384"),
        ("min_tokens", -1, 0, "min_tokens: min 0"),
        ("top_logprobs", 30, 20, "vllm 0.32.0: max 20"),
        ("thinking_token_budget", -5, -1, "vllm 0.32.0: -1 means no limit"),
        ("max_tokens", 0, 1, "vllm 0.32.0: min 1"),
    ],
)
def test_what_vllm_would_refuse_is_held_and_said(name: str, value: Any, sent: Any, by: str) -> None:
    translation = say({name: value})
    assert translation.fields == {WIRE[name]: sent}
    assert cases.changes(translation) == {name: by}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2),
        ("temperature", 0.01),
        ("top_k", 10**6),
        ("repeat_penalty", 25.0),
        ("top_logprobs", -1),
        ("thinking_token_budget", -1),
        ("max_tokens", 1),
        ("thinking_token_budget", 0),
        ("seed", -(2**63)),
        ("logit_bias", {"5": 100}),
        ("stop", ["a", "b", "c", "d"]),
    ],
)
def test_what_vllm_takes_is_sent_as_it_is(name: str, value: Any) -> None:
    translation = say({name: value})
    assert translation.fields == {WIRE[name]: value}
    assert cases.changes(translation) == {}


@pytest.mark.parametrize(
    ("fields", "since", "before", "after", "changed"),
    [
        ({"temperature": 3.0}, (0, 24), {"temperature": 3.0}, {"temperature": 2.0}, "after"),
        ({"stop": list("abcdef")}, (0, 28), {"stop": list("abcdef")}, {"stop": list("abcd")}, "after"),
        ({"top_k": 0}, (0, 10), {"top_k": -1}, {"top_k": 0}, "before"),
        ({"thinking_token_budget": 9}, (0, 20), {}, {"thinking_token_budget": 9}, "before"),
        (
            {"structured_outputs": {"regex": "a"}},
            (0, 12),
            {},
            {"structured_outputs": {"regex": "a"}},
            "before",
        ),
        (
            {"think": "high"},
            (0, 22),
            {"chat_template_kwargs": {"enable_thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
            "before",
        ),
        (
            {"reasoning_effort": "none"},
            (0, 18),
            {"chat_template_kwargs": {"enable_thinking": False}},
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
            "",
        ),
        (
            {"reasoning_effort": "high"},
            (0, 22),
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
            {"reasoning_effort": "high"},
            "",
        ),
        (
            {"reasoning_effort": "minimal"},
            (0, 22),
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"},
            {"reasoning_effort": "minimal"},
            "before",
        ),
        (
            {"reasoning_effort": "max"},
            (0, 22),
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
            {"reasoning_effort": "max"},
            "before",
        ),
        ({"best_of": 3}, (0, 12), {"best_of": 3}, {}, "after"),
        (
            {"repetition_detection": {"min_count": 2}},
            (0, 18),
            {},
            {"repetition_detection": {"min_count": 2}},
            "before",
        ),
        (
            {"guided_regex": "a+"},
            (0, 12),
            {"guided_regex": "a+"},
            {"structured_outputs": {"regex": "a+"}},
            "",
        ),
        (
            {"guided_json": {"type": "object"}},
            (0, 12),
            {"guided_json": {"type": "object"}},
            {"structured_outputs": {"json": {"type": "object"}}},
            "",
        ),
        (
            {"guided_choice": ["a", "b"]},
            (0, 12),
            {"guided_choice": ["a", "b"]},
            {"structured_outputs": {"choice": ["a", "b"]}},
            "",
        ),
        (
            {"options": {"guided_grammar": "root ::= x"}},
            (0, 12),
            {"guided_grammar": "root ::= x"},
            {"structured_outputs": {"grammar": "root ::= x"}},
            "",
        ),
    ],
)
def test_versions_differ(fields: Any, since: tuple[int, int], before: Any, after: Any, changed: str) -> None:
    older = say(fields, f"{since[0]}.{since[1] - 1}.9")
    newer = say(fields, f"{since[0]}.{since[1]}.0")
    assert (older.fields, newer.fields) == (before, after)
    said = {"before": cases.changes(older) != {}, "after": cases.changes(newer) != {}}
    assert said == {"before": changed == "before", "after": changed == "after"}
    assert say(fields, None).fields == after


def test_the_version_is_named_when_it_is_the_reason() -> None:
    gone = say({"structured_outputs": {"regex": "a"}}, "0.10.2").resolution.dropped["structured_outputs"]
    assert (gone.reason, gone.code) == ("vLLM knows it since 0.12", "unsupported-by-vllm-0.10")
    assert set(SINCE) | set(REMOVED) | set(CONSTRAINTS) <= set(WIRE)
    assert set(EFFORTS_SINCE) <= set(EFFORTS)


def test_a_gone_parameter_that_is_off_is_missed_by_nobody() -> None:
    gone = say({"best_of": 1}).resolution.dropped["best_of"]
    assert (gone.reason, gone.harmless) == ("ignored by vLLM since 0.12", True)


ALL_CONSTRAINTS = {
    "structured_outputs": {"json_object": True},
    "guided_json": {"type": "object"},
    "guided_regex": "a+",
    "guided_choice": ["a"],
    "guided_grammar": "root ::= x",
}


@pytest.mark.parametrize("first", range(len(CONSTRAINTS) - 1))
def test_of_several_constraints_one_is_used_and_the_others_are_told(first: int) -> None:
    kept, *others = CONSTRAINTS[first:]
    translation = say({name: ALL_CONSTRAINTS[name] for name in reversed(CONSTRAINTS[first:])})
    value = ALL_CONSTRAINTS[kept]
    sent = value if kept == "structured_outputs" else {kept.removeprefix("guided_"): value}
    assert translation.fields == {"structured_outputs": sent}
    assert set(translation.resolution.dropped) == set(others)
    for gone in translation.resolution.dropped.values():
        assert (gone.reason, gone.code) == (f"vLLM takes one constraint, and {kept} is used", "overruled")
        assert not gone.harmless


def test_a_rules_constraint_is_above_the_clients() -> None:
    rules = {"guided_grammar": "root ::= x"}
    translation = cases.translate(VLLM, {"guided_json": {"a": 1}}, cases.target("vllm", NEWEST), rules=rules)
    assert translation.fields == {"structured_outputs": {"grammar": "root ::= x"}}
    assert cases.wires(translation) == {"guided_grammar": "structured_outputs.grammar"}
    assert set(translation.resolution.dropped) == {"guided_json"}


def test_before_0_12_several_constraints_are_the_servers_to_judge() -> None:
    asked = {name: value for name, value in ALL_CONSTRAINTS.items() if name != "structured_outputs"}
    assert say(asked, "0.10.2").fields == asked


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"repeat_last_n": 0}, 1.0),
        ({"repeat_last_n": 0, "repeat_penalty": 1.3}, 1.0),
        ({"options": {"repeat_last_n": 0}, "repetition_penalty": 1.0}, 1.0),
        ({"repeat_last_n": 64, "repeat_penalty": 1.3}, 1.3),
    ],
)
def test_no_window_means_no_penalty(fields: dict[str, Any], sent: float) -> None:
    translation = say(fields)
    assert translation.fields == {"repetition_penalty": sent}
    if fields.get("repeat_last_n") == 64:
        assert "no window" in cases.changes(translation)["repeat_last_n"]
    else:
        assert cases.wires(translation)["repeat_last_n"] == "repetition_penalty"
        changed = {"repeat_penalty"} if 1.3 in fields.values() else set()
        assert set(cases.changes(translation)) == changed


@pytest.mark.parametrize("value", [-1, -2, -(2**31)])
def test_no_limit_is_left_out(value: int) -> None:
    translation = say({"num_predict": value}, context=4096)
    assert translation.fields == {}
    gone = translation.resolution.dropped["max_tokens"]
    assert (gone.code, gone.harmless) == ("no-limit", True)


@pytest.mark.parametrize(
    ("asked", "context", "sent"), [(9000, 8192, 8192), (8192, 8192, 8192), (9000, None, 9000), (16, 8192, 16)]
)
def test_max_tokens_ends_at_the_context(asked: int, context: int | None, sent: int) -> None:
    translation = say({"max_tokens": asked}, context=context)
    assert translation.fields == {"max_tokens": sent}
    assert cases.changes(translation) == ({"max_tokens": "m: max_model_len 8192"} if sent != asked else {})


@pytest.mark.parametrize("version", ["0.10.2", "0.31.1"])
def test_where_the_whole_context_would_be_refused_it_is_left_out(version: str) -> None:
    translation = say({"max_tokens": 9000}, version, context=8192)
    assert translation.fields == {}
    assert not translation.resolution.dropped["max_tokens"].harmless
    assert "above m: max_model_len 8192" in cases.changes(translation)["max_tokens"]


def test_min_tokens_is_never_above_max_tokens() -> None:
    translation = say({"min_tokens": 50, "max_tokens": 16})
    assert translation.fields == {"min_tokens": 16, "max_tokens": 16}
    assert cases.changes(translation) == {"min_tokens": "vllm 0.32.0: at most max_tokens"}
    assert say({"min_tokens": 50}).fields == {"min_tokens": 50}
    assert say({"min_tokens": 50, "max_tokens": -1}).fields == {"min_tokens": 50}


@pytest.mark.parametrize("name", ["stop", "bad_words"])
def test_empty_texts_are_taken_out(name: str) -> None:
    translation = say({name: ["", "a"]})
    assert translation.fields == {name: ["a"]}
    assert cases.changes(translation) == {name: "vllm 0.32.0: no empty strings"}
    assert say({name: [""]}).fields == {name: []}


def test_several_greedy_answers_are_warned_of() -> None:
    assert "temperature above 0" in say({"n": 2, "temperature": 0}).resolution.warnings[0]
    for fields in ({"n": 2}, {"n": 2, "temperature": 0.5}, {"n": 1, "temperature": 0}):
        assert say(fields).resolution.warnings == ()


def body(**fields: Any) -> bytes:
    return b'{"model":"m@p","messages":' + cases.MESSAGES + b"," + orjson.dumps(fields)[1:]


def test_the_body_keeps_what_is_no_parameter_and_loses_what_carries_them() -> None:
    sent, warnings = cases.write(
        VLLM,
        body(
            options={"top_k": 5, "num_ctx": 4096},
            generation_params={"top_p": 0.5},
            reasoning={"effort": "low"},
            max_completion_tokens=9,
            user="u",
            custom=[1, {"a": None}],
            stream=True,
            tool_choice=None,
            echo=None,
        ),
        cases.target("vllm", NEWEST),
    )
    assert orjson.loads(sent) == {
        "model": "upstream-name",
        "reasoning_effort": "low",
        "top_p": 0.5,
        "top_k": 5,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "user": "u",
        "custom": [1, {"a": None}],
        "stream": True,
        "tool_choice": None,
        "echo": None,
    }
    assert warnings == ()


def test_messages_go_up_byte_for_byte() -> None:
    messages = b'[ {"role":"user",\n "content" : "\\u00e9 \xc3\xa9 \\/", "x":1.50e2} ]'
    sent, _ = cases.write(VLLM, b'{"messages":' + messages + b',"top_k":5}', cases.target("vllm", NEWEST))
    assert sent == b'{"model":"upstream-name","top_k":5,"messages":' + messages + b"}"


def test_edited_messages_take_the_place_of_the_clients() -> None:
    sent, _ = cases.write(VLLM, body(seed=1), cases.target("vllm", NEWEST), messages=b'[{"role":"system"}]')
    assert sent == b'{"model":"upstream-name","seed":1,"messages":[{"role":"system"}]}'


def test_a_null_that_vllm_would_refuse_is_not_sent() -> None:
    sent, _ = cases.write(VLLM, body(min_tokens=None, temperature=None), cases.target("vllm", NEWEST))
    assert sent == b'{"model":"upstream-name","messages":' + cases.MESSAGES + b"}"
