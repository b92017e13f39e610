"""The breaker's table, row by row, and what holds whatever happens to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.breaker import Breaker, State

COOLDOWN = 10.0


def opened(at: float = 0.0, **options: int) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(cooldown=COOLDOWN, **options)
    for _ in range(breaker.threshold):
        breaker.failure(breaker.begin(at), at)
    assert breaker.state(at) is State.OPEN
    return breaker


def test_a_new_breaker_is_closed_and_lets_everything_through() -> None:
    breaker = Breaker()
    assert breaker.state(0.0) is State.CLOSED
    assert breaker.allows(0.0)
    assert [breaker.begin(0.0) for _ in range(100)] == [False] * 100
    assert breaker.allows(0.0)


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_it_opens_at_the_threshold_and_not_before(threshold: int) -> None:
    breaker = Breaker(threshold=threshold)
    for _ in range(threshold - 1):
        breaker.failure(False, 1.0)
        assert breaker.state(1.0) is State.CLOSED
    breaker.failure(False, 1.0)
    assert breaker.state(1.0) is State.OPEN
    assert not breaker.allows(1.0)


def test_the_default_threshold_is_five() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failure(False, 0.0)
    assert breaker.allows(0.0)
    breaker.failure(False, 0.0)
    assert not breaker.allows(0.0)


def test_a_success_starts_the_count_anew() -> None:
    breaker = Breaker(threshold=3)
    for _ in range(10):
        breaker.failure(False, 0.0)
        breaker.failure(False, 0.0)
        breaker.success(False)
    assert breaker.state(0.0) is State.CLOSED


def test_a_call_that_ends_without_a_word_changes_nothing() -> None:
    breaker = Breaker(threshold=2)
    breaker.failure(False, 0.0)
    breaker.end(False)
    breaker.failure(False, 0.0)
    assert breaker.state(0.0) is State.OPEN


def test_it_is_half_open_once_the_cooldown_is_over() -> None:
    breaker = opened()
    assert breaker.state(COOLDOWN - 0.001) is State.OPEN
    assert not breaker.allows(COOLDOWN - 0.001)
    assert breaker.state(COOLDOWN) is State.HALF_OPEN
    assert breaker.allows(COOLDOWN)


@pytest.mark.parametrize("trials", [1, 3])
def test_half_open_lets_so_many_trials_through_at_a_time(trials: int) -> None:
    breaker = opened(trials=trials)
    for _ in range(trials):
        assert breaker.allows(COOLDOWN)
        assert breaker.begin(COOLDOWN) is True
    assert not breaker.allows(COOLDOWN)
    breaker.end(True)
    assert breaker.allows(COOLDOWN)


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.success(breaker.begin(COOLDOWN))
    assert breaker.state(COOLDOWN) is State.CLOSED
    assert (breaker.failures, breaker.trying) == (0, 0)


def test_a_trial_that_fails_opens_it_for_a_whole_cooldown() -> None:
    breaker = opened()
    later = COOLDOWN + 3.0
    breaker.failure(breaker.begin(COOLDOWN), later)
    assert breaker.state(later + COOLDOWN - 0.001) is State.OPEN
    assert breaker.state(later + COOLDOWN) is State.HALF_OPEN
    assert breaker.allows(later + COOLDOWN)


def test_a_trial_that_its_client_gave_up_leaves_it_half_open() -> None:
    breaker = opened()
    breaker.end(breaker.begin(COOLDOWN))
    assert breaker.state(COOLDOWN) is State.HALF_OPEN
    assert breaker.allows(COOLDOWN)


def test_failures_of_calls_sent_before_it_opened_do_not_lengthen_the_cooldown() -> None:
    breaker = opened()
    for now in (1.0, 5.0, 9.0):
        breaker.failure(False, now)
    assert breaker.state(COOLDOWN) is State.HALF_OPEN
    breaker.failure(False, COOLDOWN + 1)
    assert breaker.allows(COOLDOWN + 1)


def test_the_second_of_two_trials_that_fail_does_not_lengthen_the_cooldown() -> None:
    breaker = opened(trials=2)
    first, second = breaker.begin(COOLDOWN), breaker.begin(COOLDOWN)
    breaker.failure(first, COOLDOWN)
    breaker.failure(second, COOLDOWN + 5)
    assert breaker.state(2 * COOLDOWN) is State.HALF_OPEN


def test_an_answer_closes_it_whenever_it_comes() -> None:
    breaker = opened()
    breaker.success(False)
    assert breaker.state(0.0) is State.CLOSED
    assert breaker.failures == 0


def test_a_trial_that_fails_after_somebody_else_closed_it_is_one_failure() -> None:
    breaker = opened()
    trial = breaker.begin(COOLDOWN)
    breaker.success(False)
    breaker.failure(trial, COOLDOWN)
    assert breaker.state(COOLDOWN) is State.CLOSED
    assert (breaker.failures, breaker.trying) == (1, 0)


def test_ending_too_often_never_lets_more_trials_through() -> None:
    breaker = opened()
    breaker.end(True)
    breaker.end(True)
    assert breaker.begin(COOLDOWN)
    assert not breaker.allows(COOLDOWN)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "success", "failure", "end", "look"]),
        st.integers(0, 7),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(steps=STEPS, threshold=st.integers(1, 4), trials=st.integers(1, 3))
def test_whatever_happens(steps: list[tuple[str, int, int]], threshold: int, trials: int) -> None:
    breaker = Breaker(threshold=threshold, cooldown=COOLDOWN, trials=trials)
    running: list[bool] = []
    now = 0.0
    row = 0
    for step, passed, which in steps:
        now += passed
        before = breaker.state(now)
        if step == "begin":
            if breaker.allows(now):
                running.append(breaker.begin(now))
                assert running[-1] is (before is State.HALF_OPEN)
            else:
                assert before is not State.CLOSED
            continue
        if step == "look":
            breaker.success(False)
        elif running:
            trial = running.pop(which % len(running))
            if step == "success":
                breaker.success(trial)
            elif step == "end":
                breaker.end(trial)
            else:
                breaker.failure(trial, now)
        else:
            continue
        after = breaker.state(now)
        row = {"success": 0, "look": 0, "failure": row + 1}.get(step, row)
        if step in ("success", "look"):
            assert after is State.CLOSED
        elif step == "end" or before is State.OPEN:
            assert after is before
        elif before is State.CLOSED:
            assert after is (State.OPEN if breaker.failures >= threshold else State.CLOSED)
            assert breaker.failures <= row
        # Nobody is shut out for good: with nothing under way and the cooldown over, one may always try.
        assert 0 <= breaker.trying <= sum(running)
        assert breaker.allows(now + COOLDOWN) or breaker.trying >= trials
