"""The double as a server: transport, what it records, who leaves it, and how its bytes and connections break."""

import asyncio
import json
import time

import httpx
import pytest

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import HUGE, Faults, Script

BODY = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
WHOLE = BODY | {"stream": False}


@pytest.fixture
async def ollama():
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def client(ollama):
    async with httpx.AsyncClient(verify=False, base_url=ollama.url, timeout=5) as client:
        yield client


async def until(condition, seconds=3.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "body"),
    [
        ("GET", "/", 200, "text/plain; charset=utf-8", "Ollama is running"),
        ("HEAD", "/", 200, "text/plain; charset=utf-8", ""),
        ("GET", "/api/version", 200, "application/json; charset=utf-8", '{"version":"0.32.15"}'),
        ("HEAD", "/api/version", 200, "application/json; charset=utf-8", ""),
        ("HEAD", "/api/tags", 200, "application/json; charset=utf-8", ""),
        ("GET", "/api/ps?x=1", 200, "application/json; charset=utf-8", '{"models":[]}'),
        ("GET", "/nowhere", 404, "text/plain", "404 page not found"),
        ("POST", "/v1/chat/completions", 404, "text/plain", "404 page not found"),
        ("GET", "/api/chat", 405, "text/plain", "405 method not allowed"),
        ("POST", "/api/tags", 405, "text/plain", "405 method not allowed"),
        ("GET", "/api/show", 405, "text/plain", "405 method not allowed"),
        ("POST", "/", 405, "text/plain", "405 method not allowed"),
    ],
)
async def test_routes(client, method, path, status, kind, body):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (status, kind, body)


async def test_whole_answer_transport(client):
    answer = await client.post("/api/chat", json=WHOLE)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["done"] is True


async def test_stream_transport(client):
    answer = await client.post("/api/chat", json=BODY)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_each_line_is_flushed(client, ollama):
    ollama.script = Script(text=["a", "b", "c"], delay=0.05)
    async with client.stream("POST", "/api/chat", json=BODY) as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert len(chunks) == 4
    assert [json.loads(chunk)["message"]["content"] for chunk in chunks] == ["a", "b", "c", ""]


async def test_requests_are_recorded_raw(client, ollama):
    body = b'{"model": "plain",  "messages": [], "options": {"seed": 1}} '
    await client.post("/api/chat?q=1", content=body, headers={"X-Odd": "é".encode(), "x-odd": "2"})
    await client.get("/api/tags")
    chat, tags = ollama.requests
    assert (chat.method, chat.path, chat.body) == ("POST", "/api/chat", body)
    assert chat.json == {"model": "plain", "messages": [], "options": {"seed": 1}}
    assert chat.options == {"seed": 1}
    assert chat.header("HOST") == ollama.url.removeprefix("http://")
    assert chat.header("x-missing") is None
    assert ("x-odd", "2") in [(key.lower(), value) for key, value in chat.headers]
    assert chat.at <= tags.at <= time.monotonic()
    assert ollama.chats == [chat]
    assert (tags.path, tags.body) == ("/api/tags", b"")


async def test_refused_requests_are_recorded_too(client, ollama):
    await client.post("/api/chat", content=b"nonsense")
    await client.get("/api/version", headers={"host": "example.com"})
    assert [request.path for request in ollama.requests] == ["/api/chat", "/api/version"]
    with pytest.raises(ValueError, match="Expecting value"):
        _ = ollama.chats[0].json


async def test_chunked_request_body(client, ollama):
    async def parts():
        yield b'{"model": "plain", '
        yield b'"stream": false}'

    answer = await client.post("/api/chat", content=parts())
    assert answer.json()["done_reason"] == "load"
    assert ollama.chats[0].body == b'{"model": "plain", "stream": false}'


async def test_megabytes_of_request(client, ollama):
    body = BODY | {"messages": [{"role": "user", "content": "é" * 2_000_000}], "stream": False}
    answer = await client.post("/api/chat", json=body)
    assert "é" * 2_000_000 in answer.json()["message"]["content"]


async def test_connections_are_kept(client, ollama):
    for _ in range(3):
        await client.post("/api/chat", json=BODY)
        await client.post("/api/chat", json=BODY | {"model": "nope"})
    assert (ollama.connections, ollama.open_connections) == (1, 1)
    await client.get("/", headers={"connection": "close"})
    await until(lambda: ollama.open_connections == 0)
    assert ollama.disconnects == []


