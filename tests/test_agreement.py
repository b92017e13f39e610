"""`tuning`, `POST /api/v1/explain`, `attune explain` and what goes upstream say the same of a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import proxy.cli.explain
from proxy.parameters.catalog import CATALOG, Parameter
from proxy.reload import RuleFiles
from proxy.snapshot import Snapshot, build
from tests.doubles.ollama_models import Model
from tests.standing import Standing

EXAMPLES = 500
VERSION = "0.32.15"

RULES = """
upstreams:
  - {name: gpu-a, url: "URL", runtime: ollama, models: ["*"]}
  - {name: gpu-b, url: "URL", runtime: ollama, models: ["*"], weight: 0, num_ctx: free}
  - {name: gpu-g, url: "URL", runtime: ollama, models: ["ghost:1b", ghost-dull], num_ctx: pin}
families:
  - name: ghosts
    match: ["ghost*"]
    thinking: {default: "on", switch: enable_thinking, soft: true}
    parameters:
      temperature: {min: 0.1, max: 1.2}
      top_k: {min: 5, runtime: {ollama: {max: 50}, vllm: {max: 5}}}
      stop: {max: 4}
      num_ctx: {max: 16384}
    recommended:
      - {mode: thinking, values: {temperature: 0.6, top_k: 20, min_p: 0.0}, source: seen, grade: D}
      - {mode: non-thinking, values: {temperature: 0.7, top_p: 0.8}, source: seen, grade: D}
      - {mode: any, task: engineering, values: {temperature: 0.3, mirostat: 1}, source: seen, grade: D}
profiles:
  - {name: house, model: "llama3:8b", parameters: {temperature: 0.9, think: low, num_predict: 300},
     system_prompt: "You work for the house."}
  - {name: roomy, model: "ghost:1b", parameters: {repeat_penalty: 1.2, stop: ["END"]}, gpu_config: {num_ctx: 6000}}
rules:
  - {name: aider-codes, match: {headers: {user-agent: "aider*"}}, task: engineering, forget: [temperature, stop]}
  - {name: for-all, default: {top_p: 0.85, seed: 3}, clamp: {temperature: {max: 1.7}, stop: {max: 5}}}
  - {name: streams, match: {stream: true}, append: {stop: ["</s>", "END"]}, drop: [logit_bias, typical_p]}
  - {name: coding, match: {task: engineering}, set: {seed: 7, mirostat: 2}, clamp: {max_tokens: {min: 16, max: 4096}},
     system_prompt: {append: "Code first."}}
  - {name: thinkers, match: {thinking: true}, default: {max_tokens: 9000}, clamp: {num_ctx: {max: 12000}}}
  - {name: tools, match: {tools: true, model: ["llama*", "ghost*"]}, set: {parallel_tool_calls: false}, stop: true}
  - {name: team-lab, match: {headers: {x-team: lab}}, profile: roomy, set: {top_k: 30}, forget: [top_k],
     system_prompt: {prepend: "Lab."}}
  - {name: team-audit, match: {headers: {x-team: audit}}, on_violation: reject, system_prompt: {replace: "Audit."}}
  - {name: team-banned, match: {headers: {x-team: banned}}, reject: {status: 403, message: "Not you."}}
  - {name: team-away, match: {headers: {x-team: away}}, route: {upstream: [gpu-b]}}
  - {name: team-moved, match: {headers: {x-team: moved}}, route: {model: "llama3.2:1b"}}
experiments:
  - name: cooler
    match: {headers: {user-agent: "*"}}
    unit: session
    variants:
      - {name: as-it-is, weight: 1}
      - {name: cool, weight: 1, parameters: {temperature: 0.2, min_p: 0.1}}
