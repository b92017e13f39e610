from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.parameters.bounds import UNBOUNDED, Bounds, hard, of_range
from proxy.parameters.catalog import CATALOG, INT32, Range

quick = settings(deadline=None, max_examples=150)

ENDS = st.none() | st.integers(-50, 50) | st.floats(-50, 50, allow_nan=False)
RANGES = st.tuples(ENDS, ENDS).map(
    lambda ends: tuple(sorted(ends)) if None not in ends else ends  # type: ignore[type-var]
)
NUMBERS = st.integers(-100, 100) | st.floats(-100, 100, allow_nan=False)


def narrowed(ranges: Any) -> Bounds:
    bounds = UNBOUNDED
    for index, (low, high) in enumerate(ranges):
        bounds = bounds.narrow(low, high, f"s{index}")
    return bounds


def ends(bounds: Bounds) -> tuple[float | None, float | None]:
    return bounds.low.value if bounds.low else None, bounds.high.value if bounds.high else None


def inside(value: float, bounds: Bounds) -> bool:
    low, high = ends(bounds)
    return (low is None or value >= low) and (high is None or value <= high)


@quick
@given(st.lists(RANGES, max_size=6), RANGES)
def test_narrowing_never_widens_and_never_leaves_nothing(ranges: Any, more: Any) -> None:
    before = narrowed(ranges)
    after = before.narrow(*more, "more")
    (old_low, old_high), (low, high) = ends(before), ends(after)
    assert old_low is None or (low is not None and low >= old_low)
    assert old_high is None or (high is not None and high <= old_high)
    assert low is None or high is None or low <= high


@quick
@given(st.lists(RANGES, min_size=1, max_size=4))
def test_ranges_that_have_a_value_in_common_narrow_in_any_order(ranges: Any) -> None:
    lows = [low for low, _ in ranges if low is not None]
    highs = [high for _, high in ranges if high is not None]
    if lows and highs and max(lows) > min(highs):
        return
    expected = (max(lows, default=None), min(highs, default=None))
    assert {ends(narrowed(order)) for order in permutations(ranges)} == {expected}


@quick
@given(st.lists(RANGES, max_size=5), NUMBERS)
def test_a_clamped_value_is_inside_and_a_value_inside_is_untouched(ranges: Any, value: float) -> None:
    bounds = narrowed(ranges)
    held, by = bounds.clamp(value)
    assert inside(held, bounds)
    assert (by is None) == inside(value, bounds)
    if by is None:
        assert held is value
    assert bounds.clamp(held) == (held, None)


@quick
@given(NUMBERS, st.tuples(st.integers(-50, 0), st.integers(1, 50)), st.booleans())
def test_a_clamped_value_is_of_its_parameters_kind(value: float, limits: Any, whole: bool) -> None:
    """Not of the kind that the client happened to write: 2 for a temperature is held to 1.0."""
    held, by = Bounds(whole=whole).narrow(*limits, "s").clamp(value)
    if by is not None:
        assert isinstance(held, int if whole else float)


@pytest.mark.parametrize("name", CATALOG)
def test_the_hard_bounds_know_their_kind(name: str) -> None:
    assert hard(CATALOG[name]).whole == (CATALOG[name].type == "int")
    assert hard(CATALOG[name]).narrow(1, 2, "s").narrow_items(3, "s").whole == (CATALOG[name].type == "int")


def test_who_held_a_value_and_how() -> None:
    bounds = (
        of_range(Range(0.0), "temperature")
        .narrow(None, 2.0, "vllm 0.32.0")
        .narrow(None, 1.0, "family llama-3")
    )
    assert bounds.clamp(1.6) == (1.0, "family llama-3: max 1.0")
    assert bounds.clamp(-0.5) == (0.0, "temperature: min 0.0")
    assert bounds.clamp(2) == (1.0, "family llama-3: max 1.0")


