"""What is loaded and for how long, and the pace of answers."""

import asyncio
import time
from contextlib import aclosing
from random import Random

import pytest

from proxy.demo.generation import Generation, raw_prompt
from proxy.demo.options import read_options
from proxy.demo.runtime import Runtime, ServedModel, timestamp
from proxy.demo.wire import FOREVER, Refused


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def begin(runtime: Runtime, **requested: object) -> Generation:
    options = read_options({"temperature": 0, "repeat_penalty": 1, **requested})
    return Generation(runtime.model, raw_prompt("count the apples on a tree,", 100), options, Random(1))


async def drain(runtime: Runtime, name: str, stream: bool, **requested: object) -> float:
    """Seconds to the end of an answer."""
    generation, started = begin(runtime, **requested), time.perf_counter()
    async with aclosing(runtime.paced(generation, runtime.find(name), stream)) as steps:
        async for _ in steps:
            pass
    return time.perf_counter() - started


class TestModels:
    def test_all_names_hold_demo(self, runtime: Runtime):
        assert list(runtime.served) == ["demo:latest", "demo-slow:latest"]

    @pytest.mark.parametrize("name", ["demo", "demo:latest", "DEMO", "library/demo"])
    def test_found(self, runtime: Runtime, name: str):
        assert runtime.find(name).name == "demo:latest"

    def test_not_found_in_the_clients_words(self, runtime: Runtime):
        with pytest.raises(Refused, match="model 'Llama3' not found"):
            runtime.find("Llama3")

    def test_shown_as_a_demo_everywhere(self, runtime: Runtime):
        model = runtime.find("demo")
        listing, shown = runtime.listing(model), runtime.shown(model)
        assert listing["details"]["family"] == shown["details"]["family"] == "attune-demo"
        for text in ("license", "system", "modelfile"):
            assert "demo runtime" in shown[text] and "not a real language model" in shown[text]
        assert shown["model_info"]["general.architecture"] == "demo"
        assert shown["model_info"]["demo.context_length"] == 8192
        assert shown["capabilities"] == ["completion"]
        assert model.full_name == "registry.ollama.ai/library/demo:latest"


class TestLoading:
    def test_nothing_at_first(self, runtime: Runtime):
        assert runtime.running() == []

    def test_stays_after_use_with_its_context(self, runtime: Runtime):
        with runtime.using(runtime.find("demo"), 512, None):
            assert runtime.running()[0]["name"] == "demo:latest"
        (entry,) = runtime.running()
        assert entry["context_length"] == 512
        assert timestamp(time.time() + 290) < entry["expires_at"] < timestamp(time.time() + 310)

    def test_keep_alive_zero_unloads_when_idle(self, runtime: Runtime):
        model = runtime.find("demo")
        with runtime.using(model, 512, None):
            with runtime.using(model, 512, 0.0):
                pass
            assert len(runtime.running()) == 1
        assert runtime.running() == []

    def test_keep_alive_is_kept_by_later_requests(self, runtime: Runtime):
        model = runtime.find("demo")
        for keep_alive in (FOREVER, None):
            with runtime.using(model, 512, keep_alive):
                pass
        assert runtime.running()[0]["expires_at"] > "2200"

    def test_runs_out(self, runtime: Runtime):
        with runtime.using(runtime.find("demo"), 512, 0.02):
            pass
        assert len(runtime.running()) == 1
        time.sleep(0.03)
        assert runtime.running() == []

    def test_longest_lived_first(self, runtime: Runtime):
        for name, keep_alive in (("demo", 10.0), ("demo-slow", 1e300)):
            with runtime.using(runtime.find(name), 512, keep_alive):
                pass
        assert [entry["name"] for entry in runtime.running()] == ["demo-slow:latest", "demo:latest"]

    def test_freed_by_a_failing_request(self, runtime: Runtime):
        with pytest.raises(Refused), runtime.using(runtime.find("demo"), 512, 0.0):
            raise Refused(500, "x")
        assert runtime.running() == []


class TestPace:
    async def test_streaming_is_visible(self, runtime: Runtime):
        assert 0.19 <= await drain(runtime, "demo", True, num_predict=40) < 0.6

    async def test_an_answer_that_is_not_streamed_comes_at_once(self, runtime: Runtime):
        assert await drain(runtime, "demo", False, num_predict=40) < 0.19

    @pytest.mark.parametrize("stream", [True, False])
    async def test_the_slow_model_is_slow_in_both(self, runtime: Runtime, stream: bool):
        assert 0.2 <= await drain(runtime, "demo-slow", stream, num_predict=5) < 0.6

    async def test_the_first_token_does_not_wait(self, runtime: Runtime):
        started = time.perf_counter()
        snail = ServedModel("snail:latest", pace=0.5)
        async with aclosing(runtime.paced(begin(runtime), snail, True)) as steps:
            await anext(steps)
            assert time.perf_counter() - started < 1.0
            assert runtime.active == 1
        assert runtime.active == 0

    async def test_other_tasks_get_their_turn(self, runtime: Runtime):
        gaps, last = [], time.perf_counter()
        work = asyncio.gather(*(drain(runtime, "demo", False, num_predict=400) for _ in range(3)))
        while not work.done():
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
        await work
        # Three answers of a few milliseconds each before it is our turn; a machine under load needs room.
        assert len(gaps) > 20
        assert sorted(gaps)[int(len(gaps) * 0.9)] < 0.05

    async def test_closing_breaks_off(self, runtime: Runtime):
        runtime.closing = True
        generation = begin(runtime, num_predict=400)
        async with aclosing(runtime.paced(generation, runtime.find("demo"), False)) as steps:
            assert len([step async for step in steps]) == 1
        assert generation.count == 1
