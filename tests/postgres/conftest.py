"""A fresh database per test module on a real server, and targets that are closed at the end of a test."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, Protocol

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from sinks.change import Progress, TopicPartition
from sinks.targets.base import Batch, Claim
from sinks.targets.postgres import PostgresTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg2.extensions import connection

    from sinks.targets.base import Rejection, Segment

P0 = TopicPartition("cdc.shop.t", 0)
TOPIC_ID = "id-1"


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """Address of a server for the sinks' role, which need not be able to make databases."""
    given = os.environ.get("CDC_TEST_POSTGRES_DSN")
    if given:
        return given
    endpoints: dict[str, Any] = request.getfixturevalue("endpoints")
    dsn: str = endpoints["postgres"]["dsn"]
    return dsn


@pytest.fixture(scope="session")
def administrator(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[connection]:
    """May make databases: the own stack's superuser, or the given role where the server is given."""
    if "CDC_TEST_POSTGRES_DSN" in os.environ or "CDC_TEST_ENDPOINTS" in os.environ:
        session = psycopg2.connect(postgres_dsn)
    else:
        server = request.getfixturevalue("stack").servers["postgres"]
        session = server.connect()
    session.autocommit = True
    yield session
    session.close()


@pytest.fixture(scope="module")
def dsn(postgres_dsn: str, administrator: connection) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    owner = psycopg2.connect(postgres_dsn)
    role = owner.info.user
    owner.close()
    with administrator.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE {name} OWNER "{role}" ENCODING UTF8 TEMPLATE template0')
        yield make_dsn(postgres_dsn, dbname=name)
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def query(dsn: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run a statement in a session of one's own and return its rows."""
    session = psycopg2.connect(dsn)
    session.autocommit = True

    def run(sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        with session.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return cursor.fetchall() if cursor.description else []

    yield run
    session.close()


class MakeTarget(Protocol):
    def __call__(self, name: str = ..., **arguments: Any) -> PostgresTarget: ...  # noqa: ANN401


@pytest.fixture
def make_target(dsn: str) -> Iterator[MakeTarget]:
    made: list[PostgresTarget] = []

    def make(name: str = "", **arguments: Any) -> PostgresTarget:  # noqa: ANN401
        made.append(PostgresTarget(name or f"s{secrets.token_hex(6)}", dsn, **arguments))
        return made[-1]

    yield make
    for target in made:
        target.close()


class Sink:
    """A target that owns one partition, and the dead letters that it parked."""

    def __init__(self, target: PostgresTarget, partition: TopicPartition) -> None:
        self.target = target
        self.partition = partition
        self.parked: list[Rejection] = []
        self.next_offset = 0
        self.claim()

    def claim(self) -> None:
        stored = self.target.claim([Claim(self.partition, TOPIC_ID, 1)])
        self.next_offset = stored[self.partition].progress.next_offset

    def apply(self, *segments: Segment) -> None:
        self.target.apply(self.batch(*segments), self.park)
        self.next_offset += 1

    def batch(self, *segments: Segment) -> Batch:
        return Batch(segments, {self.partition: Progress(self.next_offset + 1)})

    def park(self, rejections: Sequence[Rejection]) -> None:
        self.parked += rejections


@pytest.fixture
def sink(make_target: MakeTarget) -> Sink:
    return Sink(make_target(), P0)


def terminate(query: Callable[..., Any], sink: str) -> None:
    """End the session of a sink's target, as an administrator would."""
    query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
        f"cdc-sink {sink}",
    )
