"""From the records of one partition to changes: decode as columns, drop replays, split at barriers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinks.change import Place, Progress, TopicPartition, Watermark, parse_gtid
from sinks.errors import FatalError, RejectedError
from sinks.table_schema import Column, TableId, TableSchema
from sinks.targets.base import Rejection, RowChanges, Segment, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from sinks.wire.base import EnvelopeSchema, Wire

SNAPSHOT, TRUNCATE, DELETE, UPDATE = "r", "t", "d", "u"


@dataclass(frozen=True)
class Records:
    """Consecutive records of one partition, as parallel lists in offset order.

    Attributes:
        partition: where they are.
        offsets: increasing; compaction and transaction markers leave gaps.
        keys: raw keys; None for a table without a key.
        values: raw values; None for a tombstone.
    """

    partition: TopicPartition
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]


class Routed(NamedTuple):
    """What a sink takes of a source table: its schema in the target, and the indices of the columns kept."""

    schema: TableSchema
    indices: tuple[int, ...]


@dataclass
class Changes:
    """What a stretch of records comes to.

    Attributes:
        segments: changes and barriers in log order.
        rejections: records that can't be decoded.
        progress: how far the partition is once all this is applied.
    """

    segments: list[Segment] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress(0))


class _Run(NamedTuple):
    token: Hashable
    schema: EnvelopeSchema
    rows: list[int]


class ChangeReader:
    """Reads changes of captured tables off Kafka records.

    Args:
        wire: the wire format.
        route: what the sink takes of a source table; None if it is excluded.
    """

    def __init__(self, wire: Wire, route: Callable[[TableSchema], Routed | None]) -> None:
        self._wire = wire
        self._route = route
        self._tables: dict[tuple[Hashable, TableId], Routed | None] = {}

    def read(self, records: Records, progress: Progress) -> Changes:
        """Turn records into changes, going on from ``progress``.

        Raises:
            OutageError: the registry can't be reached; nothing was consumed.
            FatalError: the connector's settings can't give exactly-once, or offsets went back.
        """
        if not records.offsets:
            return Changes(progress=progress)
        if records.offsets[0] < progress.next_offset:
            raise FatalError(
                f"offset {records.offsets[0]} was read again: {progress.next_offset} was expected",
                where=str(records.partition),
            )
        changes = Changes(progress=progress)
        counts = Counter(progress.counts)
        counts["tombstone"] += records.values.count(None)
        for run in self._runs(records, changes.rejections):
            self._read_run(run, records, changes, counts)
        counts["parked"] += len(changes.rejections)
        changes.progress = replace(
            changes.progress,
            next_offset=records.offsets[-1] + 1,
            counts={k: n for k, n in counts.items() if n},
        )
        return changes

    def _runs(self, records: Records, rejections: list[Rejection]) -> Iterator[_Run]:
        """Group consecutive records of equal schemas; tombstones are passed over."""
        run: _Run | None = None
        for row, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            if value is None:
                continue
            try:
                token = self._wire.schema_of(key, value)
                if run is not None and run.token == token:
                    run.rows.append(row)
                    continue
                schema = self._wire.open(token)
            except RejectedError as error:
                rejections.append(Rejection(records.partition, records.offsets[row], error.what))
                continue
            if run is not None:
                yield run
            run = _Run(token, schema, [row])
        if run is not None:
            yield run

    def _read_run(self, run: _Run, records: Records, changes: Changes, counts: Counter[str]) -> None:
        values = [value for row in run.rows if (value := records.values[row]) is not None]
        decoded = self._wire.decode(run.token, values)
        changes.rejections.extend(
            Rejection(records.partition, records.offsets[run.rows[i]], reason)
            for i, reason in decoded.refused.items()
        )
        if decoded.frame.is_empty():
            return
        offsets = pl.Series([records.offsets[row] for row in run.rows], dtype=pl.Int64)
        keys = pl.Series([records.keys[row] or b"" for row in run.rows], dtype=pl.Binary)
        ordinals = decoded.frame["ordinal"]
        frame = decoded.frame.with_columns(
            offsets.gather(ordinals).alias("offset"), keys.gather(ordinals).alias("key")
        )
        fresh = self._drop_replays(frame, records.partition, changes)
        counts["replay"] += frame.height - fresh.height
        if fresh.is_empty():
            return
        counts.update(dict(fresh["op"].value_counts().iter_rows()))
        last = fresh.row(-1, named=True)
        changes.progress = replace(changes.progress, source_ms=last["source_ms"] or 0)
        for name, of_table in _by_table(fresh):
            routed = self._routed(run, name)
            if routed is not None:
                changes.segments.extend(_segments(routed, run.schema, records.partition, of_table))

    def _routed(self, run: _Run, name: TableId) -> Routed | None:
        known = (run.token, name)
        if known not in self._tables:
            columns = tuple(Column(f.name, f.type, f.nullable) for f in run.schema.fields)
            self._tables[known] = self._route(TableSchema(name, columns, run.schema.key))
        return self._tables[known]

    def _drop_replays(self, frame: pl.DataFrame, partition: TopicPartition, changes: Changes) -> pl.DataFrame:
        """Drop streamed changes at or below the watermark, and advance it. Snapshot rows always stay."""
        streamed = frame.filter(pl.col("op") != SNAPSHOT)
        if streamed.is_empty():
            return frame
        if streamed["gtid"].has_nulls():
            raise FatalError(
                "a change carries no GTID",
                where=str(partition),
                hint="set gtid_mode=ON and enforce_gtid_consistency=ON on the MySQL server",
            )
        if streamed.filter(pl.col("order").is_null() & (pl.col("op") != TRUNCATE)).height:
            raise FatalError(
                "a change carries no place in its transaction",
                where=str(partition),
                hint="set provide.transaction.metadata=true on the Debezium connector",
            )
        replays, watermark, gtid = _find_replays(streamed, changes.progress.watermark)
        changes.progress = replace(changes.progress, watermark=watermark, gtid=gtid or changes.progress.gtid)
        if not replays:
            return frame
        return frame.filter(~pl.col("offset").is_in(replays))


def _find_replays(streamed: pl.DataFrame, watermark: Watermark) -> tuple[list[int], Watermark, str | None]:
    """Return the offsets of replays, the watermark after the others, and the last GTID that is not a replay.

    A truncate has no place of its own in its transaction: it counts as the first.
    """
    replays: list[int] = []
    last_gtid: str | None = None
    # A change's GTID repeats over its transaction: parse each once, and look at its changes as columns.
    runs = streamed.select(
        "gtid", "offset", order=pl.col("order").fill_null(0), run=pl.col("gtid").rle_id()
    ).group_by("run", maintain_order=True)
    stretches = runs.agg(
        pl.col("gtid").first(),
        first=pl.col("order").first(),
        last=pl.col("order").last(),
        increasing=(pl.col("order").diff().drop_nulls() > 0).all(),
        offsets=pl.col("offset"),
        orders=pl.col("order"),
    )
    for gtid, first, last, increasing, offsets, orders in stretches.drop("run").iter_rows():
        source, transaction = parse_gtid(gtid)
        if increasing and not watermark.covers(source, Place(transaction, first)):
            watermark, last_gtid = watermark.advanced(source, Place(transaction, last)), gtid
            continue
        for offset, order in zip(offsets, orders, strict=True):
            if watermark.covers(source, Place(transaction, order)):
                replays.append(offset)
            else:
                watermark, last_gtid = watermark.advanced(source, Place(transaction, order)), gtid
    return replays, watermark, last_gtid


def _by_table(frame: pl.DataFrame) -> Iterator[tuple[TableId, pl.DataFrame]]:
    """Split by the table that the source names: usually one, whatever the topic is called."""
    first = TableId(frame["database"][0], frame["table"][0])
    if ((frame["database"] == first.database) & (frame["table"] == first.name)).all():
        yield first, frame
        return
    for part in frame.partition_by("database", "table", maintain_order=True):
        yield TableId(part["database"][0], part["table"][0]), part


def _segments(
    routed: Routed, schema: EnvelopeSchema, partition: TopicPartition, frame: pl.DataFrame
) -> Iterator[Segment]:
    """Cut one table's changes at truncates, and turn the rest into rows."""
    start = 0
    barriers = frame["op"] == TRUNCATE
    for index in (*barriers.arg_true(), frame.height):
        if index > start:
            rows = _rows(routed, schema, frame.slice(start, index - start))
            yield RowChanges(routed.schema, partition, rows)
        if index < frame.height:
            yield Truncate(routed.schema, partition, frame["offset"][index])
        start = index + 1


def _rows(routed: Routed, schema: EnvelopeSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """Give each change its row: after it, or before it for a delete. See ``RowChanges.frame``."""
    if schema.key:
        deleted = pl.col("op") == DELETE
        image = pl.when(deleted).then(pl.col("before")).otherwise(pl.col("after"))
        images = frame.select("offset", deleted.alias("deleted"), "key", image.alias("image"))
    else:
        old = frame.with_row_index("place").filter(pl.col("op").is_in([DELETE, UPDATE]))
        new = frame.with_row_index("place").filter(pl.col("op") != DELETE)
        both = [
            old.select("place", "offset", pl.lit(value=True).alias("deleted"), "key", image="before"),
            new.select("place", "offset", pl.lit(value=False).alias("deleted"), "key", image="after"),
        ]
        images = pl.concat(both).sort("place", "deleted", descending=[False, True], maintain_order=True)
        images = images.drop("place")
    data = images.select(pl.col("image").struct.unnest()).select(
        schema.fields[index].value.alias(f"c{i}") for i, index in enumerate(routed.indices)
    )
    return images.drop("image").hstack(data)
