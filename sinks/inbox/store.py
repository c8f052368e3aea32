"""Processed message ids, beside the effects: in the same database, in the same transaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Dialect = Literal["postgresql", "mysql"]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_LONGEST = 190


class Cursor(Protocol):
    """A cursor of any DB-API driver whose parameters are written ``%s``."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        ...

    def execute(self, query: str, args: Sequence[object] = ..., /) -> object:
        """Run one statement."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 (a row)
        """Return a row, or None."""
        ...


class Inbox:
    """What one consumer has processed, and which keys it has parked.

    Two consumers that get the same message at once are put in line by the primary key: the second waits for
    the first one's transaction, and then knows the message, or processes it if the first rolled back.

    Args:
        dialect: of the database that holds the effects.
        consumer: whose inbox; several share a table.
        table: its name; ``<table>_parked`` stands beside it.
    """

    def __init__(self, dialect: Dialect, consumer: str, table: str = "inbox") -> None:
        if not _NAME.fullmatch(table):
            raise ValueError(f"{table!r} is not a table's name")
        if not 0 < len(consumer) <= _LONGEST:
            raise ValueError(f"consumer: 1 to {_LONGEST} characters")
        self._dialect = dialect
        self._consumer = consumer
        self._table = table

    def ddl(self) -> list[str]:
        """Return the statements that make the tables; safe to apply again."""
        text, moment, binary = (
            ("TEXT", "TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()", "BYTEA")
            if self._dialect == "postgresql"
            else (
                f"VARCHAR({_LONGEST}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
                "VARBINARY(500)",
            )
        )
        processed = (
            f"CREATE TABLE IF NOT EXISTS {self._table} (consumer {text} NOT NULL, message_id {text} NOT NULL,"
            f" processed_at {moment}, PRIMARY KEY (consumer, message_id))"
        )
        parked = (
            f"CREATE TABLE IF NOT EXISTS {self._table}_parked (consumer {text} NOT NULL,"
            f" topic {text} NOT NULL, message_key {binary} NOT NULL, parked_at {moment},"
            " PRIMARY KEY (consumer, topic, message_key))"
        )
        return [processed, parked]

    def first_time(self, cursor: Cursor, message_id: str) -> bool:
        """Record a message in the caller's transaction; tell whether it is new. False: do nothing more."""
        if not 0 < len(message_id) <= _LONGEST:
            raise ValueError(f"message id: 1 to {_LONGEST} characters")
        return self._insert(cursor, self._table, ("consumer", "message_id"), (self._consumer, message_id))

    def park(self, cursor: Cursor, topic: str, key: bytes) -> None:
        """Hold up a key: what comes of it goes to the dead letters, in order, until :meth:`release`."""
        columns = ("consumer", "topic", "message_key")
        self._insert(cursor, f"{self._table}_parked", columns, (self._consumer, topic, key))

    def is_parked(self, cursor: Cursor, topic: str, key: bytes) -> bool:
        """Tell whether a key is held up."""
        cursor.execute(
            f"SELECT 1 FROM {self._table}_parked WHERE consumer = %s AND topic = %s AND message_key = %s",
            (self._consumer, topic, key),
        )
        return cursor.fetchone() is not None

    def release(self, cursor: Cursor, topic: str, key: bytes) -> bool:
        """Let a key flow again, once its dead letters are seen to; tell whether it was held up."""
        cursor.execute(
            f"DELETE FROM {self._table}_parked WHERE consumer = %s AND topic = %s AND message_key = %s",
            (self._consumer, topic, key),
        )
        return cursor.rowcount > 0

    def trim(self, cursor: Cursor, *, keep_seconds: float, keep_count: int) -> int:
        """Forget ids that are older than ``keep_seconds``, and all but the newest ``keep_count``.

        Keep ids for longer than a message can come again: the topic's retention, or how far offsets may be
        rewound. Returns how many were forgotten.
        """
        seconds = int(keep_seconds)
        old = (
            f"clock_timestamp() - INTERVAL '{seconds} seconds'"
            if self._dialect == "postgresql"
            else f"NOW(6) - INTERVAL {seconds} SECOND"
        )
        mine = f"FROM {self._table} WHERE consumer = %s"
        cursor.execute(f"DELETE {mine} AND processed_at < {old}", (self._consumer,))
        forgotten = cursor.rowcount
        cursor.execute(
            f"SELECT processed_at {mine} ORDER BY processed_at DESC LIMIT 1 OFFSET {int(keep_count)}",
            (self._consumer,),
        )
        beyond = cursor.fetchone()
        if beyond is not None:
            cursor.execute(f"DELETE {mine} AND processed_at <= %s", (self._consumer, beyond[0]))
            forgotten += cursor.rowcount
        return forgotten

    def _insert(self, cursor: Cursor, table: str, columns: Sequence[str], values: Sequence[object]) -> bool:
        marks = ", ".join(["%s"] * len(values))
        into = f"INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        if self._dialect == "postgresql":
            cursor.execute(f"INSERT {into} ON CONFLICT DO NOTHING", values)
        else:
            cursor.execute(f"INSERT IGNORE {into}", values)
        return cursor.rowcount == 1
