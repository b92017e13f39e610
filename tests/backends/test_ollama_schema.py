"""Which schema keywords Ollama decodes, and what happens to the others."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ollama_messages import translate_tools
from proxy.backends.ollama_schema import DEEPEST, NAMED
from proxy.errors import BadBody, ClientError
from tests.backends.chat_samples import EMPTY_SCHEMA, offer, tool
from tests.doubles.ollama_checks import CHAT, bind


def parameters(schema: Any) -> tuple[Any, tuple[str, ...]]:
    """The native schema, and the warnings without their common path."""
    done = offer([tool(parameters=schema)])
    assert done.body is not None
    common = "tools[0].function.parameters"
    assert all(line.startswith(common) for line in done.warnings)
    return orjson.loads(done.body)[0]["function"]["parameters"], tuple(
        w[len(common) :] for w in done.warnings
    )


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "object"}, {"properties": {}}, {"type": "", "properties": None}]
)
def test_an_empty_schema_is_an_object_without_properties(schema):
    assert parameters(schema) == (EMPTY_SCHEMA, ())
    missing = {"type": "function", "function": {"name": "f"}}
    assert orjson.loads(offer([missing]).body or b"") == [tool(parameters=EMPTY_SCHEMA)]


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
        "anyOf": [True, {"required": ["a"]}],
        "properties": {
            "a": {"type": "string", "pattern": "x", "format": "date", "description": "kept"},
            "b": {"anyOf": [{"const": 1}, {"type": "object", "properties": {"c": {"$ref": "#/$defs/x"}}}]},
        },
    }
    lost = "$ref, additionalProperties, anyOf, const, description, format, pattern, title"
    assert parameters(schema) == (schema, (f": ollama drops the schema keywords {lost}",))


def test_many_lost_keywords_are_counted():
    schema = {**EMPTY_SCHEMA, **{f"x{index:02}": 1 for index in range(NAMED + 3)}}
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
    assert parameters(schema) == (EMPTY_SCHEMA, (".type: ollama takes one type here, sent as object",))


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


@given(SCHEMAS | NODES, st.sampled_from([None, "auto", "required"]))
def test_any_schema_is_refused_or_is_one_that_ollama_takes(schema, choice):
    try:
        done = offer([tool(parameters=schema)], choice)
    except ClientError as error:
        assert error.status == 400
        return
    said = orjson.loads(done.body or b"[]")
    bind(CHAT, {"model": "m", "messages": [], "tools": said}, "ChatRequest")
    assert said[0]["function"]["parameters"]["type"]
    assert isinstance(said[0]["function"]["parameters"]["properties"], dict)
