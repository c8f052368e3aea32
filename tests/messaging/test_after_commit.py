from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from sinks.errors import FatalError, OutageError
from sinks.kafka.publisher import Message
from sinks.messaging import AfterCommit, FailureLog, Policy
from sinks.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ONE, TWO, THREE = (
    Message("events.customer", b"a", str(n).encode(), (("id", str(n).encode()), ("none", None)))
    for n in range(3)
)


class Kafka:
    """Takes messages, or fails as the script says, one entry per call."""

    def __init__(self, *script: Exception | Mapping[int, str]) -> None:
        self.script = list(script)
        self.sent: list[Message] = []

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        step = self.script.pop(0) if self.script else {}
        if isinstance(step, Exception):
            raise step
        self.sent += [message for n, message in enumerate(messages) if n not in step]
        return step


def down() -> OutageError:
    return OutageError("down")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[FailureLog]:
    made = FailureLog(tmp_path / "failures.sqlite")
    yield made
    made.close()


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE t (n INTEGER)")
    yield made
    made.close()


def publisher(kafka: Kafka, log: FailureLog | None, policy: Policy, **more: Any) -> AfterCommit:  # noqa: ANN401
    return AfterCommit(
        kafka,
        log,
        policy=policy,
        backoff=Backoff(first=0.001),
        sleep=lambda _: None,
        random=lambda: 0.5,
        **more,
    )


def test_nothing_is_sent_before_the_commit_or_without_it(
    connection: sqlite3.Connection, kept: FailureLog
) -> None:
    kafka = Kafka()
    one = publisher(kafka, kept, Policy.RETRY_THEN_LOG)
    with one.transaction(connection) as messages:
        connection.execute("INSERT INTO t VALUES (1)")
        messages.append(ONE)
        assert kafka.sent == []
    assert kafka.sent == [ONE]
    with pytest.raises(ZeroDivisionError), one.transaction(connection) as messages:  # noqa: PT012
        connection.execute("INSERT INTO t VALUES (2)")
        messages.append(TWO)
        raise ZeroDivisionError
    assert kafka.sent == [ONE]
    assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_when_the_commit_fails_nothing_is_sent(kept: FailureLog) -> None:
    class Broken:
        def commit(self) -> None:
            raise ConnectionError

        def rollback(self) -> None: ...

    kafka = Kafka()
    with pytest.raises(ConnectionError):
        publisher(kafka, kept, Policy.RETRY_THEN_LOG).publish_after_commit(Broken(), [ONE])
    assert kafka.sent == []


def test_ignore_counts(connection: sqlite3.Connection) -> None:
    one = publisher(Kafka(down()), None, Policy.IGNORE)
    one.publish_after_commit(connection, [ONE, TWO])
    assert one.counts == {"ignored": 2}


def test_retry_tells_the_caller_at_last(connection: sqlite3.Connection) -> None:
    kafka = Kafka(down(), down(), {}, down(), down(), down(), {0: "too large"})
    one = publisher(kafka, None, Policy.RETRY, attempts=3)
    one.publish_after_commit(connection, [ONE])
    assert (kafka.sent, one.counts["retries"]) == ([ONE], 2)
    with pytest.raises(OutageError):
        one.publish_after_commit(connection, [TWO])
    with pytest.raises(FatalError, match="too large"):
        one.publish_after_commit(connection, [TWO])
    assert one.counts["raised"] == 2


def test_what_could_not_be_sent_is_kept_and_replayed_after_a_restart(
    connection: sqlite3.Connection, kept: FailureLog, tmp_path: Path
) -> None:
    kafka = Kafka(down(), down(), down(), down())
    first = publisher(kafka, kept, Policy.RETRY_THEN_LOG, attempts=3)
    first.publish_after_commit(connection, [ONE])
    first.publish_after_commit(connection, [TWO])
    assert first.counts == {"retries": 2, "kept": 2}
    again = FailureLog(tmp_path / "failures.sqlite")
    second = publisher(kafka, again, Policy.RETRY_THEN_LOG)
    assert second.replay() == 2
    assert kafka.sent == [ONE, TWO]
    assert len(again) == 0
    again.close()


def test_new_messages_go_behind_the_kept_ones(connection: sqlite3.Connection, kept: FailureLog) -> None:
    kafka = Kafka(down())
    one = publisher(kafka, kept, Policy.LOG)
    one.publish_after_commit(connection, [ONE])
    one.publish_after_commit(connection, [TWO, THREE])
    assert kafka.sent == [ONE, TWO, THREE]


def test_a_refused_message_is_kept_too(connection: sqlite3.Connection, kept: FailureLog) -> None:
    kafka = Kafka({1: "too large"})
    one = publisher(kafka, kept, Policy.RETRY_THEN_LOG)
    one.publish_after_commit(connection, [ONE, TWO])
    assert (kafka.sent, [message for _, message in kept.oldest()]) == ([ONE], [TWO])


def test_a_policy_that_keeps_needs_a_place() -> None:
    with pytest.raises(ValueError, match="failure log"):
        AfterCommit(Kafka(), None)
