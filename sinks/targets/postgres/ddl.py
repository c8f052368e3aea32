"""Replica tables: made on first sight with the source's names, types and key; widened by new columns."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from sinks.errors import FatalError
from sinks.mysql_types import postgres_type
from sinks.targets.postgres.columns import expressions
from sinks.targets.postgres.identifiers import quoted, stored_name
from sinks.targets.postgres.migrations import LOCK_SPACE
from sinks.targets.postgres.sqlstate import MEND_MISSING_TABLE, translated

if TYPE_CHECKING:
    import polars as pl
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.table_schema import Column, TableId, TableSchema

_LOG = logging.getLogger(__name__)
_DDL_LOCK = 2

_COLUMNS = """
SELECT c.relkind, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', i.place
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN (
    SELECT indrelid, attnum, place
    FROM pg_catalog.pg_index, unnest(indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
    WHERE indisprimary
) i ON i.indrelid = c.oid AND i.attnum = a.attnum
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY a.attnum
"""


class Existing(NamedTuple):
    """A column that the replica table has."""

    type: str
    refuses_null: bool
    key_place: int | None


@dataclass(frozen=True)
class Replica:
    """A replica table as one schema of its source uses it.

    Attributes:
        schema: the source's.
        types: the replica's own type of each column of ``schema``, in order.
    """

    schema: TableSchema
    types: tuple[str, ...]

    @cached_property
    def relation(self) -> str:
        """The table's qualified, quoted name."""
        return relation_of(self.schema.table)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The quoted names of the schema's columns, in order."""
        return tuple(quoted(column.name) for column in self.schema.columns)

    @cached_property
    def rendered(self) -> tuple[pl.Expr, ...]:
        """Expressions of the schema's columns in a frame, as PostgreSQL reads them."""
        return tuple(expressions(self.schema))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names at the source, for messages."""
        return tuple(column.name for column in self.schema.columns)


def relation_of(table: TableId) -> str:
    """Return the qualified, quoted name of a source table's replica."""
    return f"{quoted(table.database)}.{quoted(table.name)}"


def exists(cursor: Cursor, table: TableId) -> bool:
    """Tell whether the table has a replica."""
    with translated(where=str(table)):
        return _existing(cursor, table) is not None


def columns_of(cursor: Cursor, table: TableId) -> dict[str, Existing] | None:
    """Return the columns of a table's replica by their stored names; None if it has none."""
    return _existing(cursor, table)


def unregister(cursor: Cursor, table: TableId) -> None:
    """Forget that a table has a replica."""
    cursor.execute(
        "DELETE FROM replica_table WHERE schema_name = %s AND table_name = %s",
        (stored_name(table.database), stored_name(table.name)),
    )


def register(cursor: Cursor, table: TableId, sink: str) -> None:
    """Note that a table has a replica.

    Raises:
        FatalError: its name belongs to another table's.
    """
    _register(cursor, table, sink, exists=True)


def make_schema(cursor: Cursor, table: TableId, state_schema: str) -> None:
    """Make the schema of a table's replica, if it is not there.

    Raises:
        FatalError: its name is reserved.
    """
    _refuse_reserved(table, state_schema)
    _make_schema(cursor, table)


def ensure(cursor: Cursor, schema: TableSchema, *, sink: str, state_schema: str) -> Replica:
    """Return the replica of a table, made or widened as its source's schema needs; inside the transaction.

    Raises:
        FatalError: its name is reserved, its key is another one, or it was dropped by hand.
        OutageError: another session holds it.
    """
    table = schema.table
    _refuse_reserved(table, state_schema)
    with translated(where=str(table)):
        found = _existing(cursor, table)
        if found is None or _mismatch(found, schema):
            cursor.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s, %s)", (LOCK_SPACE, _DDL_LOCK))
            found = _existing(cursor, table)
        _register(cursor, table, sink, exists=found is not None)
        if found is None:
            _create(cursor, schema)
        else:
            _fit(cursor, schema, found)
        found = _existing(cursor, table) or {}
        return Replica(schema, tuple(found[stored_name(column.name)].type for column in schema.columns))


