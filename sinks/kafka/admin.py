"""What health and lag ask Kafka: captured topics, their ends, what is left to read, the last heartbeat."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # stubs omit it

from sinks.change import TopicPartition
from sinks.errors import CdcError, FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_MS = 1000
_COUNTED = 64
_PEEK_BYTES = 64 << 10
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_NEWEST = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
_GONE = frozenset(
    {
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 (the library's names for local errors)
        ck.KafkaError._NOENT,  # noqa: SLF001 (no partition asked about has a leader)
    }
)


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left to read in a partition.

    Attributes:
        records: how many, exactly when few; else offsets, transaction markers among them. 0: drained.
        end_offset: the partition's end as ``read_committed`` sees it.
        first_ms: timestamp of the first record left, ms since the epoch; 0 if drained or not known.
    """

    records: int
    end_offset: int
    first_ms: int = 0


class KafkaAdmin:
    """Asks a cluster. Nothing is written and no consumer group is touched.

    Args:
        bootstrap: ``host:port`` list.
        extra: further librdkafka settings (security).
        timeout_seconds: how long an answer may take.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        bootstrap: str,
        extra: Mapping[str, str | int | bool] | None = None,
        *,
        timeout_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bootstrap = bootstrap
        self._settings: dict[str, str | int | float | bool] = {
            **(extra or {}),
            "bootstrap.servers": bootstrap,
            "socket.timeout.ms": int(timeout_seconds * _MS),
            "log_level": 0,  # an outage is reported as an error, not on stderr
        }
        self._timeout = timeout_seconds
        self._clock = clock
        self._admin = AdminClient(self._settings)

    def partitions(self, *, prefix: str) -> list[TopicPartition]:
        """Return the partitions of the captured tables' topics: ``<prefix>.<database>.<table>``.

        Raises:
            OutageError: no broker answers.
        """
        try:
            topics = self._admin.list_topics(timeout=self._timeout).topics
        except ck.KafkaException as error:
            raise self._translated(error) from error
        return sorted(
            TopicPartition(name, partition)
            for name, topic in topics.items()
            if name.startswith(f"{prefix}.") and "." in name[len(prefix) + 1 :]
            for partition in topic.partitions
        )

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where each partition ends for a ``read_committed`` reader; one that is gone is left out."""
        return self._offsets(partitions, _LATEST)

    def remaining(self, partitions: Mapping[TopicPartition, int]) -> dict[TopicPartition, Remaining]:
        """Tell what is left to read of each partition from the given next offset on.

        A partition whose offsets go on may hold nothing but transaction markers from there: a short-lived
        consumer outside any group looks. So a drained pipe shows 0, also when no worker runs.

        Raises:
            OutageError: no broker answers.
        """
        ends = self.end_offsets(partitions)
        begins = self._offsets(ends, _EARLIEST)
        starts = {
            partition: begins[partition]
            if partitions[partition] > end
            else max(partitions[partition], begins[partition])
            for partition, end in ends.items()
            if partition in begins
        }
        gaps = {partition: start for partition, start in starts.items() if start < ends[partition]}
        seen = self._peek(gaps, ends) if gaps else {}
        return {partition: seen.get(partition, Remaining(0, ends[partition])) for partition in starts}

    def last_timestamp(self, topic: str) -> int | None:
        """Return the newest timestamp in partition 0 of a topic, ms since the epoch; None: no such, or empty.

        Raises:
            OutageError: no broker answers.
        """
        partition = TopicPartition(topic, 0)
        asked = {ck.TopicPartition(*partition): _NEWEST}
        try:
            futures = self._admin.list_offsets(asked, request_timeout=self._timeout)
            found = next(iter(futures.values())).result(timeout=self._timeout)
        except ck.KafkaException as error:
            if _is_gone(error):
                return None
            raise self._translated(error) from error
        except TimeoutError as error:
            raise self._silent() from error
        return int(found.timestamp) if found.timestamp >= 0 else None

    def _offsets(self, partitions: Iterable[TopicPartition], at: OffsetSpec) -> dict[TopicPartition, int]:
        asked = {ck.TopicPartition(*partition): at for partition in partitions}
        if not asked:
            return {}
        offsets: dict[TopicPartition, int] = {}
        futures = self._admin.list_offsets(
            asked, isolation_level=ck.IsolationLevel.READ_COMMITTED, request_timeout=self._timeout
        )
        for partition, future in futures.items():
            try:
                offset = future.result(timeout=self._timeout).offset
            except ck.KafkaException as error:
                if _is_gone(error):
                    continue
                raise self._translated(error) from error
            except TimeoutError as error:
                raise self._silent() from error
            offsets[TopicPartition(partition.topic, partition.partition)] = offset
        return offsets

    def _peek(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Remaining]:
        """Look at the first record of each partition, and count the records of those with few offsets left.

        What is not answered in time is taken for records: better a lag shown than one hidden.
        """
        first: dict[TopicPartition, int] = {}
        count = dict.fromkeys(starts, 0)
        settled: set[TopicPartition] = set()
        counted: set[TopicPartition] = set()
        consumer = ck.Consumer(
            {
                **self._settings,
                "group.id": "cdc-health",  # asked for by the client; assign() joins no group
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": _PEEK_BYTES,
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": 4096,
            }
        )
        try:
            consumer.assign([ck.TopicPartition(*partition, start) for partition, start in starts.items()])
            deadline = self._clock() + self._timeout
            while len(settled) < len(starts) and self._clock() < deadline:
                for message in consumer.consume(500, 0.1):
                    partition = TopicPartition(message.topic() or "", message.partition() or 0)
                    error = message.error()
                    if partition in settled:
                        continue
                    if error is not None:
                        if error.code() != ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 (the library's name)
                            continue
                        counted.add(partition)
                        settled.add(partition)
                        continue
                    first.setdefault(partition, message.timestamp()[1])
                    count[partition] += 1
                    if ends[partition] - starts[partition] > _COUNTED:
                        settled.add(partition)
                        consumer.pause([ck.TopicPartition(*partition)])
        finally:
            consumer.close()
        return {
            partition: Remaining(
                count[partition] if partition in counted else ends[partition] - start,
                ends[partition],
                first.get(partition, 0),
            )
            for partition, start in starts.items()
        }

    def _translated(self, error: ck.KafkaException) -> CdcError:
        cause = error.args[0]
        if cause.retriable() or cause.code() < 0:
            return self._silent(cause.str())
        return FatalError(f"Kafka refuses the question: {cause.str()}", where=self._bootstrap)

    def _silent(self, why: str = "no answer in time") -> OutageError:
        return OutageError(
            f"Kafka can't be reached: {why}",
            where=self._bootstrap,
            hint="is it running? check kafka.bootstrap; ./scripts/up starts a local one",
        )


def _is_gone(error: ck.KafkaException) -> bool:
    return error.args[0].code() in _GONE
