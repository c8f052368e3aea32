"""Hypothesis strategies for rows of captured tables, and shortcuts to read records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from sinks.change import Progress, TopicPartition
from sinks.envelope import ChangeReader, Records, Routed
from sinks.wire.confluent_avro import ConfluentAvro
from tests.debezium import DECIMAL, Col, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.envelope import Changes
    from sinks.table_schema import TableSchema
    from tests.debezium import AvroRecords, Envelope, JsonRecords, Row

PARTITION = TopicPartition("cdc.shop.everything", 0)
_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def values(column: Col) -> st.SearchStrategy[Any]:
    """Return what a column may hold on the wire."""
    found: st.SearchStrategy[Any]
    if isinstance(column.wire, list):
        found = _row(column.wire)
    elif column.semantic == DECIMAL:
        found = st.integers(0, 2**64 - 1).map(lambda n: n.to_bytes(n.bit_length() // 8 + 1, "big"))
    elif column.semantic in {"io.debezium.time.Date", "io.debezium.time.Timestamp"}:
        found = st.integers(-354_285, 2_932_896)
    elif column.wire in _BITS:
        half = 1 << _BITS[column.wire] - 1
        found = st.integers(-half, half - 1)
    else:
        found = {
            "boolean": st.booleans(),
            "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
            "double": st.floats(allow_nan=False, allow_infinity=False),
            "array": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
            "string": _TEXT,
            "bytes": st.binary(max_size=9),
        }[column.wire]
    return st.none() | found if column.nullable else found


def _row(columns: Sequence[Col]) -> st.SearchStrategy[Row]:
    names = [column.name for column in columns]
    return st.tuples(*map(values, columns)).map(lambda drawn: dict(zip(names, drawn, strict=True)))


def rows(table: Table) -> st.SearchStrategy[Row]:
    """Return rows of a table."""
    return _row(table.columns)


@st.composite
def tables(draw: st.DrawFn, columns: Sequence[Col]) -> Table:
    """Return tables of some of the columns, the first always among them, in any order."""
    first, *others = columns
    chosen = draw(st.lists(st.sampled_from(others), unique_by=lambda column: column.name, max_size=6))
    return Table("some", draw(st.permutations([first, *chosen])), draw(st.sampled_from([(), (first.name,)])))


@st.composite
def envelopes(draw: st.DrawFn, table: Table, most: int = 6) -> list[Envelope]:
    """Return a few changes of a table, each one transaction after the other."""
    found = []
    for number in range(1, draw(st.integers(1, most)) + 1):
        op = draw(st.sampled_from("crud"))
        found.append(
            table.envelope(
                op,
                before=draw(rows(table)) if op in "ud" else None,
                after=draw(rows(table)) if op in "cru" else None,
                gtid=f"{'0' * 8}:{number}",
            )
        )
    return found


def every_column(schema: TableSchema) -> Routed:
    """Route a table as it is."""
    return Routed(schema, tuple(range(len(schema.columns))))


def avro_reader(*records: AvroRecords) -> ChangeReader:
    """Return a reader of these tables' records that takes every column."""
    texts = {schema_id: text for of in records for schema_id, text in of.texts.items()}
    return ChangeReader(ConfluentAvro(texts.__getitem__), every_column)


def written(
    by: AvroRecords | JsonRecords, table: Table, changes: Sequence[Envelope], first: int = 0
) -> Records:
    """Return changes as the records of a partition."""
    named = {column.field_name: column.name for column in table.columns}
    keys = [
        by.key({named[name]: value for name, value in (change["after"] or change["before"] or {}).items()})
        if change["op"] != "t"
        else None
        for change in changes
    ]
    return Records(PARTITION, range(first, first + len(changes)), keys, [by.value(c) for c in changes])


def read(reader: ChangeReader, records: Records, progress: Progress | None = None) -> Changes:
    """Read records from the start, or from ``progress``."""
    return reader.read(records, progress or Progress(0))
