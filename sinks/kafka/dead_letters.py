"""The dead-letter topic: records that can't be decoded or applied, whole, with reason and position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka as ck

from sinks.errors import FatalError, OutageError
from sinks.kafka.letters import headers_of, letter_of, letter_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sinks.kafka.topics import Topics
    from sinks.targets.base import Rejection

_FLUSH_SECONDS = 30.0


class DeadLetters:
    """Writes dead letters of one sink to the topic ``dlq.<prefix>.<sink>``, durably.

    A letter carries the record's own key and value, and the headers of :mod:`sinks.kafka.letters`; its id is
    the same when a batch is tried again.

    Args:
        bootstrap: ``host:port`` list.
        topics: makes the topic when it is first needed.
        prefix: the connector's topic prefix.
        sink: the sink's name.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        *,
        prefix: str,
        sink: str,
        extra: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self.topic = letter_topic(prefix, sink)
        self._sink = sink
        self._topics = topics
        self._ensured = False
        self._where = bootstrap
        self._producer = ck.Producer(
            {
                **(extra or {}),
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 5,
                "message.max.bytes": 64 << 20,
                "delivery.timeout.ms": int(_FLUSH_SECONDS * 1000),
            }
        )

    def write(self, letters: Iterable[tuple[Rejection, ck.Message]]) -> None:
        """Write letters and wait until all are durable.

        Raises:
            OutageError: Kafka does not take them now; nothing may be committed.
            FatalError: Kafka refuses one for good.
        """
        if not self._ensured:
            self._topics.ensure(self.topic)
            self._ensured = True
        failed: list[ck.KafkaError] = []

        def delivered(error: ck.KafkaError | None, _: ck.Message) -> None:
            if error is not None:
                failed.append(error)

        for rejection, message in letters:
            letter = letter_of(rejection, message)
            headers = headers_of(letter, self._sink)
            while True:
                try:
                    self._producer.produce(
                        self.topic, letter.value, letter.raw_key, headers=headers, on_delivery=delivered
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or failed:
            reason = failed[0].str() if failed else f"{left} not acknowledged in time"
            if failed and not (failed[0].retriable() or failed[0].code() < 0):
                raise FatalError(f"a dead letter is refused: {reason}", where=self.topic)
            raise OutageError(f"dead letters can't be written: {reason}", where=self._where)
