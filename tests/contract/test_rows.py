"""What becomes of rows."""

from __future__ import annotations

import secrets
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.change import TopicPartition
from sinks.targets.base import Truncate
from tests.builders import (
    BIGINT,
    INT,
    PARTITION,
    TEXT,
    VARCHAR,
    Change,
    changes,
    delete,
    put,
    table,
    truncate,
)
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from sinks.table_schema import TableSchema
    from sinks.targets.base import Segment
    from tests.contract.harness import Harness, Row


def ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=repr)


def test_insert_update_delete(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, put(0, 1, "one"), put(1, 2, "two"), put(2, 3, None)), next_offset=3)
    worker.apply(changes(items, put(3, 2, "zwei"), delete(4, 1, "one")), next_offset=5)
    assert ordered(harness.rows(items)) == [{"id": 2, "name": "zwei"}, {"id": 3, "name": None}]
    assert worker.parked == []


def test_upserts_and_deletes_of_what_is_not_there(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, delete(0, 1, "one"), put(1, 2, "two")), next_offset=2)
    worker.apply(changes(items, put(2, 2, "two"), delete(3, 7, "seven")), next_offset=4)
    assert harness.rows(items) == [{"id": 2, "name": "two"}]


def test_one_key_many_times_in_a_batch(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(
        changes(
            items,
            *(put(0, 1, "a"), delete(1, 1, "a"), put(2, 1, "b")),
            *(put(3, 2, "c"), delete(4, 2, "c")),
        ),
        next_offset=5,
    )
    assert harness.rows(items) == [{"id": 1, "name": "b"}]


def test_the_same_batch_again(harness: Harness, items: TableSchema) -> None:
    first = changes(items, put(0, 1, "one"), put(1, 2, "two"), delete(2, 1, "one"))
    second = changes(items, put(3, 2, "zwei"))
    worker = Worker(harness.target())
    worker.apply(first, second, next_offset=4)
    worker.apply(first, second, next_offset=4)
    assert harness.rows(items) == [{"id": 2, "name": "zwei"}]


def test_a_key_changes(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, put(0, 1, "one"), put(1, 2, "two")), next_offset=2)
    worker.apply(changes(items, delete(2, 1, "one"), put(3, 9, "one")), next_offset=4)
    assert ordered(harness.rows(items)) == [{"id": 2, "name": "two"}, {"id": 9, "name": "one"}]


def test_two_keys_change_places(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, put(0, 1, "one"), put(1, 2, "two")), next_offset=2)
    swap = (delete(2, 1, "one"), put(3, 3, "one"), delete(4, 2, "two"), put(5, 1, "two"), delete(6, 3, "one"))
    worker.apply(changes(items, *swap, put(7, 2, "one")), next_offset=8)
    assert ordered(harness.rows(items)) == [{"id": 1, "name": "two"}, {"id": 2, "name": "one"}]


def test_truncate_is_a_barrier(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, put(0, 1, "old"), put(1, 2, "old")), next_offset=2)
    batch = (
        changes(items, put(2, 3, "old"), put(3, 1, "older")),
        truncate(items, 4),
        changes(items, put(5, 1, "new"), put(6, 4, "new")),
    )
    worker.apply(*batch, next_offset=7)
    expected = [{"id": 1, "name": "new"}, {"id": 4, "name": "new"}]
    assert ordered(harness.rows(items)) == expected
    worker.apply(*batch, next_offset=7)
    assert ordered(harness.rows(items)) == expected


