"""The target that keeps one Elasticsearch document per row of a MySQL table."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from sinks.change import pack_version
from sinks.targets.base import Batch, Claim, Park, Rejection, RowChanges, Stored, Truncate
from sinks.targets.elasticsearch.bulk import Bulk
from sinks.targets.elasticsearch.client import Client
from sinks.targets.elasticsearch.documents import delete_lines, document_ids, operations
from sinks.targets.elasticsearch.indices import Indices
from sinks.targets.elasticsearch.options import ElasticsearchOptions
from sinks.targets.elasticsearch.scan import scan
from sinks.targets.elasticsearch.state import StateStore
from sinks.targets.isolate import apply_one_by_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinks.change import TopicPartition
    from sinks.table_schema import TableId
    from sinks.targets.base import Segment

_KEYLESS = (
    "the table has no primary key, so its rows have no document id: name its key columns in "
    "message.key.columns of the connector, or exclude the table for this sink in cdc.toml"
)

Check = Callable[[], None]
Refused = dict[tuple[str, str], int]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ElasticsearchTarget:
    """Effectively-once: every write carries its change's version, and an older version never wins.

    Args:
        name: the sink's name.
        url: where the cluster answers.
        options: connection, sizes, settings of new indices.
        clock: milliseconds since the epoch.
        sleep: waits between attempts.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        options: ElasticsearchOptions | None = None,
        clock: Callable[[], int] = _now_ms,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        options = ElasticsearchOptions() if options is None else options
        self._client = Client(url, options)
        self._bulk = Bulk(self._client, options, sleep=sleep)
        self._state = StateStore(self._client, name, options, clock=clock)
        self._indices = Indices(self._client, options)

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        self._indices.forget()
        return self._state.claim(claims)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._state.release(partitions)

    def apply(self, batch: Batch, park: Park) -> None:
        """Bring a batch into effect; see :class:`sinks.targets.base.Target`.

        1. Write the rows, wave by wave: tables side by side, the segments of one table one after the other.
           The leases are checked before each request.
        2. Park what was refused.
        3. Store the progress, if the leases still hold. A crash before this has the batch applied again, to
           the same effect: versions are those of the first time.
        """
        check = partial(self._state.check, tuple(batch.progress))
        rejections: list[Rejection] = []
        refused: Refused = {}
        for wave in _waves(batch.segments):  # 1
            if isinstance(wave, Truncate):
                self._truncate(wave, check)
            else:
                rejections += self._apply_wave(wave, check, refused)
        if rejections:  # 2
            park(rejections)
        self._state.commit(batch.progress)  # 3

    def stored(self) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        return self._state.stored()

    def ping(self) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._client.request("GET", "/", doing="asking whether it runs")

    def close(self) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._bulk.close()
        self._client.close()

    def index_of(self, table: TableId) -> str | None:
        """Return the alias under which a table's documents are found; None before its first change."""
        return self._indices.find(table)

    def _apply_wave(self, wave: Sequence[RowChanges], check: Check, refused: Refused) -> list[Rejection]:
        rejections: list[Rejection] = []
        segments: list[RowChanges] = []
        built: list[pl.DataFrame] = []
        for received in wave:
            if not received.schema.key:
                rejections += _parked(received, received.frame, _KEYLESS)
                continue
            index = self._indices.ensure(received.schema)
            changes, late = _without_refused(received, index, refused)
            rejections += late
            built.append(
                self._operations(changes, index).with_columns(segment=pl.lit(len(segments), pl.UInt32))
            )
            segments.append(changes)
        if not built:
            return rejections
        for number, keys in self._send(built[0] if len(built) == 1 else pl.concat(built), check).items():
            rejections += self._isolate(segments[number], keys, check, refused)
        return rejections

    def _operations(self, changes: RowChanges, index: str) -> pl.DataFrame:
        generation, _ = self._state.held(changes.partition)
        return operations(changes.schema, changes.last, index=index, generation=generation)

    def _send(self, operations: pl.DataFrame, check: Check) -> dict[int, list[bytes]]:
        """Send operations; return the keys of those that are refused, by segment."""
        sound = operations
        if operations["fault"].null_count() < len(operations):
            sound = operations.filter(pl.col("fault").is_null())
        refusals = self._bulk.send(sound["line"], check) if len(sound) else {}
        if len(sound) == len(operations) and not refusals:
            return {}
        bad = pl.concat([operations.filter(pl.col("fault").is_not_null()), sound[sorted(refusals)]])
        keys: dict[int, list[bytes]] = {}
        for number, key in bad.select("segment", "key").iter_rows():
            keys.setdefault(number, []).append(key)
        return keys

    def _isolate(
        self, changes: RowChanges, keys: list[bytes], check: Check, refused: Refused
    ) -> list[Rejection]:
        index = self._indices.ensure(changes.schema)

        def apply(change: RowChanges) -> str | None:
            operation = self._operations(change, index)
            fault: str | None = operation["fault"][0]
            reason = fault or self._bulk.send(operation["line"], check).get(0)
            if reason is not None:
                document_id = document_ids(change.schema, change.frame)[0]
                refused.setdefault((index, document_id), change.frame["offset"][0])
            return reason

        return apply_one_by_one(changes, keys, apply)

    def _truncate(self, truncate: Truncate, check: Check) -> None:
        """Delete all documents that are older than the truncate.

        Offsets of different partitions can't be compared: if the topic has several, every document that is
        there at the barrier is deleted, at its own version, so that a replay brings back what came later.
        """
        index = self._indices.find(truncate.table)
        if index is None:
            return
        generation, partitions = self._state.held(truncate.partition)
        version = pack_version(generation, truncate.offset)
        for hits in scan(self._client, index, source=False):
            found = pl.DataFrame(
                {"_id": [hit["_id"] for hit in hits], "version": [hit["_version"] for hit in hits]},
                schema={"_id": pl.String, "version": pl.Int64},
            )
            if partitions == 1:
                older = found.filter(pl.col("version") < version)
                found = older.with_columns(version=pl.lit(version, pl.Int64))
            if len(found):
                self._bulk.send(delete_lines(index, found["_id"], found["version"]), check)


def _waves(segments: Sequence[Segment]) -> Iterator[list[RowChanges] | Truncate]:
    """Yield what may be in flight at once: no table twice, and truncates on their own."""
    wave: list[RowChanges] = []
    for segment in segments:
        barrier = isinstance(segment, Truncate)
        if wave and (barrier or any(s.table == segment.table for s in wave)):
            yield wave
            wave = []
        if isinstance(segment, Truncate):
            yield segment
        else:
            wave.append(segment)
    if wave:
        yield wave


def _without_refused(changes: RowChanges, index: str, refused: Refused) -> tuple[RowChanges, list[Rejection]]:
    """Take out the changes of keys of which an earlier segment of the batch had one refused."""
    first = {document_id: offset for (alias, document_id), offset in refused.items() if alias == index}
    if not first:
        return changes, []
    ids = document_ids(changes.schema, changes.frame)
    late = ids.is_in(list(first))
    rejections = [
        Rejection(
            changes.partition, offset, f"follows the refused change of its key at offset {first[document_id]}"
        )
        for offset, document_id in zip(changes.frame["offset"].filter(late), ids.filter(late), strict=True)
    ]
    return RowChanges(changes.schema, changes.partition, changes.frame.filter(~late)), rejections


def _parked(changes: RowChanges, frame: pl.DataFrame, reason: str) -> list[Rejection]:
    return [
        Rejection(changes.partition, offset, reason) for offset in frame["offset"].unique(maintain_order=True)
    ]