"""

LISTED = [
    "llama3:8b",
    "LLAMA3:8b",
    "qwen3:8b",
    "gpt-oss:20b",
    "gemma3:4b",
    "deepseek-r1:8b",
    "mlx-model",
    "plain",
]
GHOSTS = ["ghost:1b", "ghost:1b@house", "ghost-dull"]
NAMED = ["auto", "llama3:8b@precise", "qwen3:8b@house", "llama3:8b@nobody", "nobody:1b", None]

MESSAGES = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    [{"role": "user", "content": "what? /no_think"}],
    [
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "o"},
    ],
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}

SPECIAL: dict[str, list[Any]] = {
    "think": [True, False, "none", "off", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"],
    "keep_alive": [0, 300, -1, 1.5, "10m", "1h30m", "-1", "45"],
    "response_format": [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        "json",
        SCHEMA,
    ],
    "mirostat": [0, 1, 2, 2.0],
    "n": [1, 1, 1, 2],
}
BY_TYPE: dict[str, list[Any]] = {
    "float": [0, 0.0, 0.35, 0.8, 1, 1.0, 1.4, 1.9, 2.5, -0.5, -7, 1e9],
    "string": ["", "a+", "root ::= x"],
    "int": [0, 1, 3, 7.0, 40, 100, 2048, 5000, 9000, 200_000, 2**31, 2**40, -1, -2, -500],
    "bool": [True, False],
    "list": [[], ["a"], "END", ["a", "b, c", "ü", "d;e", "</s>", "f"]],
    "object": [{}, {"enable_thinking": False, "x": 1}, {"50256": -100}],
}
OFTEN = [
    "temperature",
    "stop",
    "max_tokens",
    "think",
    "num_ctx",
    "top_k",
    "seed",
    "response_format",
    "mirostat",
]
NAMES = [*CATALOG, *OFTEN, *OFTEN]
WRONG: list[Any] = ["0.5", [1], {"a": "b"}, "yes", 0.25, True]


def values(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Values of a parameter, rarely of a wrong type, sometimes null."""
    right = SPECIAL.get(parameter.name) or BY_TYPE[parameter.type]
    if parameter.items == "int":
        right = [[], [1, 2]]
    return st.integers(0, 39).flatmap(
        lambda n: st.sampled_from(WRONG) if n == 39 else st.none() if n > 36 else st.sampled_from(right)
    )


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of a body: any names and spellings, at any of the three places."""
    body: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=7)):
        parameter = CATALOG[name]
        place = draw(st.sampled_from(["", "", "options", "generation_params"]))
        holder = body.setdefault(place, {}) if place else body
        holder[draw(st.sampled_from(parameter.spellings))] = draw(values(parameter))
    if draw(st.integers(0, 9)) == 0:
        body.setdefault("options", {})["temprature"] = 0.5
    if draw(st.integers(0, 9)) == 0:
        body["user"] = "me"
    return body


@dataclass
class Asked:
    """A request."""

    model: str | None
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def listed(self) -> bool:
        """Whether the proxy knows more of its model than rule files tell."""
        return not (self.model or "").startswith("ghost") or "x-team" in self.headers


HEADERS: dict[str, list[str]] = {
    "x-tuning-task": ["engineering", "brief-summary", "primary", "enginering"],
    "x-tuning-profile": ["house", "roomy", "creative", "precise_coding", "hause"],
    "x-tuning-strict": ["1", "0"],
    "x-tuning-session": ["s1", "s2", "s3"],
    "user-agent": ["aider/0.9", "curl/8"],
    "x-team": ["lab", "audit", "banned", "away", "moved", "none"],
}


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """Requests of every kind that the rules tell apart."""
    body = draw(parameters()) | {"messages": draw(st.sampled_from(MESSAGES))}
    body |= {"stream": draw(st.booleans())} if draw(st.booleans()) else {}
    body |= {"tools": TOOLS} if draw(st.integers(0, 3)) == 0 else {}
    headers = {"user-agent": "client/1"}
    for name in draw(st.lists(st.sampled_from(list(HEADERS)), max_size=4)):
        headers[name] = draw(st.sampled_from(HEADERS[name]))
    pool = draw(st.sampled_from([LISTED, LISTED, GHOSTS, GHOSTS, NAMED]))
    return Asked(draw(st.sampled_from(pool)), body, headers)


class _Table(dict[str, Model]):
    """Models of which the ghosts answer but are not listed."""

    def values(self) -> Any:
        return [model for model in super().values() if not model.name.startswith("ghost")]


class Bench(Standing):
    """One proxy before one double, for all examples."""

    def prepare(self) -> None:
        thinks = ("completion", "tools", "thinking")
        ghosts = [Model("ghost:1b", thinks, 8192), Model("ghost-dull:latest", thinks, 8192)]
        self.ollama.models = _Table(self.ollama.models | {ghost.name: ghost for ghost in ghosts})

    def start(self) -> None:
        super().start()
        self.rules = str(self.attune.rules)
        self.snapshot: Snapshot = build(RuleFiles([Path(self.rules)], builtin=True).read())

    def explain(self, asked: Asked) -> httpx.Response:
        """What the API says."""
        question = {"model": asked.model, "headers": asked.headers, "body": asked.body}
        return self.post("/api/v1/explain", question)

    def send(self, asked: Asked) -> httpx.Response:
        """The request itself, with `tuning` asked for."""
        body = asked.body | ({} if asked.model is None else {"model": asked.model})
        headers = asked.headers | {"x-tuning-explain": "1"}
        return self.post("/v1/chat/completions", body, headers)

    def command(self, asked: Asked, *where: str) -> dict[str, Any]:
        """What `attune explain --json` says."""
        args = ["--json", "--body", "-", *where]
        args += ["--model", asked.model] if asked.model is not None else []
        for name, value in asked.headers.items():
            flag = {"x-tuning-task": "--task", "x-tuning-profile": "--profile"}.get(name)
            args += [flag, value] if flag else ["--header", f"{name}={value}"]
        invoke = CliRunner().invoke
        job = asyncio.to_thread(invoke, proxy.cli.explain.explain, args, input=json.dumps(asked.body))
        result = self.run(job)
        said: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (1 if "error" in said else 0), result.output
        return said


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench(RULES, version=VERSION)
    bench.start()
    yield bench
    bench.stop()


@pytest.fixture
def kept_rules(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`attune explain` finds the rule files read and built already: doing so takes longer than all the rest."""

    class Kept:
        def __init__(self, paths: list[Path], *, builtin: bool) -> None:
            assert (paths, builtin) == ([Path(bench.rules)], True)

        def read(self) -> list[Any]:
            return []

    monkeypatch.setattr(proxy.cli.explain, "RuleFiles", Kept)
    monkeypatch.setattr(proxy.cli.explain, "build", lambda _: bench.snapshot)


