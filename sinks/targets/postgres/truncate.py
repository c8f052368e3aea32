"""A truncate at the source, in the replica: at once where nobody reads, else row by row without waiting."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from psycopg2 import errors

from sinks.targets.postgres import ddl
from sinks.targets.postgres.sqlstate import translated

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.table_schema import TableId

_LOG = logging.getLogger(__name__)


def truncate(cursor: Cursor, table: TableId) -> None:
    """Empty a table's replica, if there is one.

    TRUNCATE wants the table for itself: behind a long reader it would wait, and all later readers behind it.
    So it is tried without waiting, and rows are deleted where that fails or a foreign key forbids it.
    """
    if not ddl.exists(cursor, table):
        return
    relation = ddl.relation_of(table)
    with translated(where=str(table)):
        cursor.execute("SAVEPOINT truncation")
        try:
            cursor.execute(f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE NOWAIT")
            cursor.execute(f"TRUNCATE {relation}")
        except (errors.LockNotAvailable, errors.FeatureNotSupported):
            cursor.execute("ROLLBACK TO SAVEPOINT truncation")
            cursor.execute(f"DELETE FROM {relation}")  # noqa: S608 (quoted by `identifiers`)
        cursor.execute("RELEASE SAVEPOINT truncation")
    _LOG.info("replica table emptied", extra={"action": "table_truncated", "table": str(table)})
