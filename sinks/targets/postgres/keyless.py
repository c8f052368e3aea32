"""Rows of a table without a key: a deleted row takes away one row equal to it as a whole.

Within a batch only the balance counts: inserts less deletes per distinct row. Rows are compared as composite
values of the staging table's type: null-safe, and joined by hash or merge (column by column with IS NOT
DISTINCT FROM would be a nested loop). Of equal rows any will do: the n-th found is paired with the n-th due.
"""

# ruff: noqa: S608 (identifiers are quoted by `identifiers`, staged names are our own)

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import polars as pl

from sinks.errors import FatalError
from sinks.targets.postgres.rows import DELETED, PRESENT, insert_directly, is_small

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.targets.postgres.ddl import Replica
    from sinks.targets.postgres.options import PostgresOptions
    from sinks.targets.postgres.staging import Staging

_LOG = logging.getLogger(__name__)


def write(
    cursor: Cursor, replica: Replica, frame: pl.DataFrame, staging: Staging, options: PostgresOptions
) -> None:
    """Apply inserted and deleted rows; a deleted row that is not there is logged, without its values."""
    if not frame["deleted"].any():
        rows = frame.select(replica.rendered)
        if is_small(frame, options):
            insert_directly(cursor, replica, rows)
        else:
            # With a constant beside it a lone NULL is not an empty line.
            with staging.filled(cursor, replica, rows.with_columns(op=pl.lit(PRESENT))) as stage:
                cursor.execute(
                    f"INSERT INTO {replica.relation} ({', '.join(replica.columns)})"
                    f" SELECT {', '.join(rows.columns)} FROM {stage}"
                )
        return
    op = pl.when("deleted").then(pl.lit(DELETED)).otherwise(pl.lit(PRESENT)).alias("op")
    with staging.filled(cursor, replica, frame.select(op, *replica.rendered)) as stage:
        cursor.execute(_balance(replica, stage))
        due, done = cursor.fetchone() or (0, 0)
    if due > done:
        _LOG.warning(
            "rows deleted at the source were not in the replica",
            extra={
                "action": "keyless_delete_unmatched",
                "table": str(replica.schema.table),
                "rows": due - done,
            },
        )
    elif due < done:
        raise FatalError("a delete took more rows than were due", where=str(replica.schema.table))


def _balance(replica: Replica, stage: str) -> str:
    staged = ", ".join(replica.schema.data_columns)
    of_table = ", ".join(f"t.{column}" for column in replica.columns)
    of_net = ", ".join(f"n.{column}" for column in replica.schema.data_columns)
    return f"""
WITH net AS MATERIALIZED (
    SELECT {staged}, sum(op) AS balance, row_number() OVER () AS id
    FROM {stage} GROUP BY {staged} HAVING sum(op) <> 0
), paired AS (
    SELECT t.ctid AS row_id, n.balance, row_number() OVER (PARTITION BY n.id) AS place
    FROM {replica.relation} AS t
    JOIN net AS n ON ROW(0::smallint, {of_table})::{stage} = ROW(0::smallint, {of_net})::{stage}
    WHERE n.balance < 0
), gone AS (
    DELETE FROM {replica.relation} AS t USING paired AS p
    WHERE t.ctid = p.row_id AND p.place <= -p.balance RETURNING 1
), come AS (
    INSERT INTO {replica.relation} ({", ".join(replica.columns)})
    SELECT {of_net} FROM net AS n, generate_series(1, n.balance) WHERE n.balance > 0
)
SELECT coalesce((SELECT sum(-balance) FROM net WHERE balance < 0), 0), (SELECT count(*) FROM gone)
"""
