"""The generation of a topic: which of its lives or divisions into partitions an offset belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinks.change import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinks.change import TopicPartition
    from sinks.targets.base import Claim


@dataclass(frozen=True, slots=True)
class Known:
    """What a target has stored of one partition when it is claimed."""

    partition: TopicPartition
    topic_id: str
    partitions: int
    generation: int


def generation_of(claim: Claim, known: Iterable[Known]) -> int:
    """Return the generation of a claimed partition's topic.

    All partitions of a topic share it: a key that moves to a new partition must find a greater version there.
    A partition claimed under the same topic id and number of partitions as a sibling joins the sibling's.

    Args:
        claim: the partition, as Kafka knows its topic now.
        known: what is stored of all partitions of the sink; other topics' are passed over.
    """
    topic = [other for other in known if other.partition.topic == claim.partition.topic]
    if not topic:
        return 0
    current = [o for o in topic if (o.topic_id, o.partitions) == (claim.topic_id, claim.partitions)]
    if current:
        return max(other.generation for other in current)
    return max(other.generation for other in topic) + 1


def progress_of(stored: Progress, *, same_topic: bool) -> Progress:
    """Return where a claimed partition goes on: at the start, counts kept, when its topic is another one."""
    return stored if same_topic else Progress(0, counts=stored.counts, schema=stored.schema)
