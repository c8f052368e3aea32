"""Dead letters as values: what the dead-letter topic holds, written as headers and read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import confluent_kafka as ck

from sinks.change import TopicPartition, pack_version
from sinks.errors import FatalError, OutageError
from sinks.table_schema import TableId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinks.targets.base import Rejection

_TIMEOUT_SECONDS = 10.0
_CHUNK = 1000
_MARGIN_MS = 3_600_000
"""Clocks of workers may differ by this much."""
_GONE = frozenset(
    {
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 (the library's names for local errors)
        ck.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    }
)
_ENDS = _GONE | {ck.KafkaError._PARTITION_EOF}  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that was parked, whole.

    Attributes:
        partition: where the record was.
        offset: its place there.
        generation: of its topic then.
        timestamp_ms: its own, ms since the epoch.
        reason: why it was parked.
        key: identity of its key (``Wire.key_of``).
        table: as the target knows it; None: not known.
        raw_key: the record's key.
        value: the record's value.
    """

    partition: TopicPartition
    offset: int
    generation: int
    timestamp_ms: int
    reason: str
    key: bytes
    table: TableId | None
    raw_key: bytes | None
    value: bytes | None

    @property
    def id(self) -> str:
        """``topic/partition/offset``, and ``@generation`` for a topic that was made anew."""
        life = f"@{self.generation}" if self.generation else ""
        return f"{self.partition.topic}/{self.partition.partition}/{self.offset}{life}"

    @property
    def version(self) -> int:
        """The version that its change has in a target."""
        return pack_version(self.generation, self.offset)

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.raw_key or b"") + len(self.value or b"")


def letter_of(rejection: Rejection, message: ck.Message) -> Letter:
    """Make the letter of a rejected record; the rejection tells its topic's generation."""
    return Letter(
        rejection.partition,
        rejection.offset,
        rejection.generation or 0,
        message.timestamp()[1],
        rejection.reason,
        rejection.key,
        rejection.table,
        message.key(),
        message.value(),
    )


def letter_topic(prefix: str, sink: str) -> str:
    """Return the name of a sink's dead-letter topic."""
    return f"dlq.{prefix}.{sink}"


def headers_of(letter: Letter, sink: str) -> list[tuple[str, str | bytes | None]]:
    """Return a letter's headers: all but key and value."""
    return [
        ("id", letter.id),
        ("reason", letter.reason),
        ("sink", sink),
        ("topic", letter.partition.topic),
        ("partition", str(letter.partition.partition)),
        ("offset", str(letter.offset)),
        ("generation", str(letter.generation)),
        ("timestamp", str(letter.timestamp_ms)),
        ("key", letter.key),
        ("database", letter.table.database if letter.table else None),
        ("table", letter.table.name if letter.table else None),
    ]


def _parsed(message: ck.Message) -> Letter | None:
    headers: dict[str, bytes | None] = dict(cast("list[tuple[str, bytes | None]]", message.headers() or []))
    text = {name: value.decode() for name, value in headers.items() if value and name != "key"}
    try:
        return Letter(
            TopicPartition(text["topic"], int(text["partition"])),
            int(text["offset"]),
            int(text["generation"]),
            int(text["timestamp"]),
            text["reason"],
            headers["key"] or b"",
            TableId(text["database"], text["table"]) if "table" in text else None,
            message.key(),
            message.value(),
        )
    except (KeyError, ValueError):
        return None  # not written by this product


class LetterReader:
    """Reads a sink's dead-letter topic, outside of any group.

    Args:
        bootstrap: ``host:port`` list.
        prefix: the connector's topic prefix.
        sink: the sink's name.
        extra: further librdkafka settings (security).
    """

    def __init__(
        self, bootstrap: str, *, prefix: str, sink: str, extra: Mapping[str, str | int | bool] | None = None
    ) -> None:
        self.topic = letter_topic(prefix, sink)
        self._where = bootstrap
        self._settings: dict[str, str | int | float | bool] = {
            **(extra or {}),
            "bootstrap.servers": bootstrap,
            "group.id": "cdc-dead-letters",  # asked for by the client; assign() joins no group
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "message.max.bytes": 64 << 20,
            "fetch.message.max.bytes": 64 << 20,
            "queued.max.messages.kbytes": 64 << 10,
        }

    def read(self, since_ms: int) -> Iterator[Letter]:
        """Yield the letters written since then, and some before; one that was written twice comes twice.

        Raises:
            OutageError: no broker answers.
            FatalError: the broker refuses.
        """
        consumer = ck.Consumer(self._settings)
        try:
            yield from self._read(consumer, since_ms)
        except ck.KafkaException as error:
            if error.args[0].code() in _GONE:
                return
            raise self._translated(error.args[0]) from error
        finally:
            consumer.close()

    def _read(self, consumer: ck.Consumer, since_ms: int) -> Iterator[Letter]:
        at = ck.TopicPartition(self.topic, 0, max(since_ms - _MARGIN_MS, 0))
        (start,) = consumer.offsets_for_times([at], timeout=_TIMEOUT_SECONDS)
        if start.error is not None:
            raise ck.KafkaException(start.error)
        consumer.assign([start])
        while True:
            messages = consumer.consume(_CHUNK, _TIMEOUT_SECONDS)
            if not messages:
                raise OutageError("Kafka does not answer", where=self._where)
            for message in messages:
                error = message.error()
                if error is None:
                    letter = _parsed(message)
                    if letter is not None:
                        yield letter
                elif error.code() in _ENDS:
                    return
                else:
                    raise self._translated(error)

    def _translated(self, error: ck.KafkaError) -> OutageError | FatalError:
        what = f"the dead-letter topic can't be read: {error.str()}"
        if error.retriable() or error.code() < 0:
            return OutageError(what, where=self._where)
        return FatalError(what, where=self._where)
