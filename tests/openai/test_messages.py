import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadBody
from proxy.openai.messages import edit_system, switch_texts, text

USER = b'{"role": "user","content":"\\u003chi 1.0e1"}'


def dump(*messages):
    return json.dumps(messages).encode()


def system(content, role="system", **more):
    return {"role": role, "content": content, **more}


def part(words):
    return {"type": "text", "text": words}


def edit(messages, answer):
    """The list after an edit, and what the edit was shown."""
    shown = []

    def apply(before):
        shown.append(before)
        return answer

    return edit_system(messages, apply), shown


# The leading system message


def test_an_edit_sees_the_system_text_and_replaces_it():
    body, shown = edit(dump(system("old"), {"role": "user", "content": "x"}), "new é")
    assert shown == ["old"]
    assert json.loads(body) == [system("new é"), {"role": "user", "content": "x"}]


def test_other_messages_keep_their_bytes():
    body, _ = edit(b'[{"role":"system","content":"a"}, ' + USER + b" ]", "b")
    assert body == b'[{"role":"system","content":"b"},' + USER + b"]"


def test_other_members_of_the_message_keep_their_bytes_and_the_role_its_name():
    body, _ = edit(b'[{"name": "x", "role":"developer","n":1.0e1,"content":"a","deep":[1e999]}]', "b")
    assert body == b'[{"role":"developer","name":"x","n":1.0e1,"content":"b","deep":[1e999]}]'


@pytest.mark.parametrize("body", [b"[" + USER + b"]", b"[ " + USER + b" , " + USER + b"]"])
def test_without_a_system_message_one_is_put_first(body):
    done, shown = edit(body, "new")
    assert shown == [None]
    assert done.startswith(b'[{"role":"system","content":"new"},' + USER)
    assert len(json.loads(done)) == len(json.loads(body)) + 1


def test_only_a_leading_system_message_counts():
    body, shown = edit(dump({"role": "user", "content": "x"}, system("late")), "new")
    assert shown == [None]
    assert [message["content"] for message in json.loads(body)] == ["new", "x", "late"]


@pytest.mark.parametrize(
    ("message", "before"),
    [
        (system([part("a"), part("b")]), "a\nb"),
        (system(None), None),
        ({"role": "system"}, None),
        (system(""), ""),
    ],
)
def test_the_text_may_come_in_parts_or_not_at_all(message, before):
    body, shown = edit(dump(message), "new")
    assert shown == [before]
    assert json.loads(body) == [system("new")]


def test_no_change_is_the_very_same_bytes():
    for body in (dump(system("same")), b"[" + USER + b"]", dump(system([part("a"), part("b")]))):
        assert edit_system(body, lambda before: before) is body


def test_nothing_removes_the_message():
    body, _ = edit(b'[{"role":"system","content":"a"},' + USER + b"]", None)
    assert body == b"[" + USER + b"]"


@pytest.mark.parametrize("content", [b"5", b"{}", b"true", b"[1e999]"])
def test_content_of_another_shape_is_the_clients_fault(content):
    body = b'[{"role":"system","content":' + content + b"}]"
    with pytest.raises(BadBody):
        edit(body, "new")
    with pytest.raises(BadBody):
        switch_texts(body)


# Where a switch counts


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([system("s"), system("u", "user")], ["s", "u"]),
        ([system("u", "user"), system("s")], ["u", "s"]),
        ([system("s1"), system("u1", "user"), system("a", "assistant"), system("u2", "user")], ["s1", "u2"]),
        ([system("s1"), system("u", "user"), system("s2")], ["u", "s2"]),
        ([system([part("a"), part("b")], "user")], ["a\nb"]),
        ([system(None, "user")], [""]),
        ([system("t", "tool"), system("a", "assistant")], []),
    ],
)
def test_the_last_system_and_the_last_user_text_in_their_order(messages, texts):
    assert switch_texts(dump(*messages)) == texts


def test_messages_before_the_last_are_not_read():
    body = b'[{"role":"user","content":5},{"role":"user","content":"x"},{"role":"system","content":"y"}]'
    assert switch_texts(body) == ["x", "y"]


# Text


def test_text_is_the_string_or_the_text_parts():
    assert text(None) is None
    assert text("x") == "x"
    assert text([]) == ""
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert text([part("a"), image, part(""), "loose", {"type": "text"}, part(5), part("b")]) == "a\n\nb"


PARTS = st.lists(st.text(max_size=4).map(part), max_size=3)
LISTS = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer", "user", "assistant"]),
        st.none() | st.text(max_size=6) | PARTS,
    ),
    min_size=1,
    max_size=4,
)


@given(LISTS, st.text(max_size=6))
def test_after_an_edit_the_next_edit_sees_its_text(messages, words):
    done, _ = edit(dump(*messages), words)
    again, shown = edit(done, words)
    assert shown == [words]
    assert again is done
    kept = messages[1:] if messages[0]["role"] in ("system", "developer") else messages
    assert json.loads(done)[1:] == kept or (
        json.loads(done) == messages and text(messages[0]["content"]) == words
    )
