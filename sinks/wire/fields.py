"""From a Connect field to the one form that its MySQL type has in a frame (``mysql_types.Kind``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinks.errors import FatalError, RejectedError
from sinks.mysql_types import Kind, canonical_name, rule_of
from sinks.table_schema import MysqlType
from sinks.wire.base import EnvelopeSchema, RowField

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

SOURCE_TYPE = "__debezium.source.column.type"
SOURCE_LENGTH = "__debezium.source.column.length"
SOURCE_SCALE = "__debezium.source.column.scale"
SOURCE_NAME = "__debezium.source.column.name"

_ESCAPED = re.compile(r"_u([0-9a-f]{4})")
_PIECE = re.compile(r"\\.|.", re.DOTALL)
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
_UNSIGNED_HEX_DIGITS = 16
_SINGLE_PRECISION_BITS = 24

_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_MICRO_TIMESTAMP = "io.debezium.time.MicroTimestamp"
_SEMANTICS: Mapping[Kind, Collection[str | None]] = {
    Kind.BIG_UNSIGNED: {_DECIMAL, None},
    Kind.DECIMAL: {None},
    Kind.DATE: {"io.debezium.time.Date"},
    Kind.DATETIME: {"io.debezium.time.Timestamp", _MICRO_TIMESTAMP},
    Kind.TIMESTAMP: {"io.debezium.time.ZonedTimestamp"},
    Kind.TIME: {"io.debezium.time.MicroTime"},
}
"""What a value's number or text means: another setting of the connector would be read wrongly in silence."""


class WireField(NamedTuple):
    """One field of a row as the wire's schema describes it.

    Attributes:
        name: the field's name on the wire.
        semantic: Connect's schema name, such as ``io.debezium.time.MicroTime``.
        parameters: Connect's schema parameters; hold the source column's type.
        nullable: whether the wire allows null.
    """

    name: str
    semantic: str | None
    parameters: Mapping[str, str]
    nullable: bool


def unescape(name: str) -> str:
    """Undo Debezium's ``avro_unicode`` adjustment of names: ``_u002d`` is ``-``, ``_u005f`` is ``_``."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), name)


def exactly(name: str) -> str:
    """Return what polars takes for a field of just this name: ``*`` and ``^…$`` are patterns to it."""
    return f"^{re.escape(name)}$" if name == "*" or (name[:1] == "^" and name[-1:] == "$") else name


def split_values(allowed: str) -> dict[str, str]:
    r"""Split the ``allowed`` parameter of an ENUM or SET: each value as Debezium writes it, and as meant.

    That is as the statement did, backslashes doubled, and with a comma in it as ``\,``.
    """
    written = [""]
    for piece in _PIECE.findall(allowed):
        if piece == ",":
            written.append("")
        else:
            written[-1] += piece
    return {of: _BACKSLASH.sub(lambda m: _CONTROLS.get(m[1], m[1]), of) for of in written}


def envelope_schema(row: Iterable[WireField], key: Sequence[str]) -> EnvelopeSchema:
    """Describe a captured table.

    Args:
        row: the fields of the envelope's row.
        key: the wire's names of the key's fields.

    Raises:
        RejectedError: the key is not part of the row.
        FatalError: see :func:`row_field`.
    """
    columns = tuple(row_field(field) for field in row)
    names = {column.wire_name: column.name for column in columns}
    if missing := [unescape(name) for name in key if name not in names]:
        raise RejectedError(f"the key's field {missing[0]!r} is not a column of the row")
    return EnvelopeSchema(columns, tuple(names[name] for name in key))


def row_field(field: WireField) -> RowField:
    """Describe one column.

    Raises:
        FatalError: the connector does not propagate source types, or represents one in a way of its own.
    """
    parameters = field.parameters
    declared = parameters.get(SOURCE_TYPE)
    name = parameters.get(SOURCE_NAME) or unescape(field.name)
    if declared is None:
        raise FatalError(
            f"column {name!r} comes without its MySQL type",
            hint="set column.propagate.source.type=.* on the Debezium connector",
        )
    length, scale = (
        int(digits) if (digits := parameters.get(of)) is not None else None
        for of in (SOURCE_LENGTH, SOURCE_SCALE)
    )
    type_name = canonical_name(declared)
    if type_name.startswith("FLOAT") and scale is None and (length or 0) > _SINGLE_PRECISION_BITS:
        type_name = type_name.replace("FLOAT", "DOUBLE")
    values = split_values(parameters["allowed"]) if "allowed" in parameters else {}
    column_type = MysqlType(type_name, length, scale, tuple(values.values()))
    kind = rule_of(column_type).kind
    if field.semantic not in _SEMANTICS.get(kind, {field.semantic}):
        raise FatalError(
            f"column {name!r}, {type_name}, comes as {field.semantic}",
            hint="the Debezium connector needs time.precision.mode=adaptive_time_microseconds, "
            "decimal.handling.mode=string and bigint.unsigned.handling.mode=precise",
        )
    value = _value(pl.col(exactly(field.name)), kind, field.semantic)
    if rewritten := {of: meant for of, meant in values.items() if of != meant}:
        value = _as_meant(value, rewritten, several=type_name == "SET")
    return RowField(name, field.name, column_type, field.nullable, value)


def _as_meant(value: pl.Expr, rewritten: Mapping[str, str], *, several: bool) -> pl.Expr:
    """Undo what the stream, but not a snapshot, does to the values of an ENUM or SET: see split_values."""
    if not several:
        return value.replace(rewritten)
    return value.str.split(",").list.eval(pl.element().replace(rewritten)).list.join(",")


def _value(field: pl.Expr, kind: Kind, semantic: str | None) -> pl.Expr:
    match kind:
        case Kind.INTEGER:
            return field.cast(pl.Int64)
        case Kind.BIG_UNSIGNED:
            if semantic is None:
                return field.cast(pl.UInt64)
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
            micros = field if semantic == _MICRO_TIMESTAMP else field * 1000
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
