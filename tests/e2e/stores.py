"""The same table as MySQL, PostgreSQL and Elasticsearch hold it, in values that can be compared."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg2
import psycopg2.sql
import pymysql

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[Any, ...]
Rows = Counter[Row]

_BINARY = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
_CLOCK = re.compile(r"(-?)(\d+):(\d\d):(\d\d)(?:\.(\d+))?")


class Stores:
    """Connections to all three, by the addresses in ``endpoints.json``."""

    def __init__(self, endpoints: dict[str, Any]) -> None:
        self.endpoints = endpoints
        self.mysql = self.mysql_session()
        self.postgres = psycopg2.connect(endpoints["postgres"]["dsn"])
        self.postgres.autocommit = True
        self.elasticsearch = httpx.Client(base_url=endpoints["elasticsearch"]["url"], timeout=30)

    def mysql_session(self) -> pymysql.Connection[Any]:
        """Open one more session, autocommitting, in UTC."""
        at = self.endpoints["mysql"]
        return pymysql.connect(
            host=at["host"],
            port=at["port"],
            user=at["user"],
            password=at["password"],
            charset="utf8mb4",
            autocommit=True,
            init_command="SET time_zone='+00:00'",
        )

    def close(self) -> None:
        self.mysql.close()
        self.postgres.close()
        self.elasticsearch.close()

    def execute(self, *statements: str) -> None:
        with self.mysql.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def columns(self, database: str, table: str) -> dict[str, str]:
        """Return the columns and their MySQL types, in order."""
        with self.mysql.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
                (database, table),
            )
            return dict(cursor.fetchall())

    def in_mysql(self, database: str, table: str) -> Rows:
        types = list(self.columns(database, table).values())
        with self.mysql.cursor() as cursor:
            cursor.execute(f"SELECT * FROM `{database}`.`{table}`")
            return Counter(_comparable(row, types) for row in cursor.fetchall())

    def in_postgres(self, database: str, table: str) -> Rows:
        columns = self.columns(database, table)
        names = psycopg2.sql.SQL(", ").join(map(psycopg2.sql.Identifier, columns))
        query = psycopg2.sql.SQL("SELECT {} FROM {}").format(names, psycopg2.sql.Identifier(database, table))
        with self.postgres.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            try:
                cursor.execute(query)
            except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn):
                return Counter()
            return Counter(_comparable(row, list(columns.values())) for row in cursor.fetchall())

    def in_elasticsearch(self, database: str, table: str) -> Rows:
        columns = self.columns(database, table)
        found: Rows = Counter()
        for document in self.documents(f"{database}.{table}".lower()):
            row = tuple(document.get(name) for name in columns)
            found[_comparable(row, list(columns.values()))] += 1
        return found

    def documents(self, index: str) -> Iterator[dict[str, Any]]:
        """Yield all documents of an index as they are now, past the refresh interval."""
        if self.elasticsearch.post(f"/{index}/_refresh").status_code == httpx.codes.NOT_FOUND:
            return
        opened = self.elasticsearch.post(f"/{index}/_pit", params={"keep_alive": "1m"}).json()["id"]
        after: list[Any] = []
        while True:
            body: dict[str, Any] = {
                "size": 5000,
                "pit": {"id": opened, "keep_alive": "1m"},
                "sort": ["_shard_doc"],
            }
            if after:
                body["search_after"] = after
            hits = self.elasticsearch.post("/_search", json=body).raise_for_status().json()["hits"]["hits"]
            if not hits:
                break
            yield from (hit["_source"] for hit in hits)
            after = hits[-1]["sort"]
        self.elasticsearch.request("DELETE", "/_pit", json={"id": opened})

    def differences(self, database: str, table: str, *, search: bool = True) -> str:
        """Return in words how the targets differ from the source; empty if they are equal row by row."""
        source = self.in_mysql(database, table)
        said = []
        stores = {"PostgreSQL": self.in_postgres}
        if search:
            stores["Elasticsearch"] = self.in_elasticsearch
        for name, read in stores.items():
            target = read(database, table)
            missing, extra = source - target, target - source
            if missing or extra:
                examples = [next(iter(rows), None) for rows in (missing, extra)]
                said.append(
                    f"{name}: {missing.total()} missing or stale, {extra.total()} extra, such as {examples}"
                )
        return "; ".join(said)


def _comparable(row: tuple[Any, ...], types: list[str]) -> Row:
    return tuple(_value(value, kind) for value, kind in zip(row, types, strict=True))


def _value(value: Any, kind: str) -> Any:  # noqa: ANN401
    if value is None:
        return None
    match kind:
        case "decimal":
            return Decimal(value)
        case "bigint" | "int" | "mediumint" | "smallint" | "tinyint" | "year":
            return int(value)
        case "bit":
            return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value, 2)
        case "float" | "double":
            return float(value)
        case "json":
            parsed = json.loads(value) if isinstance(value, str) else value
            return json.dumps(parsed, sort_keys=True)
        case "date":
            return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)
        case "datetime" | "timestamp":
            moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
            return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
        case "time":
            return value if isinstance(value, dt.timedelta) else _clock(value)
        case _ if kind in _BINARY:
            return base64.b64decode(value) if isinstance(value, str) else bytes(value)
        case _:
            return value


def _clock(text: str) -> dt.timedelta:
    match = _CLOCK.fullmatch(text)
    assert match is not None, text
    sign, hours, minutes, seconds, fraction = match.groups()
    span = dt.timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or "0").ljust(6, "0")),
    )
    return -span if sign else span
