from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.backends.backend import Case, Draft
from proxy.backends.ollama import OllamaBackend
from proxy.backends.ollama_load import SMALLEST_BUCKET, hold_context
from proxy.parameters.bounds import Bounds, hard
from proxy.parameters.catalog import CATALOG
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Decided, Resolution
from tests.backends import cases

OLLAMA = OllamaBackend()
HARD = hard(CATALOG["num_ctx"])
POLICIES = ("pin", "bucket", "free")
LENGTHS = st.integers(4, 300_000)


def hold(asked: int, policy: str, limits: Bounds = HARD, **facts: Any) -> Decided:
    """What becomes of a `num_ctx` that was clamped to `limits`."""
    case = Case(cases.target("ollama", num_ctx=policy, **facts), None, "thinking", bounds={"num_ctx": limits})
    draft = Draft(Resolution({"num_ctx": Decided(asked, Layer.CLIENT, "request")}), case.target)
    hold_context(draft, case)
    return draft.done().resolution.parameters["num_ctx"]


@pytest.mark.parametrize(
    ("policy", "loaded", "asked", "sent"),
    [
        ("pin", 8192, 4096, 8192),
        ("pin", 8192, 8192, 8192),
        ("pin", 8192, 32768, 8192),
        ("pin", None, 5000, 5000),
        ("bucket", 8192, 4096, 8192),
        ("bucket", 8192, 8192, 8192),
        ("bucket", 8192, 8193, 16384),
        ("bucket", 8192, 32768, 32768),
        ("bucket", 5000, 5000, 5000),
        ("bucket", None, 5000, 8192),
        ("bucket", None, 100, SMALLEST_BUCKET),
        ("bucket", None, 2048, 2048),
        ("bucket", None, 2049, 4096),
        ("free", 8192, 4096, 4096),
        ("free", 8192, 5000, 5000),
        ("free", None, 5000, 5000),
    ],
)
def test_policies(policy: str, loaded: int | None, asked: int, sent: int) -> None:
    decided = hold(asked, policy, loaded=loaded)
    assert decided.value == sent
    assert bool(decided.clamps) == (sent != asked)
    if decided.clamps:
        assert decided.clamps[0].before == asked
        assert decided.clamps[0].by.startswith(f"num_ctx {policy}: ")


def test_who_held_it_is_said_with_the_length() -> None:
    assert hold(4096, "pin", loaded=8192).clamps[0].by == "num_ctx pin: the model is loaded with 8192"
    assert hold(5000, "bucket").clamps[0].by == "num_ctx bucket: next size that many requests can share, 8192"


@pytest.mark.parametrize(
    ("policy", "loaded", "ceiling", "asked", "sent"),
    [
        ("bucket", None, 6000, 5000, 6000),
        ("bucket", None, 6000, 6000, 6000),
        ("bucket", None, 1000, 500, 1000),
        ("bucket", 32768, 8192, 8192, 8192),
        ("bucket", 32768, 8192, 5000, 8192),
        ("pin", 32768, 8192, 5000, 5000),
        ("pin", 8192, 8192, 5000, 8192),
    ],
)
def test_nothing_is_held_beyond_what_a_rule_allows(
    policy: str, loaded: int | None, ceiling: int, asked: int, sent: int
) -> None:
    limits = HARD.narrow(None, ceiling, "rule short")
    assert hold(asked, policy, limits, loaded=loaded).value == sent


def test_a_loaded_length_below_a_rules_minimum_is_not_kept() -> None:
    limits = HARD.narrow(16384, None, "rule long")
    assert hold(16384, "pin", limits, loaded=4096).value == 16384
    assert hold(16384, "bucket", limits, loaded=4096).value == 16384
    assert hold(20000, "pin", limits, loaded=16384).value == 16384


@settings(deadline=None, max_examples=150)
@given(LENGTHS, st.sampled_from(POLICIES), st.none() | LENGTHS, st.none() | LENGTHS, st.none() | LENGTHS)
def test_what_is_sent_is_inside_the_range_and_settles(
    asked: int, policy: str, loaded: int | None, low: int | None, high: int | None
) -> None:
    limits = HARD.narrow(low, None, "a").narrow(None, high, "b")
    asked, _ = limits.clamp(asked)
    sent = hold(asked, policy, limits, loaded=loaded).value
    assert isinstance(sent, int)
    assert limits.clamp(sent) == (sent, None)
    if policy == "free":
        assert sent == asked
    if policy == "bucket":
        assert sent >= asked
    # once the model is loaded so, the same request never reloads it
    assert hold(asked, policy, limits, loaded=sent).value == sent


@settings(deadline=None, max_examples=80)
@given(st.lists(LENGTHS, min_size=1, max_size=12))
def test_buckets_make_a_model_grow_a_few_times_and_then_stay(requests: list[int]) -> None:
    loaded: int | None = None
    reloads = 0
    for asked in requests:
        sent = hold(asked, "bucket", loaded=loaded).value
        reloads += sent != loaded
        assert loaded is None or sent >= loaded
        loaded = sent
    assert reloads <= 9  # 2048 doubled until it holds 300000


@pytest.mark.parametrize("policy", POLICIES)
def test_a_cloud_models_context_is_not_ours(policy: str) -> None:
    target = cases.target("ollama", num_ctx=policy, remote=True, context=131072)
    translation = cases.translate(OLLAMA, {"num_ctx": 8192}, target)
    assert translation.fields == {}
    assert translation.resolution.dropped["num_ctx"].code == "cloud-model"


@pytest.mark.parametrize(
    ("asked", "context", "sent", "by"),
    [
        (32768, 8192, 8192, "m: trained context: max 8192"),
        (0, 8192, 2048, "num_ctx: min 4; num_ctx bucket: next size that many requests can share, 2048"),
        (-5, None, 2048, "num_ctx: min 4; num_ctx bucket: next size that many requests can share, 2048"),
        (8192, 8192, 8192, ""),
        (8192, None, 8192, ""),
    ],
)
def test_the_trained_context_is_the_end(asked: int, context: int | None, sent: int, by: str) -> None:
    translation = cases.translate(OLLAMA, {"num_ctx": asked}, cases.target("ollama", context=context))
    assert translation.fields == {"options": {"num_ctx": sent}}
    assert cases.changes(translation).get("num_ctx", "") == by


def test_nobody_asks_nothing_is_sent() -> None:
    target = cases.target("ollama", num_ctx="pin", loaded=8192)
    assert cases.translate(OLLAMA, {"top_k": 5}, target).fields == {"options": {"top_k": 5}}


def test_what_a_modelfile_says_is_shown_and_not_held() -> None:
    case = Case(cases.target("ollama", loaded=8192), None, "thinking")
    draft = Draft(Resolution({"num_ctx": Decided(5000, Layer.RUNTIME, "Modelfile")}), case.target)
    hold_context(draft, case)
    assert draft.done().resolution.parameters["num_ctx"] == Decided(5000, Layer.RUNTIME, "Modelfile")
