"""Which keys are parked, and what of a batch has to wait behind them. The same for every target."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sinks.change import OFFSET_BITS, TopicPartition, pack_version
from sinks.targets.base import ParkedKey, Rejection
from sinks.targets.isolate import follows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sinks.targets.base import Batch, RowChanges, SchemaChange, Stored, Truncate

WHOLE_TABLE = b""
"""Identity of the key of a table that has none: parked, it holds up everything in its topic."""

Keys = dict[bytes, ParkedKey]
_OFFSETS = (1 << OFFSET_BITS) - 1
_NONE: Keys = {}


class Parking:
    """The parked keys of the topics of which a worker owns partitions, as its target has them stored."""

    def __init__(self) -> None:
        self._topics: dict[str, Keys] = {}
        self._generations: dict[TopicPartition, int] = {}

    def claimed(self, stored: Mapping[TopicPartition, Stored], keys: Iterable[ParkedKey]) -> None:
        """Take over what is stored of claimed partitions: their generations, their topics' parked keys."""
        topics = {partition.topic for partition in stored}
        fresh: defaultdict[str, Keys] = defaultdict(dict)
        for key in keys:
            if key.topic in topics:
                fresh[key.topic][key.key] = key
        for topic in topics:
            self._topics.pop(topic, None)
        self._topics |= fresh
        self._generations |= {partition: held.generation for partition, held in stored.items()}

    def released(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are owned no longer."""
        for partition in partitions:
            self._generations.pop(partition, None)
        owned = {partition.topic for partition in self._generations}
        self._topics = {topic: keys for topic, keys in self._topics.items() if topic in owned}

    def begin(self, batch: Batch, now_ms: int) -> Sifter:
        """Look at a batch; what comes of it counts once :meth:`committed` is told."""
        return Sifter(self._topics, self._generations, batch, now_ms)

    def committed(self, sifter: Sifter) -> None:
        """Take over what a batch changed: it is stored now."""
        self._topics |= sifter.topics


class Sifter:
    """Goes through one batch in order, and keeps what it parks.

    Attributes:
        rejections: all that was parked so far.
        changed: the keys that are parked otherwise than before; None: not any more.
        topics: the parked keys, after this batch, of the topics that have a changed one.
    """

    def __init__(
        self,
        before: Mapping[str, Keys],
        generations: Mapping[TopicPartition, int],
        batch: Batch,
        now_ms: int,
    ) -> None:
        self.rejections: list[Rejection] = []
        self.changed: dict[tuple[str, bytes], ParkedKey | None] = {}
        self.topics: dict[str, Keys] = {}
        self._before = before
        self._generations = generations
        self._now_ms = now_ms
        self._releasing = bool(batch.releases)
        self._ahead: defaultdict[TopicPartition, list[Rejection]] = defaultdict(list)
        for rejection in sorted(batch.undecodable, key=lambda r: r.offset):
            self._ahead[rejection.partition].append(rejection)
        for release in batch.releases:
            held = self._keys(release.topic).get(release.key)
            if held is None or held.first > release.through:
                continue
            left = held.letters - release.letters
            stays = left > 0 and release.through < held.last
            rest = replace(held, first=release.through + 1, letters=left) if stays else None
            self._set(release.topic, release.key, rest)

    def sift(self, changes: RowChanges) -> RowChanges:
        """Return the changes without those that have to wait; these are parked."""
        partition = changes.partition
        keys = self._keys(partition.topic)
        if not keys and partition not in self._ahead:
            return changes
        generation = self._generation(partition) if changes.generation is None else changes.generation
        last = int(changes.frame["offset"][-1]) if changes.frame.height else -1
        bad = self._undecodable_before(partition, last)
        since = {key: max(held.first - (generation << OFFSET_BITS), 0) for key, held in keys.items()}
        for rejection in bad:
            since[rejection.key] = min(since.get(rejection.key, rejection.offset), rejection.offset)
        waiting = _waiting(changes.frame, since)
        found = [
            self._follower(changes, offset, key, keys, bad)
            for key, offset in changes.frame.filter(waiting).select("key", "offset").unique().iter_rows()
        ]
        self.park(sorted([*bad, *found], key=lambda r: r.offset), generation)
        return replace(changes, frame=changes.frame.filter(~waiting)) if found else changes

    def follow(self, change: SchemaChange) -> None:
        """Release the keys of a table that is dropped."""
        if change.after is None:
            self.truncate(change)

    def truncate(self, truncate: Truncate | SchemaChange) -> None:
        """Release the keys of a partition: the table is empty from here on."""
        partition = truncate.partition
        if partition in self._ahead:
            self.park(self._undecodable_before(partition, truncate.offset), self._generation(partition))
        for key, held in list(self._keys(partition.topic).items()):
            if held.partition == partition.partition:
                self._set(partition.topic, key, None)

    def park(self, rejections: Sequence[Rejection], generation: int | None = None) -> None:
        """Park records, in log order: their keys are parked from here on."""
        for rejection in rejections:
            partition = rejection.partition
            of = generation if rejection.generation is None else rejection.generation
            of = self._generation(partition) if of is None else of
            version = pack_version(of, rejection.offset)
            held = self._keys(partition.topic).get(rejection.key)
            if held is None:
                held = ParkedKey(
                    partition.topic,
                    rejection.key,
                    rejection.table,
                    partition.partition,
                    version,
                    version,
                    1,
                    rejection.reason,
                    self._now_ms,
                )
            elif self._releasing or not held.first <= version <= held.last:
                # What lies between was counted before: the batch comes again after a crash.
                held = replace(
                    held,
                    first=min(version, held.first),
                    last=max(version, held.last),
                    letters=held.letters + 1,
                    reason=rejection.reason if version < held.first else held.reason,
                    partition=partition.partition if version > held.last else held.partition,
                    table=held.table or rejection.table,
                )
            self._set(partition.topic, rejection.key, held)
        self.rejections += rejections

    def finish(self) -> list[Rejection]:
        """Park what is left of the undecodable records, and return all that was parked."""
        for partition in list(self._ahead):
            self.park(self._undecodable_before(partition, _OFFSETS), self._generation(partition))
        return self.rejections

    def _keys(self, topic: str) -> Keys:
        changed = self.topics.get(topic)
        return self._before.get(topic, _NONE) if changed is None else changed

    def _set(self, topic: str, key: bytes, held: ParkedKey | None) -> None:
        if topic not in self.topics:
            self.topics[topic] = dict(self._before.get(topic, {}))
        if held is None:
            self.topics[topic].pop(key, None)
        else:
            self.topics[topic][key] = held
        self.changed[topic, key] = held

    def _generation(self, partition: TopicPartition) -> int:
        return self._generations.get(partition, 0)

    def _undecodable_before(self, partition: TopicPartition, offset: int) -> list[Rejection]:
        """Take out the undecodable records up to an offset."""
        ahead = self._ahead.get(partition, [])
        taken = [rejection for rejection in ahead if rejection.offset <= offset]
        if len(taken) == len(ahead):
            self._ahead.pop(partition, None)
        else:
            self._ahead[partition] = ahead[len(taken) :]
        return taken

    @staticmethod
    def _follower(
        changes: RowChanges, offset: int, key: bytes, keys: Keys, bad: Collection[Rejection]
    ) -> Rejection:
        held = keys.get(key) or keys.get(WHOLE_TABLE)
        parked_as = held.key if held is not None else key
        if held is not None:
            at = held.first & _OFFSETS
        else:
            first = next(r for r in bad if r.key in {key, WHOLE_TABLE})
            at, parked_as = first.offset, first.key
        reason = held.reason if held is not None and at == offset else follows(at)
        return Rejection(changes.partition, offset, reason, parked_as, changes.table)


def _waiting(frame: pl.DataFrame, since: Mapping[bytes, int]) -> pl.Series:
    """Tell which rows are at or after the offset from which their key has to wait."""
    parked = pl.DataFrame(
        {"key": list(since), "since": list(since.values())}, schema={"key": pl.Binary, "since": pl.Int64}
    )
    joined = frame.select("key", "offset").join(parked, on="key", how="left", maintain_order="left")
    waits = (pl.col("offset") >= pl.col("since")).fill_null(value=False)
    if WHOLE_TABLE in since:
        waits |= pl.col("offset") >= since[WHOLE_TABLE]
    return joined.select(waits).to_series()
