import json

import pytest

from proxy.cli.banner import demo_welcome, ready_line, welcome
from proxy.settings import from_environment

LONG_ADDRESS = "http://[fe80::1234:5678:9abc:def0]:65535"
KEYED = {"ATTUNE_ADMIN_KEY": "a-secret-key"}
UPSTREAMS = ("http://127.0.0.1:11434", "http://gpu-b:8000")


@pytest.mark.parametrize(
    ("listens", "reached"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
    ],
)
def test_clients_are_told_an_address_that_they_can_reach(listens: str, reached: str) -> None:
    settings = from_environment({})

    for words in (welcome(listens, settings, UPSTREAMS), demo_welcome(listens, settings, ("demo",))):
        assert f"listens on {listens}\n" in words
        assert f'base_url="{reached}/v1"' in words
    assert f"curl -i {reached}/v1/chat/completions" in demo_welcome(listens, settings, ("demo",))
    assert json.loads(ready_line(listens, settings, UPSTREAMS))["url"] == reached


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", LONG_ADDRESS])
@pytest.mark.parametrize("environment", [{}, KEYED])
def test_no_line_is_wider_than_a_small_terminal(address: str, environment: dict[str, str]) -> None:
    settings = from_environment(environment)

    for words in (welcome(address, settings, UPSTREAMS), demo_welcome(address, settings, ("demo",))):
        assert max(map(len, words.splitlines())) <= 79


def test_each_upstream_is_named_in_its_place() -> None:
    lines = welcome("http://127.0.0.1:8080", from_environment({}), UPSTREAMS).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  upstreams "))

    assert lines[first].split() == ["upstreams", UPSTREAMS[0]]
    assert lines[first + 1].split() == [UPSTREAMS[1]]
    assert lines[first].index("http") == lines[first + 1].index("http")


def test_for_machines_it_is_one_line_of_json() -> None:
    line = ready_line("http://127.0.0.1:8080", from_environment(KEYED), UPSTREAMS)

    assert "\n" not in line
    assert json.loads(line) == {
        "event": "ready",
        "url": "http://127.0.0.1:8080",
        "upstreams": list(UPSTREAMS),
    }


def test_with_a_key_the_examples_have_a_place_for_it() -> None:
    settings = from_environment(KEYED)
    demo = demo_welcome("http://127.0.0.1:8080", settings, ("demo",))
    serve = welcome("http://127.0.0.1:8080", settings, UPSTREAMS)

    assert "Authorization: Bearer YOUR-KEY" in demo
    assert 'api_key="YOUR-KEY"' in demo
    assert "your key" in serve
    assert "a-secret-key" not in demo + serve
