"""Requests that nobody can answer, by kind: (what is wrong, body) each, and a body that is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from proxy.parameters.catalog import CATALOG

MODEL = "llama3:8b"
USER = {"role": "user", "content": "hi"}
RIGHT: dict[str, Any] = {"model": MODEL, "messages": [USER]}
DEEP = 100_000

Body = tuple[str, bytes]


def right(**fields: Any) -> bytes:
    """A body that is right but for these fields."""
    return json.dumps(RIGHT | fields).encode()


def _field(name: str, raw: str) -> bytes:
    """A body with a field that is written out."""
    return right()[:-1] + f", {json.dumps(name)}: {raw}}}".encode()


def _said(message: Any) -> bytes:
    return right(messages=[USER, message, USER])


def no_json() -> Iterator[Body]:
    """What is no JSON object at all."""
    whole = right(stream=True, temperature=0.5, stop=["é\n"], options={"top_k": 1})
    yield from ((f"cut at {end}", whole[:end]) for end in range(0, len(whole), 4))
    yield from ((f"invalid UTF-8 at {at}", whole[:at] + b"\xff" + whole[at:]) for at in (0, 9, 40, 70))
    yield "overlong UTF-8", whole.replace(b"hi", b"\xc0\xaf")
    yield "a lone surrogate in UTF-8", whole.replace(b"hi", b"\xed\xa0\x80")
    yield "a lone surrogate escaped", whole.replace(b"hi", b"\\ud800")
    yield "UTF-16", whole.decode().encode("utf-16")
    yield "a byte order mark", b"\xef\xbb\xbf" + whole
    yield "a NUL", whole.replace(b"hi", b"h\x00i")
    yield "a line end in a string", whole.replace(b"hi", b"h\ni")
    yield "two values", whole + whole
    yield "a comment", b"// hello\n" + whole
    yield "a form", b"model=llama3:8b&stream=true"
    yield "single quotes", whole.replace(b'"', b"'")
    yield "a trailing comma", whole[:-1] + b",}"
    yield "a key without quotes", b"{model: 1}"
    yield "a number for a key", b"{1: 1}"
    for text in ("null", "true", "0", "-1", '"x"', "[]", "[1]", "[{}]", "{}", "NaN", "Infinity", " ", "\n\n"):
        yield f"only {text!r}", text.encode()
    for opened in ("[", "{", '{"a":', '[{"a":'):
        yield f"{DEEP} times {opened}", opened.encode() * DEEP
    yield "a list of lists", b"[" * DEEP + b"]" * DEEP


DEEPLY = [
    "messages",
    "tools",
    "options",
    "temperature",
    "stop",
    "response_format",
    "model",
    "stream",
    "metadata",
]
DEEPLY += [
    "generation_params",
    "reasoning",
    "logit_bias",
    "chat_template_kwargs",
    "stream_options",
    "functions",
]


def deep() -> Iterator[Body]:
    """What is nested deeper than any reader goes."""
    for name in DEEPLY:
        yield f"{name}: deep list", _field(name, "[" * DEEP + "]" * DEEP)
        yield f"{name}: deep object", _field(name, '{"a":' * DEEP + "1" + "}" * DEEP)
    for depth in (260, 500, 990, 1020, 5000):
        nest = '{"a":' * depth + "1" + "}" * depth
        yield f"temperature: {depth} objects", _field("temperature", nest)
        yield f"stop: {depth} lists", _field("stop", "[" * depth + "]" * depth)
        yield f"response_format: {depth} objects", _field("response_format", nest)
        yield f"options.top_k: {depth} objects", _field("options", f'{{"top_k": {nest}}}')
        yield f"logit_bias: {depth} objects", _field("logit_bias", nest)
        yield f"a schema's {depth} objects", right(tools=[_tool()]).replace(b'"object"', nest.encode())
        said = f'{{"role": "assistant", "content": null, "tool_calls": [{nest}]}}'
        yield f"a call of {depth} objects", _field("messages", f"[{said}]")


def parameters() -> Iterator[Body]:
    """Every parameter with values of a wrong type, at every place and under every name."""
    wrong: dict[str, list[Any]] = {
        "float": ["0.5", True, [0.5], {}],
        "int": ["5", True, 0.5, [5], {}],
        "bool": ["true", 1, 0.0, []],
        "list": [5, True, {}, [None], [[]]],
        "string": [True, [], {}],
        "object": ["x", 5, True, []],
        "enum": ["on", 7, 0.5, [], {}],
    }
    for name, parameter in CATALOG.items():
        for value in wrong[parameter.type]:
            yield f"{name}: {value!r}", right(**{name: value})
        for number, spelling in enumerate(parameter.spellings):
            place = ("options", "generation_params")[number % 2]
            yield f"{place}.{spelling}", right(**{place: {spelling: wrong[parameter.type][0]}})
    for name in ("temperature", "seed", "max_tokens", "top_k"):
        for number in (
            "1e999",
            "-1e999",
            "1" + "0" * 400,
            "NaN",
            "-Infinity",
            "01",
            "1.",
            "+1",
            "0x10",
            "1_0",
        ):
            yield f"{name}: {number[:12]}", _field(name, number)
    for value in ("10", "5x", "m5", "", "1h 30m", "∞", "--1m"):
        if value != "10":  # digits are seconds
            yield f"keep_alive: {value!r}", right(keep_alive=value)
    yield "stop_token_ids: of strings", right(stop_token_ids=["1"])
    yield "n: 2", right(n=2)


def fields() -> Iterator[Body]:
    """The other fields, each of a wrong type."""
    wrong: list[Any] = [5, "x", True, [], {}]
    for name in ("options", "generation_params", "reasoning", "chat_template_kwargs"):
        yield from ((f"{name}: {value!r}", right(**{name: value})) for value in wrong[:4])
    for value in ("true", 1, 0, [], {}, "x"):
        yield f"stream: {value!r}", right(stream=value)
    for value in (5, True, [], {}, [None]):
        yield f"model: {value!r}", right(model=value)
    for value in (
        5,
        "x",
        True,
        {},
        [],
        None,
        [5],
        ["x"],
        [None],
        [[]],
        [{}],
        [{"role": None}],
        [{"role": 5}],
    ):
        yield f"messages: {value!r}", right(messages=value)
    for value in (5, "x", [], True, {"include_usage": "yes"}, {"include_usage": 1}):
        yield f"stream_options: {value!r}", right(stream=True, stream_options=value)
    for name in ("tools", "functions"):
        yield from ((f"{name}: {value!r}", right(**{name: value})) for value in (5, "x", True, {}))
    yield "no messages", json.dumps({"model": MODEL}).encode()
    yield "stream_options without a stream", right(stream=False, stream_options={"include_usage": True})
    yield "reasoning.effort", right(reasoning={"effort": 5})
    yield "a template's switch", right(chat_template_kwargs={"enable_thinking": "perhaps"})


def messages() -> Iterator[Body]:
    """Messages in every shape that the translation refuses."""
    for content in (5, True, {}, {"type": "text"}, [5], [None], ["x"], [[]], [{}], [{"type": 5}]):
        for role in ("user", "system", "assistant", "tool", "developer"):
            yield f"{role} content: {content!r}", _said({"role": role, "content": content})
    for name, part in _parts():
        yield f"part: {name}", _said({"role": "user", "content": [{"type": "text", "text": "see"}, part]})
    for images in (5, "x", [5], [None], ["%%%"], [""], ["data:image/png;base64,AAAA"], ["AAAAA"]):
        yield f"images: {images!r}", _said({"role": "user", "content": "see", "images": images})
    for name, call in _calls():
        yield f"call: {name}", _said({"role": "assistant", "content": None, "tool_calls": call})
    for call in (5, "x", [], {}, {"name": 5}, {"arguments": "{}"}):
        yield f"function_call: {call!r}", _said({"role": "assistant", "function_call": call})
    for key in ("tool_call_id", "name", "tool_name"):
        for value in (5, [], {}, True):
            yield f"{key}: {value!r}", _said({"role": "tool", "content": "x", key: value})
    yield "refusal: 5", _said({"role": "assistant", "refusal": 5})


def _parts() -> Iterator[tuple[str, Any]]:
    for kind in ("image", "video_url", "", "Text", "input_text", None):
        yield f"type {kind!r}", {"type": kind, kind or "x": "x"}
    yield "text: null", {"type": "text", "text": None}
    yield "text: 5", {"type": "text", "text": 5}
    yield "no text", {"type": "text"}
    urls = (
        "http://a/b.png",
        "https://a/b.png",
        "HTTP://a",
        "file:///etc/passwd",
        "/etc/passwd",
        "",
        "data:,x",
    )
    urls += (
        "data:image/png,AAAA",
        "data:image/png;base64,",
        "data:image/png;base64,!!",
        "data:;base64,AAAAA",
    )
    for url in (*urls, 5, None, [], "javascript:x", "gopher://127.0.0.1:11434/"):
        yield f"image {url!r}", {"type": "image_url", "image_url": {"url": url}}
        yield f"bare image {url!r}", {"type": "image_url", "image_url": url}
    yield "no image", {"type": "image_url"}
    for audio in (5, "x", {}, {"data": 5}, {"data": "%", "format": "wav"}):
        yield f"audio {audio!r}", {"type": "input_audio", "input_audio": audio}
    yield "a file", {"type": "file", "file": {"file_id": "f"}}


def _calls() -> Iterator[tuple[str, Any]]:
    good = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for value in (5, "x", True, {}, [5], [None], ["x"], [[]], [{}]):
        yield repr(value), value
    for value in (5, [], {}, True):
        yield f"id {value!r}", [good | {"id": value}]
        yield f"type {value!r}", [good | {"type": value}]
        yield f"function {value!r}", [good | {"function": value}]
        yield f"name {value!r}", [good | {"function": {"name": value, "arguments": "{}"}}]
    for value in (5, True, [], [{}]):
        yield f"arguments {value!r}", [good | {"function": {"name": "f", "arguments": value}}]
    yield "a custom one", [good | {"type": "custom"}]
    yield "the second", [good, good | {"function": None}]


def _tool(**function: Any) -> dict[str, Any]:
    usual = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": usual | function}


def tools() -> Iterator[Body]:
    """Tools, tool choices and formats that make no sense."""
    for tool in (5, None, "x", [], {}, {"type": "function"}, {"type": "custom", "function": {"name": "f"}}):
        yield f"tool {tool!r}", right(tools=[tool])
    for function in (5, "x", [], {}, {"name": None}, {"name": ""}, {"name": 5}, {"name": []}):
        yield f"function {function!r}", right(tools=[{"type": "function", "function": function}])
        yield f"old function {function!r}", right(functions=[function])
    yield "description: 5", right(tools=[_tool(description=5)])
    schemas: list[Any] = [5, "x", [], True, {"type": 5}, {"type": "object", "properties": 5}]
    schemas += [
        {"type": "object", "required": "a"},
        {"properties": {"a": 5}},
        {"properties": {"a": {"type": 5}}},
    ]
    schemas += [{"properties": {"a": {"enum": 5}}}, {"properties": {"a": {"anyOf": {}}}}, {"properties": []}]
    for schema in schemas:
        yield f"parameters {schema!r}", right(tools=[_tool(parameters=schema)])
    choices: list[Any] = [
        5,
        True,
        "sometimes",
        [],
        {},
        {"type": "function"},
        {"type": "custom", "custom": {}},
    ]
    choices += [
        {"type": "function", "function": {"name": "nobody"}},
        {"type": "function", "function": {"name": 5}},
    ]
    choices += [{"type": "allowed_tools", "allowed_tools": 5}, {"type": "allowed_tools", "allowed_tools": {}}]
    for choice in choices:
        yield f"tool_choice {choice!r}", right(tools=[_tool()], tool_choice=choice)
    for call in (5, True, "sometimes", [], {}, {"name": 5}, {"name": "nobody"}):
        yield f"function_call {call!r}", right(functions=[_tool()["function"]], function_call=call)
    formats: list[Any] = [
        5,
        True,
        [],
        "xml",
        "JSON",
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": 5},
    ]
    formats += [{"type": "json_schema", "json_schema": {"name": "a"}}]
    formats += [{"type": "json_schema", "json_schema": {"name": "a", "schema": 5}}]
    for value in formats:
        yield f"response_format {value!r}", right(response_format=value)


def models() -> Iterator[Body]:
    """Names that nobody serves, of every kind."""
    names = [
        "nobody",
        "a/b/c",
        "../../etc/passwd",
        "/",
        "//",
        "http://127.0.0.1:1/x",
        "@",
        "@@",
        "@precise",
        "a@",
    ]
    names += [
        f"{MODEL}@nobody",
        f"{MODEL}@",
        f"{MODEL}@precise@x",
        "auto@nobody",
        "auto",
        "",
        " ",
        f" {MODEL}",
    ]
    names += [
        "ü",
        "模型",
        "👩‍🚀",
        "\u202e",
        "\ud7ff",
        "a\r\nX-Evil: 1",
        "a\x00b",
        "\x7f",
        "*",
        "llama3*",
        "[",
        "?",
    ]
    names += [
        "x" * 10_000,
        "@" * 5000,
        f"{MODEL}@{'x' * 10_000}",
        "a/" * 5000,
        "%0d%0aX-Evil:1",
        "llama3:8b\n",
    ]
    yield from ((f"model {name[:24]!r}", right(model=name)) for name in names)


KINDS = {k.__name__: k for k in (no_json, deep, parameters, fields, messages, tools, models)}
