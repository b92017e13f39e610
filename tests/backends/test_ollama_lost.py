"""What Ollama cannot give: media a model lacks, forced calls, fields it does not take."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.backends.ollama import OllamaBackend
from proxy.backends.ollama_lost import BOOKKEEPING, LONGEST_NAME, NO_SLIPS
from proxy.errors import BadBody, StrictViolation, Unsupported
from proxy.parameters.client import MOST_HINTS
from tests.backends import cases
from tests.backends.chat_samples import PIXEL, image, text, tool, user

OLLAMA = OllamaBackend()
SOUND = {"type": "input_audio", "input_audio": {"data": PIXEL}}
HEARD, SEEN = user(text("x"), SOUND), user(text("x"), image(f"data:image/png;base64,{PIXEL}"))
BARE = {"role": "user", "content": "x", "images": [PIXEL]}


def write(able: set[str] | None = None, strict: bool = False, **fields: Any) -> tuple[Any, tuple[str, ...]]:
    """The body that is sent and its warnings, for a model with these capabilities."""
    to = cases.target("ollama", "0.32.15", capabilities=able and frozenset(able))
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    written, warnings = cases.write(OLLAMA, orjson.dumps(chat), to, strict=strict)
    return orjson.loads(written), warnings


def refusal(**fields: Any) -> StrictViolation:
    with pytest.raises(StrictViolation) as caught:
        write(strict=True, **fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("messages", "able", "words"),
    [
        ([HEARD], {"completion"}, "audio, but upstream-name does not have the capability audio"),
        ([HEARD], {"completion", "vision"}, "audio, but upstream-name does not have the capability audio"),
        ([SEEN], {"completion"}, "images, but upstream-name does not have the capability vision"),
        ([SEEN], {"completion", "audio"}, "images, but upstream-name does not have the capability vision"),
        ([HEARD, SEEN], {"audio"}, "images, but upstream-name does not have the capability vision"),
        ([BARE], {"completion"}, "images, but upstream-name does not have the capability vision"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_media_that_the_model_lacks_are_refused(
    messages: list[Any], able: set[str], words: str, strict: bool
) -> None:
    with pytest.raises(Unsupported) as caught:
        write(able, strict, messages=messages)
    assert (caught.value.status, caught.value.param) == (400, "messages")
    assert caught.value.message == f"the messages hold {words}"


@pytest.mark.parametrize(
    ("message", "able"),
    [
        (HEARD, {"audio"}),
        (SEEN, {"vision"}),
        (BARE, {"audio"}),
        (BARE, {"vision"}),
        (HEARD, None),
        (SEEN, None),
        (BARE, None),
    ],
)
def test_media_that_the_model_has_or_may_have_are_sent(message: Any, able: set[str] | None) -> None:
    written, warnings = write(able, messages=[message])
    assert written["messages"] == [{"role": "user", "content": "x", "images": [PIXEL]}]
    assert warnings == ()


def test_text_needs_no_capability() -> None:
    assert write({"completion"})[1] == ()
    assert write({"completion"}, messages=[user(text("a"), text("b"))])[1] == ()


NAMED = {"type": "function", "function": {"name": "f"}}


def allowed(mode: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}


@pytest.mark.parametrize("choice", ["required", NAMED, allowed("required")])
def test_strict_refuses_a_call_that_cannot_be_forced(choice: Any) -> None:
    error = refusal(tools=[tool()], tool_choice=choice)
    assert error.param == "tool_choice"
    assert error.message == (
        "strict: tool_choice asks for a call, but ollama cannot force one: the model decides"
    )
    assert len(write(tools=[tool()], tool_choice=choice)[1]) == 1


def test_strict_refuses_the_old_way_of_forcing_too() -> None:
    functions = [tool()["function"]]
    assert refusal(functions=functions, function_call={"name": "f"}).param == "function_call"
    for strict in (True, False):
        with pytest.raises(BadBody, match="no tools are given"):
            write(strict=strict, function_call={"name": "f"})


@pytest.mark.parametrize("choice", ["auto", "none", None, allowed("auto")])
def test_strict_lets_a_free_choice_pass(choice: Any) -> None:
    assert write(strict=True, tools=[tool()], tool_choice=choice)[1] == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verbosity", "low"),
        ("prediction", {"type": "content", "content": "x"}),
        ("modalities", ["text", "audio"]),
        ("modalities", []),
        ("modalities", {"a": 1}),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
        ("return_token_ids", True),
        ("xyzzy", 1),
    ],
)
def test_strict_refuses_a_field_that_would_be_lost(name: str, value: Any) -> None:
    error = refusal(user="u", **{name: value})
    assert error.param == name
    assert error.message == f"strict: {name} would be left out: ollama does not take it"


def test_strict_refuses_the_first_lost_field_and_keeps_it_short() -> None:
    assert refusal(verbosity="low", prediction={}).param == "verbosity"
    error = refusal(**{"y" * 5000: 1})
    assert error.param == "y" * (LONGEST_NAME - 3) + "..." and len(error.message) < 150


@pytest.mark.parametrize("name", sorted(BOOKKEEPING))
def test_strict_lets_bookkeeping_pass_and_says_so(name: str) -> None:
    assert write(strict=True, **{name: "x"})[1] == (f"ollama does not take {name}: left out",)


@pytest.mark.parametrize(
    "fields",
    [
        {"audio": None, "verbosity": None, "prediction": None},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"temperature": 0.5, "options": {"top_k": 5}},
    ],
)
def test_strict_lets_pass_what_is_not_lost(fields: dict[str, Any]) -> None:
    assert write(strict=True, **fields)[1] == ()


def test_strict_lets_text_as_the_only_modality_pass() -> None:
    assert "modalities" not in write(strict=True, modalities=["text"])[0]


def test_a_misspelled_parameter_gets_its_hint() -> None:
    written, warnings = write(temprature=0.5, verbosity="low")
    assert "options" not in written
    assert warnings == (
        "temprature: no such parameter; did you mean 'temperature'?",
        "ollama does not take verbosity: left out",
    )
    error = refusal(temprature=0.5)
    assert error.param == "temprature"
    assert error.message == (
        "strict: temprature would be left out: no such parameter; did you mean 'temperature'?"
    )


def test_names_of_other_apis_are_no_misspellings() -> None:
    for name in NO_SLIPS:
        assert write(**{name: "x"})[1] == (f"ollama does not take {name}: left out",)


def test_a_flood_of_misspellings_gets_a_few_hints() -> None:
    _, warnings = write(**{f"temperature{i}": 1 for i in range(100)})
    assert len(warnings) == MOST_HINTS + 1
    assert warnings[-1].startswith(f"ollama does not take temperature{MOST_HINTS}, ")
