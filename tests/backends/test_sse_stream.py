from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletionChunk

from proxy.backends.answer import Answer
from proxy.backends.sse_stream import EARLY, EventStream
from proxy.errors import AttuneError, UpstreamBroken, UpstreamRefused

MODEL = "qwen3:8b"
SAME = Answer(id="chatcmpl-x", created=1, model=MODEL)
ALIAS = Answer(id="chatcmpl-x", created=1, model="my/älias@precise")
TUNED = Answer(id="chatcmpl-x", created=1, model=MODEL, tuning=b'{"family":"qwen3"}')
BOTH = Answer(id="chatcmpl-x", created=1, model="alias", tuning=b'{"family":"qwen3"}')
ANSWERS = {"same": SAME, "alias": ALIAS, "tuned": TUNED, "both": BOTH}

DONE = b"data: [DONE]\n\n"
ROLE = {"role": "assistant", "content": ""}


def chunk(delta: object, *, reason: str | None = None, index: int = 0, **more: object) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    choice["token_ids"] = None
    if reason:
        choice["stop_reason"] = None
    head = {"id": "chatcmpl-9f0f", "object": "chat.completion.chunk", "created": 1795449600, "model": MODEL}
    return {**head, "choices": [choice], **more}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    return {**chunk({}), "choices": [], "usage": counts}


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"


def sse(*chunks: object, end: bytes = DONE) -> bytes:
    return b"".join(map(event, chunks)) + end


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    head = {"id": f"chatcmpl-tool-{index}", "type": "function"} if name else {}
    return {"content": None, "tool_calls": [{**head, "index": index, "function": function}]}


