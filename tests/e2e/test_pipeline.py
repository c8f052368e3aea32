"""SQL edits in MySQL, read back from PostgreSQL and Elasticsearch: all servers are real."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e import traffic
from tests.e2e.comparing import wait_equal
from tests.waiting import wait_until

if TYPE_CHECKING:
    from stack import Stack

    from tests.e2e.stores import Stores

pytestmark = pytest.mark.stack

_NUMBERS = itertools.count(1)


@pytest.fixture
def database(stores: Stores) -> str:
    name = f"e2e_{os.getpid()}_{next(_NUMBERS)}"
    stores.execute(f"CREATE DATABASE {name}")
    return name


def test_one_insert_two_updates_three_deletes_arrive(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, name VARCHAR(20), n INT DEFAULT 5)",
        f"INSERT INTO {database}.t VALUES (1, 'one', 1), (2, '', NULL), (3, NULL, 3)",
    )
    wait_equal(stores, database, "t")
    stores.execute(
        f"INSERT INTO {database}.t VALUES (4, 'four', NULL)",
        f"UPDATE {database}.t SET n = NULL WHERE id = 4",
        f"UPDATE {database}.t SET name = 'vier' WHERE id = 4",
        *(f"DELETE FROM {database}.t WHERE id = {key}" for key in (1, 2, 3)),
    )
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(4, "vier", None): 1}


def test_a_database_made_now_is_in_both_targets_within_five_seconds(stores: Stores, database: str) -> None:
    began = time.monotonic()
    stores.execute(
        f"CREATE TABLE {database}.fresh (id INT PRIMARY KEY, note TEXT)",
        f"INSERT INTO {database}.fresh VALUES (1, 'hello')",
    )
    wait_equal(stores, database, "fresh", deadline=15)
    assert time.monotonic() - began < 5


def test_nothing_rolled_back_ever_arrives(stores: Stores, database: str) -> None:
    stores.execute(f"CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)")
    session = stores.mysql_session()
    session.autocommit(value=False)
    with session.cursor() as cursor:
        cursor.execute(f"INSERT INTO {database}.t VALUES (1, 1)")
        session.rollback()
        cursor.execute(f"INSERT INTO {database}.t VALUES (2, 2)")
        cursor.execute("SAVEPOINT here")
        cursor.execute(f"INSERT INTO {database}.t VALUES (3, 3)")
        cursor.execute(f"UPDATE {database}.t SET v = 20 WHERE id = 2")
        cursor.execute("ROLLBACK TO here")
        cursor.execute(f"INSERT INTO {database}.t VALUES (4, 4)")
        session.commit()
    session.close()
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(2, 2): 1, (4, 4): 1}


def test_composite_keys_and_key_changes(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (a INT, b VARCHAR(20), c INT, PRIMARY KEY (a, b))",
        f"INSERT INTO {database}.t VALUES (1, 'x', 1), (1, 'y', 2), (2, 'x,y', 3), (2, '', 4)",
        f"UPDATE {database}.t SET b = 'z' WHERE a = 1 AND b = 'x'",
        f"UPDATE {database}.t SET a = a + 10",
        f"DELETE FROM {database}.t WHERE b = ''",
    )
    wait_equal(stores, database, "t")


def test_delete_and_insert_of_a_key_in_one_transaction(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)",
        f"INSERT INTO {database}.t VALUES (1, 1), (2, 2)",
    )
    session = stores.mysql_session()
    session.autocommit(value=False)
    with session.cursor() as cursor:
        cursor.execute(f"DELETE FROM {database}.t WHERE id = 1")
        cursor.execute(f"INSERT INTO {database}.t VALUES (1, 100)")
        cursor.execute(f"UPDATE {database}.t SET id = 3 WHERE id = 2")
        cursor.execute(f"UPDATE {database}.t SET id = 2 WHERE id = 1")
        cursor.execute(f"UPDATE {database}.t SET id = 1 WHERE id = 3")
        session.commit()
    session.close()
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(1, 2): 1, (2, 100): 1}


def test_truncate_empties_both_targets_and_later_rows_stay(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)",
        f"INSERT INTO {database}.t VALUES (1, 1), (2, 2), (3, 3)",
        f"TRUNCATE {database}.t",
        f"INSERT INTO {database}.t VALUES (2, 20)",
    )
    wait_equal(stores, database, "t")
    assert stores.in_postgres(database, "t") == {(2, 20): 1}


def test_a_table_without_a_key_keeps_its_duplicates(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.notes (a INT, b TEXT)",
        f"INSERT INTO {database}.notes VALUES (1, 'same'), (1, 'same'), (NULL, NULL), (NULL, NULL), (2, '')",
        f"UPDATE {database}.notes SET b = 'other' WHERE a = 1 LIMIT 1",
        f"DELETE FROM {database}.notes WHERE a IS NULL LIMIT 1",
    )
    wait_equal(stores, database, "notes", search=False)


def test_a_table_of_300_columns_and_a_value_of_a_megabyte(stores: Stores, database: str) -> None:
    columns = ", ".join(f"c{i} INT" for i in range(298))
    stores.execute(
        f"CREATE TABLE {database}.wide (id INT PRIMARY KEY, {columns}, big LONGTEXT)",
        f"INSERT INTO {database}.wide (id, c7, big) VALUES (1, 7, REPEAT('x', 1048576))",
        f"INSERT INTO {database}.wide (id, c297) VALUES (2, 297)",
    )
    wait_equal(stores, database, "wide")


def test_names_that_need_quotes(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.`select`"
        ' (`order` INT PRIMARY KEY, `a-b` INT, `a_b` INT, `Ünï` INT, `q"x` INT)',
        f"INSERT INTO {database}.`select` VALUES (1, 2, 3, 4, 5)",
    )
    wait_equal(stores, database, "select")


def test_an_added_column_is_followed(stores: Stores, database: str) -> None:
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY)",
        f"INSERT INTO {database}.t VALUES (1)",
        f"ALTER TABLE {database}.t ADD COLUMN note VARCHAR(20)",
        f"INSERT INTO {database}.t VALUES (2, 'two')",
    )
    wait_equal(stores, database, "t")


def test_a_null_byte_is_parked_and_nothing_else_is_held_up(
    stores: Stores, database: str, pipeline: Stack
) -> None:
    before = parked(pipeline, "replica")
    stores.execute(
        f"CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(20))",
        f"INSERT INTO {database}.t VALUES (1, 'good')",
        f"INSERT INTO {database}.t VALUES (2, 'ba\\0d')",
        f"INSERT INTO {database}.t VALUES (3, 'good')",
    )
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "good"): 1, (3, "good"): 1}, 30)
    wait_until(lambda: parked(pipeline, "replica") == before + 1, 10)
    wait_until(lambda: stores.in_elasticsearch(database, "t").total() == 3, 10)


def parked(pipeline: Stack, sink: str) -> int:
    report = httpx.get(pipeline.context.url(f"sink-{sink}") + "/health").json()
    count: int = report["counts"].get("parked", 0)
    return count


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed"])
def test_a_hundred_thousand_mixed_changes_of_four_sessions(
    stores: Stores, pipeline: Stack, *, kill: bool
) -> None:
    database = f"mixed_{os.getpid()}_{next(_NUMBERS)}"
    traffic.create(stores, database)
    sessions = traffic.run(stores, database, seed=20_261_123, sessions=4, changes=100_000)
    if kill:
        wait_until(lambda: stores.in_postgres(database, "people").total() > 1000, 60)
        for sink in ("sink-replica", "sink-search"):
            pipeline.kill(sink)
            pipeline.start(sink)
    traffic.finish(sessions)
    wait_equal(stores, database, "people", "events", "pairs", deadline=240)
    wait_equal(stores, database, "notes", search=False)
