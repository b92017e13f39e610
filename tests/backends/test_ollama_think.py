from __future__ import annotations

from typing import Any

import pytest

from proxy.backends.backend import Translation
from proxy.backends.ollama import OllamaBackend
from proxy.backends.ollama_think import LEVELS
from proxy.parameters.families import Family
from tests.backends import cases

OLLAMA = OllamaBackend()
NEWEST = "0.32.15"
CAN = frozenset({"completion", "thinking"})
CANNOT = frozenset({"completion", "tools"})

GPT_OSS = cases.family(
    "gpt-oss", default="always", switch="reasoning_effort", levels=["low", "medium", "high"]
)
SMALL_4 = cases.family("small-4", default="off", switch="reasoning_effort", levels=["none", "high"])
QWEN = cases.family("qwen3", default="on", switch="enable_thinking")
DEEPSEEK = cases.family("deepseek", default="off", switch="thinking", levels=["high", "max"])
PLAIN = cases.family("llama-3", default="never")


def say(
    think: Any, version: str | None = NEWEST, of: Family | None = None, can: frozenset[str] | None = CAN
) -> Translation:
    return cases.translate(OLLAMA, {"think": think}, cases.target("ollama", version, capabilities=can), of)


@pytest.mark.parametrize("of", [None, QWEN])
@pytest.mark.parametrize("think", [True, False, *LEVELS])
def test_what_ollama_knows_is_sent_as_it_is(think: Any, of: Family | None) -> None:
    translation = say(think, of=of)
    assert translation.fields == {"think": think}
    assert cases.changes(translation) == {}
    assert cases.wires(translation) == {"think": "think"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("none", False), ("minimal", "low"), ("xhigh", "max"), ("ultra", "max"), ("high", "high")],
)
def test_openais_levels_in_ollamas_words(asked: str, sent: Any) -> None:
    translation = say(asked)
    assert translation.fields == {"think": sent}
    held = asked in ("minimal", "xhigh", "ultra")
    assert cases.changes(translation) == (
        {"think": f"ollama {NEWEST}: one of {', '.join(LEVELS)}"} if held else {}
    )


@pytest.mark.parametrize("think", [True, False, "low"])
def test_a_model_that_cannot_think_is_never_asked_to(think: Any) -> None:
    """Ollama answers 400 to it."""
    translation = say(think, can=CANNOT)
    assert translation.fields == {}
    gone = translation.resolution.dropped["think"]
    assert (gone.reason, gone.code, gone.harmless) == ("m cannot think", "model-cannot-think", think is False)


@pytest.mark.parametrize("of", [PLAIN, cases.family("mine", default="never")])
def test_what_the_upstream_says_of_a_model_beats_what_its_family_says(of: Family) -> None:
    assert say(True, of=of).fields == {"think": True}
    assert say(True, of=of, can=None).fields == {}
    assert say(True, of=QWEN, can=CANNOT).fields == {}


def test_nothing_known_nothing_dropped() -> None:
    assert say(True, can=None).fields == {"think": True}
    assert say(True, of=QWEN, can=None).fields == {"think": True}
    unsaid = Family.model_validate({"name": "mine", "match": ["*"]})
    assert say(True, of=unsaid, can=None).fields == {"think": True}


@pytest.mark.parametrize(
    ("of", "think", "sent", "by"),
    [
        (GPT_OSS, True, True, None),
        (GPT_OSS, "low", "low", None),
        (GPT_OSS, False, "low", "family gpt-oss: thinking cannot be turned off"),
        (GPT_OSS, "max", "high", "family gpt-oss: one of low, medium, high"),
        (GPT_OSS, "xhigh", "high", "family gpt-oss: one of low, medium, high"),
        (GPT_OSS, "ultra", "high", "family gpt-oss: one of low, medium, high"),
        (GPT_OSS, "minimal", "low", "family gpt-oss: one of low, medium, high"),
        (SMALL_4, False, False, None),
        (SMALL_4, "low", "high", "family small-4: one of high"),
        (SMALL_4, True, True, None),
        (DEEPSEEK, "low", "high", "family deepseek: one of high, max"),
        (DEEPSEEK, "max", "max", None),
        (DEEPSEEK, False, False, None),
        (DEEPSEEK, True, True, None),
    ],
)
def test_levels_of_a_family(of: Family, think: Any, sent: Any, by: str | None) -> None:
    translation = say(think, of=of)
    assert translation.fields == {"think": sent}
    assert cases.changes(translation) == ({"think": by} if by else {})


def test_a_family_whose_levels_ollama_does_not_take() -> None:
    odd = cases.family("odd", default="on", switch="reasoning_effort", levels=["minimal", "xhigh"])
    assert say("minimal", of=odd).fields == {"think": "low"}


@pytest.mark.parametrize(
    ("version", "think", "sent"),
    [
        ("0.22.0", "max", "max"),
        ("0.21.9", "max", "high"),
        ("0.21.9", "xhigh", "high"),
        ("0.21.9", "low", "low"),
        ("0.11.1", "low", "low"),
        ("0.11.0", "low", True),
        ("0.11.0", False, False),
        ("0.9.0", True, True),
        ("0.9.0", "high", True),
        ("0.0.0", "max", "max"),
        (None, "max", "max"),
    ],
)
def test_versions_differ(version: str | None, think: Any, sent: Any) -> None:
    translation = say(think, version)
    assert translation.fields == {"think": sent}
    assert bool(cases.changes(translation)) == (sent != think)


@pytest.mark.parametrize("think", [True, False, "high"])
def test_before_ollama_knew_of_thinking(think: Any) -> None:
    gone = say(think, "0.8.0", can=None).resolution.dropped["think"]
    assert gone.reason == "unknown to ollama before 0.9.0"
    assert (gone.code, gone.harmless) == ("unsupported-by-ollama-0.8", think is False)


def test_a_family_of_levels_on_a_version_without_them() -> None:
    low_or_max = cases.family("f", default="on", switch="reasoning_effort", levels=["low", "max"])
    assert say(False, "0.11.0", of=GPT_OSS).fields == {"think": True}
    assert say("max", "0.15.0", of=low_or_max).fields == {"think": "low"}


def test_not_said_is_not_sent() -> None:
    target = cases.target("ollama", NEWEST, capabilities=CANNOT)
    translation = cases.translate(OLLAMA, {"top_k": 1}, target, QWEN)
    assert translation.fields == {"options": {"top_k": 1}}
    assert cases.changes(translation) == {}
