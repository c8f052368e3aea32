"""From a Connect field to the one form that its MySQL type has in a frame (``mysql_types.Kind``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from sinks.errors import FatalError
from sinks.mysql_types import Kind, canonical_name, rule_of
from sinks.table_schema import MysqlType
from sinks.wire.base import RowField

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE_TYPE = "__debezium.source.column.type"
SOURCE_LENGTH = "__debezium.source.column.length"
SOURCE_SCALE = "__debezium.source.column.scale"
SOURCE_NAME = "__debezium.source.column.name"

_ESCAPED = re.compile(r"_u([0-9a-f]{4})")
_MILLISECOND_DIGITS = 3
_UNSIGNED_HEX_DIGITS = 16


def unescape(name: str) -> str:
    """Undo Debezium's ``avro_unicode`` adjustment of names: ``_u002d`` is ``-``, ``_u005f`` is ``_``."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), name)


def split_values(allowed: str) -> tuple[str, ...]:
    r"""Split the ``allowed`` parameter of an ENUM or SET at its commas; a comma in a value is ``\,``."""
    return tuple(value.replace("\\,", ",") for value in re.split(r"(?<!\\),", allowed))


def row_field(
    wire_name: str,
    *,
    semantic: str | None,
    parameters: Mapping[str, str],
    nullable: bool,
) -> RowField:
    """Describe one field of a row.

    Args:
        wire_name: the field's name on the wire.
        semantic: Connect's schema name, such as ``io.debezium.time.MicroTime``.
        parameters: Connect's schema parameters; hold the source column's type.
        nullable: whether the wire allows null.

    Raises:
        FatalError: the connector does not propagate source types.
    """
    declared = parameters.get(SOURCE_TYPE)
    name = parameters.get(SOURCE_NAME) or unescape(wire_name)
    if declared is None:
        raise FatalError(
            f"column {name!r} comes without its MySQL type",
            hint="set column.propagate.source.type=.* on the Debezium connector",
        )
    length, scale = parameters.get(SOURCE_LENGTH), parameters.get(SOURCE_SCALE)
    column_type = MysqlType(
        canonical_name(declared),
        int(length) if length is not None else None,
        int(scale) if scale is not None else None,
        split_values(parameters["allowed"]) if "allowed" in parameters else (),
    )
    value = _value(pl.col(wire_name), column_type, semantic)
    return RowField(name, wire_name, column_type, nullable, value)


def _value(field: pl.Expr, column_type: MysqlType, semantic: str | None) -> pl.Expr:
    kind = rule_of(column_type).kind
    if column_type.name == "ENUM" and any("," in value for value in column_type.values):
        # Debezium escapes commas of such values in the stream but not in a snapshot.
        declared = field.is_in(column_type.values)
        return pl.when(declared).then(field).otherwise(field.str.replace_all("\\,", ",", literal=True))
    match kind:
        case Kind.INTEGER:
            return field.cast(pl.Int64)
        case Kind.BIG_UNSIGNED:
            # Connect's Decimal of scale 0: big-endian two's complement, one byte longer than 8 at the most.
            digits = field.bin.encode("hex").str.pad_start(_UNSIGNED_HEX_DIGITS + 2, "0")
            return digits.str.slice(2).str.to_integer(base=16, dtype=pl.UInt64)
        case Kind.FLOAT:
            return field.cast(pl.Float32)
        case Kind.DOUBLE:
            return field.cast(pl.Float64)
        case Kind.DATE:
            return field.cast(pl.Int32).cast(pl.Date)
        case Kind.DATETIME:
            micros = field if semantic == "io.debezium.time.MicroTimestamp" else field * 1000
            return micros.cast(pl.Datetime("us"))
        case Kind.TIME:
            return field.cast(pl.Int64)
        case Kind.GEOMETRY:
            return pl.when(field.is_not_null()).then(
                pl.struct(field.struct.field("wkb"), field.struct.field("srid").cast(pl.Int64))
            )
        case Kind.VECTOR:
            return field.cast(pl.List(pl.Float32))
        case Kind.DECIMAL | Kind.TIMESTAMP | Kind.TEXT | Kind.JSON | Kind.BINARY | Kind.BITS | Kind.BOOLEAN:
            return field