PLAIN = sse(
    chunk(ROLE, prompt_token_ids=None, prompt_text=None),
    *(
        chunk({"content": text})
        for text in ("Grüße", " 👋🏽", "", ' "quoted" \\ back\n', "", "日本", " model")
    ),
    chunk({"content": " end."}, reason="stop"),
    usage(12, 9),
)
TOOLS = sse(
    chunk(ROLE),
    chunk(call(0, "", "weather")),
    *(chunk(call(0, piece)) for piece in ('{"city"', ': "', "Köln", '"}')),
    chunk(call(1, "", "weather")),
    *(chunk(call(1, piece)) for piece in ('{"city": ', '"Bonn"}')),
    chunk({"content": ""}, reason="tool_calls"),
    usage(5, 20),
)
TWO = sse(
    chunk(ROLE, index=0),
    chunk(ROLE, index=1),
    *(chunk({"content": f"w{i}"}, index=i % 2) for i in range(6)),
    chunk({"content": "!"}, reason="length", index=1),
    chunk({"content": " more"}, index=0),
    chunk({"content": "?"}, reason="stop", index=0),
)
REASONING = sse(
    chunk(ROLE),
    *(chunk({"reasoning": text}) for text in ("Let", " me", ' "think"', "\n", " ü")),
    chunk({"reasoning": None, "content": "So"}),
    *(chunk({"content": text}) for text in (":", " 42")),
    chunk({"content": "."}, reason="stop"),
)
OLD_REASONING = REASONING.replace(b'"reasoning":', b'"reasoning_content":')
ALIVE = b": keep-alive\n\n" * 2 + PLAIN.replace(b"\n\ndata", b"\n\n: keep-alive\n\ndata", 4)
SPACED = b"".join(
    b"data: " + orjson.dumps(chunk(delta, reason=reason)).replace(b'":', b'": ').replace(b',"', b', "') + b"\n\n"
    for delta, reason in [(ROLE, None), ({"content": "a"}, None), ({"content": "b"}, None), ({}, "stop")]
) + DONE  # fmt: skip
BURSTS = sse(
    chunk(ROLE),
    *(chunk({"content": f" w{i}"}) for i in range(12)),
    *(chunk({"reasoning": f' "{i}"' if i % 9 == 8 else f" r{i}"}) for i in range(16)),
    *(chunk({"content": " c"}, usage=usage(3, i)["usage"]) for i in range(6)),
    chunk({}, reason="stop"),
)
LLAMA = (
    b": ping\r\n\r\n"
    + b"".join(
        b'data: {"choices":[{"finish_reason":%s,"index":0,"delta":%s}],"created":17954496%02d,'
        b'"id":"chatcmpl-Q","model":"qwen3:8b","system_fingerprint":"b6000",'
        b'"object":"chat.completion.chunk"}\r\n\r\n' % (reason, delta, 10 + i // 3)
        for i, (reason, delta) in enumerate(
            [
                (b"null", b'{"role":"assistant","content":null}'),
                *((b"null", b'{"content":"t%d"}' % n) for n in range(8)),
                (b'"stop"', b"{}"),
            ]
        )
    )
    + b"data:\r\n\r\ndata: [DONE]\r\n\r\n"
)
FAULT = (
    b'{"error": {"message": "grammar d\\u00e9fect", "type": "BadRequestError", "param": null, "code": 400}}'
)
ERROR_FIRST = b": keep-alive\n\n" + event(FAULT) + DONE
ERROR_LATER = sse(chunk(ROLE), chunk({"content": "Hi"}), chunk({"content": " you"}), FAULT)
ERROR_NAMED = sse(chunk(ROLE), end=b'event: error\ndata: {"message":"engine dead","code":503}\n\n')
ERROR_FLAT = sse(chunk(ROLE), {"object": "error", "message": "flat", "type": "x", "param": None, "code": 404})
ERROR_LLAMA = b'error: {"code":400,"message":"too long","type":"invalid_request_error"}\n\n' + DONE
BROKEN = sse(chunk(ROLE), b'{"choices": [', chunk({"content": "never"}))

SAMPLES = {
    "plain": PLAIN,
    "tools": TOOLS,
    "two": TWO,
    "reasoning": REASONING,
    "old reasoning": OLD_REASONING,
    "alive": ALIVE,
    "spaced": SPACED,
    "bursts": BURSTS,
    "llama": LLAMA,
    "error first": ERROR_FIRST,
    "error later": ERROR_LATER,
    "error named": ERROR_NAMED,
    "error flat": ERROR_FLAT,
    "error llama": ERROR_LLAMA,
    "broken": BROKEN,
    "no done": PLAIN.removesuffix(DONE),
    "no blank line": PLAIN.removesuffix(b"\n\n"),
    "cut off": PLAIN[:-700],
}


@dataclass(frozen=True)
class Outcome:
    out: bytes
    failure: tuple[type, int, str] | None
    finished: bool
    finish_reason: str | None
    usage: tuple[int, int] | None


def said(failure: AttuneError | None) -> tuple[type, int, str] | None:
    return None if failure is None else (type(failure), failure.status, orjson.dumps(failure.body()).decode())


def run(pieces: list[bytes], answer: Answer = SAME) -> Outcome:
    stream = EventStream(answer)
    out = b"".join([stream.feed(piece) for piece in pieces]) + stream.close()
    assert stream.feed(b"data: {}\n\n") == b""
    assert stream.close() == b""
    assert stream.finished is (stream.failure is None)
    return Outcome(out, said(stream.failure), stream.finished, stream.finish_reason, stream.usage)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def chunks(out: bytes) -> list[dict[str, Any]]:
    """As OpenAI's own client cuts and reads them."""
    data = [found.data for found in SSEDecoder().iter_bytes(iter([out]))]
    return [orjson.loads(text) for text in data if text != "[DONE]"]


def pause(stream: EventStream, parts: bytes) -> list[bytes]:
    """What goes out for each event when each comes as one read."""
    return [stream.feed(part + b"\n\n") for part in parts.removesuffix(b"\n\n").split(b"\n\n")]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_any_cut_gives_the_same(sample: bytes, answer: Answer) -> None:
    whole = run([sample], answer)
    for position in range(1, len(sample)):
        assert run([sample[:position], sample[position:]], answer) == whole
    assert run([sample[i : i + 1] for i in range(len(sample))], answer) == whole
    assert run(sample.splitlines(keepends=True), answer) == whole
    assert run([b"", sample, b""], answer) == whole


@settings(deadline=None)
@given(
    sample=st.sampled_from(list(SAMPLES.values())),
    answer=st.sampled_from(list(ANSWERS.values())),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_random_cuts_give_the_same(sample: bytes, answer: Answer, cuts: list[int]) -> None:
    assert run(pieces_of(sample, cuts), answer) == run([sample], answer)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_what_goes_out_are_chunks_that_clients_read(sample: bytes, answer: Answer) -> None:
    found = chunks(run([sample], answer).out)
    for position, each in enumerate(found):
        assert ChatCompletionChunk.model_validate(each).model == answer.model
        assert ("tuning" in each) is (position == 0 and answer.tuning is not None)


@pytest.mark.parametrize("name", ["plain", "tools", "two", "spaced"])
def test_unchanged_bytes_stay_the_same(name: str) -> None:
    assert run([SAMPLES[name]]).out == SAMPLES[name]
    stream = EventStream(SAME)
    assert b"".join(pause(stream, SAMPLES[name])) == SAMPLES[name]


def test_finish_reason_and_usage_are_told() -> None:
    outcome = run([PLAIN])
    assert (outcome.finish_reason, outcome.usage) == ("stop", (12, 9))
    assert run([TOOLS]).finish_reason == "tool_calls"
    assert run([REASONING]).usage is None
    assert run([BURSTS]).usage == (3, 5)
    assert (
        run([sse(chunk({}, reason="stop"), {**usage(1, 1), "usage": {"prompt_tokens": "x"}})]).usage is None
    )
    assert run([sse(chunk({}, reason="stop"), {**usage(1, 1), "usage": {"prompt_tokens": 7}})]).usage == (
        7,
        0,
    )


def test_only_the_model_changes_for_an_alias() -> None:
    expected = PLAIN.replace(b'"model":"qwen3:8b"', '"model":"my/älias@precise"'.encode())
    assert run([PLAIN], ALIAS).out == expected
    assert b"".join(pause(EventStream(ALIAS), PLAIN)) == expected
    assert all(each["model"] == ALIAS.model for each in chunks(run([SPACED], ALIAS).out))


def test_a_model_that_changes_in_mid_stream_is_renamed_too() -> None:
    other = {**chunk({"content": "c"}), "model": "fallback"}
    sample = sse(
        chunk(ROLE), chunk({"content": "a"}), chunk({"content": "b"}), other, other, chunk({}, reason="stop")
    )
    for answer in (SAME, ALIAS):
        assert {each["model"] for each in chunks(run([sample], answer).out)} == {answer.model}
        assert run(sample.splitlines(keepends=True), answer) == run([sample], answer)


def test_the_models_name_in_texts_and_nested_objects_stays() -> None:
    texts = ['"model":"qwen3:8b"', '{"model": "qwen3:8b"}', "model"]
    sample = sse(
        *(chunk({"content": text}, extra={"model": MODEL}) for text in texts), chunk({}, reason="stop")
    )
    for before, after in zip(chunks(sample), chunks(run([sample], ALIAS).out), strict=True):
        assert after == {**before, "model": ALIAS.model}


def test_a_chunk_without_a_model_gets_none() -> None:
    bare = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    assert run([sse(bare)], ALIAS).out == sse(bare)


@pytest.mark.parametrize("sample", [REASONING, OLD_REASONING], ids=["reasoning", "reasoning_content"])
def test_reasoning_is_given_under_both_names(sample: bytes) -> None:
    for out in (run([sample]).out, b"".join(pause(EventStream(SAME), sample))):
        deltas = [each["choices"][0]["delta"] for each in chunks(out)]
        texts = [delta["reasoning"] for delta in deltas if delta.get("reasoning")]
        assert texts == ["Let", " me", ' "think"', "\n", " ü"]
        assert [delta["reasoning_content"] for delta in deltas if delta.get("reasoning_content")] == texts


def test_reasoning_that_is_null_or_there_twice_is_left_alone() -> None:
    twice = chunk({"reasoning": "a", "reasoning_content": "b"})
    null = chunk({"reasoning": "a", "reasoning_content": None})
    sample = sse(chunk({"reasoning": None}), twice, null, chunk({"reasoning_content": None}, reason="stop"))
    assert run([sample]).out == sample


def test_reasoning_keeps_its_bytes() -> None:
    raw = rb'{"choices": [{"index": 0, "delta": { "reasoning" : "\u00fc\/" }, "x": 1.0}, 5, {"delta": null}]}'
    out = run([sse(raw, chunk({}, reason="stop"))]).out
    assert out.count(rb'"\u00fc\/"') == 2
    assert b"1.0" in out


def test_reasoning_elsewhere_than_in_a_delta_is_left_alone() -> None:
    strange = [
        {"reasoning": "x"},
        {"reasoning": "x", "choices": 5},
        {"choices": [{"delta": {"a": '"reasoning":"'}}]},
    ]
    sample = sse(*strange, chunk({}, reason="stop"))
    assert run([sample]).out == sample


@pytest.mark.parametrize("sample", [PLAIN, ALIVE, LLAMA], ids=["plain", "alive", "llama"])
def test_tuning_is_the_first_key_of_the_first_chunk_only(sample: bytes) -> None:
    out = run([sample], TUNED).out
    assert out.startswith(b'data: {"tuning":{"family":"qwen3"},"')
    assert out.count(b'"tuning"') == 1
    assert out.replace(b'"tuning":{"family":"qwen3"},', b"") == run([sample]).out


def test_tuning_in_an_empty_object_and_beside_other_lines() -> None:
    assert run([b"data: {}\n\n"], TUNED).out == b'data: {"tuning":{"family":"qwen3"}}\n\n'
    out = run([b'id: 7\n: hm\nevent: message\ndata: { "a":\ndata:1}\n\n'], TUNED).out
    assert out == b'id: 7\n: hm\nevent: message\ndata: {"tuning":{"family":"qwen3"},"a": 1}\n\n'


def test_comments_pass_but_not_before_the_first_event() -> None:
    stream = EventStream(SAME)
    assert stream.feed(b": keep-alive\n\n") == b""
    assert stream.feed(b":\n: two\n\n: three\n\nid: 1\n\n") == b""
    assert stream.feed(event(chunk(ROLE))) == event(chunk(ROLE))
    assert stream.feed(b": keep-alive\n\n") == b": keep-alive\n\n"
    assert stream.feed(b":\n: two\n\n") == b":\n: two\n\n"
    assert stream.failure is None


def test_events_without_data_are_dropped() -> None:
    stream = EventStream(SAME)
    stream.feed(event(chunk(ROLE)))
    for nothing in (
        b"data:\n\n",
        b"data: \n\n",
        b"data\n\n",
        b"id: 4\n\n",
        b": a\nretry: 3000\n\n",
        b"event: ping\n\n",
        b"\n\n\n",
    ):
        assert stream.feed(nothing) == b""
    assert stream.failure is None


def test_an_unknown_field_beside_data_is_ignored_as_the_rules_say() -> None:
    odd = b"weight: 3\ndata: " + orjson.dumps(chunk(ROLE)) + b"\n\n"
    assert EventStream(SAME).feed(odd) == odd


@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
def test_other_line_ends_become_plain_ones(end: bytes) -> None:
    outcome = run([ALIVE.replace(b"\n", end)])
    assert outcome == run([ALIVE])
    assert b"\r" not in outcome.out


def test_mixed_line_ends_and_more_blank_lines() -> None:
    first, second = (orjson.dumps(chunk(delta)) for delta in (ROLE, {"content": "x"}))
    sample = b"\r\n\ndata: %b\r\n\n\n\r\r\ndata: %b\n\r\n\ndata: [DONE]\r\r\n" % (first, second)
    whole = run([sample])
    assert whole.out == event(first) + event(second) + DONE
    for position in range(len(sample)):
        assert run([sample[:position], sample[position:]]) == whole
    assert run([sample[i : i + 1] for i in range(len(sample))]) == whole


def test_an_event_goes_out_with_its_last_cr() -> None:
    stream = EventStream(SAME)
    body = event(chunk(ROLE)).replace(b"\n", b"\r\n")
    assert stream.feed(body[:-1]) == event(chunk(ROLE))
    assert stream.feed(b"\n") == b""


def test_a_byte_order_mark_is_dropped() -> None:
    assert run([b"\xef\xbb\xbf" + PLAIN]) == run([PLAIN])
    assert run([b"\xef\xbb\xbf\n\n" + PLAIN]) == run([PLAIN])
    assert run([PLAIN[:400], b"\n\n\xef\xbb\xbf", PLAIN[400:]]).failure is not None


def test_an_error_first_sends_nothing() -> None:
    stream = EventStream(TUNED)
    assert stream.feed(ERROR_FIRST) == b""
    assert isinstance(stream.failure, UpstreamRefused)
    assert stream.failure.status == 400
    error = {"message": "grammar défect", "type": "BadRequestError", "param": None, "code": None}
    assert stream.failure.body() == {"error": error}
    assert stream.close() == b""
    assert not stream.finished


def test_an_error_in_mid_stream_ends_it_after_what_came_before() -> None:
    outcome = run([ERROR_LATER])
    assert outcome.out == ERROR_LATER[: ERROR_LATER.index(b'data: {"error"')]
    assert outcome.failure is not None
    assert outcome.failure[:2] == (UpstreamRefused, 400)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b'{"error":{"message":"dead","type":"InternalServerError","code":500}}', 500, "dead"),
        (b'{"error":{"message":"full","code":"queue"}}', 500, "full"),
        (b'{"error":{"message":"odd","code":200}}', 500, "odd"),
        (b'{"error":"words"}', 500, "words"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"later"}}', 500, "later"),
        (b'{"object":"error","message":"flat","code":422}', 400, "flat"),
        (b'{"error":null,"detail":"nothing"}', 500, "nothing"),
    ],
)
def test_error_objects(data: bytes, status: int, message: str) -> None:
    stream = EventStream(SAME)
    assert stream.feed(event(data)) == b""
    assert stream.failure is not None
    assert (stream.failure.status, stream.failure.body()["error"]["message"]) == (status, message)


