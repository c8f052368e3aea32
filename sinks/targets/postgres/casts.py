"""Values of a column under its new type, as SQL; and what a column holds where MySQL gives no value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never

from sinks.mysql_types import Kind, postgres_type, rule_of

if TYPE_CHECKING:
    from sinks.table_schema import Column

_TEXT = re.compile(r"text|character varying")
_NUMBER = re.compile(r"smallint|integer|bigint|numeric|real$|double precision")
_ROUND = re.compile(r"smallint|integer|bigint")


def cast(name: str, before: str, wanted: str, *, as_json: bool = False) -> str:
    """Return the expression that takes a column's values from one PostgreSQL type to another.

    It does what MySQL does: bits are numbers, bytes and text are one another's encoding, moments without a
    time zone are in UTC.

    Args:
        name: the column, quoted.
        before: its type, as PostgreSQL writes it.
        wanted: the type that it gets.
        as_json: whether text becomes a JSON document by being parsed.
    """
    of_text, to_text = bool(_TEXT.match(before)), bool(_TEXT.match(wanted))
    bits = "bit(" in before or before == "boolean"
    if of_text and wanted == "bytea":
        return f"convert_to({name}, 'UTF8')"
    if before == "bytea" and (to_text or as_json):
        return f"convert_from({name}, 'UTF8')::{wanted}"
    if bits and (to_text or wanted.startswith("bit(") or _NUMBER.match(wanted)):
        # By way of a number: lengthening bits fills them up on the right in PostgreSQL, on the left in MySQL.
        number = f"{name}::integer::bigint" if before == "boolean" else f"{name}::bigint"
        return f"{number}::{wanted}"
    if wanted == "boolean" and (bits or _NUMBER.match(before)):
        return f"({name}::bigint <> 0)"
    if _NUMBER.match(before) and wanted.startswith("bit("):
        return f"{name}::bigint::{wanted}"
    if before.startswith("timestamp") and wanted.startswith("timestamp"):
        crosses = ("with time zone" in before) != ("with time zone" in wanted)
        return f"({name} AT TIME ZONE 'UTC')::{wanted}" if crosses else f"{name}::{wanted}"
    if before.endswith("with time zone") and "without" not in before:
        return f"({name} AT TIME ZONE 'UTC')::{wanted}"
    if of_text and _ROUND.match(wanted):
        return f"{name}::numeric::{wanted}"
    return f"{name}::{wanted}"


def default_text(column: Column, value: str | bytes) -> str:
    """Return a default of a statement as PostgreSQL reads it for the column's type."""
    kind = rule_of(column.type).kind
    if isinstance(value, bytes):
        number = int.from_bytes(value, "big")
        match kind:
            case Kind.BITS:
                return format(number, f"0{column.type.length or 1}b")
            case Kind.BOOLEAN:
                return str(bool(number))
            case Kind.BINARY:
                return "\\x" + _padded(column, value).hex()
            case Kind.TEXT:
                return value.decode()
            case _:
                return str(number)
    match kind:
        case Kind.BITS:
            return format(int(value), f"0{column.type.length or 1}b")
        case Kind.BOOLEAN:
            return str(value not in {"0", ""})
        case Kind.BINARY:
            return "\\x" + _padded(column, value.encode()).hex()
        case Kind.TIMESTAMP:
            return value if re.search(r"[+-]\d\d:\d\d$", value) else f"{value}+00:00"
        case Kind.INTEGER | Kind.BIG_UNSIGNED if not value.lstrip("-").isdigit():
            return str(round(float(value)))
        case _:
            return value


def _padded(column: Column, value: bytes) -> bytes:
    return value.ljust(column.type.length or 1, b"\0") if column.type.name == "BINARY" else value


def zero(column: Column) -> str:
    """Return the literal that a NOT NULL column holds where no value was given."""
    kind = rule_of(column.type).kind
    match kind:
        case Kind.INTEGER | Kind.BIG_UNSIGNED | Kind.DECIMAL | Kind.FLOAT | Kind.DOUBLE:
            return "0"
        case Kind.TEXT:
            first = column.type.values[0] if column.type.name == "ENUM" and column.type.values else ""
            return "'" + first.replace("'", "''") + "'"
        case Kind.BINARY:
            return f"'\\x{_padded(column, b'').hex()}'"
        case Kind.BOOLEAN:
            return "false"
        case Kind.BITS:
            return f"'{'0' * (column.type.length or 1)}'::{postgres_type(column.type)}"
        case Kind.DATE | Kind.DATETIME | Kind.TIMESTAMP:
            return "'1970-01-01 00:00:00+00'"  # as Debezium gives a zero date
        case Kind.TIME:
            return "'0 us'"
        case Kind.JSON:
            return "'null'"
        case Kind.GEOMETRY:
            return "'\\x'"
        case Kind.VECTOR:
            return "'{}'"
        case _:
            assert_never(kind)