async def test_many_at_once(client, ollama):
    async def ask(number):
        body = BODY | {"messages": [{"role": "user", "content": f"number {number}"}]}
        answer = await client.post("/api/chat", json=body)
        return f"{number} " in answer.text

    assert all(await asyncio.gather(*(ask(number) for number in range(40))))
    assert (ollama.active, len(ollama.chats)) == (0, 40)
    assert 1 < ollama.connections <= 40


LEAVING = {
    "before the first byte": ({"stream": True}, Faults(first_byte_delay=30)),
    "whole answer": ({"stream": False}, Faults(first_byte_delay=30)),
    "between lines": ({"stream": True}, Faults()),
    "hang before headers": ({"stream": True}, Faults(hang_before_headers=True)),
    "hang in mid-stream": ({"stream": True}, Faults(hang_mid_stream=True)),
    "hang in a whole answer": ({"stream": False}, Faults(hang_mid_stream=True)),
}


@pytest.mark.parametrize(("fields", "faults"), LEAVING.values(), ids=LEAVING)
async def test_a_client_that_leaves_is_seen(ollama, fields, faults):
    ollama.faults, ollama.script = faults, Script(text=["a"] * 100, delay=0.05 if fields["stream"] else 0)
    async with httpx.AsyncClient(verify=False, base_url=ollama.url) as client:
        task = asyncio.create_task(client.post("/api/chat", json=BODY | fields))
        await until(lambda: ollama.chats and (ollama.active or faults.hang_before_headers))
        await asyncio.sleep(0.02)
        assert ollama.disconnects == []
        left = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: ollama.disconnects)
    (seen,) = ollama.disconnects
    assert 0 <= seen - left < 1
    await until(lambda: ollama.active == 0 and ollama.open_connections == 0)


async def test_a_half_closed_connection_counts_as_left(ollama):
    ollama.faults = Faults(first_byte_delay=30)
    host, port = ollama.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(BODY).encode()
    writer.write(
        b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    await until(lambda: ollama.active)
    writer.write_eof()
    await until(lambda: ollama.disconnects)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await writer.wait_closed()


async def test_leaving_afterwards_is_no_disconnect(ollama):
    for body in (BODY, WHOLE, BODY | {"model": "nope"}):
        async with httpx.AsyncClient(verify=False, base_url=ollama.url) as client:
            await client.post("/api/chat", json=body)
    await until(lambda: ollama.open_connections == 0)
    assert (ollama.connections, ollama.disconnects) == (3, [])


async def test_leaving_in_mid_upload_is_no_request(ollama):
    host, port = ollama.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    await until(lambda: ollama.connections == 1)
    writer.close()
    await until(lambda: ollama.open_connections == 0)
    assert (ollama.requests, ollama.disconnects) == ([], [])


async def test_refusing_and_listening_again(client, ollama):
    assert (await client.get("/")).status_code == 200
    await ollama.refuse()
    with pytest.raises(httpx.ConnectError):
        await client.get("/")
    url = ollama.url
    await ollama.listen()
    assert ollama.url == url
    assert (await client.get("/")).status_code == 200


async def test_closing_in_the_middle_is_quick_and_clean():
    before = asyncio.all_tasks()
    async with OllamaDouble() as ollama:
        ollama.faults = Faults(first_byte_delay=30, paths=["/api/chat"])
        client = httpx.AsyncClient(verify=False, base_url=ollama.url)
        idle = await client.get("/")
        running = [asyncio.create_task(client.post("/api/chat", json=BODY)) for _ in range(5)]
        await until(lambda: ollama.active == 5)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    results = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 2)
    assert all(isinstance(result, httpx.TransportError) for result in results)
    assert (idle.status_code, ollama.active, ollama.disconnects, ollama.open_connections) == (200, 0, [], 0)
    await client.aclose()
    assert asyncio.all_tasks() == before


