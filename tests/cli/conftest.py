import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main

Attune = Callable[..., Result]

RULES = """\
upstreams:
  - {name: gpu-a, url: "http://127.0.0.1:9", runtime: ollama}
  - {name: gpu-b, url: "http://127.0.0.1:9", runtime: vllm, models: ["Qwen/*", "big"], num_ctx: free}
families:
  - name: llama-3
    match: ["llama3*"]
    parameters: {temperature: {type: float, default: 0.7, min: 0.0, max: 1.0, desc: "0 is cold"}}
    recommended:
      - {mode: any, task: any, values: {temperature: 0.6, top_p: 0.9}, source: "a model card", grade: B}
profiles:
  - {name: terse, parameters: {max_tokens: 64}, system_prompt: "Be terse.", model: "llama3:8b"}
rules:
  - name: coding-stays-cool
    match: {task: engineering}
    default: {top_p: 0.8}
    set: {seed: 7}
    clamp: {temperature: {max: 0.7}}
    append: {stop: ["[/INST]"]}
    forget: [top_k]
    drop: [logit_bias]
    system_prompt: {prepend: "Be careful."}
  - {name: small-goes-big, match: {model: small}, route: {model: big, upstream: gpu-b}}
  - {name: no-secrets, match: {headers: {x-team: "red*"}}, reject: {status: 403, message: "not for your team"}}
"""


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ATTUNE_") or name in ("OLLAMA_HOST", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)


@pytest.fixture
def attune() -> Attune:
    """Runs a command line in this process."""

    def run(*words: str, **settings: Any) -> Result:
        return CliRunner().invoke(main, list(words), **settings)

    return run


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return str(path)
