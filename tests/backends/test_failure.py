from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.backends.failure import holds_error, read_json, refused, reported

LLAMA = {
    "error": {
        "code": 400,
        "message": "request (351 tokens) exceeds the available context size (256 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 351,
        "n_ctx": 256,
    }
}
COPIED = {"error": orjson.dumps(LLAMA).decode()}
PAGE = b"<html>\r\n<head><title>502 Bad\r\n Gateway</title></head>\r\n<body><h1>secret</h1></body></html>"


def told(status: int, body: object, **more: Any) -> tuple[int, str, str, str | None, str | None]:
    """Status, message, type, param and code of what is refused."""
    error = refused(status, body if isinstance(body, bytes) else orjson.dumps(body), **more)
    assert orjson.loads(orjson.dumps(error.body())) == {"error": error.error}
    assert list(error.error) == ["message", "type", "param", "code"]
    assert error.message == error.error["message"]
    return (error.status, *error.error.values())


VLLM = [
    (
        400,
        {"error": {"message": "temperature must be in [0, 2]", "type": "BadRequestError", "param": "temperature", "code": 400}},
        ("temperature must be in [0, 2]", "BadRequestError", "temperature", None),
    ),
    (
        400,
        {"error": {"message": "1 validation error", "type": "Bad Request", "param": "body.messages", "code": 400}},
        ("1 validation error", "Bad Request", "body.messages", None),
    ),
    (
        404,
        {"error": {"message": "no such model", "type": "NotFoundError", "param": "model", "code": 404}},
        ("no such model", "NotFoundError", "model", None),
    ),
    (
        503,
        {"error": {"message": "queue full", "type": "Service Unavailable", "param": None, "code": 503}},
        ("queue full", "Service Unavailable", None, None),
    ),
    (
        500,
        {"error": {"message": "", "type": "InternalServerError", "param": None, "code": 500}},
        ("the upstream answered with status 500 and no message", "InternalServerError", None, None),
    ),
    (
        400,
        {"detail": "There was an error parsing the body"},
        ("There was an error parsing the body", "invalid_request_error", None, None),
    ),
    (404, {"detail": "Not Found"}, ("Not Found", "not_found_error", None, None)),
    (405, {"detail": "Method Not Allowed"}, ("Method Not Allowed", "api_error", None, None)),
    (401, {"error": "Unauthorized"}, ("Unauthorized", "authentication_error", None, None)),
    (400, b"Disallowed CORS origin", ("Disallowed CORS origin", "invalid_request_error", None, None)),
    (
        400,
        {"object": "error", "message": "flat", "type": "BadRequestError", "param": None, "code": 400},
        ("flat", "BadRequestError", None, None),
    ),
    (
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        ("Overloaded", "overloaded_error", None, None),
    ),
]  # fmt: skip

OLLAMA = [
    (404, {"error": "model 'x' not found"}, ("model 'x' not found", "not_found_error", None, None)),
    (
        401,
        {"error": "unauthorized", "signin_url": "https://ollama.example/x"},
        ("unauthorized", "authentication_error", None, None),
    ),
    (404, b"404 page not found", ("404 page not found", "not_found_error", None, None)),
    (403, b"", ("the upstream answered with status 403 and an empty body", "permission_error", None, None)),
    (503, {"error": "server busy, please try again"}, ("server busy, please try again", "api_error", None, None)),
    (
        400,
        {"error": {"message": "does not support tools", "type": "api_error", "param": None, "code": None}},
        ("does not support tools", "api_error", None, None),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "words"), [*VLLM, *OLLAMA])
def test_every_shape_keeps_its_status_and_words(status: int, body: object, words: tuple[Any, ...]) -> None:
    assert told(status, body) == (status, *words)


@pytest.mark.parametrize("outer", [200, 500])
def test_json_inside_json_gives_the_inner_words_and_status(outer: int) -> None:
    expected = (400, LLAMA["error"]["message"], "exceed_context_size_error", None, None)
    assert told(outer, COPIED) == expected
    assert told(outer, {"error": {"message": COPIED["error"], "type": "api_error", "code": None}}) == expected
    assert told(outer, {"error": orjson.dumps(COPIED).decode()}) == expected


def test_a_status_that_says_something_is_not_replaced_by_an_inner_one() -> None:
    assert told(404, COPIED)[0] == 404
    assert told(404, COPIED)[4] == "400"
    inner = orjson.dumps({"error": {"code": 503, "message": "down"}}).decode()
    assert told(500, {"error": inner}) == (500, "down", "api_error", None, "503")
    assert told(500, {"error": {"message": "own", "code": 404}})[0] == 500


def test_text_that_looks_like_json_stays_text() -> None:
    assert told(400, {"error": '{"a": 1}'})[1] == '{"a": 1}'
    assert told(400, {"error": "[1, 2"})[1] == "[1, 2"
    assert told(400, {"error": "{broken"})[1] == "{broken"
    assert told(400, b'{"error": {"foo": 1}}')[1] == '{"error": {"foo": 1}}'
    assert told(400, b'{"unknown": 1}')[1] == '{"unknown": 1}'
    assert told(400, b"[]")[1] == "[]"
    assert told(400, b"17")[1] == "17"
    assert told(400, b'"just words"')[1] == "just words"


