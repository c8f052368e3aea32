from __future__ import annotations

import pytest

from sinks.breaker import Breaker, BreakerState


def opened() -> Breaker:
    breaker = Breaker(failures=2, open_seconds=10)
    breaker.failed(0)
    breaker.failed(1)
    return breaker


def test_opens_after_outages_in_a_row() -> None:
    breaker = Breaker(failures=2, open_seconds=10)
    breaker.failed(0)
    assert breaker.may_try(0)
    breaker.succeeded()
    breaker.failed(0)
    assert breaker.may_try(0)
    breaker.failed(1)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.may_try(10.9)
    assert breaker.wait_seconds(1) == 10


def test_lets_one_probe_through() -> None:
    breaker = opened()
    assert breaker.may_try(11)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.may_try(11)


def test_a_good_probe_closes_it_and_a_bad_one_opens_it_again() -> None:
    breaker = opened()
    assert breaker.may_try(11)
    breaker.failed(12)
    assert not breaker.may_try(21)
    assert breaker.may_try(22)
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == 0


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="out of range"):
        Breaker(failures=0)
