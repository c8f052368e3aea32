"""How long to wait before the next try of something that failed because a dependency is out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ENOUGH_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter, as a value: it neither sleeps nor keeps count.

    Attributes:
        first: seconds before the second try, at most.
        factor: growth per further try.
        ceiling: no delay is longer than this many seconds.
    """

    first: float = 0.5
    factor: float = 2.0
    ceiling: float = 30.0

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait after the failed try number ``attempt`` (from 1).

        Args:
            attempt: how many tries have failed in a row.
            random: returns a number in [0, 1): half of the delay is fixed, half is drawn.
        """
        if attempt < 1:
            raise ValueError(f"attempt {attempt} is not a count of failures")
        growth = self.factor ** min(attempt - 1, _ENOUGH_DOUBLINGS)
        return min(self.ceiling, self.first * growth) * (0.5 + random() / 2)
