from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BadBody, ClientError
from proxy.openai.request import ChatRequest, parse_chat
from proxy.parameters.catalog import CANONICAL, CATALOG
from proxy.parameters.client import FIELDS, Asked, read

quick = settings(deadline=None, max_examples=200)

GOOD = b'{"model": "m", "messages": [{"role": "user", "content": "h\xc3\xa9 \\u20ac"}], "temperature": 0.5, "stream": true}'
MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'

WRONG: dict[str, list[Any]] = {
    "float": ["0.5", [0.5], {}, True],
    "int": ["5", 5.5, [5], False],
    "bool": ["true", 1, 0, []],
    "list": [5, {"a": 1}, [[]], True],
    "enum": ["1", 7, [1], {}],
    "string": [True, {}, [], 5.5],
    "object": ["x", 5, [], True],
}
WRONG_HERE: dict[str, list[Any]] = {
    "think": [1, "very", [], {}],
    "response_format": ["xml", 5, [], True],
    "keep_alive": [True, {}, [], "5 minutes"],
}


def accept(body: bytes) -> tuple[ChatRequest, Asked]:
    """All that may refuse a body before an upstream is chosen."""
    chat = parse_chat(body)
    return chat, read(chat.decode(FIELDS))


def with_field(name: str, value: bytes) -> bytes:
    return b'{"model":"m",' + MESSAGES + b"," + orjson.dumps(name) + b":" + value + b"}"


def truncated() -> Iterator[bytes]:
    yield from (GOOD[:cut] for cut in range(1, len(GOOD)))


def not_an_object() -> Iterator[bytes]:
    yield from (b"", b" ", b"\n\t\r ", b"null", b"true", b"5", b'"text"', b"[]", b"[{}]", b"NaN")
    yield from (b"[" + GOOD + b"]", b'"' + GOOD + b'"', b"model=m&messages=hi", b"--boundary\r\n\r\n{}")
    yield from (
        b"{}",
        b'{"model":"m"}',
        b'{"model":"m","messages":null}',
        b'{"messages":[]}',
        b'{"messages":{}}',
    )


def not_json() -> Iterator[bytes]:
    yield from (GOOD + extra for extra in (b"x", b"}", b"{}", b"\x00", b",", GOOD))
    yield from (junk + GOOD for junk in (b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b",", b"\xa0"))
    yield GOOD.replace(b'"', b"'")
    yield GOOD.decode().encode("utf-16")
    yield GOOD.decode().encode("utf-32")
    yield GOOD.replace(b"true", b"True")
    yield GOOD.replace(b"}", b",}")
    yield GOOD.replace(b'"stream"', b"stream")
    yield b"{/* comment */" + GOOD[1:]
    yield from (
        with_field("temperature", number)
        for number in (
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"01",
            b".5",
            b"5.",
            b"+1",
            b"0x10",
            b"1_0",
            b"-",
            b"1e",
        )
    )
    yield from (
        with_field("x", text) for text in (b'"\x01"', b'"\n"', b'"\\x41"', b'"\\u12"', b'"\\ud800"', b'"a')
    )


def not_text() -> Iterator[bytes]:
    for junk in (
        b"\xff",
        b"\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
    ):
        yield with_field("x", b'"' + junk + b'"')
        yield GOOD.replace(b"m", junk, 1)
        yield GOOD.replace(b"\xc3\xa9", junk)


