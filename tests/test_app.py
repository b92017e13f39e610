"""The whole application in one process: start, keys, paths, models, and rules that change while it runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.api.admin import RESOURCES
from proxy.api.v1 import CHAT
from proxy.app import App, entries, ollama_url
from proxy.errors import ConfigurationError
from proxy.settings import from_environment
from tests.api.clients import caller, request
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Script
from tests.running import Attune, attune
from tests.scenes import error, proxied, quiet, rules, streamed, upstream
from tests.upstream.server import eventually
from tests.upstream.site import closed_port, site, vllm

KEY = "correct-horse-battery"


# The start


async def test_it_starts_before_a_dead_upstream() -> None:
    async with attune([f"http://127.0.0.1:{await closed_port()}"]) as proxy:
        for path, status in (("/livez", "alive"), ("/readyz", "ready")):
            reply = await proxy.client.get(path)
            assert (reply.status_code, reply.json()["status"]) == (200, status)
        assert (await proxy.chat()).status_code == 503
        assert (await proxy.client.get("/v1/models")).json()["data"] == []
        (shown,) = (await proxy.client.get("/api/v1/upstreams")).json()["upstreams"]
        assert shown["healthy"] is False
        assert shown["error"]


async def test_without_any_upstream_it_is_the_environments_ollama() -> None:
    async with OllamaDouble() as ollama:
        host = ollama.url.removeprefix("http://")
        async with attune(environ={"OLLAMA_HOST": host}) as proxy:
            assert (await proxy.chat()).status_code == 200
            assert list(proxy.app.fleet.upstreams) == [host]


async def test_the_command_line_s_upstreams_go_before_the_rule_files() -> None:
    async with OllamaDouble() as ollama:
        text = rules({"name": "other", "url": "http://127.0.0.1:9"})
        async with attune([ollama.url], text) as proxy:
            assert (await proxy.chat()).status_code == 200
            assert list(proxy.app.fleet.upstreams) == [ollama.url.removeprefix("http://")]


async def test_a_bad_rule_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n  - {name: x, no_such_key: 1}\n")
    app = App(from_environment({}, rules=(str(path),)), {})
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    await app.fleet.close()
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert f"{path}:2: " in sent[0]["message"]
    assert "no_such_key" in sent[0]["message"]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  ", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        (":1234", "http://127.0.0.1:1234"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("gpu.example", "http://gpu.example:11434"),
        ("gpu.example:1234/", "http://gpu.example:1234"),
        ("http://gpu.example:1234", "http://gpu.example:1234"),
        ("https://gpu.example:8443/", "https://gpu.example:8443"),
        (" '1.2.3.4' ", "http://1.2.3.4:11434"),
        # a scheme brings its own port, as in Ollama
        ("http://gpu.example", "http://gpu.example:80"),
        ("https://gpu.example", "https://gpu.example:443"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("[::]:1234", "http://[::1]:1234"),
    ],
)
def test_the_forms_of_ollama_host(given: str, url: str) -> None:
    assert ollama_url(given) == url


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:11434", "127.0.0.1:11434"),
        ("gpu-a:8000", "gpu-a:8000"),
        ("https://gpu.example/v1", "gpu.example:443"),
        ("http://[::1]:8000", "1:8000"),
    ],
)
def test_upstreams_of_the_command_line(url: str, name: str) -> None:
    (entry,) = entries([url])
    assert entry.name == name
    assert entry.url == (url if "://" in url else f"http://{url}")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@host", "http://h:99999", "http://h?x=1"])
def test_what_is_no_upstream(url: str) -> None:
    with pytest.raises(ConfigurationError):
        entries([url])


# Paths


async def test_what_is_not_there_says_so_in_openai_s_shape() -> None:
    async with proxied() as (proxy, _, _):
        for method, path in (
            ("GET", "/"),
            ("POST", "/v1/nothing"),
            ("GET", "/api/v1/nothing"),
            ("PUT", "/x"),
        ):
            reply = await proxy.client.request(method, path)
            assert (reply.status_code, error(reply)["code"]) == (404, "attune_not_found")
            assert path in error(reply)["message"]
        for method, path, allowed in (
            ("GET", CHAT, "POST"),
            ("DELETE", "/v1/models", "GET"),
            ("POST", "/livez", "GET"),
            ("GET", "/api/v1/explain", "POST"),
        ):
            reply = await proxy.client.request(method, path)
            assert (reply.status_code, error(reply)["code"]) == (405, "attune_method_not_allowed")
            assert allowed in reply.headers["allow"]


async def test_bodies_that_are_none() -> None:
    async with proxied(max_body=2048) as (proxy, ollama, _):
        post = proxy.client.post
        kinds = {"content-type": "application/json"}
        for body in (b"", b"{", b"[]", b"null", b'{"model": "llama3:8b"}', b"\xff", b'{"model": 5}'):
            reply = await post(CHAT, content=body, headers=kinds)
            assert (reply.status_code, error(reply)["code"]) == (400, "attune_bad_body"), body
        reply = await post(CHAT, content=b" " * 2049, headers=kinds)
        assert (reply.status_code, error(reply)["code"]) == (413, "attune_body_too_large")
        reply = await post(CHAT, content=parts(b" " * 1000, 3), headers=kinds)
        assert (reply.status_code, error(reply)["code"]) == (413, "attune_body_too_large")
        reply = await post(CHAT, data={"model": "llama3:8b"})
        assert (reply.status_code, error(reply)["code"]) == (415, "attune_wrong_content_type")
        reply = await post(CHAT, content=b"x", headers={**kinds, "content-encoding": "gzip"})
        assert (reply.status_code, error(reply)["code"]) == (415, "attune_wrong_content_type")
        assert ollama.chats == []
        assert (await proxy.chat()).status_code == 200


async def parts(piece: bytes, times: int) -> Any:
    """A body without a length."""
    for _ in range(times):
        yield piece


async def test_a_client_that_leaves_a_control_call_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("attune"), "propagate", True)
    async with proxied() as (proxy, _, _):
        async with caller(proxy) as client:
            call = request({"model": "llama3:8b"}, length=5000).replace(CHAT.encode(), b"/api/v1/explain")
            await client.send(call)
            await asyncio.sleep(0.02)
            client.leave()
            await asyncio.sleep(0.02)
        assert (await proxy.client.get("/livez")).status_code == 200
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_readiness_and_draining() -> None:
    async with proxied() as (proxy, ollama, _):
        ollama.script = Script(text=["word "] * 10, delay=0.02)
        stream = asyncio.create_task(proxy.chat(stream=True))
        await eventually(lambda: ollama.active == 1)
        proxy.app.unready()
        reply = await proxy.client.get("/readyz")
        assert (reply.status_code, reply.json()) == (503, {"status": "draining"})
        assert (await proxy.chat()).status_code == 200, "unready, it still serves what comes"
        proxy.app.refuse()
        reply = await proxy.chat()
        assert (reply.status_code, error(reply)["code"]) == (503, "attune_draining")
        assert (reply.headers["connection"], reply.headers["retry-after"]) == ("close", "5")
        assert (await proxy.client.get("/livez")).status_code == 200
        assert streamed(await stream) == "word " * 10


# Models


async def test_the_models_of_all_upstreams() -> None:
    async with OllamaDouble() as ollama, site(vllm({"id": "org/Model-7B"}, {"id": "llama3:8b"})) as second:
        text = rules({"name": "a", "url": ollama.url}, {"name": "b", "url": second.url})
        async with attune(rules=text, builtin_rules=False) as proxy:
            await eventually(lambda: proxy.app.fleet.settled)
            reply = await proxy.client.get("/v1/models")
            data = reply.json()["data"]
            assert reply.json()["object"] == "list"
            assert {m["id"]: m["owned_by"] for m in data} == {
                **dict.fromkeys(ollama.models, "a"),
                "org/Model-7B": "b",
            }
            assert {m["object"] for m in data} == {"model"}
            for name, owner in (("org/Model-7B", "b"), ("llama3:8b", "a"), ("plain", "a")):
                shown = (await proxy.client.get(f"/v1/models/{name}")).json()
                assert (shown["id"], shown["owned_by"]) == (name, owner)
            reply = await proxy.client.get("/v1/models/org/Nothing")
            assert (reply.status_code, error(reply)["code"]) == (404, "attune_unknown_model")
            reply = await proxy.client.get("/v1/models/llama3:8b@terse")
            assert reply.status_code == 404


async def test_virtual_models_when_they_are_switched_on() -> None:
    sections = {"profiles": [{"name": "terse", "parameters": {"max_tokens": 5}}]}
    async with proxied(sections=sections, virtual_models=True) as (proxy, ollama, _):
        ids = [m["id"] for m in (await proxy.client.get("/v1/models")).json()["data"]]
        assert ids == [*ollama.models, *(f"{name}@terse" for name in ollama.models)]
        shown = (await proxy.client.get("/v1/models/llama3:8b@terse")).json()
        assert shown["id"] == "llama3:8b@terse"
        assert (await proxy.client.get("/v1/models/llama3:8b@none")).status_code == 404


# Keys


def routes() -> list[tuple[str, str]]:
    """Every call that needs a key."""
    own = [("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/models/llama3:8b")]
    return own + [(method, path) for method, path, _ in RESOURCES]


async def answer(proxy: Attune, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = (
        {"model": "llama3:8b", "messages": [{"role": "user", "content": "hi"}]}
        if path == CHAT
        else {"model": "llama3:8b"}
    )
    return await proxy.client.request(method, path, json=body if method == "POST" else None, headers=headers)


async def test_with_an_admin_key_every_call_needs_it() -> None:
    wrong = [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"authorization": f"Basic {KEY}"}]
    right = [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}]
    async with proxied(admin_key=KEY) as (proxy, ollama, _):
        for method, path in routes():
            for headers in wrong:
                reply = await answer(proxy, method, path, headers)
                assert (reply.status_code, error(reply)["code"]) == (401, "attune_invalid_api_key"), path
                assert error(reply)["type"] == "authentication_error"
                assert reply.headers["www-authenticate"] == "Bearer"
            assert ollama.chats == []
        for method, path in routes():
            for headers in right:
                assert (await answer(proxy, method, path, headers)).status_code == 200, path
        for path in ("/livez", "/readyz"):
            assert (await proxy.client.get(path)).status_code == 200


async def test_a_key_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    async with proxied(admin_key_file=str(file)) as (proxy, _, _):
        assert (await proxy.chat()).status_code == 401
        assert (await proxy.chat(headers={"x-api-key": KEY})).status_code == 200


async def test_the_clients_key_stays_here_and_the_upstreams_own_goes_out() -> None:
    own = {"api_key_env": "GPU_KEY"}
    async with proxied(own, {}, admin_key=KEY, environ={"GPU_KEY": "upstream-secret"}) as (
        proxy,
        first,
        second,
    ):
        for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
            for stream in (False, True, False, True):
                sent = {**headers, "cookie": "session=1", "x-forwarded-for": "10.0.0.1"}
                assert (await proxy.chat(headers=sent, stream=stream)).status_code == 200
        assert first.chats
        assert second.chats
        assert {r.header("authorization") for r in first.requests} == {"Bearer upstream-secret"}
        assert {r.header("authorization") for r in second.requests} == {None}
        for recorded in [*first.requests, *second.requests]:
            names = {name.lower() for name, _ in recorded.headers}
            assert not names & {"x-api-key", "cookie", "x-forwarded-for"}
            assert KEY not in json.dumps(recorded.headers) + recorded.body.decode()
        shown = (await proxy.client.get("/api/v1/upstreams", headers={"x-api-key": KEY})).text
        assert "upstream-secret" not in shown


# Rules that change while it runs


def entry(ollama: OllamaDouble, **values: Any) -> dict[str, Any]:
    return {"name": "a", "url": ollama.url, **values}


def seeded(ollama: OllamaDouble, seed: int, **values: Any) -> str:
    return rules(entry(ollama, **values), rules=[{"name": f"seed-{seed}", "set": {"seed": seed}}])


@asynccontextmanager
async def seeding(reload_every: float = 0.02) -> AsyncIterator[tuple[Attune, OllamaDouble]]:
    """A proxy with the first seed in force."""
    async with OllamaDouble() as ollama:
        text = seeded(ollama, 1)
        async with attune(rules=text, reload_every=reload_every, builtin_rules=False) as proxy:
            await eventually(lambda: proxy.app.fleet.settled)
            yield proxy, ollama


async def rewritten(proxy: Attune, text: str) -> None:
    """Change the rule file and wait until it was read."""
    before = proxy.app.files.reloads + proxy.app.files.failures
    new = proxy.rules.with_suffix(".new")
    new.write_text(text)
    new.replace(proxy.rules)
    await eventually(lambda: proxy.app.files.reloads + proxy.app.files.failures > before, 3)


async def test_the_next_request_is_decided_by_the_new_rules() -> None:
    async with seeding() as (proxy, ollama):
        for seed in (1, 2, 3):
            if seed > 1:
                await rewritten(proxy, seeded(ollama, seed))
            reply = await proxy.chat()
            assert reply.headers["x-tuning-rules"] == f"seed-{seed}"
            assert ollama.chats[-1].options["seed"] == seed
        assert upstream(proxy).pool.opened == 1, "the upstream is the same as before"


async def test_a_bad_file_changes_nothing_and_is_shown() -> None:
    async with seeding() as (proxy, ollama):
        before = (await proxy.client.get("/api/v1/rules")).json()["snapshot"]
        await rewritten(proxy, seeded(ollama, 2) + "\nnonsense: 1\n")
        assert (await proxy.chat()).headers["x-tuning-rules"] == "seed-1"
        shown = (await proxy.client.get("/api/v1/rules")).json()
        assert (shown["snapshot"], shown["failures"]) == (before, 1)
        assert "nonsense" in shown["faults"][0]
        assert (await proxy.client.get("/readyz")).json() == {"status": "ready", "rule_faults": 1}
        await rewritten(proxy, seeded(ollama, 3))
        assert (await proxy.chat()).headers["x-tuning-rules"] == "seed-3"
        assert (await proxy.client.get("/readyz")).json() == {"status": "ready", "rule_faults": 0}


async def test_rules_can_be_read_again_on_demand() -> None:
    async with seeding(60) as (proxy, ollama):
        proxy.rules.write_text(seeded(ollama, 2, weight=3))
        reply = await proxy.client.post("/api/v1/rules/reload")
        assert (reply.json()["success"], reply.json()["changed"]) == (True, True)
        assert upstream(proxy).weight == 3
        assert (await proxy.chat()).headers["x-tuning-rules"] == "seed-2"


async def test_streams_that_run_do_not_notice() -> None:
    async with seeding() as (proxy, ollama):
        ollama.script = Script(text=["word "] * 30, delay=0.02)
        streams = [asyncio.create_task(proxy.chat(stream=True)) for _ in range(3)]
        whole = asyncio.create_task(proxy.chat())
        await eventually(lambda: ollama.active == 4)
        old = upstream(proxy)
        await rewritten(proxy, seeded(ollama, 2, weight=7))
        assert upstream(proxy) is not old
        await rewritten(proxy, rules())
        assert [streamed(reply) for reply in await asyncio.gather(*streams)] == ["word " * 30] * 3
        assert (await whole).headers["x-tuning-rules"] == "seed-1"
        assert (old.active, old.pool.active, old.pool.idle) == (0, 0, 0)
        assert ollama.disconnects == []
        await eventually(lambda: quiet(proxy))
