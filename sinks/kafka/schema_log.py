"""The schema-change topic, read as a stream of its own, and the frontier: nothing before it is unseen.

The connector writes a schema change before any later row, in the same Kafka transaction or an earlier one.
So once a row is visible, the change stands in its topic, though perhaps not visible yet: transaction markers
become visible partition by partition. Hence the topic's end is taken as ``read_uncommitted`` sees it, and
changes are read as ``read_committed`` up to there.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # stubs omit it

from sinks.change import TopicPartition
from sinks.errors import FatalError, OutageError, RejectedError
from sinks.schema_changes import TableChange, described, table_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sinks.kafka.topics import Topics
    from sinks.table_schema import TableId
    from sinks.wire.base import Wire

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_CHUNK = 500
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")
_ABSENT = frozenset(
    {
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 (the library's names for local errors)
        ck.KafkaError._NOENT,  # noqa: SLF001
    }
)


class SchemaLog:
    """All schema changes that the topic holds, by the data topics of the tables that they touch.

    They are few: kept in memory as what they say, not as their records.

    Args:
        bootstrap: ``host:port`` list.
        topics: asks the cluster about topics.
        wire: the wire format.
        prefix: Debezium's ``topic.prefix``: the schema-change topic's name.
        extra: further librdkafka settings (security).
        clock: seconds, never going back.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        wire: Wire,
        *,
        prefix: str,
        extra: Mapping[str, str | int | bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where = bootstrap
        self._topics = topics
        self._wire = wire
        self._prefix = prefix
        self._partition = TopicPartition(prefix, 0)
        self._clock = clock
        settings: dict[str, str | int | float | bool] = {**(extra or {}), "bootstrap.servers": bootstrap}
        self._admin = AdminClient(settings)
        self._consumer = ck.Consumer(
            {
                **settings,
                "group.id": f"cdc-schema-{prefix}",  # asked for by the client; assign() joins no group
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 4096,
                "message.max.bytes": 32 << 20,
            },
            logger=log,
        )
        self.topic_id = ""
        self._position = 0
        self._last_gtid = ""
        self._ordinal = 0
        self._tables: set[TableId] = set()
        self._changes: defaultdict[str, list[TableChange]] = defaultdict(list)

    def topic_of(self, table: TableId) -> str:
        """Return the topic of a table's rows, as Debezium names it."""
        return _ILLEGAL.sub("_", f"{self._prefix}.{table.database}.{table.name}")

    def of(self, topic: str) -> Sequence[TableChange]:
        """Return the known changes of the tables whose rows are in a topic, in order."""
        return self._changes.get(topic, ())

    def start(self) -> None:
        """Find the topic, read it from its beginning if it is another one than before, and catch up.

        Raises:
            OutageError: no broker answers.
        """
        claims = self._topics.claims(frozenset({self._partition}))
        topic_id = claims[0].topic_id if claims else ""
        if topic_id != self.topic_id:
            self.topic_id = topic_id
            self._position, self._last_gtid, self._ordinal = 0, "", 0
            self._changes.clear()
            self._tables.clear()
            if topic_id:
                self._consumer.assign([ck.TopicPartition(*self._partition, ck.OFFSET_BEGINNING)])
            else:
                self._consumer.unassign()
        self.catch_up()

    def catch_up(self) -> None:
        """Read up to the frontier: every change that stands before any row which is visible now.

        Raises:
            OutageError: no broker answers, or the transaction at the end does not end in time.
        """
        if not self.topic_id:
            return
        end = self.ends([self._partition]).get(self._partition, 0)
        deadline = self._clock() + _TIMEOUT_SECONDS
        while self._position < end:
            for message in self._consumer.consume(_CHUNK, 0.05):
                self._take(message)
            if self._clock() > deadline:
                raise OutageError(
                    "the schema-change topic can't be read to its end in time", where=str(self._partition)
                )

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where partitions end, records of open transactions included; absent ones are left out.

        Raises:
            OutageError: no broker answers.
        """
        asked = {ck.TopicPartition(*partition): _LATEST for partition in partitions}
        if not asked:
            return {}
        futures = self._admin.list_offsets(
            asked,
            isolation_level=ck.IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_TIMEOUT_SECONDS,
        )
        ends: dict[TopicPartition, int] = {}
        for partition, future in futures.items():
            try:
                end = future.result(timeout=_TIMEOUT_SECONDS).offset
            except ck.KafkaException as error:
                if error.args[0].code() in _ABSENT:
                    continue
                raise OutageError(f"Kafka: {error.args[0].str()}", where=self._where) from error
            except TimeoutError as error:
                raise OutageError("Kafka does not answer", where=self._where) from error
            ends[TopicPartition(partition.topic, partition.partition)] = end
        return ends

    def partitions(self, topics: Iterable[str]) -> frozenset[TopicPartition]:
        """Return the partitions that there are of topics.

        Raises:
            OutageError: no broker answers.
        """
        first = frozenset(TopicPartition(topic, 0) for topic in topics)
        return frozenset(
            TopicPartition(claim.partition.topic, number)
            for claim in self._topics.claims(first)
            for number in range(claim.partitions)
        )

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close()

    def _take(self, message: ck.Message) -> None:
        error = message.error()
        offset = message.offset() or 0
        if error is None:
            self._position = offset + 1
            value = message.value()
            if value is not None:
                self._read(value, offset, message.timestamp()[1])
        elif error.code() == ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 (the library's name)
            self._position = max(self._position, offset)
        elif error.code() not in _ABSENT:
            raise OutageError(f"Kafka: {error.str()}", where=self._where)

    def _read(self, value: bytes, offset: int, written_ms: int) -> None:
        try:
            record = self._wire.record(value)
            gtid = record["source"].get("gtid") or ""
            self._ordinal = self._ordinal + 1 if gtid and gtid == self._last_gtid else 0
            self._last_gtid = gtid
            found = list(
                table_changes(
                    record, offset=offset, written_ms=written_ms, ordinal=self._ordinal, tables=self._tables
                )
            )
        except (RejectedError, KeyError, TypeError, AttributeError) as error:
            raise FatalError(
                f"a record of the schema-change topic can't be read ({type(error).__name__})",
                where=f"{self._partition}@{offset}",
                hint="the connector needs include.schema.changes=true and the converter of the rows' topics",
            ) from error
        self._tables |= {table for change in found for table in change.tables} | described(record)
        for change in found:
            for topic in {self.topic_of(table) for table in change.tables}:
                self._changes[topic].append(change)
