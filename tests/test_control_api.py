"""The control API's read-only calls, and `rules/reload`: their shapes, and that they tell the truth."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from proxy.parameters.tasks import TASK_NAMES
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Script
from tests.running import attune
from tests.sdk import HI, Talk, talk, until

RULES = """
upstreams:
  - {name: gpu-a, url: "URL", weight: 3, max_concurrency: 2}
  - {name: gone, url: "http://127.0.0.1:9", runtime: ollama, models: ["far*"]}
profiles: [{name: house, task: key-points, parameters: {top_k: 5}}]
rules:
  - {name: one, description: "The first.", match: {headers: {x-a: "*"}}, set: {seed: 1}}
  - {name: off, enabled: false, set: {seed: 2}}
experiments: [{name: e, variants: [{name: a, weight: 1}]}]
"""


@pytest_asyncio.fixture
async def one() -> AsyncIterator[Talk]:
    async with talk(rules=RULES, reload_every=3600.0) as found:
        await until(lambda: found.attune.app.fleet.settled)
        yield found


async def get(one: Talk, path: str) -> Any:
    """The JSON of a 200."""
    reply = await one.attune.client.get(f"/api/v1{path}")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json" and reply.headers["x-request-id"]
    return reply.json()


async def reload(one: Talk, text: str) -> Any:
    """The answer to reading this text."""
    one.attune.rules.write_text(text.replace("URL", one.ollama.url))
    reply = await one.attune.client.post("/api/v1/rules/reload")
    assert reply.status_code == 200
    return reply.json()


async def test_rules_tell_what_is_loaded(one: Talk) -> None:
    said = await get(one, "/rules")
    assert [rule["name"] for rule in said["rules"]] == ["one"]
    assert said["rules"][0]["description"] == "The first."
    assert said["experiments"] == ["e"] and "house" in said["profiles"] and "precise" in said["profiles"]
    *builtin, own = said["files"]
    assert Path(own["path"]).samefile(one.attune.rules) and own["builtin"] is False
    assert own["hash"] == hashlib.sha256(one.attune.rules.read_bytes()).hexdigest()
    assert builtin and all(entry["builtin"] for entry in builtin)
    assert (said["faults"], said["failures"]) == ([], 0)
    assert said["snapshot"] == (await one.attune.explain("llama3:8b"))["snapshot"]


async def test_a_reload_swaps_all_or_nothing(one: Talk) -> None:
    before = await get(one, "/rules")
    bad = RULES.replace("seed: 1", "seed: one") + "\nnonsense: 1\n"
    said = await reload(one, bad)
    assert (said["success"], said["changed"], said["snapshot"]) == (False, False, before["snapshot"])
    assert len(said["faults"]) == 2 and all(":" in fault for fault in said["faults"])
    assert any("rules.yaml:7:" in fault and "seed" in fault for fault in said["faults"])
    now = await get(one, "/rules")
    assert now["faults"] == said["faults"] and now["failures"] == before["failures"] + 1
    assert [rule["name"] for rule in now["rules"]] == ["one"]
    reply = await one.attune.chat(headers={"x-a": "b"})
    assert reply.status_code == 200 and one.ollama.chats[-1].options["seed"] == 1

    said = await reload(one, RULES.replace("seed: 1", "seed: 11"))
    assert (said["success"], said["changed"], said["faults"]) == (True, True, [])
    assert said["snapshot"] == (await get(one, "/rules"))["snapshot"] != before["snapshot"]
    await one.attune.chat(headers={"x-a": "b"})
    assert one.ollama.chats[-1].options["seed"] == 11
    assert (await reload(one, RULES.replace("seed: 1", "seed: 11")))["changed"] is False


async def test_a_stream_keeps_the_rules_it_began_with(one: Talk) -> None:
    one.ollama.script = Script(text=["a"] * 20, delay=0.01)
    body = {"model": "llama3:8b", "messages": HI, "stream": True}
    async with one.attune.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        assert (await reload(one, 'upstreams: [{name: other, url: "URL"}]'))["success"]
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert (await one.attune.chat()).headers["x-tuning-upstream"] == "other"


async def test_upstreams_tell_how_they_are(one: Talk) -> None:
    near, gone = (await get(one, "/upstreams"))["upstreams"]
    expected = {
        "name": "gpu-a",
        "url": one.ollama.url,
        "runtime": "ollama",
        "version": "0.32.15",
        "healthy": True,
    }
    expected |= {"error": None, "breaker": "closed", "in_flight": 0, "weight": 3, "max_concurrency": 2}
    assert {key: near[key] for key in expected} == expected
    assert near["models"] == len(one.ollama.models)
    assert (gone["name"], gone["healthy"], gone["models"]) == ("gone", False, None)
    assert "ConnectError" in gone["error"]
    one.ollama.script = Script(text=["a"] * 100, delay=0.01)
    body = {"model": "llama3:8b", "messages": HI, "stream": True}
    async with one.attune.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        await anext(reply.aiter_lines())
        assert (await get(one, "/upstreams"))["upstreams"][0]["in_flight"] == 1
    await until(lambda: one.ollama.disconnects)
    assert (await get(one, "/upstreams"))["upstreams"][0]["in_flight"] == 0


async def test_models_tell_where_they_run(one: Talk) -> None:
    await one.attune.chat("qwen3:8b", num_ctx=3000)
    models = {model["name"]: model for model in (await get(one, "/models"))["models"]}
    assert set(models) == set(one.ollama.models)
    qwen = models["qwen3:8b"]
    assert (qwen["family"], qwen["context_length"]) == ("qwen3", 40960)
    assert set(qwen["capabilities"]) == {"completion", "tools", "thinking"}
    (place,) = qwen["upstreams"]
    assert (place["upstream"], place["runtime"], place["loaded_context"]) == ("gpu-a", "ollama", 4096)
    assert place["parameters"] == {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1}
    assert models["plain:latest"]["family"] is None


STANDARD = [
    ("temperature", "float", 0.0, 2.0, 0.7),
    ("max_tokens", "int", 128, 8192, 2048),
    ("top_p", "float", 0.0, 1.0, 0.9),
    ("top_k", "int", 1, 100, 40),
    ("repeat_penalty", "float", 1.0, 2.0, 1.1),
]


async def test_parameters_are_the_catalogue(one: Talk) -> None:
    found = (await get(one, "/parameters"))["parameters"]
    rows = [(name, e["type"], e["min"], e["max"], e["default"]) for name, e in list(found.items())[:5]]
    assert rows == STANDARD
    assert [name for name, entry in found.items() if not entry["advanced"]] == [name for name, *_ in STANDARD]
    advanced = "min_p typical_p repeat_last_n presence_penalty frequency_penalty seed stop num_ctx mirostat"
    advanced += (
        " mirostat_tau mirostat_eta tfs_z think keep_alive num_keep num_batch num_gpu main_gpu num_thread"
    )
    assert set(advanced.split()) <= set(found)
    assert "num_predict" in found["max_tokens"]["aliases"] and found["num_ctx"]["when"] == "load"
    assert found["mirostat"]["options"] == [0, 1, 2] and all(entry["desc"] for entry in found.values())


async def test_tasks_are_the_nineteen(one: Talk) -> None:
    tasks = (await get(one, "/tasks"))["tasks"]
    assert [(task["number"], task["name"]) for task in tasks] == list(enumerate(TASK_NAMES, 1))
    assert len(tasks) == 19 and all(task["summary"] for task in tasks)
    profiles = {task["name"]: task["profile"] for task in tasks}
    assert profiles.pop("key-points") == "house"
    assert all(name == profile for name, profile in profiles.items())


SHAPE = "request_id model upstream runtime runtime_version family mode task profile rules snapshot parameters dropped"


async def test_an_explanation_has_the_contracts_shape(one: Talk) -> None:
    headers = {"X-A": "b", "X-Tuning-Task": "key-points"}
    said = await one.attune.explain("llama3:8b", headers, temperature=1.6, mirostat=2)
    assert {*SHAPE.split(), "system_prompt", "warnings", "upstream_body"} <= set(said)
    plain = {"model": "llama3:8b", "upstream": "gpu-a", "runtime": "ollama", "runtime_version": "0.32.15"}
    plain |= {
        "family": "llama-3",
        "mode": "non-thinking",
        "task": "key-points",
        "profile": "house",
        "rules": ["one"],
    }
    assert {key: said[key] for key in plain} == plain
    assert said["parameters"]["temperature"] == {
        "value": 1.0,
        "layer": "client",
        "source": "request",
        "requested": 1.6,
        "wire": "options.temperature",
        "clamped": {"from": 1.6, "by": "family llama-3: max 1.0"},
        "passed_over": [said["parameters"]["temperature"]["passed_over"][0]],
    }
    vendor = said["parameters"]["temperature"]["passed_over"][0]
    assert (vendor["layer"], vendor["source"], vendor["value"]) == ("vendor", "family llama-3", 0.6)
    reason = "ignored by ollama since 0.7.0"
    assert said["dropped"]["mirostat"] == {
        "value": 2,
        "layer": "client",
        "source": "request",
        "reason": reason,
    }
    assert said["system_prompt"] is None and said["warnings"] == []
    assert said["upstream_body"]["options"]["temperature"] == 1.0
    assert one.ollama.chats == []


QUESTIONS: list[tuple[Any, int, str]] = [
    ([], 400, "attune_bad_body"),
    ({"modle": "x"}, 400, "attune_bad_body"),
    ({"model": "llama3:8b", "body": []}, 400, "attune_bad_body"),
    ({"model": "llama3:8b", "headers": "x"}, 400, "attune_bad_body"),
    ({"model": "llama3:8b", "headers": {"a": 1}}, 400, "attune_bad_body"),
    ({"model": "llama3:8b", "headers": {"a": "é"}}, 400, "attune_bad_body"),
    ({"model": 5}, 400, "attune_bad_body"),
    ({}, 400, "attune_bad_body"),
    ({"model": "llama3:8b", "headers": {"X-Tuning-Profile": "hose"}}, 400, "attune_unknown_profile"),
    (
        {"model": "llama3:8b", "headers": {"x-tuning-strict": "1"}, "body": {"temperature": 3}},
        400,
        "attune_strict",
    ),
    ({"model": "llama4:8b"}, 404, "attune_unknown_model"),
]


async def test_questions_that_make_no_sense(one: Talk) -> None:
    for question, status, code in QUESTIONS:
        reply = await one.attune.client.post("/api/v1/explain", json=question)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), question


async def test_an_explanation_may_go_without_a_model_or_body(one: Talk) -> None:
    for question in ({"body": {"model": "plain"}}, {"model": "plain", "body": {"model": "qwen3:8b"}}):
        reply = await one.attune.client.post("/api/v1/explain", json=question)
        assert reply.json()["model"] == "plain"
    body = {"messages": [{"role": "user", "content": "so"}], "stream": True, "top_k": 1.0, "seed": 2**53 + 1}
    said = await one.attune.explain("plain", None, **body)
    assert said["upstream_body"] == {
        "model": "plain",
        "messages": body["messages"],
        "stream": True,
        "options": {"top_k": 1, "seed": 2**53 + 1},
    }


GETS = ["/rules", "/upstreams", "/models", "/parameters", "/tasks"]
KNOWN = [{"authorization": "Bearer a-long-secret"}, {"x-api-key": "a-long-secret"}]


async def test_all_of_it_needs_the_key_where_there_is_one() -> None:
    calls = [*(("GET", path) for path in GETS), ("POST", "/explain"), ("POST", "/rules/reload")]
    async with talk(admin_key="a-long-secret") as one:
        request = one.attune.client.request
        for method, path in calls:
            asked: Any = {"method": method, "url": f"/api/v1{path}", "json": {"model": "plain"}}
            for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
                reply = await request(**asked, headers=headers)
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "attune_invalid_api_key")
            for headers in KNOWN:
                reply = await request(**asked, headers=headers)
                assert reply.status_code == 200 and "a-long-secret" not in reply.text, (path, reply.text)


async def test_upstreams_keys_are_shown_to_nobody() -> None:
    async with OllamaDouble() as ollama:
        rules = f'upstreams: [{{name: a, url: "{ollama.url}", api_key_env: THEIRS}}]'
        async with attune((), rules, environ={"THEIRS": "their-secret"}) as proxy:
            paths = ["/rules", "/upstreams", "/models"]
            replies: list[httpx.Response] = [await proxy.client.get(f"/api/v1{path}") for path in paths]
            assert all("their-secret" not in reply.text for reply in replies)
            reply = await proxy.chat(headers={"authorization": "Bearer my-own", "cookie": "c=1"})
            sent = dict(ollama.chats[-1].headers)
            assert reply.status_code == 200 and sent["authorization"] == "Bearer their-secret"
            assert "my-own" not in str(sent) and "cookie" not in {name.lower() for name in sent}
