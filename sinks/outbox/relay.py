"""The polling relay: brings rows of the outbox to Kafka, each at least once, in order per aggregate."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from sinks.errors import ConfigError, FatalError, OutageError
from sinks.outbox import gaps as gaps_of
from sinks.outbox.message import message_of, topic_of
from sinks.outbox.table import POSITION, SHARDS, shard_name
from sinks.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sinks.kafka.publisher import Message
    from sinks.outbox.message import Row
    from sinks.outbox.table import OutboxTable

log = logging.getLogger(__name__)

_ALL_SHARDS = tuple(range(SHARDS))
_SHARDS_AT_ONCE = 4
Mode = Literal["status", "last-id"]


@dataclass(frozen=True)
class RelayOptions:
    """How a relay works.

    Attributes:
        mode: ``status`` marks each row, and any number of relays share the work; ``last-id`` only writes a
            position, and further relays stand by.
        topic_prefix: topics are ``<prefix>.<aggregate type>``.
        partitions: of a topic that the relay makes.
        batch_records: rows per transaction, about.
        poll_seconds: between looks while there is nothing to do.
        max_failures: a row is given up after so many.
        backoff: between the tries of a row that Kafka refuses.
        outage: between the tries of everything while Kafka or MySQL is out.
        keep_seconds: how long a sent row is kept.
        trim_seconds: between two clean-ups.
    """

    mode: Mode = "status"
    topic_prefix: str = "events"
    partitions: int = 3
    batch_records: int = 2000
    poll_seconds: float = 0.1
    max_failures: int = 10
    backoff: Backoff = field(default_factory=lambda: Backoff(first=1.0, ceiling=300.0))
    outage: Backoff = field(default_factory=lambda: Backoff(first=0.2, ceiling=10.0))
    keep_seconds: float = 86_400.0
    trim_seconds: float = 30.0


class Sender(Protocol):
    """Where messages go; see :class:`sinks.kafka.publisher.Publisher`."""

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Send in order; return position → why it was refused."""
        ...


class TopicMaker(Protocol):
    """Makes topics; see :class:`sinks.kafka.topics.Topics`."""

    def ensure(self, name: str, *, partitions: int) -> None:
        """Make a topic if it is not there."""
        ...


@dataclass
class RelayCounts:
    """What one relay has done since it started."""

    sent: int = 0
    failures: int = 0
    given_up: int = 0
    outages: int = 0


