import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.openai import chunks
from proxy.openai.chunks import Chunks, Head

HEAD = Head(id='a"b', created=7, model="ns/m:é", fingerprint="fp")
TUNED = Head(id="a", created=7, model="m", fingerprint="fp", tuning=b'{"x":1}')


def read(event):
    """The payload of one event, checked against OpenAI's type."""
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    ChatCompletionChunk.model_validate_json(event[6:], strict=True)
    return json.loads(event[6:])


def choice(event):
    [only] = read(event)["choices"]
    return only


def test_a_chunk_names_its_answer():
    assert read(Chunks(HEAD).chunk(b'{"content":"x"}')) == {
        "id": 'a"b',
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "ns/m:é",
        "system_fingerprint": "fp",
        "choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}],
    }


@pytest.mark.parametrize("include_usage", [True, False])
def test_content_between_the_constant_pieces_is_the_same_chunk(include_usage):
    made = Chunks(HEAD, include_usage=include_usage)
    assert made.before_content + b'"x"' + made.after_content == made.chunk(b'{"content":"x"}')


def test_usage_is_null_everywhere_but_in_the_last_chunk():
    made = Chunks(HEAD, include_usage=True)
    others = [
        made.first(),
        made.chunk(b"{}"),
        made.reasoning(b'"x"'),
        made.tool_call(0, b'{"id":"c"}'),
        made.finish("stop"),
    ]
    assert [read(event)["usage"] for event in others] == [None] * 5
    last = read(made.usage(3, 4))
    assert (last["choices"], last["usage"]) == (
        [],
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    )
    assert list(last)[:5] == list(read(made.chunk(b"{}")))[:5]
    assert "usage" not in read(Chunks(HEAD).first())


def test_only_the_first_chunk_carries_tuning_and_as_its_first_member():
    made = Chunks(TUNED)
    first = read(made.first())
    assert next(iter(first)) == "tuning"
    assert first.pop("tuning") == {"x": 1}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(
        "tuning" not in read(event) for event in (made.chunk(b"{}"), made.finish("stop"), made.usage(0, 0))
    )


def test_what_a_delta_may_be():
    made = Chunks(HEAD)
    assert choice(made.reasoning(b'"hm"'))["delta"] == {"reasoning_content": "hm", "reasoning": "hm"}
    call = chunks.tool_call("call_1", "f", '{"a":"é"}')
    assert choice(made.tool_call(2, call))["delta"] == {
        "tool_calls": [
            {
                "index": 2,
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":"é"}'},
            }
        ]
    }
    assert choice(made.finish("length")) == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "length",
    }


def test_logprobs_have_their_place():
    said = chunks.logprobs(b'[{"token":"x","logprob":-1.0,"bytes":null,"top_logprobs":[]}]')
    found = choice(Chunks(HEAD).chunk(b"{}", said))["logprobs"]
    assert found == {
        "content": [{"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}],
        "refusal": None,
    }


@pytest.mark.parametrize("head", [HEAD, TUNED])
def test_a_completion_is_one_for_the_sdk(head):
    call = chunks.tool_call("call_1", "f", "{}")
    said = chunks.message(b"null", b'"hm"', [call, call])
    body = chunks.completion(head, said, "tool_calls", chunks.usage(1, 2))
    ChatCompletion.model_validate_json(body, strict=True)
    found = json.loads(body)
    assert found["object"] == "chat.completion"
    assert found["usage"]["total_tokens"] == 3
    assert found.get("tuning") == (None if head is HEAD else {"x": 1})
    [only] = found["choices"]
    assert only["finish_reason"] == "tool_calls"
    assert only["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning": "hm",
        "tool_calls": [json.loads(call)] * 2,
    }


def test_a_message_without_reasoning_or_calls_has_no_such_members():
    assert json.loads(chunks.message(b'"x"', None, [])) == {
        "role": "assistant",
        "content": "x",
        "refusal": None,
    }
