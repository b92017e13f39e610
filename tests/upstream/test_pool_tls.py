"""Upstreams behind TLS, with a throwaway certificate."""

import shutil
import ssl
import subprocess

import pytest

from proxy.errors import UpstreamTimeout, UpstreamUnreachable
from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.pool import Pool
from tests.upstream.server import (
    OK,
    OPEN,
    PATIENCE,
    Peer,
    Server,
    ask,
    both_loops,
    eventually,
    once,
    repeating,
    serving,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A throwaway certificate for localhost: paths of certificate and key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", *subject]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    return certificate, key


def contexts(certificate) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server, and for a client that trusts it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=certificate[0])


def origin_of(server: Server) -> Origin:
    return Origin.parse(f"https://localhost:{server.port}")


@both_loops
async def test_tls(certificate):
    ours, theirs = contexts(certificate)

    async def script(peer: Peer) -> None:
        while True:
            if b"/open" in await peer.request():
                await peer.send(OPEN)
                await peer.gone()
                return
            await peer.send(OK[:10], OK[10:])

    async with serving(script, ours) as server:
        pool = Pool(origin_of(server), Timeouts(), ssl_context=theirs)
        for _ in range(3):
            assert await ask(pool, "/", b"x" * 200_000) == b"hello"
        assert (pool.opened, pool.idle) == (1, 1)
        exchange = await pool.send("/open", b"")
        assert await exchange.read() == b"hello"
        exchange.close()
        await eventually(lambda: server.tasks[0].done(), 0.2)
        assert await ask(pool) == b"hello"
        assert pool.opened == 2
        pool.close()


@both_loops
async def test_tls_until_close(certificate):
    ours, theirs = contexts(certificate)
    async with serving(once(b"HTTP/1.1 200 OK\r\n\r\n", b"to the end"), ours) as server:
        pool = Pool(origin_of(server), Timeouts(), ssl_context=theirs)
        assert await ask(pool) == b"to the end"
        assert pool.idle == 0


@both_loops
async def test_tls_trusts_nobody_by_default(certificate):
    ours, _ = contexts(certificate)
    async with serving(repeating(OK), ours) as server:
        with pytest.raises(UpstreamUnreachable, match=r"TLS: .*certificate"):
            await ask(Pool(origin_of(server), Timeouts()))


@both_loops
async def test_tls_checks_the_name(certificate):
    ours, theirs = contexts(certificate)
    async with serving(repeating(OK), ours) as server:
        pool = Pool(Origin("https", "127.0.0.1", server.port, ""), Timeouts(), ssl_context=theirs)
        with pytest.raises(UpstreamUnreachable, match="TLS"):
            await ask(pool)


@both_loops
async def test_a_handshake_without_end_is_a_connect_timeout():
    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with serving(mute) as server:
        pool = Pool(Origin("https", "127.0.0.1", server.port, ""), Timeouts(connect=0.1))
        with pytest.raises(UpstreamTimeout) as timeout:
            await ask(pool)
        assert timeout.value.phase == "connect"


@both_loops
async def test_tls_to_a_server_without_it():
    async with serving(once(b"HTTP/1.0 400 Bad\r\n\r\n")) as server:
        with pytest.raises((UpstreamUnreachable, UpstreamTimeout)):
            await ask(Pool(Origin("https", "127.0.0.1", server.port, ""), Timeouts(connect=0.2)))
