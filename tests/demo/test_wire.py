"""Bodies read as Go reads them, refusals, names, durations, JSON as Go writes it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.wire import FOREVER, Body, Message, Refused, canonical_name, dump, has_images, read_keep_alive


def body(**fields: object) -> Body:
    return Body(json.dumps(fields).encode())


def refusal(call, *args) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call(*args)
    return refused.value.status, refused.value.message


class TestBody:
    @pytest.mark.parametrize("raw", [b"", b"  \r\n"])
    def test_missing(self, raw: bytes):
        assert refusal(Body, raw) == (400, "missing request body")

    @pytest.mark.parametrize(
        "raw",
        [
            b"{",
            b"nonsense",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": 1e999}',
            b"[" * 100_000,
            b'{"a": 1' + b"0" * 999,
        ],
    )
    def test_no_json(self, raw: bytes):
        assert refusal(Body, raw)[0] == 400

    @pytest.mark.parametrize("raw", [b"[]", b"3", b'"x"', b"null", b"true"])
    def test_no_object(self, raw: bytes):
        assert refusal(Body, raw)[0] == 400

    def test_what_follows_the_first_value_is_ignored(self):
        assert Body(b'{"model": "m"} and more').string("model") == "m"

    def test_top_level_keys_match_in_any_case(self):
        assert Body(b'{"MODEL": "m", "Stream": false}').call().stream is False
        assert Body(b'{"MODEL": "m"}').string("model") == "m"

    def test_bytes_that_are_no_utf8_and_half_pairs_are_replaced(self):
        assert Body(b'{"model": "a\xffb"}').string("model") == "a\ufffdb"
        assert Body(rb'{"model": "a\ud800b"}').string("model") == "a\ufffdb"
        assert Body(rb'{"model": "\ud83d\ude00"}').string("model") == "😀"

    @given(st.binary(max_size=60))
    def test_any_bytes_are_read_or_refused(self, raw: bytes):
        try:
            Body(raw).call()
        except Refused as refused:
            assert refused.status == 400

    @pytest.mark.parametrize(
        ("reader", "value"),
        [
            ("string", 3),
            ("array", {}),
            ("array", "x"),
            ("object", []),
            ("integers", [1, 2.5]),
            ("integers", [True]),
            ("integers", ["1"]),
        ],
    )
    def test_wrong_types_are_a_400(self, reader: str, value: object):
        assert refusal(getattr(body(field=value), reader), "field")[0] == 400

    def test_wrong_types_of_booleans_and_integers(self):
        assert refusal(body(stream="yes").boolean, "stream", True)[0] == 400
        assert refusal(body(n=1.0).integer, "n", 0)[0] == 400
        assert refusal(body(n=True).integer, "n", 0)[0] == 400

    def test_null_is_absent(self):
        nothing = body(a=None)
        assert nothing.string("a") == "" and nothing.array("a") == [] and nothing.object("a") == {}
        assert (
            nothing.boolean("a", True) is True
            and nothing.integer("a", 7) == 7
            and nothing.integers("a") == []
        )


class TestCall:
    def test_defaults(self):
        call = body(model="m").call()
        assert (call.stream, call.keep_alive, call.options, call.logprobs, call.thinks) == (
            True,
            None,
            {},
            False,
            False,
        )

    def test_null_stream_is_streaming(self):
        assert body(stream=None).call().stream is True

    @pytest.mark.parametrize("value", [-1, 21])
    def test_top_logprobs_has_bounds(self, value: int):
        assert refusal(body(top_logprobs=value).call) == (400, "top_logprobs must be between 0 and 20")

    def test_options_must_be_an_object(self):
        assert refusal(body(options=[1]).call)[0] == 400

    @pytest.mark.parametrize("value", [True, "low", "medium", "high", "max"])
    def test_asks_to_think(self, value: object):
        assert body(think=value).call().thinks

    @pytest.mark.parametrize("value", [False, None])
    def test_asks_not_to_think(self, value: object):
        assert not body(think=value).call().thinks

    @pytest.mark.parametrize("value", ["extreme", 3, [], ""])
    def test_asks_for_nonsense(self, value: object):
        status, message = refusal(body(think=value).call)
        assert status == 400 and "think" in message


class TestMessages:
    def test_role_is_lowered_and_content_may_be_null(self):
        sent = [{"role": "User", "content": "Hi"}, {"role": "assistant", "content": None}, {}]
        assert body(messages=sent).messages() == [
            Message("user", "Hi"),
            Message("assistant", ""),
            Message("", ""),
        ]

    @pytest.mark.parametrize(
        "message",
        [
            "text",
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": 3},
            {"role": "user", "thinking": 1},
            {"role": "tool", "tool_name": []},
            {"role": "assistant", "tool_calls": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            {"role": "user", "images": "x"},
            {"role": "user", "images": [1]},
            {"role": "user", "images": ["data:image/png;base64,aaaa"]},
        ],
    )
    def test_wrong_shapes_are_a_400(self, message: object):
        assert refusal(body(messages=[message]).messages)[0] == 400

    @pytest.mark.parametrize("arguments", [{}, {"a": 1}, None])
    def test_tool_calls_with_an_object_are_fine(self, arguments: object):
        sent = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]
        assert len(body(messages=sent).messages()) == 1

    def test_images_are_noticed(self):
        assert body(messages=[{"role": "user", "images": ["aGk="]}]).messages()[0].images
        assert not has_images([])


class TestKeepAlive:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, None),
            (0, 0.0),
            (90, 90.0),
            (0.5, 0.5),
            (-1, FOREVER),
            ("-1s", FOREVER),
            ("-1m", FOREVER),
            ("0", 0.0),
            ("10m", 600.0),
            ("1h30m", 5400.0),
            ("300ms", 0.3),
            ("+1.5s", 1.5),
            (".5m", 30.0),
            ("1.s", 1.0),
            ("2us", 2e-6),
            ("2µs", 2e-6),
        ],
    )
    def test_read(self, value: object, seconds: float | None):
        assert read_keep_alive(value) == (None if seconds is None else pytest.approx(seconds))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("10", 'time: missing unit in duration "10"'),
            ("-1", 'time: missing unit in duration "-1"'),
            ("5x", 'time: unknown unit "x" in duration "5x"'),
            ("", 'time: invalid duration ""'),
            ("soon", 'time: invalid duration "soon"'),
            ("-", 'time: invalid duration "-"'),
            ("1s.", 'time: invalid duration "1s."'),
            (True, "Unsupported type: 'bool'"),
            ({}, "Unsupported type: 'object'"),
            ([], "Unsupported type: 'array'"),
        ],
    )
    def test_refused(self, value: object, message: str):
        assert refusal(read_keep_alive, value) == (400, message)

    @given(st.text(alphabet="0123456789.-+smhnuµx", max_size=12))
    def test_any_string_is_read_or_refused(self, text: str):
        try:
            assert (read_keep_alive(text) or 0.0) >= 0.0
        except Refused as refused:
            assert refused.status == 400


class TestNames:
    @pytest.mark.parametrize(
        ("name", "canonical"),
        [
            ("demo", "demo:latest"),
            ("DEMO:Latest", "demo:latest"),
            ("demo-slow:latest", "demo-slow:latest"),
            ("library/demo", "demo:latest"),
            ("registry.ollama.ai/library/demo:latest", "demo:latest"),
            ("localhost:5000/me/demo:v1", "localhost:5000/me/demo:v1"),
        ],
    )
    def test_canonical(self, name: str, canonical: str):
        assert canonical_name(name) == canonical

    @pytest.mark.parametrize("name", ["a b", "demo:", ":x", "a/b/c/d", "demo:a:b", "-x", "é", "a//b", ""])
    def test_malformed(self, name: str):
        assert refusal(canonical_name, name) == (400, "invalid model name")


class TestDump:
    def test_escapes_as_go_does(self):
        assert dump({"a": "<b> & ü"}) == '{"a":"\\u003cb\\u003e \\u0026 ü"}'.encode()

    @given(
        st.recursive(st.text() | st.integers(-(2**53), 2**53) | st.booleans(), lambda inner: st.lists(inner))
    )
    def test_is_one_line_that_means_the_same(self, value: object):
        line = dump({"value": value})
        assert b"\n" not in line
        assert json.loads(line) == {"value": value}


def test_forever_is_longer_than_anything():
    assert math.inf == FOREVER
