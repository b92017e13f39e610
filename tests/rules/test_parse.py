"""Rule files in one call: sound ones become models, others all their faults, and nothing ever raises."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.rules.document import SIZE
from proxy.rules.parse import EMPTY, Parsed, parse, unreadable
from tests.rules.files import CONTRACT, lines, parsed, shipped

# other work on the machine is no fault of the code
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_contract_s_example_is_sound() -> None:
    content = parsed(CONTRACT).content
    assert content is not None
    [upstream], [family], [profile], [rule], [experiment] = (
        content.upstreams, content.families, content.profiles, content.rules, content.experiments,
    )  # fmt: skip
    assert (upstream.name, upstream.models, upstream.timeouts.first_byte) == ("gpu-a", ("*",), 300)
    assert family.match == ("llama3*", "*llama-3*")
    assert family.parameters["temperature"]["max"] == 1.0
    assert family.recommended[0].values == {"temperature": 0.6, "top_p": 0.9}
    assert profile.parameters == {"temperature": 0.0, "top_p": 0.9, "repeat_penalty": 1.1}
    assert rule.match.model == ("qwen3*",)
    assert rule.match.headers == {"user-agent": ("aider*",)}
    assert (rule.match.thinking, rule.match.stream, rule.match.tools) == (True, True, False)
    assert (rule.default, rule.set, rule.append) == ({"top_p": 0.9}, {"seed": 7}, {"stop": ["</s>"]})
    assert (rule.drop, rule.forget, rule.profile) == (("logit_bias",), ("temperature",), "precise_coding")
    assert rule.route is not None
    assert (rule.route.upstream, rule.route.model) == (("gpu-a",), "qwen3-coder:30b")
    assert rule.reject is not None
    assert rule.reject.status == 403
    assert experiment.match.task == ("engineering",)
    assert experiment.variants[1].parameters == {"temperature": 0.2}


def test_the_shipped_files_are_sound() -> None:
    files = shipped()
    assert all(file.builtin and file.content is not None for file in files)
    assert sum(len(file.content.profiles) for file in files if file.content) == 26


def test_parameters_get_attune_s_names_everywhere() -> None:
    text = """\
    families:
      - {name: f, match: a, parameters: {num_predict: {max: 5}}, recommended: [{values: {reasoning_effort: none}, source: s, grade: A}]}
    profiles:
      - {name: p, parameters: {max_completion_tokens: 5.0}}
    rules:
      - {name: r, default: {num_predict: 1}, set: {repetition_penalty: 1}, clamp: {num_predict: {max: 9}},
         append: {stop: x}, drop: num_predict, forget: [num_predict, max_tokens]}
    experiments:
      - {name: e, variants: [{name: v, weight: 1, parameters: {num_predict: 7}}]}
    """
    content = parsed(text).content
    assert content is not None
    assert content.families[0].parameters == {"max_tokens": {"max": 5}}
    assert content.families[0].recommended[0].values == {"think": False}
    assert content.profiles[0].parameters == {"max_tokens": 5}
    [rule] = content.rules
    assert (rule.default, rule.set) == ({"max_tokens": 1}, {"repeat_penalty": 1})
    assert (list(rule.clamp), rule.append) == (["max_tokens"], {"stop": ["x"]})
    assert (rule.drop, rule.forget) == (("max_tokens",), ("max_tokens",))
    assert content.experiments[0].variants[0].parameters == {"max_tokens": 7}


def test_empty_files_and_sections() -> None:
    assert parsed("").content == EMPTY
    assert parsed("# nothing yet\n").content == EMPTY
    assert parsed("rules:\nprofiles: []\nfamilies:\n").content == EMPTY


def test_the_hash_is_that_of_the_text() -> None:
    assert parsed(CONTRACT).hash == hashlib.sha256(CONTRACT.encode()).hexdigest()
    assert parse("a: [", "f").hash == hashlib.sha256(b"a: [").hexdigest()
    assert len(parse("a: \ud800", "f").hash) == 64


def test_a_file_with_faults_has_no_content() -> None:
    found = parse("rules: [{name: a, foo: 1}]", "f", builtin=True)
    assert (found.file, found.content, found.builtin, len(found.faults)) == ("f", None, True, 1)


def test_faults_of_the_text_and_of_the_models_come_together() -> None:
    found = parse("rules:\n  - name: a\n    name: b\n    foo: 1\n    set: {top_p: .inf}\n", "f")
    assert [fault.line for fault in found.faults] == [3, 4, 5]
    # the infinite number is one fault, not two
    assert "no number that can be sent" in found.faults[2].message


def test_a_faulty_text_whose_rest_is_sound_has_no_content_either() -> None:
    found = parse("rules: []\nrules: []\n", "f")
    assert lines(found.faults) == ["f:2: duplicate key 'rules', first on line 1"]
    assert found.content is None


def test_an_unreadable_file_says_why() -> None:
    found = unreadable("f", "no such file", line=3)
    assert lines(found.faults) == ["f:3: no such file"]
    assert (found.content, found.hash, found.builtin) == (None, "", False)


def test_object_values_keep_their_shape() -> None:
    deep = "{type: json_schema, json_schema: {name: a, schema: {type: object, properties: {a: {enum: [1, null, x]}}}}}"
    content = parsed(f"rules: [{{name: a, set: {{response_format: {deep}}}}}]").content
    assert content is not None
    schema = content.rules[0].set["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["a"]["enum"] == [1, None, "x"]


def check(text: str) -> Parsed:
    """What holds for the outcome of any text."""
    found = parse(text, "f")
    assert (found.content is None) == bool(found.faults)
    assert list(found.faults) == sorted(found.faults, key=lambda fault: fault.line)
    for fault in found.faults:
        assert fault.file == "f"
        assert (
            1
            <= fault.line
            <= text.count("\n")
            + text.count("\r")
            + text.count("\x85")
            + text.count("\u2028")
            + text.count("\u2029")
            + 2
        )
        assert str(fault).startswith(f"f:{fault.line}: ")
        assert fault.message.strip()
    return found


@relaxed
@given(st.text(max_size=200))
@example("? [\n")
@example("&")
@example("a: *")
@example("%TAG ! tag:x,2000:\n---\n!a b")
@example("rules: [&a {name: x}, *a]")
@example("'" * 3)
def test_no_text_raises(text: str) -> None:
    check(text)


@relaxed
@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    check(data.decode("utf-8", "surrogateescape"))
    check(data.decode("latin-1"))


KEYS = [
    "upstreams", "families", "profiles", "rules", "experiments", "name", "match", "set", "clamp", "append", "drop",
    "parameters", "recommended", "values", "variants", "weight", "model", "headers", "temperature", "stop", "min", "max",
    "runtime", "ollama", "task", "system_prompt", "route", "upstream", "timeouts", "url", "id", "gpu_config", "x",
]  # fmt: skip

shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "*", "ollama", "engineering", "temperature"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip

sections = st.dictionaries(
    st.sampled_from(KEYS[:5]), st.lists(st.dictionaries(st.sampled_from(KEYS), shapes), max_size=3) | shapes
)


@relaxed
@given(sections)
def test_no_shape_raises(data: Any) -> None:
    check(yaml.safe_dump(data))
    check(json.dumps(data, indent=1))


@relaxed
@given(st.data())
def test_no_slip_of_the_pen_raises(data: st.DataObject) -> None:
    text = CONTRACT
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        new = data.draw(
            st.sampled_from(
                ["", "x", "\n", "  ", "- ", ": ", "{", "}", "[", "]", "'", '"', "#", "5", "&a ", "*a", "!!"]
            )
        )
        text = text[:at] + new + text[at + length :]
    check(text)


@relaxed
@given(st.permutations(CONTRACT.splitlines(keepends=True)))
def test_lines_in_any_order(shuffled: list[str]) -> None:
    check("".join(shuffled))


def test_many_faults_are_all_told() -> None:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, set: {{temperature: hot}}, foo: 1}}\n" for n in range(500)
    )
    assert len(check(text).faults) == 1000


def test_ten_thousand_rules_are_read_in_reasonable_time() -> None:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, match: {{model: 'm{n}*'}}, set: {{temperature: 0.5}}}}\n" for n in range(10_000)
    )
    assert len(text) < SIZE
    content = parse(text, "f").content
    assert content is not None
    assert len(content.rules) == 10_000
