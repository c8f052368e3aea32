"""Reading topics whole, and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence


class Got(NamedTuple):
    """A record, as a consumer of events sees it."""

    topic: str
    partition: int
    key: str
    value: str
    headers: dict[str, str | None]

    @property
    def id(self) -> str:
        return str(self.headers["ce_id"])


class Reader:
    """Reads all topics of a prefix from the beginning, in order per partition."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.prefix = prefix
        self.got: list[Got] = []
        self._positions: dict[tuple[str, int], int] = {}
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._consumer = ck.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "outbox-test",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )

    def poll(self, seconds: float = 0.2) -> list[Got]:
        """Read what is there; return all that was ever read."""
        found = {
            (name, partition): self._positions.get((name, partition), 0)
            for name, topic in self._admin.list_topics(timeout=20).topics.items()
            if name.startswith(f"{self.prefix}.")
            for partition in topic.partitions
        }
        if found.keys() != self._positions.keys():
            self._positions = found
            self._consumer.assign([ck.TopicPartition(*at, offset) for at, offset in found.items()])
        while messages := self._consumer.consume(1000, seconds):
            for message in messages:
                assert message.error() is None, message.error()
                self._positions[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
                self.got.append(_got(message))
        return self.got

    def wait(self, count: int, deadline: float = 60.0) -> list[Got]:
        """Return what was read once there are so many records."""
        wait_until(lambda: len(self.poll()) >= count, deadline, what=f"{count} records; {len(self.got)}")
        return self.got

    def ids(self, key: str) -> list[str]:
        return [got.id for got in self.got if got.key == key]

    def close(self) -> None:
        self._consumer.close()
        delete_topics(self._admin, [name for name, _ in self._positions])


def delete_topics(admin: AdminClient, names: Sequence[str]) -> None:
    if names:
        for future in admin.delete_topics(sorted(set(names))).values():
            future.exception(30)


def _got(message: ck.Message) -> Got:
    told: Any = message.headers() or []  # the stubs have dictionaries and str as well
    headers = {name: None if value is None else value.decode() for name, value in told}
    key, value = message.key(), message.value()
    assert key is not None
    assert value is not None
    return Got(message.topic() or "", message.partition() or 0, key.decode(), value.decode(), headers)