def answers(reply: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, or the one answer."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return [reply.json()]
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def exact(value: Any) -> str:
    """A value as JSON: 1, 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


def without_facts(said: dict[str, Any]) -> dict[str, Any]:
    """A decision, or an error, without what only the upstream could have told."""
    plain: dict[str, Any] = json.loads(exact(said).replace(f"ollama {VERSION}", "ollama"))
    for key in ("request_id", "runtime_version"):
        plain.pop(key, None)
    return plain


def on_the_wire(name: str, value: Any) -> Any:
    """What Ollama calls a value."""
    if name != "response_format":
        return value
    return "json" if value["type"] == "json_object" else value["json_schema"]["schema"]


def check_wire(decision: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Every parameter stands where `wire` says, and nothing else does."""
    options, top = {}, {"model", "messages", "stream"} | ({"tools"} if "tools" in recorded else set())
    for name, entry in decision["parameters"].items():
        if entry["layer"] == "runtime":
            assert entry["wire"] is None
        elif entry["wire"].startswith("options."):
            options[entry["wire"].removeprefix("options.")] = entry["value"]
        elif not entry["wire"].startswith("answer:"):
            top.add(entry["wire"])
            assert exact(recorded[entry["wire"]]) == exact(on_the_wire(name, entry["value"]))
    assert exact(recorded.get("options", {})) == exact(options)
    assert set(recorded) - {"options"} == top
    assert not set(decision["dropped"]) & set(decision["parameters"])


def changed(decision: dict[str, Any]) -> set[str]:
    """The names of what is not as the client asked."""
    names = {
        name
        for name, entry in decision["dropped"].items()
        if entry["layer"] in ("client", "rule-set") and not entry.get("harmless")
    }
    for name, entry in decision["parameters"].items():
        other = "requested" in entry and exact(entry["requested"]) != exact(entry["value"])
        if other or entry.get("appended") or entry.get("forgotten"):
            names.add(name)
    return names


def check_headers(decision: dict[str, Any], headers: httpx.Headers) -> None:
    """The response headers say what the decision says."""
    assert headers.get("x-tuning-profile") == decision["profile"]
    assert headers.get("x-tuning-rules", "") == ",".join(decision["rules"])
    assert headers["x-tuning-upstream"] == decision["upstream"]
    items = [item for item in headers.get("x-tuning-changed", "").split(", ") if item]
    found = {item.partition(";")[0].partition("=")[0]: item for item in items}
    assert len(found) == len(items)
    assert set(found) == changed(decision)
    for name, item in found.items():
        head, *notes = item.split(";")
        if name in decision["dropped"]:
            assert head == name and notes[0].startswith("dropped=")
        else:
            value = head.removeprefix(f"{name}=")
            assert value.endswith("...") or exact(json.loads(value)) == exact(
                decision["parameters"][name]["value"]
            )
            assert notes


def check_offline(asked: Asked, said: dict[str, Any], offline: dict[str, Any]) -> None:
    """Rule files alone tell the same, as far as they can."""
    if not asked.listed:
        assert without_facts(offline) == without_facts(said)
        return
    if "error" in said or "error" in offline:
        return
    same = ["model", "family", "profile", "profile_by", "task", "snapshot", "system_prompt"]
    if offline["mode"] == said["mode"] and "upstream_model" not in said:
        same += ["mode", "rules"]
    for key in same:
        assert offline[key] == said[key], key


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(asked=requests())
def test_all_that_explains_a_request_agrees(bench: Bench, kept_rules: None, asked: Asked) -> None:
    explained = bench.explain(asked)
    said = explained.json()
    by_url = bench.command(asked, "--url", bench.attune.url)
    offline = bench.command(asked, "--rules", bench.rules)
    before = len(bench.ollama.chats)
    reply = bench.send(asked)
    sent = bench.ollama.chats[before:]

    assert without_facts(by_url) == without_facts(said)
    check_offline(asked, said, offline)
    if explained.status_code != 200:
        assert not sent
        assert (reply.status_code, reply.json()) == (explained.status_code, said)
        assert said["error"]["code"].startswith("attune_")
        return
    assert len(sent) == 1
    assert sent[0].path == said.pop("upstream_path")
    assert exact(sent[0].json) == exact(said.pop("upstream_body"))
    check_wire(said, sent[0].json)
    if reply.status_code != 200:
        assert not str(reply.json()["error"]["code"]).startswith("attune_")
        return
    first, *rest = answers(reply)
    assert without_facts(first.pop("tuning")) == without_facts(said)
    assert not [chunk for chunk in rest if "tuning" in chunk]
    check_headers(said, reply.headers)


def test_the_command_reads_the_files_itself(bench: Bench) -> None:
    body = {"messages": MESSAGES[0], "temperature": 1.9, "stop": "END", "mirostat": 1}
    asked = Asked("ghost:1b", body, {"user-agent": "aider/0.9", "x-tuning-profile": "house"})
    said = bench.explain(asked).json()
    assert said["dropped"]["mirostat"]["reason"] and "aider-codes" in said["rules"]
    assert without_facts(bench.command(asked, "--rules", bench.rules)) == without_facts(said)
