"""One sink's worker: consume, read changes, apply, commit; in this order, and what follows a failure."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sinks.barriers import refuse_divided_truncates
from sinks.crash_points import CrashPoint, nowhere
from sinks.errors import CdcError, FatalError, FencedError, OutageError
from sinks.health import State
from sinks.kafka.consumer import PartitionConsumer, Polled, PositionLostError
from sinks.targets.base import Batch, Rejection, Segment, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import confluent_kafka as ck

    from sinks.barriers import Barriers
    from sinks.breaker import Breaker
    from sinks.change import Progress, TopicPartition
    from sinks.crash_points import Reached
    from sinks.envelope import ChangeReader, Records
    from sinks.health import WorkerStatus
    from sinks.kafka.dead_letters import DeadLetters
    from sinks.kafka.topics import Topics
    from sinks.metrics import WorkerMetrics
    from sinks.redelivery import Redelivery
    from sinks.retry import Backoff

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_IDLE_POLL_SECONDS = 0.1
_BUSY_POLL_SECONDS = 0.005
_STALL_SECONDS = 1.0
_IDLE_COMMIT_SECONDS = 0.5
_STATUS_SECONDS = 0.5
_ASK_SECONDS = 1.0
_BACKOFF_POLL_SECONDS = 0.05
_GONE_SECONDS = 2.0
_SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker.

    Attributes:
        batch_records: records in a batch, at most.
        batch_bytes: bytes of keys and values in a batch, at most (one record may be larger).
        shutdown_seconds: how long a stop or a revocation waits for what is in flight.
    """

    batch_records: int = 20_000
    batch_bytes: int = 16 << 20
    shutdown_seconds: float = 8.0


@dataclass(frozen=True)
class _Prepared:
    """A batch ready to be applied, with the messages that it came from, for dead letters."""

    batch: Batch
    messages: Mapping[TopicPartition, Sequence[ck.Message]]

    def letters(self, rejections: Sequence[Rejection]) -> list[tuple[Rejection, ck.Message]]:
        """Pair rejections with their messages."""
        wanted = {r.partition for r in rejections}
        index = {(p, m.offset()): m for p in wanted for m in self.messages.get(p, ())}
        return [(r, index[r.partition, r.offset]) for r in rejections]


