"""Edits rows in MySQL and shows each of them arrive in PostgreSQL and Elasticsearch, with its latency."""
# ruff: noqa: S608 - the statements are shown to the reader as they are, and hold our own numbers only

import json
import random
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import psycopg2
import pymysql
import typer
from psycopg2 import sql
from rich.console import Console
from rich.table import Table

from stack import cli
from stack.endpoints import read as read_endpoints
from stack.errors import StackError
from stack.layout import REPO, Layout

TARGETS = ("PostgreSQL", "Elasticsearch")
ARRIVAL_SECONDS = 30.0
PAUSE_SECONDS = 0.001
NOT_FOUND = 404


@dataclass
class Change:
    """One statement, and the row that it leaves behind in a target (None: none)."""

    kind: str
    statement: str
    table: str
    key: int
    present: bool
    column: str = ""
    value: str = ""


@dataclass
class Latencies:
    """Milliseconds from MySQL's commit until a row could be read, per target."""

    by_target: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TARGETS})

    def table(self, title: str) -> Table:
        """Return the summary as a table."""
        table = Table("target", "changes", "median ms", "95 % ms", "slowest ms", title=title, box=None)
        for name, values in self.by_target.items():
            ordered = sorted(values)
            high = ordered[int(len(ordered) * 0.95)]
            table.add_row(
                name,
                str(len(values)),
                f"{statistics.median(values):.0f}",
                f"{high:.0f}",
                f"{ordered[-1]:.0f}",
            )
        return table


