from __future__ import annotations

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.backends.answer import Answer
from proxy.backends.sse_stream import EARLY, EventStream
from proxy.errors import UpstreamBroken, UpstreamRefused
from tests.backends.sse_samples import (
    ALIAS,
    ANSWERS,
    DONE,
    ERROR_FIRST,
    ERROR_LATER,
    FAULT,
    PLAIN,
    ROLE,
    SAME,
    TUNED,
    TWO,
    chunk,
    event,
    pieces_of,
    run,
    said,
    sse,
    usage,
)


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


@pytest.mark.parametrize("before", [b"", sse(chunk(ROLE), *[chunk({"content": "x"})] * 9, end=b"")])
@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_answer_that_was_broken_off_is_no_answer(reason: str, before: bytes) -> None:
    last = chunk({"content": "y"}, reason=reason)
    last["choices"].append({"index": 1, "delta": {}, "finish_reason": "stop"})
    outcome = run([before + sse(last, usage(1, 2))])
    assert outcome.out == before
    assert outcome.failure is not None
    assert outcome.failure[:2] == (UpstreamBroken, 502)
    assert f"broke its answer off: {reason}" in outcome.failure[2]
    one_by_one = EventStream(SAME)
    for part in pieces_of(before + sse(last), list(range(0, 9000, 7))):
        one_by_one.feed(part)
    assert said(one_by_one.failure) == outcome.failure


@pytest.mark.parametrize("reason", ["length", "tool_calls", "repetition", "content_filter", "errors"])
def test_other_ends_are_answers(reason: str) -> None:
    sample = sse(chunk({"content": "error"}, reason=reason))
    assert run([sample]).out == sample


@pytest.mark.parametrize(
    "sample",
    [
        DONE,
        b": hm\n\n" + DONE,
        b"data:\n\n" + DONE,
        sse(chunk(ROLE)),
        sse(chunk(ROLE), *[chunk({"content": "x"})] * 9),
        sse(chunk(ROLE, index=0), chunk(ROLE, index=1), usage(1, 2)),
    ],
)
def test_the_word_that_all_was_said_needs_an_end(sample: bytes) -> None:
    outcome = run([sample])
    assert outcome.out == (sample.removesuffix(DONE) if b"choices" in sample else b"")
    assert outcome.failure is not None
    assert outcome.failure[:2] == (UpstreamBroken, 502)
    assert EARLY in outcome.failure[2]
    assert run(pieces_of(sample, list(range(0, 3000, 5)))) == outcome


@pytest.mark.parametrize(
    "sample",
    [
        sse(usage(1, 2)),
        sse({"object": "chat.completion.chunk"}),
        sse(chunk(ROLE, index=0), chunk({}, reason="stop", index=1)),
    ],
)
def test_the_word_is_believed_where_nothing_speaks_against_it(sample: bytes) -> None:
    assert run([sample]).out == sample


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
