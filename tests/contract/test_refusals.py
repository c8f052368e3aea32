"""A record that is refused for what it holds takes only its own key's later changes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import changes, delete, put, truncate
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from tests.contract.harness import Harness


def test_a_refused_record(harness: Harness) -> None:
    worker = Worker(harness.target())
    schema = harness.poisonable
    note, doc = harness.poison(worker.target, 3)
    worker.apply(
        changes(
            schema,
            put(0, 1, "first", "{}"),
            put(1, 2, "other", "[1]"),
            put(2, 1, "second", "{}"),
            put(3, 1, note, doc),
            put(4, 3, "third", "null"),
        ),
        next_offset=5,
    )
    assert [rejection.offset for rejection in worker.parked] == [3]
    assert {row["id"]: row["note"] for row in harness.rows(schema)} == {1: "second", 2: "other", 3: "third"}
    assert Worker(harness.target()).next_offset() == 5


def test_later_changes_of_its_key_are_parked(harness: Harness) -> None:
    worker = Worker(harness.target())
    schema = harness.poisonable
    worker.apply(changes(schema, put(0, 1, "first", "{}"), put(1, 2, "first", "{}")), next_offset=2)
    note, doc = harness.poison(worker.target, 3)
    worker.apply(
        changes(schema, put(2, 1, "second", "{}"), put(3, 1, note, doc), put(4, 2, "second", "{}")),
        changes(schema, delete(5, 1, "second", "{}"), put(6, 2, "third", "{}")),
        truncate(schema, 7),
        changes(schema, put(8, 3, "third", "{}"), put(9, 1, "later", "{}")),
        next_offset=10,
    )
    first, *later = worker.parked
    assert [rejection.offset for rejection in worker.parked] == [3, 5]
    assert "follows" not in first.reason
    assert all("follows the refused change of its key at offset 3" in r.reason for r in later)
    # The table was emptied: what was parked before has no effect any more.
    assert {row["id"]: row["note"] for row in harness.rows(schema)} == {3: "third", 1: "later"}


def test_a_refused_change_under_a_good_one_is_never_written(harness: Harness) -> None:
    """Coalescing keeps the last change of a key: a bad one before it does no harm."""
    worker = Worker(harness.target())
    schema = harness.poisonable
    note, doc = harness.poison(worker.target, 0) if harness.coalesces else ("fine", "{}")
    worker.apply(changes(schema, put(0, 1, note, doc), put(1, 1, "good", "{}")), next_offset=2)
    assert worker.parked == []
    assert [row["note"] for row in harness.rows(schema)] == ["good"]


@pytest.mark.parametrize("bad", [0, 7, 19])
def test_the_others_of_a_large_batch_flow(harness: Harness, bad: int) -> None:
    worker = Worker(harness.target())
    schema = harness.poisonable
    poison = harness.poison(worker.target, bad)
    rows = [put(i, i, *(poison if i == bad else ("fine", "{}"))) for i in range(20)]
    worker.apply(changes(schema, *rows), next_offset=20)
    assert [rejection.offset for rejection in worker.parked] == [bad]
    assert all("broken" not in rejection.reason for rejection in worker.parked)
    assert {row["id"] for row in harness.rows(schema)} == set(range(20)) - {bad}
