"""Reads topics as a member of a consumer group, for consumers whose place is Kafka's committed offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from sinks.errors import FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it was received."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]

    @property
    def position(self) -> str:
        """Where it stands: ``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def id(self) -> str:
        """The message's id, the same on every delivery: ``ce_id``, or ``id``, or else its position."""
        told = self.headers.get("ce_id") or self.headers.get("id")
        return told.decode() if told else self.position


class Subscriber:
    """A member of a group. Offsets are committed when :meth:`commit` says so, and never before.

    Args:
        bootstrap: ``host:port`` list.
        group: consumer group id.
        topics: names, or regular expressions that begin with ``^``.
        extra: further librdkafka settings (security).
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        extra: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._where = bootstrap
        self._consumer = ck.Consumer(
            {
                **(extra or {}),
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 1000,
                "max.poll.interval.ms": 600_000,
                "session.timeout.ms": 10_000,
                "queued.max.messages.kbytes": 16_384,
                "log_level": 0,
            }
        )
        self._consumer.subscribe(list(topics))

    def poll(self, limit: int, seconds: float) -> list[Record]:
        """Return what is there, in order per partition.

        Raises:
            OutageError: Kafka does not answer.
            FatalError: any other error of the client.
        """
        records: list[Record] = []
        for message in self._consumer.consume(limit, seconds):
            error = message.error()
            if error is None:
                records.append(_record(message))
            elif error.code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # it may be made later
            elif error.retriable() or error.code() < 0:
                raise OutageError(f"Kafka: {error.str()}", where=self._where)
            else:
                raise FatalError(f"Kafka: {error.str()}", where=self._where)
        return records

    def commit(self, record: Record) -> None:
        """Note that everything up to this record is done.

        When the group has given the partition to someone else meanwhile, that one reads it again.
        """
        at = ck.TopicPartition(record.topic, record.partition, record.offset + 1)
        try:
            self._consumer.commit(offsets=[at], asynchronous=False)
        except ck.KafkaException as error:
            cause = error.args[0]
            if cause.code() in {ck.KafkaError.ILLEGAL_GENERATION, ck.KafkaError.UNKNOWN_MEMBER_ID}:
                return
            raise OutageError(f"Kafka takes no offsets: {cause.str()}", where=self._where) from error

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def _record(message: ck.Message) -> Record:
    headers: Any = message.headers() or []  # the stubs have dictionaries and str as well
    value: Any = message.value()
    key: Any = message.key()
    return Record(
        message.topic() or "", message.partition() or 0, message.offset() or 0, key, value, dict(headers)
    )