def test_the_first_to_set_an_end_keeps_it_until_somebody_is_narrower() -> None:
    bounds = UNBOUNDED.narrow(None, 5, "first").narrow(None, 5, "second").narrow(None, 9, "third")
    assert bounds.clamp(6) == (5.0, "first: max 5.0")


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ((None, 3), (5, None), (3, 3)),
        ((5, None), (None, 3), (5, 5)),
        ((0, 3), (5, 9), (3, 3)),
        ((5, 9), (0, 3), (5, 5)),
    ],
)
def test_where_two_leave_nothing_the_earlier_stands(first: Any, second: Any, left: Any) -> None:
    assert ends(narrowed([first, second])) == left


@pytest.mark.parametrize("value", [True, False, "10m", None, {"a": 1}])
def test_what_has_no_size_is_not_clamped(value: Any) -> None:
    assert UNBOUNDED.narrow(5, 6, "s").narrow_items(0, "s").clamp(value) == (value, None)


def test_a_list_is_cut_at_its_end() -> None:
    bounds = UNBOUNDED.narrow_items(4, "vllm 0.32.0").narrow_items(2, "rule short")
    assert bounds.clamp(["a", "b", "c"]) == (["a", "b"], "rule short: at most 2 items")
    assert bounds.clamp(["a", "b"]) == (["a", "b"], None)


@quick
@given(st.lists(st.none() | st.integers(0, 9), max_size=5), st.lists(st.text(max_size=2), max_size=9))
def test_item_limits_only_ever_shrink_in_any_order(limits: list[int | None], items: list[str]) -> None:
    bounds = UNBOUNDED
    for most in limits:
        bounds = bounds.narrow_items(most, "s")
    least = min((most for most in limits if most is not None), default=None)
    cut, by = bounds.clamp(items)
    assert cut == (items if least is None else items[:least])
    assert (by is None) == (cut == items)


@pytest.mark.parametrize("name", ["max_tokens", "thinking_token_budget"])
def test_no_limit_stays_no_limit_where_nobody_limits(name: str) -> None:
    assert hard(CATALOG[name]).clamp(-1, unlimited=True) == (-1, None)
    assert hard(CATALOG[name]).clamp(-2, unlimited=True) == (-2, None)


def test_no_limit_is_above_every_real_limit_and_below_no_minimum() -> None:
    bounds = hard(CATALOG["max_tokens"]).narrow(128, None, "rule long")
    assert bounds.clamp(-1, unlimited=True) == (-1, None)
    assert bounds.clamp(0, unlimited=True) == (128, "rule long: min 128")
    capped = bounds.narrow(None, 4096, "rule short")
    assert capped.clamp(-1, unlimited=True) == (4096, "rule short: max 4096")


def test_no_limit_has_a_size_that_can_be_written() -> None:
    value, by = hard(CATALOG["max_tokens"]).clamp(-(2**63), unlimited=True)
    assert (value, by) == (-INT32 - 1, "max_tokens: min -2147483648")


@pytest.mark.parametrize(
    ("whole", "end", "value", "words"),
    [
        (False, 1e-9, 1e-9, "max 1e-09"),
        (False, 1.5, 1.5, "max 1.5"),
        (False, 1, 1.0, "max 1.0"),
        (True, 10, 10, "max 10"),
        (True, 10.0, 10, "max 10"),
        (True, 2**31 - 1, 2**31 - 1, "max 2147483647"),
    ],
)
def test_a_bound_is_shown_as_people_write_it(whole: bool, end: float, value: float, words: str) -> None:
    held, by = Bounds(whole=whole).narrow(None, end, "s").clamp(2**40)
    assert (held, by) == (value, f"s: {words}")
    assert type(held) is type(value)


@pytest.mark.parametrize("name", CATALOG)
def test_hard_bounds_carry_the_parameters_name(name: str) -> None:
    bounds = hard(CATALOG[name])
    assert ends(bounds) == (CATALOG[name].hard.min, CATALOG[name].hard.max)
    assert all(bound.source == name for bound in (bounds.low, bounds.high) if bound is not None)
