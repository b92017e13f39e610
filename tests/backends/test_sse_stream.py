from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from proxy.backends.answer import Answer
from proxy.backends.sse_stream import EventStream
from tests.backends.sse_samples import (
    ALIAS,
    ALIVE,
    ANSWERS,
    BURSTS,
    DONE,
    LLAMA,
    MODEL,
    OLD_REASONING,
    PLAIN,
    REASONING,
    ROLE,
    SAME,
    SAMPLES,
    SPACED,
    TOOLS,
    TUNED,
    call,
    chunk,
    chunks,
    event,
    pause,
    pieces_of,
    run,
    sse,
    usage,
)


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
    first, second = orjson.dumps(chunk(ROLE)), orjson.dumps(chunk({"content": "x"}, reason="stop"))
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


def test_nothing_comes_after_done() -> None:
    assert run([PLAIN + PLAIN]) == run([PLAIN])
    assert run([PLAIN, b"garbage\n\n"]) == run([PLAIN])
    assert run([sse(chunk({}, reason="stop"), end=b"data:[DONE]\n\n")]) == run(
        [sse(chunk({}, reason="stop"))]
    )


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
    sent = [*(each for each, _ in made for _ in range(repeat)), chunk({}, reason="stop")]
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
