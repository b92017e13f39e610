"""What a look finds out: runtime, version, models and their details, and what went wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx

from proxy.backends.facts import ModelFacts
from proxy.rules.rule import UpstreamEntry
from proxy.upstream.discovery import Explorer, new_client, parse_parameters
from proxy.upstream.upstream import Knowledge, Upstream
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_models import LoadedState, Model
from tests.upstream.site import Raw, closed_port, site, vllm


def at(url: str, *, key: str | None = None, **values: Any) -> Upstream:
    entry = UpstreamEntry.model_validate({"name": "gpu", "url": url, **values})
    return Upstream(entry, key=key, num_ctx="bucket")


@asynccontextmanager
async def explorer(timeout: float | None = None) -> AsyncIterator[Explorer]:
    client = new_client()
    if timeout is not None:
        client.timeout = httpx.Timeout(timeout)
    async with client:
        yield Explorer(client)


async def look(upstream: Upstream, timeout: float | None = None) -> Knowledge:
    async with explorer(timeout) as found:
        return await found.look(upstream)


# Ollama


async def test_ollama_with_its_version_and_models() -> None:
    async with OllamaDouble() as ollama:
        known = await look(at(ollama.url))
    assert (known.runtime, known.version, known.up, known.error) == ("ollama", "0.32.15", True, None)
    assert known.models is not None
    assert set(known.models) == set(ollama.models)


async def test_what_ollama_shows_of_a_model() -> None:
    async with OllamaDouble() as ollama:
        known = await look(at(ollama.url))
    assert known.models is not None
    assert known.models["qwen3:8b"] == ModelFacts(
        "qwen3:8b",
        capabilities=frozenset({"completion", "tools", "thinking"}),
        context=40960,
        parameters={"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1},
        format="gguf",
        architecture="qwen3",
    )
    stops = known.models["llama3:8b"].parameters
    assert stops == {"num_keep": 24, "stop": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}
    assert known.models["mlx-model:latest"].format == "safetensors"
    assert known.models["plain:latest"].parameters == {}


async def test_names_are_found_in_lower_case_and_kept_as_they_are() -> None:
    async with OllamaDouble() as ollama:
        ollama.models = {"MyModel:Q4": Model("MyModel:Q4")}
        ollama.faults = replace(ollama.faults, paths=["/api/show"], status=500)
        known = await look(at(ollama.url))
    assert known.models is not None
    assert {key: facts.name for key, facts in known.models.items()} == {"mymodel:q4": "MyModel:Q4"}


async def test_an_old_ollama_says_no_capabilities() -> None:
    async with OllamaDouble("0.5.0") as ollama:
        known = await look(at(ollama.url))
    assert known.version == "0.5.0"
    assert known.models is not None
    assert known.models["qwen3:8b"].can("thinking") is None
    assert known.models["qwen3:8b"].context == 40960


async def test_a_model_that_cannot_be_shown_is_known_from_the_list() -> None:
    async with OllamaDouble() as ollama:
        ollama.faults = replace(ollama.faults, paths=["/api/show"], status=500)
        known = await look(at(ollama.url))
    assert known.up
    assert known.models is not None
    facts = known.models["qwen3:8b"]
    assert (facts.can("thinking"), facts.context, facts.parameters) == (True, None, {})


async def test_the_context_of_loaded_models() -> None:
    async with OllamaDouble() as ollama:
        ollama.loaded["llama3:8b"] = LoadedState(context_length=8192)
        known = await look(at(ollama.url))
        assert known.models is not None
        assert known.models["llama3:8b"].loaded == 8192
        assert known.models["qwen3:8b"].loaded is None
        ollama.loaded.clear()
        known = await look(at(ollama.url))
    assert known.models is not None
    assert known.models["llama3:8b"].loaded is None


async def test_details_are_asked_for_once_as_long_as_the_digest_stays() -> None:
    async with OllamaDouble() as ollama, explorer() as found:
        upstream = at(ollama.url)
        await found.look(upstream)
        count = len(ollama.models)
        assert shows(ollama) == count
        ollama.models["new:latest"] = Model("new:latest")
        known = await found.look(upstream)
        assert shows(ollama) == count + 1
        assert known.models is not None
        assert "new:latest" in known.models
        del ollama.models["new:latest"]
        known = await found.look(upstream)
        assert known.models is not None
        assert "new:latest" not in known.models


def shows(ollama: OllamaDouble) -> int:
    return sum(request.path == "/api/show" for request in ollama.requests)


async def test_features_beside_the_version() -> None:
    pages = {"/api/version": {"version": "0.6.8", "features": ["mirostat", 3]}, "/api/tags": {"models": None}}
    async with site(pages) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.features, known.models) == ("ollama", frozenset({"mirostat"}), {})


async def test_a_cloud_model_is_remote() -> None:
    tags = {"models": [{"name": "gpt-oss:120b-cloud", "digest": "d"}]}
    shown = {"remote_host": "https://ollama.com:443", "model_info": {}, "capabilities": ["completion"]}
    pages = {"/api/version": {"version": "0.32.15"}, "/api/tags": tags, "/api/show": shown}
    async with site(pages) as server:
        known = await look(at(server.url))
    assert known.models is not None
    assert known.models["gpt-oss:120b-cloud"].remote


# vLLM and others


async def test_vllm_with_a_base_model_and_an_adapter() -> None:
    base = {"id": "Qwen/Qwen3-8B", "max_model_len": 40960}
    adapter = {"id": "sql-lora", "parent": "Qwen/Qwen3-8B", "max_model_len": None}
    async with site(vllm(base, adapter, version="0.32.0+cpu")) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.version) == ("vllm", "0.32.0+cpu")
    assert known.models == {
        "Qwen/Qwen3-8B": ModelFacts("Qwen/Qwen3-8B", context=40960),
        "sql-lora": ModelFacts("sql-lora", context=40960, parent="Qwen/Qwen3-8B"),
    }
    assert server.asked == ["GET /api/version", "GET /version", "GET /v1/models"]


async def test_a_bare_openai_server() -> None:
    async with site({"/v1/models": {"data": [{"id": "m"}, {"name": "no id"}, "odd"]}}) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.version, known.up) == ("openai", None, True)
    assert known.models == {"m": ModelFacts("m")}


async def test_a_server_that_lists_nothing() -> None:
    async with site({}) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.models, known.up) == ("openai", None, True)


@pytest.mark.parametrize("answer", [[], {"error": "Unexpected endpoint"}, {"version": 3}, "1.2"])
async def test_a_version_page_of_another_kind_gives_no_runtime_away(answer: Any) -> None:
    pages = {"/api/version": answer, "/version": answer, "/v1/models": {"data": [{"id": "m"}]}}
    async with site(pages) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.up, list(known.models or ())) == ("openai", True, ["m"])


async def test_a_web_page_behind_every_path() -> None:
    page = Raw(body=b"<html>hello</html>", kind="text/html")
    async with site({"/api/version": page, "/version": page, "/v1/models": page}) as server:
        known = await look(at(server.url))
    assert (known.runtime, known.models, known.up) == ("openai", None, True)


async def test_a_declared_runtime_is_not_probed_for() -> None:
    pages = vllm({"id": "m"})
    async with site({**pages, "/api/version": {"version": "0.32.15"}}) as server:
        known = await look(at(server.url, runtime="vllm"))
        assert known.runtime == "vllm"
        assert "GET /api/version" not in server.asked
        known = await look(at(server.url, runtime="openai"))
        assert (known.runtime, known.version) == ("openai", None)
        assert server.asked[-1] == "GET /v1/models"


async def test_a_base_path_and_the_upstreams_own_key() -> None:
    async with site({"/gpu/v1/models": {"data": [{"id": "m"}]}}) as server:
        known = await look(at(f"{server.url}/gpu/v1", key="upstream-secret", runtime="openai"))
    assert list(known.models or ()) == ["m"]
    assert all(b"authorization: bearer upstream-secret" in head.lower() for head in server.heads)


# What goes wrong


async def test_nobody_listens() -> None:
    known = await look(at(f"http://127.0.0.1:{await closed_port()}"))
    assert (known.up, known.models) == (False, None)
    assert known.error is not None
    assert known.error.startswith("ConnectError")


async def test_a_slow_answer_is_no_sign_of_being_down() -> None:
    async with site({"/api/version": {"version": "0.32.15"}, "/api/tags": None}) as server:
        upstream = at(server.url)
        known = await look(upstream, 0.05)
        assert (known.up, known.error) == (None, "ReadTimeout")
        upstream.learn(Knowledge("ollama", "0.32.15", models={"m:latest": ModelFacts("m:latest")}, up=True))
        known = await look(upstream, 0.05)
    assert (known.up, known.error) == (True, "ReadTimeout")
    assert known.models == upstream.known.models


async def test_what_was_known_stays_known_when_it_goes_down() -> None:
    async with OllamaDouble() as ollama, explorer() as found:
        upstream = at(ollama.url)
        upstream.learn(await found.look(upstream))
        await ollama.refuse()
        known = await found.look(upstream)
        await ollama.listen()
    assert known.up is False
    assert known == replace(upstream.known, up=False, error=known.error)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_not_now_is_no_runtime(status: int) -> None:
    """A gateway before a dead Ollama must not turn it into an OpenAI-compatible server that is up."""
    busy = Raw(status, b"<html>Bad Gateway</html>", "text/html")
    async with site({"/api/version": busy}) as server:
        known = await look(at(server.url))
    assert (known.up, known.models) == (False, None)
    assert str(status) in (known.error or "")


@pytest.mark.parametrize(
    "tags",
    [
        Raw(500, b"{}"),
        Raw(body=b"not json"),
        Raw(body=b'{"models": [{}]}'),
        Raw(body=b'{"models": [1]}'),
        Raw(body=b'{"models": 5}'),
        Raw(body=b"[" * 100_000),
        Raw(body=b"\xff\xfe"),
    ],
    ids=["500", "no-json", "no-name", "no-object", "no-list", "deep", "no-text"],
)
async def test_nonsense_in_the_list_of_models_is_what_went_wrong(tags: Raw) -> None:
    async with site({"/api/version": {"version": "0.32.15"}, "/api/tags": tags}) as server:
        known = await look(at(server.url))
    assert known.up is False
    assert known.error


async def test_a_context_length_beyond_all_numbers() -> None:
    tags = {"models": [{"name": "m", "digest": "d"}]}
    shown = Raw(body=b'{"model_info": {"llama.context_length": 1e999}}')
    pages = {"/api/version": {"version": "0.32.15"}, "/api/tags": tags, "/api/show": shown}
    async with site(pages) as server:
        known = await look(at(server.url))
    assert known.error is not None


@respx.mock
@pytest.mark.parametrize(
    ("fault", "up"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("no route"), False),
        (httpx.RemoteProtocolError("nonsense"), False),
        (httpx.ReadError("reset"), False),
        (httpx.ReadTimeout("slow"), True),
        (httpx.WriteTimeout("slow"), True),
        (httpx.PoolTimeout("slow"), True),
        (RuntimeError("a mistake of ours"), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_which_faults_mean_down(fault: Exception, up: bool) -> None:
    upstream = at("http://gpu.test:11434")
    upstream.learn(Knowledge("ollama", models={}, up=True))
    respx.get("http://gpu.test:11434/api/version").mock(side_effect=fault)
    known = await look(upstream)
    assert known.up is up
    assert known.error == f"{type(fault).__name__}: {fault}"


async def test_redirects_are_not_followed_and_the_environment_names_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with site({"/v1/models": Raw(302, b"", "text/plain")}) as server:
        known = await look(at(server.url))
    assert (known.up, known.models) == (True, None)


# Ollama's parameters


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("temperature                    0.6", {"temperature": 0.6}),
        ("temperature 1", {"temperature": 1}),
        ("temperature 1e-05", {"temperature": 1e-05}),
        ("num_ctx                        1.048576e+06", {"num_ctx": 1048576}),
        ("num_ctx 8192", {"num_ctx": 8192}),
        ("num_predict -1", {"max_tokens": -1}),
        ("num_gpu -1", {"num_gpu": -1}),
        ("use_mmap true", {"use_mmap": True}),
        ("use_mmap false", {"use_mmap": False}),
        ('stop "<|eot_id|>"', {"stop": ["<|eot_id|>"]}),
        (r'stop "a\nb\t\"c\" \\ d"', {"stop": ['a\nb\t"c" \\ d']}),
        (r'stop "é 👩 \u2028 \U000e0001"', {"stop": ["é 👩 \u2028 \U000e0001"]}),
        (r'stop "\a\b\f\v\x1b\x7f\u0085"', {"stop": ["\a\b\f\v\x1b\x7f\x85"]}),
        ('stop "User:  "', {"stop": ["User:  "]}),
        ('stop ""', {"stop": [""]}),
        ('stop "don\'t"', {"stop": ["don't"]}),
        ('stop "unfinished', {"stop": ["unfinished"]}),
        ("stop 5", {"stop": ["5"]}),
        ('temperature "hot"', {}),
        ("top_k 40.5", {}),
        ("mirostat_tau NaN", {}),
        ("no_such_option 3", {}),
        ("temperature", {}),
        ("", {}),
    ],
)
def test_one_line_of_parameters(line: str, expected: dict[str, Any]) -> None:
    assert parse_parameters(line) == expected


def test_many_lines_of_parameters_in_any_order() -> None:
    text = 'stop "a"\ntemperature 0.6\nstop "b"\r\n\n  top_p 0.95  \nstop "c"\n'
    assert parse_parameters(text) == {"stop": ["a", "b", "c"], "temperature": 0.6, "top_p": 0.95}
