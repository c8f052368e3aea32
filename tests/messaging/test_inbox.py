"""Effects in real databases, messages from real topics: once each, or a dead letter, in order."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

import psycopg2
import pymysql
import pytest

from sinks.errors import OutageError
from sinks.inbox import Consumer, ConsumerOptions, Inbox
from sinks.kafka.publisher import Message, Publisher
from sinks.kafka.subscriber import Subscriber
from sinks.kafka.topics import Topics
from sinks.retry import Backoff
from tests.outbox.topics import Reader
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from sinks.inbox.store import Dialect
    from sinks.kafka.subscriber import Record

pytestmark = pytest.mark.timeout(300)
QUICK = Backoff(first=0.001, ceiling=0.001)


class Store:
    """The database of the effects: a coupon per sign-up."""

    def __init__(self, dialect: Dialect, endpoints: dict[str, Any]) -> None:
        self.dialect = dialect
        self.endpoints = endpoints
        self.name = f"inbox_{secrets.token_hex(5)}"
        kind = "DATABASE" if dialect == "mysql" else "SCHEMA"
        self.drop = f"DROP {kind} {self.name}" + ("" if dialect == "mysql" else " CASCADE")
        self.run(f"CREATE {kind} {self.name}")
        self.inbox = Inbox(dialect, "coupons", f"{self.name}.inbox")
        for statement in self.inbox.ddl():
            self.run(statement)
            self.run(statement)
        self.run(f"CREATE TABLE {self.name}.coupons (customer VARCHAR(40) NOT NULL, number INT NOT NULL)")

    def connect(self) -> Any:  # noqa: ANN401
        if self.dialect == "postgresql":
            return psycopg2.connect(self.endpoints["postgres"]["dsn"])
        at = self.endpoints["mysql"]
        return pymysql.connect(
            host=at["host"], port=at["port"], user=at["user"], password=at["password"], charset="utf8mb4"
        )

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        connection = self.connect()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            rows = list(cursor.fetchall()) if cursor.description else []
        connection.commit()
        connection.close()
        return rows

    def issue(self, cursor: Any, record: Record) -> None:  # noqa: ANN401
        key = (record.key or b"").decode()
        cursor.execute(f"INSERT INTO {self.name}.coupons VALUES (%s, %s)", (key, int(record.value or 0)))

    def coupons(self) -> dict[str, list[int]]:
        issued: dict[str, list[int]] = {}
        for customer, number in self.run(f"SELECT customer, number FROM {self.name}.coupons"):
            issued.setdefault(customer, []).append(number)
        return issued


class Topic:
    """A topic of two partitions, its dead letters, and consumers of one group."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"in-{secrets.token_hex(5)}"
        self.name, self.dead = f"{self.prefix}.customer", f"{self.prefix}.dlq"
        Topics(bootstrap).ensure(self.name, partitions=2)
        Topics(bootstrap).ensure(self.dead)
        self.reader = Reader(bootstrap, self.prefix)
        self.subscribers: list[Subscriber] = []

    def send(self, *messages: tuple[str, str, int]) -> None:
        """Send messages of id, key and number."""
        sent = [
            Message(self.name, key.encode(), str(number).encode(), (("ce_id", id_.encode()),))
            for id_, key, number in messages
        ]
        assert Publisher(self.bootstrap).send(sent) == {}

    def consumer(self, store: Store, handle: Callable[..., object], **options: Any) -> Consumer:  # noqa: ANN401
        self.subscribers.append(Subscriber(self.bootstrap, self.prefix, [self.name]))
        return Consumer(
            self.subscribers[-1],
            store.inbox,
            store.connect,
            handle,
            Publisher(self.bootstrap),
            ConsumerOptions(self.dead, backoff=QUICK, **options),
        )

    def dead_letters(self, count: int) -> list[tuple[str, str, str]]:
        wait_until(lambda: sum(got.topic == self.dead for got in self.reader.poll()) >= count, 30)
        found = [got for got in self.reader.got if got.topic == self.dead]
        return [(got.id, got.key, str(got.headers["dlq_reason"])) for got in found]

    def close(self) -> None:
        for subscriber in self.subscribers:
            subscriber.close()
        self.reader.poll()
        self.reader.close()


@pytest.fixture(params=["postgresql", "mysql"])
def store(request: pytest.FixtureRequest, endpoints: dict[str, Any]) -> Iterator[Store]:
    made = Store(request.param, endpoints)
    yield made
    made.run(made.drop)


@pytest.fixture
def topic(endpoints: dict[str, Any]) -> Iterator[Topic]:
    made = Topic(endpoints["kafka"]["bootstrap"])
    yield made
    made.close()


def until(consumer: Consumer, count: int) -> None:
    """Consume until so many messages were seen to."""
    wait_until(lambda: consumer.once() >= 0 and sum_of(consumer.counts) >= count, 60)


