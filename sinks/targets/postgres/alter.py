"""A replica table follows a change of its source's definition, in the transaction with the rows after it."""

# ruff: noqa: S608 (identifiers are quoted by `identifiers`, literals by the driver, types are our own)

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sinks.errors import FatalError
from sinks.mysql_types import Kind, postgres_type, rule_of
from sinks.targets.postgres import ddl
from sinks.targets.postgres.casts import cast, default_text, zero
from sinks.targets.postgres.identifiers import quoted, stored_name
from sinks.targets.postgres.sqlstate import translated

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.table_schema import Column, TableId, TableSchema
    from sinks.targets.base import SchemaChange

_LOG = logging.getLogger(__name__)
_ASIDE = "cdc renames "

_KEY_NAME = """
SELECT conname FROM pg_catalog.pg_constraint
WHERE conrelid = to_regclass(%s) AND contype = 'p'
"""


def follow(cursor: Cursor, change: SchemaChange, *, sink: str, state_schema: str) -> None:
    """Bring the replica to the table's new definition; nothing to do if there is no replica yet.

    1. Drop it, or give it its new name.
    2. Rename columns: they keep what they hold.
    3. Drop columns, and those that are there under the name of a new one.
    4. Add columns, with what MySQL gives rows that are there.
    5. Change types, with a cast.
    6. Change nullability, then the primary key.

    Each step compares the replica with what it has to be: it does nothing where a person was faster.

    Raises:
        FatalError: PostgreSQL can't do it; the replica is as it was.
    """
    with translated(where=str(change.table)):
        if ddl.columns_of(cursor, change.table) is None:
            return
    try:
        with translated(where=str(change.table)):
            if change.after is None:  # 1
                _drop(cursor, change.table)
                return
            if change.after != change.table:
                _rename(cursor, change.table, change.after, sink, state_schema)
            if change.schema is not None:
                _alter(cursor, change, change.schema)
    except FatalError as error:
        hint = error.hint or (
            "alter the replica table by hand to the source's definition; the worker goes on from there"
        )
        raise FatalError(
            f"the replica can't follow a schema change: {error.what}", where=error.where, hint=hint
        ) from error
    _LOG.info(
        "replica table follows its source",
        extra={"action": "schema_changed", "table": str(change.table), "after": str(change.after)},
    )


def _drop(cursor: Cursor, table: TableId) -> None:
    cursor.execute(f"DROP TABLE {ddl.relation_of(table)}")
    ddl.unregister(cursor, table)
    _LOG.info("replica table dropped", extra={"action": "table_dropped", "table": str(table)})


def _rename(cursor: Cursor, table: TableId, after: TableId, sink: str, state_schema: str) -> None:
    ddl.make_schema(cursor, after, state_schema)
    if after.database != table.database:
        cursor.execute(f"ALTER TABLE {ddl.relation_of(table)} SET SCHEMA {quoted(after.database)}")
        table = type(table)(after.database, table.name)
    if after.name != table.name:
        cursor.execute(f"ALTER TABLE {ddl.relation_of(table)} RENAME TO {quoted(after.name)}")
    ddl.unregister(cursor, table)
    ddl.register(cursor, after, sink)


def _alter(cursor: Cursor, change: SchemaChange, schema: TableSchema) -> None:
    table = ddl.relation_of(schema.table)
    there = ddl.columns_of(cursor, schema.table) or {}
    _rename_columns(cursor, table, change, set(there))  # 2
    there = ddl.columns_of(cursor, schema.table) or {}
    wanted = {stored_name(column.name): column for column in schema.columns}
    new = {stored_name(name) for name in change.added}
    if _key_of(there) != [stored_name(name) for name in schema.key] or new & set(_key_of(there)):
        _drop_key(cursor, table)
    gone = [name for name in there if name not in wanted or name in new]
    if gone:  # 3
        cursor.execute(f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {quoted(name)}' for name in gone)}")
    for name, column in wanted.items():  # 4
        if name not in there or name in new:
            _add(cursor, table, column, change)
    for name, column in wanted.items():  # 5
        if name in there and name not in new and there[name].type != postgres_type(column.type):
            _retype(cursor, table, column, there[name].type)
    there = ddl.columns_of(cursor, schema.table) or {}
    for name, column in wanted.items():  # 6
        required = not column.nullable or column.name in schema.key
        if required and not there[name].refuses_null:
            cursor.execute(f"UPDATE {table} SET {quoted(name)} = {zero(column)} WHERE {quoted(name)} IS NULL")
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {quoted(name)} SET NOT NULL")
        elif there[name].refuses_null and not required:
            if there[name].key_place is not None:
                _drop_key(cursor, table)
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {quoted(name)} DROP NOT NULL")
    if schema.key and _key_of(ddl.columns_of(cursor, schema.table) or {}) != [
        stored_name(name) for name in schema.key
    ]:
        cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quoted, schema.key))})")


def _key_of(columns: dict[str, ddl.Existing]) -> list[str]:
    places = {name: column.key_place for name, column in columns.items() if column.key_place is not None}
    return sorted(places, key=lambda name: places[name] or 0)


def _drop_key(cursor: Cursor, table: str) -> None:
    cursor.execute(_KEY_NAME, (table,))
    found = cursor.fetchone()
    if found is not None:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {quoted(found[0])}")


def _rename_columns(cursor: Cursor, table: str, change: SchemaChange, there: set[str]) -> None:
    """Rename through names aside, since one statement may swap names."""
    due = {new: old for new, old in change.renamed.items() if stored_name(old) in there and new != old}
    names = {stored_name(old) for old in due.values()}
    # A name that is there and neither goes away nor is renamed shows that this was done before.
    kept = {stored_name(c.name) for c in (change.schema.columns if change.schema else ())} - {
        stored_name(name) for name in (*change.added, *change.renamed)
    }
    due = {new: old for new, old in due.items() if stored_name(old) not in kept}
    taken = {stored_name(new) for new in due} & there - names
    if taken:
        drops = ", ".join(f"DROP COLUMN {quoted(name)}" for name in sorted(taken))
        cursor.execute(f"ALTER TABLE {table} {drops}")
    for number, old in enumerate(due.values()):
        cursor.execute(f"ALTER TABLE {table} RENAME COLUMN {quoted(old)} TO {quoted(f'{_ASIDE}{number}')}")
    for number, new in enumerate(due):
        cursor.execute(f"ALTER TABLE {table} RENAME COLUMN {quoted(f'{_ASIDE}{number}')} TO {quoted(new)}")


def _add(cursor: Cursor, table: str, column: Column, change: SchemaChange) -> None:
    added = change.added.get(column.name)
    value = default_text(column, added.value) if added is not None and added.value is not None else None
    definition = f"{quoted(column.name)} {postgres_type(column.type)}"
    if value is not None:
        literal = cursor.mogrify("%s", (value,)).decode()
    elif column.nullable:
        cursor.execute(f"ALTER TABLE {table} ADD COLUMN {definition}")
        return
    else:
        literal = zero(column)
    # As a default it is stored once, not written into every row; it is not the replica's to give later on.
    cursor.execute(f"ALTER TABLE {table} ADD COLUMN {definition} DEFAULT {literal}")
    cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {quoted(column.name)} DROP DEFAULT")


def _retype(cursor: Cursor, table: str, column: Column, before: str) -> None:
    wanted = postgres_type(column.type)
    using = cast(quoted(column.name), before, wanted, as_json=rule_of(column.type).kind is Kind.JSON)
    cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {quoted(column.name)} TYPE {wanted} USING {using}")
