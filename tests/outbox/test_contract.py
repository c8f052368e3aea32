"""One contract for both relays: the same topics, keys, headers, payloads and message ids."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from sinks.outbox import Event, publish
from tests.outbox.topics import delete_topics
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinks.outbox.relay import Relay
    from tests.outbox.conftest import MakeRelay, Outbox
    from tests.outbox.topics import Got, Reader

pytestmark = pytest.mark.timeout(300)
CONNECTOR = Path(__file__).parents[2] / "connect" / "connectors" / "mysql-outbox.json"


class Polling:
    table = "outbox"

    def __init__(self, relay: Relay, reader: Reader) -> None:
        self.relay = relay
        self.reader = reader

    def wait(self, count: int) -> list[Got]:
        while self.relay.once():
            pass
        return self.reader.wait(count)


class LogBased:
    """The product's connector, restricted to one database and under names of its own."""

    table = "outbox_log"

    def __init__(self, connect: str, bootstrap: str, outbox: Outbox, reader: Reader) -> None:
        self.reader = reader
        self.name = f"outbox-{secrets.token_hex(5)}"
        self._bootstrap = bootstrap
        config: dict[str, str] = json.loads(CONNECTOR.read_text())["config"]
        config |= {
            "topic.prefix": self.name,
            "database.server.id": str(200_000 + secrets.randbelow(100_000)),
            "table.include.list": f"{outbox.database}[.]outbox_log",
            "schema.history.internal.kafka.topic": f"{self.name}-history",
            "predicates.event.pattern": f"{reader.prefix}[.].*",
            "transforms.outbox.route.topic.replacement": f"{reader.prefix}.${{routedByValue}}",
        }
        self._url = f"{connect}/connectors/{self.name}"
        self._http = httpx.Client(timeout=90)
        self._http.put(f"{self._url}/config", json=config).raise_for_status()
        wait_until(self._runs, 90, what="the connector runs", every=0.3)

    def _runs(self) -> bool:
        answer = self._http.get(f"{self._url}/status")
        if not answer.is_success:
            return False
        tasks = answer.json()["tasks"]
        assert not any(task["state"] == "FAILED" for task in tasks), tasks[0].get("trace", "")[:2000]
        return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)

    def wait(self, count: int) -> list[Got]:
        try:
            return self.reader.wait(count, 40)
        except AssertionError:  # a connector can hang while it says that it runs; `up` restarts it too
            self._http.post(f"{self._url}/restart?includeTasks=true")
            wait_until(self._runs, 90, what="the connector runs", every=0.3)
            return self.reader.wait(count, 90)

    def close(self) -> None:
        self._http.put(f"{self._url}/stop")
        self._http.delete(f"{self._url}/offsets")
        self._http.delete(self._url)
        self._http.close()
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        names = admin.list_topics(timeout=20).topics
        delete_topics(admin, [name for name in names if self.name in name])


@pytest.fixture(params=["polling", "log"])
def relay(  # noqa: PLR0917 (fixtures)
    request: pytest.FixtureRequest,
    outbox: Outbox,
    reader: Reader,
    bootstrap: str,
    make_relay: MakeRelay,
    endpoints: dict[str, Any],
) -> Iterator[Polling | LogBased]:
    if request.param == "polling":
        yield Polling(make_relay(), reader)
        return
    made = LogBased(endpoints["connect"]["url"], bootstrap, outbox, reader)
    yield made
    made.close()


PAYLOADS = (
    '{"z": 1, "a": [1.0, 12345678901234567890123, 1e300], "text": "\\u00e9 é ✓"}',
    '"text"',
    "[]",
    '{"deep": {"er": null},   "spaces":  "kept"}',
)


def test_what_a_consumer_sees(relay: Polling | LogBased, outbox: Outbox, reader: Reader) -> None:
    """Python and plain SQL, byte for byte, with headers or none, nothing rolled back, deleted at once."""
    events = [
        Event("customer", f"k{n % 2} é", "customer.signed_up", payload, {"trace": f"t{n}"} if n else {})
        for n, payload in enumerate(PAYLOADS)
    ]
    outbox.publish(*events, table=relay.table)
    connection = outbox.connect()
    with connection.cursor() as cursor:
        publish(cursor, Event("customer", "never", "customer.signed_up", {}), table=relay.table)
        connection.rollback()
        cursor.execute(
            f"INSERT INTO {relay.table} (aggregate_type, aggregate_id, event_type, payload)"
            """ VALUES ('coupon', '7', 'coupon.issue', '{"for":  "7"}')"""
        )
        connection.commit()
        publish(cursor, deleted := Event("coupon", "8", "coupon.issue", {"n": 1}), table=relay.table)
        if relay.table == "outbox_log":
            cursor.execute("DELETE FROM outbox_log")
        connection.commit()
    got = relay.wait(6)
    by_id = {one.id: one for one in got}
    assert len(got) == len(by_id) == 6
    for event in events:
        one = by_id[event.id]
        assert (one.topic, one.key, one.value) == (
            f"{reader.prefix}.customer",
            event.aggregate_id,
            event.payload,
        )
        assert one.headers == {
            "id": event.id,
            "ce_id": event.id,
            "ce_source": "/shop",
            "ce_type": "customer.signed_up",
            "ce_subject": event.aggregate_id,
            "ce_time": event.time,
            "ce_specversion": "1.0",
            "content-type": "application/json",
            "headers": event.headers_text,
        }
    assert {key: reader.ids(key) for key in ("k0 é", "k1 é")} == {
        "k0 é": [events[0].id, events[2].id],
        "k1 é": [events[1].id, events[3].id],
    }
    (plain,) = (one for one in got if one.key == "7")
    assert (plain.topic, plain.value) == (f"{reader.prefix}.coupon", '{"for":  "7"}')
    assert plain.headers["ce_type"] == "coupon.issue"
    assert len(str(plain.headers["ce_time"])) == len("2026-01-01T00:00:00.000000Z")
    assert by_id[deleted.id].value == '{"n":1}'


def test_a_key_has_the_same_partition_with_either_relay(
    relay: Polling | LogBased, outbox: Outbox, reader: Reader
) -> None:
    """Murmur2 of the key, as Java's clients have it: these are its partitions of three."""
    outbox.publish(*(Event("customer", f"k{n}", "x", {}) for n in range(12)), table=relay.table)
    relay.wait(12)
    assert [one.partition for one in sorted(reader.got, key=lambda one: int(one.key[1:]))] == [
        _murmur2(f"k{n}".encode()) % 3 for n in range(12)
    ]


def _murmur2(data: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * m) & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF
