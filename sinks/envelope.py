"""From the records of one partition to changes: decode as columns, drop replays, split at barriers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinks.change import Place, Progress, TopicPartition, Watermark, parse_gtid
from sinks.errors import FatalError, RejectedError
from sinks.table_schema import Column, TableId, TableSchema
from sinks.targets.base import Rejection, RowChanges, Segment, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from sinks.wire.base import Decoded, EnvelopeSchema, Wire

CREATE, SNAPSHOT, UPDATE, DELETE, TRUNCATE = "c", "r", "u", "d", "t"
_UNREADABLE = "?"
"""What the identity of a key that can't be read begins with."""


@dataclass(frozen=True)
class Records:
    """Consecutive records of one partition, as parallel lists in offset order.

    Attributes:
        partition: where they are.
        offsets: increasing; compaction and transaction markers leave gaps.
        keys: raw keys; None for a table without a key.
        values: raw values; None for a tombstone.
        timestamps: when each was written to Kafka, ms since the epoch; needed to place schema changes.
    """

    partition: TopicPartition
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps: Sequence[int] = ()

    def first(self, count: int) -> Records:
        """Return the first so many of them."""
        return Records(
            self.partition,
            self.offsets[:count],
            self.keys[:count],
            self.values[:count],
            self.timestamps[:count],
        )


class Stamp(NamedTuple):
    """What places one record: its row among its records, GTID and columns; no source for a snapshot's."""

    row: int
    source: str
    transaction: int
    columns: tuple[str, ...]


class Routed(NamedTuple):
    """What a sink takes of a source table: its schema in the target, and the indices of the columns kept."""

    schema: TableSchema
    indices: tuple[int, ...]


