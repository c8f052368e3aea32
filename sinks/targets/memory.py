"""The reference target: a dictionary per table. It shows the contract at its plainest and scripts faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from sinks.change import Progress
from sinks.errors import FencedError
from sinks.targets.base import (
    Batch,
    Claim,
    Park,
    ParkedKey,
    Rejection,
    Request,
    RowChanges,
    SchemaChange,
    Stored,
    Truncate,
)
from sinks.targets.generation import Known, generation_of, progress_of
from sinks.targets.isolate import follows
from sinks.targets.parking import Parking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sinks.change import TopicPartition
    from sinks.table_schema import TableId

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """Fault: the next batch fails with this error and nothing of it is written."""

    error: Exception


@dataclass(frozen=True, slots=True)
class After:
    """Fault: the next batch is written and committed, and then this error is raised: the answer got lost."""

    error: Exception


@dataclass(frozen=True, slots=True)
class During:
    """Fault: the next batch calls this before it is applied: waits for an event, is slow, kills a thread."""

    call: Callable[[], object]


Fault = Before | After | During


@dataclass
class MemoryServer:
    """What outlives a target's process: rows and state. Two targets over one server fence each other.

    Attributes:
        tables: rows by key, of the tables that have one.
        keyless: rows of the tables without a key.
        state: what is stored per partition.
        known: as which topic each partition was claimed last.
        parked: the parked keys.
        requests: what operators ask for, by key.
        followed: positions of the schema changes that are applied.
    """

    tables: dict[TableId, dict[Key, Row]] = field(default_factory=dict)
    keyless: dict[TableId, list[Row]] = field(default_factory=dict)
    state: dict[TopicPartition, Stored] = field(default_factory=dict)
    known: dict[TopicPartition, Known] = field(default_factory=dict)
    parked: dict[tuple[str, bytes], ParkedKey] = field(default_factory=dict)
    requests: dict[tuple[str, bytes], Request] = field(default_factory=dict)
    followed: set[tuple[str, int]] = field(default_factory=set)


class MemoryTarget:
    """A target in memory, with transactions, exactly-once.

    Args:
        name: the sink's name.
        server: the rows and state to work on; a new, empty one if not given.
        faults: what goes wrong, one fault per batch from the next one on.
        refuses: offsets of the records that are refused for what they hold.
        clock: milliseconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        server: MemoryServer | None = None,
        *,
        faults: Iterable[Fault] = (),
        refuses: Iterable[int] = (),
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.server = MemoryServer() if server is None else server
        self.faults = deque(faults)
        self.refuses = set(refuses)
        self.batches: list[Batch] = []
        self._clock = clock
        self._leases: dict[TopicPartition, int] = {}
        self._parking = Parking()

    def rows(self, table: TableId) -> list[Row]:
        """Return a table's rows, in no particular order."""
        return [*self.server.tables.get(table, {}).values(), *self.server.keyless.get(table, [])]

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        server = self.server
        claimed: dict[TopicPartition, Stored] = {}
        for claim in claims:
            partition = claim.partition
            generation = generation_of(claim, server.known.values())
            before, known = server.state.get(partition), server.known.get(partition)
            same = known is not None and known.topic_id == claim.topic_id
            progress = progress_of(before.progress if before else Progress(0), same_topic=same)
            lease = before.lease + 1 if before else 1
            claimed[partition] = server.state[partition] = Stored(progress, generation, lease, self._clock())
            server.known[partition] = Known(partition, claim.topic_id, claim.partitions, generation)
            self._leases[partition] = lease
        self._parking.claimed(claimed, server.parked.values())
        return claimed

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        for partition in partitions:
            self._leases.pop(partition, None)
        self._parking.released(partitions)

    def apply(self, batch: Batch, park: Park) -> None:
        """See :class:`sinks.targets.base.Target`."""
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, During):
            fault.call()
        self._check_leases(batch)
        if isinstance(fault, Before):
            raise fault.error
        tables = {table: dict(rows) for table, rows in self.server.tables.items()}
        keyless = {table: list(rows) for table, rows in self.server.keyless.items()}
        sifter = self._parking.begin(batch, self._clock())
        followed: list[tuple[str, int]] = []
        for segment in batch.segments:
            match segment:
                case Truncate():
                    sifter.truncate(segment)
                    tables.pop(segment.table, None)
                    keyless.pop(segment.table, None)
                case SchemaChange():
                    sifter.follow(segment)
                    if segment.position not in self.server.followed:
                        _follow(segment, tables, keyless)
                    followed.append(segment.position)
                case RowChanges():
                    changes = sifter.sift(segment)
                    if segment.schema.key:
                        refused = self._apply_keyed(changes, tables.setdefault(segment.table, {}))
                    else:
                        refused = self._apply_keyless(changes, keyless.setdefault(segment.table, []))
                    sifter.park(refused, segment.generation)
                case _:
                    assert_never(segment)
        rejections = sifter.finish()
        if rejections:
            park(rejections)
        self._commit(batch, tables, keyless)
        parked = self.server.parked | sifter.changed
        self.server.parked = {key: held for key, held in parked.items() if held is not None}
        self._parking.committed(sifter)
        self.server.followed.update(followed)
        if isinstance(fault, After):
            raise fault.error

    def _check_leases(self, batch: Batch) -> None:
        for partition in batch.progress:
            held = self.server.state.get(partition)
            if held is None or held.lease != self._leases.get(partition):
                raise FencedError("another worker has claimed the partition", where=str(partition))

    def _apply_keyed(self, changes: RowChanges, rows: dict[Key, Row]) -> list[Rejection]:
        rejections: list[Rejection] = []
        refused: dict[bytes, int] = {}
        schema = changes.schema
        names = [column.name for column in schema.columns]
        for change in changes.frame.iter_rows(named=True):
            offset: int = change["offset"]
            key = tuple(change[name] for name in schema.key_columns)
            if offset in self.refuses:
                refused.setdefault(change["key"], offset)
            first = refused.get(change["key"])
            if first is not None:
                reason = "refused by script" if first == offset else follows(first)
                rejections.append(Rejection(changes.partition, offset, reason, change["key"], changes.table))
            elif change["deleted"]:
                rows.pop(key, None)
            else:
                rows[key] = {n: change[c] for n, c in zip(names, schema.data_columns, strict=True)}
        return rejections

    def _apply_keyless(self, changes: RowChanges, rows: list[Row]) -> list[Rejection]:
        rejections: dict[int, Rejection] = {}
        first: int | None = None
        names = [column.name for column in changes.schema.columns]
        for change in changes.frame.iter_rows(named=True):
            offset: int = change["offset"]
            row = {n: change[c] for n, c in zip(names, changes.schema.data_columns, strict=True)}
            if first is not None or offset in self.refuses:
                first = offset if first is None else first
                reason = "refused by script" if first == offset else follows(first)
                rejections[offset] = Rejection(changes.partition, offset, reason, b"", changes.table)
            elif not change["deleted"]:
                rows.append(row)
            elif row in rows:
                rows.remove(row)
        return list(rejections.values())

    def _commit(
        self, batch: Batch, tables: dict[TableId, dict[Key, Row]], keyless: dict[TableId, list[Row]]
    ) -> None:
        self.server.tables, self.server.keyless = tables, keyless
        for partition, progress in batch.progress.items():
            held = self.server.state[partition]
            self.server.state[partition] = Stored(progress, held.generation, held.lease, self._clock())
        self.batches.append(batch)

    def stored(self) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        return dict(self.server.state)

    def parked(self) -> list[ParkedKey]:
        """See :class:`sinks.targets.base.Target`."""
        return list(self.server.parked.values())

    def ask(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self.server.requests |= {(request.topic, request.key): request for request in requests}

    def requests(self) -> list[Request]:
        """See :class:`sinks.targets.base.Target`."""
        return list(self.server.requests.values())

    def answered(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        for request in requests:
            if self.server.requests.get((request.topic, request.key)) == request:
                del self.server.requests[request.topic, request.key]

    def ping(self) -> None:
        """See :class:`sinks.targets.base.Target`: memory always answers."""

    def close(self) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._leases.clear()


def _follow(
    change: SchemaChange, tables: dict[TableId, dict[Key, Row]], keyless: dict[TableId, list[Row]]
) -> None:
    """Carry rows over to the new definition; values stay what they are, under whichever type."""
    rows = [*tables.pop(change.table, {}).values(), *keyless.pop(change.table, [])]
    if change.after is None or not rows:
        return
    schema = change.schema
    if schema is None:
        keyless[change.after] = rows
        return
    olds = {column.name: change.renamed.get(column.name, column.name) for column in schema.columns}
    given = {name: added.value for name, added in change.added.items()}
    carried = [{new: given.get(new, row.get(old)) for new, old in olds.items()} for row in rows]
    if schema.key:
        tables[change.after] = {tuple(row[name] for name in schema.key): row for row in carried}
    else:
        keyless[change.after] = carried
