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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pymysql

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
SHOP = ("customers", "products", "orders", "order_lines")
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
            if error.code == 404:
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
        count = (stores.source(f"SELECT count(*) FROM shop.{table}") or (0,))[0]
        wait(
            f"snapshot of shop.{table}: {count} rows in PostgreSQL",
            lambda table=table, count=count: stores.replica(f"SELECT count(*) FROM shop.{table}") == (count,),
            begun,
        )
        wait(
            f"snapshot of shop.{table}: {count} documents in Elasticsearch",
            lambda table=table, count=count: stores.documents(f"shop.{table}") == count,
            begun,
        )


def edits(stores: Stores) -> None:
    def both(what: str, statement: str, query: str, row: Row, index: str, key: str, **fields: object) -> None:
        stores.edit(statement)
        begun = time.monotonic()

        def found() -> bool:
            document = stores.document(index, key)
            if not fields:
                return document is None
            return document is not None and all(document.get(name) == fields[name] for name in fields)

        wait(f"{what}, in PostgreSQL", lambda: stores.replica(query) == row, begun)
        wait(f"{what}, in Elasticsearch", found, begun)

    name = "SELECT name FROM shop.customers WHERE id = 9001"
    both(
        "INSERT",
        "INSERT INTO shop.customers (id, email, name, country) VALUES (9001, 'z@example.com', 'Zoë 🚀', 'NL')",
        name,
        ("Zoë 🚀",),
        "shop.customers",
        "9001",
        name="Zoë 🚀",
    )
    both(
        "UPDATE",
        "UPDATE shop.customers SET name = 'Zoë ''Q''' WHERE id = 9001",
        name,
        ("Zoë 'Q'",),
        "shop.customers",
        "9001",
        name="Zoë 'Q'",
    )
    both("DELETE", "DELETE FROM shop.customers WHERE id = 9001", name, None, "shop.customers", "9001")
    stores.edit("CREATE DATABASE IF NOT EXISTS other")
    stores.edit("CREATE TABLE other.things (id INT PRIMARY KEY, what VARCHAR(20))")
    both(
        "a new database's first row",
        "INSERT INTO other.things VALUES (1, 'new')",
        "SELECT what FROM other.things WHERE id = 1",
        ("new",),
        "other.things",
        "1",
        what="new",
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
    edits(stores)
    confined()
    health()


if __name__ == "__main__":
    main()
