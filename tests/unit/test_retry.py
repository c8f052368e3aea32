from __future__ import annotations

import pytest

from sinks.retry import Backoff


def test_delays_double_up_to_the_ceiling() -> None:
    backoff = Backoff(first=1, factor=2, ceiling=5)
    assert [backoff.delay(n, lambda: 1.0) for n in (1, 2, 3, 4, 400)] == [1, 2, 4, 5, 5]


def test_jitter_takes_away_at_most_half() -> None:
    assert Backoff(first=8, ceiling=30).delay(1, lambda: 0.0) == 4


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="attempt 0"):
        Backoff().delay(0, lambda: 0.0)
