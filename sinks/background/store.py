"""What is left over, on disk: tasks that failed for good, and tasks handed back at a shutdown."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

State = Literal["failed", "handed_back"]


@dataclass(frozen=True)
class Task:
    """A piece of work as a value, so that it can be kept: a handler's name, and what it is called with.

    Attributes:
        handler: name that the executor knows the handler by.
        arguments: JSON values.
        context: more for the failure log: a request id, a user's id. No secrets.
        attempts: tries so far.
    """

    handler: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0


@dataclass(frozen=True)
class Kept:
    """A task on disk, and why it is there."""

    id: int
    task: Task
    state: State
    error: str
    kept_at: float


class TaskStore:
    """One SQLite file; every entry is on disk when :meth:`keep` returns.

    Args:
        path: the file; made if it is not there.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._closed = False
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, handler TEXT NOT NULL,"
            " arguments TEXT NOT NULL, context TEXT NOT NULL, attempts INTEGER NOT NULL, state TEXT NOT NULL,"
            " error TEXT NOT NULL, kept_at REAL NOT NULL)"
        )

    def keep(self, task: Task, state: State, error: str = "") -> int:
        """Write a task down; return its id."""
        texts = json.dumps(dict(task.arguments)), json.dumps(dict(task.context))
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO tasks (handler, arguments, context, attempts, state, error, kept_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (task.handler, *texts, task.attempts, state, error, self._clock()),
            )
        return cursor.lastrowid or 0

    def kept(self, state: State) -> list[Kept]:
        """Return what was kept, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, handler, arguments, context, attempts, state, error, kept_at FROM tasks"
                " WHERE state = ? ORDER BY id",
                (state,),
            ).fetchall()
        return [
            Kept(id_, Task(handler, json.loads(arguments), json.loads(context), attempts), of, error, at)
            for id_, handler, arguments, context, attempts, of, error, at in rows
        ]

    def remove(self, id_: int) -> None:
        """Forget a task: it is done, or nobody wants it any more.

        Once the file is closed the task stays in it: one that ran on after a shutdown's deadline was handed
        back, and is done again rather than not at all.
        """
        with self._lock:
            if not self._closed:
                self._database.execute("DELETE FROM tasks WHERE id = ?", (id_,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self._database.close()