def test_an_error_object_that_lacks_data() -> None:
    stream = EventStream(SAME)
    assert stream.feed(b'{"error":{"message":"bare","code":404}}\n\n') == b""
    assert isinstance(stream.failure, UpstreamRefused)
    assert stream.failure.status == 404


def test_an_empty_error_field_is_none() -> None:
    sample = sse(chunk(ROLE, error=None), chunk({"content": "error"}, error=""), chunk({}, reason="stop"))
    assert run([sample]).out == sample


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: hello\n\n",
        b"data: [1]\n\n",
        b"data: null\n\n",
        b'data: {"a": NaN}\n\n',
        b'data: {"a":"\xff"}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\xc3"}}]}\n\n',
        b": comment \xff\n\n",
        b"garbage\n\n",
        b"HTTP/1.1 500 Oops\n\n",
        b"data: " + b"[" * 5000 + b"\n\n",
        b'data: {"a":' + b"[" * 5000 + b"]" * 5000 + b"}\n\n",
    ],
)  # fmt: skip
def test_nonsense_is_a_failure_wherever_it_comes(bad: bytes) -> None:
    for before in (b"", *(event(chunk({"content": "x"})) * n for n in (1, 2, 3))):
        stream = EventStream(SAME)
        assert stream.feed(before + bad + DONE) == before
        assert isinstance(stream.failure, UpstreamBroken)


