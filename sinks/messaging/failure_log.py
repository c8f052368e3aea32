"""Messages that could not be sent, on disk, in order."""

from __future__ import annotations

import json
import sqlite3
import threading
from typing import TYPE_CHECKING

from sinks.kafka.publisher import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class FailureLog:
    """One SQLite file; what :meth:`keep` was given is on disk when it returns.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL,"
            " key BLOB, value BLOB, headers TEXT NOT NULL, error TEXT NOT NULL)"
        )

    def keep(self, messages: Iterable[Message], error: str) -> None:
        """Write messages down, all or none, behind those that are there."""
        rows = [
            (
                m.topic,
                m.key,
                m.value,
                json.dumps([[n, v and v.decode("latin-1")] for n, v in m.headers]),
                error,
            )
            for m in messages
        ]
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT INTO messages (topic, key, value, headers, error) VALUES (?, ?, ?, ?, ?)", rows
            )
            self._database.execute("COMMIT")

    def oldest(self, limit: int = 500) -> list[tuple[int, Message]]:
        """Return the messages that were kept first, with their ids."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, topic, key, value, headers FROM messages ORDER BY id LIMIT ?", (limit,)
            ).fetchall()
        return [(id_, Message(topic, key, value, _headers(text))) for id_, topic, key, value, text in rows]

    def remove(self, ids: Sequence[int]) -> None:
        """Forget messages: they are sent."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("DELETE FROM messages WHERE id = ?", [(id_,) for id_ in ids])
            self._database.execute("COMMIT")

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._database.execute("SELECT COUNT(*) FROM messages").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _headers(text: str) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(
        (name, None if value is None else value.encode("latin-1")) for name, value in json.loads(text)
    )
