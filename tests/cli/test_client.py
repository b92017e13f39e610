import json
import socket

import pytest

from proxy.cli import client
from proxy.cli.client import ProxyClient, base
from proxy.errors import (
    AttuneError,
    ConfigurationError,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.cli.answering import scripted


@pytest.mark.parametrize(
    ("pasted", "address"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" http://127.0.0.1:8080/ ", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
        ("gateway:8080", "http://gateway:8080"),
        ("https://example.test/attune/v1", "https://example.test/attune"),
    ],
)
def test_an_address_may_be_given_as_people_paste_it(pasted: str, address: str) -> None:
    assert base(pasted) == address


def test_a_call_carries_the_key_and_the_body() -> None:
    with scripted(200, {"ok": 1}) as proxy:
        answer = ProxyClient(proxy.url, " secret-key ").post("/api/v1/explain", {"model": "m"})

    method, path, headers, body = proxy.asked[0]
    assert answer == {"ok": 1}
    assert (method, path, json.loads(body)) == ("POST", "/api/v1/explain", {"model": "m"})
    assert headers["authorization"] == "Bearer secret-key"
    assert headers["content-type"] == "application/json"


def test_without_a_key_none_is_sent_and_no_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with scripted(200, []) as proxy:
        assert ProxyClient(proxy.url, None).get("/api/v1/models") == []

    assert "authorization" not in proxy.asked[0][2]


@pytest.mark.parametrize("key", ["schlüssel", "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="key") as refusal:
        ProxyClient("http://127.0.0.1:9", key)
    assert key not in refusal.value.message


def test_the_proxys_own_error_keeps_its_words() -> None:
    error = {
        "message": "no model x",
        "type": "not_found_error",
        "param": "model",
        "code": "attune_unknown_model",
    }
    with scripted(404, {"error": error}) as proxy, pytest.raises(UpstreamRefused) as refusal:
        ProxyClient(proxy.url, None).get("/x")

    assert (refusal.value.status, refusal.value.message) == (404, "no model x")
    assert refusal.value.body() == {"error": error}


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>"), (502, "<html>"), (404, {"detail": "?"}), (500, [])]
)
def test_an_answer_that_is_not_attunes_is_said_to_be(status: int, body: object) -> None:
    with (
        scripted(status, body) as proxy,
        pytest.raises(UpstreamBroken, match=f"{status}.*is it a running Attune"),
    ):
        ProxyClient(proxy.url, None).get("/x")


def test_where_nobody_listens_it_is_said_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UpstreamUnreachable) as refusal:
        ProxyClient(f"http://127.0.0.1:{port}", None).get("/x")

    assert f"http://127.0.0.1:{port}" in refusal.value.message
    assert "attune serve" in refusal.value.message
    assert "--url" in refusal.value.message


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:port", "http://"])
def test_an_address_that_is_none_is_an_error_in_words(url: str) -> None:
    with pytest.raises(AttuneError):
        ProxyClient(url, None).get("/x")


def test_a_proxy_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UpstreamTimeout, match="too long"):
        ProxyClient(f"http://127.0.0.1:{silent.getsockname()[1]}", None).get("/x")


def test_a_connection_that_breaks_off() -> None:
    with scripted(200, "x") as proxy:
        proxy.answer = (-1, "")
        with pytest.raises(UpstreamBroken):
            ProxyClient(proxy.url, None).get("/x")
