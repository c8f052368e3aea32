"""Progress, fences and generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sinks.change import Place, Progress, TopicPartition, Watermark
from sinks.errors import FencedError
from sinks.targets.base import Batch
from tests.builders import PARTITION, batch, changes, delete, put
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.table_schema import TableSchema
    from sinks.targets.base import Rejection
    from tests.contract.harness import Harness

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_an_unseen_partition_starts_at_the_beginning(harness: Harness) -> None:
    target = harness.target()
    assert target.stored() == {}
    stored = Worker(target).stored[PARTITION]
    assert (stored.progress, stored.generation) == (Progress(0), 0)


def test_progress_comes_back_whole(harness: Harness, items: TableSchema) -> None:
    progress = Progress(
        next_offset=(1 << 40) + 1,
        watermark=Watermark({UUID: Place(12, 3), f"{UUID}:tag": Place(1 << 50, 1)}),
        gtid=f"{UUID}:12",
        source_ms=1_700_000_000_123,
        counts={"c": 3, "tombstone": 1},
    )
    worker = Worker(harness.target())
    worker.target.apply(Batch([changes(items, put(1 << 40, 1, "one"))], {PARTITION: progress}), worker.park)
    assert harness.target().stored()[PARTITION].progress == progress
    assert Worker(harness.target()).stored[PARTITION].progress == progress


def test_a_batch_without_segments_stores_progress(harness: Harness) -> None:
    worker = Worker(harness.target())
    worker.apply(next_offset=7)
    worker.apply(next_offset=9)
    assert Worker(harness.target()).next_offset() == 9


def test_partitions_are_told_apart(harness: Harness, items: TableSchema) -> None:
    other = TopicPartition(PARTITION.topic, 1)
    worker = Worker(harness.target(), (PARTITION, other), width=2)
    segments = changes(items, put(5, 1, "one")), changes(items, put(900, 2, "two"), partition=other)
    worker.target.apply(Batch(segments, {PARTITION: Progress(6), other: Progress(901)}), worker.park)
    stored = harness.target().stored()
    assert {partition: s.progress.next_offset for partition, s in stored.items()} == {
        PARTITION: 6,
        other: 901,
    }
    worker.target.release([other])
    worker.apply(changes(items, put(6, 1, "uno")), next_offset=7)
    assert sorted(row["name"] for row in harness.rows(items)) == ["two", "uno"]


def test_a_second_claim_fences_the_first(harness: Harness, items: TableSchema) -> None:
    first = Worker(harness.target())
    first.apply(changes(items, put(0, 1, "one")), next_offset=1)
    second = Worker(harness.target())
    assert second.next_offset() == 1
    assert second.stored[PARTITION].lease > first.stored[PARTITION].lease
    with pytest.raises(FencedError):
        first.apply(changes(items, put(1, 1, "late")), next_offset=2)
    with pytest.raises(FencedError):
        first.apply(next_offset=2)
    assert harness.rows(items) == [{"id": 1, "name": "one"}]
    second.apply(changes(items, put(1, 1, "eins")), next_offset=2)
    assert harness.rows(items) == [{"id": 1, "name": "eins"}]


def test_a_claim_of_one_s_own_goes_on(harness: Harness, items: TableSchema) -> None:
    target = harness.target()
    Worker(target).apply(changes(items, put(0, 1, "one")), next_offset=1)
    again = Worker(target)
    assert again.next_offset() == 1
    again.apply(changes(items, put(1, 1, "two")), next_offset=2)
    assert harness.rows(items) == [{"id": 1, "name": "two"}]


def test_without_a_claim_nothing_is_written(harness: Harness, items: TableSchema) -> None:
    Worker(harness.target()).apply(changes(items, put(0, 1, "one")), next_offset=1)
    with pytest.raises(FencedError):
        harness.target().apply(batch(changes(items, put(1, 1, "two")), next_offset=2), lambda _: None)
    assert harness.rows(items) == [{"id": 1, "name": "one"}]


def test_a_topic_created_anew_starts_over_and_wins(harness: Harness, items: TableSchema) -> None:
    first = Worker(harness.target())
    first.apply(changes(items, put(1000, 1, "old"), put(1001, 2, "old")), next_offset=1002)
    second = Worker(harness.target(), topic_id="topic-2")
    stored = second.stored[PARTITION]
    assert (stored.progress.next_offset, stored.progress.watermark, stored.generation) == (0, Watermark(), 1)
    second.apply(changes(items, put(0, 1, "new"), delete(1, 2, "old")), next_offset=2)
    assert harness.rows(items) == [{"id": 1, "name": "new"}]
    assert Worker(harness.target(), topic_id="topic-2").stored[PARTITION].generation == 1


def test_more_partitions_are_a_new_generation(harness: Harness, items: TableSchema) -> None:
    """A key may move to a partition with smaller offsets: its version has to grow all the same."""
    Worker(harness.target()).apply(changes(items, put(1000, 1, "old")), next_offset=1001)
    other = TopicPartition(PARTITION.topic, 1)
    alone = Worker(harness.target(), (other,), width=2)
    assert (alone.stored[other].generation, alone.next_offset(other)) == (1, 0)
    alone.apply(changes(items, put(0, 1, "new"), partition=other), next_offset=1, partition=other)
    assert harness.rows(items) == [{"id": 1, "name": "new"}]
    late = Worker(harness.target(), width=2)
    assert (late.stored[PARTITION].generation, late.next_offset()) == (1, 1001)


def test_park_comes_before_the_commit(harness: Harness) -> None:
    target = harness.target()
    worker = Worker(target)
    seen: list[int] = []

    def park(_: Sequence[Rejection]) -> None:
        seen.append(harness.target().stored()[PARTITION].progress.next_offset)

    target.apply(batch(harness.poisoned(target, 0), next_offset=1), park)
    assert seen == [0]
    assert Worker(harness.target()).next_offset() == 1
    assert worker.parked == []


def test_nothing_is_committed_when_parking_fails(harness: Harness) -> None:
    target = harness.target()
    Worker(target)

    def park(_: Sequence[Rejection]) -> None:
        raise RuntimeError("the queue is down")

    with pytest.raises(RuntimeError, match="queue is down"):
        target.apply(batch(harness.poisoned(target, 0), next_offset=1), park)
    again = Worker(target)
    assert again.next_offset() == 0
    again.apply(harness.poisoned(target, 0), next_offset=1)
    assert [rejection.offset for rejection in again.parked] == [0]
