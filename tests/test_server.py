"""The server as a process: signals, an end that lets streams finish, workers, and what it refuses to do."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.scenes import broken, error, streamed
from tests.upstream.server import eventually

PATIENCE = 15.0
ENDED_WELL = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
STREAM = {"model": "llama3:8b", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Process:
    """`attune serve` in a process of its own."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    url: str

    async def stream(self) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=STREAM)

    async def ready(self) -> int:
        """What `/readyz` says, on a connection of its own; 0 when nobody listens."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as fresh:
            try:
                return (await fresh.get("/readyz")).status_code
            except httpx.TransportError:
                return 0

    async def end(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


def command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "proxy", "serve", "--port", "0", *arguments)


def environ(**values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATTUNE_", "OLLAMA_"))}
    return {**kept, **{f"ATTUNE_{name.upper()}": value for name, value in values.items()}}


@asynccontextmanager
async def serving(*arguments: str, **settings: str) -> AsyncIterator[Process]:
    """A process that is ready; ended at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environ(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            first = (await process.stdout.readline()).decode()
            url = re.findall(r"http://\S+", first)[0]
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
                running = Process(process, client, url)
                while await running.ready() != 200:
                    await asyncio.sleep(0.02)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
            yield Process(process, client, url)
    finally:
        await gone(process)


async def gone(process: asyncio.subprocess.Process) -> None:
    """End a process with all its workers, in peace if it can be."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.communicate(), PATIENCE)


async def refused(*arguments: str, **settings: str) -> tuple[int, str]:
    """Exit code and last words of a process that does not start."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environ(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, words = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return process.returncode, words.decode()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_drain_lets_streams_finish(workers: str) -> None:
    async with OllamaDouble() as ollama, serving(ollama.url, workers=workers, drain_delay="1") as server:
        words = Script(text=["word "] * 120, delay=0.02)
        ollama.script = lambda body: words if body["stream"] else Script()
        stream = asyncio.create_task(server.stream())
        await eventually(lambda: ollama.active == 1)
        server.process.send_signal(signal.SIGTERM)
        await until(server, 503)
        late = await server.client.post("/v1/chat/completions", json={**STREAM, "stream": False})
        assert late.status_code == 200, "unready, it still serves what comes"
        if workers == "1":  # with several the parent goes on listening until they have ended
            await until(server, 0)
            assert not stream.done(), "nobody listens any more, and the stream goes on"
        assert streamed(await stream) == "word " * 120
        assert await server.end() in ENDED_WELL
        assert ollama.disconnects == []


async def until(server: Process, status: int) -> None:
    async with asyncio.timeout(5):
        while await server.ready() != status:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_without_a_delay_it_stops_listening_at_once(sig: signal.Signals) -> None:
    async with OllamaDouble() as ollama, serving(ollama.url) as server:
        ollama.script = Script(text=["word "] * 20, delay=0.02)
        held = await server.client.get("/livez")
        assert held.status_code == 200
        stream = asyncio.create_task(server.stream())
        await eventually(lambda: ollama.active == 1)
        server.process.send_signal(sig)
        await until(server, 0)
        assert streamed(await stream) == "word " * 20
        assert await server.end() in (*ENDED_WELL, -sig, 128 + sig)


async def test_a_second_signal_does_not_wait_for_the_delay() -> None:
    async with OllamaDouble() as ollama, serving(ollama.url, drain_delay="60") as server:
        server.process.send_signal(signal.SIGTERM)
        await until(server, 503)
        server.process.send_signal(signal.SIGTERM)
        assert await server.end() in ENDED_WELL


async def test_a_stream_that_takes_too_long_is_cut_off() -> None:
    async with OllamaDouble() as ollama, serving(ollama.url, drain_timeout="1") as server:
        ollama.script, ollama.faults = Script(text=["word "] * 3), Faults(hang_mid_stream=True)
        stream = asyncio.create_task(server.stream())
        await eventually(lambda: ollama.active == 1)
        server.process.send_signal(signal.SIGTERM)
        assert await server.end() in ENDED_WELL
        await asyncio.wait([stream], timeout=1)
        assert stream.done()
        assert isinstance(stream.exception(), httpx.RemoteProtocolError) or broken(stream.result())
        await eventually(lambda: len(ollama.disconnects) == 1)


async def test_several_workers_share_the_port() -> None:
    async with OllamaDouble() as ollama, serving(ollama.url, "--workers", "2") as server:
        await eventually(lambda: looks(ollama) >= 2, 5)

        async def one(number: int) -> None:
            async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as fresh:
                reply = await fresh.post("/v1/chat/completions", json=STREAM)
            assert streamed(reply)
            made.add(reply.headers["x-request-id"][:16])

        made: set[str] = set()
        for _ in range(20):
            await asyncio.gather(*(one(n) for n in range(10)))
            if len(made) == 2:
                break
        assert len(made) == 2, "each worker makes ids of its own"
        server.process.send_signal(signal.SIGTERM)
        assert await server.end() in ENDED_WELL
        assert await server.ready() == 0


def looks(ollama: OllamaDouble) -> int:
    return sum(request.path == "/api/tags" for request in ollama.requests)


async def test_workers_take_their_settings_along() -> None:
    async with OllamaDouble() as ollama:
        settings = {"admin_key": "correct-horse", "max_body": "2048", "drain_delay": "0.5"}
        async with serving(ollama.url, "--workers", "2", **settings) as server:
            for _ in range(4):
                reply = await server.stream()
                assert (reply.status_code, error(reply)["code"]) == (401, "attune_invalid_api_key")
                key = {"x-api-key": "correct-horse"}
                reply = await server.client.post("/v1/chat/completions", content=b" " * 3000, headers=key)
                assert reply.status_code == 413
                reply = await server.client.post("/v1/chat/completions", json=STREAM, headers=key)
                assert streamed(reply)


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (("--host", "0.0.0.0"), {}, "no key exists: set ATTUNE_ADMIN_KEY"),
        (("--host", "0.0.0.0", "--workers", "2"), {}, "no key exists: set ATTUNE_ADMIN_KEY"),
        (("ftp://x",), {}, "must begin with http:// or https://"),
        (("--rules", "/no/such/file.yaml"), {}, "no such file"),
        ((), {"max_body": "many"}, "ATTUNE_MAX_BODY"),
        ((), {"admin_key": "short"}, "ATTUNE_ADMIN_KEY"),
    ],
    ids=["exposed", "exposed-workers", "scheme", "rules", "number", "key"],
)
async def test_what_it_does_not_start_with(
    arguments: tuple[str, ...], settings: dict[str, str], words: str
) -> None:
    code, said = await refused(*arguments, **settings)
    assert code in (1, 2)
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("given", [{"admin_key": "correct-horse"}, {"insecure": "on"}])
async def test_where_others_reach_it_with_a_key_or_on_purpose(given: dict[str, str]) -> None:
    async with serving("http://127.0.0.1:9", host="0.0.0.0", **given) as server:
        reply = await server.client.get("/v1/models")
        assert reply.status_code == (401 if "admin_key" in given else 200)