@pytest.mark.parametrize(
    "text", [b"\xc3", b"\n", b"\x01", b"\\", b'"', b"\\x", b"\\u12", b'","', b'"}\n\ndata: {"']
)
def test_a_bad_string_among_good_ones_is_found(text: bytes) -> None:
    good = [event(chunk({"content": f"w{i}"})) for i in range(20)]
    bad = good[7].replace(b"w7", text)
    stream = EventStream(SAME)
    before = b"".join(stream.feed(each) for each in good[:7])
    assert stream.feed(bad) == b""
    assert isinstance(stream.failure, UpstreamBroken)
    burst = EventStream(SAME)
    assert burst.feed(b"".join([*good[:3]])) + burst.feed(b"".join([*good[3:7], bad, *good[8:]])) == before
    assert said(burst.failure) == said(stream.failure)


ODD = st.lists(st.sampled_from([b"\\", b",", b'"', b"x"]), max_size=3).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(st.lists(ODD, min_size=2, max_size=5))
@example([b'a","b', b"c\\", b"d"])
@example([b"\\", b",", b"\\\\\\", b",", b""])
def test_bad_strings_cannot_make_up_for_each_other(texts: list[bytes]) -> None:
    before = event(chunk({"content": "a"})) * 3
    events = [event(chunk({"content": "#"})).replace(b"#", text) for text in texts]
    assert run([before, b"".join(events)]) == run([before, *events])


