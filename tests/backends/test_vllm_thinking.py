"""Thinking as vLLM hears of it: by a template's switch, by an effort, or by both."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.parameters.families import Family
from tests.backends import cases
from tests.backends.test_vllm import NEWEST, VLLM, say

SWITCHES = {
    "enable_thinking": cases.family("qwen3", default="on", switch="enable_thinking"),
    "thinking": cases.family("granite", default="off", switch="thinking"),
    "reasoning_effort": cases.family("small-4", default="off", switch="reasoning_effort"),
}


@pytest.mark.parametrize(
    ("switch", "think", "fields"),
    [
        ("enable_thinking", True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("enable_thinking", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            "enable_thinking",
            "high",
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
        ),
        ("thinking", True, {"chat_template_kwargs": {"thinking": True}}),
        ("thinking", False, {"chat_template_kwargs": {"thinking": False}}),
        ("reasoning_effort", True, {"reasoning_effort": "medium"}),
        ("reasoning_effort", False, {"reasoning_effort": "none"}),
        ("reasoning_effort", "max", {"reasoning_effort": "max"}),
    ],
)
@pytest.mark.parametrize("spelling", ["think", "enable_thinking", "thinking", "reasoning_effort"])
def test_thinking_is_said_as_the_family_wants_it(spelling: str, switch: str, think: Any, fields: Any) -> None:
    kwargs = spelling not in ("think", "reasoning_effort")
    asked = {"chat_template_kwargs": {spelling: think}} if kwargs else {spelling: think}
    translation = say(asked, of=SWITCHES[switch])
    assert translation.fields == fields
    assert cases.changes(translation) == {}


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            {"reasoning_effort": "none"},
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
        ),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"thinking": True}},
            {"chat_template_kwargs": {"thinking": False}},
        ),
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ({"chat_template_kwargs": {"thinking": False}}, {"chat_template_kwargs": {"thinking": False}}),
        (
            {"chat_template_kwargs": {"enable_thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
        ({"chat_template_kwargs": {"reasoning_effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"chat_template_kwargs": {"tone": "dry", "thinking": True}},
            {"chat_template_kwargs": {"tone": "dry", "thinking": True}},
        ),
        ({"chat_template_kwargs": {"tone": "dry"}}, {"chat_template_kwargs": {"tone": "dry"}}),
    ],
)
@pytest.mark.parametrize("of", [None, cases.family("no-switch", default="on")])
def test_where_no_switch_is_known_the_clients_own_is_used(of: Family | None, asked: Any, fields: Any) -> None:
    if of is not None and "think" in asked:
        translation = say(asked, of=of)
        assert translation.fields == {}
        assert translation.resolution.dropped["think"].code == "no-thinking-switch"
        return
    assert say(asked, of=of).fields == fields


@pytest.mark.parametrize(
    ("default", "think", "harmless"),
    [("always", False, False), ("always", True, True), ("never", True, False), ("never", False, True)],
)
def test_a_family_that_cannot_be_switched(default: str, think: bool, harmless: bool) -> None:
    translation = say({"think": think}, of=cases.family("f", default=default))
    gone = translation.resolution.dropped["think"]
    assert translation.fields == {}
    assert (gone.reason, gone.code, gone.harmless) == (
        f"f {default} thinks",
        f"family-{default}-thinks",
        harmless,
    )


GPT_OSS = cases.family(
    "gpt-oss", default="always", switch="reasoning_effort", levels=["low", "medium", "high"]
)
SMALL_4 = cases.family("small-4", default="off", switch="reasoning_effort", levels=["none", "high"])
DEEPSEEK = cases.family("deepseek", default="off", switch="thinking", levels=["high", "max"])


@pytest.mark.parametrize(
    ("of", "think", "fields", "held"),
    [
        (GPT_OSS, False, {"reasoning_effort": "low"}, "family gpt-oss: thinking cannot be turned off"),
        (GPT_OSS, "max", {"reasoning_effort": "high"}, "family gpt-oss: one of low, medium, high"),
        (GPT_OSS, True, {"reasoning_effort": "medium"}, None),
        (SMALL_4, False, {"reasoning_effort": "none"}, None),
        (SMALL_4, "minimal", {"reasoning_effort": "high"}, "family small-4: one of none, high"),
        (SMALL_4, True, {"reasoning_effort": "high"}, None),
        (
            DEEPSEEK,
            "low",
            {"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "high"},
            "family deepseek: one of high, max",
        ),
        (DEEPSEEK, "max", {"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "max"}, None),
        (DEEPSEEK, True, {"chat_template_kwargs": {"thinking": True}}, None),
        (DEEPSEEK, False, {"chat_template_kwargs": {"thinking": False}}, None),
    ],
)
def test_a_family_hears_only_levels_it_knows(of: Family, think: Any, fields: Any, held: str | None) -> None:
    translation = say({"think": think}, of=of)
    assert translation.fields == fields
    assert cases.changes(translation) == ({"think": held} if held else {})


@pytest.mark.parametrize("version", ["0.10.2", "0.17.0", "0.18.0", "0.22.0", NEWEST, None])
@pytest.mark.parametrize("of", [None, cases.family("no-switch", default="on"), *SWITCHES.values()])
def test_no_effort_switches_thinking_off_whatever_the_version(of: Family | None, version: str | None) -> None:
    translation = say({"reasoning_effort": "none"}, version, of)
    switch = next((name for name, family in SWITCHES.items() if family is of), "enable_thinking")
    effort, word = translation.fields.get("reasoning_effort"), "none"
    if switch == "reasoning_effort":
        assert effort == (word if version not in ("0.10.2", "0.17.0") else "low")
    else:
        assert translation.fields["chat_template_kwargs"] == {switch: False}
        assert effort in (None, word) and (effort is None or version not in ("0.10.2", "0.17.0"))
        assert cases.changes(translation) == {}


def test_ultra_is_held_to_the_most_that_is_taken_and_said() -> None:
    for version, most in ((NEWEST, "max"), ("0.21.0", "high")):
        translation = say({"reasoning_effort": "ultra"}, version)
        assert translation.fields["reasoning_effort"] == most
        assert cases.changes(translation)["think"].endswith(f", {most}")
    assert cases.changes(say({"think": "ultra"}, of=GPT_OSS)) == {
        "think": "family gpt-oss: one of low, medium, high"
    }


def test_a_rules_template_argument_is_above_the_clients_thinking() -> None:
    rules = {"chat_template_kwargs": {"enable_thinking": False}}
    translation = cases.translate(VLLM, {"think": True}, cases.target("vllm", NEWEST), rules=rules)
    assert translation.fields == {"chat_template_kwargs": {"enable_thinking": False}}
    assert translation.resolution.dropped["think"].code == "overruled"
