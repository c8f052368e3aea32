"""The target that keeps one Elasticsearch document per row of a MySQL table."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from sinks.change import pack_version
from sinks.targets.base import Batch, Claim, Park, Rejection, RowChanges, SchemaChange, Stored, Truncate
from sinks.targets.elasticsearch.alter import follow
from sinks.targets.elasticsearch.bulk import Bulk
from sinks.targets.elasticsearch.client import Client
from sinks.targets.elasticsearch.documents import delete_lines, operations
from sinks.targets.elasticsearch.indices import Indices
from sinks.targets.elasticsearch.options import ElasticsearchOptions
from sinks.targets.elasticsearch.parked import ParkedStore, leases_of
from sinks.targets.elasticsearch.scan import scan
from sinks.targets.elasticsearch.state import StateStore
from sinks.targets.isolate import apply_one_by_one
from sinks.targets.parking import WHOLE_TABLE, Parking, Sifter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinks.change import TopicPartition
    from sinks.table_schema import TableId
    from sinks.targets.base import ParkedKey, Request, Segment

_KEYLESS = (
    "the table has no primary key, so its rows have no document id: name its key columns in "
    "message.key.columns of the connector, or exclude the table for this sink in cdc.toml"
)

Check = Callable[[], None]


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
        self._parked = ParkedStore(self._client, name, options)
        self._parking = Parking()
        self._leases: dict[TopicPartition, Stored] = {}
        self._clock = clock
        self._indices = Indices(self._client, options)

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        self._indices.forget()
        self._parked.create()
        stored = self._state.claim(claims)
        self._leases |= stored
        keys = [key for key in self._parked.read() if any(key.topic == p.topic for p in stored)]
        # Written anew under this lease: an earlier owner can't change them any more.
        self._parked.write({(key.topic, key.key): key for key in keys}, self._topic_leases())
        self._parking.claimed(stored, keys)
        return stored

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._state.release(partitions)
        for partition in partitions:
            self._leases.pop(partition, None)
        self._parking.released(partitions)

    def apply(self, batch: Batch, park: Park) -> None:
        """Bring a batch into effect; see :class:`sinks.targets.base.Target`.

        1. Write the rows, wave by wave: tables side by side, the segments of one table one after the other;
           but not what waits behind a parked change. The leases are checked before each request.
        2. Park what was refused.
        3. Store which keys are parked, then the progress, if the leases still hold. A crash before this has
           the batch applied again, to the same effect: versions are those of the first time.
        """
        check = partial(self._state.check, tuple(batch.progress))
        sifter = self._parking.begin(batch, self._clock())
        for wave in _waves(batch.segments):  # 1
            if isinstance(wave, Truncate):
                sifter.truncate(wave)
                self._truncate(wave, check)
            elif isinstance(wave, SchemaChange):
                sifter.follow(wave)
                check()
                follow(self._indices, wave, self._state.generation(wave.partition))
            else:
                self._apply_wave(wave, check, sifter)
        rejections = sifter.finish()
        if rejections:  # 2
            park(rejections)
        if sifter.changed:  # 3
            check()
            self._parked.write(sifter.changed, self._topic_leases())
        self._state.commit(batch.progress)
        self._parking.committed(sifter)

    def stored(self) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        return self._state.stored()

    def parked(self) -> list[ParkedKey]:
        """See :class:`sinks.targets.base.Target`."""
        return self._parked.read()

    def ask(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._parked.ask(requests)

    def requests(self) -> list[Request]:
        """See :class:`sinks.targets.base.Target`."""
        return self._parked.requests()

    def answered(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._parked.answered(requests)

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

    def _topic_leases(self) -> dict[str, tuple[int, int]]:
        return leases_of((p.topic, held.generation, held.lease) for p, held in self._leases.items())

    def _apply_wave(self, wave: Sequence[RowChanges], check: Check, sifter: Sifter) -> None:
        segments: list[RowChanges] = []
        built: list[pl.DataFrame] = []
        for received in wave:
            changes = sifter.sift(received)
            if not changes.schema.key:
                sifter.park(_keyless(changes), changes.generation)
                continue
            index = self._indices.ensure(changes.schema)
            built.append(
                self._operations(changes, index).with_columns(segment=pl.lit(len(segments), pl.UInt32))
            )
            segments.append(changes)
        if not built:
            return
        for number, keys in self._send(built[0] if len(built) == 1 else pl.concat(built), check).items():
            sifter.park(self._isolate(segments[number], keys, check), segments[number].generation)

    def _operations(self, changes: RowChanges, index: str) -> pl.DataFrame:
        generation = changes.generation
        if generation is None:
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

    def _isolate(self, changes: RowChanges, keys: list[bytes], check: Check) -> list[Rejection]:
        index = self._indices.ensure(changes.schema)

        def apply(change: RowChanges) -> str | None:
            operation = self._operations(change, index)
            fault: str | None = operation["fault"][0]
            return fault or self._bulk.send(operation["line"], check).get(0)

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


def _waves(segments: Sequence[Segment]) -> Iterator[list[RowChanges] | Truncate | SchemaChange]:
    """Yield what may be in flight at once: no table twice, and barriers on their own."""
    wave: list[RowChanges] = []
    for segment in segments:
        barrier = not isinstance(segment, RowChanges)
        if wave and (barrier or any(s.table == segment.table for s in wave)):
            yield wave
            wave = []
        if isinstance(segment, RowChanges):
            wave.append(segment)
        else:
            yield segment
    if wave:
        yield wave


def _keyless(changes: RowChanges) -> list[Rejection]:
    return [
        Rejection(changes.partition, offset, _KEYLESS, WHOLE_TABLE, changes.table)
        for offset in changes.frame["offset"].unique(maintain_order=True)
    ]
