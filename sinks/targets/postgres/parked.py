"""Parked keys and what operators ask for them: two tables of the state schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from psycopg2.extras import execute_values

from sinks.table_schema import TableId
from sinks.targets.base import ParkedKey, Request

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

_FIELDS = (
    "topic, key, source_database, source_table, partition, first_version, last_version, letters, reason,"
    " (extract(epoch FROM parked_at) * 1000)::bigint"
)
_WRITE = """
INSERT INTO parked_key AS p (sink, topic, key, source_database, source_table, partition, first_version,
    last_version, letters, reason, parked_at)
VALUES %s
ON CONFLICT (sink, topic, key_hash) DO UPDATE
SET source_database = EXCLUDED.source_database, source_table = EXCLUDED.source_table,
    partition = EXCLUDED.partition, first_version = EXCLUDED.first_version,
    last_version = EXCLUDED.last_version, letters = EXCLUDED.letters, reason = EXCLUDED.reason
"""
_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s / 1000.0))"
_DELETE = """
DELETE FROM parked_key p USING (VALUES %s) v (sink, topic, key)
WHERE p.sink = v.sink AND p.topic = v.topic AND p.key_hash = sha256(v.key)
"""
_ASK = """
INSERT INTO request (sink, topic, key, partition, action, edits) VALUES %s
ON CONFLICT (sink, topic, key_hash) DO UPDATE
SET partition = EXCLUDED.partition, action = EXCLUDED.action, edits = EXCLUDED.edits,
    asked_at = EXCLUDED.asked_at
"""
_ANSWERED = """
DELETE FROM request r USING (VALUES %s) v (sink, topic, key, action, edits)
WHERE r.sink = v.sink AND r.topic = v.topic AND r.key_hash = sha256(v.key)
  AND r.action = v.action AND r.edits = v.edits
"""


def _exists(cursor: Cursor) -> bool:
    cursor.execute("SELECT to_regclass('parked_key') IS NOT NULL")
    return bool((cursor.fetchone() or (False,))[0])


def read(cursor: Cursor, sink: str, topics: Collection[str] | None = None) -> list[ParkedKey]:
    """Read the parked keys of a sink, or of some of its topics; none before the migration."""
    if topics is None and not _exists(cursor):
        return []
    chosen = "" if topics is None else " AND topic = ANY(%s)"
    cursor.execute(
        f"SELECT {_FIELDS} FROM parked_key WHERE sink = %s{chosen} ORDER BY parked_at, topic, key_hash",  # noqa: S608 (constants)
        (sink,) if topics is None else (sink, list(topics)),
    )
    return [
        ParkedKey(topic, bytes(key), None if name is None else TableId(database, name), *rest)
        for topic, key, database, name, *rest in cursor.fetchall()
    ]


def write(cursor: Cursor, sink: str, changed: Mapping[tuple[str, bytes], ParkedKey | None]) -> None:
    """Store keys that are parked now, and remove those that are not any more (None)."""
    gone = [(sink, topic, key) for (topic, key), held in changed.items() if held is None]
    if gone:
        execute_values(cursor, _DELETE, gone, template="(%s, %s, %s::bytea)")
    rows = [
        (
            *(sink, held.topic, held.key, *(held.table or (None, None))),
            *(held.partition, held.first, held.last, held.letters, held.reason, held.parked_ms),
        )
        for held in changed.values()
        if held is not None
    ]
    if rows:
        execute_values(cursor, _WRITE, rows, template=_ROW)


def ask(cursor: Cursor, sink: str, requests: Sequence[Request]) -> None:
    """Record requests; one for the same key is replaced."""
    rows = [(sink, r.topic, r.key, r.partition, r.action, _edits(r)) for r in requests]
    if rows:
        execute_values(cursor, _ASK, rows, template="(%s, %s, %s, %s, %s, %s::jsonb)")


def requests(cursor: Cursor, sink: str) -> list[Request]:
    """Read the requests of a sink, oldest first; none before the migration."""
    if not _exists(cursor):
        return []
    cursor.execute(
        "SELECT action, topic, key, partition, edits FROM request WHERE sink = %s ORDER BY asked_at", (sink,)
    )
    return [
        Request(action, topic, bytes(key), partition, {int(version): of for version, of in edits.items()})
        for action, topic, key, partition, edits in cursor.fetchall()
    ]


def answered(cursor: Cursor, sink: str, requests: Sequence[Request]) -> None:
    """Remove requests that are still as they were read."""
    rows = [(sink, r.topic, r.key, r.action, _edits(r)) for r in requests]
    if rows:
        execute_values(cursor, _ANSWERED, rows, template="(%s, %s, %s::bytea, %s, %s::jsonb)")


def _edits(request: Request) -> str:
    return json.dumps({str(version): dict(of) for version, of in request.edits.items()})