def _refuse_reserved(table: TableId, state_schema: str) -> None:
    name = table.database
    if name in {state_schema, "information_schema"} or name.startswith("pg_"):
        raise FatalError(
            f"the source database {name!r} can't have a schema of that name in PostgreSQL: it is reserved",
            where=str(table),
            hint="give it a route to another name in cdc.toml",
        )


def _existing(cursor: Cursor, table: TableId) -> dict[str, Existing] | None:
    cursor.execute(_COLUMNS, (stored_name(table.database), stored_name(table.name)))
    rows = cursor.fetchall()
    if not rows:
        return None
    if rows[0][0] not in {"r", "p"}:
        raise FatalError(
            "the replica's name is taken by something that is not a table",
            where=str(table),
            hint="rename it, or give the source table a route to another name in cdc.toml",
        )
    return {name: Existing(*rest) for _, name, *rest in rows if name is not None}


def _mismatch(found: dict[str, Existing], schema: TableSchema) -> bool:
    names = {stored_name(column.name) for column in schema.columns}
    return bool(names - found.keys()) or any(
        column.refuses_null and column.key_place is None and name not in names
        for name, column in found.items()
    )


def _register(cursor: Cursor, table: TableId, sink: str, *, exists: bool) -> None:
    names = (stored_name(table.database), stored_name(table.name))
    cursor.execute(
        "SELECT source_database, source_table FROM replica_table WHERE schema_name = %s AND table_name = %s",
        names,
    )
    registered = cursor.fetchone()
    if registered is None:
        cursor.execute(
            "INSERT INTO replica_table VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (*names, *table, sink),
        )
    elif tuple(registered) != tuple(table):
        raise FatalError(
            f"its replica {names[0]}.{names[1]} belongs to another source table",
            where=str(table),
            hint="give one of the two a route to another name in cdc.toml",
        )
    elif not exists:
        raise FatalError("the replica table is gone", where=str(table), hint=MEND_MISSING_TABLE)


def _make_schema(cursor: Cursor, table: TableId) -> None:
    database = stored_name(table.database)
    cursor.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (database,))
    if not cursor.rowcount:
        # Asked before, for IF NOT EXISTS wants the right to create schemas even where it has nothing to do.
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(database)}")


def _create(cursor: Cursor, schema: TableSchema) -> None:
    _make_schema(cursor, schema.table)
    parts = [
        f"{_definition(column)}{'' if column.nullable and column.name not in schema.key else ' NOT NULL'}"
        for column in schema.columns
    ]
    if schema.key:
        parts.append(f"PRIMARY KEY ({', '.join(map(quoted, schema.key))})")
    cursor.execute(f"CREATE TABLE {relation_of(schema.table)} ({', '.join(parts)})")
    _LOG.info(
        "replica table created",
        extra={"action": "table_created", "table": str(schema.table), "columns": len(schema.columns)},
    )


def _definition(column: Column) -> str:
    return f"{quoted(column.name)} {postgres_type(column.type)}"


def _fit(cursor: Cursor, schema: TableSchema, found: dict[str, Existing]) -> None:
    """Make an existing table take rows of this schema; data that it has stays."""
    places = {name: column.key_place for name, column in found.items() if column.key_place is not None}
    if sorted(places, key=lambda name: places[name] or 0) != [stored_name(name) for name in schema.key]:
        raise FatalError(
            "the replica table's primary key is not the source's",
            where=str(schema.table),
            hint="alter the replica's key to match, or drop the table and snapshot it again",
        )
    wanted = {stored_name(column.name): column for column in schema.columns}
    changes = [f"ADD COLUMN {_definition(column)}" for name, column in wanted.items() if name not in found]
    added = len(changes)
    changes += [
        f"ALTER COLUMN {quoted(name)} DROP NOT NULL"
        for name, column in found.items()
        if name not in wanted and column.refuses_null
    ]
    if changes:
        cursor.execute(f"ALTER TABLE {relation_of(schema.table)} {', '.join(changes)}")
        _LOG.info(
            "replica table altered",
            extra={
                "action": "table_altered",
                "table": str(schema.table),
                "columns_added": added,
                "columns_made_nullable": len(changes) - added,
            },
        )
