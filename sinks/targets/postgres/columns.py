"""A frame's columns as the text that PostgreSQL's own input functions read: exact for every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import polars as pl

from sinks.mysql_types import Kind, rule_of

if TYPE_CHECKING:
    from sinks.table_schema import Column, TableSchema


def expression(column: Column, name: str) -> pl.Expr:
    """Return the column of a frame in a form that a CSV writer or a cast to text renders for PostgreSQL.

    Args:
        column: what it is at the source.
        name: its name in the frame.
    """
    kind = rule_of(column.type).kind
    values = pl.col(name)
    match kind:
        case (
            Kind.INTEGER
            | Kind.BIG_UNSIGNED
            | Kind.DECIMAL
            | Kind.FLOAT
            | Kind.DOUBLE
            | Kind.DATE
            | Kind.DATETIME
            | Kind.TIMESTAMP
            | Kind.TEXT
            | Kind.JSON
            | Kind.BOOLEAN
        ):
            return values
        case Kind.TIME:
            return (values.cast(pl.String) + pl.lit(" us")).alias(name)
        case Kind.BINARY:
            return _hex(values).alias(name)
        case Kind.GEOMETRY:
            return _hex(values.struct.field("wkb")).alias(name)
        case Kind.BITS:
            return _bits(values, column.type.length or 1).alias(name)
        case Kind.VECTOR:
            numbers = values.list.eval(pl.element().cast(pl.String)).list.join(",")
            return (pl.lit("{") + numbers + pl.lit("}")).alias(name)
        case _:
            assert_never(kind)


def expressions(schema: TableSchema) -> list[pl.Expr]:
    """Return all columns of a table, in order, under the frame's own names."""
    return [
        expression(column, name) for column, name in zip(schema.columns, schema.data_columns, strict=True)
    ]


def _hex(values: pl.Expr) -> pl.Expr:
    return pl.lit("\\x") + values.bin.encode("hex")


def _bits(values: pl.Expr, width: int) -> pl.Expr:
    def render(column: pl.Series) -> pl.Series:
        bits = [
            None if value is None else f"{int.from_bytes(value, 'little'):0{width}b}"
            for value in column.to_list()
        ]
        return pl.Series(column.name, bits, dtype=pl.String)

    return values.map_batches(render, return_dtype=pl.String)
