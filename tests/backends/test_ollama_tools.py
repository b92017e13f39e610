"""Tools, tool choice and the older functions; then the schema keywords that Ollama decodes."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ollama_messages import Tools, translate_tools
from proxy.backends.ollama_schema import DEEPEST, NAMED
from proxy.backends.ollama_tools import CACHEABLE
from proxy.errors import BadBody, ClientError, Unsupported
from tests.doubles.ollama_checks import CHAT, bind

EMPTY = {"type": "object", "properties": {}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
AUTO_ONLY = ": ollama cannot force a call, the tools are offered and the model decides"


def tool(name: str = "f", parameters: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def dump(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value).encode()


def translate(
    tools: Any = None, choice: Any = None, functions: Any = None, function_call: Any = None
) -> Tools:
    return translate_tools(dump(tools), dump(choice), dump(functions), dump(function_call))


def names(done: Tools) -> list[str]:
    return [tool["function"]["name"] for tool in orjson.loads(done.body or b"[]")]


def parameters(schema: Any) -> tuple[Any, tuple[str, ...]]:
    """The native schema, and the warnings without their common path."""
    done = translate([tool(parameters=schema)])
    assert done.body is not None
    common = "tools[0].function.parameters"
    assert all(line.startswith(common) for line in done.warnings)
    return orjson.loads(done.body)[0]["function"]["parameters"], tuple(
        w[len(common) :] for w in done.warnings
    )


# Tools


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_is_no_field(tools):
    assert translate(tools) == Tools(None, ())
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
    assert orjson.loads(done.body)[0] == tool(parameters=EMPTY)


def test_a_tool_without_a_type_is_a_function():
    done = translate([{"function": {"name": "f", "parameters": SCHEMA}}])
    assert orjson.loads(done.body or b"") == [tool()]


@pytest.mark.parametrize("other", [{"type": "custom", "custom": {"name": "f"}}, {"type": "web_search"}])
def test_other_tools_than_functions_are_refused(other):
    with pytest.raises(Unsupported, match=r"^tools\[1\]\.type"):
        translate([tool(), other])


def test_strict_and_unknown_keys_are_lost_and_named_once():
    tools = [tool("f", strict=True), tool("g", strict=True) | {"cache_control": {"type": "ephemeral"}}]
    assert translate(tools).warnings == (
        "tools[0].function.strict: ollama has no such field, left out (and at 1 more place)",
        "tools[1].cache_control: ollama has no such field, left out",
    )
    assert translate([tool(strict=False), tool(strict=None)]).warnings == ()


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
        translate(tools)
    assert caught.value.message.startswith(f"{path} must be ")
    assert caught.value.param == path


@pytest.mark.parametrize("size", [10, 2 * CACHEABLE])
def test_the_same_tools_again_are_the_same_answer_whether_kept_or_not(size):
    tools, others = [tool(description="x" * size, strict=True)], [tool(description="y" * size)]
    first = translate(tools)
    assert translate(others).warnings == ()
    assert translate(tools) == first
    assert translate(tools, "none") == Tools(None, ())
    for _ in range(2):
        with pytest.raises(BadBody):
            translate([*tools, "f"])


# Tool choice


def test_none_offers_no_tools_which_is_exact():
    assert translate([tool(strict=True)], "none") == Tools(None, ())


def test_auto_is_how_ollama_works_anyway():
    assert (
        translate([tool()], "auto")
        == translate([tool()])
        == Tools(dump([tool()]).replace(b"], ", b"], "), ())
    )


def test_required_is_offered_and_said():
    done = translate([tool("f"), tool("g")], "required")
    assert names(done) == ["f", "g"]
    assert done.warnings == ("tool_choice" + AUTO_ONLY,)


def test_a_named_function_is_the_only_tool_offered():
    done = translate([tool("f", strict=True), tool("g")], named("g"))
    assert names(done) == ["g"]
    assert done.warnings == ("tool_choice" + AUTO_ONLY,)


@pytest.mark.parametrize(("mode", "warned"), [("auto", False), ("required", True)])
def test_allowed_tools_are_the_only_ones_offered(mode, warned):
    allowed = {"mode": mode, "tools": [named("h"), named("f")]}
    done = translate([tool("f"), tool("g"), tool("h")], {"type": "allowed_tools", "allowed_tools": allowed})
    assert names(done) == ["f", "h"]
    assert done.warnings == (("tool_choice.allowed_tools" + AUTO_ONLY,) if warned else ())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (named("nobody"), "tool_choice names a tool that is not among the given ones"),
        (
            {"type": "function", "function": {}},
            "tool_choice.function.name must be a string that is not empty, not null",
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
            "tool_choice.allowed_tools.tools must be a list that is not empty, not a list",
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
        translate([tool()], choice)
    assert caught.value.message.startswith(message)


def test_a_custom_choice_is_unsupported():
    with pytest.raises(Unsupported):
        translate([tool()], {"type": "custom", "custom": {"name": "f"}})


@pytest.mark.parametrize("choice", ["required", named("f")])
def test_a_call_cannot_be_asked_for_without_tools(choice):
    with pytest.raises(BadBody, match="no tools are given"):
        translate([], choice)


# The older functions


def test_functions_are_tools():
    function = {"name": "f", "description": "does", "parameters": {}}
    done = translate(functions=[function], function_call="auto")
    assert orjson.loads(done.body or b"") == [tool(parameters=EMPTY, description="does")]
    assert done.warnings == ()


def test_function_call_chooses_among_functions():
    functions = [{"name": "f", "parameters": SCHEMA}, {"name": "g", "parameters": SCHEMA | {"title": "G"}}]
    assert translate(functions=functions, function_call="none") == Tools(None, ())
    done = translate(functions=functions, function_call={"name": "g"})
    assert names(done) == ["g"]
    assert done.warnings == (
        "function_call" + AUTO_ONLY,
        "functions[1].parameters: ollama drops the schema keywords title",
    )


def test_tools_win_over_functions():
    done = translate([tool("new")], functions=[{"name": "old"}])
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
        translate(functions=functions, function_call=function_call)
    assert caught.value.message.startswith(f"{path} ")


# Schemas


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "object"}, {"properties": {}}, {"type": "", "properties": None}]
)
def test_an_empty_schema_is_an_object_without_properties(schema):
    assert parameters(schema) == (EMPTY, ())
    missing = {"type": "function", "function": {"name": "f"}}
    assert orjson.loads(translate([missing]).body or b"") == [tool(parameters=EMPTY)]


def test_everything_that_survives_is_no_loss():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "$defs": {"any": {"minimum": 1, "x": True}},
        "items": {"pattern": "x", "properties": {"y": True}},
        "required": ["a"],
        "properties": {
            "a": {"type": ["string", "null"], "description": "d", "enum": ["x", 1, None]},
            "b": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"minLength": 1}}]},
            "c": {"type": "object", "properties": {"d": {"type": "integer"}}, "required": ["d"]},
            "e": None,
        },
    }
    assert parameters(schema) == (schema, ())


def test_lost_keywords_are_named_in_one_warning_and_sent_all_the_same():
    schema = {
        "type": "object",
        "title": "T",
        "description": "lost at the top only",
        "additionalProperties": False,
        "properties": {
            "a": {"type": "string", "pattern": "x", "format": "date", "description": "kept"},
            "b": {"anyOf": [{"const": 1}, {"type": "object", "properties": {"c": {"$ref": "#/$defs/x"}}}]},
        },
    }
    lost = "$ref, additionalProperties, const, description, format, pattern, title"
    assert parameters(schema) == (schema, (f": ollama drops the schema keywords {lost}",))


def test_many_lost_keywords_are_counted():
    schema = {**EMPTY, **{f"x{index:02}": 1 for index in range(NAMED + 3)}}
    [warning] = parameters(schema)[1]
    assert warning.endswith("x06, x07 and 3 more")


def test_boolean_schemas_are_mended():
    schema = {
        "type": "object",
        "properties": {"any": True, "never": False, "one": {"anyOf": [True, False, {"type": "string"}]}},
    }
    mended, warnings = parameters(schema)
    assert mended["properties"] == {"any": {}, "one": {"anyOf": [{}, {"type": "string"}]}}
    assert warnings == (
        ".properties.any: a boolean schema, sent as {}",
        ".properties.never: a boolean schema, left out",
        ".properties.one.anyOf[0]: a boolean schema, sent as {}",
        ".properties.one.anyOf[1]: a boolean schema, left out",
    )


def test_a_list_of_types_at_the_top_is_an_object():
    schema = {"type": ["object", "null"], "properties": {}}
    assert parameters(schema) == (EMPTY, (".type: ollama takes one type here, sent as object",))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": ["string"]}, "type"),
        ({"type": 1}, "type"),
        ({"properties": []}, "properties"),
        ({"required": True}, "required"),
        ({"required": [1]}, "required"),
        ({"properties": {"a": "string"}}, "properties.a"),
        ({"properties": {"a": {"type": {}}}}, "properties.a.type"),
        ({"properties": {"a": {"type": ["string", 1]}}}, "properties.a.type"),
        ({"properties": {"a": {"required": True}}}, "properties.a.required"),
        ({"properties": {"a": {"enum": "x"}}}, "properties.a.enum"),
        ({"properties": {"a": {"description": 1}}}, "properties.a.description"),
        ({"properties": {"a": {"anyOf": {}}}}, "properties.a.anyOf"),
        ({"properties": {"a": {"anyOf": [{}, 1]}}}, "properties.a.anyOf[1]"),
        ({"properties": {"a": {"anyOf": [{"properties": {"b": 1}}]}}}, "properties.a.anyOf[0].properties.b"),
    ],
)
def test_a_keyword_of_another_shape_would_be_a_400_so_it_is_one_here(schema, path):
    with pytest.raises(BadBody) as caught:
        parameters(schema)
    assert caught.value.message.startswith(f"tools[0].function.parameters.{path} must be ")


@pytest.mark.parametrize("depth", [DEEPEST + 1, 300, 600])
def test_properties_that_nest_without_end_are_refused(depth):
    nested = b'{"properties":{"a":' * depth + b"{}" + b"}}" * depth
    with pytest.raises(BadBody, match=r"nested too deeply|depth"):
        translate_tools(b'[{"type":"function","function":{"name":"f","parameters":' + nested + b"}}]", None)


@pytest.mark.parametrize("depth", [300, 990, 1100])
def test_depth_where_nobody_looks_is_no_crash(depth):
    items = b'{"items":' * depth + b"{}" + b"}" * depth
    try:
        done = translate_tools(
            b'[{"type":"function","function":{"name":"f","parameters":' + items + b"}}]", None
        )
    except BadBody as error:
        assert "nested too deeply" in error.message or "depth" in error.message
    else:
        assert done.body is not None


NODES = st.recursive(
    st.booleans() | st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "anyOf", "items", "required", "enum", "description", "title", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SCHEMAS = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.text(max_size=3), NODES, max_size=4)},
    optional={"type": st.just("object"), "required": st.just(["a"]), "$defs": NODES, "title": NODES},
)


@given(SCHEMAS | NODES, st.sampled_from([None, "auto", "required", named("f"), named("g")]))
def test_any_schema_is_refused_or_is_one_that_ollama_takes(schema, choice):
    try:
        done = translate([tool(parameters=schema)], choice)
    except ClientError as error:
        assert error.status == 400
        return
    said = orjson.loads(done.body or b"[]")
    bind(CHAT, {"model": "m", "messages": [], "tools": said}, "ChatRequest")
    assert said[0]["function"]["parameters"]["type"]
    assert isinstance(said[0]["function"]["parameters"]["properties"], dict)
