from __future__ import annotations

import pytest

from proxy.backends.facts import ModelFacts, Target, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.32.15", (0, 32, 15)),
        ("v0.32.15", (0, 32, 15)),
        ("0.33.0-rc2", (0, 33, 0)),
        ("0.32.0+cpu", (0, 32, 0)),
        ("0.24", (0, 24, 0)),
        ("1.2.3.post4", (1, 2, 3)),
        ("0.0.0", None),
        ("0.0", None),
        ("", None),
        ("latest", None),
        ("12", None),
        (None, None),
        ("9" * 6000 + ".0.0", None),
    ],
)
def test_versions(text: str | None, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("mine", "asked", "expected"),
    [
        ("0.24.0", (0, 24), True),
        ("0.23.9", (0, 24), False),
        ("0.7.0", (0, 7, 0), True),
        ("0.6.8", (0, 7, 0), False),
        ("0.10.0", (0, 9, 0), True),
        ("1.0.0", (0, 99, 0), True),
        ("0.5.0", (0,), True),
        (None, (99, 0), True),
        ("0.0.0", (99, 0), True),
        ("main", (99, 0), True),
    ],
)
def test_an_unknown_version_counts_as_the_newest(
    mine: str | None, asked: tuple[int, ...], expected: bool
) -> None:
    assert Target("u", "ollama", mine).since(*asked) is expected


@pytest.mark.parametrize(
    ("version", "label", "code"),
    [
        ("0.32.15", "ollama 0.32.15", "unsupported-by-ollama-0.32"),
        ("0.33.0-rc2", "ollama 0.33.0-rc2", "unsupported-by-ollama-0.33"),
        ("0.0.0", "ollama 0.0.0", "unsupported-by-ollama"),
        (None, "ollama", "unsupported-by-ollama"),
    ],
)
def test_how_a_target_is_called(version: str | None, label: str, code: str) -> None:
    target = Target("u", "ollama", version)
    assert (target.label, target.unsupported_code) == (label, code)


def test_what_a_model_can() -> None:
    facts = ModelFacts("m", capabilities=frozenset({"completion", "tools"}))
    assert (facts.can("tools"), facts.can("thinking")) == (True, False)
    assert ModelFacts("m").can("tools") is None
    assert ModelFacts("m", capabilities=frozenset()).can("tools") is False


def test_what_is_assumed_of_a_model_that_nothing_is_known_of() -> None:
    facts = ModelFacts("m")
    assert (facts.context, facts.loaded, facts.format, facts.remote, dict(facts.parameters)) == (
        None,
        None,
        None,
        False,
        {},
    )
    assert Target("u", "ollama").num_ctx == "bucket"
