"""The reference target: a dictionary per table. It shows the contract at its plainest and scripts faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from sinks.change import Progress
from sinks.errors import FencedError
from sinks.targets.base import Batch, Claim, Park, Rejection, RowChanges, Stored, Truncate
from sinks.targets.generation import Known, generation_of, progress_of

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
    """

    tables: dict[TableId, dict[Key, Row]] = field(default_factory=dict)
    keyless: dict[TableId, list[Row]] = field(default_factory=dict)
    state: dict[TopicPartition, Stored] = field(default_factory=dict)
    known: dict[TopicPartition, Known] = field(default_factory=dict)


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
        return claimed

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        for partition in partitions:
            self._leases.pop(partition, None)

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
        rejections: list[Rejection] = []
        refused: dict[tuple[TableId, Key], int] = {}
        for segment in batch.segments:
            match segment:
                case Truncate():
                    tables.pop(segment.table, None)
                    keyless.pop(segment.table, None)
                case RowChanges() if segment.schema.key:
                    rows = tables.setdefault(segment.table, {})
                    rejections += self._apply_keyed(segment, rows, refused)
                case RowChanges():
                    rejections += self._apply_keyless(segment, keyless.setdefault(segment.table, []))
                case _:
                    assert_never(segment)
        if rejections:
            park(rejections)
        self._commit(batch, tables, keyless)
        if isinstance(fault, After):
            raise fault.error

    def _check_leases(self, batch: Batch) -> None:
        for partition in batch.progress:
            held = self.server.state.get(partition)
            if held is None or held.lease != self._leases.get(partition):
                raise FencedError("another worker has claimed the partition", where=str(partition))

    def _apply_keyed(
        self, changes: RowChanges, rows: dict[Key, Row], refused: dict[tuple[TableId, Key], int]
    ) -> list[Rejection]:
        rejections: list[Rejection] = []
        schema = changes.schema
        names = [column.name for column in schema.columns]
        for change in changes.frame.iter_rows(named=True):
            offset: int = change["offset"]
            key = tuple(change[name] for name in schema.key_columns)
            first = refused.get((schema.table, key))
            if first is not None:
                reason = f"follows the refused change of its key at offset {first}"
                rejections.append(Rejection(changes.partition, offset, reason))
            elif offset in self.refuses:
                refused[schema.table, key] = offset
                rejections.append(Rejection(changes.partition, offset, "refused by script"))
            elif change["deleted"]:
                rows.pop(key, None)
            else:
                rows[key] = {n: change[c] for n, c in zip(names, schema.data_columns, strict=True)}
        return rejections

    def _apply_keyless(self, changes: RowChanges, rows: list[Row]) -> list[Rejection]:
        rejections: dict[int, Rejection] = {}
        names = [column.name for column in changes.schema.columns]
        for change in changes.frame.iter_rows(named=True):
            offset: int = change["offset"]
            row = {n: change[c] for n, c in zip(names, changes.schema.data_columns, strict=True)}
            if offset in self.refuses:
                rejections[offset] = Rejection(changes.partition, offset, "refused by script")
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

    def ping(self) -> None:
        """See :class:`sinks.targets.base.Target`: memory always answers."""

    def close(self) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._leases.clear()