def test_truncate_of_an_unseen_table(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(truncate(items, 0), changes(items, put(1, 1, "new")), next_offset=2)
    assert harness.rows(items) == [{"id": 1, "name": "new"}]


def test_truncate_over_several_partitions(harness: Harness, items: TableSchema) -> None:
    """Offsets of two partitions can't be compared: the truncate's is the smaller one here."""
    other = TopicPartition(PARTITION.topic, 1)
    worker = Worker(harness.target(), (PARTITION, other), width=2)
    worker.apply(changes(items, put(500, 1, "old"), partition=other), next_offset=501, partition=other)
    after = changes(items, put(501, 2, "new"), partition=other)
    worker.apply(truncate(items, 3), after, next_offset=4)
    assert harness.rows(items) == [{"id": 2, "name": "new"}]
    worker.apply(truncate(items, 3), after, next_offset=4)
    assert harness.rows(items) == [{"id": 2, "name": "new"}]


def test_composite_keys_are_told_apart(harness: Harness) -> None:
    schema = table(
        "pairs", {"a": VARCHAR, "b": VARCHAR, "n": BIGINT}, ["b", "a"], database=f"d_{secrets.token_hex(4)}"
    )
    keys = [
        ("x", "y"),
        ("y", "x"),
        ("x,", "y"),
        ("x", ",y"),
        ("x\\", "y"),
        ("x", "\\,y"),
        ("", ""),
        (",", ""),
    ]
    worker = Worker(harness.target())
    worker.apply(changes(schema, *(put(i, *key, i) for i, key in enumerate(keys))), next_offset=8)
    worker.apply(changes(schema, put(8, "x", "y", 99), delete(9, ",", "", 7)), next_offset=10)
    expected = {**{key: i for i, key in enumerate(keys)}, ("x", "y"): 99}
    del expected[",", ""]
    assert {(row["a"], row["b"]): row["n"] for row in harness.rows(schema)} == expected


@pytest.mark.parametrize("key", ["", " ", "é\u2028😀", "'\"`\\", "k" * 255, "\\N", "ü" * 300, "sha256:0"])
def test_keys_of_any_text(harness: Harness, key: str) -> None:
    schema = table("texts", {"k": TEXT, "v": INT}, ["k"], database=f"d_{secrets.token_hex(4)}")
    worker = Worker(harness.target())
    worker.apply(changes(schema, put(0, key, 1), put(1, "other", 2)), next_offset=2)
    worker.apply(changes(schema, put(2, key, 3)), next_offset=3)
    assert ordered(harness.rows(schema)) == ordered([{"k": "other", "v": 2}, {"k": key, "v": 3}])
    worker.apply(changes(schema, delete(3, key, 3)), next_offset=4)
    assert harness.rows(schema) == [{"k": "other", "v": 2}]


def test_tables_side_by_side_and_columns_gained(harness: Harness, items: TableSchema) -> None:
    database = items.table.database
    orders = table("Orders", {"no": INT, "Total": BIGINT}, ["no"], database=database)
    wider = table("items", {"id": INT, "name": VARCHAR, "note": TEXT}, ["id"], database=database)
    worker = Worker(harness.target())
    worker.apply(
        changes(items, put(0, 1, "one")),
        changes(orders, put(1, 7, 70)),
        changes(items, put(2, 2, "two")),
        changes(wider, put(3, 2, "two", "more"), put(4, 3, "three", None)),
        next_offset=5,
    )
    assert harness.rows(orders) == [{"no": 7, "Total": 70}]
    assert {row["id"]: row["note"] for row in harness.rows(wider)} == {1: None, 2: "more", 3: None}


def test_without_a_key(harness: Harness) -> None:
    schema = table("log", {"line": VARCHAR, "n": INT}, database=f"d_{secrets.token_hex(4)}")
    worker = Worker(harness.target())
    update = changes(
        schema, put(0, "a", 1), put(1, "a", 1), put(2, None, 2), delete(3, "a", 1), put(3, "b", 1)
    )
    worker.apply(update, next_offset=4)
    if not harness.keyless:
        assert [rejection.offset for rejection in worker.parked] == [0, 1, 2, 3]
        assert all("message.key.columns" in rejection.reason for rejection in worker.parked)
        return
    expected: list[Row] = [{"line": "a", "n": 1}, {"line": "b", "n": 1}, {"line": None, "n": 2}]
    assert ordered(harness.rows(schema)) == ordered(expected)
    worker.apply(changes(schema, delete(4, None, 2)), truncate(schema, 5), next_offset=6)
    assert harness.rows(schema) == []


_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "delete", "truncate"]), st.integers(0, 4)), max_size=25
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, cuts=st.sets(st.integers(1, 25), max_size=3))
def test_coalesced_in_any_batches_is_the_same_as_one_by_one(
    harness: Harness, items: TableSchema, steps: list[tuple[str, int]], cuts: set[int]
) -> None:
    worker = Worker(harness.target())
    start = worker.next_offset()
    model: dict[int, str] = {}
    pending: list[Change | Truncate] = [truncate(items, start)]
    for offset, (operation, key) in enumerate(steps, start + 1):
        if offset - start in cuts:
            worker.apply(*segments_of(items, pending), next_offset=offset)
            pending = []
        match operation:
            case "put":
                model[key] = f"at {offset}"
                pending.append(put(offset, key, model[key]))
            case "delete":
                pending.append(delete(offset, key, model.pop(key, "")))
            case _:
                model.clear()
                pending.append(truncate(items, offset))
    worker.apply(*segments_of(items, pending), next_offset=start + len(steps) + 1)
    assert {row["id"]: row["name"] for row in harness.rows(items)} == model


def segments_of(schema: TableSchema, log: list[Change | Truncate]) -> list[Segment]:
    segments: list[Segment] = []
    for barrier, group in groupby(log, key=lambda entry: isinstance(entry, Truncate)):
        entries = list(group)
        if barrier:
            segments += [entry for entry in entries if isinstance(entry, Truncate)]
        else:
            segments.append(changes(schema, *(entry for entry in entries if isinstance(entry, Change))))
    return segments
