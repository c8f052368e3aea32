"""The one table of MySQL's types: what each becomes in a frame, in PostgreSQL and in Elasticsearch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sinks.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.table_schema import MysqlType


class Kind(Enum):
    """How a column's values stand in a frame, whichever wire format they came by."""

    INTEGER = "signed or unsigned integer that fits Int64"
    BIG_UNSIGNED = "UInt64"
    DECIMAL = "String: exact decimal digits"
    FLOAT = "Float32"
    DOUBLE = "Float64"
    DATE = "Date"
    DATETIME = "Datetime(us), no time zone"
    TIMESTAMP = "String: ISO 8601 in UTC"
    TIME = "Int64: microseconds, negative and beyond 24 h included"
    TEXT = "String"
    BINARY = "Binary"
    JSON = "String: JSON text"
    BOOLEAN = "Boolean"
    BITS = "Binary, little-endian"
    GEOMETRY = "Struct(wkb Binary, srid Int64)"
    VECTOR = "List(Float32)"


@dataclass(frozen=True, slots=True)
class TypeRule:
    """What one MySQL type becomes.

    Attributes:
        kind: its form in a frame.
        postgres: PostgreSQL type; ``{n}`` and ``{s}`` stand for length and scale.
        elasticsearch: the field's mapping.
        default_length: the length where MySQL's own is not given (DATETIME has 0 digits).
    """

    kind: Kind
    postgres: str
    elasticsearch: Mapping[str, Any]
    default_length: int | None = None


_KEYWORD: Mapping[str, Any] = {"type": "keyword", "ignore_above": 8191}
_TEXT: Mapping[str, Any] = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 1024}}}
_NUMERIC_TEXT: Mapping[str, Any] = {"type": "keyword", "fields": {"number": {"type": "double"}}}
_BINARY: Mapping[str, Any] = {"type": "binary"}
_DATE: Mapping[str, Any] = {"type": "date", "format": "strict_date_optional_time"}
# Not parsed, so that objects, arrays and scalars can follow each other in one field; kept whole in _source.
_OPAQUE: Mapping[str, Any] = {"type": "object", "enabled": False}


def _integer(postgres: str, elasticsearch: str) -> TypeRule:
    return TypeRule(Kind.INTEGER, postgres, {"type": elasticsearch})


_CHARACTER = TypeRule(Kind.TEXT, "character varying({n})", _TEXT)
_LONG_TEXT = TypeRule(Kind.TEXT, "text", _TEXT)
_LABEL = TypeRule(Kind.TEXT, "text", _KEYWORD)
_BYTES = TypeRule(Kind.BINARY, "bytea", _BINARY)
_SPATIAL = TypeRule(Kind.GEOMETRY, "bytea", _BINARY)
_DECIMAL = TypeRule(Kind.DECIMAL, "numeric({n},{s})", _NUMERIC_TEXT, default_length=10)
_FLOAT = TypeRule(Kind.FLOAT, "real", {"type": "float"})
_DOUBLE = TypeRule(Kind.DOUBLE, "double precision", {"type": "double"})

MYSQL_TYPES: Mapping[str, TypeRule] = {
    "TINYINT": _integer("smallint", "short"),
    "TINYINT UNSIGNED": _integer("smallint", "short"),
    "SMALLINT": _integer("smallint", "short"),
    "SMALLINT UNSIGNED": _integer("integer", "integer"),
    "MEDIUMINT": _integer("integer", "integer"),
    "MEDIUMINT UNSIGNED": _integer("integer", "integer"),
    "INT": _integer("integer", "integer"),
    "INT UNSIGNED": _integer("bigint", "long"),
    "BIGINT": _integer("bigint", "long"),
    "BIGINT UNSIGNED": TypeRule(Kind.BIG_UNSIGNED, "numeric(20,0)", _NUMERIC_TEXT),
    "DECIMAL": _DECIMAL,
    "DECIMAL UNSIGNED": _DECIMAL,
    "FLOAT": _FLOAT,
    "FLOAT UNSIGNED": _FLOAT,
    "DOUBLE": _DOUBLE,
    "DOUBLE UNSIGNED": _DOUBLE,
    "BIT": TypeRule(Kind.BITS, "bit({n})", {"type": "keyword"}, default_length=1),
    "YEAR": _integer("smallint", "short"),
    "DATE": TypeRule(Kind.DATE, "date", _DATE),
    "DATETIME": TypeRule(Kind.DATETIME, "timestamp({n}) without time zone", _DATE, default_length=0),
    "TIMESTAMP": TypeRule(Kind.TIMESTAMP, "timestamp({n}) with time zone", _DATE, default_length=0),
    "TIME": TypeRule(Kind.TIME, "interval({n})", {"type": "keyword"}, default_length=0),
    "CHAR": _CHARACTER,
    "VARCHAR": _CHARACTER,
    "TINYTEXT": _LONG_TEXT,
    "TEXT": _LONG_TEXT,
    "MEDIUMTEXT": _LONG_TEXT,
    "LONGTEXT": _LONG_TEXT,
    "BINARY": _BYTES,
    "VARBINARY": _BYTES,
    "TINYBLOB": _BYTES,
    "BLOB": _BYTES,
    "MEDIUMBLOB": _BYTES,
    "LONGBLOB": _BYTES,
    "ENUM": _LABEL,
    "SET": _LABEL,
    "JSON": TypeRule(Kind.JSON, "jsonb", _OPAQUE),
    "GEOMETRY": _SPATIAL,
    "POINT": _SPATIAL,
    "LINESTRING": _SPATIAL,
    "POLYGON": _SPATIAL,
    "MULTIPOINT": _SPATIAL,
    "MULTILINESTRING": _SPATIAL,
    "MULTIPOLYGON": _SPATIAL,
    "GEOMETRYCOLLECTION": _SPATIAL,
    "VECTOR": TypeRule(Kind.VECTOR, "real[]", {"type": "float"}),
}

