"""An outbox in a database of its own, on a real server; relays, and a reader of what they sent."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pymysql
import pytest
from pymysql.constants import CLIENT

from sinks.kafka.publisher import Publisher
from sinks.kafka.topics import Topics
from sinks.mysql.session import Address, Session
from sinks.outbox import Event, publish
from sinks.outbox.relay import Relay, RelayOptions
from sinks.outbox.table import OutboxTable
from sinks.retry import Backoff
from tests.outbox.topics import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sinks.outbox.relay import Mode, Sender

    Connection = pymysql.Connection[Any]

SQL = Path(__file__).parents[2] / "sql" / "mysql" / "40-outbox.sql"


class Outbox:
    """One database with the tables of sql/mysql/40-outbox.sql."""

    def __init__(self, at: dict[str, Any]) -> None:
        self.at = at
        self.database = f"outbox_{secrets.token_hex(5)}"
        self._connections: list[Connection] = []
        admin = self.connect(None, client_flag=CLIENT.MULTI_STATEMENTS, autocommit=True)
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.database}")
            cursor.execute(re.sub(r"(?m)^USE shop;$", f"USE {self.database};", SQL.read_text()))
            while cursor.nextset():
                pass
        self.admin = admin

    @property
    def address(self) -> Address:
        return Address(self.at["host"], self.at["port"], self.at["user"], self.at["password"])

    def connect(self, database: str | None = "", **more: Any) -> Connection:  # noqa: ANN401
        name = self.database if database == "" else database
        made: Connection = pymysql.connect(
            host=self.at["host"],
            port=self.at["port"],
            user=self.at["user"],
            password=self.at["password"],
            database=name,
            charset="utf8mb4",
            **more,
        )
        self._connections.append(made)
        return made

    def table(self) -> OutboxTable:
        return OutboxTable(Session(self.address), f"{self.database}.outbox")

    def publish(self, *events: Event, table: str = "outbox") -> None:
        connection = self.connect()
        with connection.cursor() as cursor:
            publish(cursor, *events, table=table)
        connection.commit()
        connection.close()

    def query(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self.admin.cursor() as cursor:
            cursor.execute(f"USE {self.database}")
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def statuses(self) -> dict[str, str]:
        return dict(self.query("SELECT message_id, status FROM outbox"))

    def close(self) -> None:
        with self.admin.cursor() as cursor:
            for connection in self._connections:
                if connection is not self.admin and connection.open:
                    connection.close()
            cursor.execute(f"DROP DATABASE {self.database}")
        self.admin.close()


class MakeRelay(Protocol):
    def __call__(
        self,
        mode: Mode = "status",
        sender: Sender | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Relay: ...


@pytest.fixture
def outbox(endpoints: dict[str, Any]) -> Iterator[Outbox]:
    made = Outbox(endpoints["mysql"])
    yield made
    made.close()


@pytest.fixture
def bootstrap(endpoints: dict[str, Any]) -> str:
    address: str = endpoints["kafka"]["bootstrap"]
    return address


@pytest.fixture
def reader(bootstrap: str) -> Iterator[Reader]:
    made = Reader(bootstrap, f"events-{secrets.token_hex(5)}")
    yield made
    made.close()


@pytest.fixture
def make_relay(outbox: Outbox, reader: Reader, bootstrap: str) -> Iterator[MakeRelay]:
    tables: list[OutboxTable] = []

    def make(mode: Mode = "status", sender: Sender | None = None, **options: Any) -> Relay:  # noqa: ANN401
        tables.append(outbox.table())
        chosen: dict[str, Any] = {"backoff": Backoff(first=0.001, ceiling=0.001), **options}
        return Relay(
            tables[-1],
            sender or Publisher(bootstrap),
            Topics(bootstrap),
            RelayOptions(mode=mode, topic_prefix=reader.prefix, **chosen),
        )

    yield make
    for table in tables:
        table.session.close()


def drain(relay: Relay, until: Callable[[], bool] = lambda: True) -> None:
    """Relay until nothing is left to do, and the condition holds."""
    while relay.once() or not until():
        pass


def event(aggregate: str | int, number: int = 0, kind: str = "customer") -> Event:
    return Event(kind, str(aggregate), f"{kind}.changed", {"number": number})
