"""What each shape of Ollama's stream becomes, and that neither cuts nor garbage matter."""

import json
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.backends.answer import Answer, Translator
from proxy.backends.ollama_stream import OllamaStream
from proxy.errors import UpstreamBroken, UpstreamRefused
from tests.backends.ollama_samples import ANSWER, DONE, SAMPLES, call, final, lines, payloads, record, token

USAGE = replace(ANSWER, include_usage=True)


def run(data: bytes, answer: Answer = ANSWER, cuts: tuple[int, ...] = ()) -> tuple[bytes, OllamaStream]:
    """All events of a body that arrives in the pieces between `cuts`."""
    stream = OllamaStream(answer)
    edges = [0, *sorted(cuts), len(data)]
    events = [stream.feed(data[start:end]) for start, end in pairwise(edges)]
    return b"".join([*events, stream.close()]), stream


def chunks(*records: Any, answer: Answer = ANSWER) -> list[dict[str, Any]]:
    """The chunks of a stream that ends well, without the first and the `[DONE]`."""
    events, stream = run(lines(*records), answer)
    assert stream.finished
    assert stream.failure is None
    assert events.endswith(DONE)
    assert events.count(DONE) == 1
    first, *rest = payloads(events)
    assert first["choices"] == [choice({"role": "assistant", "content": ""})]
    return rest


def choice(delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def deltas(*records: Any, answer: Answer = ANSWER) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(*records, answer=answer)]


def calls(*records: Any, answer: Answer = ANSWER) -> list[dict[str, Any]]:
    found = [delta["tool_calls"] for delta in deltas(*records, answer=answer) if "tool_calls" in delta]
    assert all(len(one) == 1 for one in found)
    return [one[0] for one in found]


def outcome(stream: OllamaStream) -> tuple[Any, ...]:
    failure = stream.failure
    shown = None if failure is None else (type(failure), failure.status, failure.message)
    return stream.finished, stream.usage, stream.finish_reason, shown


# Records


def test_it_is_a_translator():
    stream: Translator = OllamaStream(ANSWER)
    assert (stream.failure, stream.finished) == (None, False)


def test_every_chunk_has_the_same_head_and_the_clients_model():
    for chunk in chunks(record("a"), final("b")):
        assert list(chunk) == ["id", "object", "created", "model", "system_fingerprint", "choices"]
        assert (chunk["id"], chunk["object"]) == ("chatcmpl-7x", "chat.completion.chunk")
        assert (chunk["created"], chunk["model"]) == (1755738123, "llama3:8b")
        assert chunk["system_fingerprint"] == "fp_ollama"


def test_text_is_passed_on_as_the_bytes_it_came_in():
    events, _ = run(
        b'{"message":{"content":"\\u003c\\ud83d\\ude00 \xc3\xa9\\n"},"done":false}\n' + lines(final())
    )
    assert b'"delta":{"content":"\\u003c\\ud83d\\ude00 \xc3\xa9\\n"}' in events
    assert payloads(events)[1]["choices"] == [choice({"content": "<😀 é\n"})]


def test_the_first_chunk_comes_with_the_first_record_not_before():
    stream = OllamaStream(ANSWER)
    assert stream.feed(lines(record("Hi"))[:-1]) == b""
    assert len(payloads(stream.feed(b"\n"))) == 2


def test_records_that_say_nothing_send_nothing():
    assert deltas(record(""), record("", thinking=""), {"status": "x"}, {"done": False}, final()) == [{}]
    nothing = {"message": {"role": "assistant", "content": None, "thinking": None, "tool_calls": None}}
    assert deltas(nothing, final()) == [{}]


def test_reasoning_has_both_names():
    assert deltas(record(thinking="Hm"), final()) == [{"reasoning_content": "Hm", "reasoning": "Hm"}, {}]


def test_reasoning_and_text_at_once_are_two_chunks():
    reasoning = {"reasoning_content": "Hm", "reasoning": "Hm"}
    assert deltas(record("Yes", thinking="Hm"), final()) == [reasoning, {"content": "Yes"}, {}]


def test_the_done_record_speaks_too():
    assert deltas(record("a"), final("b", thinking="c", tool_calls=[call()]))[1:3] == [
        {"reasoning_content": "c", "reasoning": "c"},
        {"content": "b"},
    ]