async def test_closing_with_a_client_that_does_not_read():
    async with OllamaDouble() as ollama:
        ollama.faults = Faults(huge_line=True)
        host, port = ollama.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = json.dumps(BODY).encode()
        writer.write(
            b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await until(lambda: ollama.active)
        await asyncio.sleep(0.05)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    writer.close()


async def test_a_mistake_in_a_script_fails_the_test():
    ollama = OllamaDouble("0.6.8")
    assert ollama.version == "0.6.8"
    with pytest.raises(ZeroDivisionError):
        async with ollama, httpx.AsyncClient(verify=False, base_url=ollama.url) as client:
            ollama.script = lambda _: Script(text=["a"] * (1 // 0))
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/api/chat", json=BODY)


async def lines_until_broken(client, body=BODY):
    """The lines that came, and how the stream ended."""
    raw = b""
    try:
        async with client.stream(
            "POST", "/api/chat", json=body, timeout=httpx.Timeout(5, read=0.3)
        ) as answer:
            async for chunk in answer.aiter_raw():
                raw += chunk
    except httpx.TransportError as error:
        return raw, type(error)
    return raw, None


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("hang_mid_stream", httpx.ReadTimeout),
        ("reset_mid_stream", httpx.ReadError),
        ("truncated_chunk", httpx.RemoteProtocolError),
        ("half_line_then_close", None),
    ],
)
@pytest.mark.parametrize("after", [0, 2, 99])
async def test_streams_cut_in_the_middle_of_a_line(client, ollama, fault, ending, after):
    ollama.faults = Faults(after=after, **{fault: True})
    ollama.script = Script(text=["a", "b", "c"])
    raw, end = await lines_until_broken(client)
    assert end is ending
    assert raw.count(b"\n") == min(after, 3)
    *whole, half = raw.split(b"\n")
    assert all(json.loads(line) for line in whole)
    assert half.startswith(b'{"model":"plain"')
    with pytest.raises(ValueError, match="line 1"):
        json.loads(half)


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("hang_mid_stream", httpx.ReadTimeout),
        ("reset_mid_stream", httpx.ReadError),
        ("truncated_chunk", httpx.RemoteProtocolError),
        ("half_line_then_close", None),
        ("garbage_line", None),
        ("invalid_utf8", None),
    ],
)
async def test_whole_answers_broken(client, ollama, fault, ending):
    ollama.faults = Faults(**{fault: True})
    raw, end = await lines_until_broken(client, WHOLE)
    assert end is ending
    assert raw
    with pytest.raises(ValueError, match=r"line 1|decode"):
        json.loads(raw)
    ollama.faults = Faults()
    assert (await client.post("/api/chat", json=WHOLE)).status_code == 200


async def test_bad_lines_in_a_stream_that_goes_on(client, ollama):
    ollama.faults = Faults(garbage_line=True)
    lines = (await client.post("/api/chat", json=BODY)).content.splitlines()
    assert lines[1].startswith(b"<html>")
    assert json.loads(lines[-1])["done"] is True
    ollama.faults = Faults(invalid_utf8=True, after=0)
    lines = (await client.post("/api/chat", json=BODY)).content.splitlines()
    with pytest.raises(UnicodeDecodeError):
        lines[0].decode()
    assert json.loads(lines[0].decode(errors="replace"))["done"] is False


async def test_garbage_is_no_http(client, ollama):
    ollama.faults = Faults(garbage=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/api/chat", json=BODY)
    assert (len(ollama.chats), ollama.disconnects) == (1, [])


async def test_reset_after_accept(client, ollama):
    ollama.faults = Faults(reset_after_accept=True, times=1)
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        await client.post("/api/chat", json=BODY)
    assert (ollama.connections, ollama.requests) == (1, [])
    assert (await client.post("/api/chat", json=BODY)).status_code == 200


async def test_hang_before_headers(client, ollama):
    ollama.faults = Faults(hang_before_headers=True)
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/api/chat", json=BODY, timeout=httpx.Timeout(5, read=0.1))
    await until(lambda: ollama.disconnects)
    assert len(ollama.chats) == 1


@pytest.mark.parametrize("body", [BODY, WHOLE])
async def test_wrong_content_type(client, ollama, body):
    ollama.faults = Faults(wrong_content_type=True)
    answer = await client.post("/api/chat", json=body)
    assert answer.headers["content-type"] == "text/html"
    assert json.loads(answer.content.splitlines()[-1])["done"] is True


async def test_huge_line(client, ollama):
    ollama.faults = Faults(huge_line=True)
    answer = await client.post("/api/chat", json=BODY)
    lines = answer.content.splitlines()
    assert max(len(line) for line in lines) > HUGE == 10 * 2**20
    assert json.loads(lines[-1])["done"] is True
