"""A model's parameter schema: what an entry may say, and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.parameters.catalog import CATALOG
from proxy.parameters.schema import ParameterSchema, faults


def wrong(name: str, entry: dict[str, Any]) -> list[tuple[str, str]]:
    found = faults(CATALOG[name], ParameterSchema.model_validate(entry))
    return [(".".join(fault.path), fault.words) for fault in found]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        (
            "temperature",
            {"type": "float", "default": 0.7, "min": 0.0, "max": 1.0, "step": 0.05, "desc": "how warm"},
        ),
        ("temperature", {}),
        ("temperature", {"min": 1, "max": 1, "default": 1}),
        ("top_k", {"max": 50, "runtime": {"ollama": {"default": 40}, "vllm": {"max": 20, "default": 20}}}),
        ("num_ctx", {"options": [4096, 8192.0], "default": 8192}),
        ("mirostat", {"type": "enum", "options": [0, 2], "default": 0}),
        ("think", {"options": [False, "low", "high"], "default": "none"}),
        ("stop", {"default": ["x"], "max": 4}),
        ("stop", {"default": "x"}),
        ("keep_alive", {"default": "10m"}),
        ("use_mmap", {"default": False}),
        ("seed", {"default": None}),
    ],
)
def test_entries_that_make_sense(name: str, entry: dict[str, Any]) -> None:
    assert wrong(name, entry) == []


@pytest.mark.parametrize(
    ("name", "entry", "path", "words"),
    [
        ("temperature", {"type": "int"}, "type", "temperature is of type float, not int"),
        ("temperature", {"min": 2, "max": 1}, "min", "min 2 is above max 1"),
        ("temperature", {"max": -1}, "max", "temperature is never below 0, so max -1 leaves nothing"),
        ("top_p", {"min": 1.5}, "min", "top_p is never above 1, so min 1.5 leaves nothing"),
        ("top_k", {"max": 1.5}, "max", "max must be an integer, not 1.5"),
        ("stop", {"max": 1.5}, "max", "max must be an integer, not 1.5"),
        ("stop", {"min": 1}, "min", "stop is not a number, so it has no min"),
        ("use_mmap", {"max": 1}, "max", "use_mmap is not a number, so it has no max"),
        ("temperature", {"default": "hot"}, "default", 'temperature must be a number, not "hot"'),
        ("temperature", {"default": 2, "max": 1}, "default", "default 2 is above max 1"),
        ("temperature", {"default": 0, "min": 0.5}, "default", "default 0 is below min 0.5"),
        ("stop", {"default": ["a", "b"], "max": 1}, "default", 'default ["a", "b"] is above max 1'),
        ("mirostat", {"options": [0, 3]}, "options", "mirostat must be one of 0, 1, 2, not 3"),
        ("mirostat", {"options": [0, 1], "default": 2}, "default", "default 2 is not one of the options [0, 1]"),
        ("top_k", {"max": 9, "runtime": {"vllm": {"min": 10}}}, "runtime.vllm.min", "min 10 is above max 9"),
        ("top_k", {"max": 9, "runtime": {"vllm": {"default": 10}}}, "runtime.vllm.default", "default 10 is above max 9"),
    ],
)  # fmt: skip
def test_entries_that_make_none(name: str, entry: dict[str, Any], path: str, words: str) -> None:
    assert wrong(name, entry) == [(path, words)]


def test_an_entry_s_own_fault_is_not_repeated_for_each_runtime() -> None:
    entry = {"default": 10, "max": 9, "runtime": {"vllm": {"desc": "x"}, "ollama": {"default": 1}}}
    assert wrong("top_k", entry) == [("default", "default 10 is above max 9")]


@pytest.mark.parametrize(
    "entry",
    [
        {"typ": "float"},
        {"type": "number"},
        {"min": "0"},
        {"max": float("nan")},
        {"max": True},
        {"step": 0},
        {"options": []},
        {"runtime": {"sglang": {}}},
        {"runtime": {"vllm": {"type": "float"}}},
        {"desc": 5},
    ],
)
def test_what_an_entry_does_not_take(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ParameterSchema.model_validate(entry)
