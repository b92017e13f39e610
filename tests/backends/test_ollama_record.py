import msgspec
import pytest

from proxy.backends.ollama_record import Calls, Message, Record, finish_reason, logprobs, read, text
from proxy.errors import UpstreamBroken, UpstreamRefused
from tests.backends.ollama_samples import ANSWER, call, final, go_json, token


def test_what_is_read_of_a_record():
    record = read(go_json(final("x", thinking="y", tool_calls=[call("f", {"a": 1}, "c")])))
    assert (record.done, record.done_reason) == (True, "stop")
    assert (record.prompt_eval_count, record.eval_count) == (26, 290)
    assert record.message is not None
    assert (bytes(record.message.content), bytes(record.message.thinking)) == (b'"x"', b'"y"')


@pytest.mark.parametrize(
    ("raw", "said"), [(b'""', b""), (b"null", b""), (b'"x"', b'"x"'), (b'"\\u00e9"', b'"\\u00e9"')]
)
def test_a_text_is_its_own_json_or_nothing(raw, said):
    assert text(msgspec.Raw(raw)) == said


@pytest.mark.parametrize("raw", [b"1", b"[]", b"{}", b"true"])
def test_a_text_that_is_no_string_is_nonsense(raw):
    with pytest.raises(UpstreamBroken):
        text(msgspec.Raw(raw))


@pytest.mark.parametrize("error", ["boom", "", {"message": "boom"}])
def test_any_error_is_a_refusal_with_the_status_of_a_server_fault(error):
    with pytest.raises(UpstreamRefused) as caught:
        read(go_json({"error": error}))
    assert caught.value.status == 500


def test_calls_of_several_messages_are_counted_through():
    calls = Calls(ANSWER)
    assert not calls
    message = Message(tool_calls=read(go_json(final(tool_calls=[call(), call()]))).message.tool_calls)
    assert [index for index, _ in calls.take(message) + calls.take(message)] == [0, 1, 2, 3]
    assert calls
    assert calls.take(Message()) == []


def test_no_logprobs_are_null():
    assert logprobs(Record()) == logprobs(Record(logprobs=[])) == b"null"
    assert b'"top_logprobs":[]' in logprobs(read(go_json(final(logprobs=[token("x")]))))


def test_a_cut_answer_is_a_cut_answer_even_with_calls():
    assert finish_reason(Record(done=True, done_reason="length"), called=True) == "length"
    assert finish_reason(Record(done=True, done_reason="stop"), called=True) == "tool_calls"
    assert finish_reason(Record(done=True), called=False) == "stop"
