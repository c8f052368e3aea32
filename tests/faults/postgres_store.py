"""Crash runs into a real PostgreSQL: each in schemas of its own, its sessions cut now and then."""

from __future__ import annotations

import secrets
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors

from sinks.targets.postgres import PostgresOptions, PostgresTarget, Step
from tests.faults.crashes import MemoryStore, Outcome, compare

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from enum import Enum

    from sinks.change import TopicPartition
    from sinks.targets.base import Stored, Target
    from tests.faults.history import History

_CUTS = 0.01


class PostgresStore(MemoryStore):
    """A table without a key shows every change that is lost or applied twice."""

    steps = tuple(Step)

    def __init__(self, dsn: str, history: History) -> None:
        super().__init__(history)
        self._dsn = dsn
        self.database = f"crash_{secrets.token_hex(6)}"
        self._state = f"state_{self.database}"
        self._session = psycopg2.connect(dsn)
        self._session.autocommit = True

    def target(self, dice: random.Random, reached: Callable[[Enum], None]) -> Target:
        def step(at: Step) -> None:
            reached(at)
            if dice.random() < _CUTS:
                self._cut()

        # Batches of more than a few cells go through the staging table.
        options = PostgresOptions(takeover_grace_s=0.2, direct_cells=dice.choice((0, 50, 400)))
        return PostgresTarget(
            self.database, self._dsn, state_schema=self._state, options=options, reached=step
        )

    def _cut(self) -> None:
        with self._session.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
                (f"cdc-sink {self.database}",),
            )

    def stored(self) -> Mapping[TopicPartition, Stored]:
        reader = PostgresTarget(self.database, self._dsn, state_schema=self._state)
        try:
            return reader.stored()
        finally:
            reader.close()

    def check(self) -> Outcome:
        found = Outcome()
        people = {number: (version, text) for number, version, text in self._rows("people")}
        compare(found, self._history, people, Counter((v, text) for v, text in self._rows("log")))
        return found

    def _rows(self, table: str) -> list[tuple[Any, ...]]:
        with self._session.cursor() as cursor:
            try:
                cursor.execute(f"SELECT * FROM {self.database}.{table}")
            except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
                return []
            return cursor.fetchall()

    def close(self) -> None:
        with self._session.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {self.database} CASCADE")
            cursor.execute(f"DROP SCHEMA IF EXISTS {self._state} CASCADE")
        self._session.close()


def stores_at(dsn: str) -> Callable[[History], PostgresStore]:
    """Return what makes a store for a run."""
    return partial(PostgresStore, dsn)