def test_fastapis_complaints_are_joined() -> None:
    complaints = [
        {"loc": ["body", "messages", 0, "role"], "msg": "Field required", "type": "missing"},
        {"loc": "body", "msg": "too short"},
    ]
    status, message, kind, param, code = told(422, {"detail": complaints})
    assert message == "body.messages.0.role: Field required; body: too short"
    assert (status, kind, param, code) == (400, "invalid_request_error", None, None)


def test_lists_and_objects_in_odd_places() -> None:
    assert told(400, [{"error": {"code": 400, "message": "listed", "status": "BAD"}}])[1] == "listed"
    assert told(400, {"detail": {"error": {"message": "deep", "code": "c"}}})[1:] == (
        "deep", "invalid_request_error", None, "c",
    )  # fmt: skip
    assert told(400, {"error": {"msg": "short name"}})[1] == "short name"
    assert told(400, {"type": "error", "error": {"message": "m"}})[2] == "invalid_request_error"
    assert told(400, {"error": {}, "message": "beside"})[1] == "beside"
    assert told(400, {"error": {"code": "only_code"}})[1:] == (
        "the upstream answered with status 400 and no message", "invalid_request_error", None, "only_code",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, None),
        (404, "404"),
        (0, "0"),
        ("context_length_exceeded", "context_length_exceeded"),
        ("", None),
        (None, None),
        (True, None),
        (1.5, None),
        ([1], None),
        (10**4000, None),
    ],
)
def test_codes(code: object, expected: str | None) -> None:
    body = b'{"error": {"message": "m", "code": %b}}' % (
        str(code).encode() if isinstance(code, int) and code > 1 else orjson.dumps(code)
    )
    found = refused(400, body).error["code"]
    assert found == expected or (code == 10**4000 and found in (None, "number"))


def test_params_and_types_that_are_no_strings() -> None:
    error = {"message": "m", "type": 7, "param": ["a"], "code": None}
    assert told(400, {"error": error}) == (400, "m", "invalid_request_error", None, None)
    assert told(400, {"error": {**error, "type": "", "param": ""}})[2:4] == ("invalid_request_error", None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (408, "timeout_error"), (429, "rate_limit_error"), (504, "timeout_error"),
        (413, "api_error"), (418, "api_error"), (500, "api_error"), (503, "api_error"), (599, "api_error"),
    ],
)  # fmt: skip
def test_the_status_stays_and_names_the_type(status: int, kind: str) -> None:
    assert told(status, b"why") == (status, "why", kind, None, None)


@pytest.mark.parametrize(
    ("status", "becomes", "kind"),
    [
        (422, 400, "invalid_request_error"), (499, 502, "api_error"), (200, 502, "api_error"),
        (204, 502, "api_error"), (101, 502, "api_error"), (0, 502, "api_error"), (-1, 502, "api_error"),
        (600, 502, "api_error"), (99999, 502, "api_error"),
    ],
)  # fmt: skip
def test_other_statuses_are_changed_and_the_words_kept(status: int, becomes: int, kind: str) -> None:
    assert told(status, {"error": {"message": "words", "code": status}}) == (
        becomes,
        "words",
        kind,
        None,
        None,
    )


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 399])
def test_a_redirect_is_never_passed_on(status: int) -> None:
    headers = [(b"location", b"http://10.0.0.7:8000/v1/chat/completions")]
    error = refused(status, b'{"error":"see http://10.0.0.7:8000/"}', headers)
    assert error.status == 502
    assert "redirect" in error.message
    assert str(status) in error.message
    assert "10.0.0.7" not in str(error.body())
    assert error.headers() == []


def test_a_web_page_is_named_and_not_echoed() -> None:
    message = told(502, PAGE)[1]
    assert (
        message
        == 'the upstream answered with status 502 and a web page titled "502 Bad Gateway" instead of an error object'
    )
    for page in (
        b"\n <!DOCTYPE html><p>secret",
        b"\xef\xbb\xbf<HTML>secret",
        b"<?xml version='1.0'?><a>secret</a>",
    ):
        message = told(500, page)[1]
        assert "web page" in message
        assert "secret" not in message
    headers = [(b"Content-Type", b"text/HTML; charset=utf-8")]
    assert "web page" in told(500, b"<p>secret</p>", headers=headers)[1]
    assert told(500, b"<p> is missing")[1] == "<p> is missing"
    assert told(500, b"plain after all", headers=headers)[1] == "plain after all"


def test_bytes_that_are_no_text() -> None:
    assert told(400, "für".encode("latin-1"))[1] == "f\ufffdr"
    assert told(400, b'{"error":"f\xfcr"}')[1] == "f\ufffdr"
    assert told(400, '\ufeff{"error":"mark"}'.encode())[1] == "mark"
    assert (
        told(500, b"\x1f\x8b\x08\x00rest")[1]
        == "the upstream answered with status 500 and 8 bytes that are not text"
    )
    assert told(500, b" \r\n\t ")[1] == "the upstream answered with status 500 and an empty body"
    assert told(400, rb'{"error":"half \ud83d"}')[1] == "half ?"


def test_a_long_message_is_cut() -> None:
    for body in (
        b"x" * 1_000_000,
        {"error": {"message": "x" * 1_000_000}},
        {"detail": [{"loc": [1], "msg": "x" * 99}] * 999},
    ):
        message = told(400, body)[1]
        assert len(message) == 8192
        assert message.endswith("…")
    assert told(400, b"x" * 8192)[1] == "x" * 8192
    assert told(400, b"hello world", limit=6)[1] == "hello…"
    long = {"message": "m", "type": "t" * 50, "param": "p" * 50, "code": "c" * 50}
    assert [len(part) for part in told(400, {"error": long}, limit=10)[2:] if part] == [10, 10, 10]


def test_a_deeply_nested_error_is_no_trouble() -> None:
    text = "end"
    for _ in range(12):
        text = orjson.dumps({"error": text}).decode()
        assert told(500, text.encode())[1].endswith(("end", "}"))
    assert told(500, text.encode())[1].startswith('{"error":')
    assert told(500, b'{"error":' * 900 + b'"end"' + b"}" * 900)[1].startswith('{"error":')
    assert told(500, b'{"error":' * 3000 + b"1" + b"}" * 3000)[0] == 500
    assert told(500, b"[" * 100_000)[1].startswith("[[")


@pytest.mark.parametrize("value", [b"0", b"120", b" 7 ", b"Fri, 20 Nov 2026 16:00:00 GMT"])
def test_retry_after_is_passed_on(value: bytes) -> None:
    headers = [(b"Server", b"uvicorn"), (b"RETRY-after", value), (b"set-cookie", b"a=b"), (b"location", b"/")]
    assert refused(429, b"later", headers).headers() == [("retry-after", value.strip().decode())]


@pytest.mark.parametrize(
    "value",
    [b"", b"soon", b"-1", b"1.5", b"1\r\nx: y", b"9" * 40, b"\xb2", b"Fri, 20 Nov 2026 16:00:00", b"20 Nov 2026", b"Fri, 20 Nov 2026 16:00:00 GMT x"],
)  # fmt: skip
def test_a_retry_after_that_is_none_is_not(value: bytes) -> None:
    assert refused(429, b"later", [(b"retry-after", value)]).headers() == []


def test_reported_takes_the_errors_own_status() -> None:
    assert reported(b'{"error":{"message":"m","code":400}}').status == 400
    assert reported(b'{"error":{"message":"m","code":400}}').error["code"] is None
    assert reported(b'{"object":"error","message":"m","code":404}').status == 404
    for code in (b"200", b'"400"', b"null", b"600", b"true", b"400.0"):
        assert reported(b'{"error":{"message":"m","code":%b}}' % code).status == 500
    assert reported(orjson.dumps(COPIED)).status == 400
    assert reported(b"not json").status == 500
    assert reported(b"[]").status == 500


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": "x"}, True), ({"error": {"message": "x"}, "choices": []}, True), ({"error": None}, True),
        ({"object": "error"}, True), ({"type": "error"}, True), ({"error": None, "choices": []}, False),
        ({"error": "", "choices": []}, False), ({"choices": []}, False), ({}, False),
    ],
)  # fmt: skip
def test_holds_error(answer: dict[str, Any], expected: bool) -> None:
    assert holds_error(answer) is expected


def test_read_json_takes_what_the_grammar_allows_and_no_more() -> None:
    assert read_json(rb'"\ud83d"') == "\ud83d"
    assert read_json('{"a": 1}') == {"a": 1}
    for bad in (
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"",
        b"{",
        b'"\xff"',
        b"[" * 5000 + b"]" * 5000,
        b"\xef\xbb\xbf{}",
    ):
        with pytest.raises(ValueError):
            read_json(bad)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.sampled_from(["error", "message", "detail", "msg", "loc", "type", "param", "code", "object"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner))
BODIES = st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")) | VALUES.map(
    lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str) if _fits(value) else b"{"
)  # fmt: skip


def _fits(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@settings(deadline=None)
@given(
    st.integers() | st.sampled_from([200, 307, 400, 422, 499, 500]),
    BODIES,
    st.lists(st.tuples(st.sampled_from([b"Retry-After", b"content-type"]), st.binary())),
    st.integers(0, 50),
)
def test_it_never_raises(status: int, body: bytes, headers: list[tuple[bytes, bytes]], limit: int) -> None:
    code, message, *_ = told(status, body, headers=headers, limit=limit)
    assert 400 <= code <= 599
    assert code not in (422, 499)
    assert len(message) <= max(limit, 1)
    assert 400 <= reported(body).status <= 599
