"""The socket: starting, closing, clients that leave, bytes on the wire."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from proxy.demo import DemoServer, create_demo_app, serve_demo

ASK = {
    "model": "demo-slow",
    "messages": [{"role": "user", "content": "Tell me a story about a dragon"}],
    "options": {"temperature": 0},
}
"""Answered in about five seconds."""


@pytest.fixture
async def server() -> AsyncIterator[DemoServer]:
    server = await serve_demo()
    yield server
    await server.close()


async def until(holds: Callable[[], bool], seconds: float = 2.0) -> float:
    """Seconds until it holds."""
    started = time.perf_counter()
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)
    return time.perf_counter() - started


async def connect(server: DemoServer, body: dict, path: str = "/api/chat", host: str = "127.0.0.1"):
    """A raw connection on which the request is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    content = json.dumps(body).encode()
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
    )
    await writer.drain()
    return reader, writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class TestLife:
    async def test_listens_on_loopback(self, server: DemoServer):
        assert server.url.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/api/version")).json()["demo"] is True

    async def test_a_port_that_is_asked_for(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError):
                await serve_demo(port)
        server = await serve_demo(port)
        assert server.url == f"http://127.0.0.1:{port}"
        await server.close()

    async def test_closed_it_is_gone(self):
        server = await serve_demo()
        await server.close()
        await server.close()
        async with httpx.AsyncClient(base_url=server.url) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/")

    async def test_signals_are_left_alone(self):
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        server = await serve_demo()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        await server.close()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    async def test_two_at_once(self, server: DemoServer):
        other = await serve_demo()
        assert other.url != server.url
        await other.close()

    async def test_closing_breaks_off_what_runs(self):
        server = await serve_demo()
        reader, writer = await connect(server, ASK)
        await reader.readuntil(b'"done":false}\n')
        started = time.perf_counter()
        await server.close()
        assert time.perf_counter() - started < 1.5
        rest = await reader.read()
        assert b'"done":true' not in rest
        await hang_up(writer)

    async def test_closing_refuses_what_is_not_streamed(self):
        server = await serve_demo()
        reader, writer = await connect(server, {**ASK, "stream": False})
        await until(lambda: server.runtime.active == 1)
        await server.close()
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        await hang_up(writer)

    async def test_is_an_asgi_application_too(self):
        transport = httpx.ASGITransport(create_demo_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://anything") as client:
            assert (await client.get("/api/tags")).status_code == 200


class TestHosts:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.0.0.1:80", "localhost:1", "LOCALHOST", "a.localhost", "[::1]:5"]
    )
    async def test_of_this_machine(self, server: DemoServer, host: str):
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/api/version", headers={"host": host})).status_code == 200

    @pytest.mark.parametrize("host", ["example.com", "evil.test:80", "10.0.0.1", "localhost.evil.test"])
    async def test_of_another_are_refused(self, server: DemoServer, host: str):
        async with httpx.AsyncClient(base_url=server.url) as client:
            response = await client.get("/api/version", headers={"host": host})
            assert (response.status_code, response.content) == (403, b"")


class TestBytes:
    async def test_lines_come_one_by_one(self, server: DemoServer):
        reader, writer = await connect(server, {**ASK, "options": {"num_predict": 4, "temperature": 0}})
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 ok\r\n")
        assert b"content-type: application/x-ndjson\r\n" in head
        assert b"transfer-encoding: chunked\r\n" in head
        arrivals = []
        for number in range(5):
            size = int(await reader.readuntil(b"\r\n"), 16)
            chunk = await reader.readexactly(size + 2)
            arrivals.append(time.perf_counter())
            assert chunk.endswith(b"\n\r\n") and chunk.count(b"\n") == 2
            assert json.loads(chunk)["done"] is (number == 4)
        # Twenty tokens a second.
        assert 0.1 < arrivals[-1] - arrivals[0] < 1.0
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        await hang_up(writer)

    async def test_a_connection_serves_again(self, server: DemoServer):
        async with httpx.AsyncClient(base_url=server.url) as client:
            for _ in range(3):
                response = await client.post("/api/chat", json={**ASK, "model": "demo", "stream": False})
                assert response.status_code == 200

    async def test_answers_run_side_by_side(self, server: DemoServer):
        body = {**ASK, "options": {"num_predict": 6, "seed": 1}}
        async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
            started = time.perf_counter()
            answers = await asyncio.gather(*(client.post("/api/chat", json=body) for _ in range(8)))
            elapsed = time.perf_counter() - started
        # One after the other they would take more than two seconds.
        assert elapsed < 1.5
        texts = {
            "".join(json.loads(line)["message"]["content"] for line in a.text.splitlines()) for a in answers
        }
        assert len(texts) == 1


class TestClientGone:
    @pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
    async def test_a_stream_stops_at_once(self, server: DemoServer, path: str):
        reader, writer = await connect(server, {**ASK, "prompt": "dragon"}, path)
        await reader.readuntil(b'"done":false}\n')
        assert server.runtime.active == 1
        await hang_up(writer)
        assert await until(lambda: server.runtime.active == 0) < 0.5

    async def test_an_answer_that_is_not_streamed_stops_too(self, server: DemoServer):
        _, writer = await connect(server, {**ASK, "stream": False})
        await until(lambda: server.runtime.active == 1)
        await hang_up(writer)
        assert await until(lambda: server.runtime.active == 0) < 0.5

    async def test_the_model_is_free_again(self, server: DemoServer):
        reader, writer = await connect(server, {**ASK, "keep_alive": 0})
        await reader.readuntil(b'"done":false}\n')
        assert len(server.runtime.running()) == 1
        await hang_up(writer)
        await until(lambda: not server.runtime.running())

    async def test_half_a_request_does_no_harm(self, server: DemoServer):
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.02)
        await hang_up(writer)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/api/ps")).json() == {"models": []}
