"""Rule files for tests: texts in, parsed files out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.errors import RuleFault
from proxy.rules.parse import Parsed, parse
from proxy.rules.rule import Rule

ROOT = Path(__file__).parent.parent.parent

CONTRACT = """\
upstreams:
  - {name: gpu-a, url: "http://127.0.0.1:11434", runtime: ollama, models: ["*"], weight: 1, max_concurrency: 8,
     api_key_env: GPU_A_KEY, timeouts: {connect: 5, first_byte: 300, idle: 120}}
families:
  - name: llama-3
    match: ["llama3*", "*llama-3*"]
    parameters: {temperature: {type: float, default: 0.7, min: 0.0, max: 1.0, desc: "0 = deterministic, 1 = creative"}}
    recommended:
      - {mode: any, task: any, values: {temperature: 0.6, top_p: 0.9}, source: "generation_config of the 3.2 release", grade: B}
profiles:
  - {name: precise_coding, task: engineering, parameters: {temperature: 0.0, top_p: 0.9, repeat_penalty: 1.1}, system_prompt: "..."}
rules:
  - name: coding-stays-cool
    match: {model: ["qwen3*"], task: engineering, headers: {user-agent: "aider*"}, user: "*", runtime: ollama, thinking: true, stream: true, tools: false}
    default: {top_p: 0.9}
    set: {seed: 7}
    clamp: {temperature: {max: 0.7}, max_tokens: {max: 4096}}
    append: {stop: ["</s>"]}
    drop: [logit_bias]
    forget: [temperature]
    system_prompt: {prepend: "...", append: "...", replace: "..."}
    profile: precise_coding
    route: {upstream: [gpu-a], model: "qwen3-coder:30b"}
    reject: {status: 403, message: "..."}
experiments:
  - {name: cooler-code, match: {task: engineering}, unit: session, variants: [{name: a, weight: 50}, {name: b, weight: 50, parameters: {temperature: 0.2}}]}
"""
"""A file with every section and nearly every key."""


def parsed(text: str, file: str = "r.yaml", *, builtin: bool = False) -> Parsed:
    """A text that must be sound."""
    result = parse(textwrap.dedent(text), file, builtin=builtin)
    assert [str(f) for f in result.faults] == []
    return result


def lines(found: Sequence[RuleFault]) -> list[str]:
    """`file:line: message` each."""
    return [str(fault) for fault in found]


def faults(text: str) -> list[str]:
    """The faults of a text."""
    return lines(parse(textwrap.dedent(text), "r.yaml").faults)


def rule(**keys: Any) -> Rule:
    """One rule."""
    return Rule.model_validate({"name": "r", **keys})


def shipped() -> list[Parsed]:
    """The built-in files."""
    paths = sorted((ROOT / "rules").rglob("*.yaml"))
    return [parsed(path.read_text(), str(path.relative_to(ROOT)), builtin=True) for path in paths]
