from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ollama_answer import complete
from proxy.errors import UpstreamBroken, UpstreamError, UpstreamRefused
from tests.backends.ollama_samples import ANSWER, SAMPLES, call, completion, final, go_json, record, token


def message(body):
    return completion(complete(go_json(body), ANSWER))["choices"][0]["message"]


def test_a_record_is_a_chat_completion():
    assert completion(complete(go_json(final("Hi <é> 😀")) + b"\n", ANSWER)) == {
        "id": "chatcmpl-7x",
        "object": "chat.completion",
        "created": 1755738123,
        "model": "llama3:8b",
        "system_fingerprint": "fp_ollama",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi <é> 😀", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 26, "completion_tokens": 290, "total_tokens": 316},
    }


def test_reasoning_is_there_under_both_names_only_when_there_is_any():
    said = message(final("x", thinking="Hm"))
    assert (said["reasoning_content"], said["reasoning"], said["content"]) == ("Hm", "Hm", "x")
    assert message(final("x", thinking="")) == message(final("x"))


def test_empty_content_stays_a_string_unless_tools_are_called():
    assert message(final(""))["content"] == ""
    assert message({"message": {"content": None}, "done": True})["content"] == ""
    assert message(final("", tool_calls=[call()]))["content"] is None
    assert message(final("x", tool_calls=[call()]))["content"] == "x"


def test_tool_calls_have_no_index_and_all_have_ids():
    calls = [call("f", {"a": 1}, "call_a"), call("g", {}), call("h", None, "call_a")]
    body = completion(complete(go_json(final(tool_calls=calls)), ANSWER))
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "call_7x_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {"id": "call_7x_2", "type": "function", "function": {"name": "h", "arguments": "{}"}},
    ]


def test_one_tool_call_lets_only_the_first_through():
    body = complete(go_json(final(tool_calls=[call("f"), call("g")])), replace(ANSWER, one_tool_call=True))
    [only] = completion(body)["choices"][0]["message"]["tool_calls"]
    assert only["function"]["name"] == "f"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("load", "stop"), ("unload", "stop"), (None, "stop")],
)
def test_the_finish_reason(reason, expected):
    body = complete(go_json(final("x", reason)), ANSWER)
    assert completion(body)["choices"][0]["finish_reason"] == expected


def test_counts_that_are_left_out_are_zero():
    body = complete(b'{"message":{"content":"x"},"done":true}', ANSWER)
    assert completion(body)["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_logprobs_are_complete():
    body = complete(go_json(final("x", logprobs=[token("x")])), ANSWER)
    assert completion(body)["choices"][0]["logprobs"] == {
        "content": [{"token": "x", "logprob": -0.25, "bytes": [120], "top_logprobs": []}],
        "refusal": None,
    }


def test_tuning_is_the_first_member():
    body = complete(go_json(final("x")), replace(ANSWER, tuning=b'{"rules": []}'))
    assert next(iter(completion(body))) == "tuning"
    assert completion(body)["tuning"] == {"rules": []}


def test_an_answer_that_is_not_done_broke_off():
    with pytest.raises(UpstreamBroken, match="not done"):
        complete(go_json(record("xxxx")), ANSWER)


def test_an_error_under_200_is_a_refusal():
    with pytest.raises(UpstreamRefused, match="out of memory"):
        complete(b'{"error":"out of memory"}', ANSWER)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"<html>", b"[]", b"null", b"{}", b'{"message":{"content":1},"done":true}']
)
def test_garbage_is_the_upstreams_fault(body):
    with pytest.raises(UpstreamBroken):
        complete(body, ANSWER)


@given(
    st.binary(max_size=40) | st.sampled_from([*SAMPLES.values()]), st.integers(0, 300), st.binary(max_size=3)
)
def test_whatever_comes_is_a_completion_or_the_upstreams_fault(body, at, noise):
    for damaged in (body, body[:at] + noise + body[at + 1 :]):
        try:
            done = complete(damaged, ANSWER)
        except UpstreamError:
            continue
        completion(done)
