"""What the suite needs to know of each target: how to make one, read a table and provoke a refusal.

Rows are read back as ``{column: value}`` with values in one canonical form per kind.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import struct
from abc import ABC, abstractmethod
from decimal import Decimal
from typing import TYPE_CHECKING, Any, assert_never

import psycopg2
from psycopg2.sql import SQL, Identifier

from sinks.mysql_types import Kind, rule_of
from sinks.targets.elasticsearch import ElasticsearchTarget
from sinks.targets.elasticsearch.mapping import field_name
from sinks.targets.elasticsearch.scan import scan
from sinks.targets.memory import MemoryServer, MemoryTarget
from sinks.targets.postgres import PostgresTarget
from tests.builders import INT, JSON, TEXT, changes, put, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinks.table_schema import Column, TableSchema
    from sinks.targets.base import RowChanges, Target

Value = Any
Row = dict[str, Value]
_MICROSECOND = dt.timedelta(microseconds=1)


class Harness(ABC):
    """One kind of target over one store."""

    keyless = True
    coalesces = True
    alters = True

    def __init__(self) -> None:
        database = f"shop_{secrets.token_hex(4)}"
        self.poisonable = table("poison", {"id": INT, "note": TEXT, "doc": JSON}, ["id"], database=database)
        self.sink = f"sink-{secrets.token_hex(4)}"
        self.targets: list[Target] = []

    @abstractmethod
    def make(self) -> Target:
        """Return another target of the same sink, as a second worker has one."""

    @abstractmethod
    def rows(self, schema: TableSchema) -> list[Row]:
        """Return what the store holds of a table, canonical."""

    @abstractmethod
    def poison(self, target: Target, offset: int) -> tuple[str, str]:
        """Return values of a TEXT and a JSON column that make the target refuse the record at an offset."""

    def cure(self, target: Target, offset: int) -> None:  # noqa: B027 (most have nothing to do)
        """Have the target accept the record at an offset again; where values are at fault, nothing to do."""

    def poisoned(self, target: Target, offset: int) -> RowChanges:
        """Return a segment of one record that is refused."""
        return changes(self.poisonable, put(offset, 1, *self.poison(target, offset)))

    def target(self) -> Target:
        self.targets.append(self.make())
        return self.targets[-1]

    def close(self) -> None:
        for target in self.targets:
            target.close()


class MemoryHarness(Harness):
    """The reference: it applies every change, also those that others coalesce away."""

    coalesces = False

    def __init__(self) -> None:
        super().__init__()
        self.server = MemoryServer()

    def make(self) -> MemoryTarget:
        return MemoryTarget(self.sink, self.server)

    def rows(self, schema: TableSchema) -> list[Row]:
        rows = MemoryTarget(self.sink, self.server).rows(schema.table)
        return [{c.name: from_frame(c, row.get(c.name)) for c in schema.columns} for row in rows]

    def poison(self, target: Target, offset: int) -> tuple[str, str]:
        assert isinstance(target, MemoryTarget)
        target.refuses.add(offset)
        return "poison", "{}"

    def cure(self, target: Target, offset: int) -> None:
        assert isinstance(target, MemoryTarget)
        target.refuses.discard(offset)


class PostgresHarness(Harness):
    """Schemas of its own in the replica of a real server, the state's among them."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.dsn = dsn
        self.state_schema = f"state_{secrets.token_hex(6)}"
        self.schemas = {self.state_schema}

    def make(self) -> PostgresTarget:
        return PostgresTarget(self.sink, self.dsn, state_schema=self.state_schema)

    def rows(self, schema: TableSchema) -> list[Row]:
        self.schemas.add(schema.table.database)
        columns = SQL(", ").join(Identifier(column.name) for column in schema.columns)
        table = Identifier(schema.table.database, schema.table.name)
        session = psycopg2.connect(self.dsn)
        try:
            with session.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
                cursor.execute(SQL("SELECT {} FROM {}").format(columns, table))
                found = cursor.fetchall()
        except psycopg2.errors.UndefinedTable:
            return []
        finally:
            session.close()
        return [
            {c.name: _from_postgres(c, value) for c, value in zip(schema.columns, row, strict=True)}
            for row in found
        ]

    def poison(self, target: Target, offset: int) -> tuple[str, str]:
        del target, offset
        return "a\0b", "{}"

    def close(self) -> None:
        super().close()
        session = psycopg2.connect(self.dsn)
        with session, session.cursor() as cursor:
            for schema in self.schemas:
                cursor.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
        session.close()


