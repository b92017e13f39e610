"""Where an upstream listens."""

import dataclasses
from math import inf

import pytest

from proxy.errors import ConfigurationError
from proxy.upstream.origin import Origin, Timeouts


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://127.0.0.1:11434", Origin("http", "127.0.0.1", 11434, ""), "127.0.0.1:11434"),
        ("http://gpu-a", Origin("http", "gpu-a", 80, ""), "gpu-a"),
        ("http://gpu-a:80/", Origin("http", "gpu-a", 80, ""), "gpu-a"),
        ("https://gpu-a/", Origin("https", "gpu-a", 443, ""), "gpu-a"),
        ("https://gpu-a:80", Origin("https", "gpu-a", 80, ""), "gpu-a:80"),
        ("HTTP://GPU-A:8000/Base/V1//", Origin("http", "gpu-a", 8000, "/Base/V1"), "gpu-a:8000"),
        ("http://[::1]:8000", Origin("http", "::1", 8000, ""), "[::1]:8000"),
        ("https://[2001:db8::1]", Origin("https", "2001:db8::1", 443, ""), "[2001:db8::1]"),
    ],
)
def test_parse(url, origin, authority):
    assert Origin.parse(url) == origin
    assert Origin.parse(url).authority == authority


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "http:// or https://"),
        ("gpu-a:8000", "http:// or https://"),
        ("//gpu-a", "http:// or https://"),
        ("ftp://gpu-a", "http:// or https://"),
        ("unix:/run/ollama.sock", "http:// or https://"),
        ("http://", "host name"),
        ("http://:8000", "host name"),
        ("http:///v1", "host name"),
        ("http://[fe80::1%25eth0]:80", "host name"),
        ("http://gpu-a\\@evil", "user name"),
        ("http://gpu-a\\evil", "host name"),
        ("http://gpu-a:eight", "cannot be read"),
        ("http://gpu-a:65536", "cannot be read"),
        ("http://gpu-a:-1", "cannot be read"),
        ("http://gpu-a:0", "1 to 65535"),
        ("http://[::1", "cannot be read"),
        ("http://gpu-a?", "query"),
        ("http://gpu-a/v1?x=1", "query"),
        ("http://gpu-a/#x", "fragment"),
        ("http://gpu-a#", "fragment"),
        ("http://gpu a", "printable ASCII"),
        ("http://gpu-a/\r\nx: y", "printable ASCII"),
        ("http://gpu-a\t", "printable ASCII"),
        ("http://gpü-a", "printable ASCII"),
        ("http://gpu-a/\x7f", "printable ASCII"),
    ],
)
def test_refused(url, words):
    with pytest.raises(ConfigurationError, match=words):
        Origin.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://somebody:hunter2@gpu-a",
        "http://hunter2@gpu-a:8000",
        "http://x:hunter2@gpu-a:port",
        "ftp://x:hunter2@gpu-a",
        "http://gpu-a/?key=hunter2",
        "http://gpu-a/#hunter2",
        "http://x:hunter2@gpu-a:99999",
        "http://x:hunter2@[::1",
        "http://x:hunter2@gpu-a:0",
        "http://x:hunter2/y@gpu-a:0",
    ],
)
def test_a_refusal_repeats_no_secret(url):
    with pytest.raises(ConfigurationError) as refusal:
        Origin.parse(url)
    assert "hunter2" not in refusal.value.message
    assert refusal.value.__cause__ is None


def test_an_origin_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Origin.parse("http://gpu-a").port = 1


def test_defaults():
    assert Timeouts() == Timeouts(connect=5.0, first_byte=300.0, idle=120.0, total=None)


@pytest.mark.parametrize(
    ("timeouts", "soonest"),
    [
        (Timeouts(), 120.0),
        (Timeouts(first_byte=1), 1),
        (Timeouts(first_byte=None, idle=None), inf),
        (Timeouts(first_byte=None, idle=None, total=3), 3),
    ],
)
def test_soonest(timeouts, soonest):
    assert timeouts.soonest == soonest
