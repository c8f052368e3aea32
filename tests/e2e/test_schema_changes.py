"""Changes of tables in the middle of traffic: the replica follows at their place in the log."""

from __future__ import annotations

import itertools
import os
import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pymysql
import pytest

from tests.e2e.comparing import wait_equal
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.stores import Stores

pytestmark = pytest.mark.stack

_NUMBERS = itertools.count(1)


@pytest.fixture
def database(stores: Stores) -> str:
    name = f"ddl_{os.getpid()}_{next(_NUMBERS)}"
    stores.execute(f"CREATE DATABASE {name}")
    return name


def columns(stores: Stores, database: str, table: str) -> dict[str, tuple[str, bool]]:
    """Return the replica's columns: type, and whether NULL may be."""
    with stores.postgres.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            (f'"{database}"."{table}"',),
        )
        return {name: (kind, nullable) for name, kind, nullable in cursor.fetchall()}


def test_an_added_column_has_its_default_in_rows_that_were_there(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY)",
        f"INSERT INTO {database}.t VALUES (1), (2)",
        f"ALTER TABLE {database}.t ADD a INT DEFAULT 5, ADD b VARCHAR(9) NOT NULL DEFAULT 'it''s',"
        " ADD c DECIMAL(9,2) NOT NULL, ADD d BIT(4) DEFAULT b'101', ADD e BINARY(3) DEFAULT 0x4142,"
        " ADD f DATE NOT NULL DEFAULT '2020-01-02', ADD g ENUM('x','y') NOT NULL, ADD h BOOL DEFAULT TRUE,"
        " ADD i BIGINT UNSIGNED DEFAULT 18446744073709551615, ADD j TIME DEFAULT '-10:00:01',"
        " ADD k DATETIME(3) DEFAULT '2020-01-01 01:02:03.456', ADD l VARCHAR(9), ADD m FLOAT DEFAULT -1.5",
        f"INSERT INTO {database}.t (id, a, c) VALUES (3, NULL, 1)",
        f"ALTER TABLE {database}.t ADD z INT NOT NULL DEFAULT 9 FIRST",
    )
    wait_equal(stores, database, "t")
    assert columns(stores, database, "t")["z"] == ("integer", False)


def test_a_renamed_column_keeps_its_values(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT, b INT, c VARCHAR(9))",
        f"INSERT INTO {database}.t VALUES (1, 10, 20, 'x'), (2, 11, 21, 'y')",
        f"ALTER TABLE {database}.t RENAME COLUMN a TO d, ADD a INT NOT NULL DEFAULT 8 FIRST",
        f"INSERT INTO {database}.t (a, id, d, b, c) VALUES (9, 3, 30, 31, 'z')",
        f"ALTER TABLE {database}.t CHANGE c note VARCHAR(20) NOT NULL",
        f"UPDATE {database}.t SET a = 7 WHERE id = 1",
    )
    wait_equal(stores, database, "t")
    assert columns(stores, database, "t")["note"] == ("character varying(20)", False)


def test_a_dropped_column_goes_and_one_of_its_name_begins_anew(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT, b INT)",
        f"INSERT INTO {database}.t VALUES (1, 1, 1), (2, 2, 2)",
        f"ALTER TABLE {database}.t DROP b",
        f"ALTER TABLE {database}.t DROP a, ADD a INT DEFAULT 3",
        f"ALTER TABLE {database}.t ADD b INT",
        f"UPDATE {database}.t SET b = 5 WHERE id = 2",
    )
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(1, 3, None): 1, (2, 3, 5): 1}


def test_types_widen_narrow_and_cross_families(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT, b VARCHAR(50), c DECIMAL(12,4), d INT,"
        " e ENUM('x','y'), f DATETIME(6), g BIT(4), h VARCHAR(9), i DATETIME(3))",
        f"INSERT INTO {database}.t VALUES (1, 5, 'abc', 1.2345, 77, 'x', '2020-01-01 00:00:00.600000', 5,"
        " '12', '2020-02-03 04:05:06.789')",
        f"ALTER TABLE {database}.t MODIFY a BIGINT, MODIFY b VARCHAR(10), MODIFY c DECIMAL(9,1),"
        " MODIFY d VARCHAR(9), MODIFY e ENUM('x','y','z'), MODIFY f DATETIME, MODIFY g BIT(9),"
        " MODIFY h INT, MODIFY i DATE",
        f"INSERT INTO {database}.t VALUES (2, 5000000000, 'q', 2.2, 'd', 'z', '2021-01-01', 300, 13, NULL)",
    )
    wait_equal(stores, database, "t")
    found = columns(stores, database, "t")
    assert found["a"] == ("bigint", True)
    assert found["b"] == ("character varying(10)", True)


def test_the_primary_key_changes(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (a INT, b INT, c INT NULL, PRIMARY KEY (a))",
        f"INSERT INTO {database}.t VALUES (1, 1, 1), (2, 2, 2)",
        f"ALTER TABLE {database}.t DROP PRIMARY KEY, ADD PRIMARY KEY (a, b)",
        f"INSERT INTO {database}.t VALUES (1, 2, NULL)",
        f"DELETE FROM {database}.t WHERE a = 2",
        f"ALTER TABLE {database}.t DROP PRIMARY KEY, DROP a, ADD PRIMARY KEY (b)",
        f"UPDATE {database}.t SET c = 100 WHERE b = 1",
        f"INSERT INTO {database}.t VALUES (7, NULL)",
    )
    wait_equal(stores, database, "t")


