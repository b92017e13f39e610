"""What a message's content becomes: text parts, images, audio."""

import base64

import orjson
import pytest

from proxy.errors import BadBody, Unsupported
from tests.backends.chat_samples import PIXEL, URL, image, native, text, translate, user

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
    assert (done.images, done.audio, done.untold) == (True, False, False)
    assert done.warnings == ()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_missing_padding_is_mended_at_every_length(size):
    data = base64.b64encode(b"\xff" * size).decode()
    [message] = native(user(image("data:image/png;base64," + data.rstrip("="))))
    assert message["images"] == [data]


def test_an_image_url_may_be_a_bare_string():
    assert native(user({"type": "image_url", "image_url": URL}))[0]["images"] == [PIXEL]


PLACES_LOST = "messages[0].content: ollama keeps images apart from text, their places among the text are lost"


def test_images_keep_their_order_and_among_text_lose_their_place():
    other = base64.b64encode(b"other!").decode()
    parts = [text("first:"), image(URL), text("second:"), image(f"data:image/png;base64,{other}")]
    done = translate(user(*parts))
    assert orjson.loads(done.body)[0] == {
        "role": "user",
        "content": "first:\nsecond:",
        "images": [PIXEL, other],
    }
    assert done.warnings == translate(user(*parts[:3])).warnings == (PLACES_LOST,)


@pytest.mark.parametrize("parts", [[text("a"), text("b"), image(URL)], [image(URL), image(URL), text("a")]])
def test_images_on_one_side_of_all_text_lose_nothing(parts):
    assert len(native(user(*parts))) == 1


def test_detail_is_lost_unless_it_is_the_usual():
    def with_detail(detail):
        return translate(user({"type": "image_url", "image_url": {"url": URL, "detail": detail}})).warnings

    assert with_detail("auto") == with_detail(None) == ()
    assert with_detail("high") == ("messages[0].content[0].image_url.detail: ollama has no such field, lost",)


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
    assert (done.images, done.audio, done.untold) == (False, True, False)
    assert done.warnings == (
        "messages[0].content[1].input_audio.format: ollama takes audio without a format, left out",
    )


def test_ollamas_own_images_field_is_understood():
    done = translate({"role": "user", "content": "x", "images": [PIXEL.rstrip("=")]})
    assert orjson.loads(done.body)[0]["images"] == [PIXEL]
    assert (done.images, done.audio, done.untold) == (False, False, True)
    assert done.warnings == ()


def test_media_of_several_messages_are_told_together():
    sound = {"type": "input_audio", "input_audio": {"data": PIXEL}}
    done = translate(user(sound), user(image(URL)), user(text("x")), {"role": "user", "images": []})
    assert (done.images, done.audio, done.untold) == (True, True, False)
    done = translate(user(text("x")), user(text("y")))
    assert not (done.images or done.audio or done.untold)


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
        "messages[0].content[0].cache_control: ollama has no such field, lost (and at 2 more places)",
    )
