"""The contract between the worker and a target, and the values that cross it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import polars as pl

if TYPE_CHECKING:
    from sinks.change import Progress, TopicPartition
    from sinks.table_schema import TableId, TableSchema


@dataclass(frozen=True)
class RowChanges:
    """Consecutive changes of one table, under one schema, from one partition: no barrier among them.

    Attributes:
        schema: the table as these changes saw it, after routes and renames.
        partition: where they came from.
        frame: one row per change in log order. ``offset`` Int64; ``deleted`` Boolean; ``key`` Binary: the
            key's identity (``Wire.key_of``), empty for a table without a key; then ``c0 … cn``: the row after
            the change, or, for a delete, the row before it. In a table without a key an update stands as two
            rows of the same offset: the old one deleted, the new one not.
        generation: of the topic when these records were read; None: the one of the partition's claim.
    """

    schema: TableSchema
    partition: TopicPartition
    frame: pl.DataFrame
    generation: int | None = None

    @property
    def table(self) -> TableId:
        """The table that they are of."""
        return self.schema.table

    @cached_property
    def last(self) -> pl.DataFrame:
        """The frame coalesced: the last change of each key, in log order. Without a key: the frame itself."""
        if not self.schema.key:
            return self.frame
        return self.frame.unique(subset="key", keep="last", maintain_order=True)

    def of_key(self, key: bytes) -> pl.DataFrame:
        """Return all changes of one key, in log order."""
        return self.frame.filter(pl.col("key") == pl.lit(key, dtype=pl.Binary))


@dataclass(frozen=True)
class Truncate:
    """Barrier: the table was emptied at this offset; nothing is coalesced across it.

    It names the table only: its record has no key, and so tells nothing of the table's schema.
    """

    table: TableId
    partition: TopicPartition
    offset: int


@dataclass(frozen=True)
class Added:
    """A column that is new, also where one of its name was there before.

    Attributes:
        value: what rows that were there hold in it, as text or bytes; None: NULL, or the type's own zero
            where NULL may not be.
    """

    value: str | bytes | None = None


@dataclass(frozen=True)
class SchemaChange:
    """Barrier: the table's definition changed at the source; the first segment of its table in a batch.

    Attributes:
        table: the table's name in the target before.
        after: its name afterwards; None: it was dropped.
        schema: its definition afterwards; None: dropped, or renamed and otherwise as it was.
        partition: in whose order it stands.
        offset: the first offset of that partition that may hold a later change.
        position: the source's schema-change topic by its id, and the change's offset there.
        renamed: new name of each renamed column → the old one.
        added: columns that are new, by name.
    """

    table: TableId
    after: TableId | None
    schema: TableSchema | None
    partition: TopicPartition
    offset: int
    position: tuple[str, int]
    renamed: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, Added] = field(default_factory=dict)


Segment = RowChanges | Truncate | SchemaChange


@dataclass(frozen=True)
class Batch:
    """What is applied and committed as one.

    Attributes:
        segments: in the order in which they are to be applied.
        progress: how far each partition is once the batch is committed; also partitions without a segment
            (tombstones, replays, parked records, transaction markers).
        undecodable: records between the changes that can't be decoded: they park their keys where they stand.
        releases: parked keys whose dead letters the segments are, or that are given up.
    """

    segments: Sequence[Segment]
    progress: Mapping[TopicPartition, Progress]
    undecodable: Sequence[Rejection] = ()
    releases: Sequence[Release] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is parked, with a reason that holds no row values.

    Attributes:
        partition: where it is.
        offset: its place there.
        reason: why it is refused, or which refused change it follows.
        key: identity of its key (``Wire.key_of``); empty: its whole table.
        table: as the target knows it; None: that can't be read.
        generation: of the topic when it was read; None: the one of the partition's claim.
    """

    partition: TopicPartition
    offset: int
    reason: str
    key: bytes = b""
    table: TableId | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key with open dead letters: every later change of it is parked too.

    Attributes:
        topic: of its table.
        key: its identity (``Wire.key_of``); empty: the whole table.
        table: as the target knows it; None: never read.
        partition: of its last dead letter.
        first: version (see :func:`sinks.change.pack_version`) of the first open dead letter.
        last: of the last one.
        letters: how many are open.
        reason: why the first is refused.
        parked_ms: when it was parked, ms since the epoch.
    """

    topic: str
    key: bytes
    table: TableId | None
    partition: int
    first: int
    last: int
    letters: int
    reason: str
    parked_ms: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """Dead letters of a parked key that are not open any more once the batch is applied.

    Attributes:
        topic: of the key.
        key: its identity.
        through: version of the last of them; the key stays parked if it has later ones.
        letters: how many they are.
    """

    topic: str
    key: bytes
    through: int
    letters: int


Action = Literal["replay", "discard"]


@dataclass(frozen=True)
class Request:
    """What an operator asks of the worker that owns a parked key's partition. One per key: the last counts.

    Attributes:
        action: what is to be done with the key's open dead letters.
        topic: of the key.
        key: its identity.
        partition: whose owner carries it out.
        edits: new values by version of a dead letter and name of a column in the target.
    """

    action: Action
    topic: str
    key: bytes
    partition: int
    edits: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition that the worker was assigned, as Kafka knows its topic now.

    Attributes:
        topic_id: Kafka's id of the topic: another one after it was re-created.
        partitions: how many partitions the topic has.
    """

    partition: TopicPartition
    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a target holds of one partition, for health and lag; also read when no worker runs.

    Attributes:
        progress: how far it is.
        generation: see :func:`sinks.change.pack_version`.
        lease: number of the last claim; only its holder may write.
        committed_ms: when the progress was committed, ms since the epoch.
    """

    progress: Progress
    generation: int
    lease: int
    committed_ms: int = 0


Park = Callable[[Sequence[Rejection]], None]


class Target(Protocol):
    """A place that changes are applied to. One worker drives one target from one thread at a time.

    Order: the changes of a key reach :meth:`apply` in log order, and are in effect in that order.
    Duplicates: a batch may be handed in again after an error or a restart; applying it twice leaves the same
    state as once. Truth lives in the target: after any error the worker claims its partitions again and goes
    on from the positions returned, not from what it remembers.

    Errors, of all methods: ``OutageError`` when the same call may succeed later; ``FencedError`` when another
    worker has claimed a partition since; ``FatalError`` for all else. Never ``RejectedError``: what a target
    refuses for its content goes to ``park`` and the rest of the batch is applied.

    Parked keys: with the first record of a key that is refused, or can't be decoded, the key is parked (in a
    table without a key: the table), durably and in one with the progress. From then on, also in later batches
    and other workers', every change of it is refused with a reason that begins with ``follows``, and nothing
    of it is applied, until a batch releases it. A truncate releases the keys of its partition: what was
    parked before it is of no effect any more. A delete does not: it waits in its place.
    """

    name: str

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """Take ownership of partitions: raise their fence, so that no earlier owner can write any more.

        Returns where to go on per partition; ``next_offset`` 0 and an empty watermark for one never seen.
        A topic with another id starts over at 0 under the next generation.
        """
        ...

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are owned no longer. Writes nothing."""
        ...

    def apply(self, batch: Batch, park: Park) -> None:
        """Bring the segments into effect in order, and store the progress.

        When this returns, all is durable. ``park`` is called with what was refused before anything is
        committed; when it raises, nothing is committed (a target without transactions has stored no
        progress, and the same batch comes again). Of a key with a refused change, the changes before it in
        the batch are applied, and it and all later ones are parked. A batch with no segments only stores
        progress. Segments of a released key are its dead letters: they are applied although it is parked,
        and it is parked again at the first of them that is refused.
        """
        ...

    def parked(self) -> list[ParkedKey]:
        """Return the parked keys of this sink, whoever owns them; in the order of their parking."""
        ...

    def ask(self, requests: Sequence[Request]) -> None:
        """Record requests for the workers that own the keys; callable by one who has claimed nothing."""
        ...

    def requests(self) -> list[Request]:
        """Return the requests that are not answered yet."""
        ...

    def answered(self, requests: Sequence[Request]) -> None:
        """Remove requests, unless they were replaced by other ones since."""
        ...

    def stored(self) -> dict[TopicPartition, Stored]:
        """Return what is stored for every partition of this sink, whoever owns it."""
        ...

    def ping(self) -> None:
        """Return when the target answers; raise ``OutageError`` when it does not."""
        ...

    def close(self) -> None:
        """Give back connections. May be called twice."""
        ...
