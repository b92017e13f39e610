"""Each row of the mapping from OpenAI's messages to Ollama's, then both properties that hold for all lists."""

import base64
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ollama_messages import Translated, translate_messages
from proxy.errors import BadBody, ClientError, Unsupported
from tests.backends.chat_samples import URL, assistant, call, image, native, text, translate, user
from tests.doubles.ollama_checks import CHAT, bind

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
    assert translate_messages(body) == Translated(body, ())


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
    assert done.warnings == ("messages[0].reasoning: ollama has no such field, lost",)


def test_a_refusal_is_the_content_where_there_is_none():
    assert native(assistant(refusal="no")) == [{"role": "assistant", "content": "no"}]
    done = translate(assistant(content="well", refusal="no"))
    assert orjson.loads(done.body) == [{"role": "assistant", "content": "well"}]
    assert done.warnings == ("messages[0].refusal: ollama has no such field, lost",)


def test_what_is_lost_is_named_without_its_value():
    done = translate(
        {"role": "user", "content": "x", "name": "anna"},
        {"role": "system", "content": "x", "name": "bert", "reasoning": "psst"},
        assistant(content="x", audio={"id": "audio_1"}, annotations=[{"type": "url_citation"}]),
    )
    assert done.warnings == (
        "messages[0].name: ollama has no such field, lost (and at 1 more place)",
        "messages[1].reasoning: ollama has no such field, lost",
        "messages[2].audio: ollama has no such field, lost",
        "messages[2].annotations: ollama has no such field, lost",
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
    assert (done.images or done.audio or done.untold) == any("images" in message for message in said)
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
