"""What the cluster knows of topics: their ids, their partitions; and making our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # stubs omit it

from sinks.errors import FatalError, OutageError
from sinks.targets.base import Claim

if TYPE_CHECKING:
    from sinks.change import TopicPartition

_TIMEOUT_SECONDS = 10.0


class Topics:
    """Asks the cluster about topics.

    Args:
        bootstrap: ``host:port`` list.
        extra: further librdkafka settings (security).
    """

    def __init__(self, bootstrap: str, extra: dict[str, str | int | bool] | None = None) -> None:
        self._where = bootstrap
        self._admin = AdminClient({**(extra or {}), "bootstrap.servers": bootstrap})

    def claims(self, partitions: frozenset[TopicPartition]) -> list[Claim]:
        """Return the claim of each partition: its topic's id and number of partitions as of now.

        A topic that does not exist any more is left out.

        Raises:
            OutageError: no broker answers.
        """
        names = sorted({p.topic for p in partitions})
        if not names:
            return []
        answers = self._admin.describe_topics(ck.TopicCollection(names), request_timeout=_TIMEOUT_SECONDS)
        claims: list[Claim] = []
        for name, future in answers.items():
            try:
                topic = future.result(timeout=_TIMEOUT_SECONDS)
            except ck.KafkaException as error:
                if error.args[0].code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise OutageError(
                    f"Kafka can't describe topic {name!r}: {error.args[0].str()}", where=self._where
                ) from error
            except TimeoutError as error:
                raise OutageError("Kafka does not answer", where=self._where) from error
            claims += [
                Claim(p, str(topic.topic_id), len(topic.partitions))
                for p in sorted(partitions)
                if p.topic == name
            ]
        return claims

    def ensure(self, name: str, *, retention_ms: int = -1, partitions: int = 1) -> None:
        """Create a topic if it is not there.

        Raises:
            OutageError: no broker answers.
            FatalError: the broker refuses.
        """
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=-1, config={"retention.ms": str(retention_ms)}
        )
        try:
            self._admin.create_topics([topic], request_timeout=_TIMEOUT_SECONDS)[name].result(
                _TIMEOUT_SECONDS
            )
        except ck.KafkaException as error:
            cause = error.args[0]
            if cause.code() == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                return
            if cause.retriable() or cause.code() < 0:
                raise OutageError(f"Kafka: {cause.str()}", where=self._where) from error
            raise FatalError(f"Kafka refuses topic {name!r}: {cause.str()}", where=self._where) from error
