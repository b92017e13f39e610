from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate, Change, Decided, Dropped, Resolution

VENDOR = Candidate(Layer.VENDOR, "family llama-3", 0.6)
ASKED = Candidate(Layer.CLIENT, "request", 1.6)


def test_a_clamped_client_value_in_the_documented_shape() -> None:
    decided = Decided(
        1.6, Layer.CLIENT, "request", (VENDOR,), wire="options.temperature", asked=ASKED
    ).held(1.0, "family llama-3: max 1.0")  # fmt: skip
    assert decided.to_json() == {
        "value": 1.0,
        "layer": "client",
        "source": "request",
        "requested": 1.6,
        "wire": "options.temperature",
        "clamped": {"from": 1.6, "by": "family llama-3: max 1.0"},
        "passed_over": [{"layer": "vendor", "source": "family llama-3", "value": 0.6}],
    }


def test_a_plain_value_says_no_more_than_there_is() -> None:
    shown = Decided(0.7, Layer.RUNTIME, "Modelfile").to_json()
    assert shown == {"value": 0.7, "layer": "runtime", "source": "Modelfile", "wire": None}


def test_the_first_of_several_clamps_knows_what_was_asked() -> None:
    decided = Decided(9000, Layer.CLIENT, "request").held(8192, "a").held(4096, "b")
    assert decided.value == 4096
    assert decided.to_json()["clamped"] == {"from": 9000, "by": "a; b"}


def test_holding_leaves_the_original_alone() -> None:
    decided = Decided(9000, Layer.CLIENT, "request")
    decided.held(8192, "a")
    assert (decided.value, decided.clamps) == (9000, ())


def test_what_was_appended_and_forgotten_is_said() -> None:
    decided = Decided(
        ["a", "b"], Layer.PROFILE, "profile p", appended=(Change(["b"], "rule r"),),
        asked=replace(ASKED, value=["x"]), forgotten_by="rule quirk",
    )  # fmt: skip
    shown = decided.to_json()
    assert shown["appended"] == [{"items": ["b"], "by": "rule r"}]
    assert shown["forgotten"] == {"value": ["x"], "by": "rule quirk"}
    assert shown["requested"] == ["x"]


def test_evidence_belongs_to_recommendations() -> None:
    evidence = "model card (grade B)"
    assert Decided(0.6, Layer.VENDOR, "family f", evidence=evidence).to_json()["evidence"] == evidence
    assert replace(VENDOR, evidence=evidence).to_json()["evidence"] == evidence
    assert "evidence" not in VENDOR.to_json()


def test_a_dropped_value_in_the_documented_shape() -> None:
    gone = Dropped(2, Layer.CLIENT, "request", "ignored by ollama since 0.7.0", "unsupported-by-ollama-0.32")
    assert gone.to_json() == {
        "value": 2,
        "layer": "client",
        "source": "request",
        "reason": "ignored by ollama since 0.7.0",
    }


def test_what_the_client_asked_for_is_what_it_misses() -> None:
    """Whoever won: a value that was overruled and then dropped is still the client's to hear of."""
    overruled = Decided(0.2, Layer.RULE_SET, "rule r", (ASKED,), asked=ASKED)
    gone = overruled.dropped("why", "code")
    assert (gone.value, gone.layer, gone.source, gone.harmless) == (1.6, Layer.CLIENT, "request", False)
    clamped = Decided(1.6, Layer.CLIENT, "request", asked=ASKED).held(1.0, "a")
    assert clamped.dropped("why", "code").value == 1.6


@pytest.mark.parametrize(("value", "harmless"), [(0, False), (1.6, True)])
def test_what_is_harmless_to_leave_out_is_not_what_the_client_asked_for(value: float, harmless: bool) -> None:
    outcome = Decided(value, Layer.RULE_SET, "rule r", (ASKED,), asked=ASKED)
    assert outcome.dropped("why", "code", harmless=True).harmless is harmless
    assert not outcome.dropped("why", "code").harmless


def test_a_value_that_no_client_named_is_dropped_as_its_own() -> None:
    gone = Decided(0.2, Layer.RULE_SET, "rule r").dropped("why", "code", harmless=True)
    assert gone == Dropped(0.2, Layer.RULE_SET, "rule r", "why", "code", True)


def test_only_what_is_sent_has_a_value() -> None:
    resolution = Resolution(
        {
            "top_k": Decided(0, Layer.CLIENT, "request"),
            "top_p": Decided(0.9, Layer.RUNTIME, "Modelfile"),
        }
    )
    assert resolution.value("top_k") == 0
    assert resolution.value("top_p") is None
    assert resolution.value("seed") is None
    assert set(resolution.sent()) == {"top_k"}


@pytest.mark.parametrize("layer", Layer)
def test_an_outcome_is_sent_as_its_layer_is(layer: Layer) -> None:
    assert Decided(1, layer, "s").sent is layer.sent