def test_line_ends_of_all_kinds_and_blank_lines_are_fine():
    data = lines(record("Hi"), final())
    expected = run(data)[0]
    for variant in (
        data.replace(b"\n", b"\r\n"),
        b"\r\n" + data.replace(b"\n", b"\n \n\n\t\n"),
        data.rstrip(),
    ):
        events, stream = run(variant)
        assert (events, stream.finished, stream.failure) == (expected, True, None)


# Tool calls


def test_tool_calls_are_numbered_here_and_keep_their_ids():
    found = calls(
        record(tool_calls=[call("f", {"a": 1}, "call_a"), call("g", {}, "call_b")]),
        final(tool_calls=[call("h", {"é": ["<"]}, "call_c")]),
    )
    assert found == [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {
            "index": 2,
            "id": "call_c",
            "type": "function",
            "function": {"name": "h", "arguments": '{"é":["\\u003c"]}'},
        },
    ]


def test_missing_and_repeated_ids_are_made_the_same_way_each_time():
    records = (
        record(tool_calls=[call(), call(id=""), call(id="x")]),
        final(tool_calls=[call(id="x"), call()]),
    )
    ids = [found["id"] for found in calls(*records)]
    assert ids == ["call_7x_0", "call_7x_1", "x", "call_7x_3", "call_7x_4"]
    other = [found["id"] for found in calls(*records, answer=replace(ANSWER, id="chatcmpl-8y"))]
    assert not set(ids) & set(other) - {"x"}


def test_a_made_id_gives_way_to_a_given_one():
    ids = [
        found["id"] for found in calls(final(tool_calls=[call(id="call_7x_1"), call(), call(id="call_7x_2")]))
    ]
    assert ids == ["call_7x_1", "call_7x_1_", "call_7x_2"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (b'{"a": 1.0, "b":123456789012345678901}', '{"a": 1.0, "b":123456789012345678901}'),
        (b"null", "{}"),
        (b'"{\\"a\\":1}"', '{"a":1}'),
        (b'""', "{}"),
        (b"[1]", "[1]"),
    ],
)
def test_arguments_are_json_text_just_as_given(arguments, text):
    data = (
        b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + arguments + b'}}]},"done":true}\n'
    )
    found = payloads(run(data)[0])[1]["choices"][0]["delta"]["tool_calls"][0]
    assert found["function"]["arguments"] == text


def test_missing_arguments_are_an_empty_object():
    assert calls(final(tool_calls=[{"function": {"name": "f"}}]))[0]["function"]["arguments"] == "{}"


def test_one_tool_call_lets_only_the_first_through():
    records = (record(tool_calls=[call("f"), call("g")]), record("x"), final(tool_calls=[call("h")]))
    one = replace(ANSWER, one_tool_call=True)
    assert [found["function"]["name"] for found in calls(*records, answer=one)] == ["f"]
    assert chunks(*records, answer=one)[-1]["choices"] == [choice({}, "tool_calls")]


# The end


@pytest.mark.parametrize(
    ("reason", "called", "expected"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("length", False, "length"),
        ("length", True, "length"),
        ("load", False, "stop"),
        ("unload", False, "stop"),
        (None, False, "stop"),
        (None, True, "tool_calls"),
        ("something new", False, "stop"),
    ],
)
def test_the_finish_reason(reason, called, expected):
    tools = {"tool_calls": [call()]} if called else {}
    events, stream = run(lines(record("x", **tools), final(reason=reason)))
    assert payloads(events)[-1]["choices"] == [choice({}, expected)]
    assert stream.finish_reason == expected


def test_usage_is_a_last_chunk_and_null_before_it():
    *others, last = chunks(record("a", thinking="b", tool_calls=[call()]), final(), answer=USAGE)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 26, "completion_tokens": 290, "total_tokens": 316}
    assert others
    assert all(chunk["usage"] is None and "usage" in chunk for chunk in others)


def test_usage_is_absent_when_not_asked_for_but_known_here():
    events, stream = run(lines(record("a"), final()))
    assert b"usage" not in events
    assert stream.usage == (26, 290)