class Watch:
    """Sees rows arrive in both targets."""

    def __init__(self, endpoints: dict[str, Any]) -> None:
        self._postgres = psycopg2.connect(endpoints["postgres"]["dsn"])
        self._postgres.autocommit = True
        self._elasticsearch = endpoints["elasticsearch"]["url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._postgres.close()

    def arrivals(self, change: Change, since: float) -> dict[str, float]:
        """Wait for a change in both targets; return the milliseconds that each took.

        Raises:
            StackError: it has not arrived in time.
        """
        looks: dict[str, Callable[[Change], bool]] = {
            "PostgreSQL": self._in_postgres,
            "Elasticsearch": self._in_elasticsearch,
        }
        arrived: dict[str, float] = {}
        while len(arrived) < len(looks):
            for name, there in looks.items():
                if name not in arrived and there(change):
                    arrived[name] = (time.perf_counter() - since) * 1000
            if time.perf_counter() - since > ARRIVAL_SECONDS:
                missing = ", ".join(set(looks) - arrived.keys())
                raise StackError(
                    f"{change.statement!r} has not arrived in {missing} after {ARRIVAL_SECONDS:.0f} s.",
                    "Ask `.venv/bin/cdc health` why.",
                )
            time.sleep(PAUSE_SECONDS)
        return arrived

    def _in_postgres(self, change: Change) -> bool:
        database, table = change.table.split(".")
        column = sql.Identifier(change.column or "id")
        query = sql.SQL("SELECT {}::text FROM {} WHERE id = %s").format(
            column, sql.Identifier(database, table)
        )
        try:
            with self._postgres.cursor() as cursor:
                cursor.execute(query, (change.key,))
                return _as_expected(change, cursor.fetchone())
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            return False

    def _in_elasticsearch(self, change: Change) -> bool:
        url = f"{self._elasticsearch}/{change.table}/_source/{change.key}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of our own
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            # A new index answers 503 until its shard has started.
            return error.code == NOT_FOUND and _as_expected(change, None)
        return _as_expected(change, (str(document[change.column or "id"]),))


def _as_expected(change: Change, row: tuple[Any, ...] | None) -> bool:
    if row is None:
        return not change.present
    return change.present and (not change.column or row[0] == change.value)


def six_changes() -> Iterable[Change]:
    """Yield the example of the field: 1 insert, 2 updates and 3 deletes are 6 changes, not 1 difference."""
    table = "demo.accounts"
    yield Change("insert", f"INSERT INTO {table} VALUES (4, 'Dana', 40)", table, 4, present=True)
    for balance in (41, 42):
        update = f"UPDATE {table} SET balance = {balance} WHERE id = 4"
        yield Change("update", update, table, 4, present=True, column="balance", value=str(balance))
    for key in (1, 2, 3):
        yield Change("delete", f"DELETE FROM {table} WHERE id = {key}", table, key, present=False)


def shop_changes(seed: int, count: int) -> Iterable[Change]:
    """Yield random edits of the shop: prices, stocks, new customers, orders shipped."""
    chance = random.Random(seed)  # noqa: S311 - seeded on purpose
    for number in range(count):
        kind = chance.choice(("stock", "tier", "order", "note"))
        match kind:
            case "stock":
                key, stock = chance.randint(1, 60), seed + number
                statement = f"UPDATE shop.products SET stock = {stock} WHERE id = {key}"
                yield Change(
                    "update", statement, "shop.products", key, present=True, column="stock", value=str(stock)
                )
            case "tier":
                key, phone = chance.randint(1, 120), f"+49 {seed} {number}"
                statement = f"UPDATE shop.customers SET phone = '{phone}' WHERE id = {key}"
                yield Change(
                    "update", statement, "shop.customers", key, present=True, column="phone", value=phone
                )
            case "order":
                key, customer = seed * 10_000 + number, chance.randint(1, 120)
                values = f"({key}, {customer}, {number}.50)"
                statement = f"INSERT INTO shop.orders (id, customer_id, total) VALUES {values}"
                yield Change("insert", statement, "shop.orders", key, present=True)
            case _:
                key, note = chance.randint(1, 100), f"note {seed}.{number}"
                statement = f"UPDATE shop.orders SET note = '{note}' WHERE id = {key}"
                yield Change("update", statement, "shop.orders", key, present=True, column="note", value=note)


def show(
    console: Console, mysql: "pymysql.Connection[Any]", watch: Watch, changes: Iterable[Change], *, each: bool
) -> Latencies:
    """Make the changes one by one and wait for each in both targets."""
    latencies = Latencies()
    for change in changes:
        with mysql.cursor() as cursor:
            cursor.execute(change.statement)
        arrived = watch.arrivals(change, time.perf_counter())
        for name, milliseconds in arrived.items():
            latencies.by_target[name].append(milliseconds)
        if each:
            took = "  ".join(f"{name} {arrived[name]:5.0f} ms" for name in TARGETS)
            console.print(f"  {change.statement:<52} → {took}", markup=False)
    return latencies


def demo(
    changes: Annotated[int, typer.Option(help="random edits of the shop to make")] = 200,
    seed: Annotated[int, typer.Option(help="of the random edits; default: another one each time")] = 0,
) -> None:
    """Bring the stack up, edit rows in MySQL, show them arrive, and leave the stack running.

    Example: scripts/demo --changes 500 --seed 7
    """
    cli.up(no_sinks=False)
    console = Console(highlight=False)
    layout = Layout.find()
    endpoints = read_endpoints(layout)
    at = endpoints["mysql"]
    mysql = pymysql.connect(
        host=at["host"], port=at["port"], user=at["user"], password=at["password"], autocommit=True
    )
    with closing(mysql), Watch(endpoints) as watch:
        chosen = seed or random.SystemRandom().randrange(1, 1_000_000)
        with mysql.cursor() as cursor:
            cursor.execute("CREATE DATABASE IF NOT EXISTS demo")
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS demo.accounts (id INT PRIMARY KEY, name VARCHAR(40), balance INT)"
            )
            cursor.execute("DELETE FROM demo.accounts")
            three = f"INSERT INTO demo.accounts VALUES (1, 'Ann', 10), (2, 'Ben', 20), (3, 'Cid', {chosen})"
            cursor.execute(three)
        last = Change("insert", three, "demo.accounts", 3, present=True, column="balance", value=str(chosen))
        arrived = watch.arrivals(last, time.perf_counter())
        took = ", ".join(f"in {name} after {milliseconds:.0f} ms" for name, milliseconds in arrived.items())
        console.print(f"\nThree rows in demo.accounts to begin with: {took}\n")
        console.print("Six changes in MySQL, and when each could be read in the targets:")
        show(console, mysql, watch, six_changes(), each=True)
        console.print(f"\n{changes} random edits of the shop (seed {chosen}), one after the other …")
        console.print(show(console, mysql, watch, shop_changes(chosen, changes), each=False).table(""))
    console.print()
    health = subprocess.run(  # noqa: S603 - ours
        [Path(sys.executable).with_name("cdc"), "health"], cwd=REPO, check=False
    )
    raise typer.Exit(health.returncode)


if __name__ == "__main__":
    cli.main(lambda: typer.run(demo))