def too_deep() -> Iterator[bytes]:
    for depth in (1_100, 100_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            inner = opening * depth + b"1" + closing * depth
            yield inner
            yield opening * depth
            yield from (
                with_field(name, inner) for name in ("messages", "options", "x", "temperature", "logit_bias")
            )
    wide = b"[" * 900 + b"]" * 900
    yield from (with_field(name, wide) for name in ("stop", "temperature", "messages", "stream", "model"))
    yield with_field("chat_template_kwargs", b'{"a":' + wide + b"}")


def numbers_too_big() -> Iterator[bytes]:
    for number in (b"1e999", b"-1e999", b"1" + b"0" * 400, b"1e400"):
        yield from (with_field(name, number) for name in ("temperature", "max_tokens", "seed", "keep_alive"))
        yield with_field("options", b'{"num_ctx":' + number + b"}")


def wrong_types() -> Iterator[bytes]:
    for value in (b"5", b"[]", b"{}", b"true", b'["m"]'):
        yield with_field("model", value)
    for value in (
        b'"x"',
        b"5",
        b"[null]",
        b'["hi"]',
        b"[{}]",
        b'[{"role":5}]',
        b'[{"role":null}]',
        b"[[]]",
        b"{}",
    ):
        yield with_field("messages", value)
    for value in (b'"true"', b"1", b"0", b"[]", b"{}", b'""'):
        yield with_field("stream", value)
    for value in (b"true", b"[]", b"{}", b'"usage"', b'{"include_usage":true}'):
        yield with_field("stream_options", value)
    yield with_field("stream_options", b'{"include_usage":1},"stream":true')
    for name in ("tools", "functions"):
        yield from (with_field(name, value) for value in (b"{}", b'"x"', b"5", b"true"))
    for name in ("options", "generation_params", "reasoning", "chat_template_kwargs"):
        yield from (with_field(name, value) for value in (b"[]", b'"x"', b"5", b"true"))
    for spelling, name in CANONICAL.items():
        for bad in WRONG_HERE.get(name, WRONG[CATALOG[name].type]):
            yield with_field(spelling, orjson.dumps(bad))


def duplicates() -> Iterator[bytes]:
    """The last of two wins, so a good one before it does not help."""
    yield GOOD[:-1] + b',"temperature":"hot"}'
    yield GOOD[:-1] + b',"stream":"yes"}'
    yield GOOD[:-1] + b',"messages":[]}'
    yield GOOD[:-1] + b',"\\u006dodel":5}'


KINDS = (
    truncated, not_an_object, not_json, not_text, too_deep, numbers_too_big, wrong_types, duplicates
)  # fmt: skip
MALFORMED = [
    pytest.param(body, id=f"{kind.__name__}-{index}") for kind in KINDS for index, body in enumerate(kind())
]


def test_there_are_enough_malformed_bodies() -> None:
    assert len(MALFORMED) >= 300


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_body_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        accept(body)
    fault = caught.value
    assert fault.status == 400
    shown = json.loads(orjson.dumps(fault.body()))
    assert shown["error"].keys() == {"message", "type", "param", "code"}
    assert shown["error"]["type"] == "invalid_request_error"
    assert shown["error"]["code"].startswith("attune_")
    assert 0 < len(shown["error"]["message"]) < 500


@quick
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 6))
def test_any_damage_is_refused_or_harmless(at: int, junk: bytes, lost: int) -> None:
    body = GOOD[:at] + junk + GOOD[at + lost :]
    try:
        chat, _ = accept(body)
    except ClientError as fault:
        assert fault.status == 400
    else:
        assert {name: json.loads(bytes(raw)) for name, raw in chat.fields.items()} == json.loads(body)


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        parse_chat(body)


