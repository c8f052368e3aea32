"""A document's values under their column's new type, as the row itself would be written."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, assert_never

import polars as pl

from sinks.errors import FatalError
from sinks.mysql_types import Kind, rule_of
from sinks.targets.elasticsearch.documents import joined_id
from sinks.targets.elasticsearch.mapping import field_name

if TYPE_CHECKING:
    from sinks.table_schema import Column, MysqlType, TableSchema

_ZERO_MOMENT = "1970-01-01T00:00:00"
_MICROSECOND_DIGITS = 6


def converted(value: Any, before: MysqlType, column: Column) -> Any:  # noqa: ANN401  (JSON)
    """Return a value of a document under another type of its column.

    Raises:
        FatalError: it can't be.
    """
    if value is None or replace(before, values=column.type.values) == column.type:
        return value
    was, now = rule_of(before).kind, rule_of(column.type).kind
    try:
        return _converted(value, was, now, column)
    except (ValueError, TypeError, InvalidOperation) as error:
        raise FatalError(
            f"documents can't follow column {column.name!r} from {before.name} to {column.type.name}",
            where=column.name,
            hint="exclude the table for this sink, remove its index, and snapshot the table again",
        ) from error


def _converted(value: Any, was: Kind, now: Kind, column: Column) -> Any:  # noqa: ANN401, PLR0912  (JSON; one match)
    match now:
        case Kind.INTEGER:
            return int(_number(value, was).quantize(Decimal(1), ROUND_HALF_UP))
        case Kind.BIG_UNSIGNED:
            return str(_number(value, was).quantize(Decimal(1), ROUND_HALF_UP))
        case Kind.DECIMAL:
            step = Decimal(1).scaleb(-(column.type.scale or 0))
            return str(_number(value, was).quantize(step, ROUND_HALF_UP))
        case Kind.FLOAT | Kind.DOUBLE:
            return float(_number(value, was))
        case Kind.BOOLEAN:
            return _number(value, was) != 0
        case Kind.BITS:
            return format(int(_number(value, was)), f"0{column.type.length or 1}b")
        case Kind.TEXT:
            return _text(value, was)
        case Kind.BINARY | Kind.GEOMETRY:
            return value if was in {Kind.BINARY, Kind.GEOMETRY} else _encoded(_text(value, was))
        case Kind.DATE:
            return str(value)[:10]
        case Kind.DATETIME | Kind.TIMESTAMP:
            moment = _rounded(dt.datetime.fromisoformat(str(value)), column.type.length or 0)
            zone = "Z" if now is Kind.TIMESTAMP else ""
            return moment.replace(tzinfo=None).isoformat() + zone
        case Kind.JSON:
            return json.loads(value) if was is Kind.TEXT else value
        case Kind.TIME | Kind.VECTOR:
            return value
        case _:
            assert_never(now)


def _number(value: Any, was: Kind) -> Decimal:  # noqa: ANN401  (JSON)
    return (
        Decimal(int(value, 2))
        if was is Kind.BITS
        else Decimal(str(int(value) if value is True else value or 0))
    )


def _text(value: Any, was: Kind) -> str:  # noqa: ANN401  (JSON)
    if was is Kind.BINARY:
        return base64.b64decode(value).decode()
    if was is Kind.JSON:
        return json.dumps(value, ensure_ascii=False)
    if was in {Kind.DATETIME, Kind.TIMESTAMP}:
        return str(value).replace("T", " ").removesuffix("Z")
    return str(int(value)) if isinstance(value, bool) else str(value)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _rounded(moment: dt.datetime, digits: int) -> dt.datetime:
    step = 10 ** (_MICROSECOND_DIGITS - digits)
    rounded = (moment.microsecond + step // 2) // step * step
    return moment.replace(microsecond=0) + dt.timedelta(microseconds=rounded)


def default_of(column: Column, value: str | bytes | None) -> Any:  # noqa: ANN401  (JSON)
    """Return what rows that were there hold in an added column."""
    if value is None:
        return None if column.nullable else nothing(column)
    kind = rule_of(column.type).kind
    if isinstance(value, bytes):
        if kind is Kind.BINARY:
            return base64.b64encode(_padded(column, value)).decode()
        if kind is Kind.TEXT:
            return value.decode()
        return _converted(int.from_bytes(value, "big"), Kind.INTEGER, kind, column)
    if kind is Kind.BINARY:
        return base64.b64encode(_padded(column, value.encode())).decode()
    return _converted(value, Kind.TEXT, kind, column)


def _padded(column: Column, value: bytes) -> bytes:
    return value.ljust(column.type.length or 1, b"\0") if column.type.name == "BINARY" else value


def nothing(column: Column) -> Any:  # noqa: ANN401  (JSON)
    """Return what a NOT NULL column holds where no value was given."""
    kind = rule_of(column.type).kind
    match kind:
        case Kind.TEXT:
            return column.type.values[0] if column.type.name == "ENUM" and column.type.values else ""
        case Kind.DATE | Kind.DATETIME | Kind.TIMESTAMP:
            return _converted(_ZERO_MOMENT, Kind.DATETIME, kind, column)
        case Kind.TIME:
            return "00:00:00"
        case Kind.JSON:
            return None
        case Kind.BINARY | Kind.GEOMETRY:
            return base64.b64encode(_padded(column, b"")).decode()
        case Kind.VECTOR:
            return []
        case (
            Kind.INTEGER
            | Kind.BIG_UNSIGNED
            | Kind.DECIMAL
            | Kind.FLOAT
            | Kind.DOUBLE
            | Kind.BOOLEAN
            | Kind.BITS
        ):
            return _converted(0, Kind.INTEGER, kind, column)
        case _:
            assert_never(kind)


def document_id(schema: TableSchema, source: dict[str, Any]) -> str:
    """Return the id of a document by its key's fields."""
    values = [_id_text(source.get(field_name(schema.columns[i].name))) for i in schema.key_indices]
    frame = pl.DataFrame(
        {f"k{i}": [value] for i, value in enumerate(values)},
        schema_overrides={f"k{i}": pl.String for i in range(len(values))},
    )
    nullable = any(schema.columns[i].nullable for i in schema.key_indices)
    found: str = joined_id(frame, [pl.col(name) for name in frame.columns], plain=not nullable)[0]
    return found


def _id_text(value: Any) -> str | None:  # noqa: ANN401  (JSON)
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
