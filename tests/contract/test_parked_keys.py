"""A key with a refused change stays parked, in later batches and for later workers, until it is released."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sinks.change import Progress, pack_version
from sinks.targets.base import Batch, Rejection, Release, Request
from tests.builders import INT, PARTITION, VARCHAR, changes, delete, put, table, truncate
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from sinks.table_schema import TableSchema
    from sinks.targets.base import RowChanges
    from tests.contract.harness import Harness


def key_of(changes: RowChanges) -> bytes:
    key: bytes = changes.frame["key"][0]
    return key


def notes(harness: Harness) -> dict[int, Any]:
    return {row["id"]: row["note"] for row in harness.rows(harness.poisonable)}


def poison_key_1(harness: Harness, offset: int = 1) -> Worker:
    worker = Worker(harness.target())
    schema = harness.poisonable
    worker.apply(changes(schema, put(0, 1, "first", "{}")), next_offset=1)
    poisoned = changes(schema, put(offset, 1, *harness.poison(worker.target, offset)))
    worker.apply(poisoned, next_offset=offset + 1)
    return worker


def test_later_batches_wait_too_and_others_flow(harness: Harness) -> None:
    worker = poison_key_1(harness)
    schema = harness.poisonable
    worker.apply(
        changes(schema, put(2, 1, "clean", "{}"), put(3, 2, "other", "{}"), delete(4, 1, "clean", "{}")),
        next_offset=5,
    )
    assert [r.offset for r in worker.parked] == [1, 2, 4]
    assert [r.reason for r in worker.parked[1:]] == ["follows the refused change of its key at offset 1"] * 2
    assert notes(harness) == {1: "first", 2: "other"}
    (held,) = harness.target().parked()
    assert (held.topic, held.key, held.table) == (PARTITION.topic, worker.parked[0].key, schema.table)
    assert (held.first, held.last, held.letters) == (1, 4, 3)
    assert held.reason == worker.parked[0].reason


def test_another_worker_finds_the_key_parked(harness: Harness) -> None:
    poison_key_1(harness)
    second = Worker(harness.target())
    second.apply(
        changes(harness.poisonable, put(2, 1, "clean", "{}"), put(3, 2, "other", "{}")), next_offset=4
    )
    assert [r.offset for r in second.parked] == [2]
    assert notes(harness) == {1: "first", 2: "other"}


def test_released_letters_are_applied_and_the_key_flows_again(harness: Harness) -> None:
    worker = poison_key_1(harness)
    schema = harness.poisonable
    later = changes(schema, put(2, 1, "clean", "{}"))
    worker.apply(later, next_offset=3)
    release = Release(PARTITION.topic, key_of(later), 2, 2)
    worker.target.apply(Batch([later], {PARTITION: Progress(3)}, releases=[release]), worker.park)
    assert worker.target.parked() == []
    assert notes(harness) == {1: "clean"}
    worker.apply(changes(schema, put(3, 1, "next", "{}")), next_offset=4)
    assert notes(harness) == {1: "next"}
    assert [r.offset for r in worker.parked] == [1, 2]


def test_letters_refused_again_keep_the_key_parked_from_there(harness: Harness) -> None:
    worker = poison_key_1(harness)
    schema = harness.poisonable
    good = changes(schema, put(1, 1, "edited", "{}"))
    harness.cure(worker.target, 1)
    again = changes(schema, put(2, 1, *harness.poison(worker.target, 2)))
    worker.apply(again, next_offset=3)
    release = Release(PARTITION.topic, key_of(good), 2, 2)
    worker.target.apply(Batch([good, again], {PARTITION: Progress(3)}, releases=[release]), lambda _: None)
    (held,) = harness.target().parked()
    assert (held.first, held.last, held.letters) == (2, 2, 1)
    assert "follows" not in held.reason
    assert notes(harness) == {1: "edited"}
    worker.apply(changes(schema, put(3, 1, "next", "{}")), next_offset=4)
    assert notes(harness) == {1: "edited"}


def test_a_key_can_be_released_in_parts(harness: Harness) -> None:
    worker = poison_key_1(harness)
    schema = harness.poisonable
    parts = [changes(schema, put(1, 1, "edited", "{}")), changes(schema, put(2, 1, "clean", "{}"))]
    worker.apply(parts[1], next_offset=3)
    harness.cure(worker.target, 1)
    for offset, part in enumerate(parts, 1):
        release = Release(PARTITION.topic, key_of(part), offset, 1)
        worker.target.apply(Batch([part], {PARTITION: Progress(3)}, releases=[release]), worker.park)
        assert [held.letters for held in harness.target().parked()] == [1] * (2 - offset)
    assert notes(harness) == {1: "clean"}


def test_given_up_letters_leave_the_row_as_it_is(harness: Harness) -> None:
    worker = poison_key_1(harness)
    release = Release(PARTITION.topic, worker.parked[0].key, 1, 1)
    worker.target.apply(Batch((), {PARTITION: Progress(2)}, releases=[release]), worker.park)
    assert Worker(harness.target()).target.parked() == []
    assert notes(harness) == {1: "first"}


def test_a_truncate_releases(harness: Harness) -> None:
    worker = poison_key_1(harness)
    schema = harness.poisonable
    worker.apply(
        changes(schema, put(2, 1, "waits", "{}")),
        truncate(schema, 3),
        changes(schema, put(4, 1, "new life", "{}")),
        next_offset=5,
    )
    assert [r.offset for r in worker.parked] == [1, 2]
    assert harness.target().parked() == []
    assert notes(harness) == {1: "new life"}


def test_an_undecodable_record_parks_its_key_where_it_stands(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    rows = changes(items, put(0, 1, "one"), put(1, 2, "two"), put(3, 1, "uno"), put(4, 2, "due"))
    bad = Rejection(PARTITION, 2, "bytes follow", key_of(rows))
    worker.target.apply(Batch([rows], {PARTITION: Progress(5)}, undecodable=[bad]), worker.park)
    assert [(r.offset, r.reason) for r in worker.parked] == [
        (2, "bytes follow"),
        (3, "follows the refused change of its key at offset 2"),
    ]
    worker.apply(changes(items, put(5, 1, "eins"), put(6, 2, "zwei")), next_offset=7)
    assert {row["id"]: row["name"] for row in harness.rows(items)} == {1: "one", 2: "zwei"}
    (held,) = harness.target().parked()
    assert (held.first, held.last, held.letters, held.table) == (2, 5, 3, items.table)


def test_an_undecodable_record_of_a_quiet_table_is_counted(harness: Harness) -> None:
    worker = Worker(harness.target())
    bad = [Rejection(PARTITION, offset, "garbage", b"\x02") for offset in (0, 1)]
    worker.target.apply(Batch((), {PARTITION: Progress(2)}, undecodable=bad), worker.park)
    (held,) = harness.target().parked()
    assert (held.letters, held.table, [r.offset for r in worker.parked]) == (2, None, [0, 1])


def test_a_batch_that_comes_again_counts_its_letters_once(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    rows = changes(items, put(0, 1, "one"), put(2, 1, "uno"))
    batch = Batch(
        [rows], {PARTITION: Progress(3)}, undecodable=[Rejection(PARTITION, 1, "garbage", key_of(rows))]
    )
    worker.target.apply(batch, worker.park)
    worker.target.apply(batch, worker.park)
    (held,) = harness.target().parked()
    assert (held.first, held.last, held.letters) == (1, 2, 2)
    assert [row["name"] for row in harness.rows(items)] == ["one"]


def test_nothing_is_parked_when_the_letter_can_t_be_written(harness: Harness) -> None:
    worker = Worker(harness.target())

    def refuse(_: object) -> None:
        raise ConnectionError("the dead-letter topic is out")

    poisoned = changes(harness.poisonable, put(0, 1, *harness.poison(worker.target, 0)))
    with pytest.raises(ConnectionError):
        worker.target.apply(Batch([poisoned], {PARTITION: Progress(1)}), refuse)
    assert harness.target().parked() == []


def test_a_table_without_a_key_waits_as_a_whole(harness: Harness) -> None:
    log = table("log", {"id": INT, "name": VARCHAR}, database=harness.poisonable.table.database)
    worker = Worker(harness.target())
    bad = Rejection(PARTITION, 1, "garbage")
    rows = changes(log, put(0, 1, "one"), put(2, 2, "two"))
    worker.target.apply(Batch([rows], {PARTITION: Progress(3)}, undecodable=[bad]), worker.park)
    worker.apply(changes(log, put(3, 3, "three")), next_offset=4)
    if not harness.keyless:
        assert sorted(r.offset for r in worker.parked) == [0, 1, 2, 3]
        assert [held.key for held in harness.target().parked()] == [b""]
        return
    assert [row["id"] for row in harness.rows(log)] == [1]
    assert [r.offset for r in worker.parked] == [1, 2, 3]
    release = Release(PARTITION.topic, b"", 3, 3)
    letters = changes(log, put(2, 2, "two"), put(3, 3, "three"))
    worker.target.apply(Batch([letters], {PARTITION: Progress(4)}, releases=[release]), worker.park)
    assert sorted(row["id"] for row in harness.rows(log)) == [1, 2, 3]
    assert harness.target().parked() == []


def test_letters_keep_the_version_of_their_generation(harness: Harness) -> None:
    """Parked in one life of the topic, replayed in the next: the key's later rows come later."""
    poison_key_1(harness, offset=1000)
    second = Worker(harness.target(), topic_id="topic-2")
    schema = harness.poisonable
    later = changes(schema, put(0, 1, "snapshot", "{}"))
    second.apply(later, next_offset=1)
    assert [r.offset for r in second.parked] == [0]
    (held,) = second.target.parked()
    assert (held.first, held.last) == (1000, pack_version(1, 0))
    release = Release(PARTITION.topic, held.key, 1000, 1)
    second.target.apply(Batch((), {PARTITION: Progress(1)}, releases=[release]), second.park)
    release = Release(PARTITION.topic, held.key, held.last, 1)
    second.target.apply(Batch([later], {PARTITION: Progress(1)}, releases=[release]), second.park)
    assert notes(harness) == {1: "snapshot"}


def test_requests_are_kept_until_they_are_answered(harness: Harness) -> None:
    operator = poison_key_1(harness).target
    first = Request("discard", PARTITION.topic, b"\x02", 0)
    second = Request("replay", PARTITION.topic, b"\x02", 0, {7: {"note": "clean", "n": None}})
    other = Request("replay", PARTITION.topic, b"", 1)
    operator.ask([first])
    operator.ask([second, other])
    worker = harness.target()
    assert sorted(worker.requests(), key=lambda r: r.partition) == [second, other]
    worker.answered([first, other])
    assert harness.target().requests() == [second]