class Relay:
    """Several may run on one outbox, in any processes, on any machines.

    Order per aggregate: an aggregate belongs to one of 16 shards, a shard to one relay at a time, by a row
    lock that ends with the relay's transaction. (Locking the outbox's rows themselves would not keep order: a
    locking read passes a row by whose transaction is about to commit, and may then take a later one.)

    Args:
        table: the outbox.
        sender: where messages go.
        topics: makes topics.
        options: how to work.
        random: numbers in [0, 1).
        clock: seconds, never going back.
    """

    def __init__(
        self,
        table: OutboxTable,
        sender: Sender,
        topics: TopicMaker,
        options: RelayOptions,
        *,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = RelayCounts()
        self._table = table
        self._sender = sender
        self._topics = topics
        self._options = options
        self._random = random
        self._clock = clock
        self._stopping = threading.Event()
        self._known_topics: set[str] = set()
        self._prepared = False
        self._trimmed_at = clock()

    def stop(self) -> None:
        """Ask :meth:`run` to return after the batch in flight; from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Relay until :meth:`stop`. An outage is waited out; nothing is lost, and no row's failures grow.

        Raises:
            FatalError: what only a person can mend.
        """
        failures = 0
        while not self._stopping.is_set():
            try:
                done = self.once()
                self._trim_if_due()
                failures = 0
            except OutageError as error:
                failures += 1
                self.counts.outages += 1
                log.warning("%s", error, extra={"action": "retry"})
                self._stopping.wait(self._options.outage.delay(failures, self._random))
                continue
            if not done:
                self._stopping.wait(self._options.poll_seconds)

    def once(self) -> int:
        """Bring one batch to Kafka; return how many rows were sent or marked.

        If the process dies after Kafka has the messages and before MySQL knows, they are sent again under the
        same ids.
        """
        self._prepare()
        return self._by_status() if self._options.mode == "status" else self._by_position()

    def trim(self) -> None:
        """Delete rows that were sent long enough ago."""
        last_id = self._table.position() if self._options.mode == "last-id" else None
        open_ids: list[int] = []
        if last_id is not None:
            with self._table.session.transaction():
                held = self._table.lock_position()
                if held is None:
                    return  # the relay that holds it cleans up
                last_id, text = held
                open_ids = [gap.first for gap in gaps_of.from_json(text)]
        after: int | None = 0
        while after is not None and not self._stopping.is_set():
            after = self._table.trim(after, self._options.keep_seconds, last_id=last_id, gaps=open_ids)

    def _trim_if_due(self) -> None:
        if self._clock() - self._trimmed_at >= self._options.trim_seconds:
            self._trimmed_at = self._clock()
            self.trim()

    def _prepare(self) -> None:
        """Agree with earlier relays on the mode: what one has sent, the other would send again."""
        if self._prepared:
            return
        known = self._table.known_state()
        if self._options.mode == "last-id":
            self._table.check_holders_are_known()
            wanted, other = [POSITION], shard_name(0)
        else:
            wanted, other = [shard_name(shard) for shard in _ALL_SHARDS], POSITION
        if other in known:
            raise ConfigError(
                f"{self._table.name} has been relayed in the other mode so far",
                where="outbox.mode",
                hint="keep that mode, or see 'Changing the mode' in docs/outbox.md",
            )
        missing = [name for name in wanted if name not in known]
        if missing:
            self._table.make_state(missing)
        self._prepared = True

    def _by_status(self) -> int:
        """One batch of the mode "status".

        1. Look for shards with something to do, without a lock.
        2. Take a few that nobody holds.
        3. Read rows that may go on after a failure, then fresh ones whose aggregate is not held up.
        4. Send them.
        5. Mark them, and give the shards back.
        """
        shards = self._table.due_shards()
        start = int(self._random() * len(shards))
        shards = shards[start:] + shards[:start]
        done = 0
        for first in range(0, len(shards), _SHARDS_AT_ONCE):
            with self._table.session.transaction():
                mine = self._table.lock_shards(shards[first : first + _SHARDS_AT_ONCE])
                if mine:
                    fresh = self._table.pending(mine, self._options.batch_records)
                    done += self._process(mine, fresh, mark=True)
        return done

    def _by_position(self) -> int:
        """One batch of the mode "last-id".

        1. Take the position; another relay may hold it.
        2. Ask who is writing, then look into the gaps.
        3. Read what follows the position, then ask again who is writing: new gaps are theirs, or nobody's.
        4. Send; rows are marked only where they fail.
        5. Store position and gaps.
        """
        table, limit = self._table, self._options.batch_records
        with table.session.transaction():
            held = table.lock_position()
            if held is None:
                return 0
            last_id, gaps = held[0], gaps_of.from_json(held[1])
            late: list[Row] = []
            left = gaps
            if gaps:
                holders = table.holders()
                late = table.within([(gap.first, gap.last) for gap in gaps], limit)
                found = {row.id for row in late}
                left = gaps_of.narrowed(gaps, found, holders, whole=len(late) < limit)
            fresh = table.after(last_id, limit)
            ids = [row.id for row in fresh]
            if ids and ids[-1] - last_id > len(ids):
                left += gaps_of.missing(last_id, ids, table.holders())
            done = self._process(_ALL_SHARDS, late + fresh, mark=False)
            if fresh or left != gaps:
                table.store_position(ids[-1] if ids else last_id, gaps_of.as_json(left))
            return done

    def _process(self, shards: Sequence[int], fresh: Sequence[Row], *, mark: bool) -> int:
        """Send what may be sent of these shards, and note what became of each row."""
        held = self._table.held(shards)
        ready = self._table.ready(shards, self._options.batch_records) if held else []
        free = [row for row in fresh if row.aggregate not in held]
        waiting = [row.id for row in fresh if row.aggregate in held]
        rows = [*ready, *free]
        refused = self._send(rows)
        went = [row.id for position, row in enumerate(rows) if position not in refused]
        to_mark = went if mark else went[: sum(1 for p in range(len(ready)) if p not in refused)]
        self._table.mark_sent(to_mark)
        for position, reason in refused.items():
            if reason:
                self._count_failure(rows[position], reason)
            else:
                waiting.append(rows[position].id)
        self._table.mark_waiting(waiting)
        self.counts.sent += len(went)
        return len(rows) + len(waiting)

    def _count_failure(self, row: Row, reason: str) -> None:
        failures = row.failures + 1
        given_up = failures >= self._options.max_failures
        delay = None if given_up else self._options.backoff.delay(failures, self._random)
        self._table.mark_failed(row.id, reason, delay_seconds=delay)
        self.counts.failures += 1
        self.counts.given_up += given_up
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "message %s is refused by Kafka: %s%s",
            row.message_id,
            reason,
            "; given up" if given_up else "",
            extra={"action": "given_up" if given_up else "refused"},
        )

    def _send(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Send rows; a topic that can't be made is a failure of its rows, and holds up nobody else's."""
        if not rows:
            return {}
        impossible = self._make_topics({row.aggregate_type for row in rows})
        sent = [position for position, row in enumerate(rows) if row.aggregate_type not in impossible]
        told = self._sender.send([message_of(rows[p], self._options.topic_prefix) for p in sent])
        refused = {sent[position]: reason for position, reason in told.items()}
        first: set[tuple[str, str]] = set()
        for position, row in enumerate(rows):
            if row.aggregate_type in impossible:
                refused[position] = "" if row.aggregate in first else impossible[row.aggregate_type]
                first.add(row.aggregate)
        return refused

    def _make_topics(self, kinds: Iterable[str]) -> dict[str, str]:
        impossible: dict[str, str] = {}
        for kind in sorted(set(kinds) - self._known_topics):
            try:
                topic = topic_of(self._options.topic_prefix, kind)
                self._topics.ensure(topic, partitions=self._options.partitions)
                self._known_topics.add(kind)
            except FatalError as error:
                impossible[kind] = error.what
        return impossible
