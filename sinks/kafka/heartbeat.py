"""Listens to the connector's heartbeats, as the one member of a group that the topic's partition goes to."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import confluent_kafka as ck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Heartbeats:
    """Who hears the heartbeats is elected by it: of all listeners exactly one has the partition.

    The age is taken from the moment of arrival on a clock of our own: no two machines' clocks are compared.
    While Kafka is out, or before the first heartbeat ever, nobody is elected.

    Args:
        bootstrap: ``host:port`` list.
        topic: Debezium's heartbeat topic.
        group: of the listeners.
        extra: further librdkafka settings (security).
        clock: seconds, never going back.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        *,
        extra: Mapping[str, str | int | bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._consumer = ck.Consumer(
            {
                **(extra or {}),
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
                "topic.metadata.refresh.interval.ms": 5000,
                "queued.max.messages.kbytes": 1024,
            },
            logger=log,
        )
        self._consumer.subscribe(
            [topic], on_assign=self._elected, on_revoke=self._dismissed, on_lost=self._dismissed
        )

    def _elected(self, _: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        if partitions:
            self._heard_at = self._clock()  # silence counts from here

    def _dismissed(self, _: ck.Consumer, __: list[ck.TopicPartition]) -> None:
        self._heard_at = None

    def listen(self, seconds: float) -> None:
        """Take in what comes within some time."""
        with suppress(ck.KafkaException):
            for message in self._consumer.consume(100, seconds):
                if message.error() is None and self._heard_at is not None:
                    self._heard_at = self._clock()

    @property
    def heard_at(self) -> float | None:
        """When the last heartbeat came, or the election if later; None for one who is not elected."""
        return self._heard_at

    def close(self) -> None:
        """Leave the group, so that another is elected at once."""
        self._consumer.close()
