"""The JSON Schema agrees with the models, and says more than they do to an editor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.parameters.catalog import CANONICAL, CATALOG
from proxy.rules.document import read
from proxy.rules.models import tree
from proxy.rules.parse import parse
from proxy.rules.schema import rules_reference, rules_schema
from tests.rules.files import CONTRACT, ROOT
from tests.rules.validation import errors

SCHEMA = rules_schema()


def wrong(text: str) -> list[str]:
    return list(errors(read(text, "f").value, SCHEMA, SCHEMA))


def objects(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object, wherever it is."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, inner in schema.items():
            yield from objects(inner, f"{path}.{key}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner, path)


def test_it_says_what_it_is_and_survives_json() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["title"] == "Attune rule file"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert rules_schema() == SCHEMA


def test_unknown_keys_are_refused_everywhere() -> None:
    # what may hold any key is a parameter that is an object, and headers
    free = {
        path.rpartition(".")[2]
        for path, schema in objects(SCHEMA)
        if schema.get("additionalProperties") is not False
    }
    assert free <= {p.name for p in CATALOG.values() if p.type == "object"} | {
        "format",
        "anyOf",
        "headers",
        "runtime",
    }


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(SCHEMA)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/$defs/") in SCHEMA["$defs"]


def test_every_key_is_described() -> None:
    for name, definition in SCHEMA["$defs"].items():
        for key, schema in definition["properties"].items():
            assert schema.get("description"), f"{name}.{key}"


def test_parameters_are_named_described_and_bounded() -> None:
    values = SCHEMA["$defs"]["Values"]["properties"]
    assert set(values) == set(CANONICAL)
    assert values["temperature"] == {
        "description": CATALOG["temperature"].desc,
        "type": "number",
        "minimum": 0.0,
    }
    assert values["top_p"]["maximum"] == 1.0
    assert values["repetition_penalty"]["description"].startswith("The same as repeat_penalty. ")
    assert values["mirostat"]["enum"] == [0, 1, 2]
    rule = SCHEMA["$defs"]["Rule"]["properties"]
    assert "stop" in rule["append"]["properties"]
    assert "seed" not in rule["append"]["properties"]
    assert "think" not in rule["clamp"]["properties"]
    assert set(rule["clamp"]["properties"]["stop"]["properties"]) == {"max"}
    assert rule["drop"]["anyOf"][0]["enum"] == sorted(CANONICAL)


FILES = [CONTRACT, *(p.read_text() for p in sorted((ROOT / "rules").rglob("*.yaml")))]


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_sound_files_are_accepted(text: str) -> None:
    assert wrong(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "rulez: []",
        "rules: [{}]",
        "rules: [{name: a, foo: 1}]",
        "rules: [{name: 'a b'}]",
        "rules: [{name: a, set: {temprature: 1}}]",
        "rules: [{name: a, set: {temperature: hot}}]",
        "rules: [{name: a, set: {temperature: true}}]",
        "rules: [{name: a, default: {top_k: 1.5}}]",
        "rules: [{name: a, clamp: {temperature: {}}}]",
        "rules: [{name: a, clamp: {temperature: {maks: 1}}}]",
        "rules: [{name: a, clamp: {think: {max: 1}}}]",
        "rules: [{name: a, append: {seed: [1]}}]",
        "rules: [{name: a, drop: [foo]}]",
        "rules: [{name: a, match: {modle: x}}]",
        "rules: [{name: a, match: {model: []}}]",
        "rules: [{name: a, match: {runtime: vlm}}]",
        "rules: [{name: a, match: {headers: {x: 5}}}]",
        "rules: [{name: a, enabled: yes}]",
        "rules: [{name: a, reject: {status: 500}}]",
        "rules: [{name: a, on_violation: warn}]",
        "upstreams: [{name: a}]",
        "upstreams: [{name: a, url: x, weight: -1}]",
        "upstreams: [{name: a, url: x, timeouts: {idle: 0}}]",
        "families: [{name: a}]",
        "families: [{name: a, match: x, parameters: {foo: {}}}]",
        "families: [{name: a, match: x, parameters: {seed: {typ: int}}}]",
        "families: [{name: a, match: x, recommended: [{values: {seed: 1}, source: s, grade: E}]}]",
        "profiles: [{name: a, parameters: {foo: 1}}]",
        "profiles: [{name: a, gpu_config: {num_gpus: 1}}]",
        "experiments: [{name: a, variants: []}]",
        "experiments: [{name: a, variants: [{name: b, weight: 0}]}]",
        "experiments: [{name: a, match: {foo: 1}, variants: [{name: b, weight: 1}]}]",
    ],
)
def test_faulty_files_are_refused_by_both(text: str) -> None:
    assert wrong(text)
    assert parse(text, "f").faults


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: a, match: {model: x, runtime: vllm, headers: {x: [a, b]}, thinking: null}}]",
        "rules: [{name: a, set: {stop: x, think: none, keep_alive: 10m, num_predict: 5, response_format: json}}]",
        "rules: [{name: a, set: {think: true, keep_alive: -1, stop: [a], logit_bias: {'5': 1}, stop_token_ids: [1]}}]",
        "rules: [{name: a, drop: seed, forget: [num_predict]}]",
        "rules: [{name: a, clamp: {stop: {max: 4}, seed: {min: 0, max: 9}}}]",
        "profiles: [{name: a, gpu_config: {num_ctx: 4, use_mmap: false}, id: 11111111-1111-1111-1111-111111111111}]",
        "upstreams: [{name: a, url: 'http://a', timeouts: {idle: null, total: 0.5}}]",
        "families: [{name: a, match: [x], thinking: {default: on, switch: enable_thinking}}]",
        "families: [{name: a, match: x, parameters: {num_predict: {max: 5, runtime: {vllm: {min: 1}}}}}]",
        "experiments: [{name: a, variants: [{name: b, weight: 0.5}, {name: c, weight: 1}]}]",
    ],
)  # fmt: skip
def test_all_that_a_file_may_say_is_accepted_by_both(text: str) -> None:
    assert wrong(text) == []
    assert parse(text, "f").faults == ()


def test_the_reference_names_every_key_and_parameter() -> None:
    text = rules_reference()
    for path, model in tree():
        assert f"### `{path}`" in text or not path
        for key in model.model_fields:
            assert f"| `{key}` |" in text
    for name in CATALOG:
        assert f"| `{name}` |" in text


def test_the_reference_is_well_formed() -> None:
    tables = [line for line in rules_reference().splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for line in tables:
        assert line.replace("\\|", "").count("|") == 5, line


def test_the_reference_says_types_and_defaults() -> None:
    text = rules_reference()
    assert "| `weight` | whole number, 0 to 1000 | `1` | Share of requests; 0 is a spare. |" in text
    assert "| `url` | text | required | " in text
    assert "| `model` | text, or a list of them |  | " in text
    assert "| `match` | see `rules[].match` | all defaults | When it applies. |" in text
    assert "### `experiments[].match`\n\nThe same as `rules[].match`." in text
