"""Sends messages in batches with an idempotent producer, and tells of each refused one why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import confluent_kafka as ck

from sinks.errors import FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MS = 1000
_POLL_SECONDS = 0.05
_PURGE_SECONDS = 5.0
_REFUSALS = frozenset(
    {
        ck.KafkaError.MSG_SIZE_TOO_LARGE,
        ck.KafkaError.INVALID_MSG,
        ck.KafkaError.INVALID_RECORD,
        ck.KafkaError.INVALID_TIMESTAMP,
        ck.KafkaError.RECORD_LIST_TOO_LARGE,
        ck.KafkaError.TOPIC_EXCEPTION,
        ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ck.KafkaError.POLICY_VIOLATION,
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (a local error)
        ck.KafkaError._INVALID_ARG,  # noqa: SLF001
    }
)

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: a topic, a key (its order is kept), a value, headers."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Publisher:
    """Sends batches: messages of a key stay in order, and the client's own retries leave none twice.

    Keys are hashed as Java's clients hash them (murmur2): a key's partition is the same, whoever sends.

    Args:
        bootstrap: ``host:port`` list.
        extra: further librdkafka settings (security).
        timeout_seconds: how long a batch may take; after it the outage is told and nothing is left queued.
        max_bytes: a larger message is refused here, before anything of its key behind it is sent.
    """

    def __init__(
        self,
        bootstrap: str,
        extra: Mapping[str, str | int | bool] | None = None,
        *,
        timeout_seconds: float = 20.0,
        max_bytes: int = 1_000_000,
    ) -> None:
        self._where = bootstrap
        self._timeout = timeout_seconds
        self._max_bytes = max_bytes
        self._settings: dict[str, str | int | float | bool] = {
            **(extra or {}),
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 2,
            "message.max.bytes": max_bytes,
            "queue.buffering.max.messages": 200_000,
            "delivery.timeout.ms": int(timeout_seconds * _MS),
            "log_level": 0,  # an outage is reported as an error, not on stderr
        }
        self._producer = ck.Producer(self._settings)

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        """Send in order; return when all are durable or refused.

        Returns:
            Position in ``messages`` → why it was refused for what it is. Once one of a key is refused by the
            client, what follows of its key in this batch is not sent: the reason is empty.

        Raises:
            OutageError: Kafka does not take messages now; any of them may have arrived.
            FatalError: an error of Kafka that nobody foresaw.
        """
        refused: dict[int, str] = {}
        failed: list[ck.KafkaError] = []
        held: set[tuple[str, bytes]] = set()

        def settle(position: int, error: ck.KafkaError) -> None:
            if error.code() in _REFUSALS:
                refused[position] = error.str()
            else:
                failed.append(error)

        for position, message in enumerate(messages):
            line = (message.topic, message.key) if message.key is not None else None
            if line is not None and line in held:
                refused[position] = ""
                continue
            error = self._produce(position, message, settle)
            if error is not None:
                settle(position, error)
                if line is not None:
                    held.add(line)
        left = self._producer.flush(self._timeout)
        if left or failed:
            self._forget()
            reason = failed[0].str() if failed else f"{left} messages not acknowledged in time"
            if failed and not (failed[0].retriable() or failed[0].code() < 0):
                raise FatalError(f"Kafka refuses messages: {reason}", where=self._where)
            raise OutageError(f"Kafka does not take messages: {reason}", where=self._where)
        return refused

    def _produce(self, position: int, message: Message, settle: _Settle) -> ck.KafkaError | None:
        """Queue a message; return the error if the client refuses it at once."""

        def delivered(error: ck.KafkaError | None, _: ck.Message) -> None:
            if error is not None:
                settle(position, error)

        headers: list[tuple[str, str | bytes | None]] = list(message.headers)
        while True:
            try:
                self._producer.produce(
                    message.topic, message.value, message.key, headers=headers, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
            except ck.KafkaException as error:
                cause: ck.KafkaError = error.args[0]
                return cause
            else:
                return None

    def _forget(self) -> None:
        """Leave nothing queued: a message that arrived after it was sent again by someone else would be late.

        A client that had a fatal error takes nothing any more: a new one does.
        """
        self._producer.purge(in_queue=True, in_flight=True, blocking=True)
        self._producer.flush(_PURGE_SECONDS)
        self._producer = ck.Producer(self._settings)

    def close(self) -> None:
        """Wait for what is under way. May be called twice."""
        self._producer.flush(self._timeout)


if TYPE_CHECKING:
    from typing import Protocol

    class _Settle(Protocol):
        def __call__(self, position: int, error: ck.KafkaError) -> None: ...
