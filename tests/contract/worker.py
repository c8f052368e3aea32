"""A worker as plain as can be: it claims, applies and keeps what was parked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinks.change import Progress, TopicPartition
from sinks.targets.base import Batch, Claim
from tests.builders import PARTITION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.targets.base import Rejection, Segment, Target

TOPIC_ID = "topic-1"


class Worker:
    """A target that owns partitions of one topic."""

    def __init__(
        self,
        target: Target,
        partitions: Sequence[TopicPartition] = (PARTITION,),
        *,
        topic_id: str = TOPIC_ID,
        width: int = 1,
    ) -> None:
        self.target = target
        self.parked: list[Rejection] = []
        self.stored = target.claim([Claim(partition, topic_id, width) for partition in partitions])

    def apply(self, *segments: Segment, next_offset: int, partition: TopicPartition = PARTITION) -> None:
        self.target.apply(Batch(segments, {partition: Progress(next_offset)}), self.park)

    def park(self, rejections: Sequence[Rejection]) -> None:
        self.parked += rejections

    def next_offset(self, partition: TopicPartition = PARTITION) -> int:
        return self.stored[partition].progress.next_offset
