"""Segments of a batch on one session: straight on, or, once something was refused, down to the culprits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import polars as pl

from sinks.errors import RejectedError
from sinks.targets.base import RowChanges, SchemaChange, Truncate
from sinks.targets.isolate import apply_one_by_one
from sinks.targets.postgres import alter, ddl, keyless, rows
from sinks.targets.postgres.sqlstate import translated
from sinks.targets.postgres.staging import Staging
from sinks.targets.postgres.truncate import truncate

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.table_schema import TableSchema
    from sinks.targets.base import Rejection, Segment
    from sinks.targets.postgres.ddl import Replica
    from sinks.targets.postgres.options import PostgresOptions


class Writer:
    """Applies segments; remembers which tables it has seen and staged in this session.

    Args:
        sink: whose tables they are.
        state_schema: where its bookkeeping is; no replica may have it as schema.
        options: of the target.
    """

    def __init__(self, sink: str, state_schema: str, options: PostgresOptions) -> None:
        self._sink = sink
        self._state_schema = state_schema
        self._options = options
        self._replicas: dict[TableSchema, Replica] = {}
        self._staging = Staging(options.staging_tables)

    def forget(self) -> None:
        """Forget all that a rollback, or another session, may have changed."""
        self._replicas.clear()
        self._staging.forget()

    def write(self, cursor: Cursor, segment: Segment) -> None:
        """Apply a segment.

        Raises:
            RejectedError: something in it was refused; the transaction is lost.
        """
        match segment:
            case RowChanges():
                replica = self._replica(cursor, segment.schema)
                self._write_rows(cursor, replica, segment.last)
            case Truncate():
                truncate(cursor, segment.table)
            case SchemaChange():
                self._follow(cursor, segment)
            case _:
                assert_never(segment)

    def write_isolating(self, cursor: Cursor, segment: Segment) -> list[Rejection]:
        """Apply a segment but what is refused, and return that. Each attempt has a savepoint of its own."""
        if isinstance(segment, Truncate):
            truncate(cursor, segment.table)
            return []
        if isinstance(segment, SchemaChange):
            self._follow(cursor, segment)
            return []
        replica = self._replica(cursor, segment.schema)
        with translated(where=str(segment.schema.table)):
            # Outside of any savepoint, so that undoing an attempt does not take the staging table away.
            self._staging.prepare(cursor, replica)

        def attempt(changes: RowChanges) -> str | None:
            return self._attempt(cursor, replica, changes.last)

        if segment.schema.key:
            keys = self._refused(cursor, replica, segment.last)
        else:
            rest = self._up_to_refused(cursor, replica, segment.frame)
            segment = replace(segment, frame=segment.frame.clear() if rest is None else rest)
            keys = segment.frame["key"].unique().to_list()
        return apply_one_by_one(segment, keys, attempt)

    def _follow(self, cursor: Cursor, change: SchemaChange) -> None:
        touched = {change.table, change.after}
        self._replicas = {of: known for of, known in self._replicas.items() if of.table not in touched}
        alter.follow(cursor, change, sink=self._sink, state_schema=self._state_schema)

    def _replica(self, cursor: Cursor, schema: TableSchema) -> Replica:
        replica = self._replicas.get(schema)
        if replica is None:
            replica = self._replicas[schema] = ddl.ensure(
                cursor, schema, sink=self._sink, state_schema=self._state_schema
            )
        return replica

    def _write_rows(self, cursor: Cursor, replica: Replica, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        write = rows.write if replica.schema.key else keyless.write
        with translated(where=str(replica.schema.table), columns=replica.names, data=True):
            write(cursor, replica, frame, self._staging, self._options)

    def _attempt(self, cursor: Cursor, replica: Replica, frame: pl.DataFrame) -> str | None:
        """Write rows under a savepoint; return why they are refused, or None."""
        with translated(where=str(replica.schema.table)):
            cursor.execute("SAVEPOINT attempt")
            try:
                self._write_rows(cursor, replica, frame)
            except RejectedError as error:
                cursor.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
                return error.what
            cursor.execute("RELEASE SAVEPOINT attempt")
            return None

    def _refused(self, cursor: Cursor, replica: Replica, frame: pl.DataFrame) -> list[bytes]:
        """Write coalesced rows but those that are refused, by halving; return the latter's keys."""
        if self._attempt(cursor, replica, frame) is None:
            return []
        if frame.height == 1:
            return [frame["key"][0]]
        half = frame.height // 2
        return [
            *self._refused(cursor, replica, frame[:half]),
            *self._refused(cursor, replica, frame[half:]),
        ]

    def _up_to_refused(self, cursor: Cursor, replica: Replica, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Write a keyless table's rows up to the first refused change; return it and all after it, or None.

        The rows of one offset, an update's old and new one, stay together.
        """
        if self._attempt(cursor, replica, frame) is None:
            return None
        offsets = frame["offset"].unique(maintain_order=True)
        if offsets.len() == 1:
            return frame
        is_first = pl.col("offset").is_in(offsets[: offsets.len() // 2].implode())
        second = frame.filter(~is_first)
        rest = self._up_to_refused(cursor, replica, frame.filter(is_first))
        if rest is not None:
            return pl.concat([rest, second])
        return self._up_to_refused(cursor, replica, second)
