"""A circuit breaker: after a few outages in a row nothing is tried for a while, then one probe at a time."""

from __future__ import annotations

from enum import StrEnum


class BreakerState(StrEnum):
    """What the breaker lets through: everything, nothing, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Counts outages; ``now`` is handed in, in seconds of any clock that does not go back.

    Args:
        failures: outages in a row that open it.
        open_seconds: how long it stays open before a probe may be made.
    """

    def __init__(self, failures: int = 5, open_seconds: float = 30.0) -> None:
        if failures < 1 or open_seconds < 0:
            raise ValueError(f"failures {failures} or open_seconds {open_seconds} out of range")
        self._limit = failures
        self._open_seconds = open_seconds
        self._failed = 0
        self._probe_at = 0.0
        self._state = BreakerState.CLOSED

    @property
    def state(self) -> BreakerState:
        """What it lets through now."""
        return self._state

    @property
    def failures(self) -> int:
        """Outages in a row so far."""
        return self._failed

    def may_try(self, now: float) -> bool:
        """Tell whether a call may be made now. When open for long enough, the one that asks is the probe."""
        if self._state is BreakerState.OPEN and now >= self._probe_at:
            self._state = BreakerState.HALF_OPEN
            return True
        return self._state is BreakerState.CLOSED

    def wait_seconds(self, now: float) -> float:
        """Return how long it is until a probe may be made: 0 unless open."""
        return max(0.0, self._probe_at - now) if self._state is BreakerState.OPEN else 0.0

    def succeeded(self) -> None:
        """Note that a call went through: closed, count at 0."""
        self._failed = 0
        self._state = BreakerState.CLOSED

    def failed(self, now: float) -> None:
        """Note an outage; a failed probe opens it again for the full time."""
        self._failed += 1
        if self._state is BreakerState.HALF_OPEN or self._failed >= self._limit:
            self._state = BreakerState.OPEN
            self._probe_at = now + self._open_seconds
