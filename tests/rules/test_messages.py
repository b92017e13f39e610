"""What people read when a file is wrong: every fault with its line, the value, and what is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.rules.document import Lines, read
from proxy.rules.messages import explain, in_order, place
from proxy.rules.rule import RuleFile
from tests.rules.files import faults


def in_rule(line: str) -> list[str]:
    return faults(f"rules:\n  - name: x\n    {line}\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("enabled: yes", 'enabled of rule \'x\' must be true or false, not "yes"'),
        ("enabled: 1", "enabled of rule 'x' must be true or false, not 1"),
        ("stop: null", "stop of rule 'x' must be true or false, not null: leave the key out"),
        ("description: 5", "description of rule 'x' must be text, not 5"),
        ("match: [a]", 'match of rule \'x\' must be a mapping of keys to values, not ["a"]'),
        ("match: {model: 5}", "match.model of rule 'x' must be text or a list of texts, not 5"),
        ("match: {model: [a, 5]}", "match.model[1] of rule 'x' must be text, not 5"),
        ("match: {model: []}", "match.model of rule 'x' must be at least 1 long, not []"),
        ("match: {runtime: []}", "match.runtime of rule 'x' must be at least 1 long, not []"),
        ("match: {headers: {User-Agent: 5}}", "match.headers.User-Agent of rule 'x' must be text or a list of texts, not 5"),
        ("match: {headers: {A: x, a: y}}", "match.headers of rule 'x': a is there twice: header names are compared without regard to case"),
        ("match: {runtime: vlm}", "match.runtime of rule 'x' must be ollama, vllm or openai, not \"vlm\"; did you mean 'vllm'?"),
        ("match: {stream: 'true'}", 'match.stream of rule \'x\' must be true or false, not "true"'),
        ("set: 5", "set of rule 'x' must be a mapping of keys to values, not 5"),
        ("set: {temprature: 1}", "set of rule 'x': no such parameter: 'temprature'; did you mean 'temperature'?"),
        ("set: {temperature: hot}", 'set of rule \'x\': temperature must be a number, not "hot"'),
        ("set: {temperature: '1'}", 'set of rule \'x\': temperature must be a number, not "1"'),
        ("set: {temperature: null}", "set of rule 'x': temperature has no value"),
        ("set: {mirostat: 3}", "set of rule 'x': mirostat must be one of 0, 1, 2, not 3"),
        ("set: {max_tokens: 1, num_predict: 2}", "set of rule 'x': num_predict and max_tokens are the same parameter"),
        ("default: {top_k: 1.5}", "default of rule 'x': top_k must be an integer, not 1.5"),
        ("clamp: {temperature: 5}", "clamp.temperature of rule 'x' must be a mapping of keys to values, not 5"),
        ("clamp: {temperature: {}}", "clamp.temperature of rule 'x': it says neither min nor max"),
        ("clamp: {temperature: {min: 2, max: 1}}", "clamp.temperature of rule 'x': min 2 is above max 1"),
        ("clamp: {temperature: {maxx: 1}}", "unknown key 'maxx' in clamp.temperature of rule 'x'; did you mean 'max'? (accepted: min, max)"),
        ("clamp: {num_predict: {max: x}}", 'clamp.num_predict.max of rule \'x\' must be a number, not "x"'),
        ("clamp: {num_predict: {max: 1.5}}", "clamp of rule 'x': max_tokens is held to whole numbers"),
        ("clamp: {think: {max: 1}}", "clamp of rule 'x': think is not a number, so it has no range to clamp to"),
        ("clamp: {stop: {min: 1}}", "clamp of rule 'x': stop is a list: it can only be held to a max number of items"),
        ("append: {stop: 5}", "append of rule 'x': stop must be a string or a list of strings, not 5"),
        ("append: {seed: [1]}", "append of rule 'x': seed is not a list, so nothing can be appended to it"),
        ("drop: [structured_output]", "drop of rule 'x': no such parameter: 'structured_output'; did you mean 'structured_outputs'?"),
        ("drop: 5", "drop of rule 'x' must be text or a list of texts, not 5"),
        ("drop: [5]", "drop of rule 'x': no such parameter: '5'"),
        ("route: {model: ''}", "route.model of rule 'x' must be text that is not empty, not \"\""),
        ("reject: {status: 500}", "reject.status of rule 'x' must be 499 or less, not 500"),
        ("reject: {status: 200}", "reject.status of rule 'x' must be 400 or more, not 200"),
        ("on_violation: refuse", 'on_violation of rule \'x\' must be clamp or reject, not "refuse"'),
        ("matches: {}", "unknown key 'matches' in rule 'x'; did you mean 'match'? (accepted: name, description, enabled, match, "
         "default, set, clamp, append, drop, forget, system_prompt, profile, task, route, reject, on_violation, stop)"),
        ("system_prompt: {text: x}", "unknown key 'text' in system_prompt of rule 'x' (accepted: prepend, append, replace)"),
    ],
)  # fmt: skip
def test_a_rule(line: str, words: str) -> None:
    assert in_rule(line) == [f"r.yaml:3: {words}"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [{}]", "rule 1 has no name"),
        ("rules: [{name: ok}, {name: 5}]", "name of rule 2 must be text, not 5"),
        ("rules: [{name: ok}, 5]", "rule 2 must be a mapping of keys to values, not 5"),
        ("rules: [{name: 'a b'}]", "name of rule 'a b' must be 1 to 64 letters, digits and any of . _ : - that begin "
         'with a letter or digit, not "a b"'),
        ("rules: {a: 1}", 'rules must be a list, not {"a": 1}'),
        ("rules: text", 'rules must be a list, not "text"'),
        ("rulez: []", "unknown key 'rulez' in a rule file; did you mean 'rules'? (accepted: upstreams, families, profiles, "
         "rules, experiments)"),
        ("[1]", "a rule file must be a mapping of keys to values, not [1]"),
        ("text", 'a rule file must be a mapping of keys to values, not "text"'),
        ("upstreams: [{name: a}]", "upstream 'a' has no url"),
        ("upstreams: [{name: a, url: 5}]", "url of upstream 'a' must be text"),
        ("upstreams: [{name: a, url: x, weight: -1}]", "weight of upstream 'a' must be 0 or more, not -1"),
        ("upstreams: [{name: a, url: x, weight: 1.5}]", "weight of upstream 'a' must be a whole number, not 1.5"),
        ("upstreams: [{name: a, url: x, timeouts: {idle: 0}}]", "timeouts.idle of upstream 'a' must be above 0.0, not 0"),
        ("upstreams: [{name: a, url: x, num_ctx: keep}]", 'num_ctx of upstream \'a\' must be pin, bucket or free, not "keep"'),
        ("families: [{name: f, match: a, parameters: {temperature: {typ: float}}}]", "unknown key 'typ' in "
         "parameters.temperature of family 'f'; did you mean 'type'? (accepted: default, min, max, step, desc, options, type, runtime)"),
        ("families: [{name: f, match: a, parameters: {temperature: {type: int}}}]",
         "parameters.temperature of family 'f': temperature is of type float, not int"),
        ("families: [{name: f, match: a, parameters: {top_k: {runtime: {olama: {}}}}}]",
         "parameters.top_k.runtime.olama of family 'f' must be ollama, vllm or openai, not \"olama\"; did you mean 'ollama'?"),
        ("families: [{name: f, match: a, parameters: {foo: {}}}]", "parameters of family 'f': no such parameter: 'foo'"),
        ("families: [{name: f, match: a, recommended: [{values: {}, source: s, grade: A}]}]",
         "recommended[0].values of family 'f' must be at least 1 long, not {}"),
        ("families: [{name: f, match: a, recommended: [{values: {seed: x}, source: s, grade: A}]}]",
         "recommended[0].values of family 'f': seed must be an integer, not \"x\""),
        ("families: [{name: f, match: a, recommended: [{values: {seed: 1}, source: s, grade: E}]}]",
         'recommended[0].grade of family \'f\' must be A, B, C or D, not "E"'),
        ("profiles: [{name: p, task: enginering}]", "task of profile 'p': no task is called 'enginering'; did you mean 'engineering'?"),
        ("profiles: [{name: p, parameters: {temp: 1}}]", "parameters of profile 'p': no such parameter: 'temp'"),
        ("profiles: [{name: p, gpu_config: {num_ctx: 1}}]", "gpu_config of profile 'p': num_ctx must be 4 or more, not 1"),
        ("profiles: [{name: p, circuit_breaker: {failures: 1}}]", "unknown key 'failures' in circuit_breaker of profile 'p'; did you "
         "mean 'failure_threshold' or 'failure_timeout'? (accepted: failure_threshold, failure_timeout, half_open_requests, timeouts)"),
        ("experiments: [{name: e, variants: []}]", "variants of experiment 'e' must be at least 1 long, not []"),
        ("experiments: [{name: e, variants: [{name: a, weight: heavy}]}]",
         'variants[0].weight of experiment \'e\' must be a number, not "heavy"'),
        ("experiments: [{name: e, variants: [{name: a, weight: 0}]}]", "variants[0].weight of experiment 'e' must be above 0, not 0"),
        ("experiments: [{name: e, variants: [{name: a, weight: 1, parameters: {seed: x}}]}]",
         "variants[0].parameters of experiment 'e': seed must be an integer, not \"x\""),
        ("experiments: [{name: e, match: {modle: a}, variants: [{name: a, weight: 1}]}]", "unknown key 'modle' in match of "
         "experiment 'e'; did you mean 'model'? (accepted: model, task, headers, user, runtime, thinking, stream, tools)"),
    ],
)  # fmt: skip
def test_the_other_sections(text: str, words: str) -> None:
    assert faults(f"\n{text}\n") == [f"r.yaml:2: {words}"]


def test_the_line_is_that_of_the_offending_key() -> None:
    text = """\
    upstreams:
      - name: a
        url: http://a
        weigth: 1
    profiles:
      - name: p
        parameters:
          seed: 1
          temperature:
            hot
        gpu_config:
          use_mmap: true
          num_batch: 0
    rules:
      - name: a
        match:
          model:
            - ok
            - 5
          headers:
            X-Team: ok
            User-Agent: 5
        clamp:
          num_predict:
            min: 1
            max: x
        drop:
          - seed
          - sead
      - match: {}
    """
    # in line order
    assert [fault.split(": ")[0] for fault in faults(text)] == [
        f"r.yaml:{n}" for n in (4, 9, 13, 19, 22, 26, 29, 30)
    ]


def test_one_wrong_value_never_hides_the_next() -> None:
    found = faults(
        "rules: [{name: a, set: {x: 1, temperature: hot, seed: []}, clamp: {y: {}, top_p: {}}, foo: 1}]\nbar: 1"
    )
    assert len(found) == 7


@pytest.mark.parametrize("key", ["api_key_env: sk-123456", "url: [sk-123456]"])
def test_what_may_be_a_secret_is_not_repeated(key: str) -> None:
    [*found] = faults(
        f"upstreams: [{{name: a, url: http://x, {key}}}]"
        if "env" in key
        else f"upstreams: [{{name: a, {key}}}]"
    )
    assert len(found) == 1
    assert "sk-" not in found[0]


def test_a_long_value_is_cut() -> None:
    [fault] = faults(f"rules: [{{name: a, enabled: {'x' * 5000}}}]")
    assert len(fault) < 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), "a rule file"),
        (("rules",), "rules"),
        (("rules", 0), "rule 'a'"),
        (("rules", 1), "rule 2"),
        (("rules", 9), "rule 10"),
        (("rules", 0, "match", "model", 1), "match.model[1] of rule 'a'"),
        (("experiments", 0, "variants", 0, "name"), "variants[0].name of experiment 1"),
    ],
)
def test_places_in_words(path: tuple[Any, ...], words: str) -> None:
    assert place(path, {"rules": [{"name": "a"}, {"name": 5}]}) == words


def test_faults_are_ordered_by_line_and_said_once() -> None:
    data = read("rules: [{name: a, foo: 1}]\nbar: 1", "f")
    with pytest.raises(ValidationError) as caught:
        RuleFile.model_validate(data.value)
    found = explain(caught.value, data.value, "f", data.lines)
    assert [f.line for f in in_order([*reversed(found), *found])] == [1, 2]


def test_without_lines_every_fault_is_on_the_first() -> None:
    with pytest.raises(ValidationError) as caught:
        RuleFile.model_validate({"foo": 1})
    [fault] = explain(caught.value, {"foo": 1}, "f", Lines(1))
    assert fault.line == 1
