"""Reads the captured tables' topics. Positions come from the target, never from Kafka's committed offsets."""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import confluent_kafka as ck

from sinks.change import TopicPartition
from sinks.envelope import Records
from sinks.errors import CdcError, FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

log = logging.getLogger(__name__)

_CHUNK = 2000
"""Messages taken from librdkafka at once: small enough that the byte limit is overshot by little."""

_METADATA_REFRESH_MS = 1000
_HEARTBEAT_MS = 500
_FETCH_WAIT_MS = 100

_OUTAGES = frozenset(
    {
        ck.KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001  (the library's names for local errors)
        ck.KafkaError._TRANSPORT,  # noqa: SLF001
        ck.KafkaError._RESOLVE,  # noqa: SLF001
        ck.KafkaError._TIMED_OUT,  # noqa: SLF001
        ck.KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001  (this process slept: the group gave its share away)
    }
)


class PositionLostError(CdcError):
    """The stored position of a partition is not in its topic any more."""

    def __init__(self, partition: TopicPartition) -> None:
        super().__init__("the position to go on from is not in the topic any more", where=str(partition))
        self.partition = partition


@dataclass
class Polled:
    """What one poll brought.

    Attributes:
        messages: records per partition, in offset order.
        ends: partitions whose end was reached, with the position there: past transaction markers.
        size: bytes of keys and values.
    """

    messages: defaultdict[TopicPartition, list[ck.Message]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    def drop(self, partition: TopicPartition) -> None:
        """Forget what was read of a partition that is not ours any more."""
        gone = self.messages.pop(partition, [])
        self.ends.pop(partition, None)
        self.count -= len(gone)
        self.size -= sum(len(message) for message in gone)

    def keep(self, partition: TopicPartition, messages: list[ck.Message]) -> None:
        """Take back messages of an earlier poll that are to be applied later."""
        self.messages[partition] = messages + self.messages.pop(partition, [])
        self.count += len(messages)
        self.size += sum(len(message) for message in messages)

    def records(self) -> list[Records]:
        """Return the records as parallel lists."""
        return [
            Records(
                partition,
                [m.offset() or 0 for m in messages],
                [m.key() for m in messages],
                [m.value() for m in messages],
                [m.timestamp()[1] for m in messages],
            )
            for partition, messages in self.messages.items()
        ]


class PartitionConsumer:
    """A member of the sink's consumer group.

    The group decides which partitions are ours (cooperative-sticky). They are fetched only once
    :meth:`start` has been told where from; so a partition whose target is down costs no memory.

    Args:
        bootstrap: ``host:port`` list.
        group: consumer group id.
        pattern: regular expression of topics, beginning with ``^``.
        queue_bytes: bound of librdkafka's queue over all partitions.
        extra: further librdkafka settings (security).

    Attributes:
        before_revoke: called with partitions that are about to go to another member, while they are still
            ours: what is in flight can be finished.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        pattern: str,
        *,
        queue_bytes: int,
        extra: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._assigned: set[TopicPartition] = set()
        self._started: set[TopicPartition] = set()
        self._held: set[TopicPartition] = set()
        self.before_revoke: Callable[[frozenset[TopicPartition]], None] = lambda _: None
        self._where = bootstrap
        self._down: ck.KafkaError | None = None
        self._consumer = ck.Consumer(
            {
                **(extra or {}),
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "client.id": f"cdc-{group}",
                "partition.assignment.strategy": "cooperative-sticky",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS,
                "allow.auto.create.topics": False,
                "heartbeat.interval.ms": _HEARTBEAT_MS,
                "session.timeout.ms": 15_000,
                "max.poll.interval.ms": 300_000,
                "fetch.wait.max.ms": _FETCH_WAIT_MS,
                "fetch.error.backoff.ms": 100,
                "fetch.message.max.bytes": 4 << 20,
                "fetch.max.bytes": 32 << 20,
                "message.max.bytes": 32 << 20,
                "queued.min.messages": 100_000,
                "queued.max.messages.kbytes": max(queue_bytes >> 10, 1024),
                "socket.nagle.disable": True,
                "reconnect.backoff.max.ms": 2000,
                "socket.timeout.ms": 20_000,  # a broker that hangs is noticed within this time
                "error_cb": self._on_client_error,
            },
            logger=log,
        )
        self._consumer.subscribe(
            [pattern], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _on_client_error(self, error: ck.KafkaError) -> None:
        """Take note of an outage: what concerns no partition comes here, not with the messages."""
        if error.code() == ck.KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._down = error

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        # Acknowledge, but fetch nothing yet: the position is the target's to say.
        consumer.incremental_assign([])
        self._assigned |= {TopicPartition(p.topic, p.partition) for p in partitions}

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        gone = frozenset(TopicPartition(p.topic, p.partition) for p in partitions)
        self.before_revoke(gone)
        self._assigned -= gone
        self._unassign(consumer, gone & self._started)

    def _unassign(self, consumer: ck.Consumer, partitions: Iterable[TopicPartition]) -> None:
        going = list(partitions)
        self._started -= set(going)
        self._held -= set(going)
        consumer.incremental_unassign([ck.TopicPartition(*p) for p in going])

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that the group has given us."""
        return frozenset(self._assigned)

    @property
    def waiting(self) -> frozenset[TopicPartition]:
        """Those of them that are not being fetched yet."""
        return frozenset(self._assigned - self._started)

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Fetch partitions from these offsets on; 0 means the beginning, wherever that is by now."""
        self._consumer.incremental_assign(
            [ck.TopicPartition(*p, offset or ck.OFFSET_BEGINNING) for p, offset in positions.items()]
        )
        self._started |= positions.keys()

    def stop(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Fetch these partitions (default: all) no longer; they stay ours until the group says otherwise."""
        chosen = self._started if partitions is None else set(partitions) & self._started
        if chosen:
            self._unassign(self._consumer, set(chosen))

    def poll(self, polled: Polled, timeout: float, *, max_records: int, max_bytes: int) -> None:
        """Add what is there to ``polled``: wait for the first record only, up to ``timeout`` seconds.

        Raises:
            PositionLostError: a stored position is out of its topic's range.
            OutageError: no broker can be reached.
            FatalError: any other error of the client.
        """
        messages = self._consumer.consume(1, timeout)
        down, self._down = self._down, None
        if down is not None and not messages:
            raise OutageError(f"Kafka: {down.str()}", where=self._where)
        while messages:
            for message in messages:
                self._add(polled, message)
            if polled.count >= max_records or polled.size >= max_bytes:
                return
            messages = self._consumer.consume(min(_CHUNK, max_records - polled.count), 0)

    def _add(self, polled: Polled, message: ck.Message) -> None:
        error = message.error()
        if error is not None:
            self._on_error(polled, message, error)
            return
        partition = TopicPartition(message.topic() or "", message.partition() or 0)
        if partition not in self._started:
            return  # left in the queue from before a revocation
        polled.messages[partition].append(message)
        polled.count += 1
        polled.size += len(message)

    def _on_error(self, polled: Polled, message: ck.Message, error: ck.KafkaError) -> None:
        partition = TopicPartition(message.topic() or "", message.partition() or 0)
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:  # noqa: SLF001
            if partition in self._started:
                polled.ends[partition] = message.offset() or 0
        elif code in {ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise PositionLostError(partition)
        elif code in {ck.KafkaError.UNKNOWN_TOPIC_OR_PART, ck.KafkaError._UNKNOWN_PARTITION}:  # noqa: SLF001
            log.warning("topic is gone", extra={"action": "topic_gone", "partition": str(partition)})
        elif code in _OUTAGES or error.retriable():
            raise OutageError(f"Kafka: {error.str()}", where=self._where)
        else:
            raise FatalError(
                f"Kafka: {error.str()}", where=str(partition) if message.topic() else self._where
            )

    def pause(self) -> None:
        """Stop delivery of what is being fetched, for a while, keeping the positions."""
        self._consumer.pause([ck.TopicPartition(*p) for p in self._started])

    def resume(self) -> None:
        """Go on after :meth:`pause`; what is held stays so."""
        self._consumer.resume([ck.TopicPartition(*p) for p in self._started - self._held])

    def hold(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing of these partitions until they are not named any more."""
        held = set(partitions) & self._started
        if held == self._held:
            return
        self._consumer.resume([ck.TopicPartition(*p) for p in (self._held - held) & self._started])
        self._consumer.pause([ck.TopicPartition(*p) for p in held - self._held])
        self._held = held

    def high_watermarks(self) -> dict[TopicPartition, int]:
        """Return the end offsets that the last fetches told, without asking the broker."""
        ends: dict[TopicPartition, int] = {}
        for partition in self._started:
            with suppress(ck.KafkaException):  # a topic that was deleted meanwhile
                _, high = self._consumer.get_watermark_offsets(ck.TopicPartition(*partition), cached=True)
                if high >= 0:
                    ends[partition] = high
        return ends

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to Kafka, for lag tools only: nothing of ours ever reads them."""
        if offsets:
            commits: Sequence[ck.TopicPartition] = [ck.TopicPartition(*p, o) for p, o in offsets.items()]
            with suppress(ck.KafkaException):  # not worth an error: the next report tells more
                self._consumer.commit(offsets=list(commits), asynchronous=True)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
