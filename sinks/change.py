"""Identity of a change, and how far a partition has come.

A streamed change is known by its GTID and its place in the transaction (``total_order``). Binlog coordinates
are shown to people and never compared: a delete and a create of one key share them, and a failover makes them
go back. The version of a row is its topic's generation and its Kafka offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sinks.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET_BITS = 48
GENERATION_BITS = 15


class TopicPartition(NamedTuple):
    """A Kafka topic and one of its partitions."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Place(NamedTuple):
    """A change's place within one GTID source: transaction number, then order in the transaction from 1."""

    transaction: int
    order: int


def parse_gtid(gtid: str) -> tuple[str, int]:
    """Split a GTID, ``uuid:number`` or ``uuid:tag:number``, into its source and its transaction number.

    Raises:
        FatalError: the text is not a GTID: changes can't be told apart.
    """
    source, separator, number = gtid.rpartition(":")
    if not separator or not source or not (number.isascii() and number.isdigit()):
        raise FatalError(
            "a change carries no usable GTID",
            hint="gtid_mode=ON and enforce_gtid_consistency=ON are required on the source",
        )
    return source, int(number)


def pack_version(generation: int, offset: int) -> int:
    """Pack a row's version into 63 bits: it grows with the offset, and over re-created topics.

    Args:
        generation: how many times the topic was re-created or re-partitioned, 0 to 2^15 - 1.
        offset: Kafka offset, 0 to 2^48 - 1.
    """
    if not 0 <= generation < 1 << GENERATION_BITS or not 0 <= offset < 1 << OFFSET_BITS:
        raise ValueError(f"generation {generation} or offset {offset} out of range")
    return generation << OFFSET_BITS | offset


@dataclass(frozen=True, slots=True)
class Watermark:
    """The last applied place per GTID source (``uuid`` or ``uuid:tag``). Immutable."""

    places: Mapping[str, Place] = field(default_factory=dict)

    def covers(self, source: str, place: Place) -> bool:
        """Tell whether a streamed change at ``place`` was applied before: a replay."""
        last = self.places.get(source)
        return last is not None and place <= last

    def advanced(self, source: str, place: Place) -> Watermark:
        """Return the watermark after a change at ``place``; an older place leaves it as it is."""
        if self.covers(source, place):
            return self
        return Watermark({**self.places, source: place})

    def as_json(self) -> dict[str, list[int]]:
        """Return the stored form: ``{source: [transaction, order]}``."""
        return {source: list(place) for source, place in self.places.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, list[int]]) -> Watermark:
        """Read what :meth:`as_json` returned."""
        return cls({source: Place(*place) for source, place in stored.items()})


class SchemaPosition(NamedTuple):
    """How far a partition has followed the schema-change topic: the topic's id, and the next offset there."""

    topic_id: str = ""
    next_offset: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one topic-partition has come: what a target stores with the rows and hands back on assignment.

    Attributes:
        next_offset: the next Kafka offset to read (every smaller one is applied or parked).
        watermark: identity of the last applied change per GTID source.
        gtid: GTID of the last applied change, for people and for ``cdc wait``; empty before the first.
        source_ms: commit time of the last applied change at the source, ms since the epoch; 0 before it.
        counts: changes received by operation (``c u d r t``, ``tombstone``, ``replay``, ``parked``), ever.
        schema: up to where the schema changes of the partition's tables are applied.
    """

    next_offset: int
    watermark: Watermark = field(default_factory=Watermark)
    gtid: str = ""
    source_ms: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    schema: SchemaPosition = field(default_factory=SchemaPosition)