def sum_of(counts: Counter[str]) -> int:
    return counts["processed"] + counts["duplicates"] + counts["parked"]


def test_duplicates_take_effect_once(store: Store, topic: Topic) -> None:
    topic.send(("1", "a", 1), ("1", "a", 1), ("2", "a", 2), ("3", "b", 1), ("1", "a", 1), ("2", "a", 2))
    consumer = topic.consumer(store, store.issue)
    until(consumer, 6)
    assert {key: sorted(numbers) for key, numbers in store.coupons().items()} == {"a": [1, 2], "b": [1]}
    assert consumer.counts == {"processed": 3, "duplicates": 3}
    consumer.close()


def test_death_after_the_effect_s_commit_and_before_the_offset_s(store: Store, topic: Topic) -> None:
    topic.send(("1", "a", 1), ("2", "a", 2))
    consumer = topic.consumer(store, store.issue)
    source = topic.subscribers[0]
    consumer._source = _NoCommit(source)
    until(consumer, 2)
    source.close()
    topic.subscribers.clear()
    second = topic.consumer(store, store.issue)
    until(second, 2)
    assert store.coupons() == {"a": [1, 2]}
    assert second.counts == {"duplicates": 2}


class _NoCommit:
    def __init__(self, source: Subscriber) -> None:
        self.poll = source.poll

    def commit(self, record: Record) -> None:
        """Die before the commit reaches Kafka."""


def test_a_failed_effect_leaves_no_id_behind(store: Store, topic: Topic) -> None:
    tries: list[str] = []

    def flaky(cursor: Any, record: Record) -> None:  # noqa: ANN401
        store.issue(cursor, record)
        tries.append(record.id)
        if len(tries) < 3:
            raise ValueError("after the effect, before the commit")

    topic.send(("1", "a", 1))
    until(topic.consumer(store, flaky), 1)
    assert tries == ["1"] * 3
    assert store.coupons() == {"a": [1]}


def test_poison_and_what_follows_of_its_key_are_dead_letters_in_order(store: Store, topic: Topic) -> None:
    def handle(cursor: Any, record: Record) -> None:  # noqa: ANN401
        if record.value == b"13":
            raise ValueError("unlucky")
        store.issue(cursor, record)

    topic.send(("1", "a", 1), ("2", "a", 13), ("3", "b", 3), ("4", "a", 4), ("4", "a", 4), ("5", "b", 5))
    consumer = topic.consumer(store, handle, attempts=2)
    until(consumer, 6)
    assert store.coupons() == {"a": [1], "b": [3, 5]}
    follows = "follows a dead letter of its key"
    assert topic.dead_letters(2) == [("2", "a", "ValueError after 2 tries"), ("4", "a", follows)]
    connection = store.connect()
    with connection.cursor() as cursor:
        assert store.inbox.release(cursor, topic.name, b"a")
    connection.commit()
    connection.close()
    topic.send(("6", "a", 6))
    until(consumer, 7)
    assert store.coupons()["a"] == [1, 6]
    consumer.close()


def test_an_outage_is_waited_out_and_is_no_poison(store: Store, topic: Topic) -> None:
    tries: list[int] = []

    def handle(cursor: Any, record: Record) -> None:  # noqa: ANN401
        tries.append(1)
        if len(tries) < 10:
            raise OutageError("the coupon service is down")
        store.issue(cursor, record)

    topic.send(("1", "a", 1))
    consumer = topic.consumer(store, handle, attempts=2)
    until(consumer, 1)
    assert store.coupons() == {"a": [1]}
    assert consumer.counts == {"processed": 1, "retries": 9}


def test_two_that_get_the_same_message_at_once(store: Store) -> None:
    """The second waits for the first one's transaction, and then knows the message."""
    first, second = store.connect(), store.connect()
    told: list[bool] = []
    with first.cursor() as cursor:
        assert store.inbox.first_time(cursor, "1")

    def other() -> None:
        with second.cursor() as cursor:
            told.append(store.inbox.first_time(cursor, "1"))
        second.commit()

    thread = threading.Thread(target=other)
    thread.start()
    assert told == []
    first.commit()
    thread.join(30)
    assert told == [False]
    first.close()
    second.close()


def test_retention_by_time_and_by_count(store: Store) -> None:
    connection = store.connect()
    with connection.cursor() as cursor:
        for n in range(10):
            assert store.inbox.first_time(cursor, str(n))
            connection.commit()
        assert store.inbox.trim(cursor, keep_seconds=3600, keep_count=4) == 6
        assert [store.inbox.first_time(cursor, str(n)) for n in (5, 6, 9)] == [True, False, False]
        cursor.execute(f"UPDATE {store.name}.inbox SET processed_at = '2020-01-01 00:00:00'")
        assert store.inbox.trim(cursor, keep_seconds=3600, keep_count=100) == 5
    connection.commit()
    connection.close()
