"""Each row of the mapping from OpenAI's messages to Ollama's, then both properties that hold for all lists."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ollama_messages import Translated, translate_messages
from proxy.errors import BadBody, ClientError, Unsupported
from tests.doubles.ollama_checks import CHAT, bind

PIXEL = base64.b64encode(bytes(range(250, 256)) * 7).decode()
URL = f"data:image/png;base64,{PIXEL}"


def translate(*messages: Any) -> Translated:
    return translate_messages(json.dumps(messages).encode())


def native(*messages: Any) -> list[dict[str, Any]]:
    """The native list of messages that lose nothing."""
    done = translate(*messages)
    assert done.warnings == ()
    return orjson.loads(done.body)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def call(arguments: Any = "{}", id: str | None = "call_1", name: str = "f") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def assistant(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **more}


# What is the same in both dialects


@pytest.mark.parametrize(
    "body",
    [
        b'[{"role":"user","content":"hi"}]',
        b'[ {"content" : "\\u003c\\n\xc3\xa9" , "role" : "system"},\n{"role":"user","content":""} ]',
        b'[{"role":"system","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"}]',
    ],
)
def test_plain_messages_are_the_very_same_bytes(body):
    assert translate_messages(body).body is body
    assert translate_messages(body) == Translated(body, (), False)


def test_plain_messages_beside_others_keep_their_bytes():
    plain = b'{"content": "\\u003cb\\u003e 1.0e1", "role":"user"}'
    done = translate_messages(b'[{"role":"developer","content":"x"}, ' + plain + b"]")
    assert done.body == b'[{"role":"system","content":"x"},' + plain + b"]"


# Roles


@pytest.mark.parametrize(
    ("role", "becomes"),
    [("developer", "system"), ("User", "user"), ("SYSTEM", "system"), ("Developer", "system")],
)
def test_roles_that_ollama_knows_under_another_name(role, becomes):
    assert native({"role": role, "content": "x"}) == [{"role": becomes, "content": "x"}]


def test_an_unknown_role_is_sent_and_said():
    done = translate({"role": "control", "content": "thinking"})
    assert orjson.loads(done.body) == [{"role": "control", "content": "thinking"}]
    assert done.warnings == ("messages[0].role: not a role that templates are known to read, sent as it is",)


def test_the_old_function_role_is_a_tool_with_its_name():
    message = {"role": "function", "name": "weather", "content": "sunny"}
    assert native(message) == [{"role": "tool", "content": "sunny", "tool_name": "weather"}]


# Content


@pytest.mark.parametrize("message", [{"role": "user", "content": None}, {"role": "assistant"}])
def test_no_content_is_empty_content(message):
    assert native(message) == [{"role": message["role"], "content": ""}]


def test_text_parts_are_one_string_with_line_ends_between():
    assert native(user(text("one"), text(""), text("two")))[0]["content"] == "one\n\ntwo"
    assert native(user()) == [{"role": "user", "content": ""}]


def test_a_refusal_part_is_text():
    message = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}, text("sorry")]}
    assert native(message) == [{"role": "assistant", "content": "no\nsorry"}]


def test_tool_content_parts_are_joined():
    message = {"role": "tool", "name": "f", "content": [text("a"), text("b")]}
    assert native(message) == [{"role": "tool", "content": "a\nb", "tool_name": "f"}]


# Images and audio


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"DATA:image/jpeg;Base64,{PIXEL}",
        f"data:;base64,{PIXEL}",
        f"data:image/webp;name=a.webp;base64,{PIXEL}",
        URL.rstrip("="),
        f"data:image/png;base64,{PIXEL[:20]}\r\n{PIXEL[20:]}",
    ],
)
def test_an_inline_image_is_bare_padded_base64_on_the_same_message(url):
    done = translate(user(text("what?"), image(url)))
    assert orjson.loads(done.body) == [{"role": "user", "content": "what?", "images": [PIXEL]}]
    assert done.images
    assert done.warnings == ()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_missing_padding_is_mended_at_every_length(size):
    data = base64.b64encode(b"\xff" * size).decode()
    [message] = native(user(image("data:image/png;base64," + data.rstrip("="))))
    assert message["images"] == [data]


def test_an_image_url_may_be_a_bare_string():
    assert native(user({"type": "image_url", "image_url": URL}))[0]["images"] == [PIXEL]


def test_images_keep_their_order_and_among_text_lose_their_place():
    other = base64.b64encode(b"other!").decode()
    parts = [text("first:"), image(URL), text("second:"), image(f"data:image/png;base64,{other}")]
    done = translate(user(*parts))
    assert orjson.loads(done.body)[0] == {
        "role": "user",
        "content": "first:\nsecond:",
        "images": [PIXEL, other],
    }
    assert done.warnings == (
        "messages[0].content: ollama keeps images apart from text, their places among the text are lost",
    )


@pytest.mark.parametrize("parts", [[text("a"), text("b"), image(URL)], [image(URL), image(URL), text("a")]])
def test_images_on_one_side_of_all_text_lose_nothing(parts):
    assert len(native(user(*parts))) == 1


def test_detail_is_lost_unless_it_is_the_usual():
    def with_detail(detail):
        return translate(user({"type": "image_url", "image_url": {"url": URL, "detail": detail}})).warnings

    assert with_detail("auto") == with_detail(None) == ()
    assert with_detail("high") == (
        "messages[0].content[0].image_url.detail: ollama has no such field, left out",
    )


@pytest.mark.parametrize("url", ["http://x/a.png", "https://x/secret.png?k=1", "HTTPS://x/a,b.png"])
def test_a_remote_image_is_refused_with_the_way_out(url):
    with pytest.raises(Unsupported, match="data URL: data:image/png;base64,") as caught:
        translate(user(text("x"), image(url)))
    assert caught.value.param == "messages[0].content[1].image_url.url"
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/a.png",
        "file:///etc/passwd",
        "data:image/svg+xml,<svg/>",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,====",
        "data:image/png;base64,ab-_",
        "data:image/png;base64,a b=",
        "data:image/png;base64,abcde",
        "data:image/png;base64,abé=",
        PIXEL,
        "",
        None,
        7,
    ],
)
def test_what_is_no_base64_data_url_is_refused(url):
    with pytest.raises(BadBody, match=r"^messages\[0\]\.content\[0\]\.image_url\.url "):
        translate(user(image(url)))


def test_images_elsewhere_than_in_user_messages_are_sent_and_said():
    done = translate({"role": "tool", "name": "shot", "content": [image(URL)]})
    assert orjson.loads(done.body)[0]["images"] == [PIXEL]
    assert done.warnings == ("messages[0]: images outside a user message may not be read, sent all the same",)


def test_audio_travels_as_an_image_and_loses_its_format():
    part = {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}
    done = translate(user(text("listen"), part))
    assert orjson.loads(done.body) == [{"role": "user", "content": "listen", "images": [PIXEL]}]
    assert done.images
    assert done.warnings == (
        "messages[0].content[1].input_audio.format: ollama takes audio without a format, left out",
    )


def test_ollamas_own_images_field_is_understood():
    done = translate({"role": "user", "content": "x", "images": [PIXEL.rstrip("=")]})
    assert orjson.loads(done.body)[0]["images"] == [PIXEL]
    assert done.images
    assert done.warnings == ()


def test_a_file_is_refused():
    with pytest.raises(Unsupported, match="takes no files"):
        translate(user({"type": "file", "file": {"file_id": "file-1"}}))


def test_an_unknown_part_names_itself_and_what_is_accepted():
    with pytest.raises(BadBody) as caught:
        translate(user(text("x")), user(text("x"), {"type": "video_url", "video_url": {}}))
    assert caught.value.message == (
        "messages[1].content[1].type is not one that Ollama can be given; "
        "accepted: text, refusal, image_url, input_audio"
    )


def test_other_keys_of_a_part_are_named_once():
    part = text("x") | {"cache_control": {"type": "ephemeral"}}
    assert translate(user(part, part), user(part)).warnings == (
        "messages[0].content[0].cache_control: ollama has no such field, left out (and at 2 more places)",
    )


# Tool calls and their results


@pytest.mark.parametrize(
    "arguments",
    ['{"a": 1.0, "big": 123456789012345678901234567890, "s": "\\u003c\\u00e9"}', ' {"x":[1,{}]}\n'],
)
def test_arguments_become_an_object_with_the_same_digits_and_escapes(arguments):
    done = translate(assistant(tool_calls=[call(arguments)]))
    assert b'"arguments":' + arguments.strip().encode() + b"}" in done.body
    expected = {"id": "call_1", "function": {"name": "f", "arguments": json.loads(arguments)}}
    assert json.loads(done.body) == [{"role": "assistant", "content": "", "tool_calls": [expected]}]


@pytest.mark.parametrize("arguments", ["", "  ", None, "null", "{}", {}])
def test_empty_arguments_are_an_empty_object(arguments):
    [message] = native(assistant(tool_calls=[call(arguments)]))
    assert message["tool_calls"][0]["function"]["arguments"] == {}


def test_arguments_that_are_an_object_already_pass():
    [message] = native(assistant(tool_calls=[call({"a": [1]})]))
    assert message["tool_calls"][0]["function"]["arguments"] == {"a": [1]}


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1,2]", "5", '"text"', "{'a': 1}", '{"a": NaN}'])
def test_broken_arguments_are_wrapped_so_that_the_conversation_can_go_on(arguments):
    done = translate(assistant(tool_calls=[call(arguments)]))
    [message] = orjson.loads(done.body)
    assert message["tool_calls"][0]["function"]["arguments"] == {"_raw": arguments}
    [warning] = done.warnings
    assert warning.startswith("messages[0].tool_calls[0].function.arguments: no JSON object")
    assert arguments not in warning


def test_a_result_carries_the_id_and_the_name_of_its_call_in_any_order():
    calls = assistant(content="", tool_calls=[call(id="a", name="one"), call(id="b", name="two")])
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in ("b", "a")]
    assert native(calls, *results)[1:] == [
        {"role": "tool", "content": "b", "tool_name": "two", "tool_call_id": "b"},
        {"role": "tool", "content": "a", "tool_name": "one", "tool_call_id": "a"},
    ]


def test_the_latest_call_with_an_id_names_the_result():
    result = {"role": "tool", "tool_call_id": "call_1", "content": ""}
    messages = [assistant(tool_calls=[call(name=name)]) for name in ("old", "new")]
    messages.insert(1, result)
    assert [m.get("tool_name") for m in native(*messages, result)] == [None, "old", None, "new"]


def test_a_result_without_its_call_is_sent_and_said():
    done = translate({"role": "tool", "tool_call_id": "call_9", "content": "x"})
    assert orjson.loads(done.body) == [{"role": "tool", "content": "x", "tool_call_id": "call_9"}]
    assert done.warnings == ("messages[0]: no earlier call has this id, sent without the name of its tool",)


def test_calls_without_an_id_and_with_an_index_pass():
    bare = {"index": 0, "function": {"name": "f"}}
    [message] = native(assistant(tool_calls=[bare]))
    assert message["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}]


def test_an_old_function_call_is_a_tool_call():
    [message] = native(assistant(function_call={"name": "f", "arguments": '{"a":1}'}, tool_calls=None))
    assert message["tool_calls"] == [{"function": {"name": "f", "arguments": {"a": 1}}}]


def test_tool_calls_win_over_an_old_function_call():
    done = translate(assistant(tool_calls=[call()], function_call={"name": "g", "arguments": ""}))
    assert len(orjson.loads(done.body)[0]["tool_calls"]) == 1
    assert done.warnings == ("messages[0].function_call: tool_calls are there too, left out",)


def test_a_call_of_something_else_than_a_function_is_refused():
    with pytest.raises(Unsupported, match=r"^messages\[0\]\.tool_calls\[0\]\.type"):
        translate(
            assistant(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}])
        )


# The rest of an assistant's message


def test_what_sdks_dump_is_dropped_without_a_word():
    dump = {
        "refusal": None,
        "audio": None,
        "annotations": [],
        "function_call": None,
        "tool_calls": None,
        "name": "",
    }
    assert native({"role": "assistant", "content": "x", **dump}) == [{"role": "assistant", "content": "x"}]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_earlier_reasoning_is_thinking(key):
    assert native(assistant(content="x", **{key: "hm"})) == [
        {"role": "assistant", "content": "x", "thinking": "hm"}
    ]


def test_reasoning_under_both_names_is_sent_once():
    assert native(assistant(reasoning="hm", reasoning_content="hm", thinking=""))[0]["thinking"] == "hm"
    done = translate(assistant(reasoning="other", reasoning_content="hm"))
    assert orjson.loads(done.body)[0]["thinking"] == "hm"
    assert done.warnings == ("messages[0].reasoning: differs from the reasoning that is sent, left out",)


def test_reasoning_of_another_shape_is_left_out_and_said():
    done = translate(assistant(content="x", reasoning={"effort": "high"}))
    assert orjson.loads(done.body) == [{"role": "assistant", "content": "x"}]
    assert done.warnings == ("messages[0].reasoning: ollama has no such field, left out",)


def test_a_refusal_is_the_content_where_there_is_none():
    assert native(assistant(refusal="no")) == [{"role": "assistant", "content": "no"}]
    done = translate(assistant(content="well", refusal="no"))
    assert orjson.loads(done.body) == [{"role": "assistant", "content": "well"}]
    assert done.warnings == ("messages[0].refusal: ollama has no such field, left out",)


def test_what_is_lost_is_named_without_its_value():
    done = translate(
        {"role": "user", "content": "x", "name": "anna"},
        {"role": "system", "content": "x", "name": "bert", "reasoning": "psst"},
        assistant(content="x", audio={"id": "audio_1"}, annotations=[{"type": "url_citation"}]),
    )
    assert done.warnings == (
        "messages[0].name: ollama has no such field, left out (and at 1 more place)",
        "messages[1].reasoning: ollama has no such field, left out",
        "messages[2].audio: ollama has no such field, left out",
        "messages[2].annotations: ollama has no such field, left out",
    )


# Wrong shapes


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("hi", "messages[0]"),
        ({"role": 3, "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 3}, "messages[0].content"),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, "messages[0].content"),
        (user("x"), "messages[0].content[0]"),
        (user(text("x"), {"text": "x"}), "messages[0].content[1].type"),
        (user({"type": ["text"], "text": "x"}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0].text"),
        (user({"type": "text", "text": {"value": "x"}}), "messages[0].content[0].text"),
        (user({"type": "image_url"}), "messages[0].content[0].image_url"),
        (user({"type": "input_audio", "input_audio": "x"}), "messages[0].content[0].input_audio"),
        (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0].input_audio.data"),
        ({"role": "user", "content": "x", "images": "x"}, "messages[0].images"),
        ({"role": "user", "content": "x", "images": [URL]}, "messages[0].images[0]"),
        (assistant(refusal=["no"]), "messages[0].refusal"),
        (assistant(tool_calls={}), "messages[0].tool_calls"),
        (assistant(tool_calls="x"), "messages[0].tool_calls"),
        (assistant(tool_calls=["x"]), "messages[0].tool_calls[0]"),
        (assistant(tool_calls=[{"id": "c"}]), "messages[0].tool_calls[0].function"),
        (assistant(tool_calls=[call(), call(name=None)]), "messages[0].tool_calls[1].function.name"),
        (assistant(tool_calls=[call(id=5)]), "messages[0].tool_calls[0].id"),
        (assistant(tool_calls=[call(5)]), "messages[0].tool_calls[0].function.arguments"),
        (assistant(function_call="auto"), "messages[0].function_call"),
        ({"role": "tool", "content": "x", "tool_call_id": 5}, "messages[0].tool_call_id"),
        ({"role": "tool", "content": "x", "name": []}, "messages[0].name"),
    ],
)
def test_a_wrong_shape_is_the_clients_fault_and_has_a_path(message, path):
    with pytest.raises(BadBody) as caught:
        translate(message)
    assert caught.value.message.startswith(f"{path} ")
    assert caught.value.message[len(path)] in ". "


@pytest.mark.parametrize(
    "body",
    [
        b'[{"role":"user","content":' + b"[" * 5000 + b"]" * 5000 + b"}]",
        b'[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":'
        + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}}]}]",
        b'[{"role":"user","content":1e999}]',
        b'[{"role":"developer","content":"\xff"}]',
        b'[{"role":"user"',
    ],
)  # fmt: skip
def test_what_no_reader_takes_is_the_clients_fault(body):
    with pytest.raises(BadBody):
        translate_messages(body)


# For all lists

B64 = st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode())
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.sampled_from(["{}", "", "{", "[]", '{"a":1}']) | JUNK.map(json.dumps) | JUNK
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": st.text(max_size=4), "arguments": ARGUMENTS})},
    optional={"id": st.sampled_from(["a", "b"]), "type": st.sampled_from(["function", "custom"])},
)
PARTS = st.one_of(
    st.text(max_size=5).map(text),
    B64.map(lambda data: image(f"data:image/png;base64,{data}")),
    st.text(max_size=9).map(image),
    st.fixed_dictionaries({"type": st.sampled_from(["text", "file", "refusal", "input_audio", "x"])}),
    B64.map(lambda data: {"type": "input_audio", "input_audio": {"data": data}}),
    JUNK,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "developer", "function", "Tool", "odd"])
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional={
        "content": st.text(max_size=9) | st.lists(PARTS, max_size=4) | st.none() | JUNK,
        "tool_calls": st.lists(CALLS, max_size=3) | JUNK,
        "function_call": st.none() | JUNK,
        "images": st.lists(B64, max_size=2) | JUNK,
        "tool_call_id": st.sampled_from(["a", "b", "c"]) | JUNK,
        "name": st.text(max_size=4) | JUNK,
        "reasoning": st.text(max_size=4) | JUNK,
        "thinking": st.text(max_size=4) | JUNK,
        "refusal": st.text(max_size=4) | JUNK,
        "extra": JUNK,
    },
)


@given(st.lists(MESSAGES, min_size=1, max_size=5))
def test_any_list_is_refused_as_the_clients_fault_or_is_one_that_ollama_takes(messages):
    body = json.dumps(messages).encode()
    try:
        done = translate_messages(body)
    except ClientError as error:
        assert error.status == 400
        return
    said = json.loads(done.body)
    assert len(said) == len(messages)
    bind(CHAT, {"model": "m", "messages": said}, "ChatRequest")
    assert done.images == any("images" in message for message in said)
    assert len(set(done.warnings)) == len(done.warnings)


SECRET = st.text("ßäöü", min_size=3, max_size=9)


@given(SECRET, st.lists(MESSAGES, max_size=3))
def test_warnings_and_errors_hold_nothing_that_people_wrote(secret, others):
    parts = [text(secret), image(URL), text(secret)]
    talk = [
        {**user(*parts), "name": secret},
        {
            "role": "assistant",
            "content": secret,
            "refusal": secret,
            "tool_calls": [call(secret)],
            "audio": [secret],
        },
        {"role": "tool", "tool_call_id": secret, "content": secret, "extra": {"x": secret}},
    ]
    assert translate(*talk).warnings
    assert not any(secret in line for line in translate(*talk).warnings)
    with pytest.raises(ClientError) as caught:
        translate(*talk, user(image(secret)), *others)
    assert secret not in caught.value.message
