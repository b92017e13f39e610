"""What upstreams may answer, and what is no answer."""

import asyncio

import pytest

from proxy.errors import UpstreamBroken
from proxy.upstream.connection import HEAD_LIMIT, Connection
from tests.upstream.server import (
    OK,
    OPEN,
    Peer,
    both_loops,
    once,
    pooled,
    repeating,
    then_wait,
    whole,
)

EVENTS = b'data: {"a": 1}\n\n'

SAMPLES = {
    "content-length": (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 11\r\n\r\nhello\r\nbody",
        200,
        [(b"server", b"x"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"11")],
        b"hello\r\nbody",
        True,
    ),
    "chunked": (
        b"HTTP/1.1 429 Slow\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5;name=value\r\nhello\r\n10\r\n" + EVENTS + b"\r\n0\r\nx-trailer: late\r\n\r\n",
        429,
        [(b"transfer-encoding", b"chunked")],
        b"hello" + EVENTS,
        True,
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        200,
        [(b"content-length", b"2")],
        b"hi",
        True,
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", 204, [(b"x", b"y")], b"", True),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
        304,
        [(b"content-length", b"99")],
        b"",
        True,
    ),
    "until close": (b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nall of it", 200, [(b"x", b"y")], b"all of it", False),
    "until close, other coding": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nhi",
        200,
        [(b"transfer-encoding", b"chunked, gzip")],
        b"2\r\nhi",
        False,
    ),
    "http/1.0": (b"HTTP/1.0 200 OK\r\n\r\nold", 200, [], b"old", False),
    "http/1.0 with length": (
        b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold",
        200,
        [(b"content-length", b"3")],
        b"old",
        False,
    ),
    "http/1.0 kept alive": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nold",
        200,
        [(b"connection", b"keep-alive"), (b"content-length", b"3")],
        b"old",
        True,
    ),
    "connection: close": (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        200,
        [(b"connection", b"close"), (b"content-length", b"2")],
        b"hi",
        False,
    ),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@both_loops
async def test_an_answer_cut_anywhere_is_the_same_answer(sample, monkeypatch):
    answer, status, headers, body, reused = sample
    pieces = []
    feed = Connection.data_received
    monkeypatch.setattr(
        Connection, "data_received", lambda self, data: (pieces.append(data), feed(self, data))
    )

    async def script(peer: Peer) -> None:
        while True:
            cut = int((await peer.request()).split(b" ")[1][1:])
            await peer.send(answer[:cut], answer[cut:])
            if not reused:
                return

    async with pooled(script) as (server, pool):
        for cut in range(1, len(answer)):
            exchange = await pool.send(f"/{cut}", b"{}")
            assert (exchange.status, exchange.headers) == (status, headers)
            assert await whole(exchange) == body
            assert exchange.complete
            exchange.close()
        # Else the cuts were not seen at all.
        assert len(pieces) > 1.9 * (len(answer) - 1)
        assert pool.opened == len(server.peers) == (1 if reused else len(answer) - 1)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@both_loops
async def test_an_answer_byte_by_byte(sample):
    answer, status, headers, body, reused = sample
    segments = [bytes([byte]) for byte in answer]
    script = repeating(*segments) if reused else once(*segments)
    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        assert (exchange.status, exchange.headers, await whole(exchange)) == (status, headers, body)
        assert pool.idle == reused


@both_loops
async def test_no_body_follows_the_answer_to_head():
    async with pooled(then_wait(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as (_, pool):
        exchange = await pool.send("/", b"", method="HEAD")
        assert exchange.complete
        assert exchange.header(b"content-length") == b"5"
        assert await exchange.read() == b""


@pytest.mark.parametrize(
    "answer",
    [
        OPEN,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\nA\r\nhello",
    ],
)
@both_loops
async def test_an_answer_broken_off_is_delivered_as_far_as_it_came(answer):
    async with pooled(once(answer)) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        for _ in range(2):
            with pytest.raises(UpstreamBroken, match="broke off"):
                await exchange.read()
        assert not exchange.complete


@both_loops
async def test_a_reset_does_not_end_a_body_that_lasts_until_close():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.02)
        peer.reset()

    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        with pytest.raises(UpstreamBroken, match="broke off"):
            await exchange.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b'{"error": "no"}',
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nspace : before\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: nul\0\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        # Two ways to say how long the body is, and which of them counts is anybody's guess.
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ],
)
@both_loops
async def test_what_is_no_answer_is_refused(answer):
    async with pooled(then_wait(answer)) as (server, pool):
        with pytest.raises(UpstreamBroken, match=r"127\.0\.0\.1:\d+ did not answer in HTTP/1\.1"):
            await pool.send("/", b"")
        assert len(server.peers) == 1


@pytest.mark.parametrize("headers", [b"", b"upgrade: websocket\r\nconnection: upgrade\r\n"])
@both_loops
async def test_nobody_asked_for_another_protocol(headers):
    async with pooled(then_wait(b"HTTP/1.1 101 Switching Protocols\r\n" + headers + b"\r\n\x81\x00")) as (
        _,
        pool,
    ):
        with pytest.raises(UpstreamBroken, match="status 101"):
            await pool.send("/", b"")


@both_loops
async def test_broken_framing_ends_the_body_with_an_error():
    chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nagainst the rules"
    async with pooled(then_wait(chunks)) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"helloagain"
        with pytest.raises(UpstreamBroken, match="did not answer in HTTP"):
            await exchange.read()


def head_of(size: int) -> bytes:
    start, end = b"HTTP/1.1 200 OK\r\nx: ", b"\r\ncontent-length: 0\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@both_loops
async def test_a_long_head_passes():
    async with pooled(repeating(head_of(HEAD_LIMIT))) as (_, pool):
        assert (await pool.send("/", b"")).status == 200
        assert pool.idle == 1


@pytest.mark.parametrize(
    "segments",
    [
        [head_of(HEAD_LIMIT * 3)],
        [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 12_000 + b"content-length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nx: "] + [b"a" * 10_000] * 7,
        [b"HTTP/1.1 200 " + b"a" * HEAD_LIMIT],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 1500] * 2,
    ],
    ids=["one header", "many headers", "without end", "reason", "interim"],
)
@both_loops
async def test_a_head_that_is_too_long_is_refused(segments):
    async with pooled(then_wait(*segments)) as (_, pool):
        with pytest.raises(UpstreamBroken, match="above 64 KiB"):
            await pool.send("/", b"")


@both_loops
async def test_trailers_without_end_are_refused():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: ")
        for _ in range(200):
            await peer.send(b"a" * 10_000)
        await peer.gone()

    async with pooled(script) as (_, pool):
        exchange = await pool.send("/", b"")
        assert await exchange.read() == b"hello"
        with pytest.raises(UpstreamBroken, match="without end"):
            await exchange.read()


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 2", OK, b"0\r\n\r\n"])
@both_loops
async def test_more_than_was_asked_for_costs_the_connection_only(surplus):
    async with pooled(then_wait(OK + surplus)) as (server, pool):
        for _ in range(2):
            exchange = await pool.send("/", b"")
            assert (exchange.status, await whole(exchange)) == (200, b"hello")
            assert pool.idle == 0
        assert len(server.peers) == 2


@both_loops
async def test_an_answer_before_the_request_is_all_written():
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge"

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(refusal)
        await peer.gone()

    async def rude(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(refusal)

    for answer in (script, rude):
        async with pooled(answer) as (_, pool):
            exchange = await pool.send("/", bytes(16 << 20))
            assert (exchange.status, await whole(exchange)) == (413, b"large")
            assert pool.idle == 0
