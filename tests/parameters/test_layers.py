from __future__ import annotations

import pytest

from proxy.parameters.layers import Layer

ORDER = (
    "runtime vendor override-runtime override-model profile rule-default experiment client rule-set".split()
)


def test_the_order_is_the_documented_one() -> None:
    assert [layer.label for layer in sorted(Layer)] == ORDER
    assert [int(layer) for layer in sorted(Layer)] == list(range(1, 10))


def test_a_later_layer_beats_an_earlier_one() -> None:
    assert Layer.RULE_SET > Layer.CLIENT > Layer.EXPERIMENT > Layer.RULE_DEFAULT > Layer.PROFILE
    assert Layer.PROFILE > Layer.OVERRIDE_MODEL > Layer.OVERRIDE_RUNTIME > Layer.VENDOR > Layer.RUNTIME


def test_only_what_the_runtime_uses_anyway_is_not_sent() -> None:
    assert [layer for layer in Layer if not layer.sent] == [Layer.RUNTIME]


@pytest.mark.parametrize("layer", Layer)
def test_every_layer_says_in_one_line_what_it_is(layer: Layer) -> None:
    assert layer.summary
    assert "\n" not in layer.summary


def test_no_two_layers_say_the_same() -> None:
    assert len({layer.summary for layer in Layer}) == len(Layer)
