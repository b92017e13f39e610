"""Pure. A circuit breaker per upstream; the clock is an argument.

    state      a success        a failure                       after the cooldown
    closed     stays, count 0   opens at `threshold` in a row   -
    open       closes           stays                           half-open
    half-open  closes           opens again if a trial's        -

While open nothing is sent; half-open lets `trials` calls through at a time to find out. What ends while it is
open was sent before: an answer is news, one more failure is not and must not make the cooldown longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row; times are seconds of any monotonic clock."""

    threshold: int = 5
    cooldown: float = 10.0
    trials: int = 1
    failures: int = 0
    opened_at: float | None = None
    trying: int = 0
    """Trial calls under way while half-open."""

    def state(self, now: float) -> State:
        """Where it stands at `now`."""
        if self.opened_at is None:
            return State.CLOSED
        return State.HALF_OPEN if now - self.opened_at >= self.cooldown else State.OPEN

    def allows(self, now: float) -> bool:
        """Whether a call may be sent."""
        state = self.state(now)
        return state is State.CLOSED or (state is State.HALF_OPEN and self.trying < self.trials)

    def begin(self, now: float) -> bool:
        """A call is sent; returns whether it is a trial, to be handed back when it ends."""
        if self.state(now) is State.CLOSED:
            return False
        self.trying += 1
        return True

    def end(self, trial: bool) -> None:
        """A call ended with no word on the upstream's health, such as one that its client gave up."""
        if trial:
            self.trying = max(0, self.trying - 1)

    def success(self, trial: bool) -> None:
        """The upstream answered."""
        self.end(trial)
        self.failures = 0
        self.opened_at = None

    def failure(self, trial: bool, now: float) -> None:
        """The upstream could not be reached, broke off or timed out."""
        self.end(trial)
        if self.opened_at is None:
            self.failures += 1
            if self.failures >= self.threshold:
                self.opened_at = now
        elif trial and self.state(now) is State.HALF_OPEN:
            self.opened_at = now