def test_events_that_differ_elsewhere_keep_what_differs() -> None:
    sent = [{**chunk({"content": f"w{i}"}), "created": 1795449600 + (i == 7)} for i in range(12)]
    sent.append(chunk({}, reason="stop"))
    for answer in (SAME, ALIAS):
        out = run([sse(*sent[:3], end=b""), sse(*sent[3:])], answer).out
        assert chunks(out) == [{**each, "model": answer.model} for each in sent]


def test_what_is_held_back_comes_before_what_looks_like_an_event() -> None:
    usual = event(chunk({"content": "a"}))
    stream = EventStream(SAME)
    stream.feed(usual * 3)
    assert stream.feed(b": data") == b""
    assert stream.feed(usual) == b": data" + usual
    assert stream.feed(usual) == usual


def test_what_is_kept_for_the_end_is_never_overlooked() -> None:
    first, last = chunk({"content": "a"}, reason="stop"), chunk({"content": "b"}, reason="stop")
    sample = sse(chunk(ROLE), first, chunk({}, reason="length"), last)
    assert run([sample]).finish_reason == "stop"
    assert run([sse(usage(3, 4), {"usage": {}}, {"usage": None}, last)]).usage == (3, 4)


def test_a_text_that_looks_like_our_mark_is_no_trouble() -> None:
    sent = [chunk({"content": text}, extra="@attune slot@") for text in ("a", "b", "@attune slot@", "c")]
    sent.append(chunk({}, reason="stop"))
    assert chunks(run([sse(*sent)], ALIAS).out) == [{**each, "model": ALIAS.model} for each in sent]