@dataclass
class Changes:
    """What a stretch of records comes to.

    Attributes:
        segments: changes and barriers in log order.
        rejections: records that can't be decoded, with their keys' identities.
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
        _check_offsets(records, progress.next_offset)
        changes, counts = self._read(records, progress, again=False)
        counts["parked"] += len(changes.rejections)
        changes.progress = replace(
            changes.progress,
            next_offset=records.offsets[-1] + 1,
            counts={k: n for k, n in counts.items() if n},
        )
        return changes

    def read_again(self, records: Records) -> Changes:
        """Turn records that were parked into changes: none of them is a replay, and offsets may have gaps."""
        return self._read(records, Progress(0), again=True)[0]

    def _read(self, records: Records, progress: Progress, *, again: bool) -> tuple[Changes, Counter[str]]:
        changes = Changes(progress=progress)
        counts = Counter(progress.counts)
        counts["tombstone"] += records.values.count(None)
        for run in self._runs(records, changes.rejections):
            self._read_run(run, records, changes, counts, again=again)
        changes.rejections.sort(key=attrgetter("offset"))
        return changes, counts

    def _rejection(self, records: Records, row: int, reason: str, *, keyless: bool) -> Rejection:
        """Reject a record: by the key that can be read, else by itself; without a key the whole table."""
        key = records.keys[row]
        offset = records.offsets[row]
        if key is None:
            identity = b"" if keyless else f"{_UNREADABLE}{records.partition.partition}/{offset}".encode()
        else:
            try:
                identity = self._wire.key_of(key)
            except RejectedError:
                identity = _UNREADABLE.encode() + key
        return Rejection(records.partition, offset, reason, identity)

    def stamps(self, records: Records) -> Iterator[Stamp]:
        """Yield what places each record that decodes, tombstones left out: see :mod:`sinks.barriers`."""
        for run in self._runs(records, []):
            values = [value for row in run.rows if (value := records.values[row]) is not None]
            frame = self._wire.decode(run.token, values).frame
            columns = tuple(of.name for of in run.schema.fields)
            for ordinal, op, gtid in frame.select("ordinal", "op", "gtid").iter_rows():
                row = run.rows[ordinal]
                if op == SNAPSHOT or not gtid:
                    yield Stamp(row, "", 0, columns)
                else:
                    yield Stamp(row, *parse_gtid(gtid), columns)

    def _runs(self, records: Records, rejections: list[Rejection]) -> Iterator[_Run]:
        """Group consecutive records of equal schemas; tombstones are passed over."""
        run: _Run | None = None
        # Who has no key in a table that has one is a stranger, and holds nobody up but itself.
        keyless = not any(key is not None for key in records.keys)
        for row, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            if value is None:
                continue
            token = None
            try:
                token = self._wire.schema_of(key, value)
                if run is not None and run.token == token:
                    run.rows.append(row)
                    continue
                schema = self._wire.open(token)
            except RejectedError as error:
                of_table = keyless and token is not None
                rejections.append(self._rejection(records, row, error.what, keyless=of_table))
                continue
            if run is not None:
                yield run
            run = _Run(token, schema, [row])
        if run is not None:
            yield run

    def _read_run(
        self, run: _Run, records: Records, changes: Changes, counts: Counter[str], *, again: bool
    ) -> None:
        values = [value for row in run.rows if (value := records.values[row]) is not None]
        decoded = self._wire.decode(run.token, values)
        frame, refused = _whole(decoded, keyless=not run.schema.key)
        changes.rejections.extend(
            self._rejection(records, run.rows[i], reason, keyless=not run.schema.key)
            for i, reason in refused.items()
        )
        if frame.is_empty():
            return
        offsets = pl.Series([records.offsets[row] for row in run.rows], dtype=pl.Int64)
        keys = self._identities([records.keys[row] for row in run.rows])
        ordinals = frame["ordinal"]
        frame = frame.with_columns(
            offsets.gather(ordinals).alias("offset"), keys.gather(ordinals).alias("key")
        )
        fresh = frame if again else self._drop_replays(frame, records.partition, changes)
        counts["replay"] += frame.height - fresh.height
        if fresh.is_empty():
            return
        counts.update(dict(fresh["op"].value_counts().iter_rows()))
        changes.progress = replace(changes.progress, source_ms=fresh["source_ms"][-1] or 0)
        for name, of_table in _by_table(fresh):
            routed = self._routed(run, name)
            if routed is not None:
                changes.segments.extend(_segments(routed, run.schema, records.partition, of_table))

    def _identities(self, keys: Sequence[bytes | None]) -> pl.Series:
        """Return the identities of keys of one schema: what names it is equally long in all of them."""
        raw = pl.Series([key or b"" for key in keys], dtype=pl.Binary)
        if not keys[0]:
            return raw
        return raw.bin.slice(len(keys[0]) - len(self._wire.key_of(keys[0])))

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


def _check_offsets(records: Records, expected: int) -> None:
    for offset in records.offsets:
        if offset < expected:
            raise FatalError(
                f"offset {offset} was read again: {expected} or later was expected",
                where=str(records.partition),
            )
        expected = offset + 1


def _whole(decoded: Decoded, *, keyless: bool) -> tuple[pl.DataFrame, dict[int, str]]:
    """Take out what decodes and yet does not say what became of which row."""
    op = pl.col("op")
    known = op.is_in([CREATE, SNAPSHOT, UPDATE, DELETE, TRUNCATE])
    known &= pl.col("database").is_not_null() & pl.col("table").is_not_null()
    # Of an update in a table with a key, the row before it is not needed.
    needs_before = op.is_in([DELETE, UPDATE] if keyless else [DELETE])
    has_rows = ~(needs_before & pl.col("before").is_null())
    has_rows &= ~(op.is_in([CREATE, SNAPSHOT, UPDATE]) & pl.col("after").is_null())
    checks = decoded.frame.select("ordinal", known=known.fill_null(value=False), has_rows=has_rows)
    bad = checks.filter(~(pl.col("known") & pl.col("has_rows")))
    if bad.is_empty():
        return decoded.frame, dict(decoded.refused)
    refused = {
        ordinal: "the change comes without its row: binlog_row_image=FULL is required"
        if is_known
        else "the envelope names no table or no operation that is known"
        for ordinal, is_known, _ in bad.iter_rows()
    }
    frame = decoded.frame.filter(~pl.col("ordinal").is_in([*refused]))
    return frame, {**decoded.refused, **refused}


def _find_replays(streamed: pl.DataFrame, watermark: Watermark) -> tuple[list[int], Watermark, str | None]:
    """Return the offsets of replays, the watermark after the others, and the last GTID that is not a replay.

    A truncate has no place of its own in its transaction: it counts as the first.
    """
    replays: list[int] = []
    last_gtid: str | None = None
    gtid = pl.col("gtid")
    stem = gtid.str.strip_chars_end("0123456789")
    places = streamed.select(
        "offset",
        "gtid",
        transaction=gtid.str.slice(stem.str.len_chars()).cast(pl.Int64, strict=False),
        order=pl.col("order").fill_null(0),
        stretch=stem.rle_id(),
    )
    for stretch in places.partition_by("stretch", maintain_order=True, include_key=False):
        source, _ = parse_gtid(stretch["gtid"][0])
        first, last = (Place(*stretch.row(end)[2:]) for end in (0, -1))
        # Nearly always: a stretch of one source, each change at a later place than the one before it.
        if not watermark.covers(source, first) and stretch.select(_INCREASING).item():
            watermark, last_gtid = watermark.advanced(source, last), stretch["gtid"][-1]
            continue
        for offset, of, transaction, order in stretch.iter_rows():
            if watermark.covers(source, Place(transaction, order)):
                replays.append(offset)
            else:
                watermark, last_gtid = watermark.advanced(source, Place(transaction, order)), of
    return replays, watermark, last_gtid


_STEP = pl.col("transaction").diff()
_INCREASING = ((_STEP > 0) | ((_STEP == 0) & (pl.col("order").diff() > 0))).all()


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
            yield Truncate(routed.schema.table, partition, frame["offset"][index])
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
