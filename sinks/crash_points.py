"""Where a worker may die: a name for every point between two of its steps; tests kill it there."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class CrashPoint(Enum):
    """Points of a worker's life in the order in which a batch passes them.

    The points inside of a target's own steps are the target's: ``sinks.targets.postgres.Step``.
    """

    CLAIMED = "the leases are raised; nothing is fetched yet"
    STARTED = "partitions are fetched from where the target stands"
    COLLECTED = "records are read; nothing is decoded"
    DECODED = "changes and progress are known; the batch before may still be applied"
    SETTLED = "the batch before is committed; this one is not handed over"
    HANDED_OVER = "the target's thread has the batch"
    BEGUN = "in the target's thread; nothing is written"
    PARKED = "dead letters are durable; nothing is committed"
    APPLIED = "the target has committed; the worker does not know"
    NOTED = "the worker knows what is committed; Kafka has not been told"
    REPORTED = "offsets are reported to Kafka, for lag tools"
    REVOKED = "partitions are about to go to another member; what was in flight has ended"
    ABANDONED = "after an outage: everything remembered is forgotten"
    DRAINED = "on a stop: what was in flight has ended; the group is not left yet"


Reached = Callable[[CrashPoint], None]


def nowhere(_: CrashPoint) -> None:
    """Arm no point."""
