"""One upstream: places and their queue, the names it answers to, what its breaker lets through."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.backends.facts import ModelFacts
from proxy.errors import TooManyRequests, UpstreamUnreachable
from proxy.parameters.profiles import CircuitBreaker
from proxy.rules.rule import UpstreamEntry
from proxy.upstream.breaker import State
from proxy.upstream.origin import Timeouts
from proxy.upstream.upstream import Knowledge, Place, Upstream, ollama_key


def upstream(**values: Any) -> Upstream:
    entry = UpstreamEntry.model_validate({"name": "gpu", "url": "http://127.0.0.1:9", **values})
    return Upstream(entry, key=None, num_ctx="bucket")


def knowing(*names: str, runtime: str = "ollama", **values: Any) -> Upstream:
    """An upstream that was looked at and lists these models."""
    found = upstream(**values)
    key = ollama_key if runtime == "ollama" else str
    found.learn(Knowledge(runtime, "0.32.15", models={key(n): ModelFacts(n) for n in names}, up=True))
    return found


async def waiting(number: int, at: Upstream) -> list[asyncio.Task[Place]]:
    """So many requests in its queue."""
    tasks = [asyncio.create_task(at.place()) for _ in range(number)]
    await asyncio.sleep(0)
    assert at.queued == number
    return tasks


# Places


async def test_without_a_limit_everybody_has_a_place() -> None:
    gpu = upstream()
    places = [await gpu.place() for _ in range(500)]
    assert (gpu.active, gpu.queued, gpu.full) == (500, 0, False)
    for place in places:
        place.leave()
    assert gpu.active == 0


async def test_a_place_is_given_back_once_however_often_one_leaves() -> None:
    gpu = upstream(max_concurrency=2)
    first, second = await gpu.place(), await gpu.place()
    assert gpu.full
    first.leave()
    first.leave()
    assert (gpu.active, gpu.full) == (1, False)
    second.leave()
    assert gpu.active == 0


async def test_a_freed_place_goes_to_the_one_that_waits_longest() -> None:
    gpu = upstream(max_concurrency=1)
    place = await gpu.place()
    order: list[int] = []

    async def ask(number: int) -> None:
        mine = await gpu.place()
        order.append(number)
        assert gpu.active == 1
        mine.leave()

    tasks = [asyncio.create_task(ask(n)) for n in range(5)]
    await asyncio.sleep(0)
    assert gpu.queued == 5
    place.leave()
    await asyncio.wait_for(asyncio.gather(*tasks), 1)
    assert order == [0, 1, 2, 3, 4]
    assert (gpu.active, gpu.queued) == (0, 0)


async def test_a_place_handed_over_cannot_be_taken_by_one_that_comes_later() -> None:
    gpu = upstream(max_concurrency=1)
    place = await gpu.place()
    (task,) = await waiting(1, gpu)
    place.leave()
    assert gpu.full, "it belongs to the one that waits, though that one has not run yet"
    late = asyncio.create_task(gpu.place())
    first = await asyncio.wait_for(task, 1)
    assert not late.done()
    first.leave()
    (await asyncio.wait_for(late, 1)).leave()
    assert gpu.active == 0


async def test_beyond_the_queue_it_is_too_many() -> None:
    gpu = upstream(max_concurrency=1, max_queue=2)
    place = await gpu.place()
    tasks = await waiting(2, gpu)
    with pytest.raises(TooManyRequests, match="gpu serves 1 requests and 2 wait") as caught:
        await gpu.place()
    assert caught.value.status == 429
    assert dict(caught.value.headers()) == {"retry-after": "2"}
    place.leave()
    for task in tasks:
        (await asyncio.wait_for(task, 1)).leave()
    assert (gpu.active, gpu.queued) == (0, 0)


async def test_without_a_queue_a_full_upstream_refuses_at_once() -> None:
    gpu = upstream(max_concurrency=1, max_queue=0)
    place = await gpu.place()
    with pytest.raises(TooManyRequests) as caught:
        await gpu.place()
    assert dict(caught.value.headers()) == {"retry-after": "1"}
    place.leave()
    (await gpu.place()).leave()


async def test_who_waits_too_long_gives_up_and_leaves_the_queue() -> None:
    gpu = upstream(max_concurrency=1, queue_timeout=0.02)
    place = await gpu.place()
    with pytest.raises(TooManyRequests, match=r"within 0\.02 s"):
        await asyncio.wait_for(gpu.place(), 1)
    assert (gpu.active, gpu.queued) == (1, 0)
    place.leave()
    assert gpu.active == 0


async def test_who_is_cancelled_while_waiting_leaves_the_queue() -> None:
    gpu = upstream(max_concurrency=1, max_queue=1)
    place = await gpu.place()
    (task,) = await waiting(1, gpu)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gpu.queued == 0
    (other,) = await waiting(1, gpu)
    place.leave()
    (await asyncio.wait_for(other, 1)).leave()
    assert gpu.active == 0


async def test_a_place_handed_to_one_that_is_cancelled_in_that_moment_goes_on() -> None:
    gpu = upstream(max_concurrency=1)
    place = await gpu.place()
    first, second = await waiting(2, gpu)
    place.leave()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    (await asyncio.wait_for(second, 1)).leave()
    assert (gpu.active, gpu.queued) == (0, 0)


async def test_many_that_come_wait_and_are_cancelled_leave_nothing() -> None:
    gpu = upstream(max_concurrency=3, max_queue=1000, queue_timeout=5)
    most = 0

    async def ask(number: int) -> None:
        nonlocal most
        place = await gpu.place()
        try:
            most = max(most, gpu.active)
            await asyncio.sleep(0.001 * (number % 3))
        finally:
            place.leave()

    tasks = [asyncio.create_task(ask(n)) for n in range(120)]
    for number, task in enumerate(tasks):
        if number % 4 == 0:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert most == 3
    assert (gpu.active, gpu.queued) == (0, 0)


# The breaker


def fail(gpu: Upstream, times: int = 5) -> None:
    for _ in range(times):
        gpu.breaker.failure(False, 0.0)


async def test_places_tell_the_breaker_how_it_went() -> None:
    gpu = upstream()
    for _ in range(5):
        place = await gpu.place()
        place.failure()
        place.leave()
    assert gpu.state() is State.OPEN
    assert not gpu.available()
    assert gpu.active == 0


async def test_an_open_breaker_gives_no_place() -> None:
    gpu = upstream()
    gpu.breaker.cooldown = 60
    for _ in range(5):
        (await gpu.place()).failure()
    before = gpu.active
    with pytest.raises(UpstreamUnreachable, match="gpu failed too often"):
        await gpu.place()
    assert gpu.active == before


async def test_who_waited_while_it_broke_is_not_sent_there() -> None:
    gpu = upstream(max_concurrency=1)
    place = await gpu.place()
    tasks = await waiting(2, gpu)
    for _ in range(5):
        place.failure()
    place.leave()
    for task in tasks:
        with pytest.raises(UpstreamUnreachable):
            await asyncio.wait_for(task, 1)
    assert (gpu.active, gpu.queued) == (0, 0)


async def test_half_open_lets_one_through_and_its_leaving_without_a_word_frees_the_trial() -> None:
    gpu = upstream()
    gpu.breaker.cooldown = 0.0
    fail(gpu)
    trial = await gpu.place()
    assert trial.trial
    assert not gpu.available()
    trial.leave()
    assert gpu.available()
    trial = await gpu.place()
    trial.success()
    trial.leave()
    assert (gpu.state(), gpu.breaker.trying, gpu.active) == (State.CLOSED, 0, 0)


# Breakers of profiles


async def test_a_profiles_breaker_opens_sooner_for_calls_under_it_alone() -> None:
    gpu, strict = upstream(), CircuitBreaker(failure_threshold=2, failure_timeout=60)
    for _ in range(2):
        place = await gpu.place(strict)
        place.failure()
        place.leave()
    with pytest.raises(UpstreamUnreachable, match="gpu failed too often"):
        await gpu.place(strict)
    other = await gpu.place(CircuitBreaker(failure_threshold=3))
    other.leave()
    (await gpu.place()).leave()
    assert (gpu.active, gpu.breaker.failures) == (0, 2)


async def test_a_profiles_breaker_closes_after_a_good_trial() -> None:
    gpu, strict = upstream(), CircuitBreaker(failure_threshold=1, failure_timeout=1e-9, half_open_requests=1)
    place = await gpu.place(strict)
    place.failure()
    place.leave()
    trial = await gpu.place(strict)
    assert trial.own_trial
    with pytest.raises(UpstreamUnreachable):
        await gpu.place(strict)
    trial.success()
    trial.leave()
    after = await gpu.place(strict)
    assert not after.own_trial
    after.leave()
    assert gpu.active == 0


async def test_a_profile_that_sets_timeouts_only_has_no_breaker_of_its_own() -> None:
    gpu = upstream()
    place = await gpu.place(CircuitBreaker())
    assert place.own is None
    place.leave()


# Names


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("llama3", "llama3:latest"),
        ("llama3:8b", "llama3:8b"),
        ("LLaMA3:8B", "llama3:8b"),
        ("me/Model", "me/model:latest"),
        ("localhost:5000/me/model", "localhost:5000/me/model:latest"),
        ("localhost:5000/me/model:q4", "localhost:5000/me/model:q4"),
        ("library/llama3", "llama3:latest"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
    ],
)
def test_ollama_names(asked: str, key: str) -> None:
    assert ollama_key(asked) == key


async def test_ollama_finds_a_model_under_every_spelling() -> None:
    gpu = knowing("llama3:latest", "Qwen3:8B")
    assert all(gpu.serves(name) for name in ("llama3", "LLAMA3:latest", "qwen3:8b", "library/llama3"))
    assert gpu.serves("qwen3") is False
    found = gpu.find("qwen3:8B")
    assert found is not None
    assert found.name == "Qwen3:8B"


async def test_other_runtimes_take_names_as_they_are() -> None:
    gpu = knowing("Qwen/Qwen3-8B", runtime="vllm")
    assert gpu.serves("Qwen/Qwen3-8B") is True
    assert gpu.serves("qwen/qwen3-8b") is False


@pytest.mark.parametrize(
    ("globs", "listed", "asked", "serves"),
    [
        # listed: what the listing says, within the globs
        (["*"], ["llama3:8b"], "llama3:8b", True),
        (["*"], ["llama3:8b"], "qwen3:8b", False),
        (["llama*"], ["llama3:8b", "qwen3:8b"], "qwen3:8b", False),
        (["LLAMA*"], ["llama3:8b"], "llama3:8b", True),
        (["llama*"], ["llama3:8b"], "llama9:1b", False),
        # a model that the entry names outright may be there though it is not listed
        (["llama3:8b"], [], "llama3:8b", None),
        (["llama3:8b", "*"], ["x"], "llama3:8b", None),
        # no listing at all: globs other than * are one
        (["*"], None, "anything", None),
        (["gpt-4*"], None, "gpt-4o", True),
        (["gpt-4*"], None, "gpt-3.5", False),
        (["my-model"], None, "my-model", True),
    ],
)
async def test_what_it_serves(
    globs: list[str], listed: list[str] | None, asked: str, serves: bool | None
) -> None:
    gpu = upstream(models=globs)
    models: Mapping[str, ModelFacts] | None = None
    if listed is not None:
        models = {ollama_key(name): ModelFacts(name) for name in listed}
    gpu.learn(Knowledge("ollama", models=models, up=True))
    assert gpu.serves(asked) is serves


# Knowledge


async def test_before_the_first_look_nothing_is_known() -> None:
    gpu = upstream()
    assert (gpu.met, gpu.looked.is_set(), gpu.up) == (False, False, True)
    assert gpu.find("llama3:8b") is None


@pytest.mark.parametrize("runtime", ["ollama", "vllm", "openai"])
async def test_a_declared_runtime_needs_no_look(runtime: str) -> None:
    gpu = upstream(runtime=runtime, models=["m"])
    assert gpu.met
    assert gpu.target("m").runtime == runtime


async def test_learning_the_same_again_is_no_change() -> None:
    gpu = knowing("llama3:8b")
    assert gpu.learn(replace(gpu.known)) is False
    assert gpu.learn(replace(gpu.known, version="0.33.0")) is True


async def test_a_target_is_made_once_and_made_anew_when_something_is_learned() -> None:
    gpu = knowing("llama3:8b")
    target = gpu.target("llama3:8b")
    assert gpu.target("llama3:8b") is target
    assert target.model is not None
    gpu.learn(replace(gpu.known, version="0.33.0"))
    assert gpu.target("llama3:8b").version == "0.33.0"


async def test_the_context_that_a_model_was_loaded_with() -> None:
    gpu = knowing("llama3:8b")
    assert gpu.learn_loaded("Llama3:8B", 8192) is True
    assert gpu.learn_loaded("llama3:8b", 8192) is False
    assert gpu.learn_loaded("unknown", 8192) is False
    facts = gpu.target("llama3:8b").model
    assert facts is not None
    assert facts.loaded == 8192


async def test_once_met_it_stays_so_when_it_goes_down() -> None:
    gpu = knowing("llama3:8b")
    gpu.learn(replace(gpu.known, up=False, error="ConnectError"))
    assert (gpu.met, gpu.up) == (True, False)
    assert gpu.serves("llama3:8b") is True


async def test_its_entry_as_connections_and_limits() -> None:
    limits = {"connect": 1, "first_byte": 2, "idle": 3, "total": 4}
    gpu = upstream(url="http://[::1]:8000/base/v1/", timeouts=limits)
    assert (gpu.origin.host, gpu.origin.port, gpu.origin.path) == ("::1", 8000, "/base")
    assert gpu.pool.timeouts == Timeouts(1, 2, 3, 4)
    assert gpu.auth_headers == ()
    keyed = Upstream(gpu.entry, key="secret", num_ctx="bucket")
    assert keyed.auth_headers == (("authorization", "Bearer secret"),)