def test_half_a_surrogate_pair_is_no_reason_to_break_off() -> None:
    raw = rb'{"model":"qwen3:8b","choices":[{"index":0,"delta":{"content":"\ud83d"},"finish_reason":"stop"}]}'
    assert run([sse(raw)]).out == sse(raw)
    assert run([sse(raw)], ALIAS).out == sse(raw)


def test_done_is_added_when_only_that_is_missing() -> None:
    assert run([PLAIN.removesuffix(DONE)]) == run([PLAIN])
    assert run([TWO.removesuffix(DONE)]) == run([TWO])
    assert run([PLAIN.removesuffix(b"\n\n")]) == run([PLAIN])
    assert run([PLAIN.removesuffix(b"\n\n" + DONE)]) == run([PLAIN])


@pytest.mark.parametrize(
    "sample", [b"", b": hm\n\n", b"\n", sse(chunk(ROLE), end=b""), sse(usage(1, 2), end=b"")]
)
def test_an_early_end_is_a_failure(sample: bytes) -> None:
    outcome = run([sample])
    assert outcome.failure is not None
    assert outcome.failure[:2] == (UpstreamBroken, 502)
    assert EARLY in outcome.failure[2]
    assert outcome.out == (b"" if b"data" not in sample else sample)


def test_a_choice_that_never_finished_is_an_early_end() -> None:
    sample = sse(chunk(ROLE, index=0), chunk(ROLE, index=1), chunk({}, reason="stop", index=1), end=b"")
    outcome = run([sample])
    assert outcome.out == sample
    assert outcome.failure is not None
    assert EARLY in outcome.failure[2]


def test_a_cut_event_is_an_early_end_even_after_the_finish() -> None:
    outcome = run([sse(chunk({}, reason="stop"), end=b"data: [DO")])
    assert outcome.failure is not None
    assert EARLY in outcome.failure[2]
    assert DONE not in outcome.out


def test_an_error_without_its_blank_line_is_still_told() -> None:
    outcome = run([sse(chunk(ROLE), end=b'data: {"error":{"message":"gone","code":503}}')])
    assert outcome.failure is not None
    assert outcome.failure[1] == 503


def test_nothing_comes_after_done() -> None:
    assert run([PLAIN + PLAIN]) == run([PLAIN])
    assert run([PLAIN, b"garbage\n\n"]) == run([PLAIN])
    assert run([b"data:[DONE]\n\n"]).out == DONE


def test_events_of_the_usual_kind_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    in_full = EventStream._in_full
    monkeypatch.setattr(
        EventStream, "_in_full", lambda self, *event: parsed.append(event) or in_full(self, *event)
    )
    for answer in (SAME, ALIAS):
        parsed.clear()
        pause(EventStream(answer), PLAIN)
        assert len(parsed) == 5  # role, first text, finish, usage, [DONE]
        parsed.clear()
        run([BURSTS[:1000], BURSTS[1000:]], answer)
        assert len(parsed) < 20
    assert run([LLAMA]).finished


