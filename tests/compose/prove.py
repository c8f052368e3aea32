"""Edits rows in a MySQL brought up by docker-compose.yml and sees them arrive in both targets.

Run by ./scripts/test-compose, which says in the environment where everything is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pymysql
from pymysql.constants import CLIENT

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0  # of a machine that has much else to do
SHOP = ("customers", "products", "orders", "order_lines")
KEY = 1_000_000 + int(time.time()) % 1_000_000_000
OTHER = f"other_{KEY}"
NEW_CUSTOMER = "INSERT INTO shop.customers (id, email, name, country) VALUES"
ROLLED_BACK = (
    f"START TRANSACTION; {NEW_CUSTOMER} ({KEY}, 'a@example.com', 'never', 'NL'); ROLLBACK;"
    f"{NEW_CUSTOMER} ({KEY}, '{KEY}@example.com', 'kept', 'NL')"
)
Row = tuple[Any, ...] | None


def secret(name: str) -> str:
    return (Path(os.environ["CDC_SECRETS"]) / name).read_text(encoding="utf-8")


def port(name: str) -> int:
    return int(os.environ[f"PORT_{name}"])


class Stores:
    """The source and the targets, by the ports that are published on loopback."""

    def __init__(self) -> None:
        self.mysql = pymysql.connect(
            host="127.0.0.1",
            port=port("MYSQL"),
            user="cdc_admin",
            password=secret("mysql_admin_password"),
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )
        self.postgres = psycopg2.connect(
            host="127.0.0.1",
            port=port("POSTGRES"),
            user="cdc",
            password=secret("postgres_cdc_password"),
            dbname="replica",
        )
        self.postgres.autocommit = True

    def edit(self, statement: str) -> None:
        with self.mysql.cursor() as cursor:
            cursor.execute(statement)
            while cursor.nextset():
                pass

    def source(self, query: str) -> Row:
        with self.mysql.cursor() as cursor:
            cursor.execute(query)
            found: Row = cursor.fetchone()
            return found

    def replica(self, query: str) -> Row:
        with self.postgres.cursor() as cursor:
            try:
                cursor.execute(query)
            except psycopg2.errors.UndefinedTable:
                return None
            found: Row = cursor.fetchone()
            return found

    @staticmethod
    def search(path: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{port('ELASTICSEARCH')}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            if error.code in {404, 503}:  # not there, or its shard is not started yet
                return {}
            raise

    def document(self, index: str, key: str) -> dict[str, Any] | None:
        return self.search(f"{index}/_doc/{key}").get("_source")

    def documents(self, index: str) -> int:
        self.search(f"{index}/_refresh")
        return int(self.search(f"{index}/_count").get("count", -1))


def wait(what: str, arrived: Callable[[], bool], since: float) -> None:
    while not arrived():
        if time.monotonic() - since > PATIENCE:
            raise SystemExit(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.02)
    sys.stdout.write(f"  {what:<64} {1000 * (time.monotonic() - since):7.0f} ms\n")


def snapshot(stores: Stores) -> None:
    begun = time.monotonic()
    for table in SHOP:
        name = f"shop.{table}"
        count = stores.source(f"SELECT count(*) FROM {name}")
        assert count is not None
        same = partial(same_count, stores, name, count)
        wait(f"snapshot: {count[0]} rows of {name} in both", same, begun)


def same_count(stores: Stores, table: str, count: tuple[Any, ...]) -> bool:
    return stores.replica(f"SELECT count(*) FROM {table}") == count and stores.documents(table) == count[0]


@dataclass(frozen=True)
class Edit:
    """A statement, and what a column of a row must be afterwards in both targets; None: the row is gone."""

    name: str
    statement: str
    value: str | None
    table: str = "shop.customers"
    column: str = "name"
    key: int = KEY

    def carry_out(self, stores: Stores) -> None:
        stores.edit(self.statement)
        begun = time.monotonic()
        wait(f"{self.name}, in PostgreSQL", partial(self.in_replica, stores), begun)
        wait(f"{self.name}, in Elasticsearch", partial(self.in_search, stores), begun)

    def in_replica(self, stores: Stores) -> bool:
        row = stores.replica(f"SELECT {self.column} FROM {self.table} WHERE id = {self.key}")
        return row == (None if self.value is None else (self.value,))

    def in_search(self, stores: Stores) -> bool:
        document = stores.document(self.table, str(self.key))
        if self.value is None or document is None:
            return document is None and self.value is None
        return bool(document.get(self.column) == self.value)


EDITS = (
    Edit(
        "INSERT",
        f"{NEW_CUSTOMER} ({KEY}, '{KEY}@example.com', 'Zoë 🚀', 'NL')",
        "Zoë 🚀",
    ),
    Edit("UPDATE", f"UPDATE shop.customers SET name = 'Zoë \\'Q\\'' WHERE id = {KEY}", "Zoë 'Q'"),
    Edit("DELETE", f"DELETE FROM shop.customers WHERE id = {KEY}", None),
    Edit("a row rolled back, then one that is not", ROLLED_BACK, "kept"),
    Edit("DELETE", f"DELETE FROM shop.customers WHERE id = {KEY}", None),
    Edit(
        "a new database's first row",
        f"CREATE DATABASE {OTHER}; CREATE TABLE {OTHER}.things (id INT PRIMARY KEY, what VARCHAR(20));"
        f"INSERT INTO {OTHER}.things VALUES ({KEY}, 'new')",
        "new",
        table=f"{OTHER}.things",
        column="what",
    ),
)


def inside(service: str, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [os.environ["COMPOSE"], "exec", "-T", service, *command]
    return subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603


def health() -> None:
    begun = time.monotonic()
    while (told := inside("replica-sink", "cdc", "health")).returncode:
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(
                f"cdc health in the container: exit code {told.returncode}\n{told.stdout}{told.stderr}"
            )
        time.sleep(2)
    sys.stdout.write(told.stdout)


def confined() -> None:
    for service in ("replica-sink", "search-sink", "connect"):
        if (user := inside(service, "id", "-u").stdout.strip()) in {"", "0"}:
            raise SystemExit(f"{service} runs as user {user!r}")
        if not inside(service, "touch", "/etc/cdc/new").returncode:
            raise SystemExit(f"{service} can write to its root file system")
    sys.stdout.write("  workers and Connect: not root, and a read-only root file system\n")


def main() -> None:
    stores = Stores()
    snapshot(stores)
    for edit in EDITS:
        edit.carry_out(stores)
    confined()
    health()


if __name__ == "__main__":
    main()
