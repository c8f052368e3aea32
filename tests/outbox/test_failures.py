"""What Kafka refuses, what is out, what dies on the way, what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sinks.errors import OutageError
from sinks.kafka.publisher import Publisher
from sinks.outbox import Event
from sinks.retry import Backoff
from tests.outbox.conftest import drain, event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.kafka.publisher import Message
    from sinks.outbox.relay import Mode
    from tests.outbox.conftest import MakeRelay, Outbox
    from tests.outbox.topics import Reader

pytestmark = pytest.mark.timeout(300)
both_modes = pytest.mark.parametrize("mode", ["status", "last-id"])


def large(aggregate: str) -> Event:
    return Event("customer", aggregate, "customer.changed", {"text": "x" * 20_000})


@both_modes
def test_a_refused_message_holds_up_its_aggregate_only(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, bootstrap: str, mode: Mode
) -> None:
    """Refused, tried again, given up, listed, retried by hand once it can go; all in order."""
    small = Publisher(bootstrap, max_bytes=10_000)
    relay = make_relay(mode, small, max_failures=3)
    before, poison, after, other = event("a", 1), large("a"), event("a", 3), event("b")
    outbox.publish(before, poison, after, other)
    drain(relay, lambda: relay.counts.given_up == 1)
    outbox.publish(later := event("a", 4))
    drain(relay)
    assert {got.id for got in reader.wait(2)} == {before.id, other.id}
    statuses = outbox.statuses()
    assert [statuses[one.id] for one in (poison, after, later)] == ["failed", "waiting", "waiting"]
    table = outbox.table()
    (failed,) = table.troubled()
    assert (failed.message_id, failed.status, failed.failures) == (poison.id, "failed", 3)
    assert "large" in failed.last_error
    assert table.counts()["failed"] == 1
    relay = make_relay(mode)
    drain(relay)
    assert reader.poll() == reader.wait(2)
    assert len(reader.got) == 2
    assert table.retry([failed.id]) == 1
    drain(relay)
    reader.wait(5)
    assert reader.ids("a") == [before.id, poison.id, after.id, later.id]
    table.session.close()


@both_modes
def test_a_discarded_event_lets_the_others_go(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, bootstrap: str, mode: Mode
) -> None:
    relay = make_relay(mode, Publisher(bootstrap, max_bytes=10_000), max_failures=1)
    outbox.publish(large("a"), after := event("a"))
    drain(relay, lambda: relay.counts.given_up == 1)
    table = outbox.table()
    assert table.discard([row.id for row in table.troubled()]) == 1
    drain(relay)
    assert [got.id for got in reader.wait(1)] == [after.id]
    table.session.close()


def test_the_next_try_comes_after_a_growing_delay(
    outbox: Outbox, make_relay: MakeRelay, bootstrap: str
) -> None:
    relay = make_relay(
        sender=Publisher(bootstrap, max_bytes=10_000), backoff=Backoff(first=3600, ceiling=10**6)
    )
    outbox.publish(large("a"))
    question = "SELECT TIMESTAMPDIFF(SECOND, NOW(6), next_attempt_at), failures FROM outbox"
    drain(relay)
    assert relay.once() == 0
    ((first, failures),) = outbox.query(question)
    assert failures == 1
    assert 1790 <= first <= 3600
    outbox.query("UPDATE outbox SET next_attempt_at = NOW(6)")
    outbox.admin.commit()
    drain(relay)
    ((second, failures),) = outbox.query(question)
    assert failures == 2
    assert 3590 <= second <= 7200


def test_a_topic_that_can_not_be_made_is_its_rows_failure(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay
) -> None:
    outbox.query(
        "INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)"
        " VALUES ('not a topic!', 'a', 'x', '{}'), ('not a topic!', 'a', 'x', '{}')"
    )
    outbox.publish(fine := event("a"))
    relay = make_relay(max_failures=2)
    drain(relay, lambda: relay.counts.given_up == 1)
    assert [got.id for got in reader.wait(1)] == [fine.id]
    assert sorted(status for (status,) in outbox.query("SELECT status FROM outbox")) == [
        "failed",
        "sent",
        "waiting",
    ]


class Dying:
    """Sends, and then fails: the process dies before MySQL knows, or the answer is lost."""

    def __init__(self, publisher: Publisher, error: Exception) -> None:
        self.publisher = publisher
        self.error = error

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        self.publisher.send(messages)
        raise self.error


@both_modes
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OutageError("lost")])
def test_death_between_kafka_and_mysql_sends_the_same_ids_again(  # noqa: PLR0917 (fixtures)
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, bootstrap: str, mode: Mode, error: Exception
) -> None:
    outbox.publish(one := event("a", 1), two := event("a", 2))
    with pytest.raises(type(error)):
        make_relay(mode, Dying(Publisher(bootstrap), error)).once()
    assert set(outbox.statuses().values()) == {"pending"}
    drain(make_relay(mode))
    reader.wait(4)
    assert reader.ids("a") == [one.id, two.id, one.id, two.id]


def test_an_outage_counts_as_no_row_s_failure(outbox: Outbox, make_relay: MakeRelay) -> None:
    relay = make_relay(sender=Publisher("127.0.0.1:1", timeout_seconds=1.0))
    outbox.publish(event("a"))
    with pytest.raises(OutageError):
        relay.once()
    assert outbox.query("SELECT status, failures FROM outbox") == [("pending", 0)]


@both_modes
def test_old_rows_are_deleted_and_open_ones_kept(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, bootstrap: str, mode: Mode
) -> None:
    relay = make_relay(mode, Publisher(bootstrap, max_bytes=10_000), max_failures=1, keep_seconds=3600)
    outbox.publish(old := event("a"), event("b"), failed := large("c"), waiting := event("c"))
    drain(relay, lambda: relay.counts.given_up == 1)
    relay.trim()
    assert len(outbox.statuses()) == 4
    outbox.query(
        "UPDATE outbox SET created_at = NOW(6) - INTERVAL 2 HOUR,"
        " processed_at = processed_at - INTERVAL 2 HOUR WHERE aggregate_id <> 'b'"
    )
    outbox.publish(fresh := event("d"))
    relay.trim()
    left = outbox.statuses()
    assert old.id not in left
    assert {failed.id, waiting.id, fresh.id} <= left.keys()
    assert len(left) == 4
    reader.wait(2)
