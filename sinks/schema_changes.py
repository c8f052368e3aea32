"""One change of a table's definition, read from a record of Debezium's schema-change topic."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sinks.change import Place, parse_gtid
from sinks.errors import FatalError
from sinks.mysql_ddl import Statement, read
from sinks.mysql_types import MYSQL_TYPES, canonical_name
from sinks.table_schema import Column, MysqlType, TableId, TableSchema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_SINGLE_PRECISION_BITS = 24
_FIRST_ORDER = -(1 << 20)
"""A schema change's place is before that of any row of its transaction (of which there is mostly none)."""
_DEFAULT_LENGTHS = {"BIT": 1}
_NAMED = {"CREATE", "ALTER", "DROP"}


@dataclass(frozen=True, eq=False)
class TableChange:
    """A change of one table at the source, under the source's names. Equal to nothing but itself.

    Attributes:
        offset: in the schema-change topic.
        written_ms: when the record was written to Kafka, ms since the epoch.
        source: GTID source.
        place: in that source; before that of any row of the same transaction.
        gtid: the transaction.
        table: the table before.
        after: its name afterwards; None: it was dropped.
        schema: its definition afterwards; None: dropped, or renamed and not described.
        statement: what else the statement says.
    """

    offset: int
    written_ms: int
    source: str
    place: Place
    gtid: str
    table: TableId
    after: TableId | None
    schema: TableSchema | None
    statement: Statement = field(default_factory=Statement)

    @property
    def tables(self) -> frozenset[TableId]:
        """All tables that it touches."""
        return frozenset({self.table} if self.after is None else {self.table, self.after})


def table_changes(
    record: Mapping[str, Any],
    *,
    offset: int,
    written_ms: int,
    ordinal: int,
    tables: Collection[TableId] = (),
) -> Iterator[TableChange]:
    """Yield the changes of tables that a record of the schema-change topic tells of.

    What a snapshot writes there describes tables as they are when their rows are read: no change.

    Args:
        record: its plain values.
        offset: where it stands.
        written_ms: see :class:`TableChange`.
        ordinal: how many records of the same transaction stand before it.
        tables: all tables known so far: a database goes with those it has.

    Raises:
        FatalError: a change carries no GTID.
    """
    source = record["source"]
    if source.get("snapshot") not in {None, "false"}:
        return
    ddl = record.get("ddl") or ""
    statement = read(ddl)
    database = record.get("databaseName") or ""
    named = [change for change in record.get("tableChanges") or () if change.get("type") in _NAMED]
    if not named and not statement.tables and not statement.dropped_database:
        return
    if not source.get("gtid"):
        raise FatalError(
            "a schema change carries no GTID",
            where=f"offset {offset} of the schema-change topic",
            hint="set gtid_mode=ON and enforce_gtid_consistency=ON on the MySQL server",
        )
    origin, number = parse_gtid(source["gtid"])
    common = partial(
        TableChange,
        offset=offset,
        written_ms=written_ms,
        source=origin,
        place=Place(number, _FIRST_ORDER + ordinal),
        gtid=source["gtid"],
        statement=statement,
    )
    for change in named:
        after = _table_id(change["id"], database)
        if change["type"] == "DROP":
            yield common(table=after, after=None, schema=None)
        else:
            schema = _schema(after, change["table"])
            yield common(table=_before(after, statement, database), after=after, schema=schema)
    for table in sorted(of for of in tables if of.database == statement.dropped_database):
        yield common(table=table, after=None, schema=None)
    if not named:
        # Of a table that is renamed on by the same statement, only the last name is described.
        for old, new in statement.tables.items():
            yield common(table=_in(old, database), after=_in(new, database), schema=None)


def described(record: Mapping[str, Any]) -> set[TableId]:
    """Return the tables that a record tells of, a snapshot's too."""
    database = record.get("databaseName") or ""
    return {_table_id(change["id"], database) for change in record.get("tableChanges") or ()}


def _schema(table: TableId, described: Mapping[str, Any]) -> TableSchema:
    columns = tuple(_column(column) for column in described["columns"])
    return TableSchema(table, columns, tuple(described.get("primaryKeyColumnNames") or ()))


def _in(table: TableId, database: str) -> TableId:
    return TableId(table.database or database, table.name)


def _before(after: TableId, statement: Statement, database: str) -> TableId:
    """Return the name that a table had before the statement."""
    for old, new in statement.tables.items():
        if _in(new, database) == after:
            return _in(old, database)
    return after


def _table_id(text: str, database: str) -> TableId:
    """Read ``"database"."table"``, quotes within names doubled."""
    parts: list[str] = []
    rest = text
    while rest.startswith('"'):
        end = 1
        while rest[end : end + 1] != '"' or rest[end + 1 : end + 2] == '"':
            end += 1 if rest[end] != '"' else 2
        parts.append(rest[1:end].replace('""', '"'))
        rest = rest[end + 1 :].removeprefix(".")
    if not parts:
        parts = text.split(".", 1)
    return TableId(parts[0] if len(parts) > 1 else database, parts[-1])


def _column(described: Mapping[str, Any]) -> Column:
    length, scale = described.get("length"), described.get("scale")
    name = canonical_name(described["typeName"])
    if name.startswith("FLOAT") and scale is None and (length or 0) > _SINGLE_PRECISION_BITS:
        name = name.replace("FLOAT", "DOUBLE")
    if name not in MYSQL_TYPES:
        name = canonical_name(described.get("typeExpression") or name)
    values = tuple(_unquoted(value) for value in described.get("enumValues") or ())
    return Column(
        described["name"],
        MysqlType(name, length if length is not None else _DEFAULT_LENGTHS.get(name), scale, values),
        bool(described.get("optional")),
    )


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    return value
