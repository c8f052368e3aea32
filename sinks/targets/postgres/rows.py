"""Coalesced rows of a table with a key: deletes, then upserts, each one set-based statement."""

# ruff: noqa: S608 (identifiers are quoted by `identifiers`, literals by the driver, staged names are our own)

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.targets.postgres.ddl import Replica
    from sinks.targets.postgres.options import PostgresOptions
    from sinks.targets.postgres.staging import Staging

DELETED = -1
PRESENT = 1


def is_small(frame: pl.DataFrame, options: PostgresOptions) -> bool:
    """Tell whether rows go faster as literals of one statement than through staging."""
    return (
        frame.height * frame.width <= options.direct_cells and frame.estimated_size() <= options.direct_bytes
    )


def write(
    cursor: Cursor, replica: Replica, frame: pl.DataFrame, staging: Staging, options: PostgresOptions
) -> None:
    """Delete and upsert rows, at most one per key."""
    if is_small(frame, options):
        _write_directly(cursor, replica, frame)
    else:
        _write_staged(cursor, replica, frame, staging)


def insert_directly(cursor: Cursor, replica: Replica, rows: pl.DataFrame, *, suffix: str = "") -> None:
    """Insert rows as literals of unknown type, which PostgreSQL reads with the column's input function.

    Args:
        cursor: in the batch's transaction.
        replica: where to.
        rows: all columns, rendered.
        suffix: what to do on conflict.
    """
    cursor.execute(
        f"INSERT INTO {replica.relation} ({', '.join(replica.columns)})"
        f" VALUES {_literals(cursor, rows)}{suffix}"
    )


def _write_directly(cursor: Cursor, replica: Replica, frame: pl.DataFrame) -> None:
    deletes = int(frame["deleted"].sum())
    if deletes:
        gone = frame.filter("deleted") if deletes < frame.height else frame
        keys = gone.select(replica.rendered[i] for i in replica.schema.key_indices)
        names = ", ".join(replica.columns[i] for i in replica.schema.key_indices)
        cursor.execute(f"DELETE FROM {replica.relation} WHERE ({names}) IN ({_literals(cursor, keys)})")
    if deletes < frame.height:
        come = frame.filter(~pl.col("deleted")) if deletes else frame
        insert_directly(cursor, replica, come.select(replica.rendered), suffix=_on_conflict(replica))


def _literals(cursor: Cursor, rows: pl.DataFrame) -> str:
    """Return rows as parenthesised lists of quoted literals."""
    places = ", ".join(["%s"] * rows.height)
    return cursor.mogrify(places, rows.cast(pl.String).rows()).decode()


def _write_staged(cursor: Cursor, replica: Replica, frame: pl.DataFrame, staging: Staging) -> None:
    rendered = replica.rendered
    keys = set(replica.schema.key_indices)
    deletes = int(frame["deleted"].sum())
    if not deletes:
        rows = frame.select(rendered)
    elif deletes == frame.height:
        rows = frame.select(rendered[i] for i in replica.schema.key_indices)
    else:
        op = pl.when("deleted").then(pl.lit(DELETED)).otherwise(pl.lit(PRESENT)).alias("op")
        # A row that is going away needs nothing but its key, and can't be refused for the rest.
        kept = [
            values if i in keys else pl.when(~pl.col("deleted")).then(values).alias(f"c{i}")
            for i, values in enumerate(rendered)
        ]
        rows = frame.select(op, *kept)
    with staging.filled(cursor, replica, rows) as stage:
        if deletes:
            _delete(cursor, replica, stage, mixed=deletes < frame.height)
        if deletes < frame.height:
            _upsert(cursor, replica, stage, mixed=deletes > 0)


def _delete(cursor: Cursor, replica: Replica, stage: str, *, mixed: bool) -> None:
    same = " AND ".join(f"t.{replica.columns[i]} = s.c{i}" for i in replica.schema.key_indices)
    which = f" AND s.op = {DELETED}" if mixed else ""
    cursor.execute(f"DELETE FROM {replica.relation} AS t USING {stage} AS s WHERE {same}{which}")


def _upsert(cursor: Cursor, replica: Replica, stage: str, *, mixed: bool) -> None:
    staged = ", ".join(replica.schema.data_columns)
    which = f" WHERE op = {PRESENT}" if mixed else ""
    cursor.execute(
        f"INSERT INTO {replica.relation} ({', '.join(replica.columns)})"
        f" SELECT {staged} FROM {stage}{which}{_on_conflict(replica)}"
    )


def _on_conflict(replica: Replica) -> str:
    key = set(replica.schema.key_indices)
    target = ", ".join(replica.columns[i] for i in replica.schema.key_indices)
    values = ", ".join(
        f"{column} = EXCLUDED.{column}" for i, column in enumerate(replica.columns) if i not in key
    )
    return f" ON CONFLICT ({target}) DO " + (f"UPDATE SET {values}" if values else "NOTHING")
