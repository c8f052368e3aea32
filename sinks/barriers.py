"""Where schema changes stand among the rows: between which records of which partitions.

A change of a table stands in every partition of the table's topic (of both topics, if it is renamed) before
the first row of the same or a later transaction. It is applied when all of them have come there, and each of
them waits there until then. A partition without a later row has come there once it is read up to an end that
was taken after the change was seen.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from sinks.change import Progress, SchemaPosition, TopicPartition
from sinks.errors import FatalError
from sinks.table_schema import TableId, TableSchema
from sinks.targets.base import Added, SchemaChange, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sinks.envelope import Records, Routed, Stamp
    from sinks.schema_changes import TableChange
    from sinks.targets.base import Segment

log = logging.getLogger(__name__)

_CATCH_UP_SECONDS = 0.3
_GRACE_SECONDS = 60.0


class Changes(Protocol):
    """The schema-change topic; see :class:`sinks.kafka.schema_log.SchemaLog`."""

    topic_id: str

    def start(self) -> None:
        """Find the topic and read it to its end."""
        ...

    def catch_up(self) -> None:
        """Read up to the frontier."""
        ...

    def of(self, topic: str) -> Sequence[TableChange]:
        """Return the changes of the tables whose rows are in a topic."""
        ...

    def topic_of(self, table: TableId) -> str:
        """Return the topic of a table's rows."""
        ...

    def partitions(self, topics: Iterable[str]) -> frozenset[TopicPartition]:
        """Return the partitions that there are of topics."""
        ...

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where partitions end, open transactions included."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class NoChanges:
    """A source whose tables never change: for tests of the rest."""

    topic_id = ""

    def start(self) -> None:
        """See :class:`Changes`."""

    def catch_up(self) -> None:
        """See :class:`Changes`."""

    def of(self, topic: str) -> Sequence[TableChange]:
        """See :class:`Changes`."""
        del topic
        return ()

    def topic_of(self, table: TableId) -> str:
        """See :class:`Changes`."""
        return str(table)

    def partitions(self, topics: Iterable[str]) -> frozenset[TopicPartition]:
        """See :class:`Changes`."""
        del topics
        return frozenset()

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See :class:`Changes`."""
        return dict.fromkeys(partitions, 0)

    def close(self) -> None:
        """See :class:`Changes`."""


@dataclass
class Plan:
    """What of the records in hand may be applied now.

    Attributes:
        changes: barriers to apply first, in order.
        take: how many records of a partition; those not named: all.
        held: partitions that wait for others: nothing more of them is needed in memory.
        progress: partitions moved on by the changes.
    """

    changes: list[SchemaChange] = field(default_factory=list)
    take: dict[TopicPartition, int] = field(default_factory=dict)
    held: set[TopicPartition] = field(default_factory=set)
    progress: dict[TopicPartition, Progress] = field(default_factory=dict)


class Barriers:
    """Places schema changes for one worker. Remembers nothing that the target does not hold.

    Args:
        changes: the schema-change topic.
        stamps: tells the place of each record.
        route: what the sink takes of a source table.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        changes: Changes,
        stamps: Callable[[Records], Iterator[Stamp]],
        route: Callable[[TableSchema], Routed | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changes = changes
        self._stamps = stamps
        self._route = route
        self._clock = clock
        self._caught_up_at = 0.0
        self._frontiers: dict[tuple[TopicPartition, int], int] = {}
        self._waiting_since: dict[int, float] = {}

    def start(self) -> None:
        """Begin, or begin again after an error or a rebalance."""
        self._frontiers.clear()
        self._waiting_since.clear()
        self._changes.start()

    def close(self) -> None:
        """Give back connections."""
        self._changes.close()

    def is_due(self, progress: Mapping[TopicPartition, Progress]) -> bool:
        """Tell, when no record came, whether a change waits; asks for new ones now and then."""
        now = self._clock()
        if now - self._caught_up_at >= _CATCH_UP_SECONDS:
            self._caught_up_at = now
            self._changes.catch_up()
        return any(self._next(p, held) is not None for p, held in progress.items())

    def plan(
        self,
        records: Mapping[TopicPartition, Records],
        ends: Mapping[TopicPartition, int],
        progress: Mapping[TopicPartition, Progress],
    ) -> Plan:
        """Decide what may be applied now.

        Args:
            records: what was read and not applied.
            ends: ends of partitions that were reached.
            progress: how far each of the worker's partitions is.

        Raises:
            FatalError: a change touches partitions that another worker reads.
            OutageError: no broker answers.
        """
        self._changes.catch_up()
        self._caught_up_at = self._clock()
        plan = Plan()
        now = dict(progress)
        stamps: dict[TopicPartition, list[Stamp]] = {}
        while True:
            standing: dict[TopicPartition, TableChange] = {}
            plan.take.clear()
            for partition, reached in now.items():
                change = self._next(partition, reached)
                if change is None:
                    continue
                held = records.get(partition)
                if held is not None and partition not in stamps:
                    stamps[partition] = list(self._stamps(held))
                before = self._before(change, held, stamps.get(partition, []))
                if held is not None and before is not None:
                    plan.take[partition] = before
                if before == 0 or (held is None and self._is_drained(partition, change, now, ends)):
                    standing[partition] = change
            ready = self._ready(standing, now)
            if ready is None:
                plan.held = {p for p in standing if p in plan.take}
                return plan
            self._pass(ready, plan, now, records)

    def _next(self, partition: TopicPartition, progress: Progress) -> TableChange | None:
        """Return the first change that the partition has not passed; replayed ones are passed over."""
        known = self._changes.of(partition.topic)
        followed = progress.schema.topic_id == self._changes.topic_id
        start = progress.schema.next_offset if followed else 0
        if not known or known[-1].offset < start:
            return None
        for change in known:
            if change.offset >= start and not progress.watermark.covers(change.source, change.place):
                return change
        return None

    @staticmethod
    def _before(change: TableChange, records: Records | None, stamps: Sequence[Stamp]) -> int | None:
        """Return how many records stand before the change; None if no later one is known."""
        if records is None:
            return None
        columns = () if change.schema is None else tuple(c.name for c in change.schema.columns)
        for stamp in stamps:
            if stamp.source == change.source:
                later = stamp.transaction >= change.place.transaction
            else:
                # Of another GTID source, or of a snapshot: one task writes all topics, record after record.
                written = records.timestamps[stamp.row]
                later = written > change.written_ms or (
                    written == change.written_ms and stamp.columns == columns
                )
            if later:
                return stamp.row
        return None

    def _is_drained(
        self,
        partition: TopicPartition,
        change: TableChange,
        progress: Mapping[TopicPartition, Progress],
        ends: Mapping[TopicPartition, int],
    ) -> bool:
        known = (partition, change.offset)
        if known not in self._frontiers:
            self._frontiers[known] = self._changes.ends([partition]).get(partition, 0)
        position = max(progress[partition].next_offset, ends.get(partition, 0))
        return position >= self._frontiers[known]

    def _ready(
        self, standing: Mapping[TopicPartition, TableChange], progress: Mapping[TopicPartition, Progress]
    ) -> TableChange | None:
        """Return the first change at which all its partitions stand, or which some have passed already."""
        for change in sorted(set(standing.values()), key=_order):
            touched = self._touched(change)
            missing = [
                p for p in touched if standing.get(p) is not change and not self._passed(p, change, progress)
            ]
            if not missing:
                return change
            self._wait(change, [p for p in missing if p not in progress])
        return None

    def _touched(self, change: TableChange) -> frozenset[TopicPartition]:
        return self._changes.partitions({self._changes.topic_of(table) for table in change.tables})

    def _passed(
        self, partition: TopicPartition, change: TableChange, progress: Mapping[TopicPartition, Progress]
    ) -> bool:
        held = progress.get(partition)
        if held is None:
            return False
        return held.schema.topic_id == self._changes.topic_id and held.schema.next_offset > change.offset

    def _wait(self, change: TableChange, elsewhere: Sequence[TopicPartition]) -> None:
        if not elsewhere:
            return
        since = self._waiting_since.setdefault(change.offset, self._clock())
        if self._clock() - since > _GRACE_SECONDS:
            raise FatalError(
                "a schema change touches partitions that are not all read by this worker",
                where=f"{change.table}: {', '.join(map(str, elsewhere))}",
                hint="run one worker for this sink until the change is applied",
            )

    def _pass(
        self,
        change: TableChange,
        plan: Plan,
        progress: dict[TopicPartition, Progress],
        records: Mapping[TopicPartition, Records],
    ) -> None:
        """Move all partitions of a change past it, and have it applied unless one of them had passed it."""
        touched = sorted(self._touched(change) & progress.keys())
        done = [p for p in touched if self._passed(p, change, progress)]
        for partition in touched:
            held = progress[partition]
            if partition not in done:
                progress[partition] = plan.progress[partition] = replace(
                    held,
                    schema=SchemaPosition(self._changes.topic_id, change.offset + 1),
                    watermark=held.watermark.advanced(change.source, change.place),
                    gtid=change.gtid,
                )
            self._frontiers.pop((partition, change.offset), None)
        self._waiting_since.pop(change.offset, None)
        if done:
            return
        of_new = self._changes.topic_of(change.after or change.table)
        at = next((p for p in touched if p.topic == of_new), TopicPartition(of_new, 0))
        reached = progress[at].next_offset if at in progress else 0
        first = records[at].offsets[0] if at in records else reached
        segment = self._segment(change, at, first)
        if segment is not None:
            plan.changes.append(segment)

    def _segment(self, change: TableChange, partition: TopicPartition, offset: int) -> SchemaChange | None:
        """Return the change under the target's names; None if the sink takes no part in it."""
        before, after = self._target(change.table), change.after and self._target(change.after)
        schema, renamed, added = None, dict[str, str](), dict[str, Added]()
        if before is None:
            if after is not None:
                log.warning(
                    "a table that this sink does not take got a name that it takes: snapshot it",
                    extra={"action": "snapshot_needed", "table": str(change.after)},
                )
            return None
        if change.after is not None and after is None:
            log.warning(
                "a table got a name that this sink does not take: its replica stays as it is",
                extra={"action": "table_left", "table": str(change.table)},
            )
            return None
        if change.schema is not None:
            routed = self._route(change.schema)
            if routed is None:
                return None
            schema = routed.schema
            olds = self._old_names(change, change.schema)
            for index, column in zip(routed.indices, schema.columns, strict=True):
                source = change.schema.columns[index].name
                if source in olds:
                    renamed[column.name] = olds[source]
                elif source in change.statement.added:
                    default = change.statement.added[source]
                    added[column.name] = Added(default.value)
                    if not default.known:
                        log.warning(
                            "what rows that are there hold in a new column is not known: snapshot the table",
                            extra={"action": "snapshot_needed", "table": str(change.table)},
                        )
        position = (self._changes.topic_id, change.offset)
        return SchemaChange(before, after or None, schema, partition, offset, position, renamed, added)

    def _target(self, table: TableId) -> TableId | None:
        routed = self._route(TableSchema(table, (), ()))
        return None if routed is None else routed.schema.table

    def _old_names(self, change: TableChange, schema: TableSchema) -> dict[str, str]:
        """Return for each renamed column that the sink takes, and took, its old name in the target."""
        columns = {column.name: column for column in schema.columns}
        olds: dict[str, str] = {}
        for new, old in change.statement.renamed.items():
            if new not in columns:
                continue
            routed = self._route(TableSchema(change.table, (replace(columns[new], name=old),), ()))
            if routed is not None and routed.schema.columns:
                olds[new] = routed.schema.columns[0].name
        return olds


def _order(change: TableChange) -> int:
    return change.offset


def refuse_divided_truncates(segments: Iterable[Segment], widths: Mapping[TopicPartition, int]) -> None:
    """Stop at a truncate in a topic of several partitions: rows before and after it have no common order.

    It stands in one partition and in no schema-change topic: the others may be past it already.

    Raises:
        FatalError: there is one.
    """
    for segment in segments:
        if isinstance(segment, Truncate) and widths.get(segment.partition, 1) > 1:
            raise FatalError(
                f"a truncate stands in a topic of {widths[segment.partition]} partitions: "
                "which rows of the others it emptied the table of can't be told",
                where=f"{segment.partition}@{segment.offset} {segment.table}",
                hint="give the table's topic one partition (the default), and snapshot the table again",
            )