_BIT_OF_ONE = TypeRule(Kind.BOOLEAN, "boolean", {"type": "boolean"})
# What a statement in the stream may call a type; a snapshot always has MySQL's own name.
_SYNONYMS = {
    "INT1": "TINYINT",
    "BOOL": "TINYINT",
    "BOOLEAN": "TINYINT",
    "INT2": "SMALLINT",
    "INT3": "MEDIUMINT",
    "MIDDLEINT": "MEDIUMINT",
    "INT4": "INT",
    "INTEGER": "INT",
    "INT8": "BIGINT",
    "SERIAL": "BIGINT UNSIGNED",
    "NUMERIC": "DECIMAL",
    "FIXED": "DECIMAL",
    "DEC": "DECIMAL",
    "FLOAT4": "FLOAT",
    "FLOAT8": "DOUBLE",
    "REAL": "DOUBLE",
    "DOUBLE PRECISION": "DOUBLE",
    "NCHAR": "CHAR",
    "CHARACTER": "CHAR",
    "NATIONAL CHAR": "CHAR",
    "NATIONAL CHARACTER": "CHAR",
    "NVARCHAR": "VARCHAR",
    "NCHAR VARCHAR": "VARCHAR",
    "NCHAR VARYING": "VARCHAR",
    "CHAR VARYING": "VARCHAR",
    "CHARACTER VARYING": "VARCHAR",
    "NATIONAL VARCHAR": "VARCHAR",
    "NATIONAL CHAR VARYING": "VARCHAR",
    "NATIONAL CHARACTER VARYING": "VARCHAR",
    "LONG": "MEDIUMTEXT",
    "LONG VARCHAR": "MEDIUMTEXT",
    "LONG VARBINARY": "MEDIUMBLOB",
    "GEOMCOLLECTION": "GEOMETRYCOLLECTION",
}
_ATTRIBUTES = {"ZEROFILL", "SIGNED", "UNSIGNED", "BINARY"}


def canonical_name(declared: str) -> str:
    """Return a declared type's key in :data:`MYSQL_TYPES`: upper case, synonyms and attributes resolved."""
    first, *rest = declared.upper().split() or [""]
    name = " ".join([first, *(word for word in rest if word not in _ATTRIBUTES)])
    name = _SYNONYMS.get(name, name)
    # ZEROFILL makes a column UNSIGNED, whether it says so or not.
    return f"{name} UNSIGNED" if {"UNSIGNED", "ZEROFILL"} & set(rest) else name


def rule_of(column_type: MysqlType) -> TypeRule:
    """Return the rule of a type.

    Raises:
        FatalError: MySQL has a type that this table does not know: better to stop than to guess.
    """
    if column_type.name == "BIT" and column_type.length in {None, 1}:
        return _BIT_OF_ONE
    rule = MYSQL_TYPES.get(column_type.name)
    if rule is None:
        raise FatalError(
            f"MySQL type {column_type.name!r} is not known",
            where="sinks/mysql_types.py",
            hint="exclude the column in cdc.toml, or add the type to the table",
        )
    return rule


def postgres_type(column_type: MysqlType) -> str:
    """Return the PostgreSQL type of a column, with its length and scale."""
    rule = rule_of(column_type)
    length = column_type.length if column_type.length is not None else rule.default_length
    if "{n}" in rule.postgres and length is None:
        return "text"
    # A VARCHAR(0) is legal in MySQL and holds only '': PostgreSQL's shortest is 1.
    shortest = 1 if rule.kind is Kind.TEXT else 0
    return rule.postgres.format(n=max(length or 0, shortest), s=column_type.scale or 0)