def test_counts_that_are_left_out_are_zero():
    last = chunks({"message": {"content": "x"}, "done": True}, answer=USAGE)[-1]
    assert last["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_nothing_counts_after_the_end():
    events, stream = run(lines(final("x"), record("late"), {"error": "late"}))
    assert events == run(lines(final("x")))[0]
    assert stream.feed(b'{"error":"later"}\n') == stream.close() == b""
    assert stream.failure is None


def test_tuning_is_in_the_first_chunk_only():
    events, _ = run(lines(record("a"), final()), replace(USAGE, tuning=b'{"rules": []}'))
    first, *rest = payloads(events)
    assert first["tuning"] == {"rules": []}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert not any("tuning" in chunk for chunk in rest)


# Logprobs


def test_logprobs_ride_on_the_text_and_are_complete():
    bare = {"token": "i", "logprob": -1}
    [chunk, _] = chunks(record("Hi", logprobs=[token("H", top_logprobs=[token("H"), bare]), bare]), final())
    assert chunk["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "H",
                "logprob": -0.25,
                "bytes": [72],
                "top_logprobs": [
                    {"token": "H", "logprob": -0.25, "bytes": [72]},
                    {"token": "i", "logprob": -1.0, "bytes": None},
                ],
            },
            {"token": "i", "logprob": -1.0, "bytes": None, "top_logprobs": []},
        ],
        "refusal": None,
    }


@pytest.mark.parametrize(
    ("message", "places"),
    [
        ({"content": "x"}, [True]),
        ({"thinking": "x"}, [True]),
        ({"content": "x", "thinking": "y"}, [False, True]),
        ({}, [True]),
        ({"tool_calls": [call()]}, [True, False]),
    ],
)
def test_logprobs_are_sent_exactly_once_whatever_else_there_is(message, places):
    *found, _ = chunks(record(**message, logprobs=[token("x")]), final())
    assert [chunk["choices"][0]["logprobs"] is not None for chunk in found] == places


# Failures


def test_an_error_line_is_the_upstreams_own_refusal():
    events, stream = run(lines(record("Hi"), {"error": "model runner has unexpectedly stopped"}))
    assert events == run(lines(record("Hi")))[0]
    assert isinstance(stream.failure, UpstreamRefused)
    assert "model runner has unexpectedly stopped" in stream.failure.message
    assert not stream.finished


def test_an_error_inside_an_error_keeps_its_own_status():
    inner = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}
    events, stream = run(lines({"error": json.dumps(inner)}))
    assert events == b""
    assert stream.failure is not None
    assert (stream.failure.status, stream.failure.message) == (400, "too long")


def test_before_the_first_message_a_failure_may_still_be_a_status():
    events, stream = run(lines({"status": "loading"}, {"error": "boom"}))
    assert events == b""
    assert isinstance(stream.failure, UpstreamRefused)


def test_a_null_error_is_none():
    assert deltas({"error": None, **record("x")}, final()) == [{"content": "x"}, {}]


@pytest.mark.parametrize("before", [b"", lines(record("Hi")), lines(record("Hi")).rstrip()])
def test_an_end_without_a_done_record_is_a_failure(before):
    events, stream = run(before)
    assert DONE not in events
    assert b'"finish_reason":"' not in events
    assert isinstance(stream.failure, UpstreamBroken)
    assert stream.failure.message == "ollama ended the stream without a done record"
    assert not stream.finished
    assert stream.close() == b""


