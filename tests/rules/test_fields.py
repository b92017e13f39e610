"""The field types: what they take, what they make of it, and that they say all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.rules.fields import (
    Clamps,
    Globs,
    Headers,
    Limits,
    Lists,
    Names,
    Runtimes,
    Schemas,
    Values,
    Variable,
    one_or_many,
    parameter,
)


def take(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value, strict=True)


def refuse(kind: Any, value: Any) -> list[tuple[Any, ...]]:
    """The places of all faults."""
    with pytest.raises(ValidationError) as caught:
        take(kind, value)
    return [error["loc"] for error in caught.value.errors()]


def test_globs_are_one_text_or_several() -> None:
    assert take(Globs, "a") == ("a",)
    assert take(Globs, ["a", "b"]) == ("a", "b")
    assert refuse(Globs, []) == [()]
    assert refuse(Globs, ["a", 5, None]) == [(1,), (2,)]
    assert refuse(Globs, 5) == refuse(Globs, {"a": 1}) == refuse(Globs, True) == [()]
    assert one_or_many(("a",)) == ("a",)


def test_headers_lose_their_case() -> None:
    assert take(Headers, {"User-Agent": "A*", "x-b": ["c"]}) == {"user-agent": ("A*",), "x-b": ("c",)}
    assert refuse(Headers, {"A": "x", "a": "y"}) == [()]
    assert refuse(Headers, []) == [()]


def test_runtimes() -> None:
    assert take(Runtimes, "vllm") == ("vllm",)
    assert take(Runtimes, ["vllm", "openai"]) == ("vllm", "openai")
    assert refuse(Runtimes, ["vllm", "sglang"]) == [(1,)]
    assert refuse(Runtimes, []) == [()]


@pytest.mark.parametrize("name", ["A", "_a", "GPU_KEY_2"])
def test_names_of_variables(name: str) -> None:
    assert take(Variable, name) == name


@pytest.mark.parametrize("name", ["", "2A", "sk-abc", "A B", "$A"])
def test_what_is_no_name_of_a_variable(name: str) -> None:
    assert refuse(Variable, name) == [()]


def test_any_spelling_finds_the_parameter() -> None:
    assert parameter("num_predict").name == parameter("max_tokens").name == "max_tokens"
    with pytest.raises(ValueError, match=r"no such parameter: 'temprature'; did you mean 'temperature'\?"):
        parameter("temprature")


def test_values_are_checked_by_the_catalogue() -> None:
    given = {"temperature": 1, "num_predict": 5.0, "stop": "x", "think": "none", "keep_alive": "300"}
    assert take(Values, given) == {
        "temperature": 1,
        "max_tokens": 5,
        "stop": ["x"],
        "think": False,
        "keep_alive": 300,
    }
    assert take(Values, {}) == {}


def test_every_wrong_value_is_named() -> None:
    given = {"temperature": "hot", "seed": 1, "foo": 1, "max_tokens": None, "top_k": True, "num_predict": 1}
    assert refuse(Values, given) == [
        ("temperature",),
        ("foo",),
        ("max_tokens",),
        ("top_k",),
        ("num_predict",),
    ]
    assert refuse(Values, [1]) == [()]


def test_values_out_of_range_are_values() -> None:
    # they are held to the range when they are used
    assert take(Values, {"temperature": 99.0, "top_p": -1}) == {"temperature": 99.0, "top_p": -1}


def test_lists() -> None:
    assert take(Lists, {"stop": ["a", "b"], "stop_token_ids": [1]}) == {
        "stop": ["a", "b"],
        "stop_token_ids": [1],
    }
    assert take(Lists, {"stop": "a"}) == {"stop": ["a"]}
    assert refuse(Lists, {"stop": 1, "seed": [1], "stop_token_ids": ["a"]}) == [
        ("stop",),
        ("seed",),
        ("stop_token_ids",),
    ]


def test_clamps() -> None:
    found = take(
        Clamps, {"num_predict": {"max": 9}, "temperature": {"min": 0.1, "max": 1}, "stop": {"max": 4}}
    )
    assert {name: (limits.min, limits.max) for name, limits in found.items()} == {
        "max_tokens": (None, 9), "temperature": (0.1, 1), "stop": (None, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ({"temperature": {}}, ("temperature",)),
        ({"temperature": {"min": 2, "max": 1}}, ("temperature",)),
        ({"temperature": {"max": "1"}}, ("temperature", "max")),
        ({"temperature": {"max": True}}, ("temperature", "max")),
        ({"temperature": {"max": float("nan")}}, ("temperature", "max")),
        ({"temperature": {"max": float("inf")}}, ("temperature", "max")),
        ({"temperature": {"top": 1}}, ("temperature", "top")),
        ({"temperature": 1}, ("temperature",)),
        ({"num_predict": {"max": 1.5}}, ("num_predict",)),
        ({"stop": {"min": 1, "max": 2}}, ("stop",)),
        ({"stop": {"max": -1}}, ("stop",)),
        ({"stop": {"max": 1.5}}, ("stop",)),
        ({"think": {"max": 1}}, ("think",)),
        ({"keep_alive": {"max": 1}}, ("keep_alive",)),
        ({"foo": {"max": 1}}, ("foo",)),
    ],
)
def test_what_is_no_clamp(limits: Any, where: tuple[str, ...]) -> None:
    assert refuse(Clamps, {"seed": {"min": 0}} | limits) == [where]


def test_equal_ends_are_a_range() -> None:
    assert Limits.model_validate({"min": 1, "max": 1}).min == 1


def test_names_of_parameters() -> None:
    assert take(Names, "num_predict") == ("max_tokens",)
    assert take(Names, ["seed", "num_predict", "max_tokens"]) == ("seed", "max_tokens")
    assert take(Names, []) == ()
    assert refuse(Names, ["seed", "foo", 5]) == [(1,), (2,)]


def test_schemas_stay_plain_data() -> None:
    given = {"num_predict": {"max": 9, "runtime": {"vllm": {"min": 1}}}}
    assert take(Schemas, given) == {"max_tokens": {"max": 9, "runtime": {"vllm": {"min": 1}}}}
    wrong = {
        "seed": {"max": 1.5},
        "top_p": {"min": 2},
        "top_k": {"runtime": {"vllm": {"mix": 1}}},
        "temperature": 5,
    }
    assert refuse(Schemas, wrong) == [
        ("seed", "max"),
        ("top_p", "min"),
        ("top_k", "runtime", "vllm", "mix"),
        ("temperature",),
    ]
