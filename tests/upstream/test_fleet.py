"""All upstreams together: reloads, first looks, unknown models, and servers that go down and come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.errors import NoHealthyUpstream, UnknownModel
from proxy.rules.rule import UpstreamEntry
from proxy.upstream import fleet as module
from proxy.upstream.breaker import State
from proxy.upstream.fleet import Fleet
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_models import Model
from tests.upstream.server import ask, eventually
from tests.upstream.site import Raw, closed_port, site, vllm

SELDOM = 60.0


def entry(name: str, url: str, **values: Any) -> UpstreamEntry:
    return UpstreamEntry.model_validate({"name": name, "url": url, **values})


@asynccontextmanager
async def running(
    *entries: UpstreamEntry, every: float = SELDOM, seen: bool = True, **environ: str
) -> AsyncIterator[Fleet]:
    """A fleet, looked at once; at its end nothing of it may be left."""
    fleet = Fleet(every=every, num_ctx="bucket", environ=environ)
    fleet.update(entries)
    try:
        if seen:
            await eventually(lambda: fleet.settled)
        yield fleet
    finally:
        await fleet.close()
    await asyncio.sleep(0)
    assert not [t for t in asyncio.all_tasks() if t.get_coro().__qualname__.startswith(("Fleet.", "Event."))]


def names(fleet: Fleet, model: str, only: tuple[str, ...] | None = None) -> list[str]:
    return [upstream.name for upstream in fleet.candidates(model, only)]


def looks(ollama: OllamaDouble) -> int:
    return sum(request.path == "/api/tags" for request in ollama.requests)


# Who serves a model


async def test_those_that_list_a_model_and_else_those_that_cannot_say() -> None:
    async with OllamaDouble() as ollama, site(vllm({"id": "qwen"})) as second, site({}) as silent:
        entries = entry("a", ollama.url), entry("b", second.url), entry("c", silent.url)
        async with running(*entries) as fleet:
            assert names(fleet, "llama3:8b") == ["a"]
            assert names(fleet, "LLAMA3:8b") == ["a"]
            assert names(fleet, "qwen") == ["b"]
            assert names(fleet, "whatever") == ["c"]


async def test_one_that_is_only_named_by_a_glob_does_not_take_from_one_that_has_the_model() -> None:
    async with OllamaDouble() as first, OllamaDouble() as second:
        first.models = {"other:latest": Model("other:latest")}
        entries = entry("a", first.url, models=["llama*", "llama3:8b"]), entry("b", second.url)
        async with running(*entries) as fleet:
            assert [names(fleet, "llama3:8b") for _ in range(4)] == [["b"]] * 4
            assert names(fleet, "llama3.2:1b") == ["b"]


async def test_a_rule_chooses_by_globs() -> None:
    async with OllamaDouble() as ollama:
        entries = [entry(name, ollama.url) for name in ("gpu-a", "gpu-b", "cpu")]
        async with running(*entries) as fleet:
            assert sorted(names(fleet, "llama3:8b", ("gpu-*",))) == ["gpu-a", "gpu-b"]
            assert names(fleet, "llama3:8b", ("CPU",)) == ["cpu"]
            with pytest.raises(
                NoHealthyUpstream, match="upstream tpu, which does not exist; there are: gpu-a"
            ):
                names(fleet, "llama3:8b", ("tpu",))


async def test_an_unknown_model_comes_with_near_names() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        with pytest.raises(UnknownModel, match="lama3:8b") as caught:
            names(fleet, "lama3:8b")
        assert "llama3:8b" in caught.value.message.replace('"lama3:8b"', "")


async def test_without_any_upstream() -> None:
    async with running() as fleet:
        assert fleet.settled
        with pytest.raises(NoHealthyUpstream, match="no upstream is configured"):
            names(fleet, "m")


async def test_an_open_breaker_takes_an_upstream_out_and_a_good_look_puts_it_back() -> None:
    async with OllamaDouble() as ollama:
        entries = entry("a", ollama.url), entry("b", ollama.url)
        async with running(*entries) as fleet:
            for _ in range(5):
                fleet.upstreams["a"].breaker.failure(False, 1e9)
            assert [names(fleet, "llama3:8b") for _ in range(3)] == [["b"]] * 3
            for _ in range(5):
                fleet.upstreams["b"].breaker.failure(False, 1e9)
            with pytest.raises(NoHealthyUpstream, match="a, b failed too often"):
                names(fleet, "llama3:8b")
            await fleet.look(fleet.upstreams["a"])
            assert names(fleet, "llama3:8b") == ["a"]


async def test_a_look_that_hangs_does_not_close_a_breaker() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        upstream = fleet.upstreams["a"]
        for _ in range(5):
            upstream.breaker.failure(False, 1e9)
        ollama.faults.paths, ollama.faults.hang_before_headers = ["/api/version"], True
        fleet._explorer.client.timeout = 0.05  # type: ignore[assignment]
        await fleet.look(upstream)
        assert upstream.known.error == "ReadTimeout"
        assert upstream.known.up is True
        assert upstream.state() is not State.CLOSED


# Reloads


async def test_an_unchanged_entry_keeps_its_upstream_and_its_connections() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        upstream = fleet.upstreams["a"]
        await ask(upstream.pool, "/api/version", method="GET")
        assert upstream.pool.idle == 1
        before = fleet.generation
        fleet.update([entry("b", ollama.url), entry("a", ollama.url)])
        assert fleet.upstreams["a"] is upstream
        assert list(fleet.upstreams) == ["b", "a"]
        assert fleet.generation > before
        await ask(upstream.pool, "/api/version", method="GET")
        assert (upstream.pool.opened, upstream.pool.idle) == (1, 1)
        await eventually(lambda: fleet.settled)
        assert looks(ollama) == 2, "the one that stayed was not looked at again"


async def test_a_changed_entry_is_a_new_upstream_and_the_old_one_finishes_what_it_carries() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        old = fleet.upstreams["a"]
        await ask(old.pool, "/api/version", method="GET")
        exchange = await old.pool.send("/api/tags", b"", method="GET")
        fleet.update([entry("a", ollama.url, weight=2)])
        new = fleet.upstreams["a"]
        assert new is not old
        assert b"llama3:8b" in await exchange.read_all(1 << 20)
        assert (old.pool.active, old.pool.idle) == (0, 0)
        await eventually(lambda: fleet.settled)
        assert names(fleet, "llama3:8b") == ["a"]


async def test_a_removed_entry_is_looked_at_no_more() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url), every=0.01) as fleet:
        await eventually(lambda: looks(ollama) > 2)
        fleet.update([])
        await asyncio.sleep(0.03)
        count = looks(ollama)
        await asyncio.sleep(0.05)
        assert looks(ollama) == count
        assert fleet.listing() == {}


async def test_keys_come_from_the_environment_and_a_missing_one_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("attune"), "propagate", True)
    async with OllamaDouble() as ollama:
        entries = (
            entry("a", ollama.url, api_key_env="GPU_KEY"),
            entry("b", ollama.url, api_key_env="NOT_THERE"),
        )
        async with running(*entries, GPU_KEY="secret") as fleet:
            assert [u.key for u in fleet.upstreams.values()] == ["secret", None]
    assert "upstream b: NOT_THERE is not set" in caplog.text
    assert "secret" not in caplog.text
    assert {r.header("authorization") for r in ollama.requests} == {"Bearer secret", None}


# First looks


async def test_one_that_hangs_delays_no_model_of_the_others() -> None:
    async with OllamaDouble() as ollama, site({"/api/version": None}) as hanging:
        entries = entry("hangs", hanging.url), entry("a", ollama.url)
        async with running(*entries, seen=False) as fleet:
            await asyncio.wait_for(fleet.ready_for("llama3:8b"), 1)
            assert names(fleet, "llama3:8b") == ["a"]
            assert not fleet.settled


async def test_a_request_waits_for_the_first_look_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_LOOK", 0.05)
    async with (
        site({"/api/version": None}) as hanging,
        running(entry("a", hanging.url), seen=False) as fleet,
    ):
        await asyncio.wait_for(fleet.ready_for("m"), 1)
        with pytest.raises(NoHealthyUpstream, match="a: not reached yet"):
            names(fleet, "m")


async def test_one_with_a_declared_runtime_and_models_can_be_used_at_once() -> None:
    async with site({"/version": None, "/v1/models": None}) as hanging:
        declared = entry("a", hanging.url, runtime="vllm", models=["m"])
        async with running(declared, seen=False) as fleet:
            await asyncio.wait_for(fleet.ready_for("m"), 1)
            assert names(fleet, "m") == ["a"]


async def test_waiting_for_a_first_look_can_be_given_up() -> None:
    async with (
        site({"/api/version": None}) as hanging,
        running(entry("a", hanging.url), seen=False) as fleet,
    ):
        task = asyncio.create_task(fleet.ready_for("m"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_down_at_the_start_and_then_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
    ollama = OllamaDouble()
    ollama.url = f"http://127.0.0.1:{await closed_port()}"
    async with running(entry("a", ollama.url)) as fleet:
        with pytest.raises(NoHealthyUpstream, match=r"no upstream that is up serves .*down: a: ConnectError"):
            names(fleet, "llama3:8b")
        async with ollama:
            await eventually(lambda: fleet.upstreams["a"].known.up is True)
            assert names(fleet, "llama3:8b") == ["a"]


async def test_one_that_goes_down_is_asked_last_and_keeps_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
    async with OllamaDouble() as first, OllamaDouble() as second:
        entries = entry("a", first.url), entry("b", second.url)
        async with running(*entries, every=0.02) as fleet:
            await first.refuse()
            await eventually(lambda: fleet.upstreams["a"].known.up is False)
            assert [names(fleet, "llama3:8b") for _ in range(3)] == [["b", "a"]] * 3
            await first.listen()
            await eventually(lambda: fleet.upstreams["a"].known.up is True)
            assert sorted(map(tuple, (names(fleet, "llama3:8b") for _ in range(2)))) == [
                ("a", "b"),
                ("b", "a"),
            ]


async def test_one_that_is_down_is_looked_at_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
    async with site({"/api/version": Raw(503)}) as server, running(entry("a", server.url)):
        await eventually(lambda: len(server.asked) >= 3)


async def test_a_dead_upstream_of_other_models_does_not_make_an_unknown_one_a_503() -> None:
    async with OllamaDouble() as ollama:
        dead = entry("dead", f"http://127.0.0.1:{await closed_port()}", models=["qwen*"])
        async with running(entry("a", ollama.url), dead) as fleet:
            with pytest.raises(UnknownModel):
                names(fleet, "nobody-has-this")
            with pytest.raises(NoHealthyUpstream):
                names(fleet, "qwen9:1b")
            with pytest.raises(UnknownModel):
                names(fleet, "qwen9:1b", ("a",))


# Unknown models


async def test_a_model_pulled_just_now_is_found() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        ollama.models["fresh:latest"] = Model("fresh:latest")
        with pytest.raises(UnknownModel):
            names(fleet, "fresh")
        await asyncio.wait_for(fleet.ready_for("fresh"), 1)
        assert names(fleet, "fresh") == ["a"]


async def test_unknown_models_cause_one_extra_look_in_two_seconds() -> None:
    assert module.LOOK_AGAIN == 2.0
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        for number in range(10):
            await fleet.ready_for(f"unknown-{number}")
        assert looks(ollama) == 2


async def test_after_that_time_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.03)
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        await fleet.ready_for("unknown")
        await asyncio.sleep(0.04)
        await fleet.ready_for("unknown")
        assert looks(ollama) == 3


async def test_all_who_ask_at_once_wait_for_the_same_look_and_one_may_leave() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        ollama.models["fresh:latest"] = Model("fresh:latest")
        tasks = [asyncio.create_task(fleet.ready_for("fresh")) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
        assert isinstance(done[0], asyncio.CancelledError)
        assert done[1:] == [None] * 4
        assert names(fleet, "fresh") == ["a"]
        assert looks(ollama) == 2


async def test_an_upstream_that_may_not_serve_the_model_is_not_looked_at() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url, models=["llama*"])) as fleet:
        await fleet.ready_for("qwen")
        assert looks(ollama) == 1


async def test_an_extra_look_that_hangs_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        monkeypatch.setattr(module, "FIRST_LOOK", 0.05)
        ollama.faults.paths, ollama.faults.hang_before_headers = ["/api/version"], True
        await asyncio.wait_for(fleet.ready_for("unknown"), 1)
        fleet.update([])


# What it knows


async def test_the_generation_rises_with_what_is_known_and_only_then() -> None:
    async with OllamaDouble() as ollama, running(entry("a", ollama.url)) as fleet:
        before = fleet.generation
        await fleet.look(fleet.upstreams["a"])
        assert fleet.generation == before
        ollama.version = "0.33.0"
        await fleet.look(fleet.upstreams["a"])
        assert fleet.generation == before + 1
        fleet.learn_loaded(fleet.upstreams["a"], "llama3:8b", 4096)
        fleet.learn_loaded(fleet.upstreams["a"], "llama3:8b", 4096)
        assert fleet.generation == before + 2


async def test_the_list_of_models_is_the_union_within_the_globs() -> None:
    async with OllamaDouble() as ollama, site(vllm({"id": "org/qwen"}, {"id": "llama3:8b"})) as second:
        entries = entry("a", ollama.url, models=["llama3*"]), entry("b", second.url)
        async with running(*entries) as fleet:
            listing = {name: [u.name for u, _ in places] for name, places in fleet.listing().items()}
    assert listing == {"llama3:8b": ["a", "b"], "llama3.2:1b": ["a"], "org/qwen": ["b"]}