@pytest.mark.parametrize(
    ("body", "words", "param"),
    [
        (b"", "the body is empty", None),
        (b"[]", "the body must be a JSON object", None),
        (GOOD[:-1], "the body is not valid JSON: Input data was truncated", None),
        (GOOD.replace(b"\xc3\xa9", b"\xff"), "the body is not UTF-8: byte 58 is invalid", None),
        (with_field("x", b"[" * 100_000), "nested too deeply", None),
        (with_field("x", b'"\\ud800"'), "a \\u escape is half of a character", None),
        (b"{}", "messages is required", "messages"),
        (b'{"messages":[]}', "messages must hold at least one message", "messages"),
        (b'{"messages":[{"role":5}]}', "messages must be a list of objects with a role", "messages"),
        (with_field("model", b"5"), "model must be a string, not 5", "model"),
        (with_field("stream", b'"yes"'), 'stream must be true or false, not "yes"', "stream"),
        (with_field("tools", b"{}"), "tools must be a list, not {}", "tools"),
        (with_field("stream_options", b"{}"), "stream_options needs stream: true", "stream_options"),
        (
            with_field("stream_options", b'[],"stream":true'),
            "stream_options must be an object, not []",
            "stream_options",
        ),
        (
            with_field("stream_options", b'{"include_usage":1},"stream":true'),
            "stream_options.include_usage must be true or false",
            "stream_options",
        ),
        (with_field("options", b'{"a":1e999}'), "options is not valid JSON", "options"),
    ],
)
def test_a_refusal_names_what_is_wrong(body: bytes, words: str, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        accept(body)
    assert words in caught.value.message
    assert caught.value.param == param


def test_fields_stay_the_bytes_they_came_as() -> None:
    parts = {
        "messages": b'[ {"role":"user" , "content":"\\u0068\\/ \xe2\x82\xac\\n", "x": 1.50e+2} ]',
        "temperature": b"0.70",
        "seed": b"123456789012345678901234567890",
        "custom": b'{"b":1 ,"a":[ ],  "b":2}',
        "model": b'"m\\u0061"',
        "nothing": b"null",
    }
    body = b"\n{ " + b" ,\t".join(b'"%s" :  %s ' % (n.encode(), raw) for n, raw in parts.items()) + b"}\r\n"
    chat = parse_chat(body)
    assert {name: bytes(raw) for name, raw in chat.fields.items()} == parts
    assert list(chat.fields) == list(parts)
    assert chat.model == "ma"


def test_the_last_of_two_fields_wins() -> None:
    chat = parse_chat(b'{"model":"a",' + MESSAGES + b',"model":"b","m\\u006fdel":"c"}')
    assert chat.model == "c"
    assert list(chat.fields) == ["model", "messages"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [(b"", False), (b',"stream":true', True), (b',"stream": false', False), (b',"stream":null', False)],
)
def test_stream(field: bytes, expected: bool) -> None:
    assert parse_chat(b"{" + MESSAGES + field + b"}").stream is expected


@pytest.mark.parametrize("field", [b"", b',"model":null', b',"model":""'])
def test_no_model(field: bytes) -> None:
    assert parse_chat(b"{" + MESSAGES + field + b"}").model is None


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"", False),
        (b',"tools":null', False),
        (b',"tools":[]', False),
        (b',"tools":[ \n\t]', False),
        (b',"functions":[]', False),
        (b',"tools":[{"type":"function"}]', True),
        (b',"tools":null,"functions":[{"name":"f"}]', True),
        (b',"tools":[],"functions":[{"name":"f"}]', True),
    ],
)
def test_whether_tools_are_offered(field: bytes, expected: bool) -> None:
    assert parse_chat(b"{" + MESSAGES + field + b"}").tools is expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"null", False),
        (b"{}", False),
        (b'{"include_usage":false}', False),
        (b'{"include_usage":null}', False),
        (b'{"include_usage":true,"other":1}', True),
    ],
)
def test_whether_usage_is_wanted(options: bytes, expected: bool) -> None:
    body = b"{" + MESSAGES + b',"stream":true,"stream_options":' + options + b"}"
    assert parse_chat(body).include_usage is expected


def test_no_stream_options_no_usage() -> None:
    assert parse_chat(GOOD).include_usage is False
    assert parse_chat(b"{" + MESSAGES + b',"stream_options":null}').include_usage is False


def test_raw_is_a_fields_bytes_unless_it_says_nothing() -> None:
    chat = parse_chat(b"{" + MESSAGES + b',"a": [1, 2] ,"b":null,"c":"null","d":false}')
    assert chat.raw("a") == b"[1, 2]"
    assert chat.raw("b") is None
    assert chat.raw("c") == b'"null"'
    assert chat.raw("d") == b"false"
    assert chat.raw("e") is None


def test_only_what_is_asked_for_is_decoded() -> None:
    chat = parse_chat(b"{" + MESSAGES + b',"a":{"x":[1]},"b":1e999}')
    assert chat.decode(["a", "missing"]) == {"a": {"x": [1]}}
    with pytest.raises(BadBody, match="b is not valid JSON"):
        chat.decode(["b"])


def test_a_message_may_hold_anything_beside_its_role() -> None:
    chat = parse_chat(b'{"messages":[{"content":[{"type":"x"}],"role":"nobody","role":"user","x":{}}]}')
    assert isinstance(chat.fields["messages"], msgspec.Raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OWN = ("model", "messages", "stream", "stream_options", "tools", "functions")


@quick
@given(
    st.dictionaries(st.text(max_size=6).filter(lambda key: key not in OWN), JSON, max_size=5), st.booleans()
)
def test_whatever_else_a_body_holds_comes_through(extra: dict[str, Any], ascii_only: bool) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], **extra}
    body = json.dumps(fields, ensure_ascii=ascii_only).encode()
    chat = parse_chat(body)
    assert {name: json.loads(bytes(raw)) for name, raw in chat.fields.items()} == fields
    assert all(bytes(raw) in body for raw in chat.fields.values())