def test_changes_of_a_quiet_table(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT)",
        f"INSERT INTO {database}.t VALUES (1, 1)",
    )
    wait_equal(stores, database, "t")
    stores.execute(f"ALTER TABLE {database}.t RENAME COLUMN a TO b, ADD c INT NOT NULL DEFAULT 4")
    wait_equal(stores, database, "t")
    stores.execute(f"ALTER TABLE {database}.t DROP COLUMN b")
    wait_until(lambda: list(columns(stores, database, "t")) == ["id", "c"], 60)
    wait_equal(stores, database, "t")


def test_a_dropped_table_goes_and_one_of_its_name_begins_anew(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT)",
        f"INSERT INTO {database}.t VALUES (1, 1), (2, 2)",
        f"DROP TABLE {database}.t",
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT)",
        f"INSERT INTO {database}.t VALUES (2, 20)",
    )
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(2, 20): 1}


def test_renamed_tables_take_their_rows_along(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.a (id INT PRIMARY KEY, v INT)",
        f"CREATE TABLE {database}.b (id INT PRIMARY KEY, w VARCHAR(9))",
        f"INSERT INTO {database}.a VALUES (1, 1)",
        f"INSERT INTO {database}.b VALUES (1, 'b')",
        f"RENAME TABLE {database}.a TO {database}.tmp, {database}.b TO {database}.a,"
        f" {database}.tmp TO {database}.b",
        f"INSERT INTO {database}.a VALUES (2, 'a')",
        f"INSERT INTO {database}.b VALUES (2, 2)",
        f"ALTER TABLE {database}.b RENAME TO {database}.c",
        f"INSERT INTO {database}.c VALUES (3, 3)",
    )
    wait_equal(stores, database, "a", "c")
    assert columns(stores, database, "b") == {}
    assert not list(stores.documents(f"{database}.b"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [20_261_124, 20_261_125])
def test_changes_amid_traffic(stores: Stores, database: str, seed: int) -> None:
    stores.execute(f"CREATE TABLE {database}.t (id INT PRIMARY KEY, a INT, b VARCHAR(20))")
    dice = random.Random(seed)
    writer = Writer(stores, database, seed)
    writer.start()
    there = {"a": "INT", "b": "VARCHAR(20)"}
    for number in range(15):
        writer.wait_for(40 * (number + 1))
        stores.execute(f"ALTER TABLE {database}.t {_clause(dice, there, number)}")
        writer.columns = sorted(there)
    writer.finish()
    wait_until(lambda: set(columns(stores, database, "t")) == {"id", *there}, 120)
    wait_equal(stores, database, "t")


def _clause(dice: random.Random, there: dict[str, str], number: int) -> str:
    """Choose what an ALTER does, and do it to the names and types that are there."""
    kind = dice.choice(["add", "add", "drop", "rename", "type", "null", "anew"])
    column = dice.choice(sorted(there)) if there else ""
    new = f"c{number}"
    if kind == "add" or not column:
        there[new] = dice.choice(["INT", "VARCHAR(20)"])
        return f"ADD {new} {there[new]} {dice.choice(['', 'DEFAULT 7', 'NOT NULL', 'NOT NULL DEFAULT 8'])}"
    if kind == "drop":
        del there[column]
        return f"DROP {column}"
    if kind == "rename":
        there[new] = there.pop(column)
        return f"RENAME COLUMN {column} TO {new}"
    if kind == "anew":
        there[column] = "INT"
        return f"DROP {column}, ADD {column} INT NULL DEFAULT {number}"
    if kind == "null":
        return f"MODIFY {column} {there[column]} NULL"
    there[column] = {"INT": "BIGINT", "BIGINT": "VARCHAR(30)"}.get(there[column], "VARCHAR(40)")
    return f"MODIFY {column} {there[column]}"


class Writer(threading.Thread):
    """Writes digits into whichever columns there are, until it is told to end."""

    def __init__(self, stores: Stores, database: str, seed: int) -> None:
        super().__init__(name="writer")
        self.columns = ["a", "b"]
        self._connection = stores.mysql_session()
        self._table = f"{database}.t"
        self._dice = random.Random(f"{seed}/writer")
        self._written = 0
        self._progress = threading.Condition()
        self._ending = threading.Event()

    def run(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._ending.is_set():
                # A statement that meets a column which is gone or must be given is refused by MySQL.
                with suppress(pymysql.err.MySQLError):
                    cursor.execute(self._statement())
                with self._progress:
                    self._written += 1
                    self._progress.notify_all()
        self._connection.close()

    def _statement(self) -> str:
        key, roll = self._dice.randint(1, 200), self._dice.random()
        if roll < 0.1:
            return f"DELETE FROM {self._table} WHERE id = {key}"
        if roll < 0.5 or not self.columns:
            return f"INSERT IGNORE INTO {self._table} (id) VALUES ({key})"
        column, value = self._dice.choice(self.columns), self._dice.randint(0, 10**6)
        return f"UPDATE {self._table} SET {column} = '{value}' WHERE id = {key}"

    def wait_for(self, count: int) -> None:
        with self._progress:
            assert self._progress.wait_for(lambda: self._written >= count, 60)

    def finish(self) -> None:
        self._ending.set()
        self.join()