class ElasticsearchHarness(Harness):
    """Indices of a database of its own on a real node."""

    keyless = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.tables: set[TableSchema] = set()

    def make(self) -> ElasticsearchTarget:
        return ElasticsearchTarget(self.sink, self.url)

    def rows(self, schema: TableSchema) -> list[Row]:
        self.tables.add(schema)
        reader = self.make()
        try:
            index = reader.index_of(schema.table)
            pages = scan(reader._client, index, source=True) if index else ()
            return [_from_document(schema, hit["_source"]) for page in pages for hit in page]
        finally:
            reader.close()

    def poison(self, target: Target, offset: int) -> tuple[str, str]:
        del target, offset
        return "fine", '{"broken'

    def close(self) -> None:
        eraser = self.make()
        aliases = {eraser.index_of(schema.table) for schema in self.tables} - {None}
        for name in (f"{alias}-*" for alias in aliases):
            for index in eraser._client.request("GET", f"/{name}/_alias", doing="listing"):
                eraser._client.request("DELETE", f"/{index}", doing="clearing up")
        for index in (eraser._state.index, eraser._parked.index):
            params = {"ignore_unavailable": "true"}
            eraser._client.request("DELETE", f"/{index}", doing="clearing up", params=params)
        eraser.close()
        super().close()


def _float32(value: float) -> float:
    number: float = struct.unpack("f", struct.pack("f", value))[0]
    return number


def _bits(column: Column, value: bytes) -> str:
    return format(int.from_bytes(value, "little"), f"0{column.type.length}b")


def from_frame(column: Column, value: Value) -> Value:
    """Return a frame's value in canonical form."""
    if value is None:
        return None
    kind = rule_of(column.type).kind
    match kind:
        case Kind.DECIMAL:
            return Decimal(value)
        case Kind.FLOAT:
            return _float32(value)
        case Kind.TIMESTAMP:
            return dt.datetime.fromisoformat(value)
        case Kind.JSON:
            return json.loads(value)
        case Kind.BITS:
            return _bits(column, value)
        case Kind.GEOMETRY:
            return value["wkb"]
        case Kind.VECTOR:
            return [_float32(number) for number in value]
        case (
            Kind.INTEGER
            | Kind.BIG_UNSIGNED
            | Kind.DOUBLE
            | Kind.DATE
            | Kind.DATETIME
            | Kind.TIME
            | Kind.TEXT
            | Kind.BINARY
            | Kind.BOOLEAN
        ):
            return value
        case _:
            assert_never(kind)


def _from_postgres(column: Column, value: Value) -> Value:
    if value is None:
        return None
    convert: dict[Kind, Callable[[Any], Any]] = {
        Kind.BIG_UNSIGNED: int,
        Kind.FLOAT: _float32,
        Kind.TIME: lambda interval: interval // _MICROSECOND,
        Kind.BINARY: bytes,
        Kind.GEOMETRY: bytes,
        Kind.VECTOR: lambda numbers: [_float32(number) for number in numbers],
    }
    return convert.get(rule_of(column.type).kind, lambda same: same)(value)


def _from_document(schema: TableSchema, document: Row) -> Row:
    # A document that was written before a column was added does not have it.
    assert document.keys() <= {field_name(column.name) for column in schema.columns}
    return {c.name: _from_field(c, document.get(field_name(c.name))) for c in schema.columns}


def _from_field(column: Column, value: Value) -> Value:
    if value is None:
        return None
    convert: dict[Kind, Callable[[Any], Any]] = {
        Kind.BIG_UNSIGNED: int,
        Kind.DECIMAL: Decimal,
        Kind.FLOAT: _float32,
        Kind.DATE: dt.date.fromisoformat,
        Kind.DATETIME: dt.datetime.fromisoformat,
        Kind.TIMESTAMP: dt.datetime.fromisoformat,
        Kind.TIME: _clock,
        Kind.BINARY: base64.b64decode,
        Kind.GEOMETRY: base64.b64decode,
        Kind.VECTOR: lambda numbers: [_float32(number) for number in numbers],
    }
    return convert.get(rule_of(column.type).kind, lambda same: same)(value)


def _clock(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    hours, minutes, seconds = text.removeprefix("-").split(":")
    whole, _, fraction = seconds.partition(".")
    in_seconds = (int(hours) * 60 + int(minutes)) * 60 + int(whole)
    return sign * (in_seconds * 1_000_000 + int(fraction or 0))
