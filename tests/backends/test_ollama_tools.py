"""Tools, tool choice and the older functions."""

import json
from typing import Any

import orjson
import pytest

from proxy.backends.ollama_messages import Tools, translate_tools
from proxy.backends.ollama_tools import CACHEABLE
from proxy.errors import BadBody, Unsupported
from tests.backends.chat_samples import EMPTY_SCHEMA, SCHEMA, dump, offer, tool

AUTO_ONLY = ": ollama cannot force a call, the tools are offered and the model decides"


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def names(done: Tools) -> list[str]:
    return [tool["function"]["name"] for tool in orjson.loads(done.body or b"[]")]


# Tools


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_is_no_field(tools):
    assert offer(tools) == Tools(None, ())
    assert translate_tools(b"null", b"null", b"null", b"null") == Tools(None, ())


def test_tools_that_lose_nothing_are_the_very_same_bytes():
    body = b'[{"function":{"name":"f","description":"\\u003cb","parameters":' + json.dumps(SCHEMA).encode()
    body += b'}, "type" : "function"}]'
    assert translate_tools(body, None) == Tools(body, ())


def test_a_mended_tool_leaves_its_neighbours_bytes_alone():
    good = b'{"type":"function", "function":{"name":"g","parameters":' + json.dumps(SCHEMA).encode() + b"}}"
    done = translate_tools(b'[{"type":"function","function":{"name":"f"}}, ' + good + b"]", None)
    assert done.body is not None
    assert done.body.endswith(b"," + good + b"]")
    assert orjson.loads(done.body)[0] == tool(parameters=EMPTY_SCHEMA)


def test_a_tool_without_a_type_is_a_function():
    done = offer([{"function": {"name": "f", "parameters": SCHEMA}}])
    assert orjson.loads(done.body or b"") == [tool()]


@pytest.mark.parametrize("other", [{"type": "custom", "custom": {"name": "f"}}, {"type": "web_search"}])
def test_other_tools_than_functions_are_refused(other):
    with pytest.raises(Unsupported, match=r"^tools\[1\]\.type"):
        offer([tool(), other])


def test_strict_and_unknown_keys_are_lost_and_named_once():
    tools = [tool("f", strict=True), tool("g", strict=True) | {"cache_control": {"type": "ephemeral"}}]
    assert offer(tools).warnings == (
        "tools[0].function.strict: ollama has no such field, lost (and at 1 more place)",
        "tools[1].cache_control: ollama has no such field, lost",
    )
    assert offer([tool(strict=False), tool(strict=None)]).warnings == ()


@pytest.mark.parametrize(
    ("tools", "path"),
    [
        ({"type": "function"}, "tools"),
        ("f", "tools"),
        (["f"], "tools[0]"),
        ([{"type": "function"}], "tools[0].function"),
        ([named("f"), {"type": "function", "function": {}}], "tools[1].function.name"),
        ([named("")], "tools[0].function.name"),
        ([tool(description=["x"])], "tools[0].function.description"),
        ([tool(parameters=[])], "tools[0].function.parameters"),
        ([tool(parameters="{}")], "tools[0].function.parameters"),
    ],
)
def test_a_wrong_shape_has_a_path(tools, path):
    with pytest.raises(BadBody) as caught:
        offer(tools)
    assert caught.value.message.startswith(f"{path} must be ")
    assert caught.value.param == path


@pytest.mark.parametrize("size", [10, 2 * CACHEABLE])
def test_the_same_tools_again_are_the_same_answer_whether_kept_or_not(size):
    tools, others = [tool(description="x" * size, strict=True)], [tool(description="y" * size)]
    first = offer(tools)
    assert offer(others).warnings == ()
    assert offer(tools) == first
    assert offer(tools, "none") == Tools(None, ())
    for _ in range(2):
        with pytest.raises(BadBody):
            offer([*tools, "f"])


# Tool choice


def test_none_offers_no_tools_which_is_exact():
    assert offer([tool(strict=True)], "none") == Tools(None, ())


