"""Tables, changes and batches of tests, in a line each.

items = table("items", {"id": INT, "name": VARCHAR}, key=["id"])
changes(items, put(0, 1, "one"), put(1, 2, "two"), delete(2, 1, "one"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinks.change import Progress, TopicPartition
from sinks.mysql_types import Kind, rule_of
from sinks.table_schema import Column, MysqlType, TableId, TableSchema
from sinks.targets.base import Batch, RowChanges, Segment, Truncate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PARTITION = TopicPartition("cdc.shop.items", 0)
INT = MysqlType("INT")
BIGINT = MysqlType("BIGINT")
VARCHAR = MysqlType("VARCHAR", 50)
TEXT = MysqlType("TEXT")
JSON = MysqlType("JSON")

DTYPES: Mapping[Kind, pl.DataType] = {
    Kind.INTEGER: pl.Int64(),
    Kind.BIG_UNSIGNED: pl.UInt64(),
    Kind.DECIMAL: pl.String(),
    Kind.FLOAT: pl.Float32(),
    Kind.DOUBLE: pl.Float64(),
    Kind.DATE: pl.Date(),
    Kind.DATETIME: pl.Datetime("us"),
    Kind.TIMESTAMP: pl.String(),
    Kind.TIME: pl.Int64(),
    Kind.TEXT: pl.String(),
    Kind.BINARY: pl.Binary(),
    Kind.JSON: pl.String(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.BITS: pl.Binary(),
    Kind.GEOMETRY: pl.Struct({"wkb": pl.Binary, "srid": pl.Int64}),
    Kind.VECTOR: pl.List(pl.Float32),
}


Value = Any


class Change(NamedTuple):
    """One row of a frame: ``values`` are the row after the change, or, for a delete, before it."""

    offset: int
    deleted: bool
    values: tuple[Value, ...]


def put(offset: int, *values: Value) -> Change:
    return Change(offset, deleted=False, values=values)


def delete(offset: int, *values: Value) -> Change:
    return Change(offset, deleted=True, values=values)


def table(
    name: str, columns: Mapping[str, MysqlType], key: Sequence[str] = (), *, database: str = "shop"
) -> TableSchema:
    """Build a schema; all columns but the key's may be NULL."""
    described = tuple(Column(column, type_, column not in key) for column, type_ in columns.items())
    return TableSchema(TableId(database, name), described, tuple(key))


def changes(schema: TableSchema, *rows: Change, partition: TopicPartition = PARTITION) -> RowChanges:
    """Build a segment."""
    frame = pl.DataFrame(
        {
            "offset": [row.offset for row in rows],
            "deleted": [row.deleted for row in rows],
            "key": [_key(schema, row.values) for row in rows],
            **{f"c{i}": [row.values[i] for row in rows] for i in range(len(schema.columns))},
        },
        schema={
            "offset": pl.Int64,
            "deleted": pl.Boolean,
            "key": pl.Binary,
            **{f"c{i}": DTYPES[rule_of(c.type).kind] for i, c in enumerate(schema.columns)},
        },
    )
    return RowChanges(schema, partition, frame)


def _key(schema: TableSchema, values: tuple[Value, ...]) -> bytes:
    return repr([values[i] for i in schema.key_indices]).encode() if schema.key else b""


def truncate(schema: TableSchema, offset: int, *, partition: TopicPartition = PARTITION) -> Truncate:
    return Truncate(schema.table, partition, offset)


def batch(*segments: Segment, next_offset: int, partition: TopicPartition = PARTITION) -> Batch:
    """Build a batch that brings one partition to ``next_offset``."""
    return Batch(segments, {partition: Progress(next_offset)})
