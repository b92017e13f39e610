"""Which upstream comes first: load by weight, turns, and who comes last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.selection import LeastLoaded


@dataclass
class Fake:
    weight: int = 1
    active: int = 0
    full: bool = False
    up: bool = True


def first(*candidates: Fake) -> int:
    return LeastLoaded().order(candidates)[0]


def test_the_one_with_the_fewest_requests() -> None:
    assert LeastLoaded().order([Fake(active=3), Fake(active=1), Fake(active=2)]) == [1, 2, 0]


@pytest.mark.parametrize(
    ("heavy", "light", "expected"),
    [(0, 0, 0), (1, 0, 0), (3, 0, 1), (3, 1, 0), (4, 1, 0), (6, 1, 1)],
)
def test_requests_count_per_weight(heavy: int, light: int, expected: int) -> None:
    policy = LeastLoaded(turn=1)
    assert policy.order([Fake(3, heavy), Fake(1, light)])[0] == expected


def test_a_weight_of_three_gets_three_of_four_requests_at_a_time() -> None:
    policy, fleet = LeastLoaded(), [Fake(weight=3), Fake(weight=1)]
    for _ in range(40):
        fleet[policy.order(fleet)[0]].active += 1
    assert [upstream.active for upstream in fleet] == [30, 10]


def test_ties_take_turns() -> None:
    policy, fleet = LeastLoaded(), [Fake(), Fake(), Fake()]
    chosen = [policy.order(fleet)[0] for _ in range(9)]
    assert Counter(chosen) == {0: 3, 1: 3, 2: 3}
    assert all(a != b for a, b in pairwise(chosen))


def test_a_spare_comes_last_however_busy_the_others_are() -> None:
    assert LeastLoaded().order([Fake(weight=0), Fake(active=50), Fake(active=9)]) == [2, 1, 0]


def test_spares_share_what_comes_to_them() -> None:
    policy, fleet = LeastLoaded(), [Fake(weight=0), Fake(weight=0)]
    for _ in range(10):
        fleet[policy.order(fleet)[0]].active += 1
    assert [upstream.active for upstream in fleet] == [5, 5]


def test_one_that_is_full_comes_after_one_with_room() -> None:
    assert first(Fake(weight=9, active=1, full=True), Fake(active=5)) == 1


def test_a_spare_with_room_comes_before_one_that_is_full() -> None:
    assert first(Fake(active=2, full=True), Fake(weight=0)) == 1


def test_one_that_seems_down_comes_last_but_is_there() -> None:
    assert LeastLoaded().order([Fake(up=False), Fake(active=9, full=True)]) == [1, 0]


@given(
    st.lists(st.builds(Fake, st.integers(0, 5), st.integers(0, 9), st.booleans(), st.booleans()), max_size=8),
    st.integers(0, 100),
)
def test_every_candidate_is_there_once_and_the_worse_are_behind(fleet: list[Fake], turn: int) -> None:
    order = LeastLoaded(turn).order(fleet)
    assert sorted(order) == list(range(len(fleet)))
    ranked = [fleet[i] for i in order]
    assert [f.up for f in ranked] == sorted((f.up for f in ranked), reverse=True)
    rooms = [f.full for f in ranked if f.up]
    assert rooms == sorted(rooms)