def test_what_never_repeats_is_not_learned_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    learn = EventStream._learn
    monkeypatch.setattr(
        EventStream, "_learn", lambda self, *event: learned.append(event) or learn(self, *event)
    )
    stream = EventStream(SAME)
    for number in range(50):
        stream.feed(event({**chunk({"content": "x"}), "created": number}))
    assert len(learned) == 9


def test_a_huge_event_costs_time_in_proportion() -> None:
    huge = event(chunk({"content": "x" * 10_000_000}, reason="stop"))
    started = time.perf_counter()
    stream = EventStream(ALIAS)
    out = [stream.feed(huge[i : i + 512]) for i in range(0, len(huge), 512)]
    assert sum(map(len, out)) > 10_000_000
    assert time.perf_counter() - started < 3


TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", '","', "\n\n", "data: {", "model", '"model":"qwen3:8b"']
)
DELTAS = st.one_of(
    st.fixed_dictionaries({"content": TEXTS}),
    st.fixed_dictionaries({"reasoning": TEXTS}),
    st.fixed_dictionaries({"reasoning_content": TEXTS, "content": TEXTS}),
    st.fixed_dictionaries({"reasoning": st.none() | TEXTS, "reasoning_content": st.none() | TEXTS}),
    TEXTS.map(lambda text: call(0, text)),
)  # fmt: skip
MODELS = st.sampled_from([MODEL, MODEL, MODEL, "other", 'quo"te'])
CHUNKS = st.builds(
    lambda delta, model, index, escaped: (
        {**chunk(delta, index=index), "model": model},
        escaped,
    ),
    DELTAS,
    MODELS,
    st.sampled_from([0, 0, 0, 1]),
    st.booleans(),
)


def mirrored(delta: dict[str, Any]) -> dict[str, Any]:
    for name, twin in (("reasoning", "reasoning_content"), ("reasoning_content", "reasoning")):
        if isinstance(delta.get(name), str) and twin not in delta:
            return {**delta, twin: delta[name]}
    return delta


@settings(max_examples=300, deadline=None)
@given(
    made=st.lists(CHUNKS, max_size=12),
    repeat=st.integers(1, 4),
    answer=st.sampled_from(list(ANSWERS.values())),
    cuts=st.lists(st.integers(0, 50_000), max_size=8),
)
def test_any_stream_says_the_same_with_model_and_reasoning_changed(
    made: list[tuple[dict[str, Any], bool]], repeat: int, answer: Answer, cuts: list[int]
) -> None:
    sent = [each for each, _ in made for _ in range(repeat)]
    sample = b"".join(event(each) for each in sent) + DONE
    outcome = run(pieces_of(sample, cuts), answer)
    assert outcome.failure is None
    found = chunks(outcome.out)
    if found:
        tuning = found[0].pop("tuning", None)
        assert tuning == (orjson.loads(answer.tuning) if answer.tuning else None)
    expected = []
    for each in sent:
        choice = each["choices"][0]
        expected.append(
            {**each, "model": answer.model, "choices": [{**choice, "delta": mirrored(choice["delta"])}]}
        )
    assert found == expected
    assert outcome == run([sample], answer)


FRAGMENTS = st.sampled_from(
    [
        *(event(chunk({"content": text})) for text in ("a", "b", "ü")),
        event(chunk({"reasoning": "r"})),
        event(chunk({}, reason="stop")),
        event(usage(1, 2)),
        event(FAULT),
        orjson.dumps(chunk({"content": "t"})),
        b"data: ", b"data:", b"data", b"\n", b"\n\n", b"\r", b"\r\n", b":", b": c\n\n", b"event: error\n",
        b"error: x\n\n", b"id: 1\n", b"{}", b"{", b'"', b"\\", b"\xef\xbb\xbf", b"\xff", b"[DONE]", b" ", DONE,
    ]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    st.lists(FRAGMENTS, max_size=20).map(b"".join),
    st.lists(st.integers(0, 5_000), max_size=8),
    st.sampled_from(list(ANSWERS.values())),
)
def test_fragments_give_the_same_at_any_cut(data: bytes, cuts: list[int], answer: Answer) -> None:
    assert run(pieces_of(data, cuts), answer) == run([data], answer)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_no_bytes_make_it_raise(pieces: list[bytes], begun: bool) -> None:
    before = [event(chunk({"content": "a"}))] * 3 if begun else []
    assert run([*before, *pieces]) == run([b"".join([*before, *pieces])])
