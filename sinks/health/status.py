"""What a worker knows of itself: written by the worker's thread, read by the HTTP endpoint's."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from sinks.breaker import BreakerState
from sinks.health.report import ErrorReport, Lag, PartitionReport, State, WatchReport, WorkerReport
from sinks.redact import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sinks.change import Progress, TopicPartition
    from sinks.errors import CdcError

_MS = 1000


@dataclass
class _Partition:
    """A partition owned: applied up to, end seen, and since when it can be behind at the earliest."""

    progress: Progress | None = None
    end_offset: int = 0
    drained: bool = False
    drained_ms: int = 0

    def lag(self, now_ms: int) -> Lag:
        """Return its lag: whatever waits arrived after it was last drained."""
        if self.drained or self.progress is None:
            return Lag(records=0 if self.drained else self.end_offset)
        records = max(0, self.end_offset - self.progress.next_offset)
        since = max(self.progress.source_ms, self.drained_ms)
        return Lag(records=records, seconds=max(0, now_ms - since) / _MS if records and since else 0.0)


class WorkerStatus:
    """The state of one sink's worker. Thread-safe.

    Args:
        sink: its name.
        clock: seconds since the epoch.
    """

    def __init__(self, sink: str, clock: Callable[[], float] = time.time) -> None:
        self.sink = sink
        self._clock = clock
        self._lock = Lock()
        self._state = State.STARTING
        self._since_ms = self._now_ms()
        self._error: ErrorReport | None = None
        self._breaker = BreakerState.CLOSED
        self._retries = 0
        self._applied_ms = 0
        self._beat_ms = 0
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._watch = WatchReport()

    def set_state(self, state: State, error: CdcError | None = None) -> None:
        """Note the state and the error behind it; ``running`` shows as ``idle`` while all is drained."""
        with self._lock:
            if state is not self._state:
                self._since_ms = self._now_ms()
            self._state = state
            self._error = None if error is None else ErrorReport.of(error)

    def beat(self) -> None:
        """Note that the worker's loop turns; ``/livez`` fails when it has not for long. Optional."""
        with self._lock:
            self._beat_ms = self._now_ms()

    def record_applied(self, progress: Mapping[TopicPartition, Progress], now_ms: int) -> None:
        """Note what is committed. Also called with what :meth:`Target.claim` returned."""
        with self._lock:
            for partition, reached in progress.items():
                of = self._partitions.setdefault(partition, _Partition())
                if of.progress is not None and of.progress.gtid != reached.gtid:
                    self._applied_ms = now_ms
                of.progress = reached
                of.end_offset = max(of.end_offset, reached.next_offset)

    def record_position(self, partition: TopicPartition, end_offset: int, *, at_end: bool) -> None:
        """Note the partition's end.

        Args:
            partition: one that the worker owns.
            end_offset: as Kafka tells it, transaction markers included.
            at_end: every record before ``end_offset`` is applied: what is left, if anything, is markers.
        """
        with self._lock:
            of = self._partitions.setdefault(partition, _Partition())
            of.end_offset = end_offset
            of.drained = at_end
            if at_end:
                of.drained_ms = self._now_ms()

    def breaker(self, state: BreakerState) -> None:
        """Note what the circuit breaker lets through."""
        with self._lock:
            self._breaker = state

    def watches_connector(self, watching: bool) -> None:
        """Note whether this process is the one that restarts the connector."""
        with self._lock:
            self._watch = self._watch.model_copy(update={"watching": watching})

    def connector_restarted(self, reason: str) -> None:
        """Count one more restart of the connector."""
        with self._lock:
            update = {
                "restarts": self._watch.restarts + 1,
                "restarted_ms": self._now_ms(),
                "reason": " ".join(redacted(reason).split()),
            }
            self._watch = self._watch.model_copy(update=update)

    def retry(self) -> None:
        """Count one more try during an outage."""
        with self._lock:
            self._retries += 1

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are owned no longer."""
        with self._lock:
            for partition in partitions:
                self._partitions.pop(partition, None)

    @property
    def ready(self) -> bool:
        """Whether the worker is past its start and its target takes changes."""
        with self._lock:
            return self._state in {State.RUNNING, State.IDLE, State.PAUSED}

    def dead_because(self, stuck_seconds: float) -> str:
        """Return why the worker should be restarted; empty if it lives."""
        with self._lock:
            if self._state in {State.STOPPED, State.FAILED}:
                return f"the worker has {self._state}"
            still = (self._now_ms() - self._beat_ms) / _MS
            if self._beat_ms and still > stuck_seconds:
                return f"the worker's loop has not turned for {still:.0f} s"
            return ""

    def report(self) -> WorkerReport:
        """Return all of it at one moment."""
        with self._lock:
            now_ms = self._now_ms()
            lags = [of.lag(now_ms) for of in self._partitions.values()]
            done = [of.progress for of in self._partitions.values() if of.progress is not None]
            counts: Counter[str] = Counter()
            for progress in done:
                counts.update(progress.counts)
            last = max(done, key=lambda progress: progress.source_ms, default=None)
            return WorkerReport(
                sink=self.sink,
                state=self._shown_state(),
                since_ms=self._since_ms,
                error=self._error,
                breaker=self._breaker,
                retries=self._retries,
                lag=Lag(
                    records=sum(lag.records for lag in lags),
                    seconds=max((lag.seconds for lag in lags), default=0.0),
                ),
                counts=dict(sorted(counts.items())),
                gtid=last.gtid if last else "",
                source_ms=last.source_ms if last else 0,
                applied_ms=self._applied_ms,
                connector=self._watch,
                partitions=tuple(
                    PartitionReport(
                        topic=partition.topic,
                        partition=partition.partition,
                        next_offset=of.progress.next_offset if of.progress else 0,
                        end_offset=of.end_offset,
                        drained=of.drained,
                        gtid=of.progress.gtid if of.progress else "",
                        source_ms=of.progress.source_ms if of.progress else 0,
                    )
                    for partition, of in sorted(self._partitions.items())
                ),
            )

    def as_json(self) -> dict[str, Any]:
        """Return :meth:`report` as the JSON of ``/health``."""
        return self.report().model_dump(mode="json")

    def _shown_state(self) -> State:
        if self._state in {State.RUNNING, State.IDLE}:
            drained = all(of.drained for of in self._partitions.values())
            return State.IDLE if drained else State.RUNNING
        return self._state

    def _now_ms(self) -> int:
        return int(self._clock() * _MS)
