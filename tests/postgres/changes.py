"""Tables and changes of tests, in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sinks.change import TopicPartition
from sinks.mysql_types import Kind, rule_of
from sinks.table_schema import Column, MysqlType, TableId, TableSchema
from sinks.targets.base import RowChanges, Truncate

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITION = TopicPartition("cdc.shop.t", 0)
INT = MysqlType("INT")
BIGINT = MysqlType("BIGINT")
VARCHAR = MysqlType("VARCHAR", 50)
TEXT = MysqlType("TEXT")
JSON = MysqlType("JSON")
DOUBLE = MysqlType("DOUBLE")

_DTYPES: dict[Kind, Any] = {
    Kind.INTEGER: pl.Int64,
    Kind.BIG_UNSIGNED: pl.UInt64,
    Kind.DECIMAL: pl.String,
    Kind.FLOAT: pl.Float32,
    Kind.DOUBLE: pl.Float64,
    Kind.DATE: pl.Date,
    Kind.DATETIME: pl.Datetime("us"),
    Kind.TIMESTAMP: pl.String,
    Kind.TIME: pl.Int64,
    Kind.TEXT: pl.String,
    Kind.BINARY: pl.Binary,
    Kind.JSON: pl.String,
    Kind.BOOLEAN: pl.Boolean,
    Kind.BITS: pl.Binary,
    Kind.GEOMETRY: pl.Struct({"wkb": pl.Binary, "srid": pl.Int64}),
    Kind.VECTOR: pl.List(pl.Float32),
}


def table(
    name: str, columns: dict[str, MysqlType], key: Sequence[str] = (), *, database: str = "shop"
) -> TableSchema:
    return TableSchema(
        TableId(database, name),
        tuple(Column(column, type_, column not in key) for column, type_ in columns.items()),
        tuple(key),
    )


def changes(schema: TableSchema, rows: Sequence[tuple[int, str, Sequence[Any]]]) -> RowChanges:
    """Build changes from rows of (offset, "+" or "-", values)."""
    frame = pl.DataFrame(
        {
            "offset": [offset for offset, _, _ in rows],
            "deleted": [sign == "-" for _, sign, _ in rows],
            "key": [repr([row[i] for i in schema.key_indices]).encode() for _, _, row in rows],
            **{f"c{i}": [row[i] for _, _, row in rows] for i in range(len(schema.columns))},
        },
        schema={
            "offset": pl.Int64,
            "deleted": pl.Boolean,
            "key": pl.Binary,
            **{f"c{i}": _DTYPES[rule_of(c.type).kind] for i, c in enumerate(schema.columns)},
        },
    )
    if not schema.key:
        frame = frame.with_columns(key=pl.lit(b""))
    return RowChanges(schema, PARTITION, frame)


def truncation(schema: TableSchema, offset: int = 0) -> Truncate:
    return Truncate(schema.table, PARTITION, offset)