@pytest.mark.parametrize(
    "line",
    [
        b"<html>",
        b"[]",
        b'"x"',
        b"null",
        b"{",
        b'{"message":{"content":"a"}} {}',
        b'{"message":{"content":"\xff"}}',
        b'{"message":{"content":"x"},"model":"\xff"}',
        b'{"message":{"content":"\\ud800"}}',
        b'{"message":{"content":"a\rb"}}',
        b'{"message":{"content":5}}',
        b'{"message":{"content":["x"]}}',
        b'{"message":{"content":"x","thinking":{}}}',
        b'{"message":"x"}',
        b'{"message":{"content":"x"},"done":"yes"}',
        b'{"message":{"content":"x","tool_calls":{}}}',
        b'{"message":{"content":"x","tool_calls":[{"function":{}}]}}',
        b'{"message":{"content":"x"},"logprobs":[{"token":1}]}',
        b'{"message":{"content":"x"},"done":true,"eval_count":"many"}',
        b'{"message":{"content":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    ],
)
def test_nonsense_is_a_failure_and_nothing_of_it_is_sent(line):
    events, stream = run(lines(record("Hi")) + line + b"\n" + lines(final()))
    assert events == run(lines(record("Hi")))[0]
    assert isinstance(stream.failure, UpstreamBroken)
    assert stream.failure.status == 502
    assert stream.failure.message.startswith("ollama sent ")
    assert stream.failure.retryable
    assert not stream.finished


def test_what_failed_stays_failed():
    stream = OllamaStream(ANSWER)
    assert stream.feed(b"nonsense\n") == b""
    failure = stream.failure
    assert stream.feed(lines(record("x"), final())) == stream.close() == b""
    assert stream.failure is failure


def test_failures_do_not_quote_the_answer():
    for line in (b'{"message":{"content":"secret\xff"}}\n', b'{"message":{"content":secret}}\n', b"secret\n"):
        _, stream = run(line)
        assert stream.failure is not None
        assert "secret" not in stream.failure.message


# Cuts


@pytest.mark.parametrize(
    "answer", [ANSWER, replace(USAGE, tuning=b"{}", one_tool_call=True)], ids=["plain", "all"]
)
@pytest.mark.parametrize("name", SAMPLES)
def test_no_cut_changes_what_comes_out(name, answer):
    data = SAMPLES[name]
    whole, stream = run(data, answer)
    payloads(whole)
    for cut in range(len(data) + 1):
        events, other = run(data, answer, (cut,))
        assert (events, outcome(other)) == (whole, outcome(stream)), cut
    events, other = run(data, answer, tuple(range(len(data))))
    assert (events, outcome(other)) == (whole, outcome(stream))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_no_cuts_change_what_comes_out(name, data):
    body = SAMPLES[name]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    whole, stream = run(body, USAGE)
    events, other = run(body, USAGE, tuple(cuts))
    assert (events, outcome(other)) == (whole, outcome(stream))


def test_a_line_of_megabytes_in_many_pieces_costs_no_more_than_its_length():
    def seconds(size: int) -> float:
        data = lines(record("x" * size))
        stream = OllamaStream(ANSWER)
        start = time.perf_counter()
        events = [stream.feed(data[at : at + 512]) for at in range(0, len(data), 512)]
        took = time.perf_counter() - start
        assert sum(map(len, events)) > size
        return took

    small = min(seconds(1_000_000) for _ in range(3))
    assert seconds(8_000_000) < 8 * small * 4


# For all bytes


RECORDS = st.sampled_from(
    [
        *(line for sample in SAMPLES.values() for line in sample.splitlines(keepends=True)),
        b'{"message":{"content":"\\udc00"}}\n',
        b'{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":"\\udc00"}}]}}\n',
        b'{"message":{"content":"","tool_calls":[null]}}\n',
        b'{"logprobs":[{"token":"a","logprob":1e999}]}\n',
    ]
)
NOISE = st.binary(max_size=6) | st.sampled_from(
    [b"{", b'"', b"\n", b"}", b"\\", b"\xe2", b"null", b":", b'"error"']
)


@st.composite
def damaged(draw):
    data = b"".join(draw(st.lists(RECORDS | NOISE, max_size=6)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(NOISE) + data[at + draw(st.integers(0, 9)) :]
    return data


@settings(max_examples=400)
@given(damaged(), st.lists(st.integers(0, 500), max_size=4), st.booleans())
def test_whatever_comes_nothing_is_raised_and_all_that_is_sent_is_well_formed(data, cuts, include_usage):
    answer = replace(ANSWER, include_usage=include_usage)
    events, stream = run(data, answer, tuple(cut for cut in cuts if cut <= len(data)))
    said = payloads(events)
    assert stream.finished == (stream.failure is None) == events.endswith(DONE)
    ends = [chunk for chunk in said if chunk["choices"] and chunk["choices"][0]["finish_reason"]]
    assert len(ends) == stream.finished
