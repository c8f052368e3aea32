"""Seeded traffic: inserts, updates, deletes, key changes and rollbacks from several sessions at once."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pymysql.cursors

    from tests.e2e.stores import Stores

TABLES = ("people", "events", "pairs", "notes")

SCHEMA = """
CREATE TABLE {db}.people (
  id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL, balance DECIMAL(20,4) NOT NULL DEFAULT 0,
  level INT DEFAULT 5, seen DATETIME(6), changed TIMESTAMP(3) NULL, extra JSON);
CREATE TABLE {db}.events (
  id BIGINT UNSIGNED PRIMARY KEY, kind ENUM('a','b,c','d''e') NOT NULL,
  amount DOUBLE, took TIME(3), raw VARBINARY(60));
CREATE TABLE {db}.pairs (a INT, b VARCHAR(40) COLLATE utf8mb4_bin, note TEXT, PRIMARY KEY (a, b));
CREATE TABLE {db}.notes (author INT, line VARCHAR(200), KEY (author));
"""

_TEXTS = ("", "plain", 'qu"ote', "back\\slash", "line\nend", "tab\t", "ünï©ødé 🙂", "\\.", "NULL", ",", "'")


def create(stores: Stores, database: str) -> None:
    """Create the database and its tables; ``notes`` has no key."""
    stores.execute(f"CREATE DATABASE {database}")
    stores.execute(*[s for s in SCHEMA.format(db=database).split(";") if s.strip()])


class Session(threading.Thread):
    """One session that makes a number of changes, in transactions of a few."""

    def __init__(self, stores: Stores, database: str, *, seed: object, session: int, changes: int) -> None:
        super().__init__(name=f"session-{session}")
        self._connection = stores.mysql_session()
        self._db = database
        self._random = random.Random(f"{seed}/{session}")
        self._session = session
        self._left = changes
        self._next = 0
        self._people: list[int] = []
        self._events: list[int] = []
        self._pairs: list[tuple[int, str]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._connection.autocommit(value=False)
            with self._connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            while self._left > 0:
                self._transaction()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._connection.close()

    def _transaction(self) -> None:
        people, events, pairs = list(self._people), list(self._events), list(self._pairs)
        done = 0
        with self._connection.cursor() as cursor:
            for _ in range(self._random.randint(1, 25)):
                done += self._random.choice((self._person, self._event, self._pair, self._note))(cursor)
        if self._random.random() < 0.05:
            self._connection.rollback()
            self._people, self._events, self._pairs = people, events, pairs
            return
        self._connection.commit()
        self._left -= done

    def _text(self) -> str:
        return self._random.choice(_TEXTS) + str(self._random.randint(0, 99))

    def _person(self, cursor: pymysql.cursors.Cursor) -> int:
        roll = self._random.random()
        if roll < 0.5 or not self._people:
            balance = self._random.randint(-(10**12), 10**12) / 10**4
            level = self._random.choice((None, 1))
            cursor.execute(
                f"INSERT INTO {self._db}.people (name, balance, level, seen, changed, extra)"
                " VALUES (%s, %s, %s, NOW(6), NOW(3), JSON_OBJECT('k', %s))",
                (self._text(), balance, level, self._text()),
            )
            self._people.append(cursor.lastrowid)
            return 1
        chosen = self._random.choice(self._people)
        if roll < 0.85:
            level = self._random.choice((None, self._random.randint(0, 9)))
            cursor.execute(
                f"UPDATE {self._db}.people SET balance = balance + 1, level = %s, name = %s WHERE id = %s",
                (level, self._text(), chosen),
            )
        else:
            self._people.remove(chosen)
            cursor.execute(f"DELETE FROM {self._db}.people WHERE id = %s", (chosen,))
        return 1

    def _event(self, cursor: pymysql.cursors.Cursor) -> int:
        roll = self._random.random()
        if roll < 0.6 or not self._events:
            self._next += 1
            number = (self._session << 40) + self._next + (1 << 63)
            kind = self._random.choice(("a", "b,c", "d'e"))
            took = f"-{self._random.randint(0, 800)}:01:02.345"
            raw = self._random.randbytes(self._random.randint(0, 60))
            cursor.execute(
                f"INSERT INTO {self._db}.events VALUES (%s, %s, %s, %s, %s)",
                (number, kind, self._random.uniform(-1e9, 1e9), took, raw),
            )
            self._events.append(number)
        else:
            chosen = self._events.pop(self._random.randrange(len(self._events)))
            cursor.execute(f"DELETE FROM {self._db}.events WHERE id = %s", (chosen,))
            if roll < 0.8:
                cursor.execute(f"INSERT INTO {self._db}.events VALUES (%s, 'a', NULL, NULL, NULL)", (chosen,))
                self._events.append(chosen)
                return 2
        return 1

    def _pair(self, cursor: pymysql.cursors.Cursor) -> int:
        roll = self._random.random()
        if roll < 0.5 or not self._pairs:
            self._next += 1
            pair = (self._session, f"{self._next}:{self._text()}")
            cursor.execute(f"INSERT INTO {self._db}.pairs VALUES (%s, %s, %s)", (*pair, self._text()))
            self._pairs.append(pair)
            return 1
        index = self._random.randrange(len(self._pairs))
        old = self._pairs[index]
        self._next += 1
        new = (self._session, f"{self._next}:{self._text()}")
        cursor.execute(f"UPDATE {self._db}.pairs SET b = %s WHERE a = %s AND b = %s", (new[1], *old))
        self._pairs[index] = new
        return 1

    def _note(self, cursor: pymysql.cursors.Cursor) -> int:
        roll = self._random.random()
        if roll < 0.7:
            cursor.execute(f"INSERT INTO {self._db}.notes VALUES (%s, %s)", (self._session, self._text()))
        elif roll < 0.9:
            cursor.execute(
                f"UPDATE {self._db}.notes SET line = %s WHERE author = %s LIMIT 1",
                (self._text(), self._session),
            )
        else:
            cursor.execute(f"DELETE FROM {self._db}.notes WHERE author = %s LIMIT 1", (self._session,))
        return max(0, cursor.rowcount)


def run(stores: Stores, database: str, *, seed: int, sessions: int, changes: int) -> list[Session]:
    """Start that many sessions that share the changes; returns them running."""
    share = changes // sessions
    started = [Session(stores, database, seed=seed, session=i, changes=share) for i in range(sessions)]
    for session in started:
        session.start()
    return started


def finish(sessions: list[Session]) -> None:
    """Wait for all; raise what one of them met."""
    for session in sessions:
        session.join()
        if session.error is not None:
            raise session.error