def test_auto_is_how_ollama_works_anyway():
    assert offer([tool()], "auto") == offer([tool()]) == Tools(dump([tool()]).replace(b"], ", b"], "), ())


def test_required_is_offered_and_said():
    done = offer([tool("f"), tool("g")], "required")
    assert names(done) == ["f", "g"]
    assert done.warnings == ("tool_choice" + AUTO_ONLY,)


def test_a_named_function_is_the_only_tool_offered():
    done = offer([tool("f", strict=True), tool("g")], named("g"))
    assert names(done) == ["g"]
    assert done.warnings == ("tool_choice" + AUTO_ONLY,)


@pytest.mark.parametrize(("mode", "warned"), [("auto", False), ("required", True)])
def test_allowed_tools_are_the_only_ones_offered(mode, warned):
    allowed = {"mode": mode, "tools": [named("h"), named("f")]}
    done = offer([tool("f"), tool("g"), tool("h")], {"type": "allowed_tools", "allowed_tools": allowed})
    assert names(done) == ["f", "h"]
    assert done.warnings == (("tool_choice.allowed_tools" + AUTO_ONLY,) if warned else ())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (named("nobody"), "tool_choice names a tool that is not among the given ones"),
        (
            {"type": "function", "function": {}},
            "tool_choice.function.name must be a string that is not empty",
        ),
        ("any", "tool_choice must be "),
        (7, "tool_choice must be "),
        ([], "tool_choice must be "),
        (
            {"type": "allowed_tools"},
            "tool_choice.allowed_tools must be an object with mode and tools, not null",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "any", "tools": []}},
            'tool_choice.allowed_tools.mode must be "auto" or "required"',
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            "tool_choice.allowed_tools.tools must be a list that is not empty",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("f"), 1]}},
            "tool_choice.allowed_tools.tools[1] must be an object, not a number",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("x")]}},
            "tool_choice.allowed_tools names a tool that is not among the given ones",
        ),
    ],
)
def test_a_choice_that_cannot_be_followed_is_the_clients_mistake(choice, message):
    with pytest.raises(BadBody) as caught:
        offer([tool()], choice)
    assert caught.value.message.startswith(message)


def test_a_custom_choice_is_unsupported():
    with pytest.raises(Unsupported):
        offer([tool()], {"type": "custom", "custom": {"name": "f"}})


@pytest.mark.parametrize("choice", ["required", named("f")])
def test_a_call_cannot_be_asked_for_without_tools(choice):
    with pytest.raises(BadBody, match="no tools are given"):
        offer([], choice)


# The older functions


def test_functions_are_tools():
    function = {"name": "f", "description": "does", "parameters": {}}
    done = offer(functions=[function], function_call="auto")
    assert orjson.loads(done.body or b"") == [tool(parameters=EMPTY_SCHEMA, description="does")]
    assert done.warnings == ()


def test_function_call_chooses_among_functions():
    functions = [{"name": "f", "parameters": SCHEMA}, {"name": "g", "parameters": SCHEMA | {"title": "G"}}]
    assert offer(functions=functions, function_call="none") == Tools(None, ())
    done = offer(functions=functions, function_call={"name": "g"})
    assert names(done) == ["g"]
    assert done.warnings == (
        "function_call" + AUTO_ONLY,
        "functions[1].parameters: ollama drops the schema keywords title",
    )


def test_tools_win_over_functions():
    done = offer([tool("new")], functions=[{"name": "old"}])
    assert names(done) == ["new"]
    assert done.warnings == ("functions: tools are there too, left out",)


@pytest.mark.parametrize(
    ("functions", "function_call", "path"),
    [
        ("f", None, "functions"),
        (["f"], None, "functions[0]"),
        ([{"name": 1}], None, "functions[0].name"),
        ([{"name": "f"}], "always", "function_call"),
        ([{"name": "f"}], {}, "function_call.name"),
        ([{"name": "f"}], {"name": "g"}, "function_call"),
    ],
)
def test_wrong_functions_have_a_path(functions, function_call, path):
    with pytest.raises(BadBody) as caught:
        offer(functions=functions, function_call=function_call)
    assert caught.value.message.startswith(f"{path} ")
