"""What becomes of rows when their table changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sinks.change import TopicPartition
from sinks.table_schema import Column, TableId
from sinks.targets.base import Added, SchemaChange
from tests.builders import BIGINT, INT, PARTITION, VARCHAR, changes, delete, put, table
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.table_schema import TableSchema
    from tests.contract.harness import Harness


@pytest.fixture(autouse=True)
def _holds_tables(harness: Harness) -> None:
    if not harness.alters:
        pytest.skip("it holds no tables: each change that is sent names its columns")


def change(
    before: TableSchema,
    after: TableSchema | None,
    offset: int,
    *,
    at: int = 0,
    renamed: Mapping[str, str] | None = None,
    added: Mapping[str, Added] | None = None,
) -> SchemaChange:
    position = ("schema-changes", at)
    name = after.table if after else None
    return SchemaChange(before.table, name, after, PARTITION, offset, position, renamed or {}, added or {})


def after(schema: TableSchema, **columns: Column) -> TableSchema:
    return replace(schema, columns=(*schema.columns[:1], *columns.values()))


def test_columns_are_renamed_dropped_and_added(harness: Harness) -> None:
    before = table(
        "t", {"id": INT, "a": INT, "b": VARCHAR}, ["id"], database=harness.poisonable.table.database
    )
    now = after(
        before,
        c=Column("c", INT, nullable=True),
        d=Column("d", VARCHAR, nullable=False),
        e=Column("e", VARCHAR, nullable=True),
    )
    worker = Worker(harness.target())
    worker.apply(changes(before, put(0, 1, 10, "x"), put(1, 2, None, "y")), next_offset=2)
    added = {"d": Added("it's"), "e": Added()}
    barrier = change(before, now, 2, renamed={"c": "a"}, added=added)
    rows = changes(now, put(2, 3, 30, "d", "e"), delete(3, 2, None, "", ""))
    expected = [{"id": 1, "c": 10, "d": "it's", "e": None}, {"id": 3, "c": 30, "d": "d", "e": "e"}]
    for _ in range(2):  # the second time as after a crash before the progress was stored
        worker.apply(barrier, rows, next_offset=4)
        assert sorted(harness.rows(now), key=lambda row: row["id"]) == expected


def test_a_type_changes_with_its_values(harness: Harness) -> None:
    before = table("t", {"id": INT, "a": INT}, ["id"], database=harness.poisonable.table.database)
    now = after(before, a=Column("a", BIGINT, nullable=True))
    worker = Worker(harness.target())
    worker.apply(changes(before, put(0, 1, 10), put(1, 2, None)), next_offset=2)
    worker.apply(change(before, now, 2), changes(now, put(2, 3, 1 << 40)), next_offset=3)
    rows = {row["id"]: row["a"] for row in harness.rows(now)}
    assert rows == {1: 10, 2: None, 3: 1 << 40}


def test_another_key_finds_the_rows_that_were_there(harness: Harness) -> None:
    before = table("t", {"id": INT, "a": INT}, ["id"], database=harness.poisonable.table.database)
    now = replace(before, key=("a",), columns=tuple(replace(c, nullable=False) for c in before.columns))
    worker = Worker(harness.target())
    worker.apply(changes(before, put(0, 1, 10), put(1, 2, 20)), next_offset=2)
    worker.apply(change(before, now, 2), changes(now, delete(2, 1, 10), put(3, 5, 20)), next_offset=4)
    assert harness.rows(now) == [{"id": 5, "a": 20}]


def test_a_dropped_table_begins_anew(harness: Harness, items: TableSchema) -> None:
    worker = Worker(harness.target())
    worker.apply(changes(items, put(0, 1, "old")), next_offset=1)
    worker.apply(change(items, None, 1), changes(items, put(1, 2, "new")), next_offset=2)
    assert harness.rows(items) == [{"id": 2, "name": "new"}]


def test_a_renamed_table_takes_its_rows_along(harness: Harness, items: TableSchema) -> None:
    renamed = replace(items, table=TableId(items.table.database, "renamed"))
    there = TopicPartition("cdc.shop.renamed", 0)
    worker = Worker(harness.target(), (PARTITION, there))
    worker.apply(changes(items, put(900, 1, "one"), put(901, 2, "two")), next_offset=902)
    barrier = SchemaChange(items.table, renamed.table, renamed, there, 0, ("schema-changes", 1))
    rows = changes(renamed, put(0, 2, "changed"), partition=there)
    worker.apply(barrier, rows, next_offset=1, partition=there)
    expected = [{"id": 1, "name": "one"}, {"id": 2, "name": "changed"}]
    assert sorted(harness.rows(renamed), key=lambda row: row["id"]) == expected
    assert harness.rows(items) == []