class Worker:
    """Drives one target from the partitions that the consumer group gives it.

    Two batches are in flight at most: while the target applies one, in a thread of its own (drivers release
    the interpreter's lock), the next is consumed and decoded. Under low traffic nothing lingers: what is
    there is applied at once. After any error nothing remembered is trusted: partitions are claimed again and
    read from where the target stands.

    Args:
        consumer: member of the sink's group.
        topics: asks the cluster about topics.
        target: where changes go; used from one thread at a time.
        reader: turns records into changes.
        barriers: places schema changes among them.
        dead_letters: takes what is refused.
        status: what health shows.
        metrics: what Prometheus shows.
        breaker: counts outages.
        backoff: time between tries.
        limits: bounds.
        clock: seconds, never going back.
        random: a number in [0, 1).
        reached: called at each crash point, from the worker's thread or the target's; tests die there.
        redelivery: carries out what operators ask of parked keys.
    """

    def __init__(
        self,
        *,
        consumer: PartitionConsumer,
        topics: Topics,
        target: Target,
        reader: ChangeReader,
        barriers: Barriers,
        dead_letters: DeadLetters,
        status: WorkerStatus,
        metrics: WorkerMetrics,
        breaker: Breaker,
        backoff: Backoff,
        limits: Limits,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        reached: Reached = nowhere,
        redelivery: Redelivery | None = None,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._target = target
        self._reader = reader
        self._barriers = barriers
        self._dead_letters = dead_letters
        self._status = status
        self._metrics = metrics
        self._breaker = breaker
        self._backoff = backoff
        self._limits = limits
        self._clock = clock
        self._random = random
        self._reached = reached
        self._redelivery = redelivery
        self._asked_at = clock()
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"apply-{target.name}")
        self._polled = Polled()
        self._progress: dict[TopicPartition, Progress] = {}
        self._applied: dict[TopicPartition, Progress] = {}
        self._parked: dict[TopicPartition, int] = {}
        self._generations: dict[TopicPartition, int] = {}
        self._widths: dict[TopicPartition, int] = {}
        self._lost: set[TopicPartition] = set()
        self._gone: dict[TopicPartition, float] = {}
        self._applying: Future[None] | None = None
        self._active_at = clock()
        self._reported_at = clock()
        consumer.before_revoke = self._before_revoke

    def stop(self) -> None:
        """Ask the worker to finish what it applies and to return from :meth:`run`; from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Work until :meth:`stop`, then drain.

        Raises:
            FatalError: what only a person can mend; nothing was skipped.
        """
        self._status.set_state(State.STARTING)
        try:
            while not self._stopping.is_set():
                try:
                    self._cycle()
                except (OutageError, FencedError, PositionLostError) as error:
                    self._recover(error)
            self._drain()
            self._status.set_state(State.STOPPED)
        except CdcError as error:
            self._fail(error)
            raise
        except Exception as error:
            unknown = FatalError(
                f"unexpected {type(error).__name__}",
                hint="this is a defect: nothing was skipped; see the log for where it happened",
            )
            log.exception("unexpected error", extra={"action": "failed"})
            self._fail(unknown)
            raise unknown from error
        finally:
            self._consumer.close()
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._target.close()
            self._barriers.close()

    def _fail(self, error: CdcError) -> None:
        log.error("%s", error, extra={"action": "failed"})
        self._status.set_state(State.FAILED, error)

    def _cycle(self) -> None:
        """Bring one batch on its way.

        1. Claim partitions that the group gave us, and start to fetch them from where the target stands.
        2. Collect records until the target is free, or the batch is full.
        3. Decode them as columns: changes, barriers, rejections, progress.
        4. Wait for the batch before to be committed; do what operators ask of parked keys.
        5. Hand this one to the target: dead letters, then rows, then progress.
        """
        self._status.beat()
        self._claim()
        self._collect()
        self._report_positions()
        if self._polled.count == 0 and not self._barriers.is_due(self._progress):
            self._settle(0)
            self._redeliver()
            self._commit_idle_positions()
            return
        self._reached(CrashPoint.COLLECTED)
        prepared = self._prepare()
        self._reached(CrashPoint.DECODED)
        if not prepared.batch.progress:
            self._settle(0)  # all that was read waits behind a schema change
            return
        self._settle(None)
        self._redeliver()
        self._reached(CrashPoint.SETTLED)
        self._submit(prepared)
        self._reached(CrashPoint.HANDED_OVER)

    def _claim(self) -> None:
        now = self._clock()
        waiting = frozenset(p for p in self._consumer.waiting if self._gone.get(p, now) <= now)
        if not waiting:
            return
        self._settle(None)
        claims = self._topics.claims(waiting)
        self._gone = dict.fromkeys(waiting - {c.partition for c in claims}, now + _GONE_SECONDS)
        self._barriers.start()
        self._widths.update({claim.partition: claim.partitions for claim in claims})
        stored = self._on_target(partial(self._target.claim, claims))
        self._reached(CrashPoint.CLAIMED)
        # A partition that went to another member meanwhile is not ours to fetch, whatever its lease says.
        stored = {p: s for p, s in stored.items() if p in self._consumer.assigned}
        for partition, state in stored.items():
            if partition in self._lost and self._generations.get(partition) == state.generation:
                raise FatalError(
                    f"records from offset {state.progress.next_offset} on are gone before they were applied",
                    where=str(partition),
                    hint="raise the topic's retention; bring the rows back with a new snapshot of the table",
                )
            self._generations[partition] = state.generation
            self._progress[partition] = state.progress
            self._applied[partition] = state.progress
            self._parked.pop(partition, None)
        self._lost -= stored.keys()
        self._consumer.start({p: s.progress.next_offset for p, s in stored.items()})
        self._reached(CrashPoint.STARTED)
        self._status.record_applied({p: s.progress for p, s in stored.items()}, _now_ms())
        self._active_at = self._clock()
        log.info("claimed %d partitions", len(stored), extra={"action": "claimed"})

    def _collect(self) -> None:
        """Poll until there is something to do: waits while the target is busy and the batch has room.

        What waits behind a schema change is on top of the bounds: it was within those of an earlier batch.
        """
        kept = Polled(count=self._polled.count, size=self._polled.size)
        while not self._stopping.is_set():
            busy = self._applying is not None and not self._applying.done()
            timeout = _BUSY_POLL_SECONDS if busy or self._polled.count else _IDLE_POLL_SECONDS
            self._consumer.poll(
                self._polled,
                timeout,
                max_records=self._limits.batch_records + kept.count,
                max_bytes=self._limits.batch_bytes + kept.size,
            )
            full = (
                self._polled.count - kept.count >= self._limits.batch_records
                or self._polled.size - kept.size >= self._limits.batch_bytes
            )
            if not busy or full or self._consumer.waiting:
                return

    def _prepare(self) -> _Prepared:
        started = self._clock()
        polled, self._polled = self._polled, Polled()
        read = {r.partition: r for r in polled.records() if r.partition in self._progress}
        plan = self._barriers.plan(read, polled.ends, self._progress)
        segments: list[Segment] = [*plan.changes]
        rejections: list[Rejection] = []
        progress = plan.progress
        for partition, records in read.items():
            taken = self._taken(records, plan.take.get(partition), polled)
            if not taken.offsets:
                continue
            changes = self._reader.read(taken, progress.get(partition, self._progress[partition]))
            segments += changes.segments
            rejections += changes.rejections
            progress[partition] = changes.progress
        for partition, end in polled.ends.items():
            held = progress.get(partition, self._progress.get(partition))
            if held is not None:
                progress[partition] = self._at_end(held, end)
        refuse_divided_truncates(segments, self._widths)
        self._consumer.hold(plan.held)
        self._progress.update(progress)
        self._metrics.decoded(polled.count - self._polled.count, self._clock() - started)
        return _Prepared(Batch(segments, progress, rejections), polled.messages)

    def _taken(self, records: Records, count: int | None, polled: Polled) -> Records:
        """Part what may be applied now from what stands behind a schema change: that is for a later batch."""
        if count is None or count == len(records.offsets):
            return records
        partition = records.partition
        self._polled.keep(partition, polled.messages[partition][count:])
        end = polled.ends.pop(partition, None)
        if end is not None:
            self._polled.ends[partition] = end
        return records.first(count)

    @staticmethod
    def _at_end(progress: Progress, end: int | None) -> Progress:
        """Step over transaction markers: the position at the end of a partition is past them."""
        return replace(progress, next_offset=end) if end and end > progress.next_offset else progress

    def _submit(self, prepared: _Prepared) -> None:
        self._applying = self._executor.submit(self._apply, prepared)
        self._active_at = self._clock()

    def _apply(self, prepared: _Prepared) -> None:
        """Apply one batch, in the target's thread.

        If the process dies before the target commits, the same records come again and end in the same state;
        a dead letter may then stand twice, under the same id.
        """
        started = self._clock()
        # What the target refuses is counted in the progress that it commits with the rest of the batch; the
        # batches after this one were decoded without knowing of it.
        progress = {p: self._counted(p, v) for p, v in prepared.batch.progress.items()}
        batch = replace(prepared.batch, progress=progress)
        decoded = {(r.partition, r.offset) for r in batch.undecodable}  # counted by the reader

        def park(rejections: Sequence[Rejection]) -> None:
            lives = self._generations
            letters = [replace(r, generation=lives.get(r.partition, 0)) for r in rejections]
            self._dead_letters.write(prepared.letters(letters))
            self._reached(CrashPoint.PARKED)
            for rejection in rejections:
                if (rejection.partition, rejection.offset) not in decoded:
                    self._parked[rejection.partition] = self._parked.get(rejection.partition, 0) + 1
            progress.update({p: self._counted(p, v) for p, v in prepared.batch.progress.items()})

        self._reached(CrashPoint.BEGUN)
        self._target.apply(batch, park)
        self._reached(CrashPoint.APPLIED)
        now_ms = _now_ms()
        self._applied.update(progress)
        self._status.record_applied(progress, now_ms)
        self._metrics.applied(batch, self._clock() - started, now_ms)
        self._reached(CrashPoint.NOTED)

    def _redeliver(self) -> None:
        """Carry out what operators ask of parked keys, while the target has nothing else to do."""
        now = self._clock()
        if self._redelivery is None or self._applying is not None or now - self._asked_at < _ASK_SECONDS:
            return
        self._asked_at = now
        if self._applied:
            self._on_target(partial(self._redelivery.carry_out, dict(self._applied)))

    def _counted(self, partition: TopicPartition, progress: Progress) -> Progress:
        """Add what the target refused since the claim to the counts."""
        parked = self._parked.get(partition, 0)
        if not parked:
            return progress
        return replace(
            progress, counts={**progress.counts, "parked": progress.counts.get("parked", 0) + parked}
        )

    def _on_target(self, call: Callable[[], _T]) -> _T:
        """Run a call in the target's thread, staying in the group meanwhile."""
        future = self._executor.submit(call)
        self._await(future, None)
        return future.result()

    def _await(self, future: Future[_T], timeout: float | None) -> bool:
        """Wait for the target's thread; when it takes long, keep polling so that the group keeps us."""
        wait([future], timeout=min(_STALL_SECONDS, timeout if timeout is not None else _STALL_SECONDS))
        if future.done() or timeout is not None:
            return future.done()
        self._consumer.pause()
        slow_at = self._clock() + _SLOW_SECONDS
        try:
            while not future.done():
                if self._clock() > slow_at:
                    slow = OutageError("the target has not answered for long", where=self._target.name)
                    self._status.set_state(State.DEGRADED, slow)
                if self._stopping.is_set():
                    wait([future], timeout=self._limits.shutdown_seconds)
                    if not future.done():
                        raise OutageError("the target did not finish in time", where=self._target.name)
                    break
                self._poll_paused()
                wait([future], timeout=_IDLE_POLL_SECONDS)
        finally:
            self._consumer.resume()
        return True

    def _poll_paused(self) -> None:
        self._consumer.poll(self._polled, 0, max_records=1, max_bytes=1)

    def _settle(self, timeout: float | None) -> None:
        """Take note of the batch that is being applied: wait for it (None) or just look (0)."""
        future = self._applying
        if future is None or not self._await(future, timeout):
            return
        self._applying = None
        future.result()
        self._works()

    def _works(self) -> None:
        """Note that nothing is out: a batch was applied, or there is none to apply."""
        self._breaker.succeeded()
        self._status.breaker(self._breaker.state)
        self._status.set_state(State.RUNNING)

    def _commit_idle_positions(self) -> None:
        """When idle, store positions past transaction markers, so that a drained pipe shows no lag."""
        idle = self._clock() - self._active_at
        if self._applying is not None or idle < _IDLE_COMMIT_SECONDS:
            return
        self._store_ends()
        self._works()

    def _store_ends(self) -> None:
        ends, self._polled.ends = self._polled.ends, {}
        progress = {
            p: replace(self._progress[p], next_offset=end)
            for p, end in ends.items()
            if p in self._progress and end > self._progress[p].next_offset
        }
        if progress:
            self._progress.update(progress)
            self._submit(_Prepared(Batch((), progress), {}))
            self._settle(None)

    def _report_positions(self) -> None:
        now = self._clock()
        if now - self._reported_at < _STATUS_SECONDS:
            return
        self._reported_at = now
        for partition, high in self._consumer.high_watermarks().items():
            read, applied = self._progress.get(partition), self._applied.get(partition)
            if read is None or applied is None:
                continue
            only_markers_left = (
                applied.next_offset == read.next_offset and self._polled.ends.get(partition, -1) >= high
            )
            self._status.record_position(
                partition, high, at_end=only_markers_left or applied.next_offset >= high
            )
        self._consumer.report({p: of.next_offset for p, of in self._applied.items()})
        self._reached(CrashPoint.REPORTED)

    def _before_revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """Finish what is in flight while the partitions are still ours; later the fence would refuse it."""
        if self._applying is not None:
            wait([self._applying], timeout=self._limits.shutdown_seconds)
        self._reached(CrashPoint.REVOKED)
        for partition in partitions:
            self._progress.pop(partition, None)
            self._applied.pop(partition, None)
            self._polled.drop(partition)
        self._status.revoked(partitions)
        self._executor.submit(self._target.release, list(partitions))

    def _recover(self, error: CdcError) -> None:
        """Forget everything remembered, wait, and let the next cycle claim again: that claim is the probe."""
        now = self._clock()
        self._breaker.failed(now)
        self._status.breaker(self._breaker.state)
        self._status.retry()
        self._status.set_state(State.DEGRADED, error)
        self._metrics.retried()
        log.warning("%s", error, extra={"action": "retry"})
        if isinstance(error, PositionLostError):
            self._lost.add(error.partition)
        self._consumer.stop()
        self._abandon()
        delay = self._backoff.delay(self._breaker.failures, self._random)
        until = now + max(delay, self._breaker.wait_seconds(now))
        while self._clock() < until and not self._stopping.wait(_BACKOFF_POLL_SECONDS):
            self._stay_in_group()
        self._breaker.may_try(self._clock())
        self._status.breaker(self._breaker.state)

    def _abandon(self) -> None:
        """Let the batch in flight end, whichever way, and forget all positions."""
        deadline = self._clock() + self._limits.shutdown_seconds
        while self._applying is not None and not self._applying.done():
            if self._stopping.is_set() and self._clock() > deadline:
                break
            wait([self._applying], timeout=_BACKOFF_POLL_SECONDS)
            self._stay_in_group()
        self._applying = None
        self._polled = Polled()
        self._executor.submit(self._target.release, list(self._progress))
        self._progress.clear()
        self._applied.clear()
        self._reached(CrashPoint.ABANDONED)

    def _stay_in_group(self) -> None:
        """Poll while nothing is fetched: the group's callbacks run, and its broker may be out as well."""
        with suppress(OutageError):
            self._poll_paused()

    def _drain(self) -> None:
        """Finish the batch in flight and leave exact positions behind; what was only read is read again."""
        try:
            if self._applying is not None:
                wait([self._applying], timeout=self._limits.shutdown_seconds)
                self._settle(0)
            self._reached(CrashPoint.DRAINED)
            if self._applying is None and not self._polled.count:
                self._store_ends()
        except (OutageError, FencedError) as error:
            log.warning("stopped during an outage: %s", error, extra={"action": "stopped"})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
