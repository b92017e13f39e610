from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from proxy.backends.answer import Answer
from proxy.backends.openai_answer import complete, rewritten, with_tuning
from proxy.errors import UpstreamBroken, UpstreamRefused

MODEL = "qwen3:8b"
SAME = Answer(id="chatcmpl-x", created=1, model=MODEL)
ALIAS = Answer(id="chatcmpl-x", created=1, model="my/älias@precise")
TUNED = Answer(id="chatcmpl-x", created=1, model=MODEL, tuning=b'{"family":"qwen3"}')


def vllm(**message: object) -> dict[str, Any]:
    """A whole answer with the keys, order and nulls of vLLM 0.32."""
    usual = {"role": "assistant", "content": "Grüße 👋", "refusal": None, "annotations": None, "audio": None}
    choice = {
        "index": 0,
        "message": {**usual, "function_call": None, "reasoning": None, **message},
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
    return {
        "id": "chatcmpl-9f0f",
        "object": "chat.completion",
        "created": 1795449600,
        "model": MODEL,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": "vllm-0.32.0-abc",
        "usage": {
            "prompt_tokens": 5,
            "total_tokens": 7,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }


TOOL = {
    "id": "chatcmpl-tool-1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Köln", "model":"qwen3:8b"}'},
}
SAMPLES = {
    "plain": vllm(),
    "tools": vllm(content=None, tool_calls=[TOOL]),
    "reasoning": vllm(reasoning='Hm, "reasoning":"x" \\ ü'),
    "error as text": vllm(content="error"),
}


def compact(value: object) -> bytes:
    return orjson.dumps(value)


@pytest.mark.parametrize("name", ["plain", "tools", "error as text"])
def test_what_needs_no_change_stays_the_same_bytes(name: str) -> None:
    pretty = orjson.dumps(SAMPLES[name], option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for body in (compact(SAMPLES[name]), pretty):
        assert complete(body, SAME) == body


@pytest.mark.parametrize("answer", [SAME, ALIAS, TUNED], ids=["same", "alias", "tuned"])
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_what_goes_out_is_an_answer_that_clients_read(sample: dict[str, Any], answer: Answer) -> None:
    out = orjson.loads(complete(compact(sample), answer))
    assert ChatCompletion.model_validate(out).model == answer.model
    assert ("tuning" in out) is (answer.tuning is not None)
    assert out["usage"] == sample["usage"]


@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_only_the_model_changes_for_an_alias(option: int) -> None:
    sample = {**SAMPLES["tools"], "metrics": {"model": MODEL}}
    out = orjson.loads(complete(orjson.dumps(sample, option=option), ALIAS))
    assert out == {**sample, "model": ALIAS.model}


def test_values_keep_their_bytes_when_the_model_changes() -> None:
    body = rb'{"model" : "x" , "choices":[ {"a":1.0,"b":1e2,"c":"\u00fc\/"} ], "n": 12345678901234567890123}'
    expected = rb',"choices":[ {"a":1.0,"b":1e2,"c":"\u00fc\/"} ],"n":12345678901234567890123}'
    assert complete(body, SAME) == b'{"model":"qwen3:8b"' + expected


def test_a_model_that_is_null_is_filled_and_a_missing_one_is_not() -> None:
    assert complete(b'{"model":null,"choices":[]}', SAME) == b'{"model":"qwen3:8b","choices":[]}'
    assert complete(b'{"choices":[]}', SAME) == b'{"choices":[]}'


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_given_under_both_names(name: str) -> None:
    sample = vllm()
    message = sample["choices"][0]["message"]
    del message["reasoning"]
    message[name] = "Hm"
    other = {**sample["choices"][0], "index": 1, "message": {"role": "assistant", "content": "none"}}
    sample["choices"].append(other)
    first, second = orjson.loads(complete(compact(sample), SAME))["choices"]
    assert first["message"] == {**message, "reasoning": "Hm", "reasoning_content": "Hm"}
    assert second == other


@pytest.mark.parametrize(
    "message",
    [
        b'{"reasoning":"a","reasoning_content":"b"}',
        b'{"reasoning":"a","reasoning_content":null}',
        b'{"reasoning":null}',
        b'{"reasoning":["a"]}',
        b'{"x":{"reasoning":"a"}}',
        b"null",
        b'"reasoning"',
    ],
)
def test_reasoning_that_cannot_be_given_twice_is_left_alone(message: bytes) -> None:
    body = b'{"choices": [{"message": %b}, 5, {"reasoning": "a"}], "reasoning": "top"}' % message
    assert complete(body, SAME) == body


def test_tuning_is_the_first_key() -> None:
    body = compact(SAMPLES["plain"])
    assert complete(body, TUNED) == b'{"tuning":{"family":"qwen3"},' + body[1:]
    assert complete(b' { "choices":[]} ', TUNED) == b'{"tuning":{"family":"qwen3"},"choices":[]} '
    assert with_tuning(b"{ }", b"1") == b'{"tuning":1}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"choices"',
        b"{}",
        b'{"choices":null}',
        b'{"choices":{}}',
        b'{"choices":"x"}',
        b'{"choices":[]',
        b'{"choices":[]} x',
        b'{"choices":[NaN]}',
        b'{"choices":["\xff"]}',
        b'{"choices":[\n"\x01"]}',
        b'{"detail":"Not Found"}',
        b'{"choices":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"error":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_nonsense_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        complete(body, SAME)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}', 400, "no"),
        (b'{"error":{"message":"no"},"choices":[]}', 500, "no"),
        (b'{"error":"words"}', 500, "words"),
        (b'{"object":"error","message":"flat","code":404}', 404, "flat"),
        (b'{"error":null}', 500, '{"error":null}'),
        (rb'{"error":"half \ud83d"}', 500, "half ?"),
    ],
)
def test_an_error_object_under_200_is_refused(body: bytes, status: int, message: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        complete(body, SAME)
    assert (caught.value.status, caught.value.message) == (status, message)


def test_an_empty_error_beside_choices_is_none() -> None:
    body = b'{"error":null,"choices":[{"finish_reason":"error"}]}'
    assert complete(body, SAME) == body


def test_half_a_surrogate_pair_passes() -> None:
    body = rb'{"model":"qwen3:8b","choices":[{"message":{"content":"\ud83d"}}]}'
    assert complete(body, SAME) == body
    assert complete(body, ALIAS) == body
    assert complete(body, TUNED) == b'{"tuning":{"family":"qwen3"},' + body[1:]


def test_rewritten_gives_back_the_same_object_if_there_is_nothing_to_do() -> None:
    for body in (compact(SAMPLES["plain"]), b'{"choices":5,"reasoning":"a"}', b'{"reasoning":"a"}'):
        assert rewritten(body, None, "message") is body


@settings(deadline=None)
@given(st.binary() | st.binary().map(lambda tail: compact(SAMPLES["plain"])[:-1] + tail))
def test_any_bytes_give_an_answer_or_an_upstreams_error(body: bytes) -> None:
    for answer in (SAME, ALIAS, TUNED):
        try:
            orjson.loads(complete(body, answer))
        except (UpstreamBroken, UpstreamRefused):
            continue


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["reasoning", "reasoning_content", "content", "model"]), unique=True),
    st.text() | st.none(),
    st.sampled_from([MODEL, "other", "", 'quo"te']),
    st.booleans(),
)
def test_the_answer_says_the_same_with_model_and_reasoning_changed(
    names: list[str], text: str | None, model: str, spaced: bool
) -> None:
    message: dict[str, Any] = dict.fromkeys(names, text)
    sample = {**vllm(), "model": model, "choices": [{"index": 0, "message": message}]}
    out = orjson.loads(complete(orjson.dumps(sample, option=orjson.OPT_INDENT_2 if spaced else 0), ALIAS))
    both = {"reasoning", "reasoning_content"}
    if text is not None and both & set(names):
        message = {**message, **dict.fromkeys(both, text)}
    assert out == {**sample, "model": ALIAS.model, "choices": [{"index": 0, "message": message}]}
